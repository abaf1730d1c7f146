//! One item in the middle of such a conversation: what follows from each answer.

use std::time::Duration;

use crate::domain::{
    account::Timing,
    http_exchange::{Class, Exchange, Pace, Request, Response},
    outcome::{Detail, FailureReason, Outcome},
};

use super::{CANCEL, CancelRefusal, Conversation, Lookup, Phase, SET_TIMING};
use crate::providers::{
    Step,
    item_state::{ItemState, settle},
    of,
    reply::http_status::{StatusMeaning, verdict},
};

/// Changes of the timing that are accepted and do not show, until it is given up.
pub(super) const PATCHES_MAX: u32 = 3;

/// One item in the middle of its conversation.
pub(super) struct CancelState<'a> {
    pub(super) talk: &'a dyn Conversation,
    pub(super) standing: ItemState<'a>,
    /// The last look that could be read.
    pub(super) known: Option<Lookup>,
    /// The goal is an end at once; else an end at any time is as good.
    pub(super) at_once: bool,
    pub(super) timing: Timing,
}

impl CancelState<'_> {
    /// Cancels, once everything is set for it.
    pub(super) fn send_cancel(&self, found: Option<&Lookup>) -> Step {
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
        match found.and_then(|found| self.talk.before_cancel(found)) {
            Some(first) => Step::Send(first),
            None => {
                let (cancel, look) = (self.talk.cancel(), self.talk.look());
                self.standing.send_effect(cancel, look)
            }
        }
    }

    pub(super) fn after_cancel(&self, cancel: &Exchange) -> Step {
        match verdict(cancel) {
            StatusMeaning::Success(response) => match self.talk.read(CANCEL, response) {
                Some(found) if found.life == Phase::Ended => {
                    let detail = Detail::Subscription(self.completed(found));
                    self.standing.did(Outcome::Canceled, detail, response)
                }
                Some(found) if found.life == Phase::Ending && !self.at_once => {
                    let detail = Detail::Subscription(self.completed(found));
                    self.standing.did(Outcome::Scheduled, detail, response)
                }
                // What was accepted may yet come, also at once where the answer says later.
                Some(_) | None => settle(self.talk.look()),
            },
            StatusMeaning::Refused(response) | StatusMeaning::Absent(response) => {
                match self.talk.refusal(CANCEL, response) {
                    CancelRefusal::Final(outcome, reason, message) if !self.standing.may_act => {
                        let detail = self.standing.detail.clone();
                        self.standing
                            .refused(outcome, reason, message, detail, response)
                    }
                    CancelRefusal::Final(..)
                    | CancelRefusal::Scheduled
                    | CancelRefusal::Unclear(..) => self.standing.look(self.talk.look()),
                }
            }
            // Not done, and the next try begins with a look: who answers it, tells.
            StatusMeaning::Undocumented(_) | StatusMeaning::Foreign(_) => {
                self.standing.look(self.talk.look())
            }
            StatusMeaning::Busy(_) => self.look_while_busy(CANCEL),
            StatusMeaning::Doubtful(..) | StatusMeaning::Unreadable(_) => settle(self.talk.look()),
            StatusMeaning::Unauthenticated(_)
            | StatusMeaning::Forbidden(_)
            | StatusMeaning::Throttled(_)
            | StatusMeaning::Unsent(_) => self.standing.unable(cancel),
        }
    }

    /// A look comes after every answer: it may have ended meanwhile, and a cancel must not go out
    /// before it is seen that it will do what was asked for.
    pub(super) fn after_set_timing(&self, patch: &Exchange) -> Step {
        match verdict(patch) {
            StatusMeaning::Success(_) => Step::Send(Request {
                pace: match self.patches().saturating_sub(1) {
                    0 => Pace::AtOnce,
                    again => Pace::After(Duration::from_secs(again.into())),
                },
                ..self.talk.look()
            }),
            StatusMeaning::Refused(_)
            | StatusMeaning::Absent(_)
            | StatusMeaning::Undocumented(_) => self.standing.look(self.talk.look()),
            StatusMeaning::Busy(_) => self.look_while_busy(SET_TIMING),
            StatusMeaning::Doubtful(..) | StatusMeaning::Unreadable(_) => settle(self.talk.look()),
            StatusMeaning::Unauthenticated(_)
            | StatusMeaning::Forbidden(_)
            | StatusMeaning::Throttled(_)
            | StatusMeaning::Foreign(_)
            | StatusMeaning::Unsent(_) => self.standing.unable(patch),
        }
    }

    fn look_while_busy(&self, operation: super::Operation) -> Step {
        let look = || self.talk.look();
        let waits = self.standing.look_while_busy(operation, look());
        waits.unwrap_or_else(|| self.standing.look(look()))
    }

    pub(super) fn last_effect(&self) -> Option<&Exchange> {
        let mut backwards = self.standing.history.iter().rev();
        backwards.find(|exchange| matches!(exchange.operation, Some(CANCEL | SET_TIMING)))
    }

    /// The last request with an effect, if the provider refused it.
    pub(super) fn last_refusal(&self) -> Option<(CancelRefusal, &Response)> {
        let effect = self.last_effect()?;
        match verdict(effect) {
            StatusMeaning::Refused(response)
            | StatusMeaning::Absent(response)
            | StatusMeaning::Undocumented(response)
            | StatusMeaning::Busy(response) => {
                Some((self.talk.refusal(effect.operation?, response), response))
            }
            _ => None,
        }
    }

    /// Whether the last request with an effect set the timing, as the provider says.
    pub(super) fn was_set(&self) -> bool {
        self.last_effect().is_some_and(is_patched)
    }

    /// Changes of the timing that were accepted.
    pub(super) fn patches(&self) -> u32 {
        let patches = self.standing.history.iter().filter(|e| is_patched(e));
        u32::try_from(patches.count()).unwrap_or(u32::MAX)
    }
}

fn is_patched(exchange: &Exchange) -> bool {
    exchange.operation == Some(SET_TIMING) && exchange.class == Class::Accepted
}
