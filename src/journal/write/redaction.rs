//! Takes out of settled batches what is kept for a shorter time than how they ended: providers'
//! answers, e-mail addresses and callers' own words. Outcomes, counts and keys stay. What an item
//! that may be taken up again needs for it stays too.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use super::batch_slots::put_group;
use crate::{
    domain::{command::Command, ids::BatchId, outcome::Settled, personal::digests::DigestKey},
    journal::{
        error::StorageError,
        format::{
            key::{Span, StoreKey},
            record::{self, Header, RecordedItem, Step},
        },
        read::{
            batch_log::{BatchHistory, Wanted},
            reader::{Items, Reader, first_of, group_of, groups},
        },
        store::table::{Table, WriteBatch},
    },
};

/// What is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Providers' responses.
    Answers,
    /// E-mail addresses anywhere.
    Emails,
    /// What callers wrote in their own words: comments, reasons, what line items are called.
    Comments,
}

impl Removal {
    fn cursor(self) -> StoreKey {
        match self {
            Self::Answers => StoreKey::AnswersRemoved,
            Self::Emails => StoreKey::EmailsRemoved,
            Self::Comments => StoreKey::CommentsRemoved,
        }
    }

    /// Removes it from an outcome; whether there was any.
    fn apply(self, settled: &mut Settled) -> bool {
        match self {
            Self::Answers => settled.conclusion.remove_answer(),
            Self::Emails => settled.conclusion.remove_emails(),
            Self::Comments => settled.conclusion.remove_comments(),
        }
    }

    /// A command without it, if it has any.
    fn of_command(self, command: &Command, key: &DigestKey) -> Option<Command> {
        match self {
            Self::Answers => None,
            Self::Emails => command.without_emails(key),
            Self::Comments => command.without_comments(key),
        }
    }
}

/// Encodes the value of a cursor: the key of an expiry entry.
fn cursor(key: &[u8]) -> Vec<u8> {
    let mut value = record::marker();
    value.extend(key);
    value
}

/// Decodes the value of a cursor.
pub(in crate::journal) fn cursor_in(value: &[u8]) -> Result<&[u8], String> {
    let (format, key) = value.split_first().ok_or("it is empty")?;
    record::check_format(*format)?;
    match StoreKey::decode(key) {
        Some(StoreKey::Expiry { .. }) => Ok(key),
        Some(_) | None => Err("it names no expiry entry".to_owned()),
    }
}

/// Settled batches that have not been checked yet, with the keys of their expiry entries.
pub(in crate::journal) fn due(
    reader: Reader<'_, impl Table>,
    removal: Removal,
    before: Timestamp,
    batches_max: usize,
) -> Result<Vec<(Vec<u8>, BatchId)>, StorageError> {
    let known = reader.0.get(&removal.cursor().encode())?;
    let after = known
        .as_ref()
        .map(|value| cursor_in(value.as_ref()))
        .transpose()
        .map_err(|why| StorageError::damaged("what was removed up to", why))?;
    let span = Span::expired_after(after, before.as_microsecond());
    let mut due = Vec::new();
    for entry in reader.0.scan(span).take(batches_max) {
        let (key, _) = entry?;
        let Some(StoreKey::Expiry { batch, .. }) = StoreKey::decode(key.as_ref()) else {
            return Err(StorageError::damaged(
                "an expiry entry",
                "its key does not decode",
            ));
        };
        due.push((key.as_ref().to_vec(), batch));
    }
    Ok(due)
}

/// Notes that a batch has been gone through, by the key of its expiry entry.
pub(in crate::journal) fn move_cursor(removal: Removal, key: &[u8], writes: &mut WriteBatch) {
    writes.put(removal.cursor().encode(), cursor(key));
}

