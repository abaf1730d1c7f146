//! Checks the promises, each with what was seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::Results;
use crate::{
    rpc::proto::{Outcome, SubscriptionResult},
    sandbox::{Control, Provider},
};

/// The checked promises.
#[derive(Debug, Default)]
pub(super) struct Proof {
    checks: Vec<(bool, String)>,
}

impl Proof {
    fn check(&mut self, held: bool, claim: String) {
        self.checks.push((held, claim));
    }

    /// Whether every promise held, and at least one was checked.
    pub(super) fn held(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|(held, _)| *held)
    }

    /// Admitted means finished: one outcome per item, and each of them final.
    pub(super) fn everything_settled(&mut self, total: usize, results: &Results) {
        let settled = results.subscriptions.len() + results.enrollments.len();
        let places: BTreeSet<_> = results
            .subscriptions
            .iter()
            .map(|result| (0, result.index))
            .chain(results.enrollments.iter().map(|result| (1, result.index)))
            .collect();
        let open =
            results
                .summary
                .with(&[Outcome::Unavailable, Outcome::InDoubt, Outcome::Stopped]);
        self.check(
            settled == total && places.len() == total && open == 0,
            format!("all {total} ended in one final outcome each: {settled} did, {open} not final"),
        );
    }

    /// A repeat replays: the same outcomes, all marked as replayed.
    pub(super) fn everything_replayed(&mut self, first: &Results, second: &Results) {
        let replayed = second
            .subscriptions
            .iter()
            .filter(|result| result.replayed)
            .count()
            + second
                .enrollments
                .iter()
                .filter(|result| result.replayed)
                .count();
        let total = first.subscriptions.len() + first.enrollments.len();
        let outcome = |results: &[SubscriptionResult]| -> BTreeMap<u32, i32> {
            results
                .iter()
                .map(|result| (result.index, result.outcome))
                .collect()
        };
        let same = first.summary == second.summary
            && outcome(&first.subscriptions) == outcome(&second.subscriptions);
        self.check(
            same && replayed == total,
            format!("the repeat replayed {replayed} of {total}, with the same outcomes: {same}"),
        );
    }

    /// A repeat sends nothing.
    pub(super) fn providers_saw_nothing(&mut self, before: u64, after: u64) {
        self.check(
            before == after,
            format!(
                "the providers saw {} requests of the repeat",
                after - before
            ),
        );
    }

    /// Never twice, and done where reported as done: by the providers' own counts.
    pub(super) fn effects(&mut self, control: &Control, results: &Results) {
        let providers = [
            Provider::Rebilly,
            Provider::Solidgate,
            Provider::FunnelFox,
            Provider::Revolv3,
        ];
        for provider in providers {
            let name = provider.name();
            let effects = control.effects(provider);
            let twice = effects.values().filter(|count| **count > 1).count();
            let of_provider = results.subscriptions.iter().filter(|r| r.account == name);
            let mismatched = of_provider
                .filter(|result| {
                    let effect = effects.get(&result.subscription_id);
                    !agree(result, effect.copied().unwrap_or_default())
                })
                .count();
            let requests = control.counts(provider).requests;
            self.check(
                twice == 0 && mismatched == 0,
                format!(
                    "{name} took {requests} requests and counted {} effects, {twice} of them \
                     twice; {mismatched} results say otherwise",
                    effects.values().sum::<u64>()
                ),
            );
        }
        let enrollments = control.effects(Provider::Sequenzy);
        let twice = enrollments.values().filter(|count| **count > 1).count();
        let told: u64 = results
            .enrollments
            .iter()
            .map(|result| result.canceled_count)
            .sum();
        let counted: u64 = enrollments.values().sum();
        // After a lost reply a count is a lower bound, and is marked as one.
        let bounded = results
            .enrollments
            .iter()
            .any(|result| result.confirmed_by_lookup);
        self.check(
            twice == 0 && (told == counted || (bounded && told < counted)),
            format!(
                "sequenzy took {} requests and counted {counted} effects, {twice} of them twice; \
                 the results say {told}{}",
                control.counts(Provider::Sequenzy).requests,
                if bounded { " or more" } else { "" }
            ),
        );
    }
}

/// Whether a result agrees with the provider's count. A result confirmed by a lookup after a lost
/// reply says that the goal is reached, not who reached it.
fn agree(result: &SubscriptionResult, effect: u64) -> bool {
    let done = [Outcome::Canceled, Outcome::Scheduled].contains(&result.outcome());
    match (done, result.confirmed_by_lookup) {
        (true, true) => effect <= 1,
        (true, false) => effect == 1,
        (false, _) => effect == 0,
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (held, claim) in &self.checks {
            writeln!(f, "  {} {claim}", if *held { "held  " } else { "BROKEN" })?;
        }
        let verdict = if self.held() {
            "Every promise held."
        } else {
            "A promise was broken."
        };
        f.write_str(verdict)
    }
}
