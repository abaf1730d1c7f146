//! State of an item from its history: whether requests of ours are in doubt, may still act, and may
//! be the cause of what a lookup finds. The same for every provider.

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

/// Believed lookups that leave the doubt open, before the item ends in doubt.
const LOOKS_MAX: u32 = 3;
/// Complete but inconclusive replies in a row, before the run ends.
const UNREADABLE_MAX: usize = 3;
/// Tries after the first while the provider is busy: one after each of the pauses of 1, 2, 4, 8 and
/// 16 seconds, so six requests in all.
const BUSY_TRIES_MAX: usize = 5;

/// An item with its history, and what follows from that.
#[derive(Clone)]
pub(super) struct ItemState<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) history: &'a [Exchange],
    /// A request of ours may have reached the goal, in this run or an earlier one. Never reset.
    pub(super) ours: bool,
    /// A request of ours may still act, so a lookup that finds nothing done proves nothing.
    pub(super) may_act: bool,
    /// A request of ours may have had an effect, and nothing since has disproved it.
    pub(super) doubt: bool,
    /// The provider accepted a request whose effect has not been seen. It is not sent again.
    pub(super) accepted: bool,
    /// Believed, readable lookups since such a request, over all runs.
    pub(super) looks: u32,
    /// What is known of the target, for outcomes that learn nothing more.
    pub(super) detail: Detail,
    effects: &'a [Operation],
    pub(super) read_error: fn(&Response) -> ProviderError,
}

impl<'a> ItemState<'a> {
    /// Reads a history. `effects` are the operations that can reach the goal; `read_error` reads
    /// the provider's errors.
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
        // A dry run has no effect that could be in doubt.
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
        // An exchange without an operation stands for what an earlier process may have sent.
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
            // Once the address proved to be the provider's, an earlier reply of an intermediary may
            // have stopped the reply only, not the request.
            let is_blocked = exchange.class == Class::Foreign
                && self.task.facts.answered
                && !response.is_some_and(is_not_passed_on);
            // A rejection of a repeated request: the earlier request may have had its effect after
            // all, without showing in lookups yet.
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
        // Only a believed lookup rules out that a request still acts. It also counts towards the
        // limit of lookups that leave the doubt open.
        if exchange.seen.believed && self.ours {
            self.may_act = false;
            self.looks = self.looks.saturating_add(1);
        }
        let is_settled = !self.may_act && !self.accepted;
        // The target is as before and no request can act on it: the doubt is disproved.
        if is_settled && matches!(sight, Sight::Untouched | Sight::Later) {
            (self.doubt, self.looks) = (false, 0);
        }
    }

    fn form(&self) -> &'static dyn Envelope {
        of(self.task.account.provider()).form()
    }

    pub(super) fn last(&self) -> Option<&'a Exchange> {
        self.history.last()
    }

    /// The last exchange of an operation.
    pub(super) fn last_of(&self, operation: Operation) -> Option<&'a Exchange> {
        let mut backwards = self.history.iter().rev();
        backwards.find(|exchange| exchange.operation == Some(operation))
    }

    /// The exchanges that can have reached the goal, latest first.
    pub(super) fn effects(&self) -> impl Iterator<Item = &'a Exchange> {
        let effects = self.effects;
        let is_effect = move |exchange: &&Exchange| {
            let operation = exchange.operation;
            operation.is_some_and(|operation| effects.contains(&operation))
        };
        self.history.iter().rev().filter(is_effect)
    }

    /// Whether an exchange is a lookup.
    pub(super) fn is_look(&self, exchange: &Exchange) -> bool {
        let operation = exchange.operation;
        operation.is_some_and(|operation| self.form().looks().contains(&operation))
    }

    /// Whether the account has described a requested target, now or before. Until then a rejection
    /// that any server could give is not trusted.
    pub(super) fn is_proven(&self) -> bool {
        let provider = of(self.task.account.provider());
        let proves = |exchange: &Exchange| provider.evidence(self.task, exchange).proven;
        self.task.facts.proven || self.history.iter().any(proves)
    }

    /// Looks it up: at once, or on the schedule of a doubt if a request of ours may still act.
    pub(super) fn look(&self, look: Request) -> Step {
        match self.may_act {
            true => settle(look),
            false => Step::Send(look),
        }
    }

    /// A readable lookup leaves the fate of our requests open: repeats it until enough lookups were
    /// believed.
    pub(super) fn open(&self, look: Request, why: &str, response: &Response) -> Step {
        if self.may_act || self.looks < LOOKS_MAX {
            return settle(look);
        }
        self.unresolved(why, response)
    }

    /// Repeats an inconclusive lookup after a pause; `None` if that was done often enough.
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

    /// If the last request of an operation found the provider busy: the lookup before the next try.
    /// `None` after enough tries.
    pub(super) fn look_while_busy(&self, operation: Operation, look: Request) -> Option<Step> {
        let backwards = self.history.iter().rev();
        let of_it = backwards.filter(|exchange| exchange.operation == Some(operation));
        let busy: Vec<_> = of_it.take_while(|e| e.class == Class::Busy).collect();
        let last = busy.first()?;
        if self.may_act {
            return Some(settle(look));
        }
        // After a doubt there is one more try: busy may be the effect of our own request.
        let tries_max = if self.ours { 1 } else { BUSY_TRIES_MAX };
        if busy.len() > tries_max {
            return None;
        }
        let asked = answered(&last.reply).and_then(|response| asked_wait(response, last));
        let wait = asked.unwrap_or_else(|| growing(busy.len()));
        let pace = Pace::After(wait.min(Duration::from_millis(limits::THROTTLE_MS_MAX)));
        Some(Step::Send(Request { pace, ..look }))
    }

    /// Whether a lookup comes first: something was sent under this key before, or money would move
    /// twice if another key has cancelled the target.
    pub(super) fn begins_with_a_look(&self) -> bool {
        let moves_money = match self.task.command {
            Command::Subscription(command) => {
                command.prorate == Some(true) || !command.line_items.is_empty()
            }
            Command::Enrollments(_) => false,
        };
        self.ours || (moves_money && self.task.facts.target_known)
    }

    /// Sends a request that can reach the goal. If a request of ours was accepted or may still act,
    /// a lookup comes first.
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

/// A lookup on the schedule of a doubt.
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

/// Whether a reply is complete but inconclusive.
fn is_whole(exchange: &Exchange) -> bool {
    matches!(
        verdict(exchange),
        StatusMeaning::Unreadable(_) | StatusMeaning::Undocumented(_) | StatusMeaning::Busy(_)
    )
}

/// The wait that a reply asks for.
fn asked_wait(response: &Response, exchange: &Exchange) -> Option<Duration> {
    match http_status::retry_after(response)? {
        Throttle::After(seconds) => Some(Duration::from_secs(seconds)),
        Throttle::Until(then) => Duration::try_from(then.duration_since(exchange.seen.at?)).ok(),
        Throttle::Unsaid => None,
    }
}

pub(super) fn answered(reply: &Reply) -> Option<&Response> {
    match reply {
        Reply::Answered(response) => Some(response),
        Reply::NotSent(_) | Reply::InDoubt(_) => None,
    }
}
