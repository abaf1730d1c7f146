//! Resolves outbox entries to events, from the cache of recent events or from the records.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::value::RawValue;

use super::{
    EventKind,
    cache::CachedEvent,
    entry_in,
    event::{Event, EventContent, ItemEvent, ItemRef},
    settlement::AuditedOutcome,
};
use crate::{
    domain::{access::provenance::Provenance, ids::BatchId},
    journal::{
        error::StorageError,
        format::{
            key::Span,
            record::{self, Header, RecordedItem, Step},
        },
        outbox,
        read::{
            batch_log::{BatchHistory, Wanted},
            reader::{Items, Reader, first_of, group_of, groups},
        },
        store::table::Table,
    },
    limits,
};

/// Cache of batches and item groups that are likely to be needed again: an item is admitted and
/// settles soon after, together with its neighbours.
#[derive(Debug, Default)]
pub(in crate::journal) struct BatchCache {
    headers: HashMap<BatchId, Header>,
    groups: HashMap<(BatchId, u32), Items>,
}

/// Retries of a read that raced with a concurrent write.
const READS_MAX: usize = 5;
/// Cached headers.
const HEADERS_MAX: usize = 1_024;
/// Cached groups: some 10 MB.
const GROUPS_MAX: usize = 2_048;

/// Reads the entries after `after` up to `upto`. `settle` waits until a write in progress is
/// complete.
pub(in crate::journal) fn read<T: Table>(
    reader: Reader<'_, T>,
    shared: &outbox::OutboxState,
    settle: impl Fn(),
    cache: &mut BatchCache,
    (after, upto): (u64, u64),
    entries_max: usize,
) -> Result<Vec<Event>, StorageError> {
    let mut trailed = Vec::new();
    for entry in reader.0.scan(Span::trail_after(after)) {
        let (number, marks) = entry_in(entry?)?;
        if number > upto || trailed.len() >= entries_max {
            break;
        }
        let mut happened = Vec::with_capacity(marks.len());
        for mark in marks {
            let known = match (mark.of, shared.take(mark.of)) {
                (EventKind::Admission(batch), Some(CachedEvent::Admitted(header, items))) => {
                    cache.admitted(batch, header, items).ok()
                }
                (EventKind::Step(batch, _), Some(CachedEvent::Settled(items))) => {
                    cache.settled(reader, batch, items).ok()
                }
                _ => None,
            };
            happened.push(match known {
                Some(happened) => happened,
                None => cache.tell(reader, mark.of, &settle)?,
            });
        }
        trailed.push(Event { number, happened });
    }
    Ok(trailed)
}

impl BatchCache {
    fn tell<T: Table>(
        &mut self,
        reader: Reader<'_, T>,
        of: EventKind,
        settle: impl Fn(),
    ) -> Result<ItemEvent, StorageError> {
        let mut reads = 1;
        loop {
            let (batch, told) = match of {
                EventKind::Admission(batch) => (batch, self.admission(reader, batch)),
                EventKind::Step(batch, step) => (batch, self.step(reader, batch, step)),
                EventKind::Off(commits) => return Ok(ItemEvent::Off { commits }),
            };
            match told {
                // Several reads are no snapshot, so damage may be a race; real damage is there
                // every time.
                Err(StorageError::Damaged(_)) if reads < READS_MAX => {
                    settle();
                    reads += 1;
                }
                // The damage is permanent, and later events can still be read.
                Err(StorageError::Damaged(why)) => return Ok(ItemEvent::Unreadable { batch, why }),
                told => return told,
            }
        }
    }

    /// Like [`Self::admission`], from the cache.
    fn admitted(
        &mut self,
        batch: BatchId,
        header: Header,
        items: Items,
    ) -> Result<ItemEvent, StorageError> {
        let mut told = Vec::with_capacity(items.len());
        for (index, item) in (0..).zip(&items) {
            if let Some(item @ RecordedItem::Own { .. }) = item {
                let what = EventContent::Admitted(header.admitted_at);
                told.push((subject(batch, &header, index, Some(item))?, what));
            }
        }
        for (group, items) in (0..).zip(items.chunks(limits::RECORD_ITEMS)) {
            self.keep((batch, group), items.to_vec());
        }
        let happened = to_items(batch, &header, header.from.as_deref().cloned(), told);
        self.keep_header(batch, header);
        Ok(happened)
    }

    fn admission<T: Table>(
        &mut self,
        reader: Reader<'_, T>,
        batch: BatchId,
    ) -> Result<ItemEvent, StorageError> {
        let header = self.header(reader, batch)?;
        // The log is read after the slots: a slot that is filled in between is then either still
        // vacant, or excluded by the step that filled it. In the other order it would be reported
        // twice.
        let read: Result<Vec<_>, StorageError> = (0..groups(header.total))
            .map(|group| Ok((group, reader.group(batch, &header, group)?)))
            .collect();
        let read = read?;
        let history = reader.history(batch, &header, |_| Wanted::Nothing)?;
        let mut items = Vec::new();
        for (group, read) in read {
            let first = first_of(group);
            for (index, item) in (first..).zip(&read) {
                // Items of filled vacant slots are reported by the step that filled them.
                if history.trace(index).admitted_at.is_none()
                    && let Some(item @ RecordedItem::Own { .. }) = item
                {
                    let what = EventContent::Admitted(header.admitted_at);
                    items.push((subject(batch, &header, index, Some(item))?, what));
                }
            }
            self.keep((batch, group), read);
        }
        Ok(to_items(
            batch,
            &header,
            header.from.as_deref().cloned(),
            items,
        ))
    }

