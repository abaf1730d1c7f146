//! Tolerant access to JSON: a member that is absent, null or of another type counts as absent, and
//! nothing is made up.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

/// What a member for a time says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::providers) enum JsonField {
    /// Nothing: it is absent, or a zero value that stands for no time.
    Nothing,
    /// This time.
    At(Timestamp),
    /// There is a value, and it cannot be read.
    Unclear,
}

/// Earlier times are zero values of some system: year 1 of .NET and Go, 1970 of Unix, 1899 of
/// spreadsheets. None of the providers is that old.
const YEAR_MIN: i16 = 2000;

/// Parses a time in RFC 3339, with any number of fractional digits.
pub(in crate::providers) fn time(text: &str) -> Option<Timestamp> {
    text.trim().parse().ok().and_then(plausible)
}

/// The time, unless it is a zero value of some system.
pub(in crate::providers) fn plausible(time: Timestamp) -> Option<Timestamp> {
    let year = time.to_zoned(TimeZone::UTC).year();
    (year >= YEAR_MIN).then_some(time)
}

fn told(text: &str) -> JsonField {
    let text = text.trim();
    let nothings = ["", "null", "none", "nil", "undefined", "n/a", "-"];
    if nothings.contains(&text.to_ascii_lowercase().as_str()) {
        return JsonField::Nothing;
    }
    match text.parse().map(plausible) {
        Ok(Some(time)) => JsonField::At(time),
        Ok(None) => JsonField::Nothing,
        Err(_) if is_zero(text) => JsonField::Nothing,
        Err(_) => JsonField::Unclear,
    }
}

/// Whether a text that is not RFC 3339 is a zero value: it has only zeros as digits, or its year is
/// too early, as in `0001-01-01T00:00:00` or `01/01/0001`.
fn is_zero(text: &str) -> bool {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    let year = numbers.find_map(|digits| match digits.len() {
        4 | 8 => digits.get(..4)?.parse::<i16>().ok(),
        _ => None,
    });
    let has_digits = text.bytes().any(|b| b.is_ascii_digit());
    let only_zeros = has_digits && text.bytes().all(|b| !b.is_ascii_digit() || b == b'0');
    only_zeros || year.is_some_and(|year| year < YEAR_MIN)
}

/// A word without what varies: case, spaces, underscores, hyphens, and the spelling of "cancelled".
pub(in crate::providers) fn plain(word: &str) -> String {
    let letters = word
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '_' | '-'));
    let word: String = letters.flat_map(char::to_lowercase).collect();
    word.replace("cancelled", "canceled")
}

/// A JSON value, or none.
#[derive(Debug, Clone, Copy)]
pub(in crate::providers) struct JsonReader<'a>(pub(in crate::providers) Option<&'a Value>);

impl<'a> JsonReader<'a> {
    /// The member of this name.
    pub(in crate::providers) fn at(self, name: &str) -> Self {
        Self(self.0.and_then(|value| value.get(name)))
    }

    /// A non-empty text.
    pub(in crate::providers) fn text(self) -> Option<&'a str> {
        self.0
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    /// A text or a number, as text: for ids.
    pub(in crate::providers) fn id(self) -> Option<String> {
        match self.0? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null
            | Value::Bool(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        }
    }

    /// A boolean.
    pub(in crate::providers) fn flag(self) -> Option<bool> {
        self.0.and_then(Value::as_bool)
    }

