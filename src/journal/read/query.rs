//! Queries of callers and operators: by key, by batch, by filter, and open items.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use super::{
    batch_log::Wanted,
    question::Watched,
    reader::{Reader, compose, group_of},
    replay::Standings,
};
use crate::{
    domain::{
        access::hourly_quota,
        command::Command,
        ids::{BatchId, CallerId, ItemId, Key, Kind, Scope},
    },
    journal::{
        Batch, DoubtfulTarget, Filter, Intake, OpenItem, Page, ReadLimits, Record,
        error::StorageError,
        format::{
            index_set::IndexSet,
            key::{Span, StoreKey},
            record::{self, Header, RecordedItem},
        },
        store::table::Table,
    },
    limits::{INTAKE_OLDER_MAX, PAGE_RECORDS_EXAMINED_MAX},
};

/// The record of a key.
pub(in crate::journal) fn find(
    reader: Reader<'_, impl Table>,
    scope: &Scope,
    key: &Key,
    question: &ReadLimits,
) -> Result<Option<Record>, StorageError> {
    let table = Watched::new(reader.0, question);
    let reader = Reader(&table);
    match reader.resolve(scope, key)? {
        Some(id) => reader.record(id),
        None => Ok(None),
    }
}

/// Whether keys have records, in order. 10,000 keys derived from one request belong to one batch,
/// whose items are read once.
pub(in crate::journal) fn known(
    reader: Reader<'_, impl Table>,
    scope: &Scope,
    request: &Key,
    keys: &[Key],
) -> Result<Vec<bool>, StorageError> {
    let items = match reader.request(scope, request)? {
        Some(id) => reader.of_batch(id, |header| reader.items(id, &header))?,
        None => None,
    };
    let items = items.unwrap_or_default();
    let keys = keys.iter().map(|key| match key.derived_from() {
        Some((of, index)) if of == *request => {
            let item = usize::try_from(index).ok().and_then(|at| items.get(at));
            let has_it = matches!(item, Some(Some(RecordedItem::Own { key: None, .. })));
            Ok(has_it || reader.own_key(scope, key)?.is_some())
        }
        Some(_) | None => Ok(reader.resolve(scope, key)?.is_some()),
    });
    keys.collect()
}

/// Whose a batch is.
pub(in crate::journal) fn whose(
    reader: Reader<'_, impl Table>,
    id: BatchId,
    question: &ReadLimits,
) -> Result<Option<Scope>, StorageError> {
    let table = Watched::new(reader.0, question);
    let header = Reader(&table).header(id)?;
    Ok(header.map(|header| header.scope()))
}

/// A batch and all its items.
pub(in crate::journal) fn batch(
    reader: Reader<'_, impl Table>,
    id: BatchId,
    question: &ReadLimits,
) -> Result<Option<Batch>, StorageError> {
    let table = Watched::new(reader.0, question);
    let reader = Reader(&table);
    reader.of_batch(id, |header| {
        let items = reader.items(id, &header)?;
        let history = reader.history(id, &header, |_| Wanted::Everything)?;
        let is_stopped = history.is_stopped();
        let elsewhere = items.iter().flatten().filter_map(|item| match item {
            RecordedItem::Ref { id: owner, .. } => Some(*owner),
            RecordedItem::Own { .. } => None,
        });
        let owners = Standings::read(reader, elsewhere, true)?;
        let mut records = Vec::with_capacity(items.len());
        for (index, item) in (0..).zip(items) {
            let here = ItemId { batch: id, index };
            records.push(match item {
                Some(RecordedItem::Own { key, command, .. }) => {
                    Some(compose(&header, here, key, command, history.trace(index)))
                }
                Some(RecordedItem::Ref { id: owner, .. }) => match owners.batch(owner.batch) {
                    Some((header, history)) => {
                        match reader.item(owner.batch, header, owner.index) {
                            Ok(Some(RecordedItem::Own { key, command, .. })) => {
                                let trace = history.trace(owner.index);
                                Some(compose(header, owner, key, command, trace))
                            }
                            // The other batch was purged since its history was read.
                            _ if reader.header(owner.batch)?.is_none() => None,
                            Ok(Some(RecordedItem::Ref { .. }) | None) => {
                                return Err(StorageError::damaged(
                                    owner,
                                    format_args!("{here} leads to it"),
                                ));
                            }
                            Err(fault) => return Err(fault),
                        }
                    }
                    None => None,
                },
                None => None,
            });
        }
        Ok(Batch {
            scope: header.scope(),
            key: header.key.clone(),
            admitted_at: header.admitted_at,
            stopped: is_stopped,
            items: records,
        })
    })
}

