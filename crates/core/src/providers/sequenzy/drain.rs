//! The state machine of a drain, which cancels the enrollments of a target until none remains.

use crate::{
    domain::{
        account::ProviderSettings,
        command::EnrollmentsCommand,
        http_exchange::{
            Body, Class, Exchange, HttpMethod, Operation, Pace, Path, Request, Safety,
        },
        outcome::{Detail, FailureReason},
    },
    providers::{
        Mode, Step, Task,
        item_state::{ItemState, answered, settle},
    },
};

use super::{
    CANCEL, COUNT, LIST,
    wire::{Call, body, detail, read_error},
};

/// Accepted cancel calls without readable counts, before the run ends.
const UNREAD_MAX: usize = 2;

/// A drain with its command and its history.
pub(super) struct Drain<'a> {
    pub(super) command: &'a EnrollmentsCommand,
    pub(super) at: ItemState<'a>,
    pub(super) calls: Vec<Call<'a>>,
    /// A call may have cancelled enrollments that no reply counts, in this run or an earlier one of
    /// the key.
    pub(super) lost: bool,
}

impl<'a> Drain<'a> {
    pub(super) fn new(
        task: &'a Task<'a>,
        command: &'a EnrollmentsCommand,
        history: &'a [Exchange],
    ) -> Self {
        let calls: Vec<_> = history.iter().filter_map(Call::read).collect();
        let mut at = ItemState::new(task, history, &[CANCEL], read_error);
        if task.mode == Mode::Cancel {
            stand(&mut at);
        }
        at.detail = Detail::Enrollments(detail(&calls));
        Self {
            command,
            lost: at.ours,
            at,
            calls,
        }
    }

    pub(super) fn next(&self) -> Step {
        let counts_first = self.command.matches_max.is_some();
        match (self.at.task.mode, self.at.last()) {
            (Mode::Cancel, Some(last)) if last.operation == Some(CANCEL) => self.after_cancel(last),
            (Mode::Cancel, Some(last)) if last.operation == Some(LIST) => self.after_list(last),
            (_, Some(last)) if last.operation == Some(COUNT) => self.after_count(last),
            // A limit on matches has to be checked before anything is cancelled.
            (Mode::Cancel, _) if !counts_first => self.cancel(),
            (Mode::Cancel | Mode::DryRun, _) => Step::Send(self.counting()),
        }
    }

    fn after_cancel(&self, last: &'a Exchange) -> Step {
        match last.class {
            Class::Accepted => match Call::read(last) {
                Some(call) => self.after_call(&call),
                None => settle(self.counting()),
            },
            // A rejection is not final while an earlier call may have had its effect.
            Class::Refused if self.lost => settle(self.counting()),
            Class::Refused => self.refused(last),
            Class::Undocumented => Step::Send(self.counting()),
            Class::Busy => {
                let look = self.at.look_while_busy(CANCEL, self.counting());
                look.unwrap_or_else(|| Step::Send(self.counting()))
            }
            Class::Lost | Class::Unreadable => settle(self.counting()),
            Class::Throttled | Class::Unsent | Class::Foreign if self.at.may_act => {
                settle(self.counting())
            }
            Class::Throttled
            | Class::Unsent
            | Class::Foreign
            | Class::Unauthenticated
            | Class::Forbidden => self.at.unable(last),
        }
    }

    fn after_call(&self, call: &Call<'a>) -> Step {
        if call.dry == Some(true) {
            return self.at.gives_up(
                FailureReason::AnswerUnreadable,
                "sequenzy answered a live call as a dry run, so it cancelled nothing",
                "look at its answer, then send the key again",
                Some(call.response),
            );
        }
        match (call.remaining, call.canceled) {
            (0, _) => self.finished(call),
            (_, 0) => self.at.gives_up(
                FailureReason::NoProgress,
                &format!(
                    "{}, and the last call cancelled none of them",
                    self.so_far()
                ),
                "ask sequenzy why, then send the key again",
                Some(call.response),
            ),
            (_, _) => self.cancel(),
        }
    }

    fn after_count(&self, last: &'a Exchange) -> Step {
        match last.class {
            Class::Accepted => match Call::read(last) {
                Some(call) => self.counted(&call),
                None => self.uncounted(last),
            },
            Class::Unreadable | Class::Busy => self.uncounted(last),
            Class::Refused | Class::Undocumented => self.count_refused(last),
            Class::Lost
            | Class::Unsent
            | Class::Throttled
            | Class::Foreign
            | Class::Unauthenticated
            | Class::Forbidden => self.at.unable(last),
        }
    }

    fn counted(&self, call: &Call<'a>) -> Step {
        if call.dry == Some(false) || call.canceled > 0 {
            return self.not_dry(call);
        }
        if let Some(max) = self.command.matches_max
            && call.matched > u64::from(max)
        {
            return self.too_many(call, max);
        }
        match self.at.task.mode {
            Mode::DryRun if self.knows_nobody(call) => self.unknown_subscribers(call),
            Mode::DryRun => self.preview(call),
            Mode::Cancel if call.matched == 0 => self.finished(call),
            Mode::Cancel => self.some_left(call),
        }
    }

