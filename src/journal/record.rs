//! The values of the store: a format version, then JSON with short stable names. Readers take
//! every version they know and refuse the others; a field may be added with a default, never
//! renamed. Knows no keys and no store.

use std::{borrow::Cow, fmt::Display, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{fault::Fault, keys};
use crate::{
    domain::{
        command::Command,
        ids::{CallerId, ItemId, Key, Kind, Scope},
    },
    limits,
};

/// The version that is written. A new one is written one release after it can be read.
pub(super) const FORMAT: u8 = 1;
/// The versions that are read.
pub(super) const FORMATS_READ: [u8; 1] = [1];

const _: () = {
    let mut readable = false;
    let mut at = 0;
    #[expect(clippy::indexing_slicing, reason = "const, and below the length")]
    while at < FORMATS_READ.len() {
        readable |= FORMATS_READ[at] == FORMAT;
        at += 1;
    }
    assert!(readable, "what is written has to be readable");
};

/// What this store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Its name, to tell it from others.
    #[serde(rename = "s")]
    pub(super) store: String,
    /// When it was made.
    #[serde(rename = "c")]
    pub(super) created: Timestamp,
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    #[serde(rename = "c")]
    pub(super) caller: CallerId,
    #[serde(rename = "k")]
    pub(super) kind: Kind,
    /// The request's key.
    #[serde(rename = "r")]
    pub(super) key: Key,
    #[serde(rename = "a")]
    pub(super) admitted_at: Timestamp,
    #[serde(rename = "u")]
    pub(super) retry_until: Timestamp,
    /// Slots.
    #[serde(rename = "n")]
    pub(super) total: u32,
    /// Slots that hold an item of this batch.
    #[serde(rename = "o")]
    pub(super) own: u32,
    /// Slots that lead to an item of another batch.
    #[serde(rename = "f", default)]
    pub(super) refs: u32,
    /// Of the last request that wrote to this batch: see [`super::prepared`].
    #[serde(rename = "p")]
    pub(super) fingerprint: String,
}

impl Header {
    pub(super) fn scope(&self) -> Scope {
        Scope {
            caller: self.caller.clone(),
            kind: self.kind,
        }
    }
}

/// What a slot holds; a vacant one holds `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Item {
    /// An item of this batch.
    #[serde(rename = "o")]
    Own {
        /// Its own key; `None` for the derived one.
        #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
        key: Option<Key>,
        #[serde(rename = "c")]
        command: Arc<Command>,
    },
    /// An item that was known when this batch was admitted.
    #[serde(rename = "r")]
    Ref {
        #[serde(rename = "k")]
        key: Key,
        #[serde(rename = "i")]
        id: ItemId,
    },
}

/// One step of what happened to a batch after its admission. `S` is a settled outcome, either
/// as such or as text not yet looked into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step<S> {
    /// Items settled.
    #[serde(rename = "s")]
    Settled {
        /// The latest time among them.
        #[serde(rename = "t")]
        latest: Timestamp,
        /// Index and outcome of each.
        #[serde(rename = "i")]
        items: Vec<(u32, S)>,
    },
    /// Items were taken up again, or came to slots that had been vacant.
    #[serde(rename = "o")]
    Opened {
        #[serde(rename = "a")]
        at: Timestamp,
        #[serde(rename = "u")]
        retry_until: Timestamp,
        #[serde(rename = "i")]
        indexes: Vec<u32>,
    },
    /// The batch was stopped.
    #[serde(rename = "x")]
    Stopped {
        #[serde(rename = "a")]
        at: Timestamp,
        /// Who stopped it; older records do not say.
        #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
        by: Option<CallerId>,
    },
}

/// The bytes of a part before its share of the body: version, number of parts, checksum.
const PRELUDE_BYTES: usize = 1 + 2 + 8;
const SHARE_BYTES_MAX: usize = limits::STORE_VALUE_BYTES_MAX - PRELUDE_BYTES;

/// The JSON of a record.
pub(super) fn body(record: &impl Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(record)
        .map_err(|error| Fault::Misused(format!("a record cannot be written as JSON: {error}")))
}

/// What a compressed body begins with. No JSON text does.
const COMPRESSED: u8 = b'L';
/// Bodies from this length on are compressed. The outcomes of a group are much alike, so what is
/// written shrinks to a fraction, and with it what the store rewrites and keeps in memory.
const COMPRESSED_BYTES_MIN: usize = 256;

/// A body as it is stored.
fn pack(body: &[u8]) -> Cow<'_, [u8]> {
    if body.len() < COMPRESSED_BYTES_MIN {
        return Cow::Borrowed(body);
    }
    let mut packed = vec![COMPRESSED];
    packed.extend(lz4_flex::block::compress_prepend_size(body));
    Cow::Owned(packed)
}