/// All open items, oldest first.
pub(in crate::journal) fn open_items(
    reader: Reader<'_, impl Table>,
) -> Result<Vec<OpenItem>, StorageError> {
    let mut open = Vec::new();
    let lives = reader.lives()?;
    for entry in reader.0.scan(Span::open()) {
        let (key, _) = entry?;
        let Some(StoreKey::Open(id)) = StoreKey::decode(key.as_ref()) else {
            return Err(StorageError::damaged(
                "an open batch",
                "its key does not decode",
            ));
        };
        let found = reader.of_batch(id, |header| {
            let items = reader.items(id, &header)?;
            let history = reader.history(id, &header, |_| Wanted::Everything)?;
            let mut found = Vec::new();
            for (index, item) in (0..).zip(items) {
                let trace = history.trace(index);
                let Some(RecordedItem::Own { key, command, .. }) = item else {
                    continue;
                };
                if trace.is_settled {
                    continue;
                }
                found.push(OpenItem {
                    id: ItemId { batch: id, index },
                    scope: header.scope(),
                    key: key.unwrap_or_else(|| header.key.derive(index)),
                    command,
                    retry_until: trace
                        .opened
                        .map_or(header.retry_until, |opened| opened.retry_until),
                    stopped: history.is_item_stopped(&trace),
                    previous: trace.settled,
                    doubt: history.doubt(index, &lives),
                });
            }
            Ok(found)
        })?;
        open.extend(found.unwrap_or_default());
    }
    Ok(open)
}

/// Targets on which a request may still act.
pub(in crate::journal) fn doubtful_targets(
    reader: Reader<'_, impl Table>,
) -> Result<Vec<DoubtfulTarget>, StorageError> {
    let mut all = Vec::new();
    for entry in reader.doubtful() {
        all.extend(entry?.1);
    }
    Ok(all)
}

/// What callers have admitted since `from`, newest first, for their hourly quotas. Ids grow with
/// time, except while the clock was behind, so the scan ends after many older batches in a row.
pub(in crate::journal) fn admitted_since(
    reader: Reader<'_, impl Table>,
    from: Timestamp,
    callers: &BTreeSet<CallerId>,
) -> Result<Vec<Intake>, StorageError> {
    let mut found = Vec::new();
    let mut older = 0;
    for entry in reader.0.scan(Span::headers()).rev() {
        let (key, _) = entry?;
        let Some(StoreKey::Header(id)) = StoreKey::decode(key.as_ref()) else {
            return Err(StorageError::damaged("a batch", "its key does not decode"));
        };
        let header = match reader.header(id) {
            Ok(Some(header)) => header,
            // It was purged in the meantime.
            Ok(None) => continue,
            // Its items are unknown, which is no reason not to start.
            Err(StorageError::Damaged(why)) => {
                tracing::error!(%why, "a damaged batch does not count for its caller's hour");
                continue;
            }
            Err(
                fault @ (StorageError::Store(_)
                | StorageError::Misused(_)
                | StorageError::Abandoned),
            ) => {
                return Err(fault);
            }
        };
        if header.admitted_at < from {
            older += 1;
            if older >= INTAKE_OLDER_MAX {
                break;
            }
            continue;
        }
        older = 0;
        if !callers.contains(&header.caller) {
            continue;
        }
        let people = match header.kind {
            Kind::Subscription => header.own.into(),
            Kind::Enrollments => match concerned(reader, id) {
                Ok(people) => people,
                Err(StorageError::Damaged(why)) => {
                    tracing::error!(%why, "a damaged batch counts by its items in its caller's hour");
                    header.own.into()
                }
                Err(
                    fault @ (StorageError::Store(_)
                    | StorageError::Misused(_)
                    | StorageError::Abandoned),
                ) => {
                    return Err(fault);
                }
            },
        };
        found.push(Intake {
            caller: header.caller,
            at: header.admitted_at,
            people,
        });
    }
    Ok(found)
}

