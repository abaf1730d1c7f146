//! The state machine of a subscription at Rebilly: the next step after each exchange.

use crate::{
    domain::{
        command::SubscriptionCommand,
        http_exchange::{Class, Exchange, Response},
    },
    providers::{
        Mode, Step, Task,
        item_state::{ItemState, settle},
        reply::http_status::{StatusMeaning, verdict},
    },
};

use super::{
    CANCEL, LOOK, LOOK_OWN,
    wire::{CancellationStatus, RebillyPhase, Subscription, read_error},
};

/// One subscription with its command and its history.
pub(super) struct RebillyApi<'a> {
    pub(super) command: &'a SubscriptionCommand,
    pub(super) at: ItemState<'a>,
}

impl<'a> RebillyApi<'a> {
    pub(super) fn new(
        task: &'a Task<'a>,
        command: &'a SubscriptionCommand,
        history: &'a [Exchange],
    ) -> Self {
        let effects = match task.mode {
            Mode::Cancel => &[CANCEL][..],
            // A draft has no effect.
            Mode::DryRun => &[],
        };
        let mut at = ItemState::new(task, history, effects, read_error);
        if task.mode == Mode::Cancel {
            stand(&mut at);
        }
        Self { command, at }
    }

    pub(super) fn cancel(&self) -> Step {
        let Some(last) = self.at.last() else {
            // Something may have been sent before: our own id shows whether it arrived.
            return match self.at.ours {
                true => Step::Send(self.get_own()),
                false => self.begin(),
            };
        };
        match last.operation {
            Some(CANCEL) => self.after_cancel(last),
            Some(LOOK_OWN) => self.after_look_own(last),
            Some(LOOK) => self.after_look(last),
            _ => Step::Send(self.get_own()),
        }
    }

    /// The first request with an effect. If another key may have cancelled the subscription, a
    /// command that moves money looks it up first: it would move money twice.
    fn begin(&self) -> Step {
        let command = self.command;
        let moves_money = command.prorate == Some(true) || !command.line_items.is_empty();
        let is_seen = self.at.last_of(LOOK).is_some();
        match moves_money && self.at.task.facts.target_known && !is_seen {
            true => Step::Send(self.get_subscription()),
            false => Step::Send(self.confirm()),
        }
    }

    fn after_cancel(&self, last: &'a Exchange) -> Step {
        // A lost request may be the reason for this rejection, and then our own id exists.
        let look = || match self.at.ours {
            true => self.get_own(),
            false => self.get_subscription(),
        };
        match verdict(last) {
            StatusMeaning::Success(response) => match CancellationStatus::read(response) {
                CancellationStatus::Confirmed | CancellationStatus::Completed => {
                    self.in_force(last, response)
                }
                CancellationStatus::Revoked => Step::Send(self.get_subscription()),
                // Never sent again: its effect is awaited.
                _ if self.at.accepted => settle(self.get_own()),
                CancellationStatus::Draft | CancellationStatus::Unknown => {
                    Step::Send(self.get_own())
                }
            },
            StatusMeaning::Refused(_)
            | StatusMeaning::Absent(_)
            | StatusMeaning::Undocumented(_) => Step::Send(look()),
            // Another operation is in progress, which may be an earlier request of ours.
            StatusMeaning::Busy(_) => {
                let waits = self.at.look_while_busy(CANCEL, look());
                waits.unwrap_or_else(|| Step::Send(look()))
            }
            StatusMeaning::Doubtful(..) | StatusMeaning::Unreadable(_) => {
                Step::Send(self.get_own())
            }
            StatusMeaning::Throttled(_) | StatusMeaning::Foreign(_) | StatusMeaning::Unsent(_)
                if self.at.may_act =>
            {
                settle(self.get_own())
            }
            // The request did nothing. The next try begins with a lookup, whose reply says whether
            // this is the provider at all.
            StatusMeaning::Foreign(_) => Step::Send(self.get_own()),
            StatusMeaning::Throttled(_)
            | StatusMeaning::Unsent(_)
            | StatusMeaning::Unauthenticated(_)
            | StatusMeaning::Forbidden(_) => self.at.unable(last),
        }
    }

