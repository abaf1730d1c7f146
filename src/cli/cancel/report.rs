//! What is shown of results: one by one or as lines, then a summary, and how the command ends.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::{
    cli::{
        Exit, client,
        output::Shown,
        summary::Summary,
        terminal::{self, out},
    },
    rpc::proto::Outcome,
};

/// Results that are shown one by one; of more, those that failed.
const ROWS_SHOWN_MAX: usize = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Table,
    Jsonl,
}

/// What came of it all.
pub(super) struct Report {
    output: Output,
    /// Whether the input is so short that every row of it is shown.
    few: bool,
    /// The lines of the input's rows; empty if they have none.
    lines: Vec<u64>,
    summary: Summary,
    /// By the row's place in the input.
    outcomes: BTreeMap<usize, Outcome>,
    /// What is shown of them, in the input's order: of a long input, those that failed.
    rows: BTreeMap<usize, [String; 4]>,
}

impl Report {
    /// Of an input with so many rows.
    pub(super) fn new(output: Output, rows: usize, lines: Vec<u64>) -> Self {
        Self {
            output,
            few: rows <= ROWS_SHOWN_MAX,
            lines,
            summary: Summary::default(),
            outcomes: BTreeMap::new(),
            rows: BTreeMap::new(),
        }
    }

    /// Adds the result of the row at a place, from 0.
    pub(super) fn add<T: Shown + client::Outcome>(&mut self, at: usize, result: &T) {
        let outcome = result.outcome();
        self.summary.count(result.account(), outcome);
        self.outcomes.insert(at, outcome);
        match self.output {
            Output::Jsonl => {
                let mut json = result.json();
                if let (Some(line), Value::Object(members)) = (self.lines.get(at), &mut json) {
                    members.insert("line".to_owned(), json!(line));
                }
                out(terminal::json(&json));
            }
            Output::Table if self.few || !is_success(outcome) => {
                self.rows.insert(at, result.cells());
            }
            Output::Table => {}
        }
    }

    /// Whether there is no result yet.
    pub(super) fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// The outcome of the row at a place.
    pub(super) fn outcome(&self, at: usize) -> Option<Outcome> {
        self.outcomes.get(&at).copied()
    }

    /// Shows what was not shown as it came. Rows that failed and are not shown are counted, and are
    /// in a file if somebody asked for one.
    pub(super) fn show(&self, in_file: bool) {
        if self.output == Output::Jsonl || self.is_empty() {
            return;
        }
        let more = self.rows.len().saturating_sub(ROWS_SHOWN_MAX);
        if !self.rows.is_empty() {
            let mut table = terminal::table();
            let header = ["account", "target", "outcome", ""];
            let line = (!self.lines.is_empty()).then_some("line");
            table.set_header(line.into_iter().chain(header));
            for (at, cells) in self.rows.iter().take(ROWS_SHOWN_MAX) {
                let line = self.lines.get(*at).map(ToString::to_string);
                table.add_row(line.iter().chain(cells).map(|cell| terminal::cell(cell)));
            }
            out(table.trim_fmt());
        }
        if more > 0 {
            let remedy = if in_file {
                ""
            } else {
                "; --failed-to FILE writes all of them to a file that can be sent again"
            };
            out(format!("and {more} more{remedy}"));
        }
        if !self.few {
            out(self.summary.table());
        }
    }

    pub(super) fn exit(&self) -> Exit {
        let unfinished = [Outcome::Unavailable, Outcome::InDoubt, Outcome::Stopped];
        if self.summary.with(&unfinished) > 0 {
            Exit::Unfinished
        } else if self.summary.with(&[Outcome::NotFound, Outcome::Rejected]) > 0 {
            Exit::Failure
        } else {
            Exit::Success
        }
    }
}

/// Whether what was asked for is so.
pub(super) fn is_success(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Canceled
            | Outcome::Scheduled
            | Outcome::AlreadyCanceled
            | Outcome::AlreadyScheduled
            | Outcome::Previewed
    )
}

/// Whether the same key replays it for ever.
pub(super) fn is_final(outcome: Outcome) -> bool {
    is_success(outcome) || matches!(outcome, Outcome::NotFound | Outcome::Rejected)
}
