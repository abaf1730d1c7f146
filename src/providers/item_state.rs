//! Where an item stands: what its requests left unknown, whether they may still act, and whether
//! what is found may be theirs. The same for every provider; nothing here knows any of them.

use std::time::Duration;

use crate::{
    domain::{
        command::Command,
        http_exchange::{Class, Exchange, Operation, Pace, Reply, Request, Response, Throttle},
        outcome::{Detail, ProviderError},
    },
    limits,
};

use super::{
    Envelope, Mode, Sight, Step, Task, of,
    reply::{
        classify::is_not_passed_on,
        http_status::{self, StatusMeaning, verdict},
    },
};

/// Looks that can be believed and leave it open, until that is the end.
const LOOKS_MAX: u32 = 3;
/// Whole answers in a row that tell nothing, until that is the end of a run.
const UNREADABLE_MAX: usize = 3;
/// Tries after the first while something else is in progress at the provider: one behind each of the
/// pauses of 1, 2, 4, 8 and 16 seconds, so that it gets six requests in all.
const BUSY_TRIES_MAX: usize = 5;

/// An item in the middle of its history.
#[derive(Clone)]
pub(super) struct ItemState<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) history: &'a [Exchange],
    /// A request of ours may have reached the goal, in this run or in an earlier one. It stays.
    pub(super) ours: bool,
    /// A request of ours may still act, so that a look that finds nothing done is news and no
    /// proof.
    pub(super) may_act: bool,
    /// A request of ours may have had an effect, and nothing since has shown that it had none.
    pub(super) doubt: bool,
    /// The provider accepted a request whose effect has not been seen: it is not sent again.
    pub(super) accepted: bool,
    /// Looks that could be believed and read since such a request, over all runs.
    pub(super) looks: u32,
    /// What is known of the target, for endings that learn nothing more. Blank at first.
    pub(super) detail: Detail,
    effects: &'a [Operation],
    pub(super) read_error: fn(&Response) -> ProviderError,
}

impl<'a> ItemState<'a> {
    /// Reads a history. `effects` are the operations that can reach the goal, and `read_error`
    /// reads the provider's error envelopes.
    pub(super) fn new(
        task: &'a Task<'a>,
        history: &'a [Exchange],
        effects: &'a [Operation],
        read_error: fn(&Response) -> ProviderError,
    ) -> Self {
        let mut standing = Self {
            task,
            history,
            ours: false,
            may_act: false,
            doubt: false,
            accepted: false,
            looks: 0,
            detail: http_status::blank(task.command),
            effects,
            read_error,
        };
        // A dry run has no effect, so that nothing of it can be in doubt.
        if task.mode == Mode::DryRun {
            return standing;
        }
        if let Some(doubt) = task.doubt {
            standing.ours = true;
            standing.may_act = doubt.may_act;
            standing.accepted = doubt.accepted;
            standing.looks = doubt.looks;
            standing.doubt = doubt.may_act || doubt.accepted || doubt.looks > 0;
        }
        for exchange in history {
            standing.take(exchange);
        }
        standing
    }

    fn take(&mut self, exchange: &Exchange) {
        let Some(operation) = exchange.operation else {
            (self.ours, self.may_act, self.doubt) = (true, true, true);
            return;
        };
        let response = answered(&exchange.reply);
        let sight = response.map_or(Sight::Nothing, |response| {
            self.form().shows(self.task, operation, response)
        });
        if self.effects.contains(&operation) {
            let betrays = response.is_some_and(|r| self.form().betrays_earlier(r));
            // Once the place has shown to be the provider's, what answered before stood in between,
            // and may have stopped nothing but the answer.
            let is_blocked = exchange.class == Class::Foreign
                && self.task.facts.answered
                && !response.is_some_and(is_not_passed_on);
            // A no to what was sent again: perhaps the earlier one had its effect after all, and looks
            // do not show it yet.
            let is_once = self.form().is_sent_once();
            let is_open = match exchange.class {
                _ if is_blocked => true,
                Class::Lost => true,
                Class::Refused | Class::Undocumented | Class::Busy => self.ours && is_once,
                Class::Accepted => sight != Sight::Reached,
                _ => false,
            };
            if is_open {
                (self.ours, self.may_act, self.doubt, self.looks) = (true, true, true, 0);
                self.accepted |= exchange.class == Class::Accepted;
            } else if betrays {
                (self.ours, self.doubt) = (true, true);
            }
            return;
        }
        let is_look = self.form().looks().contains(&operation);
        if !is_look || !matches!(exchange.class, Class::Accepted | Class::Refused) {
            return;
        }
        if exchange.seen.believed && self.ours {
            self.may_act = false;
            self.looks = self.looks.saturating_add(1);
        }
        let is_settled = !self.may_act && !self.accepted;
        if is_settled && matches!(sight, Sight::Untouched | Sight::Later) {
            (self.doubt, self.looks) = (false, 0);
        }
    }