/// A body as it was.
fn unpack(packed: Vec<u8>) -> Result<Vec<u8>, String> {
    let Some((&COMPRESSED, compressed)) = packed.split_first() else {
        return Ok(packed);
    };
    let (length, block) = lz4_flex::block::uncompressed_size(compressed)
        .map_err(|_| "its length is cut short".to_owned())?;
    if length > limits::RECORD_BYTES_MAX {
        return Err(format!("it claims to be {length} bytes long"));
    }
    lz4_flex::block::decompress(block, length)
        .map_err(|error| format!("it does not decompress ({error})"))
}

/// Cuts a body into values that fit the store, with their part numbers. Each names the number
/// of parts and the whole's checksum, so that parts of two writes are never taken for one.
pub(super) fn split(body: &[u8]) -> Result<impl Iterator<Item = (u16, Vec<u8>)>, Fault> {
    if body.len() > limits::RECORD_BYTES_MAX {
        return Err(Fault::Misused(format!("a record has {} bytes", body.len())));
    }
    let body = pack(body);
    let total = u16::try_from(body.len().div_ceil(SHARE_BYTES_MAX).max(1))
        .map_err(|_| Fault::Misused(format!("a record has {} bytes", body.len())))?;
    let sum = checksum(&body);
    Ok((0..total).map(move |part| {
        let from = usize::from(part) * SHARE_BYTES_MAX;
        let to = body.len().min(from + SHARE_BYTES_MAX);
        let share = body.get(from..to).unwrap_or_default();
        let mut value = Vec::with_capacity(PRELUDE_BYTES + share.len());
        value.push(FORMAT);
        value.extend(total.to_be_bytes());
        value.extend(sum.to_be_bytes());
        value.extend(share);
        (part, value)
    }))
}

/// The only value of a record that always fits into one.
pub(super) fn whole(record: &impl Serialize) -> Result<Vec<u8>, Fault> {
    let body = body(record)?;
    let mut parts = split(&body)?;
    match (parts.next(), parts.next()) {
        (Some((_, value)), None) => Ok(value),
        _ => Err(Fault::Misused(format!(
            "a record of {} bytes does not fit into a value",
            body.len()
        ))),
    }
}

/// Reads what [`whole`] wrote.
pub(super) fn read_whole<T: DeserializeOwned>(
    value: &[u8],
    what: impl Display,
) -> Result<T, Fault> {
    let mut joiner = Joiner::default();
    match joiner.add(0, value) {
        Ok(Some(body)) => parse(&body, what),
        Ok(None) => Err(Fault::damaged(what, "it is not whole")),
        Err(why) => Err(Fault::damaged(what, why)),
    }
}

/// Reads the JSON of a record.
pub(super) fn parse<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    what: impl Display,
) -> Result<T, Fault> {
    serde_json::from_slice(body)
        .map_err(|error| Fault::damaged(what, format!("it does not decode ({error})")))
}

/// Puts the parts of records together again, one record after the other.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    body: Vec<u8>,
    next: u16,
    total: u16,
    sum: u64,
}

impl Joiner {
    /// Takes the next part; gives the body with the last one.
    pub(super) fn add(&mut self, part: u16, value: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let (total, sum, share) = prelude(value)?;
        if total == 0 {
            return Err("it says that it has no parts".to_owned());
        }
        if part != self.next {
            return Err(format!("part {part} follows where {} should", self.next));
        }
        if part == 0 {
            (self.total, self.sum) = (total, sum);
        } else if (self.total, self.sum) != (total, sum) {
            return Err(format!("part {part} is of another write"));
        }
        self.body.extend_from_slice(share);
        self.next += 1;
        if self.next < self.total {
            return Ok(None);
        }
        let body = std::mem::take(self).body;
        if checksum(&body) == sum {
            unpack(body).map(Some)
        } else {
            Err("its checksum is wrong".to_owned())
        }
    }

    /// Whether nothing is left over.
    pub(super) fn is_empty(&self) -> bool {
        self.next == 0
    }
}

/// A value with a right prelude around any bytes.
#[cfg(feature = "fuzzing")]
pub(super) fn sealed(share: &[u8]) -> Vec<u8> {
    let mut value = vec![FORMAT];
    value.extend(1_u16.to_be_bytes());
    value.extend(checksum(share).to_be_bytes());
    value.extend(share);
    value
}

fn prelude(value: &[u8]) -> Result<(u16, u64, &[u8]), String> {
    let (format, rest) = value.split_first().ok_or("it is empty")?;
    check_format(*format)?;
    let (total, rest) = rest.split_first_chunk().ok_or("it is cut short")?;
    let (sum, share) = rest.split_first_chunk().ok_or("it is cut short")?;
    Ok((u16::from_be_bytes(*total), u64::from_be_bytes(*sum), share))
}

