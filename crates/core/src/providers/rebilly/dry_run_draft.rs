//! Dry run: looks up the subscription, creates a draft and deletes it, so that nothing is left
//! behind.

use crate::{
    domain::{
        command::When,
        http_exchange::{Exchange, Response},
        outcome::{Conclusion, Detail, FailureReason, Outcome, SubscriptionDetail},
    },
    providers::{
        Step,
        item_state::answered,
        reply::{
            http_status::{StatusMeaning, verdict},
            json::JsonReader,
        },
    },
};

use super::{
    DISCARD, DRAFT, LOOK,
    adapter::RebillyApi,
    requests::cancellation_id,
    wire::{CancellationStatus, RebillyPhase, Subscription, cancellation_detail, charges},
};

impl<'a> RebillyApi<'a> {
    pub(super) fn dry_run(&self) -> Step {
        let Some(look) = self.at.last_of(LOOK) else {
            return Step::Send(self.get_subscription());
        };
        let seen = match verdict(look) {
            StatusMeaning::Success(response) => response,
            StatusMeaning::Absent(response) => return self.not_found(response),
            _ => {
                let again = self.at.look_again(self.get_subscription(), look);
                return again.unwrap_or_else(|| self.at.unable(look));
            }
        };
        let Some(draft) = self.at.last_of(DRAFT) else {
            return match Subscription::read(seen).life {
                RebillyPhase::Running | RebillyPhase::Ending | RebillyPhase::Odd => {
                    Step::Send(self.draft())
                }
                RebillyPhase::Over | RebillyPhase::Unstarted => self.decide(seen, None),
            };
        };
        match verdict(draft) {
            StatusMeaning::Refused(refusal)
            | StatusMeaning::Absent(refusal)
            | StatusMeaning::Undocumented(refusal) => self.decide(seen, Some(refusal)),
            // A draft changes nothing, so repeating it needs no lookup in between.
            StatusMeaning::Busy(refusal) => {
                let again = self.at.look_while_busy(DRAFT, self.draft());
                again.unwrap_or_else(|| self.decide(seen, Some(refusal)))
            }
            StatusMeaning::Success(_)
            | StatusMeaning::Doubtful(..)
            | StatusMeaning::Unreadable(_) => match self.at.last_of(DISCARD) {
                Some(discard) => self.plan(seen, draft, discard),
                None => Step::Send(self.discard()),
            },
            StatusMeaning::Throttled(_)
            | StatusMeaning::Foreign(_)
            | StatusMeaning::Unsent(_)
            | StatusMeaning::Unauthenticated(_)
            | StatusMeaning::Forbidden(_) => self.at.unable(draft),
        }
    }

    fn plan(&self, look: &Response, draft: &Exchange, discard: &Exchange) -> Step {
        let left = match verdict(discard) {
            StatusMeaning::Success(_) | StatusMeaning::Absent(_) => String::new(),
            _ => format!(
                "; the draft {} could not be deleted and may be left at rebilly",
                cancellation_id(self.at.task)
            ),
        };
        let drafted = match verdict(draft) {
            StatusMeaning::Success(response) => {
                Some((response, CancellationStatus::read(response)))
            }
            _ => None,
        };
        match drafted {
            Some((response, CancellationStatus::Draft)) => {
                let mut detail = Subscription::read(look).detail;
                let body = JsonReader(response.json.as_ref());
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
            _ => match self.undrafted(draft) {
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

    /// The draft could not be created.
    fn undrafted(&self, draft: &Exchange) -> Step {
        match answered(&draft.reply) {
            Some(response) if (200..300).contains(&response.status) => self.at.gives_up(
                FailureReason::AnswerUnreadable,
                &format!(
                    "rebilly answered a draft {} in a way that is not documented",
                    response.status
                ),
                "look at its answer, then try again",
                Some(response),
            ),
            _ => self.at.unable(draft),
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
}
