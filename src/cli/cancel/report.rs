//! What is shown of results: one by one or as lines, then a summary, and how the command ends.

use clap::ValueEnum;
use comfy_table::{Table, presets::NOTHING};

use crate::{
    cli::{Exit, client, output::Shown, summary::Summary, terminal::out},
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
    summary: Summary,
    rows: Vec<[String; 4]>,
    failed: Vec<[String; 4]>,
}

impl Report {
    pub(super) fn new(output: Output) -> Self {
        Self {
            output,
            summary: Summary::default(),
            rows: Vec::new(),
            failed: Vec::new(),
        }
    }

    pub(super) fn add<T: Shown + client::Outcome>(&mut self, result: &T) {
        self.summary.count(result.account(), result.outcome());
        match self.output {
            Output::Jsonl => out(result.json().to_string()),
            Output::Table => {
                let failed = !is_success(result.outcome());
                if failed && self.failed.len() < ROWS_SHOWN_MAX {
                    self.failed.push(result.cells());
                }
                if self.rows.len() <= ROWS_SHOWN_MAX {
                    self.rows.push(result.cells());
                }
            }
        }
    }

    pub(super) fn show(&self) {
        if self.output == Output::Jsonl || self.summary.total() == 0 {
            return;
        }
        let few = self.rows.len() <= ROWS_SHOWN_MAX;
        let shown = if few { &self.rows } else { &self.failed };
        if !shown.is_empty() {
            let mut table = Table::new();
            table.load_style(NOTHING);
            table.set_header(["account", "target", "outcome", ""]);
            for cells in shown {
                table.add_row(cells);
            }
            out(table.to_string());
        }
        if !few {
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

fn is_success(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Canceled
            | Outcome::Scheduled
            | Outcome::AlreadyCanceled
            | Outcome::AlreadyScheduled
            | Outcome::Previewed
    )
}
