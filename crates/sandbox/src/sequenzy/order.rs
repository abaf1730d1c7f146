//! The body of a Sequenzy cancel: exactly one target, and whether to cancel.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::{
    enrollments::{Sequence, Target},
    variants::SequenzyTargets,
};

const SUBSCRIBER_IDS_MAX: usize = 500;

/// A valid cancel request.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) target: Target,
    pub(super) dry_run: bool,
    pub(super) reason: Option<Arc<str>>,
}

impl Order {
    pub(super) fn parse(
        body: &[u8],
        known: SequenzyTargets,
        of: &Sequence,
    ) -> Result<Self, String> {
        let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
            return Err("Invalid JSON body".to_owned());
        };
        let target = target(&body, known, of)?;
        let dry_run = match body.get("dryRun") {
            Some(Value::Bool(dry_run)) => *dry_run,
            // One subscriber is cancelled at once; a wider target is only counted.
            None | Some(Value::Null) => !matches!(target, Target::Subscriber(_)),
            Some(_) => return Err("dryRun must be a boolean".to_owned()),
        };
        let reason = text(&body, "reason")?.map(Into::into);
        Ok(Self {
            target,
            dry_run,
            reason,
        })
    }
}

/// The one target in a body.
fn target(
    body: &Map<String, Value>,
    known: SequenzyTargets,
    of: &Sequence,
) -> Result<Target, String> {
    let wide = known == SequenzyTargets::Four;
    let subscriber = text(body, "subscriberId")?.map(|id| Target::Subscriber(id.to_owned()));
    let subscribers = if wide {
        list(body, "subscriberIds")?
    } else {
        None
    };
    if subscribers
        .as_ref()
        .is_some_and(|ids| ids.len() > SUBSCRIBER_IDS_MAX)
    {
        return Err(format!(
            "subscriberIds may have at most {SUBSCRIBER_IDS_MAX} items."
        ));
    }
    let all = wide && body.get("cancelAll") == Some(&Value::Bool(true));
    let field = match list(body, "fieldValues")? {
        None => None,
        Some(values) => {
            let path = text(body, "fieldPath")?.or(of.field_path.as_deref());
            let path = path.ok_or("fieldPath is required: the sequence has none of its own.")?;
            Some(Target::Field {
                path: path.to_owned(),
                values,
            })
        }
    };
    let all = all.then_some(Target::All);
    let mut given = [subscriber, subscribers.map(Target::Subscribers), all, field]
        .into_iter()
        .flatten();
    match (given.next(), given.next()) {
        (Some(target), None) => Ok(target),
        _ if wide => Err(
            "Provide exactly one target: subscriberId, subscriberIds, fieldValues, or \
                          cancelAll."
                .to_owned(),
        ),
        _ => Err("Provide exactly one target: subscriberId or fieldValues.".to_owned()),
    }
}

/// A non-empty string, if present.
fn text<'a>(body: &'a Map<String, Value>, field: &str) -> Result<Option<&'a str>, String> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(format!("{field} must be a string")),
    }
}

/// A non-empty list, if present; numbers in it count as their digits.
fn list(body: &Map<String, Value>, field: &str) -> Result<Option<Vec<String>>, String> {
    let items = match body.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(format!("{field} must be an array")),
    };
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Value::String(text) => texts.push(text.clone()),
            Value::Number(number) => texts.push(number.to_string()),
            _ => return Err(format!("{field} must hold strings")),
        }
    }
    Ok(Some(texts).filter(|texts| !texts.is_empty()))
}
