//! Compares a fixture's expectation with the result.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fixture::SendPart;
use crate::domain::http_exchange::{HttpMethod, Request, Safety};

pub(super) fn same_request(expected: &SendPart, request: &Request) -> Result<(), String> {
    let pairs = |list: &[(&'static str, String)]| -> BTreeMap<String, String> {
        let owned = list
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        owned.collect()
    };
    let safety = match request.safety {
        Safety::Look => "look",
        Safety::Repeatable => "repeatable",
        Safety::Once => "once",
    };
    let method = match request.method {
        HttpMethod::Get => "GET",
        HttpMethod::Post => "POST",
        HttpMethod::Put => "PUT",
        HttpMethod::Patch => "PATCH",
        HttpMethod::Delete => "DELETE",
    };
    let body = request.body.as_ref();
    let sent = body.map_or(Value::Null, |body| {
        serde_json::from_str(&body.text).unwrap_or_else(|_| json!(body.text))
    });
    let same = request.operation.0 == expected.operation
        && safety == expected.safety
        && request.pace == expected.pace.pace()
        && method == expected.method
        && request.path.as_str() == expected.path
        && pairs(&request.query) == expected.query
        && pairs(&request.headers) == expected.headers
        && sent == expected.body
        && body.is_none_or(|body| body.content_type == expected.content_type);
    ensure(same, || format!("sends {request:?}"))
}

pub(super) fn contains(place: &str, found: &Value, expected: &Value) -> Result<(), String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            for (name, expected) in expected {
                let place = format!("{place}.{name}");
                contains(&place, found.get(name).unwrap_or(&Value::Null), expected)?;
            }
            Ok(())
        }
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                contains(&format!("{place}[{index}]"), found, expected)?;
            }
            Ok(())
        }
        (Value::String(found), Value::String(expected)) if expected.starts_with('~') => {
            ensure(found.contains(&expected[1..]), || {
                format!("{place} is {found:?}")
            })
        }
        _ => ensure(found == expected, || format!("{place} is {found}")),
    }
}

pub(super) fn ensure(holds: bool, failure: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(failure()) }
}
