//! The keys of the store: typed, with a one-byte namespace and big-endian fields, so that their
//! order on disk is the order of what they mean. Knows no values.

#[cfg(test)]
mod tests;

use jiff::Timestamp;

use crate::domain::{
    ids::{AccountName, BatchId, CallerId, ItemId, Key, Kind, Scope},
    personal::erasure,
};

/// What an entry of the store is. The order of the variants is the order on disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::journal) enum StoreKey {
    /// What this store is.
    Meta,
    /// The lowest id that a new batch may have: purged ids are never given out again.
    BatchFloor,
    /// The number of commits.
    Commits,
    /// How far the audit has got.
    Audited,
    /// The number of commits when the audit was switched off.
    AuditOff,
    /// The last batch whose providers' answers were removed.
    AnswersRemoved,
    /// The last batch whose e-mail addresses were removed.
    EmailsRemoved,
    /// When a process began to work on this journal: they are counted from one.
    Life(u64),
    /// The key of its digests.
    Secret,
    /// The last batch whose callers' own words were removed.
    CommentsRemoved,
    /// Marks that something was taken out which may still be in the database's file.
    TakenOut,
    /// Marks that keys were erased, so that what a key means may be under its digest.
    Erased,
    /// A batch.
    Header(BatchId),
    /// The commands of [`crate::limits::RECORD_ITEMS`] neighbours in a batch.
    Items {
        batch: BatchId,
        group: u32,
        part: u16,
    },
    /// One step of what happened to a batch after its admission.
    Log { batch: BatchId, seq: u32, part: u16 },
    /// Hashes of the targets of a batch.
    Targets { batch: BatchId, part: u16 },
    /// Marks a batch that has open items.
    Open(BatchId),
    /// Marks a batch without open items, by the time its last item settled.
    Expiry { settled_us: i64, batch: BatchId },
    /// What the audit still has to tell, numbered in the order in which it happened.
    Trail(u64),
    /// What was learned of an account.
    Account(AccountName),
    /// Targets of an account with this hash on which a request may still act.
    Doubtful { account: AccountName, hash: u64 },
    /// Marks a batch that has settled and cannot be read.
    Quarantine(BatchId),
    /// Leads from a request's key to its batch.
    Request { scope: Scope, key: Key },
    /// Leads from an item's own key to the item.
    Item { scope: Scope, key: Key },
}

const META: u8 = 0x01;
const BATCH_FLOOR: u8 = 0x02;
const COMMITS: u8 = 0x03;
const AUDITED: u8 = 0x04;
const AUDIT_OFF: u8 = 0x05;
const ANSWERS_REMOVED: u8 = 0x06;
const EMAILS_REMOVED: u8 = 0x07;
const LIFE: u8 = 0x08;
const SECRET: u8 = 0x09;
const COMMENTS_REMOVED: u8 = 0x0a;
const TAKEN_OUT: u8 = 0x0b;
const ERASED: u8 = 0x0c;
const HEADER: u8 = 0x10;
const ITEMS: u8 = 0x11;
const LOG: u8 = 0x12;
const TARGETS: u8 = 0x13;
const OPEN: u8 = 0x20;
const EXPIRY: u8 = 0x21;
const TRAIL: u8 = 0x22;
const ACCOUNT: u8 = 0x23;
const DOUBTFUL: u8 = 0x24;
const QUARANTINE: u8 = 0x25;
const REQUEST: u8 = 0x30;
const ITEM: u8 = 0x31;

