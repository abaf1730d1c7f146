//! FunnelFox: `POST /subscriptions/{id}/cancel`, carried out by the payment company behind it.
//!
//! Its exceptions, from the endpoint's page and the dashboard's documentation:
//! - When it ends cannot be chosen. `cancelled` means that it does not renew and runs to the end of
//!   the paid period; `expired` means that it has ended. Accounts whose payment company ends it at
//!   once say so in their settings.
//! - "Already cancelled" is an error without a documented status (400 or 404): a lookup decides.
//! - There is no idempotency: a doubt needs a lookup.
//! - The lists of payment companies contradict each other, so any is passed on.

mod wire;

use serde_json::json;

use crate::domain::{
    account::{Account, Auth, Capabilities, DryRun, FunnelFoxEnd, ProviderSettings, Timing},
    command::SubscriptionCommand,
    http_exchange::{Body, Exchange, HttpMethod, Operation, Pace, Path, Request, Response, Safety},
    ids::Kind,
    outcome::FailureReason,
};

use self::wire::{read, read_error};
use super::{
    Envelope, Provider, Step, Task,
    cancel_then_lookup::{
        self, CANCEL, CancelRefusal, Conversation, LOOK, Lookup, NotFoundMeaning,
    },
    check::OPAQUE_ID_MARKS,
    reply::http_status,
};

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

    fn id_marks(&self) -> Option<&'static str> {
        Some(OPAQUE_ID_MARKS)
    }

    fn form(&self) -> &dyn Envelope {
        self
    }

    fn next(&self, task: &Task<'_>, history: &[Exchange]) -> Step {
        let command = match task.subscription() {
            Ok(command) => command,
            Err(step) => return step,
        };
        let Some(ends) = ends(task.account) else {
            return http_status::account_changed(task.command);
        };
        let talk = FunnelFoxApi { command, ends };
        match cancel_then_lookup::next(task, command, history, &talk, read_error) {
            Step::Done(mut conclusion) => {
                // One field takes both notes; the free text wins over the reason from the list.
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

struct FunnelFoxApi<'a> {
    command: &'a SubscriptionCommand,
    ends: FunnelFoxEnd,
}

impl Conversation for FunnelFoxApi<'_> {
    /// The body may be left out. An object without a reason means the same, and is also accepted by
    /// servers that require JSON. Without a reason FunnelFox records "User requested cancellation".
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
            pace: Pace::AtOnce,
            method: HttpMethod::Post,
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
            pace: Pace::AtOnce,
            method: HttpMethod::Get,
            path: Path::fixed("subscriptions").segment(self.command.subscription_id.as_str()),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
        }
    }

    fn read(&self, operation: Operation, response: &Response) -> Option<Lookup> {
        read(operation, response, self.ends)
    }

    fn refusal(&self, _operation: Operation, response: &Response) -> CancelRefusal {
        let message = match read_error(response).message {
            Some(said) => format!("FunnelFox refused the cancel: {said}"),
            None => "FunnelFox refused the cancel and did not say why".to_owned(),
        };
        CancelRefusal::Unclear(FailureReason::ProviderRefused, message)
    }

    fn absence(&self, _response: &Response) -> NotFoundMeaning {
        NotFoundMeaning::Unknown(
            "FunnelFox does not know the subscription; check its id and the account's project"
                .to_owned(),
        )
    }

    fn plan(&self, found: &Lookup) -> String {
        let plan = match self.ends {
            FunnelFoxEnd::PeriodEnd => "a cancel would let it run to the end of what is paid",
            FunnelFoxEnd::Now => "a cancel would end it at once, as this account is set up",
        };
        // The page lists it as a payment company, but not among those where FunnelFox can cancel.
        match found.state().payment_provider.as_deref() {
            Some("braintree") => {
                format!("{plan}, but FunnelFox does not list braintree among those it cancels at")
            }
            Some(_) | None => plan.to_owned(),
        }
    }
}
