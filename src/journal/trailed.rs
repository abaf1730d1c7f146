//! The trail, read: what each of its entries names, with all that an audit has to say of it, from
//! the records themselves.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Pending, Unavailable,
    fault::Fault,
    history::{History, Wanted},
    keys::Span,
    reader::{Items, Reader, first_of, group_of, groups},
    record::{self, Header, Item, Step},
    table::Table,
    trail::{Audited, Of, entry_in},
};
use crate::domain::{
    command::Command,
    ids::{BatchId, CallerId, Key, Scope},
    outcome::{FailureReason, Outcome, Reached},
};

/// What an audit asks of a journal.
pub trait Trail: std::fmt::Debug + Send + Sync {
    /// The journal's name, which no other one has.
    fn journal(&self) -> String;

    /// The last entry that is durable. Entries are numbered without gaps, for good.
    fn end(&self) -> u64;

    /// How far the audit has got; `None` if the journal never had one.
    fn audited(&self) -> Result<Option<Audited>, Unavailable>;

    /// Entries after this one, at most so many. Reads the disk.
    fn read(&self, after: u64, entries_max: usize) -> Result<Vec<Trailed>, Unavailable>;

    /// Says that the audit has got so far, durably. It is recorded with a later write, and what
    /// the audit has is forgotten then.
    fn note(&self, audited: Audited);

    /// Whether what was noted last is not yet recorded.
    fn is_noted(&self) -> bool;

    /// As [`Self::note`], and is recorded when it resolves.
    fn record(&self, audited: Audited) -> Pending<Result<(), Unavailable>>;
}

/// An entry of the trail.
#[derive(Debug, Clone)]
pub struct Trailed {
    /// Its number.
    pub number: u64,
    /// What happened, in order. It is the same whenever it is read.
    pub happened: Vec<Happened>,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Happened {
    /// To items of a batch.
    ToItems {
        /// Whose it is.
        scope: Scope,
        /// Which.
        batch: BatchId,
        /// What, item by item.
        items: Vec<(Subject, What)>,
    },
    /// A batch was stopped.
    Stopped {
        /// Whose it is.
        scope: Scope,
        /// Which.
        batch: BatchId,
        /// When.
        at: Timestamp,
        /// By whom, if that is recorded.
        by: Option<CallerId>,
    },
    /// The records of a batch cannot be read.
    Unreadable {
        /// Which.
        batch: BatchId,
        /// Why.
        why: String,
    },
    /// What came after so many commits is not in the trail: it was switched off.
    Off {
        /// So many.
        commits: u64,
    },
}

/// An item.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its place in its batch.
    pub index: u32,
    /// Its key: its own or the derived one.
    pub key: Key,
    /// What is to be done.
    pub command: Arc<Command>,
}

/// What happened to an item.
#[derive(Debug, Clone)]
pub enum What {
    /// It was admitted.
    Admitted(Timestamp),
    /// It was taken up again.
    Opened(Timestamp),
    /// It settled.
    Settled(Box<Ended>),
}

/// How an item ended: what an audit keeps of its outcome.
#[derive(Debug, Clone, Deserialize)]
pub struct Ended {
    /// What the provider concluded.
    pub conclusion: Concluded,
    /// HTTP requests that may have reached the provider.
    pub attempts: u32,
    /// When.
    pub settled_at: Timestamp,
}

/// The same of a conclusion.
#[derive(Debug, Clone, Deserialize)]
pub struct Concluded {
    /// How it ended.
    pub outcome: Outcome,
    /// What is known of the target.
    pub detail: Known,
    /// Why there is no success.
    #[serde(default)]
    pub failure: Option<Failed>,
    /// The outcome was learned by a look.
    #[serde(default)]
    pub confirmed_by_lookup: bool,
}