    fn after_look_own(&self, last: &'a Exchange) -> Step {
        match verdict(last) {
            StatusMeaning::Success(response) => match CancellationStatus::read(response) {
                CancellationStatus::Confirmed | CancellationStatus::Completed => {
                    self.in_force(last, response)
                }
                CancellationStatus::Draft => self.not_there(),
                // Someone revoked it, which is not ours to undo.
                CancellationStatus::Revoked => Step::Send(self.get_subscription()),
                CancellationStatus::Unknown => self.at.unable(last),
            },
            StatusMeaning::Absent(_) => self.not_there(),
            _ => {
                let again = self.at.look_again(self.get_own(), last);
                again.unwrap_or_else(|| match self.at.last_of(CANCEL) {
                    // The same intermediary answers cancel and lookup: it is the reason, not the
                    // lookup.
                    Some(cancel) if is_in_the_way(cancel, last) => self.at.unable(cancel),
                    _ => self.at.unable(last),
                })
            }
        }
    }

    /// Our cancellation does not exist, or is a draft. A repeat under the same id has no second
    /// effect, so this lookup need not be believed first.
    fn not_there(&self) -> Step {
        // An accepted cancellation is never sent again.
        if self.at.accepted {
            return Step::Send(self.get_subscription());
        }
        let Some(cancel) = self.at.last_of(CANCEL) else {
            return self.begin();
        };
        match verdict(cancel) {
            StatusMeaning::Success(_)
            | StatusMeaning::Doubtful(..)
            | StatusMeaning::Unreadable(_) => Step::Send(self.confirm()),
            StatusMeaning::Refused(_)
            | StatusMeaning::Absent(_)
            | StatusMeaning::Undocumented(_) => Step::Send(self.get_subscription()),
            StatusMeaning::Busy(_) if self.at.may_act => settle(self.get_own()),
            StatusMeaning::Busy(_) if self.has_patience() => Step::Send(self.confirm()),
            StatusMeaning::Busy(_) => Step::Send(self.get_subscription()),
            StatusMeaning::Throttled(_) | StatusMeaning::Foreign(_) | StatusMeaning::Unsent(_)
                if self.at.may_act =>
            {
                settle(self.get_own())
            }
            // The lookup was answered by the provider, so the way is open now.
            StatusMeaning::Foreign(_) => Step::Send(self.confirm()),
            StatusMeaning::Throttled(_)
            | StatusMeaning::Unsent(_)
            | StatusMeaning::Unauthenticated(_)
            | StatusMeaning::Forbidden(_) => self.at.unable(cancel),
        }
    }

    fn after_look(&self, last: &'a Exchange) -> Step {
        match verdict(last) {
            StatusMeaning::Success(response) => self.after_sight(response),
            StatusMeaning::Absent(_) if self.at.may_act => settle(self.get_own()),
            StatusMeaning::Absent(response) if self.at.ours => self.at.open(
                self.get_own(),
                "rebilly has no such subscription; if it had one, it may have been cancelled under \
                 this key",
                response,
            ),
            StatusMeaning::Absent(response) => self.not_found(response),
            StatusMeaning::Unauthenticated(_) | StatusMeaning::Forbidden(_) => self.at.unable(last),
            _ => {
                let again = self.at.look_again(self.get_subscription(), last);
                again.unwrap_or_else(|| match self.at.last_of(CANCEL) {
                    Some(cancel) if is_undocumented(cancel) => self.at.unable(cancel),
                    _ => self.at.unable(last),
                })
            }
        }
    }