impl StoreKey {
    /// The bytes on disk.
    pub(in crate::journal) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Meta => vec![META],
            Self::BatchFloor => vec![BATCH_FLOOR],
            Self::Commits => vec![COMMITS],
            Self::Audited => vec![AUDITED],
            Self::AuditOff => vec![AUDIT_OFF],
            Self::AnswersRemoved => vec![ANSWERS_REMOVED],
            Self::EmailsRemoved => vec![EMAILS_REMOVED],
            Self::Life(number) => numbered(LIFE, *number),
            Self::Secret => vec![SECRET],
            Self::CommentsRemoved => vec![COMMENTS_REMOVED],
            Self::TakenOut => vec![TAKEN_OUT],
            Self::Erased => vec![ERASED],
            Self::Header(batch) => of_batch(HEADER, *batch),
            Self::Items { batch, group, part } => in_parts(ITEMS, *batch, *group, *part),
            Self::Log { batch, seq, part } => in_parts(LOG, *batch, *seq, *part),
            Self::Targets { batch, part } => {
                let mut bytes = of_batch(TARGETS, *batch);
                bytes.extend(part.to_be_bytes());
                bytes
            }
            Self::Open(batch) => of_batch(OPEN, *batch),
            Self::Expiry { settled_us, batch } => {
                let mut bytes = vec![EXPIRY];
                bytes.extend((settled_us.cast_unsigned() ^ SIGN).to_be_bytes());
                bytes.extend(batch.0.to_be_bytes());
                bytes
            }
            Self::Trail(number) => numbered(TRAIL, *number),
            Self::Account(account) => {
                let mut bytes = vec![ACCOUNT];
                bytes.extend(account.as_str().as_bytes());
                bytes
            }
            Self::Doubtful { account, hash } => {
                let mut bytes = vec![DOUBTFUL];
                bytes.extend(account.as_str().as_bytes());
                // An account's name has no control characters, so a zero byte ends it.
                bytes.push(0);
                bytes.extend(hash.to_be_bytes());
                bytes
            }
            Self::Quarantine(batch) => of_batch(QUARANTINE, *batch),
            Self::Request { scope, key } => request(scope, key),
            Self::Item { scope, key } => item(scope, key),
        }
    }

    /// Reads a key back; `None` if it is none of ours.
    pub(in crate::journal) fn decode(bytes: &[u8]) -> Option<Self> {
        let (namespace, rest) = bytes.split_first()?;
        let (key, rest) = match *namespace {
            META => (Self::Meta, rest),
            BATCH_FLOOR => (Self::BatchFloor, rest),
            COMMITS => (Self::Commits, rest),
            AUDITED => (Self::Audited, rest),
            AUDIT_OFF => (Self::AuditOff, rest),
            ANSWERS_REMOVED => (Self::AnswersRemoved, rest),
            EMAILS_REMOVED => (Self::EmailsRemoved, rest),
            SECRET => (Self::Secret, rest),
            COMMENTS_REMOVED => (Self::CommentsRemoved, rest),
            TAKEN_OUT => (Self::TakenOut, rest),
            ERASED => (Self::Erased, rest),
            LIFE => number_in(rest).map(|(number, rest)| (Self::Life(number), rest))?,
            HEADER => batch_in(rest).map(|(batch, rest)| (Self::Header(batch), rest))?,
            ITEMS => {
                let (batch, group, part, rest) = parted_in(rest)?;
                (Self::Items { batch, group, part }, rest)
            }
            LOG => {
                let (batch, seq, part, rest) = parted_in(rest)?;
                (Self::Log { batch, seq, part }, rest)
            }
            TARGETS => {
                let (batch, rest) = batch_in(rest)?;
                let (part, rest) = rest.split_first_chunk()?;
                let part = u16::from_be_bytes(*part);
                (Self::Targets { batch, part }, rest)
            }
            OPEN => batch_in(rest).map(|(batch, rest)| (Self::Open(batch), rest))?,
            EXPIRY => {
                let (settled, rest) = rest.split_first_chunk()?;
                let settled_us = (u64::from_be_bytes(*settled) ^ SIGN).cast_signed();
                let (batch, rest) = batch_in(rest)?;
                (Self::Expiry { settled_us, batch }, rest)
            }
            TRAIL => number_in(rest).map(|(number, rest)| (Self::Trail(number), rest))?,
            ACCOUNT => return account_in(rest).map(Self::Account),
            DOUBTFUL => {
                let end = rest.iter().position(|byte| *byte == 0)?;
                let (account, rest) = rest.split_at_checked(end)?;
                let account = account_in(account)?;
                let (hash, rest) = number_in(rest.get(1..)?)?;
                (Self::Doubtful { account, hash }, rest)
            }
            QUARANTINE => batch_in(rest).map(|(batch, rest)| (Self::Quarantine(batch), rest))?,
            REQUEST => {
                let (scope, key) = scoped_in(rest)?;
                return Some(Self::Request { scope, key });
            }
            ITEM => {
                let (scope, key) = scoped_in(rest)?;
                return Some(Self::Item { scope, key });
            }
            _ => return None,
        };
        rest.is_empty().then_some(key)
    }
}

