//! Typed reads of single records.

use std::{collections::BTreeMap, fmt::Display, sync::Arc};

use super::{
    batch_log::{BatchHistory, Trace, Wanted, size},
    possible_sends::Lives,
};
use crate::{
    domain::{
        command::Command,
        doubt::AccountState,
        ids::{AccountName, BatchId, ItemId, Key, Scope},
        personal::{digests::DigestKey, erasure::erased_key},
    },
    journal::{
        Audited, DoubtfulTarget, Record,
        error::StorageError,
        format::{
            key::{self, Span, StoreKey},
            record::{self, Header, Joiner, RecordedItem},
        },
        store::table::Table,
    },
    limits,
};

/// Reads typed records from a table.
#[derive(Debug)]
pub(in crate::journal) struct Reader<'t, T>(pub(in crate::journal) &'t T);

impl<T> Clone for Reader<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Reader<'_, T> {}

/// The items of consecutive slots; `None` for a vacant slot.
pub(in crate::journal) type Items = Vec<Option<RecordedItem>>;

/// Items' own keys in a scope that could be keys that a request derives.
#[derive(Debug, Clone, Copy)]
pub(in crate::journal) struct OwnKeys<'s> {
    /// Some begin as derived keys do.
    has_like_derived: bool,
    /// Some were erased, with digests by this key in their place.
    erased_by: Option<&'s DigestKey>,
}

