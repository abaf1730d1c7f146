//! kill -9 at random moments: whatever was acknowledged is there after it, and nothing is half.
//! Meanwhile what is old is purged, the database is replaced whenever that is worth it, and the
//! audit follows.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Command as Process, Stdio},
};

use futures_util::future::join_all;

use super::{
    audited::{Told, check_chain, follow},
    *,
};
use crate::{
    domain::doubt::Moment,
    journal::{
        Clearance,
        directory::{OpenError, manifest::Manifest},
        offline::Offline,
    },
};

/// What was acknowledged, by request: its items, how many of them settled, and how.
pub(super) type Acknowledged = BTreeMap<String, (u32, usize, String)>;

const DIR: &str = "CANCELOT_TEST_CRASH_DIR";
const RUN: &str = "CANCELOT_TEST_CRASH_RUN";
const SAID: &str = "CANCELOT_TEST_CRASH_SAID";
const RESERVE: &str = "CANCELOT_TEST_CRASH_RESERVE";
const NAME: &str = "journal::tests::crash::whatever_was_acknowledged_survives_kill_9";
const KILLS: u64 = 20;
/// Items of each request that its admission clears.
const CLEARED: usize = 2;

/// This test starts itself as the process that is killed.
#[test]
fn whatever_was_acknowledged_survives_kill_9() {
    if let (Some(dir), Some(run)) = (variable(DIR), variable(RUN)) {
        work(Path::new(&dir), &run);
    }
    // How the scripts in tests/power look at what they did to a journal.
    if let (Some(dir), Some(said)) = (variable(DIR), variable(SAID)) {
        let mut acknowledged = Acknowledged::new();
        let said = std::fs::read_to_string(said).unwrap();
        for line in said
            .split_inclusive('\n')
            .filter_map(|l| l.strip_suffix('\n'))
        {
            hear(line, &mut acknowledged);
        }
        check(Path::new(&dir), &acknowledged, &mut Told::default(), 0);
        check_chain(Path::new(&dir), 0);
        say(format!("looked for {}", acknowledged.len()));
        return;
    }
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = TempDir::new().unwrap();
    let (mut all, mut told) = (BTreeMap::new(), Told::default());
    for run in 0..KILLS {
        let mut acknowledged = BTreeMap::new();
        kill(dir.path(), run, &mut random, &mut acknowledged);
        check(dir.path(), &acknowledged, &mut told, seed);
        all.append(&mut acknowledged);
    }
    check(dir.path(), &all, &mut told, seed);
    check_chain(dir.path(), seed);
    assert!(all.len() > 100, "{} acknowledged, seed {seed}", all.len());
    let marker = Manifest::read(dir.path()).unwrap().unwrap();
    let first = Manifest::being_made().store;
    assert_ne!(marker.store, first, "it was replaced, seed {seed}");
}

