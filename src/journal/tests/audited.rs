//! The audit of a journal that is cut off: what it tells of each item is what the records say,
//! each thing once, in order.

use std::{collections::HashMap, io::BufRead as _, time::Duration};

use serde_json::Value;

use super::*;
use crate::{
    audit::{
        AuditTask, Sink, Usage,
        chain::verify::{KnownHead, verify},
        segments::Segment,
    },
    domain::opaque::Names,
    journal::sled_journal::SledJournal,
    observe::TaskSupervisor,
};

/// More than an end takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What an audit has told so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    lines: u64,
    items: HashMap<(String, u64), Vec<String>>,
}

/// Which items of its batch a line is of.
fn indexes(line: &Value) -> Vec<u64> {
    let number = |value: &Value| value.as_u64().unwrap();
    match line["indexes"].as_array() {
        Some(ranges) => ranges
            .iter()
            .flat_map(|range| number(&range[0])..=number(&range[1]))
            .collect(),
        None => vec![number(&line["index"])],
    }
}

fn dir_in(dir: &Path) -> std::path::PathBuf {
    dir.join("audit")
}

/// Follows a journal as the service does.
pub(super) async fn follow(dir: &Path, journal: &SledJournal) -> AuditTask {
    let options = crate::audit::AuditOptions {
        dir: dir_in(dir),
        retention: Duration::from_secs(1_000_000_000),
        now: Arc::new(|| at(0)),
        for_deletions: Arc::new(|| None),
        sink: Sink::default(),
        usage: Usage::default(),
        config: None,
        signer: None,
        shown: crate::audit::Shown::default(),
    };
    AuditTask::start(journal.trail(), options, &TaskSupervisor::default())
        .await
        .unwrap()
}

impl Told {
    /// Lets the audit of a journal come to its end, and reads what it says since the last look.
    #[track_caller]
    pub(super) fn look(&mut self, dir: &Path, journal: &SledJournal, seed: u64) {
        wait(async { follow(dir, journal).await.stop(PATIENCE).await }).unwrap();
        for segment in Segment::list(&dir_in(dir)).unwrap() {
            let file = std::io::BufReader::new(std::fs::File::open(&segment.path).unwrap());
            for (seq, line) in (segment.first..).zip(file.lines()) {
                if seq > self.lines {
                    self.lines = seq;
                    let line = line.unwrap();
                    self.take(&serde_json::from_str(&line).unwrap(), seed);
                }
            }
        }
    }

    #[track_caller]
    fn take(&mut self, line: &Value, seed: u64) {
        let event = line["event"].as_str().unwrap();
        if event == "started" {
            return;
        }
        let batch = line["batch"].as_str().unwrap_or_default().to_owned();
        for index in indexes(line) {
            self.take_item(line, event, (batch.clone(), index), seed);
        }
    }

    #[track_caller]
    fn take_item(&mut self, line: &Value, event: &str, item: (String, u64), seed: u64) {
        let told = self.items.entry(item).or_default();
        let before = told.last().map(String::as_str);
        let follows = match event {
            "admitted" => before.is_none(),
            "settled" => matches!(before, Some("admitted" | "opened")),
            "opened" => before == Some("settled"),
            _ => false,
        };
        assert!(follows, "after {before:?}: {line}, seed {seed}");
        told.push(event.to_owned());
    }

    /// What it tells of these items is what is recorded of them.
    #[track_caller]
    pub(super) fn check(&self, names: &Names, records: &[Record], seed: u64) {
        for record in records {
            let item = (
                names.of(record.id.batch).to_string(),
                u64::from(record.id.index),
            );
            let told = self.items.get(&item).and_then(|told| told.last());
            let told = told.unwrap_or_else(|| panic!("{} is not told of, seed {seed}", record.id));
            let is_settled = outcome(record).is_some();
            assert_eq!(told == "settled", is_settled, "{}, seed {seed}", record.id);
        }
    }
}

/// Nothing in the chain was changed, and it ends where the journal says.
#[track_caller]
pub(super) fn check_chain(dir: &Path, seed: u64) {
    let mut problems = Vec::new();
    let report = verify(&dir_in(dir), &KnownHead::default(), |problem| {
        problems.push(problem.clone());
        Ok(())
    });
    let report = report.unwrap();
    assert_eq!(report.problems, 0, "{problems:?}, seed {seed}");
    assert!(report.lines > 0);
}
