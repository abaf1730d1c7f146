//! Tolerant reading of JSON answers: a field that is absent, null or of another type is not
//! there; nothing is ever made up.

use jiff::Timestamp;
use serde_json::Value;

use super::status;

/// A JSON object, or the lack of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a>(pub(super) Option<&'a Value>);

impl<'a> Reading<'a> {
    /// The member of this name.
    pub(super) fn at(self, name: &str) -> Self {
        Self(self.0.and_then(|value| value.get(name)))
    }

    /// A text that is not empty.
    pub(super) fn text(self) -> Option<&'a str> {
        self.0
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    /// A text or a number, as text: for ids.
    pub(super) fn id(self) -> Option<String> {
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

    /// True or false.
    pub(super) fn flag(self) -> Option<bool> {
        self.0.and_then(Value::as_bool)
    }

    /// A count, also one written as `3522.0` (Sequenzy's SDKs type counts as floats).
    pub(super) fn count(self) -> Option<u64> {
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

    /// A number as the provider wrote it.
    pub(super) fn decimal(self) -> Option<String> {
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
    pub(super) fn time(self) -> Option<Timestamp> {
        self.text().and_then(status::time)
    }

    /// The elements of an array.
    pub(super) fn list(self) -> impl Iterator<Item = Self> {
        self.0
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|value| Self(Some(value)))
    }
}
