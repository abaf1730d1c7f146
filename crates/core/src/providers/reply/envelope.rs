//! The format of a provider's replies: what distinguishes them from an intermediary's, and what
//! they show. Each provider describes its own; [`crate::providers::reply::classify`] and
//! [`crate::providers::item_state`] decide what follows.

use crate::domain::http_exchange::{Operation, Response};

use crate::providers::Task;

/// What a reply shows of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Nothing: it is not in the documented format.
    Nothing,
    /// It is in the format, but without a status or with an undocumented one.
    Odd,
    /// The target is active as if nothing had been done.
    Untouched,
    /// The target ends, but later than asked for.
    Later,
    /// The goal is reached.
    Reached,
}

/// The format of a provider's replies.
pub trait Envelope: Sync {
    /// Whether a body is the provider's error, by its documented members.
    fn is_error(&self, response: &Response) -> bool;

    /// Whether the provider's page documents this 4xx for the operation, besides 401, 403 and 429.
    fn documents(&self, operation: Operation, response: &Response) -> bool;

    /// The members of a success that name the target, with the expected values.
    fn names(&self, task: &Task<'_>, operation: Operation) -> Vec<(&'static str, String)>;

    /// What a success shows of the target; for a lookup also what a documented rejection shows.
    fn shows(&self, task: &Task<'_>, operation: Operation, response: &Response) -> Sight;

    /// The operations that are lookups.
    fn looks(&self) -> &'static [Operation];

    /// Whether errors are only a message, as from any gateway. They prove nothing until the account
    /// has described a target.
    fn is_message_only(&self) -> bool {
        false
    }

    /// Whether a request that reaches the goal is not safe to repeat, so that the first one may be
    /// the cause when a second one is rejected.
    fn is_sent_once(&self) -> bool {
        false
    }

    /// Whether this rejection proves that an earlier request of ours reached the provider.
    fn betrays_earlier(&self, response: &Response) -> bool {
        let _ = response;
        false
    }
}