/// The child: eight callers admit and settle as fast as they can, and say what was acknowledged.
pub(super) fn work(dir: &Path, run: &str) -> ! {
    let options = SledJournalOptions {
        compact_bytes_min: 256 << 10,
        free_bytes_min: number(RESERVE, 0),
        ballast_bytes: number(RESERVE, 0),
        audit_lag_max: Some(u64::MAX),
        ..SledJournalOptions::new(dir)
    };
    let journal = &SledJournal::open(&options).unwrap();
    let _follower = wait(follow(dir, journal));
    let begun = Moment::wall(at(run.parse().unwrap_or(0)));
    wait(journal.begin(begun)).unwrap();
    let admit = |admission: Admission| async move {
        let clear = [(subscription("x").account, CLEARED)].into();
        let admission = Admission { clear, ..admission };
        loop {
            match journal.admit(admission.clone()).await {
                Ok(admitted) => return admitted,
                Err(AdmitError::NoRoom(_)) => {
                    say("full".to_owned());
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    wait(join_all((0..8_u32).map(|caller| async move {
        for n in 0_u32.. {
            if caller == 0 {
                let batch = admit(many(&format!("old-{run}-{n}"), 100)).await.batch;
                come_and_go(journal, batch).await;
                continue;
            }
            let request = format!("{run}-{caller}-{n}");
            let items = n % 40 + 1;
            let batch = admit(many(&request, items)).await.batch;
            say(format!("ack {request} {items} 0 none"));
            let outcome = if n % 3 == 0 {
                Outcome::Unavailable
            } else {
                Outcome::Canceled
            };
            let settle = (0..items)
                .filter(|index| index % 5 != 4)
                .map(|index| Settlement {
                    id: id(batch, index),
                    settled: settled(outcome),
                });
            let settle: Vec<_> = settle.collect();
            let settled = settle.len();
            // What stays open may be sent from now on.
            let rest = (0..items).filter(|index| index % 5 == 4);
            let group = Group {
                clearances: vec![Clearance {
                    at: begun,
                    items: rest.map(|index| id(batch, index)).collect(),
                }],
                ..Group::from(settle)
            };
            journal.settle(group).await.unwrap();
            say(format!("ack {request} {items} {settled} {outcome:?}"));
            if n % 7 == 0 {
                admit(many(&request, items)).await;
                if outcome == Outcome::Unavailable {
                    say(format!("ack {request} {items} 0 again"));
                }
            }
        }
    })));
    panic!("it is killed before it counts that far")
}

/// Takes in a line of the child's; whether it acknowledged anything.
pub(super) fn hear(line: &str, acknowledged: &mut Acknowledged) -> bool {
    let Some((_, ack)) = line.split_once("ack ") else {
        return false;
    };
    let [request, items, settled, outcome] = ack.split(' ').collect::<Vec<_>>()[..] else {
        return false;
    };
    let state = (
        items.parse().unwrap(),
        settled.parse().unwrap(),
        outcome.to_owned(),
    );
    acknowledged.insert(request.to_owned(), state);
    true
}

fn say(line: String) {
    writeln!(std::io::stdout().lock(), "{line}").unwrap();
}

/// Settles what is old already, and purges it: nobody is told of it.
async fn come_and_go(journal: &SledJournal, batch: BatchId) {
    let settle = (0..100).map(|index| Settlement {
        id: id(batch, index),
        settled: settled_at(Outcome::Canceled, -1_000),
    });
    journal
        .settle(settle.collect::<Vec<_>>().into())
        .await
        .unwrap();
    journal.purge(at(-500), 100).await.unwrap();
}

/// Runs the child until it acknowledged so many writes, and some more or less time.
fn kill(dir: &Path, run: u64, random: &mut fastrand::Rng, acknowledged: &mut Acknowledged) {
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(DIR, dir)
        .env(RUN, run.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Every fourth is killed around its opening.
    let acknowledgements = if run % 4 == 3 { 0 } else { random.u32(1..200) };
    for _ in 0..random.u32(0..2_000_000) {
        std::hint::spin_loop();
    }
    let mut seen = 0;
    let mut take = |line: &str| u32::from(hear(line, acknowledged));
    while seen < acknowledgements {
        seen += take(&lines.next().expect("the child lives").unwrap());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it died counts, if it was said whole.
    for line in lines
        .map_while(Result::ok)
        .filter(|line| line.ends_with(char::is_alphanumeric))
    {
        let is_whole = ["none", "again", "Unavailable", "Canceled"];
        if is_whole.iter().any(|end| line.ends_with(end)) {
            take(&line);
        }
    }
}

/// Everything that was acknowledged is there and in the audit, and nothing is half.
#[track_caller]
pub(super) fn check(dir: &Path, acknowledged: &Acknowledged, told: &mut Told, seed: u64) {
    let mut out = Vec::new();
    let offline =
        Offline::open(&SledJournalOptions::new(dir)).map(|offline| offline.verify(&mut out));
    match offline {
        Ok(report) => {
            let out = String::from_utf8_lossy(&out).into_owned();
            assert_eq!(report.unwrap().problems, 0, "{out}, seed {seed}");
        }
        // It was killed before there was a journal.
        Err(OpenError::Io { .. }) if acknowledged.is_empty() => {}
        Err(error) => panic!("{error}, seed {seed}"),
    }
    let journal = open_audited(dir);
    told.look(dir, &journal, seed);
    let open = journal.open_items().unwrap().into_iter();
    let open: BTreeMap<_, _> = open.map(|open| (open.id, open.doubt)).collect();
    for (request, (items, settled, said)) in acknowledged {
        let record = journal
            .find(
                &scope(),
                &key(&format!("{request}/0")),
                &ReadLimits::default(),
            )
            .unwrap();
        let record = record.unwrap_or_else(|| panic!("{request} is lost, seed {seed}"));
        let batch = journal
            .batch(record.id.batch, &ReadLimits::default())
            .unwrap()
            .unwrap();
        let records: Vec<_> = batch.items.into_iter().map(Option::unwrap).collect();
        assert_eq!(
            records.len(),
            usize::try_from(*items).unwrap(),
            "{request}, seed {seed}"
        );
        told.check(&journal.names(), &records, seed);
        let found: Vec<_> = records.iter().filter_map(outcome).collect();
        // All of a write is there or nothing, and what was acknowledged is.
        let whole = records
            .iter()
            .filter(|record| record.id.index % 5 != 4)
            .count();
        assert!(
            found.is_empty() || found.len() == whole,
            "{request}, seed {seed}"
        );
        // Whatever was cleared before it was said so may have been sent.
        let is_cleared = |index: &u32| match said.as_str() {
            "none" => usize::try_from(*index).unwrap() < CLEARED,
            "again" => true,
            _ => index % 5 == 4,
        };
        for index in (0..*items).filter(is_cleared) {
            let doubt = open.get(&id(record.id.batch, index));
            assert!(
                doubt.is_none_or(Option::is_some),
                "{request}/{index} was cleared, seed {seed}"
            );
        }
        match said.as_str() {
            "none" | "again" => {}
            // It may have been taken up again, and not lived to say so.
            "Unavailable" => assert!(found.len() == *settled || found.is_empty()),
            _ => assert_eq!(
                found,
                vec![Outcome::Canceled; *settled],
                "{request}, seed {seed}"
            ),
        }
    }
}
