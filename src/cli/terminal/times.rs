//! Parses times as people write them: a day, a time with its offset, or an age.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, civil::Date, tz::TimeZone};

use crate::engine::Clock;

/// A time with its offset, or the start of a day in UTC.
pub(in crate::cli) fn point(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    // A date only: the parser would also accept one at the start of a longer text.
    let is_date = text.len() == 10 && text.chars().all(|c| c.is_ascii_digit() || c == '-');
    let date: Date = is_date.then(|| text.parse().ok()).flatten()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Parses a flag's point in time, or an age.
///
/// # Errors
/// What would be right.
pub(in crate::cli) fn point_or_ago(text: &str) -> Result<Timestamp, String> {
    if let Some(time) = point(text) {
        return Ok(time);
    }
    ago(text)
        .and_then(|ago| Clock::system().now().checked_sub(ago).ok())
        .ok_or_else(|| {
            "write how long ago, such as 24h or 7d, a day such as 2026-11-28 (in UTC), or a time \
             such as 2026-11-28T08:00:00Z"
                .to_owned()
        })
}

/// An age, with or without `ago`. Months and years have no fixed length.
fn ago(text: &str) -> Option<SignedDuration> {
    span(text).map(SignedDuration::abs)
}

fn span(text: &str) -> Option<SignedDuration> {
    let span: Span = text.trim().parse().ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
}

/// Parses a flag's duration: seconds, or a number with a unit.
///
/// # Errors
/// What would be right.
pub(in crate::cli) fn length(text: &str) -> Result<Duration, String> {
    let seconds = text.trim().parse::<f64>().ok();
    let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let length = seconds.or_else(|| Duration::try_from(span(text)?).ok());
    length.ok_or_else(|| {
        "write a number of seconds such as 30, or a time such as 5m or 2h".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_its_beginning_in_utc_and_a_time_needs_its_offset() {
        let at = |text: &str| point(text).map(|time| time.to_string());
        assert_eq!(at("2027-01-31").as_deref(), Some("2027-01-31T00:00:00Z"));
        assert_eq!(at(" 2028-02-29 ").as_deref(), Some("2028-02-29T00:00:00Z"));
        let offset = "2027-01-31T01:00:00+01:00";
        assert_eq!(at(offset).as_deref(), Some("2027-01-31T00:00:00Z"));
        for none in [
            "2027-02-29",
            "2027-1-3",
            "31.01.2027",
            "01/31/2027",
            "2027-01-31T10:00:00",
            "2027-01-31 10:00",
            "20270131",
            "1800000000",
            "tomorrow",
            "",
        ] {
            assert_eq!(at(none), None, "{none}");
        }
    }

    #[test]
    fn how_long_ago_is_read_in_every_unit_that_has_a_length() {
        for (text, hours) in [
            ("24h", 24),
            ("7d", 168),
            ("2w", 336),
            ("90m", 1),
            ("1d 12h", 36),
            ("24h ago", 24),
            ("3 days", 72),
        ] {
            let ago = ago(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(ago.as_hours(), hours, "{text}");
        }
        for none in ["1mo", "2y", "24", "soon", "h"] {
            assert!(point_or_ago(none).is_err(), "{none}");
        }
    }

    #[test]
    fn how_long_is_in_seconds_unless_a_unit_says_otherwise() {
        for (text, millis) in [
            ("5", 5_000),
            ("0.5", 500),
            ("5s", 5_000),
            ("250ms", 250),
            ("2m", 120_000),
            ("1h 30m", 5_400_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(length(text).map(|length| length.as_millis()), Ok(millis));
        }
        for none in ["", "-1", "-5s", "NaN", "inf", "1 month", "soon"] {
            assert!(length(none).is_err(), "{none}");
        }
    }
}
