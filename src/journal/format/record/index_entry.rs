//! The values of indexes and marks, which are no JSON: a version byte, then numbers.

use super::{
    FORMAT,
    chunks::{FNV_OFFSET, FNV_PRIME, check_format},
};
use crate::{domain::ids::ItemId, journal::format::key, limits};

/// The hash of a target in the target index (FNV-1a). It is part of the stored format; two
/// targets with one hash only cost a look.
pub(in crate::journal) fn target_hash(target: &str) -> u64 {
    target.bytes().fold(FNV_OFFSET, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    })
}

/// Hashes in one value of the target index.
const HASHES_MAX: usize = (limits::STORE_VALUE_BYTES_MAX - 1) / 8;

/// Packs sorted hashes into values: a version byte, then eight bytes each.
pub(in crate::journal) fn pack_hashes(sorted: &[u64]) -> impl Iterator<Item = Vec<u8>> {
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
pub(in crate::journal) fn has_hash(value: &[u8], hash: u64) -> Result<bool, String> {
    let (format, packed) = value.split_first().ok_or("it is empty")?;
    check_format(*format)?;
    match packed.as_chunks::<8>() {
        (hashes, []) => Ok(hashes.binary_search(&hash.to_be_bytes()).is_ok()),
        _ => Err("it is cut short".to_owned()),
    }
}

/// A value that only has to be there.
pub(in crate::journal) fn marker() -> Vec<u8> {
    vec![FORMAT]
}

/// Checks a [`marker`].
pub(in crate::journal) fn check_marker(value: &[u8]) -> Result<(), String> {
    match value {
        [format] => check_format(*format),
        _ => Err("it should be one byte".to_owned()),
    }
}

/// The value of a request's index entry and of the batch floor.
pub(in crate::journal) fn number(number: u64) -> Vec<u8> {
    let mut value = marker();
    value.extend(number.to_be_bytes());
    value
}

/// Reads [`number`] back.
pub(in crate::journal) fn number_in(value: &[u8]) -> Result<u64, String> {
    let (format, rest) = value.split_first().ok_or("it is empty")?;
    check_format(*format)?;
    let bytes = rest.try_into().map_err(|_| "it should be nine bytes")?;
    Ok(u64::from_be_bytes(bytes))
}

/// The value of an item's index entry.
pub(in crate::journal) fn item_id(id: ItemId) -> Vec<u8> {
    let mut value = marker();
    value.extend(key::item_id_bytes(id));
    value
}

/// Reads [`item_id`] back.
pub(in crate::journal) fn item_id_in(value: &[u8]) -> Result<ItemId, String> {
    let (format, rest) = value.split_first().ok_or("it is empty")?;
    check_format(*format)?;
    key::item_id_in(rest).ok_or_else(|| "it should be thirteen bytes".to_owned())
}
