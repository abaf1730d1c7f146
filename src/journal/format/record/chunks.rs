//! A record's body as values that fit the store: packed, cut into parts that belong together, and
//! put together again.

use std::borrow::Cow;

use super::{FORMAT, FORMATS_READ};
use crate::{journal::error::StorageError, limits};

/// The bytes of a part before its share of the body: version, number of parts, checksum.
const PRELUDE_BYTES: usize = 1 + 2 + 8;
const SHARE_BYTES_MAX: usize = limits::STORE_VALUE_BYTES_MAX - PRELUDE_BYTES;

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
pub(in crate::journal) fn split(
    body: &[u8],
) -> Result<impl Iterator<Item = (u16, Vec<u8>)>, StorageError> {
    if body.len() > limits::RECORD_BYTES_MAX {
        return Err(StorageError::Misused(format!(
            "a record has {} bytes",
            body.len()
        )));
    }
    let body = pack(body);
    let total = u16::try_from(body.len().div_ceil(SHARE_BYTES_MAX).max(1))
        .map_err(|_| StorageError::Misused(format!("a record has {} bytes", body.len())))?;
    let sum = sum_of(FORMAT, &body);
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

/// Puts the parts of records together again, one record after the other.
#[derive(Debug, Default)]
pub(in crate::journal) struct Joiner {
    body: Vec<u8>,
    next: u16,
    format: u8,
    total: u16,
    sum: u64,
}

impl Joiner {
    /// Takes the next part; gives the body with the last one.
    pub(in crate::journal) fn add(
        &mut self,
        part: u16,
        value: &[u8],
    ) -> Result<Option<Vec<u8>>, String> {
        let (format, total, sum, share) = prelude(value)?;
        if total == 0 {
            return Err("it says that it has no parts".to_owned());
        }
        if part != self.next {
            return Err(format!("part {part} follows where {} should", self.next));
        }
        if part == 0 {
            (self.format, self.total, self.sum) = (format, total, sum);
        } else if (self.format, self.total, self.sum) != (format, total, sum) {
            return Err(format!("part {part} is of another write"));
        }
        self.body.extend_from_slice(share);
        self.next += 1;
        if self.next < self.total {
            return Ok(None);
        }
        let body = std::mem::take(self).body;
        if sum_of(format, &body) == sum {
            unpack(body).map(Some)
        } else {
            Err("its checksum is wrong".to_owned())
        }
    }

    /// Whether nothing is left over.
    pub(in crate::journal) fn is_empty(&self) -> bool {
        self.next == 0
    }
}

/// The checksum in the prelude of a body's parts. From format 3 on it covers the format too: a
/// changed bit would make one readable format of another otherwise.
fn sum_of(format: u8, body: &[u8]) -> u64 {
    match format {
        ..3 => checksum(body),
        format => checksum(body) ^ u64::from(format),
    }
}

/// A value with a right prelude around any bytes.
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::journal) fn sealed(share: &[u8]) -> Vec<u8> {
    let mut value = vec![FORMAT];
    value.extend(1_u16.to_be_bytes());
    value.extend(sum_of(FORMAT, share).to_be_bytes());
    value.extend(share);
    value
}

fn prelude(value: &[u8]) -> Result<(u8, u16, u64, &[u8]), String> {
    let (format, rest) = value.split_first().ok_or("it is empty")?;
    check_format(*format)?;
    let (total, rest) = rest.split_first_chunk().ok_or("it is cut short")?;
    let (sum, share) = rest.split_first_chunk().ok_or("it is cut short")?;
    let (total, sum) = (u16::from_be_bytes(*total), u64::from_be_bytes(*sum));
    Ok((*format, total, sum, share))
}

pub(in crate::journal) fn check_format(format: u8) -> Result<(), String> {
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

pub(super) const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
pub(super) const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