/// Removes it from a batch without open items.
pub(in crate::journal) fn remove(
    reader: Reader<'_, impl Table>,
    removal: Removal,
    batch: BatchId,
    secret: &DigestKey,
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    let header = reader.header(batch)?;
    let header =
        header.ok_or_else(|| StorageError::damaged(batch, "it expires and is not there"))?;
    let mut dirty = Vec::new();
    BatchHistory::each_step(reader.0, batch, |seq, body| {
        let what = format_args!("step {seq} of batch {batch}");
        if let Step::Settled {
            latest,
            kept,
            mut items,
        } = record::parse::<Step<Settled>>(body, what)?
        {
            let mut is_dirty = false;
            for (_, settled) in &mut items {
                is_dirty |= removal.apply(settled);
            }
            if is_dirty {
                let step = Step::Settled {
                    latest,
                    kept,
                    items,
                };
                dirty.push((seq, step));
            }
        }
        Ok::<_, StorageError>(())
    })?;
    for (seq, step) in dirty {
        note_taken_out(writes);
        put_step(reader, batch, seq, &step, writes)?;
    }
    if removal != Removal::Answers {
        let history = reader.history(batch, &header, |_| Wanted::Outcome)?;
        let is_final = |index| {
            let settled = history.trace(index).settled;
            settled.is_some_and(|settled| settled.conclusion.is_final())
        };
        let groups = 0..groups(header.total);
        let removals = std::iter::once(removal);
        clean_groups(
            reader,
            batch,
            header,
            (groups, is_final),
            removals,
            secret,
            writes,
        )?;
    }
    Ok(())
}

/// Takes out of the commands of these items, which have just got their final outcomes, what is not
/// kept longer than that.
pub(in crate::journal) fn clean(
    reader: Reader<'_, impl Table>,
    batch: BatchId,
    items: &BTreeSet<u32>,
    removals: impl Iterator<Item = Removal> + Clone,
    secret: &DigestKey,
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    let header = reader.header(batch)?;
    let header =
        header.ok_or_else(|| StorageError::damaged(batch, "it settles and is not there"))?;
    let groups: BTreeSet<_> = items.iter().map(|index| group_of(*index).0).collect();
    let is_final = |index| items.contains(&index);
    let which = (groups.into_iter(), is_final);
    clean_groups(reader, batch, header, which, removals, secret, writes)
}

/// Takes something out of the commands of groups, as far as no item needs it any more.
fn clean_groups(
    reader: Reader<'_, impl Table>,
    batch: BatchId,
    mut header: Header,
    (groups, is_final): (impl Iterator<Item = u32>, impl Fn(u32) -> bool),
    removals: impl Iterator<Item = Removal> + Clone,
    secret: &DigestKey,
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    let mut has_changed = false;
    for group in groups {
        let mut items = reader.group(batch, &header, group)?;
        let mut is_dirty = false;
        for (index, item) in (first_of(group)..).zip(&mut items) {
            let Some(RecordedItem::Own { command, .. }) = item else {
                continue;
            };
            for removal in removals.clone().filter(|_| is_final(index)) {
                if let Some(clean) = removal.of_command(command, secret) {
                    *command = Arc::new(clean);
                    is_dirty = true;
                }
            }
        }
        if is_dirty {
            replace_group(reader, batch, group, &items, writes)?;
            has_changed = true;
        }
    }
    if has_changed {
        note_taken_out(writes);
        // It is a digest of all of that.
        if header.seal(secret) {
            writes.put(StoreKey::Header(batch).encode(), record::whole(&header)?);
        }
    }
    Ok(())
}

/// Notes that the database's file may still have what these writes take out.
pub(in crate::journal) fn note_taken_out(writes: &mut WriteBatch) {
    writes.put(StoreKey::TakenOut.encode(), record::marker());
}

/// Writes a step anew, which may take fewer values than before.
pub(in crate::journal) fn put_step(
    reader: Reader<'_, impl Table>,
    batch: BatchId,
    seq: u32,
    step: &Step<Settled>,
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    for entry in reader.0.scan(Span::log_step(batch, seq)) {
        writes.remove(entry?.0.as_ref().to_vec());
    }
    for (part, value) in record::split(&record::body(step)?)? {
        writes.put(StoreKey::Log { batch, seq, part }.encode(), value);
    }
    Ok(())
}

/// Writes a group of items anew, which may take fewer values than before.
pub(in crate::journal) fn replace_group(
    reader: Reader<'_, impl Table>,
    batch: BatchId,
    group: u32,
    items: &Items,
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    for entry in reader.0.scan(Span::item_group(batch, group)) {
        writes.remove(entry?.0.as_ref().to_vec());
    }
    put_group(batch, group, &record::body(items)?, writes)
}
