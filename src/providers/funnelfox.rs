//! FunnelFox: `POST /subscriptions/{id}/cancel`, which the payment company behind it carries out.
//!
//! Its exceptions, from the endpoint's page and the dashboard's documentation:
//! - When it ends cannot be chosen. `cancelled` means that it will not renew and runs to the end
//!   of what is paid; `expired` means that it has ended. Accounts whose payment company ends it
//!   at once say so in their settings.
//! - "Already cancelled" is an error whose status is not said (400 or 404): a look decides.
//! - There is no idempotency: after doubt comes a look.
//! - The lists of payment companies contradict each other, so any is passed on.

use jiff::Timestamp;
use serde_json::json;

use crate::domain::{
    account::{Account, Auth, Capabilities, DryRun, FunnelFoxEnd, ProviderSettings, Timing},
    command::SubscriptionCommand,
    exchange::{Body, Exchange, Method, Operation, Path, Request, Response, Safety},
    ids::Kind,
    outcome::{
        FailureReason, ProviderError, SubscriptionDetail, SubscriptionState, SubscriptionStatus,
    },
};

use super::{
    Provider, Step, Task,
    once::{self, Absence, CANCEL, Conversation, Found, LOOK, Life, Refusal},
    reading::Reading,
    status,
};

/// FunnelFox.
pub(super) struct FunnelFox;

impl Provider for FunnelFox {
    fn capabilities(&self, account: &Account) -> Capabilities {
        let timing = match ends(account) {
            Some(FunnelFoxEnd::Now) => Timing::Now,
            Some(FunnelFoxEnd::PeriodEnd) | None => Timing::PeriodEnd,
        };
        Capabilities {
            kind: Kind::Subscription,
            timings: vec![timing, Timing::ProviderDefault],
            prorate: false,
            line_items: false,
            notes: &["reason", "comment"],
            dry_run: DryRun::Lookup,
        }
    }

    fn auth(&self, _account: &Account) -> Auth {
        Auth {
            header: "fox-secret",
            prefix: "",
        }
    }

    fn next(&self, task: &Task<'_>, history: &[Exchange]) -> Step {
        let command = match task.subscription() {
            Ok(command) => command,
            Err(step) => return step,
        };
        let Some(ends) = ends(task.account) else {
            return status::account_changed(task.command);
        };
        let talk = Talk { command, ends };
        match once::next(task, command, history, &talk, read_error) {
            Step::Done(mut conclusion) => {
                // There is one field for both notes, and the words go before the list's.
                if command.comment.is_some() && command.reason.is_some() {
                    conclusion.ignored_fields.insert(0, "reason".into());
                }
                Step::Done(conclusion)
            }
            Step::Send(request) => Step::Send(request),
        }
    }
}

fn ends(account: &Account) -> Option<FunnelFoxEnd> {
    match account.settings {
        ProviderSettings::FunnelFox { cancel_ends } => Some(cancel_ends),
        ProviderSettings::Rebilly { .. }
        | ProviderSettings::Solidgate { .. }
        | ProviderSettings::Revolv3 { .. }
        | ProviderSettings::Sequenzy { .. } => None,
    }
}

struct Talk<'a> {
    command: &'a SubscriptionCommand,
    ends: FunnelFoxEnd,
}

impl Conversation for Talk<'_> {
    /// The body may be left out. An object without a reason means the same and is also taken by
    /// servers that want JSON where they are told to expect it. Without a reason FunnelFox
    /// records "User requested cancellation".
    fn cancel(&self) -> Request {
        let reason = self
            .command
            .reason
            .map(|reason| reason.slug().replace('-', " "));
        let body = match self.command.comment.clone().or(reason) {
            Some(reason) => json!({ "reason": reason }),
            None => json!({}),
        };
        Request {
            operation: CANCEL,
            safety: Safety::Once,
            method: Method::Post,
            path: Path::fixed("subscriptions")
                .segment(self.command.subscription_id.as_str())
                .then("cancel"),
            query: Vec::new(),
            headers: Vec::new(),
            body: Some(Body {
                content_type: "application/json",
                text: body.to_string(),
            }),
        }
    }

    fn look(&self) -> Request {
        Request {
            operation: LOOK,
            safety: Safety::Look,
            method: Method::Get,
            path: Path::fixed("subscriptions").segment(self.command.subscription_id.as_str()),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
        }
    }

    fn read(&self, operation: Operation, response: &Response) -> Option<Found> {
        read(operation, response, self.ends)
    }

    fn refusal(&self, _operation: Operation, response: &Response) -> Refusal {
        let message = match read_error(response).message {
            Some(said) => format!("FunnelFox refused the cancel: {said}"),
            None => "FunnelFox refused the cancel and did not say why".to_owned(),
        };
        Refusal::Unclear(FailureReason::ProviderRefused, message)
    }

    /// Its 404 has a message; a wrong base URL's has not.
    fn absence(&self, response: &Response) -> Absence {
        let body = Reading(response.json.as_ref());
        if body.at("message").text().is_none() {
            return Absence::Odd;
        }
        Absence::Unknown(
            "FunnelFox does not know the subscription; check its id and the account's project"
                .to_owned(),
        )
    }

    fn plan(&self, found: &Found) -> String {
        let plan = match self.ends {
            FunnelFoxEnd::PeriodEnd => "a cancel would let it run to the end of what is paid",
            FunnelFoxEnd::Now => "a cancel would end it at once, as this account is set up",
        };
        // Among the payment companies of the page, but not among those it cancels at.
        match found.state().payment_provider.as_deref() {
            Some("braintree") => {
                format!("{plan}, but FunnelFox does not list braintree among those it cancels at")
            }
            Some(_) | None => plan.to_owned(),
        }
    }
}