    /// A count, also one written as `3522.0` (Sequenzy's SDKs type counts as floats).
    pub(in crate::providers) fn count(self) -> Option<u64> {
        let text = match self.0? {
            Value::Number(number) => number.to_string(),
            Value::Null
            | Value::Bool(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => return None,
        };
        let whole = text
            .split_once('.')
            .map_or(text.as_str(), |(whole, fraction)| {
                if fraction.bytes().all(|b| b == b'0') {
                    whole
                } else {
                    ""
                }
            });
        whole.parse().ok()
    }

    /// A number, as the provider wrote it.
    pub(in crate::providers) fn decimal(self) -> Option<String> {
        match self.0? {
            Value::Number(number) => Some(number.to_string()),
            Value::Null
            | Value::Bool(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        }
    }

    /// A time in RFC 3339.
    pub(in crate::providers) fn time(self) -> Option<Timestamp> {
        self.text().and_then(time)
    }

    /// What a member that is only present with a time says.
    pub(in crate::providers) fn told(self) -> JsonField {
        match self.0 {
            Some(Value::String(text)) => told(text),
            // It may be a Unix time in seconds or milliseconds.
            Some(Value::Number(number)) if number.as_f64().is_some_and(|n| n > 0.0) => {
                JsonField::Unclear
            }
            Some(_) | None => JsonField::Nothing,
        }
    }

    /// A word, normalised by [`plain`] for comparison.
    pub(in crate::providers) fn word(self) -> Option<String> {
        self.text().map(plain).filter(|word| !word.is_empty())
    }

    /// The elements of an array.
    pub(in crate::providers) fn list(self) -> impl Iterator<Item = Self> {
        self.0
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|value| Self(Some(value)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_zero_of_some_system_is_no_time() {
        for nothing in [
            json!(null),
            json!(""),
            json!("  "),
            json!("null"),
            json!("NULL"),
            json!("0001-01-01T00:00:00Z"),
            json!("0001-01-01T00:00:00"),
            json!("0001-01-01T00:00:00+00:00"),
            json!("0001-01-01"),
            json!("00010101T000000Z"),
            json!("01/01/0001 00:00:00"),
            json!("0000-00-00 00:00:00"),
            json!("1970-01-01T00:00:00Z"),
            json!("1970-01-01 00:00:00"),
            json!("1899-12-30T00:00:00Z"),
            json!("1999-12-31T23:59:59Z"),
            json!("0"),
            json!(0),
            json!(-62_135_596_800_i64),
            json!(false),
            json!({}),
        ] {
            let reading = JsonReader(Some(&nothing));
            assert_eq!(reading.told(), JsonField::Nothing, "{nothing}");
            assert_eq!(reading.time(), None, "{nothing}");
        }
        assert_eq!(JsonReader(None).told(), JsonField::Nothing);
    }

    #[test]
    fn a_time_is_read_and_what_cannot_be_read_is_still_told() {
        for text in [
            "2026-03-24T11:45:00.000000Z",
            " 2026-03-24T11:45:00Z ",
            "2000-01-01T00:00:00Z",
        ] {
            let value = json!(text);
            let time = text.trim().parse().unwrap();
            assert_eq!(
                JsonReader(Some(&value)).told(),
                JsonField::At(time),
                "{text}"
            );
            assert_eq!(JsonReader(Some(&value)).time(), Some(time), "{text}");
        }
        for unclear in [
            json!("2026-03-24T11:45:00"),
            json!("2026-03-24"),
            json!("Tue, 24 Mar 2026 11:45:00 GMT"),
            json!("24/03/2026"),
            json!("1774352700"),
            json!(1_774_352_700),
            json!("soon"),
        ] {
            let reading = JsonReader(Some(&unclear));
            assert_eq!(reading.told(), JsonField::Unclear, "{unclear}");
            assert_eq!(reading.time(), None, "{unclear}");
        }
    }

    #[test]
    fn a_word_is_compared_without_what_varies() {
        for (word, read) in [
            ("Pending Cancellation", "pendingcancellation"),
            ("PENDING_CANCELLATION", "pendingcancellation"),
            ("pending-cancellation", "pendingcancellation"),
            ("Cancelled", "canceled"),
            ("CANCELED", "canceled"),
            (" trial-ended ", "trialended"),
        ] {
            assert_eq!(plain(word), read, "{word}");
        }
    }
}
