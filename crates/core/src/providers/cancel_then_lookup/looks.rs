//! Decides the next step after a lookup.

use crate::domain::{
    http_exchange::{Class, Exchange, Response},
    outcome::{FailureReason, Outcome},
};

use super::{
    CancelRefusal, LOOK, Lookup, NotFoundMeaning, Phase,
    decide::{CancelState, PATCHES_MAX},
};
use crate::providers::{
    Mode, Step,
    item_state::settle,
    of,
    reply::http_status::{self, StatusMeaning, verdict},
};

impl CancelState<'_> {
    pub(super) fn after_look(&self, look: &Exchange) -> Step {
        match verdict(look) {
            StatusMeaning::Success(response) => match self.talk.read(LOOK, response) {
                Some(found) => self.seen(found, response),
                None => self.blind(look),
            },
            StatusMeaning::Absent(response) => self.absent(response),
            StatusMeaning::Refused(response) | StatusMeaning::Undocumented(response) => {
                self.look_refused(response, look)
            }
            StatusMeaning::Unauthenticated(_)
            | StatusMeaning::Forbidden(_)
            | StatusMeaning::Throttled(_)
            | StatusMeaning::Busy(_)
            | StatusMeaning::Doubtful(..)
            | StatusMeaning::Unreadable(_)
            | StatusMeaning::Foreign(_)
            | StatusMeaning::Unsent(_) => self.blind(look),
        }
    }

    fn seen(&self, found: Lookup, response: &Response) -> Step {
        let standing = &self.standing;
        // Providers that may end a scheduled subscription at once get the cancel, but only one: not
        // after a rejection, nor after one that was accepted.
        let may_hasten = self.talk.hastens() && self.last_refusal().is_none() && !standing.accepted;
        match found.life {
            Phase::Ended => self.reached(Outcome::AlreadyCanceled, found, response),
            Phase::Ending if !self.at_once => {
                self.reached(Outcome::AlreadyScheduled, found, response)
            }
            // A request of ours may still act, and end it at once.
            Phase::Ending if standing.may_act => settle(self.talk.look()),
            Phase::Ending if !may_hasten => self.conflict(found, response),
            Phase::Ending | Phase::Running | Phase::Unknown => {
                if standing.task.mode == Mode::DryRun {
                    return self.preview(&found, response);
                }
                self.untouched(found, response)
            }
        }
    }

    /// The lookup shows the goal not reached. The next step depends on the result of the last
    /// request with an effect.
    fn untouched(&self, found: Lookup, response: &Response) -> Step {
        // A lookup before the settling time proves nothing.
        if self.standing.may_act {
            return settle(self.talk.look());
        }
        // An undocumented status can be either, so it does not resolve a doubt.
        if self.standing.doubt && found.life == Phase::Unknown {
            let why = format!(
                "looks found it {:?}, which this version does not know",
                found.state().provider_status
            );
            return self.standing.open(self.talk.look(), &why, response);
        }
        // An accepted cancel is never sent again.
        if self.standing.accepted {
            let why = "the provider accepted the cancel, and looks show nothing of it";
            return self.standing.open(self.talk.look(), why, response);
        }
        if self.is_to_try_again() {
            return self.send_cancel(Some(&found));
        }
        if let Some((refusal, refused)) = self.last_refusal() {
            return self.refused(refusal, refused, found);
        }
        if !self.was_set() {
            return self.send_cancel(Some(&found));
        }
        match self.talk.before_cancel(&found) {
            // A lookup without the property leaves the provider's acceptance as the only word.
            Some(patch) if found.timing.is_some() => {
                if self.patches() < PATCHES_MAX {
                    return Step::Send(patch);
                }
                let why = "the provider accepted when a cancel is to end it, but looks show that \
                           this is not set; it is not cancelled";
                let advice = "send the key again later";
                self.standing
                    .gives_up(FailureReason::NoProgress, why, advice, Some(response))
            }
            Some(_) | None => self.send_cancel(None),
        }
    }

    /// Whether the last request is to be tried again because another operation was in progress.
    fn is_to_try_again(&self) -> bool {
        let operation = self.last_effect().and_then(|effect| effect.operation);
        operation.is_some_and(|operation| {
            let waits = self.standing.look_while_busy(operation, self.talk.look());
            waits.is_some()
        })
    }

    /// A lookup got a documented 404.
    fn absent(&self, response: &Response) -> Step {
        let standing = &self.standing;
        // An earlier reply proved that it exists and its end is scheduled, so the 404 adds nothing.
        if let Some((CancelRefusal::Scheduled, refused)) = self.last_refusal() {
            return self.scheduled(refused);
        }
        let look = self.talk.look();
        if standing.may_act {
            return settle(look);
        }
        let message = match self.talk.absence(response) {
            NotFoundMeaning::UnknownOrEnded(message) if standing.ours => {
                let why = format!("{message}; perhaps it was ended by this key");
                return standing.open(look, &why, response);
            }
            NotFoundMeaning::Unknown(message) | NotFoundMeaning::UnknownOrEnded(message) => message,
        };
        // An accepted cancel and an unknown id contradict each other, so neither is reported as
        // fact.
        if standing.accepted {
            let why = format!("{message}, and yet it had accepted the cancel");
            return standing.open(look, &why, response);
        }
        if !standing.is_proven() {
            return standing.unproven(&message, response);
        }
        standing.refused(
            Outcome::NotFound,
            FailureReason::TargetNotFound,
            message,
            http_status::blank(standing.task.command),
            response,
        )
    }

    /// A lookup was rejected. If the cancel was rejected with the same status and body, the id is
    /// the reason: it is what both requests have in common.
    fn look_refused(&self, response: &Response, look: &Exchange) -> Step {
        let standing = &self.standing;
        let is_same =
            |refused: &Response| refused.status == response.status && refused.text == response.text;
        match self.last_refusal() {
            Some((_, refused))
                if is_same(refused) && !standing.doubt && !self.is_undocumented() =>
            {
                let message = "the provider refused the cancel and a look with the same words; \
                               check the subscription's id";
                if self.needs_proof() && !standing.is_proven() {
                    return standing.unproven(message, refused);
                }
                standing.refused(
                    Outcome::Rejected,
                    FailureReason::ProviderRefused,
                    message,
                    http_status::blank(standing.task.command),
                    refused,
                )
            }
            Some(_) | None => self.blind(look),
        }
    }

    fn needs_proof(&self) -> bool {
        let account = self.standing.task.account;
        of(account.provider()).form().is_message_only()
    }

    /// The lookup was inconclusive.
    fn blind(&self, look: &Exchange) -> Step {
        // The rejection of the cancel already says that the end is scheduled.
        if let Some((CancelRefusal::Scheduled, refused)) = self.last_refusal() {
            return self.scheduled(refused);
        }
        let has_reason = matches!(
            look.class,
            Class::Unauthenticated | Class::Forbidden | Class::Throttled
        );
        if self.is_undocumented() && !self.standing.may_act && !has_reason {
            return self.undocumented();
        }
        if let Some(again) = self.standing.look_again(self.talk.look(), look) {
            return again;
        }
        let effect = self.last_effect().map(|effect| effect.class);
        // An intermediary answered the cancel, so the fault is on the way, whatever the lookup
        // says.
        if effect == Some(Class::Foreign) {
            return self.standing.unable(look);
        }
        match verdict(look) {
            StatusMeaning::Unreadable(response)
            | StatusMeaning::Undocumented(response)
            | StatusMeaning::Refused(response)
            | StatusMeaning::Busy(response)
                if response.status >= 300 =>
            {
                let reason = match look.class {
                    Class::Unreadable => FailureReason::AnswerUnreadable,
                    _ => FailureReason::LookFailed,
                };
                let why = format!(
                    "looks were answered {} in a way that is not documented",
                    response.status
                );
                let advice = self.talk.look_advice();
                self.standing.gives_up(reason, &why, advice, Some(response))
            }
            _ => self.standing.unable(look),
        }
    }

    /// Whether the last request with an effect got an undocumented rejection.
    pub(super) fn is_undocumented(&self) -> bool {
        let class = self.last_effect().map(|effect| effect.class);
        matches!(class, Some(Class::Undocumented | Class::Busy))
    }

    pub(super) fn undocumented(&self) -> Step {
        match self.last_effect() {
            Some(effect) => self.standing.unable(effect),
            None => self.standing.look(self.talk.look()),
        }
    }
}
