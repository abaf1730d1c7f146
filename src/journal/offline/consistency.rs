//! Whether the entries of a store fit together.

use std::collections::HashSet;

use super::JournalReport;
use crate::{
    domain::{
        command::Command,
        doubt::{AccountState, Moment},
        ids::{AccountName, BatchId, ItemId, Key},
        personal::digests::DigestKey,
    },
    journal::{
        DoubtfulTarget,
        error::StorageError,
        format::{
            key::{self, Span, StoreKey},
            record::{self, Header, RecordedItem},
        },
        outbox,
        read::{
            batch_log::{BatchHistory, Wanted},
            reader::{Items, Reader},
        },
        store::{swap::Stores, table::Table},
        write::redaction,
    },
    limits,
};

/// A verification under way.
pub(in crate::journal) struct Check<'a> {
    pub(in crate::journal) reader: Reader<'a, Stores>,
    pub(in crate::journal) report: JournalReport,
    pub(in crate::journal) problems: Vec<String>,
}

impl Check<'_> {
    pub(in crate::journal) fn problem(&mut self, problem: String) {
        self.report.problems += 1;
        self.problems.push(problem);
    }

    /// Checks an entry by itself, and that what it belongs to is there.
    pub(in crate::journal) fn entry(&mut self, key: &[u8], value: &[u8]) {
        self.report.entries += 1;
        if value.len() > limits::STORE_VALUE_BYTES_MAX {
            self.problem(format!("a value has {} bytes", value.len()));
        }
        let Some(key) = StoreKey::decode(key) else {
            self.problem(format!("a key does not decode: {}", key.escape_ascii()));
            return;
        };
        let reader = self.reader;
        let problem = match &key {
            // What the journal is was read when it was opened; batches have their own check.
            StoreKey::Meta | StoreKey::Header(_) => None,
            StoreKey::BatchFloor | StoreKey::Commits | StoreKey::AuditOff => {
                record::number_in(value).err()
            }
            StoreKey::Audited => reader.audited().err().map(|fault| fault.to_string()),
            StoreKey::Trail(_) => self.trail(value).err(),
            StoreKey::AnswersRemoved | StoreKey::EmailsRemoved | StoreKey::CommentsRemoved => {
                redaction::cursor_in(value).err()
            }
            StoreKey::Secret => {
                record::read_whole::<DigestKey>(value, "it").map_or_else(told, |_| None)
            }
            StoreKey::Life(_) => {
                record::read_whole::<Moment>(value, "it").map_or_else(told, |_| None)
            }
            StoreKey::Account(_) => {
                record::read_whole::<AccountState>(value, "it").map_or_else(told, |_| None)
            }
            // The batch's own check tells.
            StoreKey::Quarantine(_) | StoreKey::TakenOut | StoreKey::Erased => {
                record::check_marker(value).err()
            }
            StoreKey::Doubtful { account, hash } => doubtful(value, account, *hash).err(),
            StoreKey::Items { batch, .. }
            | StoreKey::Log { batch, .. }
            | StoreKey::Targets { batch, .. } => match reader.header(*batch) {
                Ok(Some(_)) => None,
                Ok(None) => Some(format!("there is no batch {batch}")),
                // The batch's own check tells.
                Err(_) => None,
            },
            StoreKey::Open(batch) | StoreKey::Expiry { batch, .. } => {
                match (record::check_marker(value), reader.header(*batch)) {
                    (Err(why), _) => Some(why),
                    (Ok(()), Ok(None)) => Some(format!("there is no batch {batch}")),
                    (Ok(()), Ok(Some(_)) | Err(_)) => None,
                }
            }
            StoreKey::Request { scope, key } => match reader.request(scope, key) {
                Ok(Some(batch)) => match reader.header(batch) {
                    Ok(Some(header)) if header.scope() == *scope && header.key == *key => None,
                    Ok(_) => Some(format!("batch {batch} is not its batch")),
                    // The batch's own check tells.
                    Err(_) => None,
                },
                Ok(None) => None,
                Err(fault) => Some(fault.to_string()),
            },
            StoreKey::Item { scope, key } => match reader.own_key(scope, key) {
                Ok(Some(id)) => match reader.record(id) {
                    Ok(Some(record)) if record.scope == *scope && record.key == *key => None,
                    Ok(_) => Some(format!("{id} is not its item")),
                    // The batch's own check tells.
                    Err(_) => None,
                },
                Ok(None) => None,
                Err(fault) => Some(fault.to_string()),
            },
        };
        if let Some(problem) = problem {
            self.problem(format!("{key:?}: {problem}"));
        }
    }

    /// Checks that what an entry of the trail names is there.
    fn trail(&self, value: &[u8]) -> Result<(), String> {
        for mark in outbox::marks_in(value)? {
            let (batch, step) = match mark.of {
                outbox::EventKind::Admission(batch) => (batch, None),
                outbox::EventKind::Step(batch, step) => (batch, Some(step)),
                outbox::EventKind::Off(_) => continue,
            };
            if let Ok(None) = self.reader.header(batch) {
                return Err(format!("there is no batch {batch}"));
            }
            if let Some(step) = step
                && self
                    .reader
                    .0
                    .scan(Span::log_step(batch, step))
                    .next()
                    .is_none()
            {
                return Err(format!("batch {batch} has no step {step}"));
            }
        }
        Ok(())
    }

    /// Checks a batch with all that belongs to it.
    pub(in crate::journal) fn batch(&mut self, id: BatchId) -> Result<(), StorageError> {
        self.report.batches += 1;
        let reader = self.reader;
        let header = reader.header(id)?;
        let header =
            header.ok_or_else(|| StorageError::damaged(id, "it is gone while it is read"))?;
        let scope = header.scope();
        let items = reader.items(id, &header)?;
        let history = reader.history(id, &header, |_| Wanted::Everything)?;
        let own: Vec<_> = own_items(&items).collect();
        let refs = items
            .iter()
            .filter(|item| matches!(item, Some(RecordedItem::Ref { .. })))
            .count();
        if u32::try_from(own.len()) != Ok(header.own) || u32::try_from(refs) != Ok(header.refs) {
            self.problem(format!(
                "batch {id}: it has other items than its header says"
            ));
        }
        if reader.request(&scope, &header.key)? != Some(id) {
            self.problem(format!("batch {id}: its key does not lead to it"));
        }

        let indexes: HashSet<u32> = own.iter().map(|(index, ..)| *index).collect();
        let is_log_of_others = (0..header.total)
            .any(|index| !indexes.contains(&index) && !history.trace(index).is_untouched());
        if is_log_of_others {
            self.problem(format!(
                "batch {id}: it has outcomes of items that it does not own"
            ));
        }
        let mut open = 0_u64;
        for (index, key, command) in &own {
            open += u64::from(!history.trace(*index).is_settled);
            let here = ItemId {
                batch: id,
                index: *index,
            };
            if let Some(key) = key
                && reader.own_key(&scope, key)? != Some(here)
            {
                self.problem(format!("item {here}: its key {key} does not lead to it"));
            }
            if command.kind() != header.kind {
                self.problem(format!("item {here}: it is of another RPC than its batch"));
            }
        }
        self.report.items += u64::try_from(own.len()).unwrap_or(u64::MAX);
        self.report.open_items += open;
        self.targets(id, own.iter().map(|(_, _, command)| *command))?;
        self.markers(id, &header, &history, open > 0)
    }

    fn targets<'a>(
        &mut self,
        id: BatchId,
        commands: impl Iterator<Item = &'a Command>,
    ) -> Result<(), StorageError> {
        let parts = self.reader.0.scan(Span::targets(id));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let mut is_complete = true;
        for target in commands.flat_map(Command::target_ids) {
            let hash = record::target_hash(target.as_str());
            is_complete &= parts
                .iter()
                .any(|(_, value)| record::has_hash(value, hash).unwrap_or(false));
        }
        if !is_complete {
            self.problem(format!("batch {id}: targets are missing in its index"));
        }
        Ok(())
    }

    fn markers(
        &mut self,
        id: BatchId,
        header: &Header,
        history: &BatchHistory,
        is_open: bool,
    ) -> Result<(), StorageError> {
        let is_marked_open = self.reader.0.get(&StoreKey::Open(id).encode())?.is_some();
        let expiry = key::expiry(id, history.latest_since(header));
        let expires = self.reader.0.get(&expiry)?.is_some();
        if is_marked_open != is_open || expires == is_open {
            self.problem(format!(
                "batch {id}: it is {}, marked as {}, and {}",
                if is_open { "open" } else { "settled" },
                if is_marked_open { "open" } else { "settled" },
                if expires { "expires" } else { "never expires" },
            ));
        }
        Ok(())
    }
}

/// The items of a batch that are its own, with their indexes.
pub(in crate::journal) fn own_items(
    items: &Items,
) -> impl Iterator<Item = (u32, Option<&Key>, &Command)> {
    (0..).zip(items).filter_map(|(index, item)| match item {
        Some(RecordedItem::Own { key, command, .. }) => Some((index, key.as_ref(), &**command)),
        Some(RecordedItem::Ref { .. }) | None => None,
    })
}

fn told(fault: StorageError) -> Option<String> {
    Some(fault.to_string())
}

/// Checks that targets on which a request may still act are where they are looked for.
fn doubtful(value: &[u8], account: &AccountName, hash: u64) -> Result<(), String> {
    let targets: Vec<DoubtfulTarget> =
        record::read_whole(value, "it").map_err(|fault| fault.to_string())?;
    let is_here = |of: &DoubtfulTarget| {
        of.account == *account && record::target_hash(of.target.as_str()) == hash
    };
    if targets.iter().all(is_here) {
        Ok(())
    } else {
        Err("it has targets that belong elsewhere".to_owned())
    }
}
