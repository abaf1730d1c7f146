//! A file that is mostly empty is replaced by a fresh one, and a crash at any moment of it leaves
//! one whole journal.

use std::{
    fs, io,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::*;
use crate::journal::{
    directory::{
        JournalDir, Purpose,
        compaction::{Compactor, Rules},
        disk_space::FreeSpace,
        manifest::Manifest,
    },
    format::key::{Span, StoreKey},
    offline::Offline,
    store::table::{Table, WriteBatch},
};

/// Small enough for a test's journal.
const FILE_BYTES_MIN: u64 = 1 << 20;

/// Bytes of all files below a directory.
pub(super) fn disk_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The databases in a journal's directory.
pub(super) fn stores(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut stores: Vec<_> = names.filter(|name| name.starts_with("store-")).collect();
    stores.sort();
    stores
}

/// What a process that is killed at this moment leaves. What is replaced is deleted meanwhile, so
/// files may vanish.
fn as_it_is(dir: &Path) -> TempDir {
    fn there<T>(read: io::Result<T>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("{error}"),
        }
    }
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in there(fs::read_dir(from)).into_iter().flatten() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            match there(entry.file_type()) {
                Some(kind) if kind.is_dir() => copy(&entry.path(), &target),
                Some(_) => drop(there(fs::copy(entry.path(), target))),
                None => {}
            }
        }
    }
    let image = TempDir::new().unwrap();
    copy(dir, image.path());
    image
}

/// A text that does not compress.
pub(super) fn noise(random: &mut fastrand::Rng) -> String {
    std::iter::repeat_with(|| random.alphanumeric())
        .take(150)
        .collect()
}

/// Settles a batch of so many items with names that fill the disk.
pub(super) fn settle_batch(journal: &SledJournal, name: &str, items: u32, seconds: i64) {
    let mut random = fastrand::Rng::with_seed(7);
    let slots = (0..items).map(|n| item(&format!("{n}-{}", noise(&mut random))));
    let batch = wait(journal.admit(admission(name, slots))).unwrap().batch;
    let settlements = (0..items).map(|index| Settlement {
        id: id(batch, index),
        settled: settled_at(Outcome::Canceled, seconds),
    });
    wait(journal.settle(settlements.collect::<Vec<_>>().into())).unwrap();
}

/// A journal most of whose file is empty: what is there is `kept-0` to `kept-9`, of 100 items
/// each, and `open`, of which nothing has settled.
fn mostly_empty(dir: &Path) {
    let journal = open(dir);
    for n in 0..10 {
        settle_batch(&journal, &format!("kept-{n}"), 100, 1_000 + n);
    }
    for n in 0..8 {
        settle_batch(&journal, &format!("peak-{n}"), 2_000, n);
    }
    wait(journal.admit(many("open", 50))).unwrap();
    assert_eq!(wait(journal.purge(at(900), 1_000)), Ok(8));
    drop(journal);
    assert!(disk_bytes(dir) > 3 * FILE_BYTES_MIN, "{}", disk_bytes(dir));
}

/// Everything that [`mostly_empty`] promised is there.
#[track_caller]
fn check(dir: &Path, when: &str) {
    let mut out = Vec::new();
    let offline = Offline::open(&SledJournalOptions::new(dir)).unwrap();
    let report = offline.verify(&mut out).unwrap();
    let out = String::from_utf8_lossy(&out).into_owned();
    assert_eq!(report.problems, 0, "{when}: {out}");
    drop(offline);
    let journal = open(dir);
    for n in 0..10 {
        let record = journal.find(
            &scope(),
            &key(&format!("kept-{n}/99")),
            &ReadLimits::default(),
        );
        let record = record.unwrap().unwrap();
        assert_eq!(outcome(&record), Some(Outcome::Canceled), "{when}");
    }
    assert_eq!(journal.open_items().unwrap().len(), 50, "{when}");
    let purged = journal
        .find(&scope(), &key("peak-0/0"), &ReadLimits::default())
        .unwrap();
    assert!(purged.is_none(), "{when}");
    drop(journal);
    assert_eq!(stores(dir).len(), 1, "{when}: what is left over is removed");
}

/// A compactor and what it works on, without the thread that writes.
struct Stage {
    home: JournalDir,
    compactor: Compactor,
    dir: PathBuf,
}

