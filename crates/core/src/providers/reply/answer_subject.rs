//! Whether the end of a target is the effect of our requests or of others.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::http_exchange::{Exchange, Response};

use super::{classify, retry_after};
use crate::providers::item_state::answered;

/// How a target came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::providers) enum CancelCause {
    /// It expired.
    Itself,
    /// It was cancelled or asked to end, at this time if the provider says so.
    Asked(Option<Timestamp>),
}

/// Tolerance for clocks and for the provider's rounding.
const TOLERANCE: Duration = Duration::from_secs(60);

/// Whether others ended it: before a request of ours could have been sent. Both times are the
/// provider's, so a wrong provider clock cancels out.
pub(in crate::providers) fn is_others(look: &Exchange, cause: CancelCause) -> bool {
    let asked = match cause {
        CancelCause::Itself => return true,
        CancelCause::Asked(asked) => asked,
    };
    let Some(response) = answered(&look.reply) else {
        return false;
    };
    if classify::is_of_a_cache(response) {
        return false;
    }
    let known = (
        asked,
        date(response),
        look.seen.at,
        look.seen.since_earliest,
    );
    let (Some(asked), Some(date), Some(at), Some(since_earliest)) = known else {
        return false;
    };
    let age = Duration::try_from(date.duration_since(asked)).unwrap_or_default();
    let apart = date.duration_since(at).unsigned_abs();
    age > since_earliest
        .saturating_add(TOLERANCE)
        .saturating_add(apart)
}

/// The `Date` of a reply, in any of HTTP's three formats.
pub(in crate::providers) fn date(response: &Response) -> Option<Timestamp> {
    retry_after::time(response.header("date")?.trim())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::http_exchange::{Class, Operation, Reply, Seen};

    /// A lookup at a provider whose clock is `skew` seconds fast, an hour after the item could
    /// first be sent.
    fn look(skew: i64, headers: &[(&str, &str)]) -> Exchange {
        let at: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
        let date = at + jiff::SignedDuration::from_secs(skew);
        let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let mut headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        headers.push(("date".to_owned(), date));
        Exchange {
            operation: Some(Operation("look")),
            reply: Reply::Answered(Arc::new(Response::new(200, headers, String::new()))),
            class: Class::Accepted,
            seen: Seen {
                believed: true,
                at: Some(at),
                since_earliest: Some(Duration::from_secs(3_600)),
            },
        }
    }

    fn asked(time: &str) -> CancelCause {
        CancelCause::Asked(Some(time.parse().unwrap()))
    }

    #[test]
    fn what_was_asked_for_before_it_could_be_sent_is_others() {
        for (time, is) in [
            ("2026-10-25T08:00:00Z", true),
            ("2026-11-21T06:58:59Z", true),
            // Within the tolerance of a minute.
            ("2026-11-21T06:59:00Z", false),
            ("2026-11-21T07:30:00Z", false),
            ("2026-11-21T09:00:00Z", false),
        ] {
            assert_eq!(is_others(&look(0, &[]), asked(time)), is, "{time}");
        }
    }

    #[test]
    fn a_wrong_clock_of_the_provider_widens_the_tolerance() {
        // The clock is ten minutes fast, and so are the times in replies.
        for (time, is) in [
            ("2026-11-21T06:58:59Z", true),
            ("2026-11-21T06:59:00Z", false),
            ("2026-11-21T07:09:30Z", false),
        ] {
            assert_eq!(is_others(&look(600, &[]), asked(time)), is, "{time}");
        }
        // Ten minutes slow: its 06:49 was an hour and one minute ago.
        for (time, is) in [
            ("2026-11-21T06:38:59Z", true),
            ("2026-11-21T06:39:00Z", false),
        ] {
            assert_eq!(is_others(&look(-600, &[]), asked(time)), is, "{time}");
        }
    }

    #[test]
    fn without_what_is_needed_it_is_ours_but_if_it_ended_by_itself() {
        let long_ago = asked("2026-10-25T08:00:00Z");
        let whole = look(0, &[]);
        assert!(is_others(&whole, CancelCause::Itself));
        assert!(!is_others(&whole, CancelCause::Asked(None)));
        let kept = look(0, &[("age", "5")]);
        assert!(!is_others(&kept, long_ago));
        assert!(is_others(&kept, CancelCause::Itself));
        let mut unknown = whole.clone();
        unknown.seen.since_earliest = None;
        assert!(!is_others(&unknown, long_ago));
        let mut unknown = whole.clone();
        unknown.seen.at = None;
        assert!(!is_others(&unknown, long_ago));
        let mut undated = whole;
        undated.reply = Reply::Answered(Arc::new(Response::new(200, Vec::new(), String::new())));
        assert!(!is_others(&undated, long_ago));
    }
}