    /// A lookup described the subscription.
    fn after_sight(&self, look: &'a Response) -> Step {
        let subscription = Subscription::read(look);
        let cancel = self.at.last_of(CANCEL);
        if self.is_reached(&subscription) {
            return self.decide(look, None);
        }
        if self.at.may_act {
            return settle(self.get_own());
        }
        if self.at.accepted && subscription.life == RebillyPhase::Ending {
            // An end later than the requested one is a result, no matter what caused it.
            return self.decide(look, None);
        }
        if self.at.accepted {
            let why = format!(
                "rebilly accepted the cancellation, and a look found the subscription {}",
                subscription.state.provider_status
            );
            return self.at.open(self.get_own(), &why, look);
        }
        // A fresh item whose target had to be looked up first.
        match cancel {
            None if !self.is_revoked() => Step::Send(self.confirm()),
            Some(cancel)
                if cancel.class == Class::Busy
                    && !self.is_revoked()
                    && self.has_patience()
                    && subscription.life != RebillyPhase::Odd =>
            {
                Step::Send(self.confirm())
            }
            _ if self.is_revoked() => self.decide(look, None),
            _ => self.decide(look, self.refusal(CANCEL)),
        }
    }

    /// Whether a try is left while the provider is busy.
    fn has_patience(&self) -> bool {
        self.at.look_while_busy(CANCEL, self.get_own()).is_some()
    }

    /// Whether our cancellation existed and was revoked.
    fn is_revoked(&self) -> bool {
        let own = self.at.last_of(LOOK_OWN);
        let own = own.or_else(|| self.at.last_of(CANCEL));
        match own.map(verdict) {
            Some(StatusMeaning::Success(response)) => {
                CancellationStatus::read(response) == CancellationStatus::Revoked
            }
            _ => false,
        }
    }
}

/// Derives the item's state from its history. Unlike other providers, our own id is a proof: if a
/// believed lookup does not find it, nothing else that is found was caused by this key.
fn stand(at: &mut ItemState<'_>) {
    let before = at.task.doubt;
    at.ours = before.is_some();
    at.may_act = before.is_some_and(|doubt| doubt.may_act);
    at.accepted = before.is_some_and(|doubt| doubt.accepted);
    at.looks = before.map_or(0, |doubt| doubt.looks);
    at.doubt = at.may_act || at.accepted || at.looks > 0;
    let mut drafts = 0_u8;
    for exchange in at.history {
        let status = match verdict(exchange) {
            StatusMeaning::Success(response) => Some(CancellationStatus::read(response)),
            _ => None,
        };
        let believed = exchange.seen.believed;
        match (exchange.operation, exchange.class, status) {
            (None, _, _) | (Some(CANCEL), Class::Lost | Class::Unreadable, _) => {
                (at.ours, at.may_act, at.doubt, at.looks) = (true, true, true, 0);
            }
            // A draft changes nothing, and confirming it is a separate step; a second draft is not.
            (Some(CANCEL), _, Some(CancellationStatus::Draft)) if drafts == 0 => drafts = 1,
            (Some(CANCEL), _, Some(CancellationStatus::Draft | CancellationStatus::Unknown)) => {
                (at.ours, at.may_act, at.doubt, at.looks) = (true, true, true, 0);
                at.accepted = true;
            }
            (Some(LOOK_OWN), Class::Refused, _)
            | (Some(LOOK_OWN), _, Some(CancellationStatus::Draft | CancellationStatus::Revoked))
                if believed =>
            {
                at.may_act = false;
                (at.ours, at.doubt) = (at.accepted, at.accepted);
            }
            (Some(LOOK_OWN), _, Some(_)) if believed => at.may_act = false,
            (Some(LOOK), Class::Accepted | Class::Refused, _) if believed => {
                at.may_act = false;
                at.looks = at.looks.saturating_add(u32::from(at.ours));
            }
            _ => {}
        }
    }
}

/// Whether an intermediary answered both a cancel and the lookup after it.
fn is_in_the_way(cancel: &Exchange, look: &Exchange) -> bool {
    cancel.class == Class::Foreign && look.class == Class::Unreadable
}

fn is_undocumented(exchange: &Exchange) -> bool {
    matches!(exchange.class, Class::Undocumented | Class::Busy)
}
