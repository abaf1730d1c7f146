//! Approximate memory of a finished request.

use serde_json::Value;

use super::{Exchange, Reply, Response};

impl Exchange {
    /// Approximate bytes, including what it points to.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let held = match &self.reply {
            Reply::Answered(response) => response.bytes(),
            Reply::NotSent(fault) | Reply::InDoubt(fault) => fault.message.len(),
        };
        size_of::<Self>().saturating_add(held)
    }
}

impl Response {
    /// Approximate bytes: the body counts as text and as JSON.
    fn bytes(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| size_of::<(String, String)>() + name.len() + value.len());
        let json = self.json.as_ref().map_or(0, bytes_of);
        size_of::<Self>()
            .saturating_add(self.text.len())
            .saturating_add(headers.sum())
            .saturating_add(json)
    }
}

/// Bytes of a value and of what it points to. Recursion is bounded by serde_json's limit of 128
/// levels.
fn bytes_of(value: &Value) -> usize {
    let held = match value {
        Value::Null | Value::Bool(_) => 0,
        // Numbers are stored as text.
        Value::Number(number) => number.as_str().len(),
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(bytes_of).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| size_of::<String>() + name.len() + bytes_of(value))
            .sum(),
    };
    size_of::<Value>().saturating_add(held)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::http_exchange::{Class, Seen};

    fn answered(headers: Vec<(String, String)>, text: &str) -> Exchange {
        Exchange {
            operation: None,
            reply: Reply::Answered(Arc::new(Response::new(200, headers, text.to_owned()))),
            class: Class::Accepted,
            seen: Seen::default(),
        }
    }

    #[test]
    fn a_body_counts_as_text_and_as_json() {
        let empty = answered(vec![], "").bytes();
        assert_eq!(answered(vec![], "<p>").bytes(), empty + 3);
        let text = "x".repeat(1_000);
        let read = answered(vec![], &format!("{{\"a\":[\"{text}\"]}}")).bytes();
        assert!(
            (empty + 2_000..empty + 2_300).contains(&read),
            "{read} {empty}"
        );
    }

    #[test]
    fn headers_and_messages_count() {
        let header = ("a".repeat(10), "b".repeat(20));
        let bytes = answered(vec![header], "").bytes() - answered(vec![], "").bytes();
        assert_eq!(bytes, size_of::<(String, String)>() + 30);
        let recovered = Exchange::recovered();
        assert!(recovered.bytes() > size_of::<Exchange>() + 20);
    }

    #[test]
    fn many_small_values_count_each() {
        let members = (0..1_000).map(|i| format!("\"{i}\":{{}}"));
        let text = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
        let bytes = answered(vec![], &text).bytes();
        assert!(bytes > text.len() + 1_000 * size_of::<Value>(), "{bytes}");
    }
}