    fn form(&self) -> &'static dyn Envelope {
        of(self.task.account.provider()).form()
    }

    /// The last exchange.
    pub(super) fn last(&self) -> Option<&'a Exchange> {
        self.history.last()
    }

    /// The last exchange of this operation.
    pub(super) fn last_of(&self, operation: Operation) -> Option<&'a Exchange> {
        let mut backwards = self.history.iter().rev();
        backwards.find(|exchange| exchange.operation == Some(operation))
    }

    /// Requests that can reach the goal, the last one first.
    pub(super) fn effects(&self) -> impl Iterator<Item = &'a Exchange> {
        let effects = self.effects;
        let is_effect = move |exchange: &&Exchange| {
            let operation = exchange.operation;
            operation.is_some_and(|operation| effects.contains(&operation))
        };
        self.history.iter().rev().filter(is_effect)
    }

    /// Whether an exchange is a look.
    pub(super) fn is_look(&self, exchange: &Exchange) -> bool {
        let operation = exchange.operation;
        operation.is_some_and(|operation| self.form().looks().contains(&operation))
    }

    /// Whether an answer that anybody could give is the provider's: the account has described
    /// what was asked for, now or before.
    pub(super) fn is_proven(&self) -> bool {
        let provider = of(self.task.account.provider());
        let proves = |exchange: &Exchange| provider.evidence(self.task, exchange).proven;
        self.task.facts.proven || self.history.iter().any(proves)
    }

    /// Looks: at once, or, while a request of ours may still act, when there is something to learn.
    pub(super) fn look(&self, look: Request) -> Step {
        match self.may_act {
            true => settle(look),
            false => Step::Send(look),
        }
    }

    /// A look could be read and leaves it open what became of requests of ours: looks again, until
    /// enough of them could be believed.
    pub(super) fn open(&self, look: Request, why: &str, response: &Response) -> Step {
        if self.may_act || self.looks < LOOKS_MAX {
            return settle(look);
        }
        self.unresolved(why, response)
    }

    /// How to look again after a look that told nothing, if that may help.
    pub(super) fn look_again(&self, look: Request, last: &Exchange) -> Option<Step> {
        let backwards = self.history.iter().rev();
        let in_a_row = backwards.take_while(|exchange| is_whole(exchange)).count();
        if !is_whole(last) || in_a_row >= UNREADABLE_MAX {
            return None;
        }
        Some(Step::Send(Request {
            pace: Pace::After(growing(in_a_row)),
            ..look
        }))
    }

    /// If the last request of this operation was refused because another is in progress: how to
    /// look before the next try. `None` if there have been enough of them.
    pub(super) fn look_while_busy(&self, operation: Operation, look: Request) -> Option<Step> {
        let backwards = self.history.iter().rev();
        let of_it = backwards.filter(|exchange| exchange.operation == Some(operation));
        let busy: Vec<_> = of_it.take_while(|e| e.class == Class::Busy).collect();
        let last = busy.first()?;
        if self.may_act {
            return Some(settle(look));
        }
        // After belief there is one try more.
        let tries_max = if self.ours { 1 } else { BUSY_TRIES_MAX };
        if busy.len() > tries_max {
            return None;
        }
        let asked = answered(&last.reply).and_then(|response| asked_wait(response, last));
        let wait = asked.unwrap_or_else(|| growing(busy.len()));
        let pace = Pace::After(wait.min(Duration::from_millis(limits::THROTTLE_MS_MAX)));
        Some(Step::Send(Request { pace, ..look }))
    }

    /// Whether a look goes before everything else: something was sent under this key before, or
    /// money would move twice if another key has cancelled the target.
    pub(super) fn begins_with_a_look(&self) -> bool {
        let moves_money = match self.task.command {
            Command::Subscription(command) => {
                command.prorate == Some(true) || !command.line_items.is_empty()
            }
            Command::Enrollments(_) => false,
        };
        self.ours || (moves_money && self.task.facts.target_known)
    }

    /// Sends a request that can reach the goal, unless one of ours was accepted or may still act:
    /// then a look comes first.
    pub(super) fn send_effect(&self, effect: Request, look: Request) -> Step {
        if self.accepted {
            return settle(look);
        }
        match self.may_act {
            true => settle(look),
            false => Step::Send(effect),
        }
    }
}

/// Looks at what a request of ours comes to.
pub(super) fn settle(look: Request) -> Step {
    Step::Send(Request {
        pace: Pace::Settle,
        ..look
    })
}

/// 1, 2, 4, 8 ... seconds.
fn growing(times: usize) -> Duration {
    let doublings = u32::try_from(times.saturating_sub(1)).unwrap_or(u32::MAX);
    Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(doublings))
}

/// A whole answer that tells nothing.
fn is_whole(exchange: &Exchange) -> bool {
    matches!(
        verdict(exchange),
        StatusMeaning::Unreadable(_) | StatusMeaning::Undocumented(_) | StatusMeaning::Busy(_)
    )
}

/// How long an answer asks to wait.
fn asked_wait(response: &Response, exchange: &Exchange) -> Option<Duration> {
    match http_status::retry_after(response)? {
        Throttle::After(seconds) => Some(Duration::from_secs(seconds)),
        Throttle::Until(then) => Duration::try_from(then.duration_since(exchange.seen.at?)).ok(),
        Throttle::Unsaid => None,
    }
}

/// The response, if there is one.
pub(super) fn answered(reply: &Reply) -> Option<&Response> {
    match reply {
        Reply::Answered(response) => Some(response),
        Reply::NotSent(_) | Reply::InDoubt(_) => None,
    }
}
