//! The `Retry-After` header (RFC 9110, section 10.2.3), in all formats that servers send.
//!
//! | sent                                       | read as                                    |
//! |--------------------------------------------|--------------------------------------------|
//! | `4`, ` 4 `, `+4`                           | 4 seconds                                  |
//! | `2.5`                                      | 3 seconds: fractions are rounded up        |
//! | `Sun, 06 Nov 1994 08:49:37 GMT`            | that time; also as RFC 850, asctime and    |
//! |                                            | RFC 3339 write it                          |
//! | `4, 10`, or several headers                | the longest of them                        |
//! | `-5`, `soon`, `3s`                         | nothing: the caller's own backoff decides  |
//!
//! A number is always read as seconds. One that means milliseconds or a Unix time then becomes a
//! very long wait, which [`limits::THROTTLE_MS_MAX`](crate::limits::THROTTLE_MS_MAX) bounds.

use jiff::{Timestamp, civil::DateTime, fmt::rfc2822, tz::TimeZone};

use crate::domain::http_exchange::{Response, Throttle};

/// The wait that the `Retry-After` headers of a response ask for; `None` if they cannot be read.
pub(in crate::providers) fn retry_after(response: &Response) -> Option<Throttle> {
    longest(response.headers_of("retry-after"))
}

/// The longest wait of several values. Seconds take precedence over a time, because they need no
/// synchronised clocks.
fn longest<'a>(values: impl Iterator<Item = &'a str>) -> Option<Throttle> {
    let (mut seconds, mut time) = (None, None);
    for wish in values.flat_map(wishes) {
        match wish {
            Throttle::After(wait) => seconds = seconds.max(Some(wait)),
            Throttle::Until(then) => time = time.max(Some(then)),
            Throttle::Unsaid => {}
        }
    }
    let time = time.map(Throttle::Until);
    seconds.map(Throttle::After).or(time)
}

/// The waits in one value. Repeated headers may be joined by commas, and two of the three date
/// formats have a comma of their own.
fn wishes(value: &str) -> Vec<Throttle> {
    let mut found = Vec::new();
    let mut parts = value.split(',').peekable();
    while let Some(part) = parts.next() {
        if let Some(wish) = wish(part) {
            found.push(wish);
        } else if let Some(next) = parts.peek()
            && let Some(time) = time(&format!("{},{next}", part.trim()))
        {
            found.push(Throttle::Until(time));
            parts.next();
        }
    }
    found
}

fn wish(text: &str) -> Option<Throttle> {
    let text = text.trim();
    seconds(text)
        .map(Throttle::After)
        .or_else(|| time(text).map(Throttle::Until))
}

/// Whole seconds, rounded up and saturated.
fn seconds(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let begun = fraction.bytes().any(|b| b != b'0');
    let whole = whole.parse::<u64>().unwrap_or(u64::MAX);
    Some(whole.saturating_add(u64::from(begun)))
}

/// A date in one of HTTP's three formats (RFC 9110, section 5.6.7), or in RFC 3339. A wrong day of
/// the week is ignored.
pub(in crate::providers) fn time(text: &str) -> Option<Timestamp> {
    const IMF: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    if let Ok(time) = IMF.parse_timestamp(text) {
        return Some(time);
    }
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let after_day = |day: char| text.split_once(day).map(|(_, rest)| rest.trim());
    let rfc850 = || {
        let rest = after_day(',')?;
        DateTime::strptime("%d-%b-%y %H:%M:%S GMT", rest).ok()
    };
    let asctime = || {
        let rest = after_day(' ')?;
        DateTime::strptime("%b %e %H:%M:%S %Y", rest).ok()
    };
    let civil = rfc850().or_else(asctime)?;
    civil
        .to_zoned(TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::account::ProviderId, providers::of};

    fn read(values: &[&str]) -> Option<Throttle> {
        let header = |value: &&str| ("retry-after".to_owned(), (*value).to_owned());
        let headers = values.iter().map(header).collect();
        retry_after(&Response::new(429, headers, String::new()))
    }

    #[test]
    fn a_pause_is_asked_for_by_a_429_and_by_a_5xx_that_says_how_long() {
        let with = vec![("retry-after".to_owned(), "60".to_owned())];
        let minute = Some(Throttle::After(60));
        for (status, headers, asked) in [
            (429, &with, minute),
            (429, &Vec::new(), Some(Throttle::Unsaid)),
            (503, &with, minute),
            (500, &with, minute),
            (502, &with, minute),
            (503, &Vec::new(), None),
            (200, &with, None),
            (301, &with, None),
            (409, &with, None),
        ] {
            let response = Response::new(status, headers.clone(), String::new());
            assert_eq!(
                of(ProviderId::FunnelFox).throttle(&response),
                asked,
                "{status} {headers:?}"
            );
        }
    }

    #[test]
    fn every_form_that_is_sent_is_read() {
        let after = |seconds| Some(Throttle::After(seconds));
        let until = Some(Throttle::Until("1994-11-06T08:49:37Z".parse().unwrap()));
        for (values, wish) in [
            (&["4"][..], after(4)),
            (&["0"], after(0)),
            (&[" \t4 "], after(4)),
            (&["+3"], after(3)),
            (&["007"], after(7)),
            (&["2.5"], after(3)),
            (&["2.0"], after(2)),
            (&["2."], after(2)),
            (&["0.001"], after(1)),
            (&["4, 4"], after(4)),
            (&["4,10"], after(10)),
            (&["4", "4"], after(4)),
            (&["10", "4"], after(10)),
            (&["soon", "4"], after(4)),
            (&["4, soon"], after(4)),
            // Milliseconds, Unix times and huge numbers: the wait is bounded elsewhere.
            (&["30000"], after(30_000)),
            (&["1767225600"], after(1_767_225_600)),
            (&["99999999999999999999999"], after(u64::MAX)),
            // Dates.
            (&["Sun, 06 Nov 1994 08:49:37 GMT"], until),
            (&["Sun, 6 Nov 1994 08:49:37 +0000"], until),
            (&["Mon, 06 Nov 1994 08:49:37 GMT"], until),
            (&["Sunday, 06-Nov-94 08:49:37 GMT"], until),
            (&["Sun Nov  6 08:49:37 1994"], until),
            (&["Sun Nov 06 08:49:37 1994"], until),
            (&["1994-11-06T08:49:37Z"], until),
            (
                &["Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT"],
                until,
            ),
            (
                &[
                    "Sun, 06 Nov 1994 08:49:36 GMT",
                    "Sun, 06 Nov 1994 08:49:37 GMT",
                ],
                until,
            ),
            (&["Sun, 06 Nov 1994 08:49:37 GMT", "4"], after(4)),
            // Unreadable values.
            (&[], None),
            (&[""], None),
            (&[" , "], None),
            (&["-5"], None),
            (&["-0.5"], None),
            (&[".5"], None),
            (&["."], None),
            (&["1e3"], None),
            (&["NaN"], None),
            (&["inf"], None),
            (&["3s"], None),
            (&["soon"], None),
            (&["2.5.1"], None),
            (&["Sun, 06 Nov 1994"], None),
            (&["Sun, 99 Nov 1994 08:49:37 GMT"], None),
        ] {
            assert_eq!(read(values), wish, "{values:?}");
        }
    }
}
