//! Plans an admission: what the request's keys already mean, and what has to be recorded. Reads
//! only.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::encoded::EncodedAdmission;
use crate::{
    domain::{
        command::Command,
        ids::{BatchId, ItemId, Key},
        personal::{
            digests::DigestKey,
            erasure::{erased_key, is_erased},
        },
    },
    journal::{
        Admission, Conflict, Slot,
        error::StorageError,
        format::record::{Header, RecordedItem},
        read::reader::{Items, OwnKeys, Reader, group_of},
        store::table::Table,
    },
};

/// The plan of a request without conflicts.
#[derive(Debug)]
pub(in crate::journal) struct AdmissionPlan {
    /// The batch of the request's key.
    pub(in crate::journal) batch: BatchId,
    /// Its header, if it exists.
    pub(in crate::journal) header: Option<Header>,
    /// The plan of each slot.
    pub(in crate::journal) slots: Vec<SlotPlan>,
}

/// What to do with a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::journal) enum SlotPlan {
    /// Nothing: it is vacant.
    Vacant,
    /// Nothing: the batch has the item, or a reference to it.
    Recorded(ItemId),
    /// Record a reference to this item of another batch.
    Referred(ItemId),
    /// Record a new item.
    New,
}

/// Plans a request. `next` is the id of its batch if it has none yet.
pub(in crate::journal) fn plan(
    reader: Reader<'_, impl Table>,
    prepared: &EncodedAdmission,
    next: BatchId,
    secret: &DigestKey,
) -> Result<Result<AdmissionPlan, Vec<Conflict>>, StorageError> {
    let admission = &prepared.admission;
    let known = match reader.request(&admission.scope, &admission.key)? {
        Some(batch) => {
            let header = reader.header(batch)?.ok_or_else(|| {
                StorageError::damaged(
                    format_args!("the index of request {}", admission.key),
                    "no batch",
                )
            })?;
            Some((batch, header))
        }
        None => None,
    };
    let batch = known.as_ref().map_or(next, |(batch, _)| *batch);
    let header = known.map(|(_, header)| header);
    if let Some(header) = &header {
        if usize::try_from(header.total) != Ok(admission.slots.len()) {
            return Ok(Err(vec![Conflict {
                index: None,
                key: admission.key.clone(),
                fields: vec!["cancellations".to_owned()],
                batch,
            }]));
        }
        let is_same = header.has_fingerprint(&prepared.fingerprint, || Ok(secret.clone()))?;
        if header.refs == 0 && is_same {
            let slots = (0..).zip(&admission.slots).map(|(index, slot)| match slot {
                Slot::Vacant => SlotPlan::Vacant,
                Slot::Item { .. } => SlotPlan::Recorded(ItemId { batch, index }),
            });
            let slots = slots.collect();
            return Ok(Ok(AdmissionPlan {
                batch,
                header: Some(header.clone()),
                slots,
            }));
        }
    }

    let mut planner = Planner {
        reader,
        admission,
        secret,
        batch,
        own_keys: reader.own_keys_like_derived(&admission.scope, &admission.key, secret)?,
        headers: HashMap::new(),
        groups: HashMap::new(),
        conflicts: Vec::new(),
    };
    planner.check_repeated_keys();
    let recorded = match &header {
        Some(header) => reader.items(batch, header)?,
        None => Vec::new(),
    };
    let mut recorded = recorded.into_iter();
    let mut slots = Vec::with_capacity(admission.slots.len());
    for (index, slot) in (0..).zip(&admission.slots) {
        let recorded = recorded.next().flatten();
        slots.push(match slot {
            Slot::Vacant => SlotPlan::Vacant,
            Slot::Item { key, command } => {
                planner.slot(index, key.as_ref(), command, recorded.as_ref())?
            }
        });
    }
    if planner.conflicts.is_empty() {
        Ok(Ok(AdmissionPlan {
            batch,
            header,
            slots,
        }))
    } else {
        Ok(Err(planner.conflicts))
    }
}

struct Planner<'a, T> {
    reader: Reader<'a, T>,
    admission: &'a Admission,
    secret: &'a DigestKey,
    batch: BatchId,
    own_keys: OwnKeys<'a>,
    headers: HashMap<BatchId, Option<Header>>,
    groups: HashMap<(BatchId, u32), Items>,
    conflicts: Vec<Conflict>,
}

