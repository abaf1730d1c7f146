//! Requests encoded for the writer thread: all that needs only the request is computed on the
//! caller's side.

use std::{borrow::Cow, sync::Arc};

use jiff::Timestamp;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::redaction::Removal;
use crate::{
    domain::{
        doubt::AccountState,
        ids::{AccountName, ItemId},
    },
    journal::{
        Admission, Clearance, DoubtfulTarget, Group, Note, Settlement, Slot,
        error::StorageError,
        format::record::{self, RecordedItem},
        outbox::settlement::AuditedOutcome,
        read::possible_sends,
    },
    limits,
};

/// Which parts of outcomes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredFields {
    /// Providers' responses.
    pub answers: bool,
    /// E-mail addresses.
    pub emails: bool,
    /// What callers wrote in their own words.
    pub comments: bool,
}

impl StoredFields {
    /// What is taken out of commands as soon as their items have their final outcomes.
    pub(in crate::journal) fn removals(self) -> impl Iterator<Item = Removal> {
        let emails = (!self.emails).then_some(Removal::Emails);
        let comments = (!self.comments).then_some(Removal::Comments);
        emails.into_iter().chain(comments)
    }
}

impl Default for StoredFields {
    fn default() -> Self {
        Self {
            answers: true,
            emails: true,
            comments: true,
        }
    }
}

/// A group with its outcomes as JSON.
#[derive(Debug)]
pub(in crate::journal) struct EncodedGroup {
    pub(in crate::journal) settlements: Vec<EncodedSettlement>,
    pub(in crate::journal) clearances: Vec<Clearance>,
    pub(in crate::journal) notes: Vec<Note>,
    pub(in crate::journal) accounts: Vec<(AccountName, AccountState)>,
    pub(in crate::journal) targets: Vec<DoubtfulTarget>,
    pub(in crate::journal) keep: StoredFields,
}

impl EncodedGroup {
    pub(in crate::journal) fn new(group: Group, keep: StoredFields) -> Result<Self, StorageError> {
        let settlements = group.settlements.iter();
        let settlements = settlements.map(|settlement| EncodedSettlement::new(settlement, keep));
        Ok(Self {
            settlements: settlements.collect::<Result<_, _>>()?,
            clearances: group.clearances,
            notes: group.notes,
            accounts: group.accounts,
            targets: group.targets,
            keep,
        })
    }
}

/// A settlement with its outcome as JSON.
#[derive(Debug)]
pub(in crate::journal) struct EncodedSettlement {
    pub(in crate::journal) id: ItemId,
    pub(in crate::journal) settled_at: Timestamp,
    /// Minimum retention, whatever the settings say.
    pub(in crate::journal) kept: Option<Timestamp>,
    /// Whether nothing takes it up again.
    pub(in crate::journal) is_final: bool,
    pub(in crate::journal) json: Box<RawValue>,
    /// What the audit records of it.
    pub(in crate::journal) ended: Arc<AuditedOutcome>,
}

impl EncodedSettlement {
    fn new(settlement: &Settlement, keep: StoredFields) -> Result<Self, StorageError> {
        let mut settled = Cow::Borrowed(&*settlement.settled);
        if !keep.answers && settled.conclusion.answer.is_some() {
            settled.to_mut().conclusion.remove_answer();
        }
        if !keep.emails {
            settled.to_mut().conclusion.remove_emails();
        }
        if !keep.comments {
            settled.to_mut().conclusion.remove_comments();
        }
        let json = serde_json::value::to_raw_value(&*settled);
        Ok(Self {
            id: settlement.id,
            settled_at: settlement.settled.settled_at,
            is_final: settled.conclusion.is_final(),
            kept: possible_sends::kept(&settlement.settled),
            ended: Arc::new(AuditedOutcome::from(&*settled)),
            json: json.map_err(|error| {
                StorageError::Misused(format!("an outcome cannot be written as JSON: {error}"))
            })?,
        })
    }
}

/// An admission with all that can be computed without the store.
#[derive(Debug)]
pub(in crate::journal) struct EncodedAdmission {
    pub(in crate::journal) admission: Admission,
    /// The bodies of the item groups, for a new batch with new items only.
    pub(in crate::journal) groups: Vec<Vec<u8>>,
    /// SHA-256 over those bodies, in hex: equal requests have equal fingerprints. It depends on the
    /// record format, so different fingerprints prove nothing.
    pub(in crate::journal) fingerprint: String,
}

impl EncodedAdmission {
    pub(in crate::journal) fn new(admission: Admission) -> Result<Self, StorageError> {
        let mut hasher = Sha256::new();
        let mut groups = Vec::new();
        for slots in admission.slots.chunks(limits::RECORD_ITEMS) {
            let items: Vec<Option<RecordedItem>> = slots.iter().map(Slot::as_own).collect();
            let body = record::body(&items)?;
            hasher.update(&body);
            groups.push(body);
        }
        let fingerprint = hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self {
            admission,
            groups,
            fingerprint,
        })
    }
}

impl Slot {
    /// The record of the slot if it is new.
    pub(in crate::journal) fn as_own(&self) -> Option<RecordedItem> {
        match self {
            Self::Vacant => None,
            Self::Item { key, command } => Some(RecordedItem::Own {
                key: key.clone(),
                command: Arc::clone(command),
                erased: None,
            }),
        }
    }
}
