//! The values of the store: a format version, then JSON with short stable names. Readers take
//! every version they know and refuse the others; a field may be added with a default, never
//! renamed. Knows no keys and no store.

mod chunks;
mod index_entry;
mod ranges;
#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::journal) use self::chunks::sealed;
pub use self::ranges::Ranges;
pub(in crate::journal) use self::{
    chunks::{Joiner, check_format, split},
    index_entry::{
        check_marker, has_hash, item_id, item_id_in, marker, number, number_in, pack_hashes,
        target_hash,
    },
};

use std::{fmt::Display, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    domain::{
        access::provenance::Provenance,
        command::Command,
        doubt::{Boot, Doubt, Moment},
        ids::{BatchId, CallerId, ItemId, Key, Kind, Scope},
        opaque::{KEY_BYTES, Names},
        personal::digests::DigestKey,
    },
    journal::error::StorageError,
};

/// The version that is written. Version 2 says which items may be sent; in version 1 all could be
/// as soon as they were admitted. Version 3 has a key for its digests, which earlier ones could not
/// compare with what is sent again. A journal is raised to it before anything is written in it, so
/// that programs which do not know it refuse the journal.
pub(in crate::journal) const FORMAT: u8 = 3;
/// The versions that are read.
pub(in crate::journal) const FORMATS_READ: [u8; 3] = [1, 2, 3];

const _: () = {
    let mut readable = false;
    let mut at = 0;
    #[expect(clippy::indexing_slicing, reason = "const, and below the length")]
    while at < FORMATS_READ.len() {
        readable |= FORMATS_READ[at] == FORMAT;
        at += 1;
    }
    assert!(readable, "what is written has to be readable");
};

/// What this store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::journal) struct Meta {
    /// Its name, to tell it from others.
    #[serde(rename = "s")]
    pub(in crate::journal) store: String,
    /// When it was made.
    #[serde(rename = "c")]
    pub(in crate::journal) created: Timestamp,
    /// What its batches are named by. Journals that were made without get it when they are opened
    /// to be worked on.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub(in crate::journal) naming: Option<Naming>,
}

/// What batches are named by. It is a part of what the journal is, so it goes wherever that goes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::journal) struct Naming {
    /// The key. Whoever has it can tell the numbers of batches from their names, and no more.
    #[serde(rename = "k")]
    key: [u8; KEY_BYTES],
    /// The first batch whose name is not its number.
    #[serde(rename = "f")]
    first: u64,
}

impl std::fmt::Debug for Naming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Naming")
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}

impl Naming {
    /// A new key, for batches from this one on.
    pub(in crate::journal) fn make(first: BatchId) -> Result<Self, StorageError> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| {
            StorageError::Misused(format!("the system gives no random key: {error}"))
        })?;
        let first = first.0;
        Ok(Self { key, first })
    }
}

impl Meta {
    /// The names of its batches.
    pub(in crate::journal) fn names(&self) -> Arc<Names> {
        Arc::new(match &self.naming {
            Some(naming) => Names::new(naming.key, BatchId(naming.first)),
            None => Names::plain(),
        })
    }
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::journal) struct Header {
    #[serde(rename = "c")]
    pub(in crate::journal) caller: CallerId,
    #[serde(rename = "k")]
    pub(in crate::journal) kind: Kind,
    /// The request's key.
    #[serde(rename = "r")]
    pub(in crate::journal) key: Key,
    #[serde(rename = "a")]
    pub(in crate::journal) admitted_at: Timestamp,
    #[serde(rename = "u")]
    pub(in crate::journal) retry_until: Timestamp,
    /// Slots.
    #[serde(rename = "n")]
    pub(in crate::journal) total: u32,
    /// Slots that hold an item of this batch.
    #[serde(rename = "o")]
    pub(in crate::journal) own: u32,
    /// Slots that lead to an item of another batch.
    #[serde(rename = "f", default)]
    pub(in crate::journal) refs: u32,
    /// Of the last request that wrote to this batch: see [`crate::journal::write::encoded`].
    #[serde(rename = "p")]
    pub(in crate::journal) fingerprint: String,
    /// Which of its items could be sent from its admission on. `None` in format 1: all of them.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub(in crate::journal) cleared: Option<Cleared>,
    /// How the request that made it came; versions that do not know it pass it by.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub(in crate::journal) from: Option<Box<Provenance>>,
}

/// Items that may be sent from the write on that opens them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::journal) struct Cleared {
    /// The number of the process that may send them, counted from one; 0 for one that did not
    /// say that it began.
    #[serde(rename = "n")]
    pub(in crate::journal) life: u64,
    /// When, by the clock of the boot.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub(in crate::journal) boot: Option<Boot>,
    #[serde(rename = "i")]
    pub(in crate::journal) indexes: Ranges,
}

/// Begins a fingerprint that is keyed, since what it is of was taken out.
const SEALED: &str = "hmac:";

impl Header {
    /// Keys the fingerprint, by which what was taken out could be tried out otherwise; whether it
    /// was not keyed yet.
    pub(in crate::journal) fn seal(&mut self, secret: &DigestKey) -> bool {
        let is_open = !self.is_sealed();
        if is_open {
            self.fingerprint = sealed_fingerprint(&self.fingerprint, secret);
        }
        is_open
    }