/// `{message}`.
fn read_error(response: &Response) -> ProviderError {
    let message = Reading(response.json.as_ref()).at("message").text();
    status::provider_error(response, None, message, Vec::new())
}

fn read(operation: Operation, response: &Response, ends: FunnelFoxEnd) -> Option<Found> {
    let body = Reading(response.json.as_ref());
    let word = body.at("status").text()?;
    let period_end = body.at("period_ends_at").time();
    let canceled_at = body.at("cancelled_at").time();
    let (life, status) = match life(operation, body, ends) {
        (Life::Ending, SubscriptionStatus::Canceled)
            if period_end.is_some_and(|end| as_of(response).is_some_and(|now| end <= now)) =>
        {
            (Life::Ended, SubscriptionStatus::Canceled)
        }
        (Life::Ending, _) => (Life::Ending, SubscriptionStatus::Scheduled),
        other => other,
    };
    let effective_at = match (life, ends) {
        (Life::Ending, _) => period_end,
        (Life::Ended, FunnelFoxEnd::PeriodEnd) => period_end.or(canceled_at),
        (Life::Ended, FunnelFoxEnd::Now) => canceled_at.or(period_end),
        (Life::Running | Life::Unknown, _) => None,
    };
    let state = SubscriptionState {
        status,
        provider_status: status::cut(word),
        period_end,
        canceled_at,
        renews: body.at("renews").flag(),
        customer_id: body.at("profile").at("id").id(),
        payment_provider: body.at("payment_provider").text().map(status::cut),
        cancellation_id: None,
        provider_reason: body.at("cancellation_reason").text().map(status::cut),
        sandbox: body.at("sandbox").flag(),
    };
    let detail = SubscriptionDetail {
        effective_at,
        state: Some(state),
        charges: None,
    };
    Some(Found {
        life,
        detail,
        timing: None,
    })
}

/// What the status and `renews` say together. A subscription whose renewal is off goes on to the
/// end of what is paid with its status unchanged. Some that are not running may never have had it
/// on: for those it only counts with a cancellation, or as the answer to our own.
fn life(operation: Operation, body: Reading<'_>, ends: FunnelFoxEnd) -> (Life, SubscriptionStatus) {
    let word = body.at("status").text().unwrap_or_default();
    let off = body.at("renews").flag() == Some(false);
    let vouched = operation == CANCEL || body.at("cancelled_at").text().is_some();
    let (status, runs) = match word {
        // "canceled" is not documented; the word has two spellings, and no other meaning.
        "cancelled" | "canceled" => {
            let life = match ends {
                FunnelFoxEnd::PeriodEnd => Life::Ending,
                FunnelFoxEnd::Now => Life::Ended,
            };
            return (life, SubscriptionStatus::Canceled);
        }
        "expired" => return (Life::Ended, SubscriptionStatus::Expired),
        "active" => (SubscriptionStatus::Active, true),
        "trialing" => (SubscriptionStatus::Trialing, true),
        "created" => (SubscriptionStatus::Pending, false),
        "paused" => (SubscriptionStatus::Paused, false),
        "unpaid" => (SubscriptionStatus::PastDue, false),
        _ => (SubscriptionStatus::Unknown, false),
    };
    if off && (runs || vouched) {
        return (Life::Ending, status);
    }
    match status {
        SubscriptionStatus::Unknown => (Life::Unknown, status),
        _ => (Life::Running, status),
    }
}

/// The latest time that the answer itself knows of: what is over by then has ended, even if the
/// status does not say so yet.
fn as_of(response: &Response) -> Option<Timestamp> {
    let body = Reading(response.json.as_ref());
    let date = response.header("date");
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let dates = [
        date.map(|date| date.timestamp()),
        body.at("updated_at").time(),
        body.at("cancelled_at").time(),
    ];
    dates.into_iter().flatten().max()
}
