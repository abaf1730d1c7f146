//! Decides the next step after a cancel or a change of timing.

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

/// Accepted changes of the timing that do not show in a lookup, before the item gives up.
pub(super) const PATCHES_MAX: u32 = 3;

/// An item with its history and what is known of its subscription.
pub(super) struct CancelState<'a> {
    pub(super) talk: &'a dyn Conversation,
    pub(super) standing: ItemState<'a>,
    /// What the last readable lookup found.
    pub(super) known: Option<Lookup>,
    /// The goal is to end it at once. Otherwise an end at any time is enough.
    pub(super) at_once: bool,
    pub(super) timing: Timing,
}

impl CancelState<'_> {
    /// Sends the cancel, or first the change of timing that it needs.
    pub(super) fn send_cancel(&self, found: Option<&Lookup>) -> Step {
        let account = self.standing.task.account;
        // The configuration may have changed since the item was admitted. A cancel that would take
        // effect at another time than asked for must not be sent.
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
            // Only an end that the reply itself shows is a success.
            StatusMeaning::Success(response) => match self.talk.read(CANCEL, response) {
                Some(found) if found.life == Phase::Ended => {
                    let detail = Detail::Subscription(self.completed(found));
                    self.standing.did(Outcome::Canceled, detail, response)
                }
                Some(found) if found.life == Phase::Ending && !self.at_once => {
                    let detail = Detail::Subscription(self.completed(found));
                    self.standing.did(Outcome::Scheduled, detail, response)
                }
                // An accepted cancel may take effect later, so the effect is looked up. That holds
                // for "at once" too, where the reply shows a scheduled end.
                Some(_) | None => settle(self.talk.look()),
            },
            // A rejection is final only if no earlier request can still act: that one may be the
            // reason for it. The other meanings need a lookup to find out whether the goal is
            // reached.
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
            // The request did nothing. The next try begins with a lookup, whose reply says whether
            // this is the provider at all.
            StatusMeaning::Undocumented(_) | StatusMeaning::Foreign(_) => {
                self.standing.look(self.talk.look())
            }
            // Another operation is in progress, which may be an earlier request of ours.
            StatusMeaning::Busy(_) => self.look_while_busy(CANCEL),
            // The request may have acted: the lookup waits until there is something to learn.
            StatusMeaning::Doubtful(..) | StatusMeaning::Unreadable(_) => settle(self.talk.look()),
            // These say that the request was not processed, and a lookup would get the same reply.
            StatusMeaning::Unauthenticated(_)
            | StatusMeaning::Forbidden(_)
            | StatusMeaning::Throttled(_)
            | StatusMeaning::Unsent(_) => self.standing.unable(cancel),
        }
    }

    /// Every reply is followed by a lookup: the subscription may have ended in the meantime, and
    /// the cancel is only sent once a lookup shows that it will take effect as asked for.
    pub(super) fn after_set_timing(&self, patch: &Exchange) -> Step {
        match verdict(patch) {
            // Each repeated change waits a second longer before its lookup, in case it takes effect
            // slowly.
            StatusMeaning::Success(_) => Step::Send(Request {
                pace: match self.patches().saturating_sub(1) {
                    0 => Pace::AtOnce,
                    again => Pace::After(Duration::from_secs(again.into())),
                },
                ..self.talk.look()
            }),
            // The lookup decides whether the goal is reached, or the rejection is the outcome.
            StatusMeaning::Refused(_)
            | StatusMeaning::Absent(_)
            | StatusMeaning::Undocumented(_) => self.standing.look(self.talk.look()),
            // Another operation may be an earlier request of ours.
            StatusMeaning::Busy(_) => self.look_while_busy(SET_TIMING),
            // The change may have been made: the lookup waits until there is something to learn.
            StatusMeaning::Doubtful(..) | StatusMeaning::Unreadable(_) => settle(self.talk.look()),
            // The item ends for now: a lookup would meet the same obstacle.
            StatusMeaning::Unauthenticated(_)
            | StatusMeaning::Forbidden(_)
            | StatusMeaning::Throttled(_)
            | StatusMeaning::Foreign(_)
            | StatusMeaning::Unsent(_) => self.standing.unable(patch),
        }
    }

    /// Looks up before the next try while the provider is busy; after enough tries, looks up once
    /// more to decide.
    fn look_while_busy(&self, operation: super::Operation) -> Step {
        let look = || self.talk.look();
        let waits = self.standing.look_while_busy(operation, look());
        waits.unwrap_or_else(|| self.standing.look(look()))
    }

    pub(super) fn last_effect(&self) -> Option<&Exchange> {
        let mut backwards = self.standing.history.iter().rev();
        backwards.find(|exchange| matches!(exchange.operation, Some(CANCEL | SET_TIMING)))
    }

    /// The last request with an effect and its rejection, if it was rejected.
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

    /// Whether the last request with an effect was an accepted change of timing.
    pub(super) fn was_set(&self) -> bool {
        self.last_effect().is_some_and(is_patched)
    }

    /// The number of accepted changes of timing.
    pub(super) fn patches(&self) -> u32 {
        let patches = self.standing.history.iter().filter(|e| is_patched(e));
        u32::try_from(patches.count()).unwrap_or(u32::MAX)
    }
}

fn is_patched(exchange: &Exchange) -> bool {
    exchange.operation == Some(SET_TIMING) && exchange.class == Class::Accepted
}