/// The same of a failure.
#[derive(Debug, Clone, Deserialize)]
pub struct Failed {
    /// A stable word.
    pub reason: FailureReason,
    /// Whether a request may have reached the provider.
    pub reached: Reached,
    /// What the provider said.
    #[serde(default)]
    pub provider: Option<Said>,
}

/// The same of a provider's error.
#[derive(Debug, Clone, Deserialize)]
pub struct Said {
    /// Its HTTP status.
    pub http_status: u16,
    /// Its own error code.
    #[serde(default)]
    pub code: Option<String>,
}

/// The same of what is known of a target.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// Of a subscription.
    Subscription {
        /// When it ended or will end.
        #[serde(default)]
        effective_at: Option<Timestamp>,
        /// The subscription as last described.
        #[serde(default)]
        state: Option<KnownState>,
    },
    /// Of a sequence's enrollments.
    Enrollments {
        /// Matches when the first call was made.
        matched: u64,
        /// Ended so far.
        canceled: u64,
        /// Still matching.
        remaining: u64,
    },
}

/// The same of a subscription's state.
#[derive(Debug, Clone, Deserialize)]
pub struct KnownState {
    /// The provider's id of the cancellation.
    #[serde(default)]
    pub cancellation_id: Option<String>,
}

/// Batches and groups of items that were read and are likely to be asked for again: an item is
/// admitted and settles soon after, among its neighbours.
#[derive(Debug, Default)]
pub(super) struct Cache {
    headers: HashMap<BatchId, Header>,
    groups: HashMap<(BatchId, u32), Items>,
}

/// Times that a read is begun again that found what was half changed under its eyes.
const READS_MAX: usize = 5;
/// Batches that are kept.
const HEADERS_MAX: usize = 1_024;
/// Groups that are kept: some 10 MB.
const GROUPS_MAX: usize = 2_048;

/// Reads entries after this one and up to that one.
pub(super) fn read<T: Table>(
    reader: Reader<'_, T>,
    cache: &mut Cache,
    (after, upto): (u64, u64),
    entries_max: usize,
) -> Result<Vec<Trailed>, Fault> {
    let mut trailed = Vec::new();
    for entry in reader.0.scan(Span::trail_after(after)) {
        let (number, marks) = entry_in(entry?)?;
        if number > upto || trailed.len() >= entries_max {
            break;
        }
        let mut happened = Vec::with_capacity(marks.len());
        for mark in marks {
            happened.push(cache.tell(reader, mark.of)?);
        }
        trailed.push(Trailed { number, happened });
    }
    Ok(trailed)
}

impl Cache {
    fn tell<T: Table>(&mut self, reader: Reader<'_, T>, of: Of) -> Result<Happened, Fault> {
        let mut reads = 1;
        loop {
            let (batch, told) = match of {
                Of::Admission(batch) => (batch, self.admission(reader, batch)),
                Of::Step(batch, step) => (batch, self.step(reader, batch, step)),
                Of::Off(commits) => return Ok(Happened::Off { commits }),
            };
            match told {
                // Several looks are no snapshot; damage is there every time.
                Err(Fault::Damaged(_)) if reads < READS_MAX => reads += 1,
                // It stays so, and all that comes after can still be told.
                Err(Fault::Damaged(why)) => return Ok(Happened::Unreadable { batch, why }),
                told => return told,
            }
        }
    }

    fn admission<T: Table>(
        &mut self,
        reader: Reader<'_, T>,
        batch: BatchId,
    ) -> Result<Happened, Fault> {
        let header = self.header(reader, batch)?;
        // The log after the slots: one that is filled in between is then seen vacant, or with the
        // step that filled it. The other way round it would be told here and by that step.
        let read: Result<Vec<_>, Fault> = (0..groups(header.total))
            .map(|group| Ok((group, reader.group(batch, &header, group)?)))
            .collect();
        let read = read?;
        let history = reader.history(batch, &header, |_| Wanted::Nothing)?;
        let mut items = Vec::new();
        for (group, read) in read {
            let first = first_of(group);
            for (index, item) in (first..).zip(&read) {
                // What came to a vacant slot later was admitted by that step.
                if history.trace(index).admitted_at.is_none()
                    && let Some(Item::Own { .. }) = item
                {
                    let what = What::Admitted(header.admitted_at);
                    items.push((subject(batch, &header, index, item.as_ref())?, what));
                }
            }
            self.keep((batch, group), read);
        }
        let scope = header.scope();
        Ok(Happened::ToItems {
            scope,
            batch,
            items,
        })
    }

