//! The form of a provider's answers: what tells them from those of anything in between, and whose
//! they are. Each provider describes its own; what follows from it is decided in one place
//! ([`crate::providers::reply::classify`], [`crate::providers::item_state`]).

use crate::domain::http_exchange::{Operation, Response};

use crate::providers::Task;

/// What an answer shows of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Nothing: it is not in the documented form.
    Nothing,
    /// It is in the form and does not say, or uses a word that is not documented.
    Odd,
    /// The target goes on as if nothing had been done.
    Untouched,
    /// It ends, but later than asked for.
    Later,
    /// What was asked for is so.
    Reached,
}

/// The form of a provider's answers.
pub trait Envelope: Sync {
    /// Whether a body is its error envelope, by the documented members.
    fn is_error(&self, response: &Response) -> bool;

    /// Whether its page documents this 4xx in its envelope for the request, beside 401, 403 and
    /// 429.
    fn documents(&self, operation: Operation, response: &Response) -> bool;

    /// The members of a success that name what was asked for, and what they then hold.
    fn names(&self, task: &Task<'_>, operation: Operation) -> Vec<(&'static str, String)>;

    /// What a success shows of the target; for a look also what a documented refusal does.
    fn shows(&self, task: &Task<'_>, operation: Operation, response: &Response) -> Sight;

    /// The requests that change nothing and tell what the target is like.
    fn looks(&self) -> &'static [Operation];

    /// Whether the envelope is only a message, as that of any gateway, so that it proves nothing
    /// unless the account has described a target before.
    fn is_message_only(&self) -> bool {
        false
    }

    /// Whether a request that reaches the goal is not safe to repeat, so that a no to a second one may
    /// be the work of the first.
    fn is_sent_once(&self) -> bool {
        false
    }

    /// Whether a refusal tells that an earlier request of ours had arrived.
    fn betrays_earlier(&self, response: &Response) -> bool {
        let _ = response;
        false
    }
}