    fn step<T: Table>(
        &mut self,
        reader: Reader<'_, T>,
        batch: BatchId,
        step: u32,
    ) -> Result<ItemEvent, StorageError> {
        let header = self.header(reader, batch)?;
        let (at, indexes, from) = match reader.step::<Step<AuditedOutcome>>(batch, step)? {
            Step::Stopped {
                at,
                by,
                from,
                indexes,
            } => {
                return Ok(ItemEvent::Stopped {
                    scope: header.scope(),
                    batch,
                    at,
                    by,
                    from: from.map(|from| *from),
                    indexes,
                });
            }
            Step::Settled { items, .. } => {
                let items = items.into_iter();
                let items = items.map(|(index, ended)| (index, Arc::new(ended)));
                return self.settled(reader, batch, items.collect());
            }
            Step::Opened {
                at, indexes, from, ..
            } => (at, indexes, from),
            Step::Cleared { .. } | Step::Noted { .. } | Step::Withdrawn { .. } => {
                let what = format_args!("step {step} of batch {batch}");
                return Err(StorageError::damaged(what, "it is not for the audit"));
            }
        };
        let known = settled_before(reader, batch, step)?;
        let mut items = Vec::with_capacity(indexes.len());
        for index in indexes {
            let what = if known.contains(&index) {
                EventContent::Opened(at)
            } else {
                EventContent::Admitted(at)
            };
            items.push((self.subject(reader, batch, &header, index)?, what));
        }
        let from = from.map(|from| *from);
        Ok(to_items(batch, &header, from, items))
    }

    fn settled<T: Table>(
        &mut self,
        reader: Reader<'_, T>,
        batch: BatchId,
        settled: Vec<(u32, Arc<AuditedOutcome>)>,
    ) -> Result<ItemEvent, StorageError> {
        let header = self.header(reader, batch)?;
        let mut items = Vec::with_capacity(settled.len());
        for (index, ended) in settled {
            let subject = self.subject(reader, batch, &header, index)?;
            items.push((subject, EventContent::Settled(ended)));
        }
        Ok(to_items(batch, &header, None, items))
    }

    fn header<T: Table>(
        &mut self,
        reader: Reader<'_, T>,
        batch: BatchId,
    ) -> Result<Header, StorageError> {
        if let Some(header) = self.headers.get(&batch) {
            return Ok(header.clone());
        }
        let header = header_in(reader, batch)?;
        self.keep_header(batch, header.clone());
        Ok(header)
    }

    fn keep_header(&mut self, batch: BatchId, header: Header) {
        if self.headers.len() >= HEADERS_MAX {
            self.headers.clear();
        }
        self.headers.insert(batch, header);
    }

    fn subject<T: Table>(
        &mut self,
        reader: Reader<'_, T>,
        batch: BatchId,
        header: &Header,
        index: u32,
    ) -> Result<ItemRef, StorageError> {
        let (group, at) = group_of(index);
        if let Some(items) = self.groups.get(&(batch, group))
            && let Some(Some(item @ RecordedItem::Own { .. })) = items.get(at)
        {
            return subject(batch, header, index, Some(item));
        }
        // The cached slot was vacant when it was read, and was filled since.
        let header = header_in(reader, batch)?;
        let items = reader.group(batch, &header, group)?;
        let found = subject(
            batch,
            &header,
            index,
            items.get(at).and_then(Option::as_ref),
        );
        self.keep((batch, group), items);
        found
    }

    fn keep(&mut self, group: (BatchId, u32), items: Items) {
        if self.groups.len() >= GROUPS_MAX {
            self.groups.clear();
        }
        self.groups.insert(group, items);
    }
}

fn to_items(
    batch: BatchId,
    header: &Header,
    from: Option<Provenance>,
    items: Vec<(ItemRef, EventContent)>,
) -> ItemEvent {
    ItemEvent::ToItems {
        scope: header.scope(),
        batch,
        from,
        items,
    }
}

fn header_in<T: Table>(reader: Reader<'_, T>, batch: BatchId) -> Result<Header, StorageError> {
    let header = reader.header(batch)?;
    header.ok_or_else(|| StorageError::damaged(batch, "it is gone"))
}

fn subject(
    batch: BatchId,
    header: &Header,
    index: u32,
    item: Option<&RecordedItem>,
) -> Result<ItemRef, StorageError> {
    match item {
        Some(RecordedItem::Own { key, command, .. }) => Ok(ItemRef {
            index,
            key: key.clone().unwrap_or_else(|| header.key.derive(index)),
            command: Arc::clone(command),
        }),
        Some(RecordedItem::Ref { .. }) | None => Err(StorageError::damaged(
            format_args!("batch {batch}"),
            format_args!("item {index} is not its own"),
        )),
    }
}

/// The items of a batch that had settled before a step.
fn settled_before<T: Table>(
    reader: Reader<'_, T>,
    batch: BatchId,
    before: u32,
) -> Result<HashSet<u32>, StorageError> {
    let mut settled = HashSet::new();
    BatchHistory::each_step(reader.0, batch, |seq, body| {
        if seq < before
            && let Step::Settled { items, .. } =
                record::parse::<Step<&RawValue>>(body, format_args!("step {seq} of batch {batch}"))?
        {
            settled.extend(items.iter().map(|(index, _)| *index));
        }
        Ok::<_, StorageError>(())
    })?;
    Ok(settled)
}