/// How many people the items of a batch concern.
fn concerned(reader: Reader<'_, impl Table>, id: BatchId) -> Result<u64, StorageError> {
    let batch = batch(reader, id, &ReadLimits::default())?;
    let items = batch.map(|batch| batch.items).unwrap_or_default();
    let own = items
        .iter()
        .flatten()
        .filter(|record| record.id.batch == id);
    let people = own.map(|record| match &record.settled {
        Some(settled) => hourly_quota::concerned(&record.command, &settled.conclusion),
        None => record.command.people(),
    });
    Ok(people.fold(0, u64::saturating_add))
}

/// The records that match a filter, newest first.
pub(in crate::journal) fn list(
    reader: Reader<'_, impl Table>,
    filter: &Filter,
    after: Option<ItemId>,
    records_max: usize,
    question: &ReadLimits,
) -> Result<Page, StorageError> {
    let table = Watched::new(reader.0, question);
    let reader = Reader(&table);
    let mut listing = ListRange {
        reader,
        filter,
        records_max,
        looks: PAGE_RECORDS_EXAMINED_MAX,
        page: Page::default(),
    };
    // First the rest of the batch in which the previous page ended, then all older batches.
    let mut below = after.map_or(BatchId(u64::MAX), |after| after.batch);
    if let Some(after) = after
        && after.index > 0
        && filter.batch.is_none_or(|batch| batch == after.batch)
        && !listing.batch(after.batch, after.index)?
    {
        return Ok(listing.page);
    }
    if let Some(batch) = filter.batch {
        if batch < below {
            listing.batch(batch, u32::MAX)?;
        }
        return Ok(listing.page);
    }
    let by_target = filter.target.as_ref();
    let by_target = by_target.map(|target| record::target_hash(target.as_str()));
    let span = match by_target {
        Some(_) => Span::targets_below(below),
        None => Span::headers_below(below),
    };
    for entry in reader.0.scan(span).rev() {
        let (key, value) = entry?;
        let (id, matches) = match (StoreKey::decode(key.as_ref()), by_target) {
            (Some(StoreKey::Header(id)), None) => (id, true),
            (Some(StoreKey::Targets { batch, .. }), Some(hash)) => {
                let has_hash = record::has_hash(value.as_ref(), hash);
                let what = format_args!("the target index of batch {batch}");
                (
                    batch,
                    has_hash.map_err(|why| StorageError::damaged(what, why))?,
                )
            }
            _ => return Err(StorageError::damaged("a batch", "its key does not decode")),
        };
        // A batch can have several entries of targets, and may be listed already.
        if id >= below {
            continue;
        }
        if matches {
            below = id;
            if !listing.batch(id, u32::MAX)? {
                break;
            }
        } else if !listing.looked_at(ItemId {
            batch: id,
            index: 0,
        }) {
            // Another entry of this batch may still match.
            listing.page.next = Some(ItemId {
                batch: id,
                index: u32::MAX,
            });
            break;
        }
    }
    Ok(listing.page)
}

struct ListRange<'a, T> {
    reader: Reader<'a, Watched<'a, T>>,
    filter: &'a Filter,
    records_max: usize,
    /// Records that may still be examined for this page.
    looks: usize,
    page: Page,
}

/// Outcomes decoded at a time while searching for some.
const OUTCOMES_AT_A_TIME: usize = 1_024;