    /// A count found matches. The next step depends on the result of the last cancel.
    fn some_left(&self, call: &Call<'a>) -> Step {
        let Some(cancel) = self.at.last_of(CANCEL) else {
            return self.cancel();
        };
        let is_no = is_undocumented(cancel) || cancel.class == Class::Refused;
        match cancel.class {
            _ if self.at.may_act => settle(self.counting()),
            Class::Accepted if self.unread() > UNREAD_MAX => self.doubtful().unable(cancel),
            Class::Accepted | Class::Lost | Class::Unreadable => self.cancel(),
            Class::Busy if self.at.look_while_busy(CANCEL, self.counting()).is_some() => {
                self.cancel()
            }
            // The operation in progress there ends by itself.
            Class::Busy if self.lost => self.at.unable(cancel),
            // It is unknown how many there were before the call whose reply was lost.
            _ if is_no && self.lost => self.at.open(
                self.counting(),
                &format!(
                    "an answer was lost, sequenzy refused to go on, and {} enrollments still match",
                    call.matched
                ),
                answered(&cancel.reply).unwrap_or(call.response),
            ),
            _ if is_no => self.refused(cancel),
            _ => self.at.unable(cancel),
        }
    }

    /// A count came without counts.
    fn uncounted(&self, last: &'a Exchange) -> Step {
        if let Some(step) = self.at.look_again(self.counting(), last) {
            return step;
        }
        match self.at.last_of(CANCEL) {
            Some(cancel) if !self.lost && is_undocumented(cancel) => self.at.unable(cancel),
            _ => self.at.unable(last),
        }
    }

    /// A count was rejected.
    fn count_refused(&self, last: &'a Exchange) -> Step {
        match (self.at.last_of(CANCEL), answered(&last.reply)) {
            (_, Some(response)) if self.lost && last.class == Class::Refused => self.at.open(
                self.counting(),
                "an answer was lost, and sequenzy refuses to count what is left",
                response,
            ),
            (Some(cancel), _) if is_undocumented(cancel) => self.at.unable(cancel),
            (_, Some(response)) if last.class == Class::Undocumented => self.undocumented(response),
            _ => self.refused(last),
        }
    }

    /// The number of accepted cancels without readable counts.
    fn unread(&self) -> usize {
        let is_unread = |exchange: &&Exchange| {
            exchange.operation == Some(CANCEL)
                && exchange.class == Class::Accepted
                && Call::read(exchange).is_none()
        };
        self.at.history.iter().filter(is_unread).count()
    }

    /// The state with the doubt kept, whatever remains to be cancelled.
    pub(super) fn doubtful(&self) -> ItemState<'a> {
        let mut at = self.at.clone();
        at.doubt = true;
        at
    }

    pub(super) fn cancel(&self) -> Step {
        Step::Send(self.call(CANCEL, Safety::Repeatable))
    }

    /// A call that counts the matches: the lookup of a drain.
    pub(super) fn counting(&self) -> Request {
        self.call(COUNT, Safety::Look)
    }

    fn call(&self, operation: Operation, safety: Safety) -> Request {
        Request {
            body: Some(Body {
                content_type: "application/json",
                text: body(self.command, operation == COUNT).to_string(),
            }),
            ..self.request(operation, safety, HttpMethod::Post, "enrollments/cancel")
        }
    }

    pub(super) fn request(
        &self,
        operation: Operation,
        safety: Safety,
        method: HttpMethod,
        collection: &'static str,
    ) -> Request {
        let company = match &self.at.task.account.settings {
            ProviderSettings::Sequenzy { company_id } => company_id.clone(),
            ProviderSettings::Rebilly { .. }
            | ProviderSettings::Solidgate { .. }
            | ProviderSettings::FunnelFox { .. }
            | ProviderSettings::Revolv3 { .. } => None,
        };
        let company = company.map(|company| ("x-company-id", company));
        Request {
            operation,
            safety,
            pace: Pace::AtOnce,
            method,
            path: Path::fixed("sequences")
                .segment(self.command.sequence_id.as_str())
                .then(collection),
            query: Vec::new(),
            headers: company.into_iter().collect(),
            body: None,
        }
    }
}

/// Derives the drain's state from its history. Unlike a single effect, an accepted call is
/// repeated, and each reply counts what remains: an earlier call that acts late finds no more than
/// that.
fn stand(at: &mut ItemState<'_>) {
    let before = at.task.doubt;
    at.accepted = false;
    at.ours = before.is_some();
    at.looks = before.map_or(0, |doubt| doubt.looks);
    at.may_act = before.is_some_and(|doubt| doubt.may_act);
    at.doubt = before.is_some_and(|doubt| doubt.may_act || doubt.looks > 0);
    for exchange in at.history {
        let is_read = Call::read(exchange).is_some();
        match (exchange.operation, exchange.class) {
            (Some(CANCEL), Class::Accepted) if is_read => (at.may_act, at.doubt) = (false, false),
            (None, _) | (Some(CANCEL), Class::Accepted | Class::Lost | Class::Unreadable) => {
                (at.ours, at.may_act, at.doubt, at.looks) = (true, true, true, 0);
            }
            (Some(COUNT), Class::Accepted | Class::Refused) if exchange.seen.believed => {
                at.may_act = false;
                at.doubt &= !is_read;
                at.looks = at.looks.saturating_add(u32::from(at.ours));
            }
            _ => {}
        }
    }
}

fn is_undocumented(exchange: &Exchange) -> bool {
    matches!(exchange.class, Class::Undocumented | Class::Busy)
}
