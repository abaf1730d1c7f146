//! Solidgate replies: their format, and tolerant reading of subscriptions and errors.

use serde_json::Value;

use crate::{
    domain::{
        http_exchange::{Operation, Response},
        outcome::{ProviderError, SubscriptionDetail, SubscriptionState, SubscriptionStatus},
    },
    providers::{
        Envelope, Sight, Task,
        cancel_then_lookup::{self, LOOK, Lookup, Phase},
        reply::{
            answer_subject::CancelCause,
            http_status,
            json::{JsonField, JsonReader, plain},
        },
    },
};

use super::Solidgate;

/// `{code, message}` in an error, `id` and `status` in a subscription.
impl Envelope for Solidgate {
    fn is_error(&self, response: &Response) -> bool {
        let body = JsonReader(response.json.as_ref());
        body.at("code").text().is_some() && body.at("message").text().is_some()
    }

    fn documents(&self, _operation: Operation, response: &Response) -> bool {
        match (response.status, code(response)) {
            (400, Some("VALIDATION"))
            | (404, Some("NOT_FOUND"))
            | (422, Some("INCOMPATIBLE_STATUS" | "SCHEDULED_FOR_CANCELLATION")) => true,
            (422, _) => is_of_the_key(response),
            _ => false,
        }
    }

    fn names(&self, task: &Task<'_>, _operation: Operation) -> Vec<(&'static str, String)> {
        vec![("id", task.command.resource().as_str().to_owned())]
    }

    fn shows(&self, task: &Task<'_>, _operation: Operation, response: &Response) -> Sight {
        cancel_then_lookup::sight(task, read(JsonReader(response.json.as_ref())))
    }

    fn looks(&self) -> &'static [Operation] {
        &[LOOK]
    }

    fn is_sent_once(&self) -> bool {
        true
    }

    fn betrays_earlier(&self, response: &Response) -> bool {
        is_of_the_key(response)
    }
}

/// Whether a 422 is about a key that was used with another body: its `code` is not documented,
/// those of other 422s are.
pub(super) fn is_of_the_key(response: &Response) -> bool {
    let known = ["INCOMPATIBLE_STATUS", "SCHEDULED_FOR_CANCELLATION"];
    let code = code(response).unwrap_or_default();
    let body = JsonReader(response.json.as_ref());
    let message = body.at("message").text().unwrap_or_default();
    let speaks_of_it = |text: &str| text.to_ascii_lowercase().contains("idempoten");
    response.status == 422
        && !known.contains(&code)
        && (speaks_of_it(code) || speaks_of_it(message))
}

pub(super) fn code(response: &Response) -> Option<&str> {
    JsonReader(response.json.as_ref()).at("code").text()
}

/// `{code, message, context?}`, where `context.constraints` names fields.
pub(super) fn read_error(response: &Response) -> ProviderError {
    let body = JsonReader(response.json.as_ref());
    let JsonReader(constraints) = body.at("context").at("constraints");
    let fields = constraints.and_then(Value::as_object).into_iter().flatten();
    let fields = fields.map(|(field, constraint)| {
        let constraint = JsonReader(Some(constraint));
        let said = constraint.at("message").text();
        let said = said.or_else(|| constraint.at("type").text());
        (field.clone(), http_status::cut(said.unwrap_or_default()))
    });
    let code = body.at("code").id();
    let message = body.at("message").text();
    http_status::provider_error(response, code, message, fields.collect())
}

/// Reads a subscription. The page contradicts itself on which members are required, so only the
/// status is.
pub(super) fn read(body: JsonReader<'_>) -> Option<Lookup> {
    let word = body.at("status").text()?;
    let info = body.at("cancellation_info");
    let cancel_at = info.at("cancel_at");
    let (life, status) = match plain(word).as_str() {
        "canceled" => (Phase::Ended, SubscriptionStatus::Canceled),
        "expired" => (Phase::Ended, SubscriptionStatus::Expired),
        // A time that cannot be read is a schedule all the same.
        _ if cancel_at.told() != JsonField::Nothing => {
            (Phase::Ending, SubscriptionStatus::Scheduled)
        }
        "created" | "pending" => (Phase::Running, SubscriptionStatus::Pending),
        "trialing" => (Phase::Running, SubscriptionStatus::Trialing),
        "active" => (Phase::Running, SubscriptionStatus::Active),
        // Not on the page, but in the dashboard's documentation.
        "paused" => (Phase::Running, SubscriptionStatus::Paused),
        "redemption" | "unpaid" => (Phase::Running, SubscriptionStatus::PastDue),
        _ => (Phase::Unknown, SubscriptionStatus::Unknown),
    };
    let cause = match status {
        SubscriptionStatus::Expired => CancelCause::Itself,
        _ => CancelCause::Asked(info.at("requested_at").time()),
    };
    let item_ends = body.at("line_items").list();
    let period_end = item_ends
        .filter_map(|item| item.at("period").at("end_at").time())
        .max()
        .or_else(|| body.at("next_billing_at").time())
        .or_else(|| body.at("trial_info").at("period").at("end_at").time());
    let state = SubscriptionState {
        status,
        provider_status: http_status::cut(word),
        period_end,
        canceled_at: info.at("requested_at").time(),
        renews: None,
        customer_id: body.at("customer_id").id(),
        payment_provider: None,
        cancellation_id: None,
        provider_reason: info.at("reason").text().map(http_status::cut),
        sandbox: None,
    };
    let detail = SubscriptionDetail {
        effective_at: cancel_at.time(),
        state: Some(state),
        charges: None,
    };
    Some(Lookup {
        life,
        detail,
        timing: None,
        with_period: false,
        cause,
    })
}