    /// Whether the fingerprint is keyed.
    pub(in crate::journal) fn is_sealed(&self) -> bool {
        self.fingerprint.starts_with(SEALED)
    }

    /// Whether the last request that wrote to it had this fingerprint.
    pub(in crate::journal) fn has_fingerprint<E>(
        &self,
        fingerprint: &str,
        secret: impl FnOnce() -> Result<DigestKey, E>,
    ) -> Result<bool, E> {
        if self.is_sealed() {
            return Ok(self.fingerprint == sealed_fingerprint(fingerprint, &secret()?));
        }
        Ok(self.fingerprint == fingerprint)
    }

    pub(in crate::journal) fn scope(&self) -> Scope {
        Scope {
            caller: self.caller.clone(),
            kind: self.kind,
        }
    }
}

fn sealed_fingerprint(fingerprint: &str, secret: &DigestKey) -> String {
    format!("{SEALED}{}", secret.digest("fingerprint", &[fingerprint]))
}

/// What a slot holds; a vacant one holds `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::journal) enum RecordedItem {
    /// An item of this batch.
    #[serde(rename = "o")]
    Own {
        /// Its own key; `None` for the derived one.
        #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
        key: Option<Key>,
        #[serde(rename = "c")]
        command: Arc<Command>,
        /// Something of the command was erased; this is the digest of all of it.
        #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
        erased: Option<String>,
    },
    /// An item that was known when this batch was admitted.
    #[serde(rename = "r")]
    Ref {
        #[serde(rename = "k")]
        key: Key,
        #[serde(rename = "i")]
        id: ItemId,
    },
}

/// One step of what happened to a batch after its admission. `S` is a settled outcome, either
/// as such or as text not yet looked into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::journal) enum Step<S> {
    /// Items settled.
    #[serde(rename = "s")]
    Settled {
        /// The latest time among them.
        #[serde(rename = "t")]
        latest: Timestamp,
        /// Until when the batch is kept at least, whatever retention says: a request of one of
        /// them may still act.
        #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
        kept: Option<Timestamp>,
        /// Index and outcome of each.
        #[serde(rename = "i")]
        items: Vec<(u32, S)>,
    },
    /// Items were taken up again, or came to slots that had been vacant.
    #[serde(rename = "o")]
    Opened {
        #[serde(rename = "a")]
        at: Timestamp,
        #[serde(rename = "u")]
        retry_until: Timestamp,
        #[serde(rename = "i")]
        indexes: Vec<u32>,
        /// Which of them could be sent at once. `None` in format 1: all of them.
        #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
        cleared: Option<Cleared>,
        /// How the request that did it came, as [`Header::from`].
        #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
        from: Option<Box<Provenance>>,
    },
    /// Open items may be sent.
    #[serde(rename = "c")]
    Cleared {
        #[serde(rename = "a")]
        at: Moment,
        /// As [`Cleared::life`].
        #[serde(rename = "n")]
        life: u64,
        #[serde(rename = "i")]
        indexes: Ranges,
    },
    /// Open items are not sent any more, unless they are cleared anew. What is not known of them
    /// is known to be this.
    #[serde(rename = "d")]
    Noted {
        #[serde(rename = "i")]
        items: Vec<(u32, Doubt)>,
    },
    /// Open items were not sent by the process that writes this, and are not, unless they are
    /// cleared anew.
    #[serde(rename = "w")]
    Withdrawn {
        /// As [`Cleared::life`].
        #[serde(rename = "n")]
        life: u64,
        #[serde(rename = "i")]
        indexes: Ranges,
    },
    /// The batch was stopped.
    #[serde(rename = "x")]
    Stopped {
        #[serde(rename = "a")]
        at: Timestamp,
        /// Who stopped it; older records do not say.
        #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
        by: Option<CallerId>,
        /// How that was asked for, as [`Header::from`].
        #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
        from: Option<Box<Provenance>>,
        /// What was open of it; older records do not say.
        #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
        indexes: Option<Ranges>,
    },
}

/// The JSON of a record.
pub(in crate::journal) fn body(record: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    serde_json::to_vec(record).map_err(|error| {
        StorageError::Misused(format!("a record cannot be written as JSON: {error}"))
    })
}

/// The only value of a record that always fits into one.
pub(in crate::journal) fn whole(record: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    let body = body(record)?;
    let mut parts = split(&body)?;
    match (parts.next(), parts.next()) {
        (Some((_, value)), None) => Ok(value),
        _ => Err(StorageError::Misused(format!(
            "a record of {} bytes does not fit into a value",
            body.len()
        ))),
    }
}

/// Reads what [`whole`] wrote.
pub(in crate::journal) fn read_whole<T: DeserializeOwned>(
    value: &[u8],
    what: impl Display,
) -> Result<T, StorageError> {
    let mut joiner = Joiner::default();
    match joiner.add(0, value) {
        Ok(Some(body)) => parse(&body, what),
        Ok(None) => Err(StorageError::damaged(what, "it is not whole")),
        Err(why) => Err(StorageError::damaged(what, why)),
    }
}

/// Reads the JSON of a record.
pub(in crate::journal) fn parse<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    what: impl Display,
) -> Result<T, StorageError> {
    serde_json::from_slice(body)
        .map_err(|error| StorageError::damaged(what, format!("it does not decode ({error})")))
}
