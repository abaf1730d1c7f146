//! A provider's answer as a `Struct`.

use prost_types::{Struct, Value, value::Kind as ValueKind};

use crate::domain::provider_response::ProviderResponse;

/// Levels of an answer that are kept as structure. Each costs a client's decoder four levels of
/// nested messages, and common decoders stop at 100.
const ANSWER_LEVELS_MAX: usize = 16;

/// A provider's answer as a Struct.
pub(super) fn answer(answer: &ProviderResponse) -> Struct {
    let text = |text: &str| single("text", ValueKind::StringValue(text.to_owned()));
    match answer {
        ProviderResponse::Text(body) => text(body),
        ProviderResponse::Json(raw) => match serde_json::from_str(raw.get()) {
            Ok(serde_json::Value::Object(members)) => object(members, ANSWER_LEVELS_MAX),
            Ok(other) => Struct {
                fields: [("value".to_owned(), value(other, ANSWER_LEVELS_MAX))].into(),
            },
            Err(_) => text(raw.get()),
        },
    }
}

fn single(name: &str, kind: ValueKind) -> Struct {
    Struct {
        fields: [(name.to_owned(), Value { kind: Some(kind) })].into(),
    }
}

fn object(members: serde_json::Map<String, serde_json::Value>, levels: usize) -> Struct {
    Struct {
        fields: members
            .into_iter()
            .map(|(name, v)| (name, value(v, levels)))
            .collect(),
    }
}

fn value(json: serde_json::Value, levels: usize) -> Value {
    let kind = match json {
        serde_json::Value::Null => ValueKind::NullValue(0),
        serde_json::Value::Bool(flag) => ValueKind::BoolValue(flag),
        serde_json::Value::String(text) => ValueKind::StringValue(text),
        // A number that no double holds stays what it was, as text.
        serde_json::Value::Number(number) => match number.as_f64().filter(|n| n.is_finite()) {
            Some(double) => ValueKind::NumberValue(double),
            None => ValueKind::StringValue(number.to_string()),
        },
        nested if levels == 0 => ValueKind::StringValue(nested.to_string()),
        serde_json::Value::Array(elements) => ValueKind::ListValue(prost_types::ListValue {
            values: elements
                .into_iter()
                .map(|element| value(element, levels - 1))
                .collect(),
        }),
        serde_json::Value::Object(members) => ValueKind::StructValue(object(members, levels - 1)),
    };
    Value { kind: Some(kind) }
}
