//! Solidgate, API v2: `POST /v2/subscriptions/cancel` with a mode, NOW or PERIOD_END.
//!
//! Its exceptions, from the endpoint's page and the v2 guides (`api-docs.solidgate.com/api/v2/`):
//! - A scheduled subscription keeps its status; only `cancellation_info` shows the schedule.
//! - A 422 has three meanings, distinguished by `code` alone.
//! - A 429 says in its body when to come back.
//! - `Idempotency-Key` is best effort and may be ignored (`Idempotency-Status: ignored`), so it is
//!   sent and never relied on: a doubt needs a lookup.

mod wire;

use serde_json::{Map, Value};

use crate::domain::{
    account::{Account, Auth, Capabilities, DryRun, ProviderSettings, Timing},
    command::{ProviderOptions, SubscriptionCommand, When},
    http_exchange::{
        Body, Exchange, HttpMethod, Operation, Pace, Path, Request, Response, Safety, Throttle,
    },
    ids::Kind,
    outcome::{FailureReason, Outcome},
};

use self::wire::{code, is_of_the_key, read, read_error};
use super::{
    EffectId, Envelope, Provider, Step, Task,
    cancel_then_lookup::{
        self, CANCEL, CancelRefusal, Conversation, LOOK, Lookup, NotFoundMeaning, Phase,
    },
    check::OPAQUE_ID_MARKS,
    reply::{http_status, json::JsonReader},
};

pub(super) struct Solidgate;

impl Provider for Solidgate {
    fn capabilities(&self, _account: &Account) -> Capabilities {
        Capabilities {
            kind: Kind::Subscription,
            timings: vec![Timing::Now, Timing::PeriodEnd],
            prorate: false,
            line_items: false,
            notes: &["comment"],
            dry_run: DryRun::Lookup,
        }
    }

    fn auth(&self, _account: &Account) -> Auth {
        Auth {
            header: "authorization",
            prefix: "Bearer ",
        }
    }

    fn next(&self, task: &Task<'_>, history: &[Exchange]) -> Step {
        let command = match task.subscription() {
            Ok(command) => command,
            Err(step) => return step,
        };
        let ProviderSettings::Solidgate {
            channel_id,
            lookup_path,
        } = &task.account.settings
        else {
            return http_status::account_changed(task.command);
        };
        let talk = SolidgateApi {
            command,
            channel_id: channel_of(command).or(channel_id.as_deref()),
            lookup_path,
            effect_id: task.effect_id,
        };
        cancel_then_lookup::next(task, command, history, &talk, read_error)
    }

    fn id_marks(&self) -> Option<&'static str> {
        Some(OPAQUE_ID_MARKS)
    }

    fn form(&self) -> &dyn Envelope {
        self
    }

    /// A 429 may have `context.next_try_at`.
    fn signal(&self, response: &Response) -> Option<Throttle> {
        let body = JsonReader(response.json.as_ref());
        let next_try_at = body.at("context").at("next_try_at").time()?;
        Some(Throttle::Until(next_try_at))
    }
}

fn channel_of(command: &SubscriptionCommand) -> Option<&str> {
    match &command.options {
        Some(ProviderOptions::Solidgate { channel_id }) => channel_id
            .as_ref()
            .map(crate::domain::ids::TargetId::as_str),
        None => None,
    }
}

struct SolidgateApi<'a> {
    command: &'a SubscriptionCommand,
    channel_id: Option<&'a str>,
    lookup_path: &'a str,
    effect_id: &'a EffectId,
}

impl SolidgateApi<'_> {
    /// A body with the subscription, the channel if there is one, and further members.
    fn body(&self, more: &[(&str, &str)]) -> Body {
        let id = ("id", self.command.subscription_id.as_str());
        let channel_id = self.channel_id.map(|channel_id| ("channel_id", channel_id));
        let members = std::iter::once(id)
            .chain(channel_id)
            .chain(more.iter().copied());
        let body: Map<String, Value> = members
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .collect();
        Body {
            content_type: "application/json",
            text: Value::Object(body).to_string(),
        }
    }
}

