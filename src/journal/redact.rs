//! Takes out of settled batches what is kept for a shorter time than how they ended: providers'
//! answers and e-mail addresses. Outcomes, counts and keys stay. What an item that may be taken up
//! again needs for it stays too.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    fault::Fault,
    history::{History, Wanted},
    keys::{Span, StoreKey},
    reader::{Reader, first_of, groups},
    record::{self, Item, Step},
    slots::put_group,
    table::{Table, Writes},
};
use crate::domain::{ids::BatchId, outcome::Settled};

/// What is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Providers' answers.
    Answers,
    /// E-mail addresses, wherever they are.
    Emails,
}

impl Removal {
    fn cursor(self) -> StoreKey {
        match self {
            Self::Answers => StoreKey::AnswersRemoved,
            Self::Emails => StoreKey::EmailsRemoved,
        }
    }

    /// Takes it out of an outcome; whether it was there.
    fn apply(self, settled: &mut Settled) -> bool {
        match self {
            Self::Answers => settled.conclusion.remove_answer(),
            Self::Emails => settled.conclusion.remove_emails(),
        }
    }
}

/// The value of a cursor: the key of an expiry entry.
fn cursor(key: &[u8]) -> Vec<u8> {
    let mut value = record::marker();
    value.extend(key);
    value
}

/// Reads the value of a cursor back.
pub(super) fn cursor_in(value: &[u8]) -> Result<&[u8], String> {
    let (format, key) = value.split_first().ok_or("it is empty")?;
    record::check_format(*format)?;
    match StoreKey::decode(key) {
        Some(StoreKey::Expiry { .. }) => Ok(key),
        Some(_) | None => Err("it names no expiry entry".to_owned()),
    }
}

/// Settled batches that were not looked at yet, as the keys of their expiry entries.
pub(super) fn due(
    reader: Reader<'_, impl Table>,
    removal: Removal,
    before: Timestamp,
    batches_max: usize,
) -> Result<Vec<(Vec<u8>, BatchId)>, Fault> {
    let known = reader.0.get(&removal.cursor().encode())?;
    let after = known
        .as_ref()
        .map(|value| cursor_in(value.as_ref()))
        .transpose()
        .map_err(|why| Fault::damaged("what was removed up to", why))?;
    let span = Span::expired_after(after, before.as_microsecond());
    let mut due = Vec::new();
    for entry in reader.0.scan(span).take(batches_max) {
        let (key, _) = entry?;
        let Some(StoreKey::Expiry { batch, .. }) = StoreKey::decode(key.as_ref()) else {
            return Err(Fault::damaged("an expiry entry", "its key does not decode"));
        };
        due.push((key.as_ref().to_vec(), batch));
    }
    Ok(due)
}

/// Takes it out of a batch without open items, and notes that this was done.
pub(super) fn remove(
    reader: Reader<'_, impl Table>,
    removal: Removal,
    (key, batch): (&[u8], BatchId),
    writes: &mut Writes,
) -> Result<(), Fault> {
    let header = reader.header(batch)?;
    let header = header.ok_or_else(|| Fault::damaged(batch, "it expires and is not there"))?;
    let mut dirty = Vec::new();
    History::each_step(reader.0, batch, |seq, body| {
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
        Ok::<_, Fault>(())
    })?;
    for (seq, step) in dirty {
        for entry in reader.0.scan(Span::log_step(batch, seq)) {
            writes.remove(entry?.0.as_ref().to_vec());
        }
        for (part, value) in record::split(&record::body(&step)?)? {
            writes.put(StoreKey::Log { batch, seq, part }.encode(), value);
        }
    }
    if removal == Removal::Emails {
        let history = reader.history(batch, &header, |_| Wanted::Outcome)?;
        for group in 0..groups(header.total) {
            let mut items = reader.group(batch, &header, group)?;
            let mut is_dirty = false;
            for (index, item) in (first_of(group)..).zip(&mut items) {
                let settled = history.trace(index).settled;
                let is_final = settled.is_some_and(|s| s.conclusion.is_final());
                if let Some(Item::Own { command, .. }) = item
                    && is_final
                    && let Some(clean) = command.without_emails()
                {
                    *command = Arc::new(clean);
                    is_dirty = true;
                }
            }
            if is_dirty {
                for entry in reader.0.scan(Span::item_group(batch, group)) {
                    writes.remove(entry?.0.as_ref().to_vec());
                }
                put_group(batch, group, &record::body(&items)?, writes)?;
            }
        }
    }
    writes.put(removal.cursor().encode(), cursor(key));
    Ok(())
}
