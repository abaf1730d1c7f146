//! Builds requests from rows.

use super::Sending;
use crate::{
    cli::{
        client::Cancelling,
        input::{EnrollmentsRow, Row, SubscriptionRow},
        terminal::{output::Shown, words::plural},
    },
    domain::{
        account::Timing,
        command::{EnrollmentsCommand, ProviderOptions, SubscriptionCommand},
    },
    rpc::{
        proto::{CancelEnrollmentsRequest, CancelSubscriptionRequest},
        render,
    },
};

/// A kind of row that can be sent.
pub(super) trait Sendable: Row {
    /// Its request.
    type Request: Cancelling<Result: Shown>;
    /// A number of its items, in words.
    fn what(count: usize) -> String;
    /// The request of these rows.
    fn request(key: String, rows: &[Self], sending: &Sending) -> Self::Request;
    /// Its account and timing, for the confirmation.
    fn kind(&self) -> String;
}

impl Sendable for SubscriptionRow {
    type Request = CancelSubscriptionRequest;

    fn what(count: usize) -> String {
        plural(count, "subscription")
    }

    fn request(key: String, rows: &[Self], sending: &Sending) -> Self::Request {
        let item = |row: &Self| {
            let mut item = render::subscription_command(&SubscriptionCommand {
                account: row.account.clone(),
                subscription_id: row.subscription_id.clone(),
                when: row.when,
                reason: row.reason,
                comment: row.comment.clone(),
                initiated_by: row.initiated_by,
                prorate: row.prorate,
                line_items: row.line_items.clone(),
                options: row
                    .channel_id
                    .clone()
                    .map(|channel_id| ProviderOptions::Solidgate {
                        channel_id: Some(channel_id),
                    }),
            });
            let own = row.idempotency_key.as_ref();
            item.idempotency_key = own.map(ToString::to_string).unwrap_or_default();
            item
        };
        CancelSubscriptionRequest {
            idempotency_key: key,
            cancellations: rows.iter().map(item).collect(),
            dry_run: sending.dry_run,
            retry_window: sending.retry_window(),
            include_provider_response: false,
        }
    }

    fn kind(&self) -> String {
        let timing = Timing::from(self.when);
        format!("{} ({})", self.account, timing.name())
    }
}

impl Sendable for EnrollmentsRow {
    type Request = CancelEnrollmentsRequest;

    fn what(count: usize) -> String {
        plural(count, "enrollment target")
    }

    fn request(key: String, rows: &[Self], sending: &Sending) -> Self::Request {
        let item = |row: &Self| {
            let mut item = render::enrollments_command(&EnrollmentsCommand {
                account: row.account.clone(),
                sequence_id: row.sequence_id.clone(),
                target: row.target.clone(),
                reason: row.reason.clone(),
                matches_max: row.max_matches,
            });
            let own = row.idempotency_key.as_ref();
            item.idempotency_key = own.map(ToString::to_string).unwrap_or_default();
            // The confirmation, or --yes, replaces the explicit `dry_run: false` that the API
            // requires.
            item.dry_run = Some(row.dry_run.unwrap_or(false));
            item
        };
        CancelEnrollmentsRequest {
            idempotency_key: key,
            cancellations: rows.iter().map(item).collect(),
            dry_run: sending.dry_run,
            retry_window: sending.retry_window(),
            include_provider_response: false,
        }
    }

    fn kind(&self) -> String {
        let dry = if self.dry_run == Some(true) {
            ", dry run"
        } else {
            ""
        };
        format!("{}{dry}", self.account)
    }
}
