//! A provider's response as it is stored: the JSON text unchanged, or text that is not JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::http_exchange::Response;
use crate::limits;

/// A provider's body, verbatim up to [`limits::ANSWER_BYTES_MAX`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderResponse {
    /// A JSON text.
    Json(Box<RawValue>),
    /// Anything else, or a JSON text cut at the bound.
    Text(String),
}

impl ProviderResponse {
    /// Stores a body, cut at the bound.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        if text.len() <= limits::ANSWER_BYTES_MAX
            && let Ok(json) = serde_json::from_str::<Box<RawValue>>(text)
        {
            return Self::Json(json);
        }
        Self::Text(
            text.get(..text.floor_char_boundary(limits::ANSWER_BYTES_MAX))
                .unwrap_or_default()
                .to_owned(),
        )
    }
}

/// The headers of a response that say more than its body: whether it was a repeat, the rate limit
/// that is left, and ids that the provider's support asks for. By lower-case name; repeated headers
/// are joined by commas. At most [`limits::ANSWER_HEADERS_MAX`], each cut at
/// [`limits::ANSWER_HEADER_BYTES_MAX`].
#[must_use]
pub fn headers(response: &Response) -> BTreeMap<String, String> {
    let bytes_max = limits::ANSWER_HEADER_BYTES_MAX;
    let mut kept = BTreeMap::<String, String>::new();
    for (name, value) in &response.headers {
        let has_room = kept.len() < limits::ANSWER_HEADERS_MAX || kept.contains_key(name);
        if !is_telling(name) || name.len() > bytes_max || !has_room {
            continue;
        }
        let told = kept.entry(name.clone()).or_default();
        if !told.is_empty() {
            told.push_str(", ");
        }
        told.push_str(value);
        told.truncate(told.floor_char_boundary(bytes_max));
    }
    kept
}

fn is_telling(name: &str) -> bool {
    const BEGINNINGS: [&str; 5] = [
        "ratelimit",
        "x-ratelimit",
        "x-rate-limit",
        "retry-after",
        "x-retry-after",
    ];
    const ENDS: [&str; 4] = ["request-id", "requestid", "correlation-id", "trace-id"];
    BEGINNINGS.iter().any(|begin| name.starts_with(begin))
        || ENDS.iter().any(|end| name.ends_with(end))
        || name.contains("idempoten")
        || name == "cf-ray"
}

impl PartialEq for ProviderResponse {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Json(a), Self::Json(b)) => a.get() == b.get(),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Json(_), Self::Text(_)) | (Self::Text(_), Self::Json(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let headers = headers.iter().map(owned).collect();
        let response = Response::new(200, headers, String::new());
        super::headers(&response).into_iter().collect()
    }

    #[test]
    fn headers_that_tell_something_are_kept_and_no_others() {
        let telling = [
            ("cf-ray", "8f2-FRA"),
            ("idempotency-status", "replayed"),
            ("idempotent-replayed", "true"),
            ("ratelimit", "limit=100, remaining=0, reset=4"),
            ("ratelimit-remaining", "0"),
            ("retry-after", "4"),
            ("retry-after-ms", "3500"),
            ("x-amzn-requestid", "r"),
            ("x-correlation-id", "r"),
            ("x-ratelimit-reset", "1767225600"),
            ("x-request-id", "r"),
        ];
        let others = [
            ("set-cookie", "session=secret"),
            ("content-type", "application/json"),
            ("server", "nginx"),
            ("authorization", "x"),
        ];
        let all = [telling.as_slice(), &others].concat();
        let told = kept(&all);
        let told: Vec<_> = told.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(told, telling);
    }

    #[test]
    fn what_is_kept_of_headers_has_a_bound() {
        let names: Vec<_> = (0..100).map(|i| format!("x-ratelimit-{i}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
        assert_eq!(kept(&many).len(), limits::ANSWER_HEADERS_MAX);
        let long = "\u{e9}".repeat(1_000);
        let told = kept(&[("x-request-id", &long), ("x-request-id", "more")]);
        assert_eq!(told[0].1.len(), limits::ANSWER_HEADER_BYTES_MAX);
        assert_eq!(kept(&[(&format!("{long}request-id"), "r")]), []);
        let twice = kept(&[("retry-after", "4"), ("retry-after", "5")]);
        assert_eq!(twice, [("retry-after".to_owned(), "4, 5".to_owned())]);
    }
}