impl<T: Table> Planner<'_, T> {
    /// Requests with a repeated key are rejected before. If one arrives anyway, the second item
    /// conflicts: its position differs.
    fn check_repeated_keys(&mut self) {
        let admission = self.admission;
        let mut seen = HashSet::new();
        for (index, slot) in (0..).zip(&admission.slots) {
            let Slot::Item { key: Some(key), .. } = slot else {
                continue;
            };
            let is_derived_too = key.derived_from().is_some_and(|(request_key, derived)| {
                let slot = usize::try_from(derived)
                    .ok()
                    .and_then(|derived| admission.slots.get(derived));
                request_key == admission.key
                    && derived != index
                    && matches!(slot, Some(Slot::Item { key: None, .. }))
            });
            if is_derived_too || !seen.insert(key) {
                self.conflict(index, key, vec!["idempotency_key"], self.batch);
            }
        }
    }

    fn slot(
        &mut self,
        index: u32,
        own: Option<&Key>,
        command: &Command,
        recorded: Option<&RecordedItem>,
    ) -> Result<SlotPlan, StorageError> {
        match recorded {
            Some(RecordedItem::Own {
                key: recorded_own,
                command: recorded,
                erased,
            }) => {
                let is_same_key = recorded_own.as_ref() == own || {
                    let recorded_key = self.effective(index, recorded_own.as_ref());
                    self.is_key(&recorded_key, &self.effective(index, own))
                };
                let batch = self.batch;
                if is_same_key {
                    self.compare(index, own, command, (recorded, erased.as_deref()), batch);
                } else {
                    let key = self.effective(index, own);
                    self.conflict(index, &key, vec!["idempotency_key"], batch);
                }
                Ok(SlotPlan::Recorded(ItemId { batch, index }))
            }
            Some(RecordedItem::Ref { key, id }) => {
                if !self.is_key(key, &self.effective(index, own)) {
                    let key = self.effective(index, own);
                    self.conflict(index, &key, vec!["idempotency_key"], self.batch);
                    return Ok(SlotPlan::Recorded(*id));
                }
                match self.item(*id)? {
                    Some((_, recorded, erased)) => {
                        self.compare(
                            index,
                            own,
                            command,
                            (&recorded, erased.as_deref()),
                            id.batch,
                        );
                        Ok(SlotPlan::Recorded(*id))
                    }
                    None => self.unrecorded(index, own, command),
                }
            }
            None => self.unrecorded(index, own, command),
        }
    }

    /// A slot without a record in the batch; its key may be known elsewhere.
    fn unrecorded(
        &mut self,
        index: u32,
        own: Option<&Key>,
        command: &Command,
    ) -> Result<SlotPlan, StorageError> {
        let scope = &self.admission.scope;
        let known = match own {
            Some(key) => self.reader.resolve(scope, key)?,
            None => {
                let key = self.effective(index, None);
                self.reader.derived_own_key(scope, &key, self.own_keys)?
            }
        };
        let Some(id) = known else {
            return Ok(SlotPlan::New);
        };
        let key = self.effective(index, own);
        let Some((recorded_key, recorded, erased)) = self.item(id)? else {
            let what = format_args!("the index of key {key}");
            return Err(StorageError::damaged(
                what,
                format_args!("there is no item {id}"),
            ));
        };
        if !self.is_key(&recorded_key, &key) {
            let what = format_args!("the index of key {key}");
            return Err(StorageError::damaged(
                what,
                format_args!("{id} has key {recorded_key}"),
            ));
        }
        self.compare(
            index,
            own,
            command,
            (&recorded, erased.as_deref()),
            id.batch,
        );
        Ok(SlotPlan::Referred(id))
    }

    /// Whether a recorded key is the one that is sent, erased or not, or derived from one that was.
    fn is_key(&self, recorded: &Key, sent: &Key) -> bool {
        let scope = &self.admission.scope;
        recorded == sent
            || (is_erased(recorded.as_str())
                && (*recorded == erased_key(scope, sent, self.secret)
                    || sent.derived_from().is_some_and(|(of, index)| {
                        *recorded == erased_key(scope, &of, self.secret).derive(index)
                    })))
    }

    fn effective(&self, index: u32, own: Option<&Key>) -> Key {
        own.map_or_else(|| self.admission.key.derive(index), Key::clone)
    }

    fn compare(
        &mut self,
        index: u32,
        own: Option<&Key>,
        command: &Command,
        (recorded, erased): (&Command, Option<&str>),
        batch: BatchId,
    ) {
        let (is_same, fields) = match erased {
            // Nobody can say any more in what they differ.
            Some(_) => (command.digest(self.secret).as_deref() == erased, Vec::new()),
            None => {
                let fields = recorded.differing_fields(command, self.secret);
                (fields.is_empty(), fields)
            }
        };
        if !is_same {
            let key = self.effective(index, own);
            self.conflict(index, &key, fields, batch);
        }
    }

    fn conflict(&mut self, index: u32, key: &Key, fields: Vec<&'static str>, batch: BatchId) {
        self.conflicts.push(Conflict {
            index: Some(index),
            key: key.clone(),
            fields: fields.into_iter().map(str::to_owned).collect(),
            batch,
        });
    }

    /// The key and command of an item, if its batch is still there.
    #[expect(clippy::type_complexity, reason = "the parts of one record")]
    fn item(
        &mut self,
        id: ItemId,
    ) -> Result<Option<(Key, Arc<Command>, Option<String>)>, StorageError> {
        let header = match self.headers.entry(id.batch) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(self.reader.header(id.batch)?)
            }
        };
        let Some(header) = header else {
            return Ok(None);
        };
        let (group, at) = group_of(id.index);
        let items = match self.groups.entry((id.batch, group)) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(self.reader.group(id.batch, header, group)?)
            }
        };
        match items.get(at) {
            Some(Some(RecordedItem::Own {
                key,
                command,
                erased,
            })) => {
                let key = key.clone();
                let key = key.unwrap_or_else(|| header.key.derive(id.index));
                Ok(Some((key, Arc::clone(command), erased.clone())))
            }
            Some(Some(RecordedItem::Ref { .. }) | None) | None => Err(StorageError::damaged(
                format_args!("item {id}"),
                "keys lead to it, and it is not there",
            )),
        }
    }
}
