//! Decides outcomes from the subscription's state and from a cancellation in force.

use crate::{
    domain::{
        command::When,
        http_exchange::{Exchange, Operation, Response},
        outcome::{Conclusion, FailureReason, Outcome, SubscriptionStatus},
    },
    providers::{
        Step,
        item_state::settle,
        reply::{
            answer_subject::CancelCause,
            http_status::{self, StatusMeaning, verdict},
            json::JsonReader,
        },
    },
};

use super::{
    LOOK_OWN,
    adapter::RebillyApi,
    timing,
    wire::{CancellationStatus, RebillyPhase, Subscription, cancellation_detail, read_error},
};

impl<'a> RebillyApi<'a> {
    /// Our cancellation is in force, and ends the subscription at the time it says.
    pub(super) fn in_force(&self, exchange: &Exchange, response: &Response) -> Step {
        let status = CancellationStatus::read(response);
        if status == CancellationStatus::Confirmed
            && timing::is_later(self.command.when, response, exchange.seen.at)
        // A request of ours that may still act can change the end.
        {
            return match self.at.may_act {
                true => settle(self.get_own()),
                false => self.ends_later(response),
            };
        }
        let outcome = match (self.command.when, status) {
            (When::Now, _) | (_, CancellationStatus::Completed) => Outcome::Canceled,
            (When::PeriodEnd | When::At(_) | When::ProviderDefault, _) => Outcome::Scheduled,
        };
        let detail = cancellation_detail(response, outcome);
        let mut conclusion = Conclusion::success(outcome, detail);
        conclusion.confirmed_by_lookup = exchange.operation == Some(LOOK_OWN);
        self.at.end(conclusion, Some(response))
    }

    fn ends_later(&self, response: &Response) -> Step {
        let end = JsonReader(response.json.as_ref()).at("churnTime").text();
        let message = format!(
            "rebilly took the cancellation, and ends the subscription at {}, which is later than \
             asked for; if that is too late, end it at rebilly",
            end.unwrap_or_default()
        );
        let detail = cancellation_detail(response, Outcome::Scheduled);
        let reason = FailureReason::TimingConflict;
        self.at
            .refused(Outcome::Rejected, reason, message, detail, response)
    }

    /// Whether the goal is reached.
    pub(super) fn is_reached(&self, subscription: &Subscription) -> bool {
        match subscription.life {
            RebillyPhase::Over => true,
            RebillyPhase::Ending => self.ends_as_asked(subscription),
            RebillyPhase::Unstarted | RebillyPhase::Running | RebillyPhase::Odd => false,
        }
    }

    /// The outcome after a rejected or revoked cancellation, from the subscription's state.
    pub(super) fn decide(&self, look: &Response, refusal: Option<&Response>) -> Step {
        let subscription = Subscription::read(look);
        let detail = subscription.detail();
        let decisive = refusal.unwrap_or(look);
        let word = &subscription.state.provider_status;
        let rejected = |reason, message: String| {
            let detail = subscription.detail();
            self.at
                .refused(Outcome::Rejected, reason, message, detail, decisive)
        };
        let asked = CancelCause::Asked(subscription.state.canceled_at);
        match subscription.life {
            RebillyPhase::Over => {
                let cause = match subscription.state.status {
                    SubscriptionStatus::Expired => CancelCause::Itself,
                    _ => asked,
                };
                self.at.found(Outcome::AlreadyCanceled, detail, look, cause)
            }
            RebillyPhase::Ending if self.ends_as_asked(&subscription) => {
                self.at
                    .found(Outcome::AlreadyScheduled, detail, look, asked)
            }
            RebillyPhase::Ending => {
                let end = subscription
                    .churn_time
                    .map_or_else(|| "a time it does not say".to_owned(), |t| t.to_string());
                let by = match self.at.ours {
                    true => " (perhaps by this key)",
                    false => "",
                };
                rejected(
                    FailureReason::TimingConflict,
                    format!(
                        "it is already cancelled{by} and ends at {end}, and rebilly did not \
                         change that; let it end then, or reactivate it at rebilly and cancel it \
                         anew under a new key"
                    ),
                )
            }
            RebillyPhase::Unstarted => rejected(
                FailureReason::TargetStateIncompatible,
                format!("a subscription that is {word} cannot be cancelled; void it at rebilly"),
            ),
            RebillyPhase::Running => match refusal {
                Some(refusal) => rejected(FailureReason::ProviderRefused, refusal_words(refusal)),
                None => rejected(
                    FailureReason::TargetStateIncompatible,
                    format!(
                        "the cancellation made under this key was revoked at rebilly, and the \
                         subscription is {word}; use a new key to cancel it again"
                    ),
                ),
            },
            RebillyPhase::Odd => self.at.gives_up(
                FailureReason::AnswerUnreadable,
                &format!("rebilly refused, and says that the subscription is {word:?}"),
                "look at it there, then send the key again",
                Some(decisive),
            ),
        }
    }

    pub(super) fn not_found(&self, response: &Response) -> Step {
        let message = format!(
            "rebilly has no subscription {}; check the id and the account's organization",
            self.command.subscription_id
        );
        let (outcome, reason) = (Outcome::NotFound, FailureReason::TargetNotFound);
        let detail = http_status::blank(self.at.task.command);
        self.at.refused(outcome, reason, message, detail, response)
    }

    fn ends_as_asked(&self, subscription: &Subscription) -> bool {
        match self.command.when {
            When::PeriodEnd => true,
            // Rebilly stores whole seconds.
            When::At(time) => subscription
                .churn_time
                .is_some_and(|churn| churn.as_second() == time.as_second()),
            When::Now | When::ProviderDefault => false,
        }
    }

    /// The rejection of the last request of this operation, if it was rejected.
    pub(super) fn refusal(&self, operation: Operation) -> Option<&'a Response> {
        match verdict(self.at.last_of(operation)?) {
            StatusMeaning::Refused(response)
            | StatusMeaning::Absent(response)
            | StatusMeaning::Undocumented(response)
            | StatusMeaning::Busy(response) => Some(response),
            _ => None,
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
