//! Sequenzy: `POST /sequences/{id}/enrollments/cancel`, repeated unchanged until nothing that
//! matches remains. Only enrollments that still match are cancelled, so a repeat is harmless even
//! while a lost call may still act; it only turns the counts into lower bounds.
//!
//! `dryRun` is always sent, since its default depends on the target, and compared with the one in
//! the reply. `hasMore` is about the sample of enrollments in a reply, not about what remains
//! (reference, section 1).

mod compact;
mod drain;
mod endings;
mod listing;
#[cfg(test)]
mod tests;
mod wire;

use crate::{
    domain::{
        account::{Account, Auth, Capabilities, DryRun},
        http_exchange::{Class, Exchange, Operation, Reply, Request, Response, Throttle},
        ids::Kind,
        outcome::Outcome,
    },
    limits,
};

use self::{
    drain::Drain,
    wire::{Call, Says},
};
use super::{
    Envelope, Evidence, Progress, Provider, Sight, Step, Task,
    check::OPAQUE_ID_MARKS,
    reply::{classify, json::JsonReader},
};

/// Counts the matches, with a call that has `dryRun: true`.
const COUNT: Operation = Operation("count");
/// Cancels up to 1,000 matching enrollments.
const CANCEL: Operation = Operation("cancel");
/// Lists the cancelled enrollments of some subscribers.
const LIST: Operation = Operation("look_enrollments");

pub(super) struct Sequenzy;

impl Provider for Sequenzy {
    fn capabilities(&self, _account: &Account) -> Capabilities {
        Capabilities {
            kind: Kind::Enrollments,
            timings: Vec::new(),
            prorate: false,
            line_items: false,
            notes: &["reason"],
            dry_run: DryRun::Preview,
        }
    }

    fn auth(&self, _account: &Account) -> Auth {
        Auth {
            header: "authorization",
            prefix: "Bearer ",
        }
    }

    fn next(&self, task: &Task<'_>, history: &[Exchange]) -> Step {
        let command = match task.enrollments() {
            Ok(command) => command,
            Err(step) => return step,
        };
        let drain = Drain::new(task, command, history);
        let step = match drain.next() {
            Step::Send(_) if history.len() >= limits::EXCHANGES_MAX => drain.is_too_long(),
            step => step,
        };
        match step {
            Step::Done(mut conclusion) => {
                // Counts are lower bounds. If others did all of it, there are none of ours.
                let by_others = conclusion.outcome == Outcome::AlreadyCanceled;
                conclusion.confirmed_by_lookup = drain.lost && !by_others;
                Step::Done(conclusion)
            }
            step @ Step::Send(_) => step,
        }
    }

    fn id_marks(&self) -> Option<&'static str> {
        Some(OPAQUE_ID_MARKS)
    }

    fn form(&self) -> &dyn Envelope {
        self
    }

    /// A success with an error inside is an undocumented rejection. One without the number of
    /// cancelled enrollments leaves that open, so it counts as lost.
    fn classify(&self, task: &Task<'_>, request: &Request, reply: &Reply) -> Class {
        let class = classify::class(self, task, request, reply);
        match reply {
            Reply::Answered(response) if (200..300).contains(&response.status) => {
                let is_open = request.operation == CANCEL
                    && !response.text.trim().is_empty()
                    && Call::counts(CANCEL, response).is_none();
                match Says::read(response) {
                    Says::Error => Class::Undocumented,
                    _ if is_open => Class::Lost,
                    _ => class,
                }
            }
            _ => class,
        }
    }

    /// An error inside a success is in Sequenzy's own format too.
    fn evidence(&self, task: &Task<'_>, exchange: &Exchange) -> Evidence {
        let evidence = classify::evidence(self, task, exchange);
        Evidence {
            answered: evidence.answered || exchange.class == Class::Undocumented,
            ..evidence
        }
    }

    fn progress(&self, task: &Task<'_>, history: &[Exchange]) -> Option<Progress> {
        let drain = Drain::new(task, task.enrollments().ok()?, history);
        let is_begun = drain.lost || !drain.calls.is_empty();
        is_begun.then(|| Progress {
            detail: drain.at.detail.clone(),
            lost: drain.lost,
        })
    }

    fn compact(&self, _task: &Task<'_>, history: &mut Vec<Exchange>) {
        compact::compact(history);
    }

    /// Only the status is documented. Its SDKs also read `retry-after-ms`.
    fn signal(&self, response: &Response) -> Option<Throttle> {
        if super::reply::http_status::retry_after(response).is_some() {
            return None;
        }
        let wait_ms = response.header("retry-after-ms")?.trim().parse::<u64>();
        Some(Throttle::After(wait_ms.ok()?.div_ceil(1_000)))
    }
}

/// `{error}`, or `{success}` with counts.
impl Envelope for Sequenzy {
    fn is_error(&self, response: &Response) -> bool {
        Says::read(response) == Says::Error
    }

    fn documents(&self, _operation: Operation, response: &Response) -> bool {
        matches!(response.status, 400 | 404)
    }

    fn names(&self, task: &Task<'_>, _operation: Operation) -> Vec<(&'static str, String)> {
        vec![("sequenceId", task.command.resource().as_str().to_owned())]
    }

    fn shows(&self, _task: &Task<'_>, operation: Operation, response: &Response) -> Sight {
        if Says::read(response) != Says::Success {
            return Sight::Nothing;
        }
        if operation == LIST {
            let listed = JsonReader(response.json.as_ref()).at("enrollments");
            return match listed.0.is_some_and(serde_json::Value::is_array) {
                true => Sight::Untouched,
                false => Sight::Nothing,
            };
        }
        match Call::counts(operation, response) {
            // The next call continues with the rest.
            Some(_) if operation == CANCEL => Sight::Reached,
            Some(call) if call.remaining == 0 => Sight::Reached,
            Some(_) => Sight::Untouched,
            None => Sight::Nothing,
        }
    }

    fn looks(&self) -> &'static [Operation] {
        &[COUNT, LIST]
    }
}
