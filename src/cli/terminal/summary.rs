//! A table of results by account and outcome.

use std::collections::BTreeMap;

use comfy_table::CellAlignment;

use crate::{cli::terminal, rpc::proto::Outcome};

/// Counts of results by account and outcome.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Summary {
    counts: BTreeMap<String, BTreeMap<i32, u64>>,
}

impl Summary {
    /// Counts a result.
    pub(in crate::cli) fn count(&mut self, account: &str, outcome: Outcome) {
        let outcomes = self.counts.entry(account.to_owned()).or_default();
        *outcomes.entry(outcome.into()).or_default() += 1;
    }

    /// The number of results with one of these outcomes.
    pub(in crate::cli) fn with(&self, wanted: &[Outcome]) -> u64 {
        let is_wanted = |outcome: &i32| wanted.iter().any(|w| i32::from(*w) == *outcome);
        let all = self.counts.values().flatten();
        all.filter(|(outcome, _)| is_wanted(outcome))
            .map(|(_, count)| count)
            .sum()
    }

    /// The number of results.
    #[cfg(feature = "sandbox")]
    pub(in crate::cli) fn total(&self) -> u64 {
        self.counts.values().flat_map(BTreeMap::values).sum()
    }

    /// The table, with a column for each outcome that occurs.
    pub(in crate::cli) fn table(&self) -> String {
        let mut outcomes: Vec<i32> = self
            .counts
            .values()
            .flat_map(BTreeMap::keys)
            .copied()
            .collect();
        outcomes.sort_unstable();
        outcomes.dedup();
        let mut table = terminal::table();
        let names = outcomes.iter().map(|outcome| name(*outcome));
        let header = ["account".to_owned()].into_iter().chain(names);
        table.set_header(header.chain(["total".to_owned()]));
        for (account, counts) in &self.counts {
            let of = |outcome: &i32| counts.get(outcome).copied().unwrap_or_default();
            let cells = outcomes.iter().map(|outcome| of(outcome).to_string());
            let total: u64 = counts.values().sum();
            let row = [account.clone()].into_iter().chain(cells);
            table.add_row(row.chain([total.to_string()]));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.trim_fmt()
    }
}

/// The outcome's name, without its prefix.
pub(in crate::cli) fn name(outcome: i32) -> String {
    let outcome = Outcome::try_from(outcome).unwrap_or_default();
    outcome
        .as_str_name()
        .trim_start_matches("OUTCOME_")
        .to_owned()
}