/// Turns the order of signed numbers into that of unsigned ones.
const SIGN: u64 = 1 << 63;

fn of_batch(namespace: u8, batch: BatchId) -> Vec<u8> {
    numbered(namespace, batch.0)
}

fn numbered(namespace: u8, number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(15);
    bytes.push(namespace);
    bytes.extend(number.to_be_bytes());
    bytes
}

fn in_parts(namespace: u8, batch: BatchId, number: u32, part: u16) -> Vec<u8> {
    let mut bytes = of_batch(namespace, batch);
    bytes.extend(number.to_be_bytes());
    bytes.extend(part.to_be_bytes());
    bytes
}

/// A caller's name has no control characters, so a zero byte ends it.
fn scoped(namespace: u8, scope: &Scope, key: &str) -> Vec<u8> {
    let caller = scope.caller.as_str();
    let mut bytes = Vec::with_capacity(caller.len() + key.len() + 3);
    bytes.push(namespace);
    bytes.extend(caller.as_bytes());
    bytes.push(0);
    bytes.push(match scope.kind {
        Kind::Subscription => 1,
        Kind::Enrollments => 2,
    });
    bytes.extend(key.as_bytes());
    bytes
}

/// As [`StoreKey::Request`], without the clones.
pub(in crate::journal) fn request(scope: &Scope, key: &Key) -> Vec<u8> {
    scoped(REQUEST, scope, key.as_str())
}

/// As [`StoreKey::Item`], without the clones.
pub(in crate::journal) fn item(scope: &Scope, key: &Key) -> Vec<u8> {
    scoped(ITEM, scope, key.as_str())
}

/// As [`StoreKey::Expiry`], from a time.
pub(in crate::journal) fn expiry(batch: BatchId, settled_at: Timestamp) -> Vec<u8> {
    let settled_us = settled_at.as_microsecond();
    StoreKey::Expiry { settled_us, batch }.encode()
}

fn batch_in(bytes: &[u8]) -> Option<(BatchId, &[u8])> {
    number_in(bytes).map(|(number, rest)| (BatchId(number), rest))
}

fn number_in(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

fn account_in(bytes: &[u8]) -> Option<AccountName> {
    AccountName::try_from(std::str::from_utf8(bytes).ok()?).ok()
}

fn parted_in(bytes: &[u8]) -> Option<(BatchId, u32, u16, &[u8])> {
    let (batch, rest) = batch_in(bytes)?;
    let (number, rest) = rest.split_first_chunk()?;
    let (part, rest) = rest.split_first_chunk()?;
    let number = u32::from_be_bytes(*number);
    Some((batch, number, u16::from_be_bytes(*part), rest))
}

fn scoped_in(bytes: &[u8]) -> Option<(Scope, Key)> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let (caller, rest) = bytes.split_at_checked(end)?;
    let (kind, key) = rest.get(1..)?.split_first()?;
    let kind = match *kind {
        1 => Kind::Subscription,
        2 => Kind::Enrollments,
        _ => return None,
    };
    let caller = CallerId::try_from(std::str::from_utf8(caller).ok()?).ok()?;
    let key = Key::try_from(std::str::from_utf8(key).ok()?).ok()?;
    Some((Scope { caller, kind }, key))
}

/// A range of encoded keys, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::journal) struct Span {
    pub(in crate::journal) from: Vec<u8>,
    pub(in crate::journal) to: Vec<u8>,
}

impl Span {
    /// All keys that begin like this.
    fn of(prefix: Vec<u8>) -> Self {
        // The namespaces are below 0xff, so there is always a byte to raise.
        let mut to = prefix.clone();
        while let Some(last) = to.pop() {
            if let Some(raised) = last.checked_add(1) {
                to.push(raised);
                break;
            }
        }
        Self { from: prefix, to }
    }

    /// Everything that is ours.
    pub(in crate::journal) fn all() -> Self {
        Self {
            from: Vec::new(),
            to: vec![0xff],
        }
    }

    /// Everything after a key.
    pub(in crate::journal) fn after(key: &[u8]) -> Self {
        let mut from = key.to_vec();
        if !from.is_empty() {
            from.push(0);
        }
        Self {
            from,
            ..Self::all()
        }
    }

    /// All processes that are known to have begun.
    pub(in crate::journal) fn lives() -> Self {
        Self::of(vec![LIFE])
    }