impl<T: Table> Reader<'_, T> {
    pub(in crate::journal) fn header(self, batch: BatchId) -> Result<Option<Header>, StorageError> {
        let value = self.0.get(&StoreKey::Header(batch).encode())?;
        value
            .map(|value| record::read_whole(value.as_ref(), format_args!("batch {batch}")))
            .transpose()
    }

    /// Reads a batch in several steps. Ids are used once, so if the batch exists afterwards, it
    /// existed all the time; otherwise it was purged meanwhile, and the result is `None`.
    pub(in crate::journal) fn of_batch<R>(
        self,
        batch: BatchId,
        read: impl FnOnce(Header) -> Result<R, StorageError>,
    ) -> Result<Option<R>, StorageError> {
        let Some(header) = self.header(batch)? else {
            return Ok(None);
        };
        let result = read(header);
        match self.header(batch)? {
            Some(_) => result.map(Some),
            None => Ok(None),
        }
    }

    /// A counter that is stored under its own key.
    pub(in crate::journal) fn number(self, key: &StoreKey) -> Result<Option<u64>, StorageError> {
        let value = self.0.get(&key.encode())?;
        let what = format_args!("the number {key:?}");
        value
            .map(|value| number_in(value.as_ref(), what))
            .transpose()
    }

    /// What the audit has acknowledged; `None` if there never was an audit.
    pub(in crate::journal) fn audited(self) -> Result<Option<Audited>, StorageError> {
        let value = self.0.get(&StoreKey::Audited.encode())?;
        value
            .map(|value| record::read_whole(value.as_ref(), "how far the audit has got"))
            .transpose()
    }

    /// The key of its digests; `None` before format 3.
    pub(in crate::journal) fn secret(self) -> Result<Option<DigestKey>, StorageError> {
        let value = self.0.get(&StoreKey::Secret.encode())?;
        value
            .map(|value| record::read_whole(value.as_ref(), "the key of its digests"))
            .transpose()
    }

    /// The processes that are known to have begun.
    pub(in crate::journal) fn lives(self) -> Result<Lives, StorageError> {
        let mut lives = Lives::new();
        for entry in self.0.scan(Span::lives()) {
            let (key, value) = entry?;
            let Some(StoreKey::Life(number)) = StoreKey::decode(key.as_ref()) else {
                return Err(StorageError::damaged(
                    "a process",
                    "its key does not decode",
                ));
            };
            let begun = record::read_whole(value.as_ref(), format_args!("process {number}"))?;
            lives.insert(number, begun);
        }
        Ok(lives)
    }

    /// The recorded states of accounts.
    pub(in crate::journal) fn accounts(
        self,
    ) -> Result<BTreeMap<AccountName, AccountState>, StorageError> {
        let mut accounts = BTreeMap::new();
        for entry in self.0.scan(Span::accounts()) {
            let (key, value) = entry?;
            let Some(StoreKey::Account(account)) = StoreKey::decode(key.as_ref()) else {
                return Err(StorageError::damaged(
                    "an account",
                    "its key does not decode",
                ));
            };
            let state = record::read_whole(value.as_ref(), format_args!("account {account}"))?;
            accounts.insert(account, state);
        }
        Ok(accounts)
    }

    /// Targets on which a request may still act, with their store keys.
    pub(in crate::journal) fn doubtful(
        self,
    ) -> impl Iterator<Item = Result<(Vec<u8>, Vec<DoubtfulTarget>), StorageError>> {
        self.0.scan(Span::doubtful()).map(|entry| {
            let (key, value) = entry?;
            let targets = record::read_whole(value.as_ref(), "a doubtful target")?;
            Ok((key.as_ref().to_vec(), targets))
        })
    }

    /// A step of a batch's log.
    pub(in crate::journal) fn step<R: serde::de::DeserializeOwned>(
        self,
        batch: BatchId,
        seq: u32,
    ) -> Result<R, StorageError> {
        let what = format_args!("step {seq} of batch {batch}");
        let step = self.joined(Span::log_step(batch, seq), what)?;
        step.ok_or_else(|| StorageError::damaged(what, "it is missing"))
    }

    /// The batch of a request's key.
    pub(in crate::journal) fn request(
        self,
        scope: &Scope,
        key: &Key,
    ) -> Result<Option<BatchId>, StorageError> {
        let mut value = self.0.get(&key::request(scope, key))?;
        if value.is_none()
            && let Some(erased) = self.erased_key(scope, key)?
        {
            value = self.0.get(&key::request(scope, &erased))?;
        }
        value
            .map(|value| number_in(value.as_ref(), format_args!("the index of request {key}")))
            .transpose()
            .map(|id| id.map(BatchId))
    }

    /// The item that has this key as its own.
    pub(in crate::journal) fn own_key(
        self,
        scope: &Scope,
        key: &Key,
    ) -> Result<Option<ItemId>, StorageError> {
        match self.item_of(scope, key, key)? {
            Some(id) => Ok(Some(id)),
            None => match self.erased_key(scope, key)? {
                Some(erased) => self.item_of(scope, &erased, key),
                None => Ok(None),
            },
        }
    }

    /// The same for many keys of a request, whose secret is at hand.
    pub(in crate::journal) fn derived_own_key(
        self,
        scope: &Scope,
        key: &Key,
        kinds: OwnKeys<'_>,
    ) -> Result<Option<ItemId>, StorageError> {
        if kinds.has_like_derived
            && let Some(id) = self.item_of(scope, key, key)?
        {
            return Ok(Some(id));
        }
        match kinds.erased_by {
            Some(secret) => self.item_of(scope, &erased_key(scope, key, secret), key),
            None => Ok(None),
        }
    }

    /// The item in the index under a key, which stands for the key that was sent.
    fn item_of(
        self,
        scope: &Scope,
        indexed: &Key,
        sent: &Key,
    ) -> Result<Option<ItemId>, StorageError> {
        let value = self.0.get(&key::item(scope, indexed))?;
        value
            .map(|value| {
                record::item_id_in(value.as_ref()).map_err(|why| {
                    StorageError::damaged(format_args!("the index of key {sent}"), why)
                })
            })
            .transpose()
    }

    /// What stands in place of a key if it was erased; `None` if none ever was.
    fn erased_key(self, scope: &Scope, key: &Key) -> Result<Option<Key>, StorageError> {
        if self.0.get(&StoreKey::Erased.encode())?.is_none() {
            return Ok(None);
        }
        let secret = self.secret()?.unwrap_or_default();
        Ok(Some(erased_key(scope, key, &secret)))
    }

    /// Which items' own keys could be keys that this request's key derives. One that was erased does
    /// not show of which.
    pub(in crate::journal) fn own_keys_like_derived<'s>(
        self,
        scope: &Scope,
        request_key: &Key,
        secret: &'s DigestKey,
    ) -> Result<OwnKeys<'s>, StorageError> {
        let has_any = |span| {
            self.0
                .scan(span)
                .next()
                .transpose()
                .map(|found| found.is_some())
        };
        Ok(OwnKeys {
            has_like_derived: has_any(Span::like_derived(scope, request_key))?,
            erased_by: has_any(Span::erased_items(scope))?.then_some(secret),
        })
    }

    /// The item of a key.
    pub(in crate::journal) fn resolve(
        self,
        scope: &Scope,
        key: &Key,
    ) -> Result<Option<ItemId>, StorageError> {
        if let Some(id) = self.own_key(scope, key)? {
            return Ok(Some(id));
        }
        let Some((request_key, index)) = key.derived_from() else {
            return Ok(None);
        };
        let Some(batch) = self.request(scope, &request_key)? else {
            return Ok(None);
        };
        let item = self.of_batch(batch, |header| {
            if index < header.total {
                self.item(batch, &header, index)
            } else {
                Ok(None)
            }
        })?;
        match item.flatten() {
            Some(RecordedItem::Own { key: None, .. }) => Ok(Some(ItemId { batch, index })),
            // A reference leads to an item that has this key as its own. That item is gone, because
            // its index entry was looked up first.
            Some(RecordedItem::Own { key: Some(_), .. } | RecordedItem::Ref { .. }) | None => {
                Ok(None)
            }
        }
    }

    /// The items of one group.
    pub(in crate::journal) fn group(
        self,
        batch: BatchId,
        header: &Header,
        group: u32,
    ) -> Result<Items, StorageError> {
        let what = format_args!("items {group} of batch {batch}");
        let items: Option<Items> = self.joined(Span::item_group(batch, group), what)?;
        let first = size(header.total)?.min(size_of_groups(group));
        let expected = (size(header.total)? - first).min(limits::RECORD_ITEMS);
        match items {
            Some(items) if items.len() == expected => Ok(items),
            Some(items) => {
                let found = format!("it has {} slots instead of {expected}", items.len());
                Err(StorageError::damaged(what, found))
            }
            None => Err(StorageError::damaged(what, "they are missing")),
        }
    }

    /// A record that is split over the values of a span.
    fn joined<R: serde::de::DeserializeOwned>(
        self,
        span: Span,
        what: impl Display + Copy,
    ) -> Result<Option<R>, StorageError> {
        let mut joiner = Joiner::default();
        let mut body = None;
        for (part, entry) in (0_u16..).zip(self.0.scan(span)) {
            let (_, value) = entry?;
            if body.is_some() {
                return Err(StorageError::damaged(what, "it has a part too many"));
            }
            body = joiner
                .add(part, value.as_ref())
                .map_err(|why| StorageError::damaged(what, why))?;
        }
        if !joiner.is_empty() {
            return Err(StorageError::damaged(what, "it is not whole"));
        }
        body.map(|body| {
            self.0.unpacked(body.len());
            record::parse(&body, what)
        })
        .transpose()
    }

    /// All items of a batch.
    pub(in crate::journal) fn items(
        self,
        batch: BatchId,
        header: &Header,
    ) -> Result<Items, StorageError> {
        let mut items = Vec::with_capacity(size(header.total)?);
        for group in 0..groups(header.total) {
            items.append(&mut self.group(batch, header, group)?);
        }
        Ok(items)
    }

    /// The item of one slot.
    pub(in crate::journal) fn item(
        self,
        batch: BatchId,
        header: &Header,
        index: u32,
    ) -> Result<Option<RecordedItem>, StorageError> {
        let (group, at) = group_of(index);
        Ok(self
            .group(batch, header, group)?
            .into_iter()
            .nth(at)
            .flatten())
    }

    /// The folded log of a batch.
    pub(in crate::journal) fn history(
        self,
        batch: BatchId,
        header: &Header,
        wanted: impl Fn(u32) -> Wanted,
    ) -> Result<BatchHistory, StorageError> {
        BatchHistory::read(self.0, batch, header, wanted)
    }

    /// The record of an item.
    pub(in crate::journal) fn record(self, id: ItemId) -> Result<Option<Record>, StorageError> {
        let record = self.of_batch(id.batch, |header| {
            if id.index >= header.total {
                return Ok(None);
            }
            match self.item(id.batch, &header, id.index)? {
                Some(RecordedItem::Own { key, command, .. }) => {
                    let history =
                        self.history(id.batch, &header, |index| Wanted::only(index == id.index))?;
                    let trace = history.trace(id.index);
                    Ok(Some(compose(&header, id, key, command, trace)))
                }
                Some(RecordedItem::Ref { .. }) | None => Ok(None),
            }
        })?;
        Ok(record.flatten())
    }
}

