//! Classifies a reply, for all providers: the provider's own or an intermediary's, about this
//! target or another, lost or final. Done once, when the reply arrives.

#[cfg(test)]
mod tests;

use crate::domain::http_exchange::{Class, Exchange, Operation, Reply, Request, Response, Safety};

use super::{
    envelope::{Envelope, Sight},
    json::JsonReader,
};
use crate::providers::{Evidence, Task};

/// Statuses that are never the provider's own: proxy authentication (407), misdirected request
/// (421), wrong protocol (426), headers too long for a server (431).
const OF_THE_WAY: [u16; 4] = [407, 421, 426, 431];

/// Statuses by which an intermediary says that it did not pass the request on.
const NOT_PASSED_ON: [u16; 5] = [301, 307, 308, 407, 421];

/// Whether an intermediary says that it did not pass the request on.
pub fn is_not_passed_on(response: &Response) -> bool {
    NOT_PASSED_ON.contains(&response.status)
}

/// Which target a success names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// The requested one.
    Target,
    /// None. It is about the requested target all the same, since the request named it.
    Nobody,
    /// Another one.
    Another,
}

/// The class of a reply to a request.
pub(in crate::providers) fn class(
    form: &dyn Envelope,
    task: &Task<'_>,
    request: &Request,
    reply: &Reply,
) -> Class {
    let response = match reply {
        Reply::Answered(response) => response,
        Reply::NotSent(_) => return Class::Unsent,
        Reply::InDoubt(_) => return Class::Lost,
    };
    let operation = request.operation;
    match response.status {
        429 => Class::Throttled,
        408 | 425 | 500.. => Class::Lost,
        200..=299 if request.safety == Safety::Look => seen(form, task, operation, response),
        200..=299 => done(form, task, operation, response),
        // A cached 3xx or 4xx may be older than the target.
        _ if request.safety == Safety::Look && is_of_a_cache(response) => Class::Unreadable,
        status if is_refusal(form, response) => match status {
            401 => Class::Unauthenticated,
            403 => Class::Forbidden,
            // A cached rejection may be older than the request whose doubt the lookup resolves.
            _ if request.safety == Safety::Look && is_of_a_cache(response) => Class::Unreadable,
            _ if form.documents(operation, response) => Class::Refused,
            409 | 423 => Class::Busy,
            _ => Class::Undocumented,
        },
        _ => match (request.safety, task.facts.answered) {
            (_, false) => Class::Foreign,
            (Safety::Look, true) => Class::Unreadable,
            _ if is_not_passed_on(response) => Class::Foreign,
            // A firewall may have blocked the provider's reply instead of the request.
            _ => Class::Lost,
        },
    }
}

/// The class of a success of a lookup. A cached reply may be older than the request whose doubt the
/// lookup resolves, so it counts only if it shows the goal reached.
fn seen(form: &dyn Envelope, task: &Task<'_>, operation: Operation, response: &Response) -> Class {
    match form.shows(task, operation, response) {
        Sight::Nothing => Class::Unreadable,
        _ if named(form, task, operation, response) == Named::Another => Class::Unreadable,
        Sight::Reached => Class::Accepted,
        Sight::Odd | Sight::Untouched | Sight::Later if is_of_a_cache(response) => {
            Class::Unreadable
        }
        Sight::Odd | Sight::Untouched | Sight::Later => Class::Accepted,
    }
}

/// The class of a success of a request with an effect.
fn done(form: &dyn Envelope, task: &Task<'_>, operation: Operation, response: &Response) -> Class {
    // A success without a body contradicts nothing, so the status decides.
    if response.text.trim().is_empty() {
        return Class::Accepted;
    }
    let is_read = form.shows(task, operation, response) != Sight::Nothing;
    if is_read && named(form, task, operation, response) != Named::Another {
        Class::Accepted
    } else {
        Class::Lost
    }
}

/// What an exchange proves about the account: about its place and its credential.
pub(in crate::providers) fn evidence(
    form: &dyn Envelope,
    task: &Task<'_>,
    exchange: &Exchange,
) -> Evidence {
    let (Some(operation), Reply::Answered(response)) = (exchange.operation, &exchange.reply) else {
        return Evidence::default();
    };
    if !(200..300).contains(&response.status) {
        return Evidence {
            answered: is_refusal(form, response),
            proven: false,
        };
    }
    let sight = form.shows(task, operation, response);
    let named = named(form, task, operation, response);
    let is_own = exchange.class == Class::Accepted && sight != Sight::Nothing;
    Evidence {
        answered: is_own,
        proven: is_own && sight != Sight::Odd && named == Named::Target,
    }
}

/// Whether an error is in the provider's own format.
fn is_refusal(form: &dyn Envelope, response: &Response) -> bool {
    (400..600).contains(&response.status)
        && !OF_THE_WAY.contains(&response.status)
        && form.is_error(response)
}

fn named(form: &dyn Envelope, task: &Task<'_>, operation: Operation, response: &Response) -> Named {
    let body = JsonReader(response.json.as_ref());
    let mut named = Named::Nobody;
    for (member, expected) in form.names(task, operation) {
        match body.at(member).id() {
            Some(id) if id == expected => named = Named::Target,
            Some(_) => return Named::Another,
            None => {}
        }
    }
    named
}

/// Whether a cache has stored the reply for some time (RFC 9111, section 5.1).
pub(in crate::providers) fn is_of_a_cache(response: &Response) -> bool {
    let age = response.header("age").map(str::trim);
    age.is_some_and(|age| !age.is_empty() && age.bytes().any(|digit| digit != b'0'))
}
