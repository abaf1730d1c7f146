//! The conversation about one subscription: what the last exchange means, and what comes next.

use crate::{
    domain::{
        account::ProviderSettings,
        command::{SubscriptionCommand, When},
        exchange::{Body, Method, Operation, Path, Reply, Request, Response, Safety},
        outcome::{Conclusion, Detail, FailureReason, Outcome, SubscriptionDetail},
    },
    providers::{
        Mode, Step,
        reading::Reading,
        standing::{Bearing, Standing, answered},
        status::{self, Verdict, verdict},
    },
};

use super::{
    CANCEL, DISCARD, DRAFT, LOOK, LOOK_OWN, bears,
    wire::{
        CancellationStatus, Life, Subscription, body, cancellation_detail, charges, read_error,
    },
};

/// The conversation about one subscription.
pub(super) struct Talk<'a> {
    pub(super) command: &'a SubscriptionCommand,
    pub(super) at: Standing<'a>,
}

impl Talk<'_> {
    pub(super) fn cancel(&self) -> Step {
        let Some(last) = self.at.last() else {
            return self.at.send_effect(self.put(CANCEL, "confirmed"));
        };
        match last.operation {
            Some(CANCEL) => self.after_cancel(&last.reply),
            Some(LOOK_OWN) => self.after_look_own(&last.reply),
            Some(LOOK) => self.after_look(&last.reply),
            _ => Step::Send(self.get_own()),
        }
    }

    fn after_cancel(&self, reply: &Reply) -> Step {
        match verdict(reply) {
            Verdict::Success(response) => match CancellationStatus::read(response) {
                status @ (CancellationStatus::Confirmed | CancellationStatus::Completed) => {
                    let outcome = self.reached_by(status);
                    let detail = cancellation_detail(response, outcome);
                    self.at.did(outcome, detail, response)
                }
                CancellationStatus::Revoked => Step::Send(self.get_subscription()),
                CancellationStatus::Draft | CancellationStatus::Unknown => {
                    Step::Send(self.get_own())
                }
            },
            // An earlier request of ours may have arrived after the look that missed it, and be
            // why this one is refused.
            Verdict::Refused(_) | Verdict::Absent(_) if self.ever_doubted() => {
                Step::Send(self.get_own())
            }
            Verdict::Refused(_) | Verdict::Absent(_) => Step::Send(self.get_subscription()),
            Verdict::Doubtful(..) => Step::Send(self.get_own()),
            Verdict::Unauthenticated(_)
            | Verdict::Forbidden(_)
            | Verdict::Throttled(_)
            | Verdict::Unsent(_) => self.at.unable(reply),
        }
    }

    fn after_look_own(&self, reply: &Reply) -> Step {
        let again = || match self.refusal(CANCEL) {
            Some(_) => Step::Send(self.get_subscription()),
            None => self.at.send_effect(self.put(CANCEL, "confirmed")),
        };
        match verdict(reply) {
            Verdict::Success(response) => match CancellationStatus::read(response) {
                status @ (CancellationStatus::Confirmed | CancellationStatus::Completed) => {
                    let outcome = self.reached_by(status);
                    let detail = cancellation_detail(response, outcome);
                    let mut conclusion = Conclusion::success(outcome, detail);
                    conclusion.confirmed_by_lookup = true;
                    self.at.end(conclusion, Some(response))
                }
                CancellationStatus::Draft => again(),
                CancellationStatus::Revoked => Step::Send(self.get_subscription()),
                CancellationStatus::Unknown => self.at.unable(reply),
            },
            Verdict::Absent(_) => again(),
            _ => self.at.unable(reply),
        }
    }

    fn after_look(&self, reply: &Reply) -> Step {
        match verdict(reply) {
            Verdict::Success(response) => self.decide(response, self.refusal(CANCEL)),
            Verdict::Absent(response) => self.not_found(response),
            _ => self.at.unable(reply),
        }
    }

    /// What the subscription's state means when its cancellation was refused or revoked.
    fn decide(&self, look: &Response, refusal: Option<&Response>) -> Step {
        let subscription = Subscription::read(look);
        let detail = subscription.detail();
        let decisive = refusal.unwrap_or(look);
        let word = &subscription.state.provider_status;
        let rejected = |reason, message: String| {
            let detail = subscription.detail();
            self.at
                .refused(Outcome::Rejected, reason, message, detail, decisive)
        };
        match subscription.life {
            Life::Over => self.at.found(Outcome::AlreadyCanceled, detail, look),
            Life::Ending if self.ends_as_asked(&subscription) => {
                self.at.found(Outcome::AlreadyScheduled, detail, look)
            }
            Life::Ending => {
                let end = subscription
                    .churn_time
                    .map_or_else(|| "a time it does not say".to_owned(), |t| t.to_string());
                rejected(
                    FailureReason::TimingConflict,
                    format!(
                        "it is already cancelled and ends at {end}, and rebilly did not change \
                         that; let it end then, or reactivate it at rebilly and cancel it anew \
                         under a new key"
                    ),
                )
            }
            Life::Unstarted => rejected(
                FailureReason::TargetStateIncompatible,
                format!("a subscription that is {word} cannot be cancelled; void it at rebilly"),
            ),
            Life::Running => match refusal {
                Some(refusal) => rejected(FailureReason::ProviderRefused, refusal_words(refusal)),
                None => rejected(
                    FailureReason::TargetStateIncompatible,
                    format!(
                        "the cancellation made under this key was revoked at rebilly, and the \
                         subscription is {word}; use a new key to cancel it again"
                    ),
                ),
            },
            Life::Odd => self.at.gives_up(
                FailureReason::AnswerUnreadable,
                &format!("rebilly refused, and says that the subscription is {word:?}"),
                "look at it there, then send the key again",
                Some(decisive),
            ),
        }
    }

    fn not_found(&self, response: &Response) -> Step {
        let message = format!(
            "rebilly has no subscription {}; check the id and the account's organization",
            self.command.subscription_id
        );
        let (outcome, reason) = (Outcome::NotFound, FailureReason::TargetNotFound);
        let detail = status::blank(self.at.task.command);
        self.at.refused(outcome, reason, message, detail, response)
    }

    /// Looks, makes a draft, and deletes it, so that nothing is left behind.
    pub(super) fn dry_run(&self) -> Step {
        let Some(look) = self.at.last_of(LOOK) else {
            return Step::Send(self.get_subscription());
        };
        let seen = match verdict(&look.reply) {
            Verdict::Success(response) => response,
            Verdict::Absent(response) => return self.not_found(response),
            _ => return self.at.unable(&look.reply),
        };
        let Some(draft) = self.at.last_of(DRAFT) else {
            return match Subscription::read(seen).life {
                Life::Running | Life::Ending | Life::Odd => Step::Send(self.put(DRAFT, "draft")),
                Life::Over | Life::Unstarted => self.decide(seen, None),
            };
        };
        match verdict(&draft.reply) {
            Verdict::Refused(refusal) | Verdict::Absent(refusal) => {
                self.decide(seen, Some(refusal))
            }
            Verdict::Success(_) | Verdict::Doubtful(..) => match self.at.last_of(DISCARD) {
                Some(discard) => self.plan(seen, &draft.reply, &discard.reply),
                None => Step::Send(self.request(
                    DISCARD,
                    Safety::Repeatable,
                    Method::Delete,
                    self.cancellation_path(),
                )),
            },
            _ => self.at.unable(&draft.reply),
        }
    }

    fn plan(&self, look: &Response, draft: &Reply, discard: &Reply) -> Step {
        let left = match verdict(discard) {
            Verdict::Success(_) | Verdict::Absent(_) => String::new(),
            _ => format!(
                "; the draft {} could not be deleted and may be left at rebilly",
                self.cancellation_id()
            ),
        };
        let response = answered(draft);
        match response.map(|response| (response, CancellationStatus::read(response))) {
            Some((response, CancellationStatus::Draft)) => {
                let mut detail = Subscription::read(look).detail;
                let body = Reading(response.json.as_ref());
                detail.effective_at = body.at("churnTime").time();
                detail.charges = charges(body);
                let preview = format!("{}{left}", self.preview(look, &detail));
                self.at
                    .previewed(preview, Detail::Subscription(detail), response)
            }
            Some((response, CancellationStatus::Confirmed | CancellationStatus::Completed)) => {
                let message = "rebilly answered a draft as if it were a cancellation; look at \
                               the subscription there";
                let reason = FailureReason::AnswerUnreadable;
                let failure = self.at.failure(reason, message.to_owned(), Some(response));
                let detail = cancellation_detail(response, Outcome::Scheduled);
                let conclusion = Conclusion::failure(Outcome::InDoubt, detail, failure);
                self.at.end(conclusion, Some(response))
            }
            _ => match self.at.unable(draft) {
                Step::Done(mut conclusion) => {
                    if let Some(failure) = &mut conclusion.failure {
                        failure.message.push_str(&left);
                    }
                    Step::Done(conclusion)
                }
                step @ Step::Send(_) => step,
            },
        }
    }

    fn preview(&self, look: &Response, plan: &SubscriptionDetail) -> String {
        let subscription = Subscription::read(look);
        let mut text = format!("the subscription is {}", subscription.state.provider_status);
        if let Some(end) = subscription.churn_time {
            text.push_str(&format!(" and ends at {end}"));
        } else if let Some(renewal) = subscription.state.period_end {
            text.push_str(&format!(" and renews at {renewal}"));
        }
        text.push_str("; it would end ");
        text.push_str(&match (self.command.when, plan.effective_at) {
            (When::Now, _) => "at once".to_owned(),
            (_, Some(time)) => format!("at {time}"),
            (When::At(time), None) => format!("at {time}"),
            (When::PeriodEnd | When::ProviderDefault, None) => {
                "with the period that is paid".to_owned()
            }
        });
        if let Some((amount, currency)) = plan.charges.as_ref().and_then(|c| c.subtotal.as_ref()) {
            text.push_str(&format!("; the items come to {amount} {currency}"));
        }
        text
    }

    /// The outcome of a cancellation of ours that is in force.
    fn reached_by(&self, status: CancellationStatus) -> Outcome {
        match (self.command.when, status) {
            (When::Now, _) | (_, CancellationStatus::Completed) => Outcome::Canceled,
            (When::PeriodEnd | When::At(_) | When::ProviderDefault, _) => Outcome::Scheduled,
        }
    }

    fn ends_as_asked(&self, subscription: &Subscription) -> bool {
        match self.command.when {
            When::PeriodEnd => true,
            // Rebilly keeps whole seconds.
            When::At(time) => subscription
                .churn_time
                .is_some_and(|churn| churn.as_second() == time.as_second()),
            When::Now | When::ProviderDefault => false,
        }
    }

    /// The answer that refused the last request of this operation.
    fn refusal(&self, operation: Operation) -> Option<&Response> {
        match verdict(&self.at.last_of(operation)?.reply) {
            Verdict::Refused(response) | Verdict::Absent(response) => Some(response),
            _ => None,
        }
    }

    fn ever_doubted(&self) -> bool {
        self.at
            .history
            .iter()
            .any(|exchange| bears(exchange) == Bearing::Doubt)
    }

    /// At most 45 of the 50 characters that Rebilly takes, all of them allowed there.
    fn cancellation_id(&self) -> String {
        let hex = self.at.task.effect_id.hex();
        match self.at.task.mode {
            Mode::Cancel => format!("cancelot-{hex}"),
            Mode::DryRun => format!("cancelot-dry-{hex}"),
        }
    }

    fn path(&self, collection: &'static str) -> Path {
        match &self.at.task.account.settings {
            ProviderSettings::Rebilly {
                organization: Some(organization),
                ..
            } => Path::fixed("organizations")
                .segment(organization)
                .then(collection),
            _ => Path::fixed(collection),
        }
    }

    fn cancellation_path(&self) -> Path {
        self.path("subscription-cancellations")
            .segment(&self.cancellation_id())
    }

    fn request(&self, operation: Operation, safety: Safety, method: Method, path: Path) -> Request {
        Request {
            operation,
            safety,
            method,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
        }
    }

    fn get_own(&self) -> Request {
        let path = self.cancellation_path();
        self.request(LOOK_OWN, Safety::Look, Method::Get, path)
    }

    fn get_subscription(&self) -> Request {
        let path = self
            .path("subscriptions")
            .segment(self.command.subscription_id.as_str());
        self.request(LOOK, Safety::Look, Method::Get, path)
    }

    fn put(&self, operation: Operation, status: &'static str) -> Request {
        let safety = match self.at.task.mode {
            Mode::Cancel => Safety::Once,
            // The same draft again is the same draft.
            Mode::DryRun => Safety::Repeatable,
        };
        Request {
            body: Some(Body {
                content_type: "application/json",
                text: body(self.command, status).to_string(),
            }),
            ..self.request(operation, safety, Method::Put, self.cancellation_path())
        }
    }
}

fn refusal_words(refusal: &Response) -> String {
    let error = read_error(refusal);
    let fields: Vec<_> = error
        .fields
        .iter()
        .map(|(field, message)| format!("{field}: {message}"))
        .collect();
    let said = match (error.message, fields.is_empty()) {
        (Some(message), true) => message,
        (Some(message), false) => format!("{message} ({})", fields.join("; ")),
        (None, _) => format!("status {} {}", error.http_status, fields.join("; ")),
    };
    format!("rebilly refused it: {said}; correct it and send it under a new key")
}