impl<T: Table> ListRange<'_, T> {
    /// Lists a batch's own items below an index. Whether to go on.
    fn batch(&mut self, id: BatchId, below: u32) -> Result<bool, StorageError> {
        let reader = self.reader;
        let goes_on = reader.of_batch(id, |header| {
            let is_other_caller = self
                .filter
                .caller
                .as_ref()
                .is_some_and(|c| *c != header.caller);
            let is_other_kind = self.filter.kind.is_some_and(|kind| kind != header.kind);
            if is_other_caller || is_other_kind {
                return Ok(self.looked_at(ItemId {
                    batch: id,
                    index: 0,
                }));
            }
            let mut below = below.min(header.total);
            while below > 0 {
                let room = self.records_max.saturating_sub(self.page.records.len());
                // The whole log is read for each window. If it decides what matches, a small page
                // would read it again and again.
                let window = if self.is_decided_by_log() {
                    OUTCOMES_AT_A_TIME
                } else {
                    room
                };
                let (candidates, looked_down_to) = self.candidates(id, &header, below, window)?;
                below = looked_down_to;
                if !self.take(id, &header, candidates)? {
                    return Ok(false);
                }
                if !self.goes_on(ItemId {
                    batch: id,
                    index: below,
                }) {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        Ok(goes_on.unwrap_or(true))
    }

    /// Counts an examined record. Whether there may be another.
    fn looked_at(&mut self, id: ItemId) -> bool {
        self.looks = self.looks.saturating_sub(1);
        self.goes_on(id)
    }

    /// Whether this page may go on after this item. If not, the next page starts there.
    fn goes_on(&mut self, id: ItemId) -> bool {
        let is_enough = self.is_enough();
        if is_enough {
            self.page.next = Some(id);
        }
        !is_enough
    }

    fn is_enough(&self) -> bool {
        self.looks == 0 || self.reader.0.has_read_enough()
    }

    /// Whether a match depends on the log: on the outcome, or on when an item was admitted to a
    /// vacant slot.
    fn is_decided_by_log(&self) -> bool {
        let filter = self.filter;
        !filter.outcomes.is_empty()
            || filter.admitted_from.is_some()
            || filter.admitted_before.is_some()
    }

    /// Items below an index whose commands match, in descending order, and the last index examined.
    fn candidates(
        &mut self,
        id: BatchId,
        header: &Header,
        below: u32,
        candidates_max: usize,
    ) -> Result<(Vec<Candidate>, u32), StorageError> {
        let mut candidates = Vec::new();
        let mut index = below;
        let mut group = None;
        while let Some(previous) = index.checked_sub(1) {
            // Every page makes progress by at least one item, however much was read before.
            let is_enough = index < below && self.is_enough();
            if candidates.len() >= candidates_max || is_enough {
                break;
            }
            index = previous;
            self.looks = self.looks.saturating_sub(1);
            let (number, at) = group_of(index);
            let items = match &group {
                Some((read, items)) if *read == number => items,
                _ => {
                    &group
                        .insert((number, self.reader.group(id, header, number)?))
                        .1
                }
            };
            if let Some(Some(RecordedItem::Own { key, command, .. })) = items.get(at)
                && self.is_asked_for(command)
            {
                candidates.push(Candidate {
                    index,
                    key: key.clone(),
                    command: Arc::clone(command),
                });
            }
        }
        Ok((candidates, index))
    }

    fn is_asked_for(&self, command: &Command) -> bool {
        let filter = self.filter;
        filter
            .account
            .as_ref()
            .is_none_or(|name| command.account() == name)
            && filter.accounts.as_ref().is_none_or(|patterns| {
                let name = command.account().as_str();
                patterns.iter().any(|pattern| pattern.fits(name))
            })
            && filter
                .target
                .as_ref()
                .is_none_or(|target| command.target_ids().any(|id| id == target))
    }

    /// Adds candidates that also match by outcome and time. Whether there is room for more.
    fn take(
        &mut self,
        id: BatchId,
        header: &Header,
        candidates: Vec<Candidate>,
    ) -> Result<bool, StorageError> {
        if candidates.is_empty() {
            return Ok(true);
        }
        let mut wanted = IndexSet::default();
        for candidate in &candidates {
            wanted.insert(candidate.index);
        }
        let history = self
            .reader
            .history(id, header, |index| Wanted::only(wanted.contains(index)))?;
        for Candidate {
            index,
            key,
            command,
        } in candidates
        {
            let here = ItemId { batch: id, index };
            let record = compose(header, here, key, command, history.trace(index));
            if self.has_asked_outcome_and_time(&record) {
                if self.page.records.len() >= self.records_max {
                    return Ok(false);
                }
                self.page.records.push(record);
                self.page.next = None;
                if self.page.records.len() >= self.records_max {
                    self.page.next = Some(here);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn has_asked_outcome_and_time(&self, record: &Record) -> bool {
        let filter = self.filter;
        let outcome = record
            .settled
            .as_ref()
            .map(|settled| settled.conclusion.outcome);
        (filter.outcomes.is_empty() || filter.outcomes.contains(&outcome))
            && filter
                .admitted_from
                .is_none_or(|from| record.admitted_at >= from)
            && filter
                .admitted_before
                .is_none_or(|before| record.admitted_at < before)
    }
}

struct Candidate {
    index: u32,
    key: Option<Key>,
    command: Arc<Command>,
}