pub(super) fn check_format(format: u8) -> Result<(), String> {
    if FORMATS_READ.contains(&format) {
        Ok(())
    } else {
        Err(format!(
            "it has format version {format}, and this program reads {FORMATS_READ:?}"
        ))
    }
}

/// FNV-1a in steps of eight bytes: any changed byte changes it, and it costs next to nothing.
/// The store has its own CRC for what it writes; this one finds parts that do not belong together.
fn checksum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum = FNV_OFFSET;
    for word in words {
        sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(FNV_PRIME);
        sum ^= sum >> 32;
    }
    for byte in rest {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
    }
    sum
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// The hash of a target in the target index (FNV-1a). It is part of the stored format; two
/// targets with one hash only cost a look.
pub(super) fn target_hash(target: &str) -> u64 {
    target.bytes().fold(FNV_OFFSET, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    })
}

/// Hashes in one value of the target index.
const HASHES_MAX: usize = (limits::STORE_VALUE_BYTES_MAX - 1) / 8;

/// Packs sorted hashes into values: a version byte, then eight bytes each.
pub(super) fn pack_hashes(sorted: &[u64]) -> impl Iterator<Item = Vec<u8>> {
    sorted.chunks(HASHES_MAX).map(|hashes| {
        let mut value = Vec::with_capacity(1 + 8 * hashes.len());
        value.push(FORMAT);
        for hash in hashes {
            value.extend(hash.to_be_bytes());
        }
        value
    })
}

/// Whether a value of the target index has this hash.
pub(super) fn has_hash(value: &[u8], hash: u64) -> Result<bool, String> {
    let (format, packed) = value.split_first().ok_or("it is empty")?;
    check_format(*format)?;
    match packed.as_chunks::<8>() {
        (hashes, []) => Ok(hashes.binary_search(&hash.to_be_bytes()).is_ok()),
        _ => Err("it is cut short".to_owned()),
    }
}

/// A value that only has to be there.
pub(super) fn marker() -> Vec<u8> {
    vec![FORMAT]
}

/// Checks a [`marker`].
pub(super) fn check_marker(value: &[u8]) -> Result<(), String> {
    match value {
        [format] => check_format(*format),
        _ => Err("it should be one byte".to_owned()),
    }
}

/// The value of a request's index entry and of the batch floor.
pub(super) fn number(number: u64) -> Vec<u8> {
    let mut value = marker();
    value.extend(number.to_be_bytes());
    value
}

/// Reads [`number`] back.
pub(super) fn number_in(value: &[u8]) -> Result<u64, String> {
    let (format, rest) = value.split_first().ok_or("it is empty")?;
    check_format(*format)?;
    let bytes = rest.try_into().map_err(|_| "it should be nine bytes")?;
    Ok(u64::from_be_bytes(bytes))
}

/// The value of an item's index entry.
pub(super) fn item_id(id: ItemId) -> Vec<u8> {
    let mut value = marker();
    value.extend(keys::item_id_bytes(id));
    value
}