impl Stage {
    fn open(dir: &Path, free_space: FreeSpace, free_bytes_min: u64) -> Self {
        let home = JournalDir::open(dir, 16 << 20, Purpose::Serve).unwrap();
        let rules = Rules {
            dir: dir.to_owned(),
            cache_bytes: 16 << 20,
            file_bytes_min: FILE_BYTES_MIN,
            free_bytes_min,
            free_space,
            entries_max: 8,
        };
        let compactor = Compactor::new(rules, home.marker.clone(), Arc::clone(&home.store));
        let dir = dir.to_owned();
        Self {
            home,
            compactor,
            dir,
        }
    }

    fn content(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let entries = self.home.store.scan(Span::all()).map(|entry| {
            let (key, value) = entry.unwrap();
            (key.to_vec(), value.to_vec())
        });
        entries.collect()
    }
}

#[test]
fn a_kill_at_any_step_leaves_one_whole_journal() {
    let dir = TempDir::new().unwrap();
    mostly_empty(dir.path());
    let mut stage = Stage::open(dir.path(), FreeSpace::system(), 0);
    stage.compactor.look();
    let mut images = vec![("before".to_owned(), as_it_is(&stage.dir))];
    let mut steps = 0;
    while stage.compactor.is_busy() {
        // The last steps are between a staged mark, the switch and the deletion of what was.
        stage.compactor.step().unwrap();
        steps += 1;
        images.push((format!("step {steps}"), as_it_is(&stage.dir)));
    }
    let staged = as_it_is(images[images.len() - 2].1.path());
    fs::write(staged.path().join("CANCELOT.fresh"), "format 1\njour").unwrap();
    images.push(("a mark half written".to_owned(), staged));
    stage.compactor.wait_closed();
    images.push(("closed".to_owned(), as_it_is(&stage.dir)));
    assert!(steps > 10, "{steps}");
    let switched = images.iter().filter(|(_, image)| {
        let marker = Manifest::read(image.path()).unwrap().unwrap();
        marker.store.to_string() == "store-2"
    });
    assert_eq!(switched.count(), 2, "the last step switches");
    for (when, image) in &images {
        check(image.path(), when);
    }
}

#[test]
fn what_is_written_meanwhile_is_in_the_copy() {
    let dir = TempDir::new().unwrap();
    mostly_empty(dir.path());
    let mut stage = Stage::open(dir.path(), FreeSpace::system(), 0);
    stage.compactor.look();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut expected = stage.content();
    let mut changes = 0;
    while stage.compactor.is_busy() {
        stage.compactor.step().unwrap();
        let mut writes = WriteBatch::default();
        for _ in 0..random.usize(1..20) {
            let (place, kind) = (random.usize(2..expected.len()), random.u8(..3));
            match kind {
                0 => writes.remove(expected.remove(place).0),
                1 => {
                    expected[place].1.push(random.u8(..));
                    let (key, value) = expected[place].clone();
                    writes.put(key, value);
                }
                _ => {
                    let batch = BatchId(random.u64(..1_000));
                    let key = StoreKey::Open(batch).encode();
                    let value = vec![random.u8(..)];
                    writes.put(key.clone(), value.clone());
                    match expected.binary_search_by(|(other, _)| other.cmp(&key)) {
                        Ok(at) => expected[at].1 = value,
                        Err(at) => expected.insert(at, (key, value)),
                    }
                }
            }
            changes += 1;
        }
        stage.home.store.write(writes).unwrap();
    }
    assert!(changes > 20, "seed {seed}");
    assert_eq!(replaced(&stage.dir), 1, "seed {seed}");
    let is_same = stage.content() == expected;
    assert!(is_same, "seed {seed}");
}

/// How many times a database was replaced.
pub(super) fn replaced(dir: &Path) -> u64 {
    let marker = Manifest::read(dir).unwrap().unwrap();
    let number = marker.store.to_string();
    number.trim_start_matches("store-").parse::<u64>().unwrap() - 1
}