/// Assembles a record.
pub(in crate::journal) fn compose(
    header: &Header,
    id: ItemId,
    key: Option<Key>,
    command: Arc<Command>,
    trace: Trace,
) -> Record {
    Record {
        id,
        scope: header.scope(),
        key: key.unwrap_or_else(|| header.key.derive(id.index)),
        request_key: header.key.clone(),
        admitted_at: trace.admitted_at.unwrap_or(header.admitted_at),
        command,
        settled: trace.settled.filter(|_| trace.is_settled),
    }
}

/// Decodes a number.
fn number_in(value: &[u8], what: impl Display) -> Result<u64, StorageError> {
    record::number_in(value).map_err(|why| StorageError::damaged(what, why))
}

/// The number of groups of a batch with this many slots.
pub(in crate::journal) fn groups(total: u32) -> u32 {
    total.div_ceil(RECORD_ITEMS)
}

/// The index of a group's first slot.
pub(in crate::journal) fn first_of(group: u32) -> u32 {
    group.saturating_mul(RECORD_ITEMS)
}

/// The group of a slot, and its position there.
pub(in crate::journal) fn group_of(index: u32) -> (u32, usize) {
    let at = usize::try_from(index % RECORD_ITEMS).unwrap_or(usize::MAX);
    (index / RECORD_ITEMS, at)
}

fn size_of_groups(groups: u32) -> usize {
    usize::try_from(groups)
        .unwrap_or(usize::MAX)
        .saturating_mul(limits::RECORD_ITEMS)
}

#[expect(
    clippy::as_conversions,
    reason = "const; the assertion below holds it to the limit"
)]
const RECORD_ITEMS: u32 = limits::RECORD_ITEMS as u32;
const _: () = assert!(limits::RECORD_ITEMS < 1_000);
