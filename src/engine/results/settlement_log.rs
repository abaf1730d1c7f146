//! Metrics and log line of a recorded outcome. The line has no ids but the batch's and no free
//! text: a key or a provider's id may be an e-mail address.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    domain::{account::Account, opaque::Names},
    journal::Settlement,
    observe::{AccountMeters, RequestContext},
};

/// What the log line says of an item beside its outcome.
#[derive(Debug)]
pub(in crate::engine) struct SettlementLog {
    pub(in crate::engine) account: Arc<Account>,
    pub(in crate::engine) meters: Arc<AccountMeters>,
    pub(in crate::engine) from: RequestContext,
    pub(in crate::engine) names: Arc<Names>,
    /// When it was admitted or taken up again.
    pub(in crate::engine) since: Instant,
}

impl SettlementLog {
    /// Counts the outcome. Before it is published, so that a client which has a result finds it in
    /// the next scrape.
    pub(in crate::engine) fn count(&self, settlement: &Settlement) {
        let conclusion = &settlement.settled.conclusion;
        self.meters.outcomes.inc(conclusion.outcome);
        if let Some(failure) = &conclusion.failure {
            self.meters.failures.inc(failure.reason);
        }
        self.meters.settle_time.time(self.since.elapsed());
    }

    /// Writes the log line. After it is published, because logging takes time.
    pub(in crate::engine) fn write(&self, settlement: &Settlement) {
        let conclusion = &settlement.settled.conclusion;
        let took = self.since.elapsed();
        tracing::info!(
            account = %self.account.name,
            provider = self.account.provider().name(),
            outcome = conclusion.outcome.name(),
            reason = conclusion.failure.as_ref().map(|failure| failure.reason.name()),
            batch = %self.names.of(settlement.id.batch),
            index = settlement.id.index,
            attempts = settlement.settled.attempts,
            duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            request_id = self.from.id().map(tracing::field::display),
            "cancellation settled"
        );
    }
}