#[test]
fn readers_and_writers_see_one_journal_while_it_is_replaced() {
    const REPLACED: u64 = 5;
    let dir = TempDir::new().unwrap();
    let journal = open_restless(dir.path());
    for n in 0..5 {
        settle_batch(&journal, &format!("kept-{n}"), 100, 1_000);
    }
    let open_batch = wait(journal.admit(many("open", 50))).unwrap().batch;
    let is_over = AtomicBool::new(false);
    let reads = std::thread::scope(|threads| {
        let (journal, is_over) = (&journal, &is_over);
        let readers = [0, 1].map(|_| {
            threads.spawn(move || {
                let mut reads = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    let found = journal.find(
                        &scope(),
                        &key(&format!("kept-{}/99", reads % 5)),
                        &ReadLimits::default(),
                    );
                    assert_eq!(outcome(&found.unwrap().unwrap()), Some(Outcome::Canceled));
                    let items = journal.open_items().unwrap();
                    let items = items.iter().filter(|item| item.id.batch == open_batch);
                    assert_eq!(items.count(), 50);
                    let batch = journal
                        .batch(open_batch, &ReadLimits::default())
                        .unwrap()
                        .unwrap();
                    assert_eq!(batch.items.len(), 50);
                    let replay = wait(journal.admit(many("open", 50))).unwrap();
                    assert_eq!(replay.batch, open_batch);
                    reads += 1;
                }
                reads
            })
        });
        let mut rounds = 0;
        while replaced(dir.path()) < REPLACED {
            settle_batch(journal, &format!("old-{rounds}"), 300, 0);
            audit_all(journal);
            assert_eq!(wait(journal.purge(at(900), 100)), Ok(1));
            rounds += 1;
            assert!(rounds < 500, "it is never replaced");
        }
        is_over.store(true, Ordering::Relaxed);
        readers.map(|reader| reader.join().unwrap())
    });
    assert!(reads.iter().all(|reads| *reads > 0), "{reads:?}");
    drop(journal);
    let mut out = Vec::new();
    let offline = Offline::open(&SledJournalOptions::new(dir.path())).unwrap();
    assert_eq!(offline.verify(&mut out).unwrap().problems, 0);
}

/// A disk whose free bytes a test sets.
fn disk_with(free_bytes: u64) -> (Arc<AtomicU64>, FreeSpace) {
    let free = Arc::new(AtomicU64::new(free_bytes));
    let asked = Arc::clone(&free);
    let free_space = FreeSpace::from_fn(move |_| Ok(asked.load(Ordering::SeqCst)));
    (free, free_space)
}

#[test]
fn a_copy_is_given_up_when_the_disk_fills_and_made_when_there_is_room() {
    let dir = TempDir::new().unwrap();
    mostly_empty(dir.path());
    let (free, free_space) = disk_with(1_000);
    let mut stage = Stage::open(dir.path(), free_space, 1_000);
    let run = |stage: &mut Stage, until_copying: bool| {
        stage.compactor.look();
        while stage.compactor.is_busy() {
            if until_copying && stores(&stage.dir).len() == 2 {
                return;
            }
            stage.compactor.step().unwrap();
        }
        stage.compactor.wait_closed();
    };
    run(&mut stage, false);
    assert_eq!(stores(&stage.dir), ["store-1"], "not even begun");
    free.store(1 << 40, Ordering::SeqCst);
    run(&mut stage, true);
    assert_eq!(stores(&stage.dir), ["store-1", "store-2"]);
    free.store(499, Ordering::SeqCst);
    run(&mut stage, false);
    assert_eq!(stores(&stage.dir), ["store-1"], "given up");
    free.store(1 << 40, Ordering::SeqCst);
    run(&mut stage, false);
    assert_eq!(stores(&stage.dir), ["store-3"]);
    drop(stage);
    check(dir.path(), "afterwards");
}

#[test]
fn a_file_is_left_alone_while_most_of_it_is_used() {
    let dir = TempDir::new().unwrap();
    // How full a file is that a running journal writes depends on its threads. Here nothing else
    // writes.
    let mut stage = Stage::open(dir.path(), FreeSpace::system(), 0);
    let mut random = fastrand::Rng::with_seed(7);
    let mut writes = WriteBatch::default();
    for n in 0..20_000 {
        let key = StoreKey::Open(BatchId(n)).encode();
        writes.put(key, noise(&mut random).into_bytes());
    }
    stage.home.store.write(writes).unwrap();
    let compact = |stage: &mut Stage| {
        stage.compactor.look();
        assert!(stage.compactor.is_busy(), "it counts what is alive");
        while stage.compactor.is_busy() {
            stage.compactor.step().unwrap();
        }
        stage.compactor.wait_closed();
    };
    compact(&mut stage);
    assert_eq!(replaced(dir.path()), 1, "a copy has nothing else in it");
    drop(stage);
    let mut stage = Stage::open(dir.path(), FreeSpace::system(), 0);
    assert!(disk_bytes(dir.path()) > FILE_BYTES_MIN);
    compact(&mut stage);
    assert_eq!(stores(dir.path()), ["store-2"]);
}

/// Waits until the journal has done what it does between writes.
pub(super) fn settle_down(journal: &SledJournal, dir: &Path) {
    while journal.is_compacting() || stores(dir).len() > 1 {
        wait(journal.stop(BatchId(u64::MAX), scope().caller.into(), at(0))).unwrap();
    }
}
