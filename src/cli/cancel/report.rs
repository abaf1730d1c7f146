//! Shows results one by one or as lines, then a summary; decides the exit code.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::{
    cli::{
        Exit, client,
        terminal::{self, out, output::Shown, summary::Summary},
    },
    rpc::proto::Outcome,
};

/// Results shown one by one at most; of a longer input, only failures are shown.
const ROWS_SHOWN_MAX: usize = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Table,
    Jsonl,
}

/// The results of an input.
pub(super) struct Report {
    output: Output,
    /// Whether the input is short enough to show every row.
    few: bool,
    /// The lines of the input's rows; empty without a file.
    lines: Vec<u64>,
    summary: Summary,
    /// Outcomes by the row's index in the input.
    outcomes: BTreeMap<usize, Outcome>,
    /// Indexes of rows whose key continues when it is repeated.
    unfinished: BTreeSet<usize>,
    /// Shown rows in the input's order: of a long input, the failed ones.
    rows: BTreeMap<usize, [String; 4]>,
}

impl Report {
    /// The report of an input with this many rows.
    pub(super) fn new(output: Output, rows: usize, lines: Vec<u64>) -> Self {
        Self {
            output,
            few: rows <= ROWS_SHOWN_MAX,
            lines,
            summary: Summary::default(),
            outcomes: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            rows: BTreeMap::new(),
        }
    }

    /// Adds the result of the row at an index.
    pub(super) fn add<T: Shown + client::Outcome>(&mut self, at: usize, result: &T) {
        let outcome = result.outcome();
        self.summary.count(result.account(), outcome);
        self.outcomes.insert(at, outcome);
        if is_unfinished(outcome, result.is_final()) {
            self.unfinished.insert(at);
        }
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

    /// The outcome of the row at an index.
    pub(super) fn outcome(&self, at: usize) -> Option<Outcome> {
        self.outcomes.get(&at).copied()
    }

    /// Whether the key of a row continues when it is repeated.
    pub(super) fn is_unfinished(&self, at: usize) -> bool {
        self.unfinished.contains(&at)
    }

    /// Shows the table and summary. Failed rows that are not shown are counted, and are in a file
    /// if one was requested.
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
        // Of outcomes in doubt, only DOUBT_UNRESOLVED is final.
        let failed = [Outcome::NotFound, Outcome::Rejected, Outcome::InDoubt];
        if !self.unfinished.is_empty() {
            Exit::Unfinished
        } else if self.summary.with(&failed) > 0 {
            Exit::Failure
        } else {
            Exit::Success
        }
    }
}

/// Whether the goal is reached.
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

/// Services of earlier versions do not send `final`, so the outcome decides for them.
fn is_unfinished(outcome: Outcome, is_final: bool) -> bool {
    let may_be = matches!(
        outcome,
        Outcome::Unavailable | Outcome::InDoubt | Outcome::Stopped
    );
    may_be && !is_final
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::proto::SubscriptionResult;

    fn exit(results: &[(Outcome, bool)]) -> Exit {
        let mut report = Report::new(Output::Table, results.len(), Vec::new());
        for (at, (outcome, is_final)) in results.iter().enumerate() {
            let result = SubscriptionResult {
                outcome: (*outcome).into(),
                is_final: *is_final,
                ..Default::default()
            };
            report.add(at, &result);
        }
        report.exit()
    }

    #[test]
    fn the_same_command_is_asked_for_again_only_if_a_key_goes_on() {
        for (results, expected) in [
            (&[(Outcome::Canceled, true)][..], Exit::Success),
            (&[(Outcome::InDoubt, false)], Exit::Unfinished),
            (&[(Outcome::InDoubt, true)], Exit::Failure),
            (
                &[(Outcome::InDoubt, true), (Outcome::Stopped, false)],
                Exit::Unfinished,
            ),
            // A dry run is never final.
            (&[(Outcome::NotFound, false)], Exit::Failure),
            (&[(Outcome::Previewed, false)], Exit::Success),
        ] {
            assert_eq!(exit(results), expected, "{results:?}");
        }
    }
}