impl Conversation for SolidgateApi<'_> {
    fn cancel(&self) -> Request {
        let mode = match self.command.when {
            When::Now => "NOW",
            // The others are not among the account's timings, so no cancel is sent for them.
            When::PeriodEnd | When::At(_) | When::ProviderDefault => "PERIOD_END",
        };
        let comment = self.command.comment.as_deref();
        let comment = comment.map(|comment| ("comment", comment));
        let more: Vec<_> = std::iter::once(("mode", mode)).chain(comment).collect();
        Request {
            operation: CANCEL,
            safety: Safety::Once,
            pace: Pace::AtOnce,
            method: HttpMethod::Post,
            path: Path::fixed("v2/subscriptions/cancel"),
            query: Vec::new(),
            headers: vec![("idempotency-key", self.effect_id.uuid())],
            body: Some(self.body(&more)),
        }
    }

    fn look(&self) -> Request {
        Request {
            operation: LOOK,
            safety: Safety::Look,
            pace: Pace::AtOnce,
            method: HttpMethod::Post,
            path: Path::fixed(self.lookup_path),
            query: Vec::new(),
            headers: Vec::new(),
            body: Some(self.body(&[])),
        }
    }

    fn read(&self, _operation: Operation, response: &Response) -> Option<Lookup> {
        read(JsonReader(response.json.as_ref()))
    }

    fn refusal(&self, _operation: Operation, response: &Response) -> CancelRefusal {
        match (response.status, code(response)) {
            (400, Some("VALIDATION")) => CancelRefusal::Final(
                Outcome::Rejected,
                FailureReason::ProviderRefused,
                "Solidgate did not accept the fields named; correct them and use a new key"
                    .to_owned(),
            ),
            (_, Some("NOT_FOUND")) => CancelRefusal::Final(
                Outcome::NotFound,
                FailureReason::TargetNotFound,
                NOT_FOUND.to_owned(),
            ),
            (_, Some("SCHEDULED_FOR_CANCELLATION")) => CancelRefusal::Scheduled,
            (_, Some("INCOMPATIBLE_STATUS")) => CancelRefusal::Unclear(
                FailureReason::TargetStateIncompatible,
                "Solidgate does not cancel a subscription in this status".to_owned(),
            ),
            _ if is_of_the_key(response) => CancelRefusal::Unclear(
                FailureReason::ProviderRefused,
                "Solidgate has seen the idempotency key with another body and did nothing; use a \
                 new key"
                    .to_owned(),
            ),
            _ => CancelRefusal::Unclear(
                FailureReason::ProviderRefused,
                "Solidgate refused the cancel in a way that its page does not describe".to_owned(),
            ),
        }
    }

    fn absence(&self, _response: &Response) -> NotFoundMeaning {
        NotFoundMeaning::Unknown(NOT_FOUND.to_owned())
    }

    fn look_advice(&self) -> &'static str {
        "check lookup_path and the base URL in the account's configuration and send the key again"
    }

    fn plan(&self, found: &Lookup) -> String {
        match (self.command.when, found.life) {
            (When::Now, Phase::Ending) => "NOW would be asked for; whether Solidgate then ends it \
                                          at once is not documented"
                .to_owned(),
            (When::Now, Phase::Ended | Phase::Running | Phase::Unknown) => {
                "a cancel would end it at once, for good".to_owned()
            }
            (When::PeriodEnd | When::At(_) | When::ProviderDefault, _) => {
                "a cancel would let it end with its period".to_owned()
            }
        }
    }

    /// It is not documented whether NOW is accepted for a scheduled subscription, so it is tried.
    fn hastens(&self) -> bool {
        true
    }
}

const NOT_FOUND: &str = "Solidgate does not know the subscription; check its id, the channel, and \
                         whether the account's key is of the right environment";