    fn step<T: Table>(
        &mut self,
        reader: Reader<'_, T>,
        batch: BatchId,
        step: u32,
    ) -> Result<Happened, Fault> {
        let header = self.header(reader, batch)?;
        let scope = header.scope();
        let (at, indexes) = match reader.step::<Step<Ended>>(batch, step)? {
            Step::Stopped { at, by } => {
                return Ok(Happened::Stopped {
                    scope,
                    batch,
                    at,
                    by,
                });
            }
            Step::Settled { items, .. } => {
                let mut settled = Vec::with_capacity(items.len());
                for (index, ended) in items {
                    let subject = self.subject(reader, batch, &header, index)?;
                    settled.push((subject, What::Settled(Box::new(ended))));
                }
                return Ok(Happened::ToItems {
                    scope,
                    batch,
                    items: settled,
                });
            }
            Step::Opened { at, indexes, .. } => (at, indexes),
        };
        let known = settled_before(reader, batch, step)?;
        let mut items = Vec::with_capacity(indexes.len());
        for index in indexes {
            let what = if known.contains(&index) {
                What::Opened(at)
            } else {
                What::Admitted(at)
            };
            items.push((self.subject(reader, batch, &header, index)?, what));
        }
        Ok(Happened::ToItems {
            scope,
            batch,
            items,
        })
    }

    fn header<T: Table>(&mut self, reader: Reader<'_, T>, batch: BatchId) -> Result<Header, Fault> {
        if let Some(header) = self.headers.get(&batch) {
            return Ok(header.clone());
        }
        let header = reader.header(batch)?;
        let header = header.ok_or_else(|| Fault::damaged(batch, "it is gone"))?;
        if self.headers.len() >= HEADERS_MAX {
            self.headers.clear();
        }
        self.headers.insert(batch, header.clone());
        Ok(header)
    }

    fn subject<T: Table>(
        &mut self,
        reader: Reader<'_, T>,
        batch: BatchId,
        header: &Header,
        index: u32,
    ) -> Result<Subject, Fault> {
        let (group, at) = group_of(index);
        if let Some(items) = self.groups.get(&(batch, group))
            && let Some(Some(item @ Item::Own { .. })) = items.get(at)
        {
            return subject(batch, header, index, Some(item));
        }
        // Vacant when it was read, perhaps, and not any more.
        let header = reader.header(batch)?;
        let header = header.ok_or_else(|| Fault::damaged(batch, "it is gone"))?;
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

fn subject(
    batch: BatchId,
    header: &Header,
    index: u32,
    item: Option<&Item>,
) -> Result<Subject, Fault> {
    match item {
        Some(Item::Own { key, command }) => Ok(Subject {
            index,
            key: key.clone().unwrap_or_else(|| header.key.derive(index)),
            command: Arc::clone(command),
        }),
        Some(Item::Ref { .. }) | None => Err(Fault::damaged(
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
) -> Result<HashSet<u32>, Fault> {
    let mut settled = HashSet::new();
    History::each_step(reader.0, batch, |seq, body| {
        if seq < before
            && let Step::Settled { items, .. } =
                record::parse::<Step<&RawValue>>(body, format_args!("step {seq} of batch {batch}"))?
        {
            settled.extend(items.iter().map(|(index, _)| *index));
        }
        Ok::<_, Fault>(())
    })?;
    Ok(settled)
}
