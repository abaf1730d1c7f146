//! A damaged or locked journal: the process explains it and what to do, and never starts empty
//! where records exist.

use std::{
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
};

use cancelot::{
    rpc::proto::ListCancellationsRequest,
    sandbox::{Provider, Sandbox},
};
use tonic::Code;

use crate::support::{
    in_time, now,
    process::{Place, try_connect},
    request, subscription, subscription_results,
};

/// Cancellations in the journal before it is damaged: several pages of the store.
const ITEMS: usize = 300;
/// Where its database is.
const STORE: &str = "store-1";
const DB: &str = "store-1/db";

/// How the process ended that wrote the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    InOrder,
    Killed,
}

/// A place with a journal that was written to.
async fn used(sandbox: &Sandbox, end: End) -> Place {
    let place = Place::new(sandbox, "");
    let (mut process, url) = place.serve().await;
    let mut client = try_connect(&url).await.unwrap();
    let items = (0..ITEMS).map(|i| subscription(Provider::Solidgate, i, now()));
    let stream = client.cancel_subscription(request("key", items)).await;
    let told = subscription_results(stream.unwrap().into_inner());
    let (_, told) = in_time(told).await.unwrap();
    assert_eq!(told.len(), ITEMS);
    match end {
        End::InOrder => {
            process.terminate();
            assert!(process.ended().await.success());
        }
        End::Killed => process.kill(),
    }
    place
}

/// Copies what a journal's directory holds, so that one journal can be damaged in many ways.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

/// What became of a start on a damaged journal.
#[derive(Debug, PartialEq)]
enum Start {
    /// It did not serve, and said this.
    Refused(String),
    /// It serves, and where it comes upon the damage it says that its journal cannot be read.
    Unreadable,
    /// It serves, and knows every result that it had sent.
    Whole,
}

#[track_caller]
fn check_refusal(what: &str, code: i32, said: &str) {
    assert!([1, 69].contains(&code), "{what}: exit code {code}, {said}");
    // The store asserts where it should return an error; what counts is what is said last.
    let said = said.lines().rfind(|line| line.starts_with("cancelot: "));
    let said = said.unwrap_or_else(|| panic!("{what}: no word of ours"));
    let advice = [
        "restore",
        "move the directory away",
        "give",
        "use the version",
    ];
    assert!(
        advice.iter().any(|advice| said.contains(advice)),
        "{what}: no advice in {said}"
    );
}

async fn start(what: &str, place: &Place, told: usize) -> Start {
    let before = place.stderr().len();
    let mut process = place.start();
    let Some(url) = process.url().await else {
        let code = process.ended().await.code().unwrap();
        let said = place.stderr().split_off(before);
        check_refusal(what, code, &said);
        return Start::Refused(said);
    };
    let mut client = try_connect(&url).await.unwrap();
    let list = ListCancellationsRequest {
        page_size: 1_000,
        ..Default::default()
    };
    let page = match in_time(client.list_cancellations(list)).await {
        Ok(page) => page,
        Err(status) => {
            assert_eq!(status.code(), Code::Unavailable, "{what}: {status:?}");
            assert!(status.message().contains("journal"), "{what}: {status:?}");
            return Start::Unreadable;
        }
    };
    let records = page.into_inner().cancellations;
    let settled = records.iter().filter(|record| !record.open).count();
    assert_eq!(settled, told, "{what}: records are lost");
    Start::Whole
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_is_never_taken_for_whole() {
    check_damages(End::InOrder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_of_a_process_that_was_killed_is_never_taken_for_whole() {
    check_damages(End::Killed).await;
}

async fn check_damages(end: End) {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let place = used(&sandbox, end).await;
    let journal = place.journal();
    let spare = tempfile::tempdir().unwrap();
    let good = spare.path().join("good");
    copy(&journal, &good);
    let len = fs::metadata(good.join(DB)).unwrap().len();
    let seed = 20_261_121;
    println!("seed {seed}, {len} bytes");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut damages: Vec<(String, Box<dyn Fn(&Path)>)> = Vec::new();
    for cut in [0, 1, 100, len / 4, len / 2, len - 1] {
        let damage = move |dir: &Path| {
            let db = File::options().write(true).open(dir.join(DB)).unwrap();
            db.set_len(cut).unwrap();
        };
        damages.push((format!("db cut to {cut}"), Box::new(damage)));
    }
    for i in 0..5 {
        let (at, size) = (rng.u64(..len.min(500_000)), rng.usize(1..5_000));
        let at = if i == 0 { 0 } else { at };
        let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(size).collect();
        let damage = move |dir: &Path| overwrite(&dir.join(DB), at, &bytes);
        damages.push((format!("{size} bytes of db at {at}"), Box::new(damage)));
    }
    for name in ["conf", "snap"] {
        let damage = move |dir: &Path| {
            for entry in fs::read_dir(dir.join(STORE)).unwrap() {
                let entry = entry.unwrap();
                if entry.file_name().to_string_lossy().starts_with(name) {
                    fs::write(entry.path(), b"garbage").unwrap();
                }
            }
        };
        damages.push((format!("garbage for {name}"), Box::new(damage)));
    }
    for (what, damage) in damages {
        fs::remove_dir_all(&journal).unwrap();
        copy(&good, &journal);
        damage(&journal);
        let became = start(&what, &place, ITEMS).await;
        println!("{what}: {became:?}");
    }
}

/// Starts a process on a journal that was changed, and gives what it said when it refused.
async fn said_of(change: impl FnOnce(&Path)) -> String {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let place = used(&sandbox, End::InOrder).await;
    change(&place.journal());
    match start("a changed journal", &place, ITEMS).await {
        Start::Refused(said) => said,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_without_its_database_is_not_begun_anew() {
    let said = said_of(|dir| fs::remove_file(dir.join(DB)).unwrap()).await;
    assert!(said.contains("is not in it any more"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_the_journals_mark_is_left_alone() {
    let said = said_of(|dir| fs::remove_file(dir.join("CANCELOT")).unwrap()).await;
    assert!(said.contains("is not marked as a journal"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_that_cannot_be_read_is_refused() {
    let said = said_of(|dir| fs::write(dir.join("CANCELOT"), b"\0\xff").unwrap()).await;
    assert!(said.contains("format version unknown"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_was_cut_short_harms_nothing() {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let place = used(&sandbox, End::Killed).await;
    for (name, content) in [("a", &b""[..]), ("b", b"half a snapshot")] {
        let torn = format!("snap.00000000000{name}.generating");
        fs::write(place.journal().join(STORE).join(torn), content).unwrap();
    }
    let became = start("torn snapshots", &place, ITEMS).await;
    assert_eq!(became, Start::Whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_has_one_process() {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let place = Place::new(&sandbox, "");
    let (first, url) = place.serve().await;
    let (code, said) = place.refused().await;
    assert_eq!(code, 69, "{said}");
    assert!(said.contains(&first.id().to_string()), "{said}");
    assert!(said.contains("stop the other one"), "{said}");
    let mut client = try_connect(&url).await.unwrap();
    let list = ListCancellationsRequest::default();
    in_time(client.list_cancellations(list)).await.unwrap();
}
