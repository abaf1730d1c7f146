//! Drops repeated exchanges, so that an item's history stays short in a long outage.

use crate::domain::http_exchange::{Class, Exchange};

/// Drops the first of two successive lookups, if it proved nothing: it was sent while an earlier
/// request could still act.
pub(in crate::engine) fn forget_news(history: &mut Vec<Exchange>) {
    let Some(at) = history.len().checked_sub(2) else {
        return;
    };
    let Some([news, next]) = history.get(at..) else {
        return;
    };
    let is_look_again = news.operation.is_some() && news.operation == next.operation;
    let was_read = matches!(news.class, Class::Accepted | Class::Refused);
    if is_look_again && was_read && !news.seen.believed {
        history.remove(at);
    }
}

/// Drops the first of two equal rounds, each a request without a clear reply and what a lookup
/// found after it: the second round says all of it. If the same request follows itself, as in a
/// drain, both stay, because each reply has its own counts.
pub(in crate::engine) fn forget_repetition(history: &mut Vec<Exchange>) {
    let Some(at) = history.len().checked_sub(4) else {
        return;
    };
    let Some([sent, learned, sent_again, learned_again]) = history.get(at..) else {
        return;
    };
    let is_repetition = sent.operation.is_some()
        && sent.operation == sent_again.operation
        && learned.operation == learned_again.operation
        && learned.operation != sent.operation
        && is_unclear(sent)
        && is_unclear(sent_again)
        && !is_unclear(learned)
        && !is_unclear(learned_again);
    if is_repetition {
        history.drain(at..at + 2);
    }
}

fn is_unclear(exchange: &Exchange) -> bool {
    matches!(exchange.class, Class::Lost | Class::Foreign)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::http_exchange::{Class, Fault, FaultKind, Operation, Reply, Response, Seen};

    fn exchange(operation: &'static str, status: u16) -> Exchange {
        let fault = || Fault {
            kind: FaultKind::Timeout,
            message: "no answer".to_owned(),
        };
        let reply = match status {
            0 => Reply::InDoubt(fault()),
            _ => Reply::Answered(Arc::new(Response::new(status, Vec::new(), String::new()))),
        };
        Exchange {
            operation: Some(Operation(operation)),
            reply,
            class: match status {
                0 | 500.. => Class::Lost,
                _ => Class::Accepted,
            },
            seen: Seen {
                believed: true,
                ..Seen::default()
            },
        }
    }

    /// Asserts what remains of exchanges that are appended one by one.
    #[track_caller]
    fn check(came: &[(&'static str, u16)], left: &[(&'static str, u16)]) {
        let exchanges = |of: &[(&'static str, u16)]| -> Vec<Exchange> {
            of.iter().map(|(o, status)| exchange(o, *status)).collect()
        };
        let mut history = Vec::new();
        for exchange in exchanges(came) {
            history.push(exchange);
            forget_repetition(&mut history);
        }
        assert_eq!(history, exchanges(left));
    }

    #[test]
    fn a_lost_cancel_that_a_look_found_undone_is_kept_once() {
        let lost = [("cancel", 0), ("look", 200)];
        let failed = [("cancel", 503), ("look", 200)];
        check(&lost.repeat(1_000), &lost);
        check(&[failed.repeat(3), lost.repeat(3)].concat(), &lost);
        check(
            &[lost, lost].concat()[..3],
            &[lost.as_slice(), &lost[..1]].concat(),
        );
    }

    #[test]
    fn what_says_something_of_its_own_stays() {
        let accepted = [("cancel", 200), ("look", 200)];
        check(&accepted.repeat(3), &accepted.repeat(3));
        let mixed = [("cancel", 200), ("look", 200), ("cancel", 0), ("look", 200)];
        check(&mixed, &mixed);
        let drain = [("cancel", 200); 5];
        check(&drain, &drain);
        // The counts of every call of a drain are part of the sum.
        let lossy = [("cancel", 0), ("cancel", 200)].repeat(5);
        check(&lossy, &lossy);
        let blind = [("cancel", 0), ("look", 503), ("cancel", 0), ("look", 503)];
        check(&blind, &blind);
    }
}