    /// What was learned of all accounts.
    pub(in crate::journal) fn accounts() -> Self {
        Self::of(vec![ACCOUNT])
    }

    /// All targets on which a request may still act.
    pub(in crate::journal) fn doubtful() -> Self {
        Self::of(vec![DOUBTFUL])
    }

    /// All batches.
    pub(in crate::journal) fn headers() -> Self {
        Self::of(vec![HEADER])
    }

    /// All batches before this one.
    pub(in crate::journal) fn headers_below(batch: BatchId) -> Self {
        Self {
            from: vec![HEADER],
            to: of_batch(HEADER, batch),
        }
    }

    /// All items of a batch.
    pub(in crate::journal) fn items(batch: BatchId) -> Self {
        Self::of(of_batch(ITEMS, batch))
    }

    /// One group of a batch's items.
    pub(in crate::journal) fn item_group(batch: BatchId, group: u32) -> Self {
        let mut prefix = of_batch(ITEMS, batch);
        prefix.extend(group.to_be_bytes());
        Self::of(prefix)
    }

    /// What happened to a batch.
    pub(in crate::journal) fn log(batch: BatchId) -> Self {
        Self::of(of_batch(LOG, batch))
    }

    /// One step of a batch's log.
    pub(in crate::journal) fn log_step(batch: BatchId, seq: u32) -> Self {
        let mut prefix = of_batch(LOG, batch);
        prefix.extend(seq.to_be_bytes());
        Self::of(prefix)
    }

    /// What the audit still has to tell, after this entry.
    pub(in crate::journal) fn trail_after(number: u64) -> Self {
        Self {
            from: StoreKey::Trail(number.saturating_add(1)).encode(),
            to: vec![TRAIL + 1],
        }
    }

    /// The target hashes of a batch.
    pub(in crate::journal) fn targets(batch: BatchId) -> Self {
        Self::of(of_batch(TARGETS, batch))
    }

    /// The target hashes of all batches before this one.
    pub(in crate::journal) fn targets_below(batch: BatchId) -> Self {
        Self {
            from: vec![TARGETS],
            to: of_batch(TARGETS, batch),
        }
    }

    /// All batches with open items.
    pub(in crate::journal) fn open() -> Self {
        Self::of(vec![OPEN])
    }

    /// All batches that are put aside.
    pub(in crate::journal) fn quarantine() -> Self {
        Self::of(vec![QUARANTINE])
    }

    /// All batches that settled before this time.
    pub(in crate::journal) fn expired(before_us: i64) -> Self {
        Self {
            from: vec![EXPIRY],
            to: StoreKey::Expiry {
                settled_us: before_us,
                batch: BatchId(0),
            }
            .encode(),
        }
    }

    /// The same, after this key of one of them.
    pub(in crate::journal) fn expired_after(after: Option<&[u8]>, before_us: i64) -> Self {
        let span = Self::expired(before_us);
        let from = after.map_or(span.from, |after| Self::after(after).from);
        // What was removed up to is later than this once a retention was made longer.
        let to = span.to.max(from.clone());
        Self { from, to }
    }

    /// All items' own keys that were erased; and others that begin so.
    pub(in crate::journal) fn erased_items(scope: &Scope) -> Self {
        Self::of(scoped(ITEM, scope, erasure::ERASED))
    }

    /// All items' own keys that could be mistaken for one derived from this request's key.
    pub(in crate::journal) fn like_derived(scope: &Scope, request_key: &Key) -> Self {
        let mut prefix = item(scope, request_key);
        prefix.push(b'/');
        Self::of(prefix)
    }
}

/// The value of [`StoreKey::Item`] without its version byte.
pub(in crate::journal) fn item_id_bytes(id: ItemId) -> [u8; 12] {
    let mut bytes = [0; 12];
    let (batch, index) = bytes.split_at_mut(8);
    batch.copy_from_slice(&id.batch.0.to_be_bytes());
    index.copy_from_slice(&id.index.to_be_bytes());
    bytes
}

/// Reads [`item_id_bytes`] back.
pub(in crate::journal) fn item_id_in(bytes: &[u8]) -> Option<ItemId> {
    let (batch, rest) = batch_in(bytes)?;
    let index = u32::from_be_bytes(rest.try_into().ok()?);
    Some(ItemId { batch, index })
}
