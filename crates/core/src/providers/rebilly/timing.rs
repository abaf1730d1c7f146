//! Whether a cancellation ends its subscription later than asked for.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    domain::{command::When, http_exchange::Response},
    providers::reply::{answer_subject, json::JsonReader},
};

/// Tolerance between times of the provider.
const TOLERANCE: Duration = Duration::from_secs(60);
/// Tolerance where "now" is by our clock, which may be minutes behind the provider's.
const TOLERANCE_OF_CLOCKS: Duration = Duration::from_secs(15 * 60);

/// Whether a reply with `churnTime` shows a later end than asked for. `at` is when the reply came,
/// by our clock.
pub(super) fn is_later(when: When, response: &Response, at: Option<Timestamp>) -> bool {
    let Some(churn) = JsonReader(response.json.as_ref()).at("churnTime").time() else {
        return false;
    };
    let (now, tolerance) = match (answer_subject::date(response), at) {
        (Some(date), Some(at)) => (date, TOLERANCE + date.duration_since(at).unsigned_abs()),
        (Some(date), None) => (date, TOLERANCE),
        (None, Some(at)) => (at, TOLERANCE_OF_CLOCKS),
        (None, None) => return false,
    };
    let asked = match when {
        When::Now => now,
        // The requested time may have passed before the request was sent.
        When::At(time) => now.max(time),
        When::PeriodEnd | When::ProviderDefault => return false,
    };
    let late = Duration::try_from(churn.duration_since(asked)).unwrap_or_default();
    late > tolerance
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sat, 21 Nov 2026 08:00:00 GMT";

    #[track_caller]
    fn check(when: When, churn: &str, date: Option<&str>, at: Option<&str>, is_later_than: bool) {
        let headers = date.map(|date| ("date".to_owned(), date.to_owned()));
        let body = format!(r#"{{"churnTime":"{churn}"}}"#);
        let response = Response::new(201, headers.into_iter().collect(), body);
        let at = at.map(|at| at.parse().unwrap());
        assert_eq!(
            is_later(when, &response, at),
            is_later_than,
            "{churn} {date:?} {at:?}"
        );
    }

    #[test]
    fn an_end_in_years_is_not_now() {
        check(When::Now, "2099-01-01T00:00:00Z", Some(DATE), None, true);
        check(
            When::Now,
            "2099-01-01T00:00:00Z",
            None,
            Some("2026-11-21T08:00:00Z"),
            true,
        );
    }

    #[test]
    fn a_moment_is_as_good_as_now() {
        check(When::Now, "2026-11-21T08:00:59Z", Some(DATE), None, false);
        check(When::Now, "2026-11-21T08:02:00Z", Some(DATE), None, true);
        check(When::Now, "2026-11-20T08:00:00Z", Some(DATE), None, false);
    }

    #[test]
    fn a_clock_that_is_ahead_is_no_later_end() {
        let at = Some("2026-11-21T07:50:00Z");
        check(When::Now, "2026-11-21T08:00:01Z", Some(DATE), at, false);
        check(When::Now, "2026-11-21T08:00:01Z", None, at, false);
        check(When::Now, "2026-11-21T08:06:00Z", None, at, true);
    }

    #[test]
    fn without_a_clock_or_a_time_nothing_is_later() {
        check(When::Now, "2099-01-01T00:00:00Z", None, None, false);
        check(When::Now, "soon", Some(DATE), None, false);
        check(When::Now, "0001-01-01T00:00:00Z", Some(DATE), None, false);
    }

    #[test]
    fn a_time_that_was_asked_for_may_be_met_or_have_passed() {
        let asked = |text: &str| When::At(text.parse().unwrap());
        let (before, after) = ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
        check(asked(after), after, Some(DATE), None, false);
        check(asked(after), "2027-01-01T00:00:00Z", Some(DATE), None, true);
        check(
            asked(before),
            "2026-11-21T08:00:00Z",
            Some(DATE),
            None,
            false,
        );
        check(
            When::PeriodEnd,
            "2099-01-01T00:00:00Z",
            Some(DATE),
            None,
            false,
        );
    }
}
