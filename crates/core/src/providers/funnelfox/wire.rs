//! FunnelFox replies: their format, and tolerant reading of subscriptions and errors.

use jiff::Timestamp;

use crate::{
    domain::{
        account::FunnelFoxEnd,
        http_exchange::{Operation, Response},
        outcome::{ProviderError, SubscriptionDetail, SubscriptionState, SubscriptionStatus},
    },
    providers::{
        Envelope, Sight, Task,
        cancel_then_lookup::{self, CANCEL, LOOK, Lookup, Phase},
        reply::{
            answer_subject::{self, CancelCause},
            http_status,
            json::{JsonField, JsonReader},
        },
    },
};

use super::{FunnelFox, ends};

/// `{message}` in an error, `id` and `status` in a subscription.
impl Envelope for FunnelFox {
    fn is_error(&self, response: &Response) -> bool {
        let body = JsonReader(response.json.as_ref());
        body.at("message").text().is_some()
    }

    fn documents(&self, operation: Operation, response: &Response) -> bool {
        match operation {
            LOOK => response.status == 404,
            _ => matches!(response.status, 400 | 404),
        }
    }

    fn names(&self, task: &Task<'_>, _operation: Operation) -> Vec<(&'static str, String)> {
        vec![("id", task.command.resource().as_str().to_owned())]
    }

    fn shows(&self, task: &Task<'_>, operation: Operation, response: &Response) -> Sight {
        let ends = ends(task.account);
        let found = ends.and_then(|ends| read(operation, response, ends));
        cancel_then_lookup::sight(task, found)
    }

    fn looks(&self) -> &'static [Operation] {
        &[LOOK]
    }

    fn is_sent_once(&self) -> bool {
        true
    }

    fn is_message_only(&self) -> bool {
        true
    }
}

/// `{message}`.
pub(super) fn read_error(response: &Response) -> ProviderError {
    let message = JsonReader(response.json.as_ref()).at("message").text();
    http_status::provider_error(response, None, message, Vec::new())
}

pub(super) fn read(
    operation: Operation,
    response: &Response,
    ends: FunnelFoxEnd,
) -> Option<Lookup> {
    let body = JsonReader(response.json.as_ref());
    let word = body.at("status").text()?;
    let period_end = body.at("period_ends_at").time();
    let canceled_at = body.at("cancelled_at").time();
    let (life, status) = match life(operation, body, ends) {
        (Phase::Ending, SubscriptionStatus::Canceled)
            if period_end.is_some_and(|end| as_of(response).is_some_and(|now| end <= now)) =>
        {
            (Phase::Ended, SubscriptionStatus::Canceled)
        }
        (Phase::Ending, _) => (Phase::Ending, SubscriptionStatus::Scheduled),
        other => other,
    };
    let effective_at = match (life, ends) {
        (Phase::Ending, _) => period_end,
        (Phase::Ended, FunnelFoxEnd::PeriodEnd) => period_end.or(canceled_at),
        (Phase::Ended, FunnelFoxEnd::Now) => canceled_at.or(period_end),
        (Phase::Running | Phase::Unknown, _) => None,
    };
    let cause = match (status, canceled_at) {
        (SubscriptionStatus::Expired, None) => CancelCause::Itself,
        (_, canceled_at) => CancelCause::Asked(canceled_at),
    };
    let state = SubscriptionState {
        status,
        provider_status: http_status::cut(word),
        period_end,
        canceled_at,
        renews: body.at("renews").flag(),
        customer_id: body.at("profile").at("id").id(),
        payment_provider: body.at("payment_provider").text().map(http_status::cut),
        cancellation_id: None,
        provider_reason: body.at("cancellation_reason").text().map(http_status::cut),
        sandbox: body.at("sandbox").flag(),
    };
    let detail = SubscriptionDetail {
        effective_at,
        state: Some(state),
        charges: None,
    };
    Some(Lookup {
        life,
        detail,
        timing: None,
        with_period: true,
        cause,
    })
}

/// The phase from the status and `renews` together. With renewal off, a subscription runs to the
/// end of the paid period with its status unchanged. Some that are not running may never have had
/// renewal on; for those it only counts together with a cancellation, or in the reply to our own
/// cancel.
fn life(
    operation: Operation,
    body: JsonReader<'_>,
    ends: FunnelFoxEnd,
) -> (Phase, SubscriptionStatus) {
    let word = body.at("status").word().unwrap_or_default();
    let off = body.at("renews").flag() == Some(false);
    let vouched = operation == CANCEL || body.at("cancelled_at").told() != JsonField::Nothing;
    let (status, runs) = match word.as_str() {
        "canceled" => {
            let life = match ends {
                FunnelFoxEnd::PeriodEnd => Phase::Ending,
                FunnelFoxEnd::Now => Phase::Ended,
            };
            return (life, SubscriptionStatus::Canceled);
        }
        "expired" => return (Phase::Ended, SubscriptionStatus::Expired),
        "active" => (SubscriptionStatus::Active, true),
        "trialing" => (SubscriptionStatus::Trialing, true),
        "created" => (SubscriptionStatus::Pending, false),
        "paused" => (SubscriptionStatus::Paused, false),
        "unpaid" => (SubscriptionStatus::PastDue, false),
        _ => (SubscriptionStatus::Unknown, false),
    };
    if off && (runs || vouched) {
        return (Phase::Ending, status);
    }
    match status {
        SubscriptionStatus::Unknown => (Phase::Unknown, status),
        _ => (Phase::Running, status),
    }
}

/// The latest time in the reply itself. A period that is over by then has ended, even if the status
/// does not say so yet.
fn as_of(response: &Response) -> Option<Timestamp> {
    let body = JsonReader(response.json.as_ref());
    let dates = [
        answer_subject::date(response),
        body.at("updated_at").time(),
        body.at("cancelled_at").time(),
    ];
    dates.into_iter().flatten().max()
}
