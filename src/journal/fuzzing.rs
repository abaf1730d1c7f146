//! A way in for the fuzzer: whatever a store may hold, reading it gives a record or an error.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{
    Audited, AuditedOutcome, DoubtfulTarget,
    format::{
        key::StoreKey,
        record::{self, Header, Joiner, Meta, RecordedItem, Step},
    },
    outbox,
    write::redaction,
};
use crate::domain::{
    doubt::{AccountState, Moment},
    outcome::Settled,
};

/// Reads any bytes as each kind of value.
pub fn records(bytes: &[u8]) {
    let _ = record::read_whole::<Meta>(bytes, "fuzz");
    let _ = record::read_whole::<Header>(bytes, "fuzz");
    let _ = record::has_hash(bytes, 1);
    let _ = record::check_marker(bytes);
    let _ = record::number_in(bytes);
    let _ = record::item_id_in(bytes);
    let _ = outbox::marks_in(bytes);
    let _ = redaction::cursor_in(bytes);
    let _ = record::read_whole::<Audited>(bytes, "fuzz");
    let _ = record::read_whole::<Moment>(bytes, "fuzz");
    let _ = StoreKey::decode(bytes);
    bodies(bytes);
    // A fuzzer does not guess checksums, so these bytes also come as what is inside one.
    if let Ok(parts) = record::split(bytes) {
        let mut joiner = Joiner::default();
        for (part, value) in parts {
            let _ = joiner.add(part, &value);
        }
    }
    let mut joiner = Joiner::default();
    if let Ok(Some(body)) = joiner.add(0, &record::sealed(bytes)) {
        bodies(&body);
    }
}

fn bodies(body: &[u8]) {
    let _ = record::parse::<Header>(body, "fuzz");
    let _ = record::parse::<Vec<Option<RecordedItem>>>(body, "fuzz");
    let _ = record::parse::<Step<Arc<Settled>>>(body, "fuzz");
    let _ = record::parse::<Step<&RawValue>>(body, "fuzz");
    let _ = record::parse::<Step<AuditedOutcome>>(body, "fuzz");
    let _ = record::parse::<Audited>(body, "fuzz");
    let _ = record::parse::<Moment>(body, "fuzz");
    let _ = record::parse::<AccountState>(body, "fuzz");
    let _ = record::parse::<Vec<DoubtfulTarget>>(body, "fuzz");
}
