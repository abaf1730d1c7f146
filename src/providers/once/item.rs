//! One item in the middle of such a conversation: what follows from each answer.

use crate::domain::{
    account::Timing,
    exchange::{Exchange, Reply, Response},
    outcome::{Detail, FailureReason, Outcome, SubscriptionDetail},
};

use super::{
    super::{
        Mode, Step, of,
        standing::Standing,
        status::{self, Verdict},
    },
    Absence, CANCEL, Conversation, EFFECTS, Found, LOOK, Life, Refusal, SET_TIMING, success,
};

/// One item in the middle of its conversation.
pub(super) struct Item<'a> {
    pub(super) talk: &'a dyn Conversation,
    pub(super) standing: Standing<'a>,
    /// The same, with a doubt that no look settles. A look that finds the subscription untouched
    /// is reason enough to send again, but what is found later may still be the work of the
    /// request whose answer was lost: nobody can say that it was there without us.
    pub(super) wary: Standing<'a>,
    /// The last look that could be read.
    pub(super) known: Option<Found>,
    /// The goal is an end at once; else an end at any time is as good.
    pub(super) at_once: bool,
    pub(super) timing: Timing,
}

impl Item<'_> {
    /// Cancels, once everything is set for it.
    pub(super) fn send_cancel(&self, found: Option<&Found>) -> Step {
        let account = self.standing.task.account;
        // The account may have other settings than when the item was admitted. What ends at
        // another time than asked for must not be sent.
        let can = of(account.provider()).capabilities(account);
        if !can.timings.contains(&self.timing) {
            let why = format!(
                "account {} no longer takes {} for when",
                account.name,
                self.timing.name()
            );
            let advice = "restore its configuration and send the key again";
            let reason = FailureReason::AccountChanged;
            return self.standing.gives_up(reason, &why, advice, None);
        }
        let first = found.and_then(|found| self.talk.before_cancel(found));
        self.standing
            .send_effect(first.unwrap_or_else(|| self.talk.cancel()))
    }

    pub(super) fn after_cancel(&self, reply: &Reply) -> Step {
        match status::verdict(reply) {
            Verdict::Success(response) => match self.talk.read(CANCEL, response) {
                Some(found) if found.life == Life::Ended => {
                    let detail = Detail::Subscription(self.completed(found));
                    self.standing.did(Outcome::Canceled, detail, response)
                }
                Some(found) if found.life == Life::Ending && self.at_once => {
                    self.conflict("the provider accepted the cancel, but ", found, response)
                }
                Some(found) if found.life == Life::Ending => {
                    let detail = Detail::Subscription(self.completed(found));
                    self.standing.did(Outcome::Scheduled, detail, response)
                }
                Some(_) | None => Step::Send(self.talk.look()),
            },
            Verdict::Refused(response) | Verdict::Absent(response) => {
                match self.talk.refusal(CANCEL, response) {
                    Refusal::Final(outcome, reason, message) => {
                        let detail = self.standing.detail.clone();
                        self.standing
                            .refused(outcome, reason, message, detail, response)
                    }
                    Refusal::Scheduled | Refusal::Unclear(..) => Step::Send(self.talk.look()),
                }
            }
            Verdict::Doubtful(..) => Step::Send(self.talk.look()),
            Verdict::Unauthenticated(_)
            | Verdict::Forbidden(_)
            | Verdict::Throttled(_)
            | Verdict::Unsent(_) => self.standing.unable(reply),
        }
    }

    /// A look comes after every answer: it may have ended meanwhile, and a cancel must not go out
    /// before it is seen that it will do what was asked for.
    pub(super) fn after_set_timing(&self, reply: &Reply) -> Step {
        match status::verdict(reply) {
            Verdict::Success(_) | Verdict::Refused(_) | Verdict::Absent(_) => {
                Step::Send(self.talk.look())
            }
            Verdict::Doubtful(response, _) => self.standing.gives_up(
                FailureReason::AnswerLost,
                "the request that sets when a cancel is to end it was not clearly answered; it is \
                 not cancelled",
                "if the key is sent again",
                response,
            ),
            Verdict::Unauthenticated(_)
            | Verdict::Forbidden(_)
            | Verdict::Throttled(_)
            | Verdict::Unsent(_) => self.standing.unable(reply),
        }
    }

    pub(super) fn after_look(&self, reply: &Reply) -> Step {
        let response = match status::verdict(reply) {
            Verdict::Success(response) => response,
            Verdict::Absent(response) => return self.absent(response, reply),
            Verdict::Refused(response) => return self.look_refused(response, reply),
            Verdict::Unauthenticated(_)
            | Verdict::Forbidden(_)
            | Verdict::Throttled(_)
            | Verdict::Doubtful(..)
            | Verdict::Unsent(_) => return self.blind(reply),
        };
        let Some(found) = self.talk.read(LOOK, response) else {
            return self.blind(reply);
        };
        let may_hasten = self.talk.hastens() && self.last_refusal().is_none();
        match found.life {
            Life::Ended => self.reached(Outcome::AlreadyCanceled, found, response),
            Life::Ending if !self.at_once => {
                self.reached(Outcome::AlreadyScheduled, found, response)
            }
            Life::Ending if !may_hasten => self.conflict("", found, response),
            Life::Ending | Life::Running | Life::Unknown => {
                if self.standing.task.mode == Mode::DryRun {
                    return self.preview(&found, response);
                }
                self.untouched(found, response)
            }
        }
    }

    /// The goal is not reached: what comes next depends on what the last request with an effect
    /// came to.
    fn untouched(&self, found: Found, response: &Response) -> Step {
        if let Some((refusal, refused)) = self.last_refusal() {
            return self.refused(refusal, refused, found);
        }
        let set = self.last_effect().is_some_and(|exchange| {
            exchange.operation == Some(SET_TIMING) && success(&exchange.reply).is_some()
        });
        if set {
            // A look that does not say leaves the provider's word for it.
            if found.timing.is_none() || self.talk.before_cancel(&found).is_none() {
                return self.send_cancel(None);
            }
            let why = "the provider accepted when a cancel is to end it, but a look shows that \
                       this is not set; it is not cancelled";
            let advice = "send the key again later";
            return self
                .standing
                .gives_up(FailureReason::NoProgress, why, advice, Some(response));
        }
        if self.standing.doubt && found.life == Life::Unknown {
            let why = format!(
                "a look found it {:?}, which this version does not know",
                found.state().provider_status
            );
            let advice = "see what that means at the provider; if the key is sent again";
            return self.standing.gives_up(
                FailureReason::AnswerUnreadable,
                &why,
                advice,
                Some(response),
            );
        }
        self.send_cancel(Some(&found))
    }

    /// The provider refused, and a look has shown that the goal is not reached.
    fn refused(&self, refusal: Refusal, refused: &Response, found: Found) -> Step {
        let (outcome, reason, message) = match refusal {
            Refusal::Scheduled => return self.scheduled(refused),
            Refusal::Final(outcome, reason, message) => (outcome, reason, message),
            Refusal::Unclear(reason, message) => (Outcome::Rejected, reason, message),
        };
        if self.standing.doubt {
            let why = format!("{message}, and yet it had accepted an earlier request");
            return self.standing.gives_up(
                FailureReason::NoProgress,
                &why,
                "if the key is sent again",
                Some(refused),
            );
        }
        let state = found.state();
        let message = match state.provider_status.as_str() {
            "" => message,
            status => format!("{message}; a look found it {status}"),
        };
        let detail = Detail::Subscription(found.detail);
        self.standing
            .refused(outcome, reason, message, detail, refused)
    }

    /// The provider said that the end is scheduled, and no look could tell for when.
    fn scheduled(&self, refused: &Response) -> Step {
        let found = Found {
            life: Life::Ending,
            detail: SubscriptionDetail::default(),
            timing: None,
        };
        if self.at_once {
            self.conflict("", found, refused)
        } else {
            self.reached(Outcome::AlreadyScheduled, found, refused)
        }
    }

    /// The goal is reached; by us, as far as can be told, if an answer was ever lost.
    fn reached(&self, outcome: Outcome, found: Found, response: &Response) -> Step {
        let detail = Detail::Subscription(found.detail);
        self.wary.found(outcome, detail, response)
    }

    /// It ends, but not at once, and that was asked for.
    fn conflict(&self, preface: &str, found: Found, response: &Response) -> Step {
        let detail = self.completed(found);
        let when = match detail.effective_at {
            Some(time) => format!("at {time}"),
            None => "later".to_owned(),
        };
        let message = format!(
            "{preface}it is scheduled to end {when}, not at once as asked for; if that is too \
             late, end it at the provider"
        );
        self.standing.refused(
            Outcome::Rejected,
            FailureReason::TimingConflict,
            message,
            Detail::Subscription(detail),
            response,
        )
    }

    fn absent(&self, response: &Response, reply: &Reply) -> Step {
        let message = match self.talk.absence(response) {
            Absence::Odd => return self.odd(response, reply),
            Absence::Unknown(message) => message,
            Absence::UnknownOrEnded(message) if self.wary.doubt => {
                return self.wary.gives_up(
                    FailureReason::LookFailed,
                    &message,
                    "see at the provider which it is; if the key is sent again",
                    Some(response),
                );
            }
            Absence::UnknownOrEnded(message) => message,
        };
        if let Some((Refusal::Scheduled, refused)) = self.last_refusal() {
            return self.scheduled(refused);
        }
        self.standing.refused(
            Outcome::NotFound,
            FailureReason::TargetNotFound,
            message,
            status::blank(self.standing.task.command),
            response,
        )
    }

    /// A look was refused. If the cancel was refused in the same words, that is the answer: it is
    /// what both have in common, the id, that the provider does not take.
    fn look_refused(&self, response: &Response, reply: &Reply) -> Step {
        match self.last_refusal() {
            Some((_, refused))
                if !self.standing.doubt
                    && refused.status == response.status
                    && refused.text == response.text =>
            {
                self.standing.refused(
                    Outcome::Rejected,
                    FailureReason::ProviderRefused,
                    "the provider refused the cancel and a look with the same words; check the \
                     subscription's id",
                    status::blank(self.standing.task.command),
                    refused,
                )
            }
            Some(_) | None => self.odd(response, reply),
        }
    }

    fn odd(&self, response: &Response, reply: &Reply) -> Step {
        if let Some((Refusal::Scheduled, _)) = self.last_refusal() {
            return self.blind(reply);
        }
        let why = format!(
            "a look was answered {} in a way that is not documented",
            response.status
        );
        let advice = self.talk.look_advice();
        self.standing
            .gives_up(FailureReason::LookFailed, &why, advice, Some(response))
    }

    /// The look told nothing.
    fn blind(&self, reply: &Reply) -> Step {
        match self.last_refusal() {
            Some((Refusal::Scheduled, refused)) => self.scheduled(refused),
            Some(_) | None => self.standing.unable(reply),
        }
    }

    fn preview(&self, found: &Found, response: &Response) -> Step {
        let state = found.state();
        let mut text = match state.provider_status.as_str() {
            "" => "its status is not said".to_owned(),
            status => format!("it is {status}"),
        };
        let times = [
            (", and its period ends at", state.period_end),
            (", and it is scheduled to end at", found.detail.effective_at),
        ];
        for (words, time) in times {
            if let Some(time) = time {
                text.push_str(&format!("{words} {time}"));
            }
        }
        let text = format!("{text}; {}", self.talk.plan(found));
        let detail = Detail::Subscription(found.detail.clone());
        self.standing.previewed(text, detail, response)
    }

    fn last_effect(&self) -> Option<&Exchange> {
        self.standing.history.iter().rev().find(|exchange| {
            exchange
                .operation
                .is_some_and(|operation| EFFECTS.contains(&operation))
        })
    }

    /// The last request with an effect, if the provider refused it.
    fn last_refusal(&self) -> Option<(Refusal, &Response)> {
        let effect = self.last_effect()?;
        match status::verdict(&effect.reply) {
            Verdict::Refused(response) | Verdict::Absent(response) => {
                Some((self.talk.refusal(effect.operation?, response), response))
            }
            Verdict::Success(_)
            | Verdict::Unauthenticated(_)
            | Verdict::Forbidden(_)
            | Verdict::Throttled(_)
            | Verdict::Doubtful(..)
            | Verdict::Unsent(_) => None,
        }
    }

    /// An answer's detail, with what an earlier look told and this answer does not.
    fn completed(&self, found: Found) -> SubscriptionDetail {
        let mut detail = found.detail;
        let known = self.known.as_ref().map(Found::state).unwrap_or_default();
        if let Some(state) = &mut detail.state {
            state.period_end = state.period_end.or(known.period_end);
            state.customer_id = state.customer_id.take().or(known.customer_id);
            if found.life == Life::Ending {
                detail.effective_at = detail.effective_at.or(state.period_end);
            }
        }
        detail
    }
}