/// Reads [`item_id`] back.
pub(super) fn item_id_in(value: &[u8]) -> Result<ItemId, String> {
    let (format, rest) = value.split_first().ok_or("it is empty")?;
    check_format(*format)?;
    keys::item_id_in(rest).ok_or_else(|| "it should be thirteen bytes".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::BatchId;

    fn join(parts: impl IntoIterator<Item = (u16, Vec<u8>)>) -> Result<Vec<u8>, String> {
        let mut joiner = Joiner::default();
        for (part, value) in parts {
            if let Some(body) = joiner.add(part, &value)? {
                return Ok(body);
            }
        }
        Err("it is not whole".to_owned())
    }

    proptest! {
        #[test]
        fn a_body_of_any_length_comes_back_from_values_that_fit(
            length in prop_oneof![0_usize..100, 6_100_usize..6_200, 0_usize..40_000],
            seed in any::<u8>(),
        ) {
            let mut body: Vec<u8> = (0..=250).cycle().take(length).map(|n: u8| n ^ seed).collect();
            // Bodies are JSON, which never begins like a packed one.
            if let Some(first) = body.first_mut() {
                *first = b'{';
            }
            let parts: Vec<_> = split(&body).unwrap().collect();
            for (_, value) in &parts {
                prop_assert!(value.len() <= limits::STORE_VALUE_BYTES_MAX);
            }
            prop_assert_eq!(join(parts), Ok(body));
        }

        #[test]
        fn a_changed_bit_a_missing_part_and_parts_of_two_writes_are_found(
            length in 1_usize..20_000,
            at in any::<prop::sample::Index>(),
            bit in 0_u32..8,
        ) {
            let body: Vec<u8> = (0..=250).cycle().take(length).collect();
            let parts: Vec<_> = split(&body).unwrap().collect();
            let mut changed = parts.clone();
            let (_, value) = &mut changed[at.index(parts.len())];
            let byte = at.index(value.len());
            value[byte] ^= 1 << bit;
            prop_assert!(join(changed).is_err());
            if parts.len() > 1 {
                let mut missing = parts.clone();
                missing.remove(at.index(parts.len()));
                prop_assert!(join(missing).is_err());
                let other: Vec<u8> = body.iter().map(|byte| byte ^ 1).collect();
                let mut mixed = parts.clone();
                let place = at.index(parts.len());
                mixed[place] = split(&other).unwrap().nth(place).unwrap();
                prop_assert!(join(mixed).is_err());
            }
        }

        #[test]
        fn packed_hashes_are_found_and_others_are_not(
            mut hashes in proptest::collection::vec(any::<u64>(), 0..2_000),
            other in any::<u64>(),
        ) {
            hashes.sort_unstable();
            hashes.dedup();
            let values: Vec<_> = pack_hashes(&hashes).collect();
            let has = |hash| values.iter().any(|value| has_hash(value, hash).unwrap());
            for value in &values {
                prop_assert!(value.len() <= limits::STORE_VALUE_BYTES_MAX);
            }
            for hash in &hashes {
                prop_assert!(has(*hash));
            }
            prop_assert_eq!(has(other), hashes.contains(&other));
        }

        #[test]
        fn index_entries_read_back(batch in any::<u64>(), index in any::<u32>()) {
            let id = ItemId { batch: BatchId(batch), index };
            prop_assert_eq!(item_id_in(&item_id(id)), Ok(id));
            prop_assert_eq!(number_in(&number(batch)), Ok(batch));
        }
    }

    #[test]
    fn another_format_is_refused_by_its_version_wherever_it_stands() {
        let value = vec![FORMAT + 1; 13];
        let errors = [
            number_in(&value).unwrap_err(),
            item_id_in(&value).unwrap_err(),
            has_hash(&value, 0).unwrap_err(),
            check_marker(&[FORMAT + 1]).unwrap_err(),
            join([(0, value)]).unwrap_err(),
        ];
        for error in errors {
            assert!(error.contains("format version 2"), "{error}");
        }
    }

    /// Journals hold these bytes: what was written once has to be read for good.
    #[test]
    fn the_stored_words_stay_as_they_are() {
        check::<Header>(
            r#"{"c":"billing","k":"subscription","r":"r","a":"2027-01-15T08:00:00Z","#,
            r#""u":"2027-01-15T09:00:00Z","n":2,"o":1,"f":1,"p":"00ff"}"#,
        );
        check::<Vec<Option<Item>>>(
            r#"[{"o":{"c":{"subscription":{"account":"a","subscription_id":"s","when":"now"}}}},"#,
            r#"null,{"r":{"k":"k","i":{"batch":7,"index":3}}}]"#,
        );
        check::<Vec<Option<Item>>>(
            r#"[{"o":{"k":"own","c":{"enrollments":{"account":"a","sequence_id":"s","#,
            r#""target":{"subscribers":["x","y"]},"matches_max":5}}}}]"#,
        );
        check::<Step<u8>>(
            r#"{"s":{"t":"2027-01-15T08:00:00Z","#,
            r#""i":[[0,1],[3,1]]}}"#,
        );
        check::<Step<u8>>(
            r#"{"o":{"a":"2027-01-15T08:00:00Z","u":"2027-01-15T09:00:00Z","#,
            r#""i":[2]}}"#,
        );
        check::<Step<u8>>(r#"{"x":"#, r#"{"a":"2027-01-15T08:00:00Z"}}"#);
        check::<Step<u8>>(r#"{"x":{"a":"2027-01-15T08:00:00Z","#, r#""b":"ann"}}"#);
        check::<super::super::Audited>(r#"{"t":7,"s":9,"#, r#""h":"00ff"}"#);
        check::<Meta>(r#"{"s":"name","#, r#""c":"2027-01-15T08:00:00Z"}"#);
        check::<crate::domain::outcome::Settled>(
            r#"{"conclusion":{"outcome":"canceled","detail":{"subscription":{}},"#,
            r#""answer":{"json":{ "n" : 1.10 }}},"attempts":1,"settled_at":"2027-01-15T08:00:00Z"}"#,
        );
    }

    #[track_caller]
    fn check<T: Serialize + DeserializeOwned>(begin: &str, end: &str) {
        let json = format!("{begin}{end}");
        let record: T = parse(json.as_bytes(), "a record").unwrap();
        assert_eq!(String::from_utf8(body(&record).unwrap()).unwrap(), json);
    }
}
