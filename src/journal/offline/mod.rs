//! The journal off line, for operators: whether all of it makes sense, what is in it, and all of
//! it as JSON Lines. Holds the journal's lock like a service does, and changes no record.

pub(super) mod consistency;
pub mod erase;

use std::{
    io::{self, Write},
    path::PathBuf,
};

use jiff::Timestamp;
use serde::Serialize;

use self::consistency::{Check, own_items};
use super::{
    Audited, Unavailable,
    directory::{JournalDir, OpenError, Purpose, damaged},
    error::StorageError,
    format::{
        key::{Span, StoreKey},
        record::{self, Header, RecordedItem},
    },
    read::{
        batch_log::{BatchHistory, Wanted},
        reader::{Reader, compose},
    },
    sled_journal::SledJournalOptions,
    store::{swap::Stores, table::Table},
};
use crate::{
    domain::{
        command::Command,
        ids::{BatchId, BatchName, ItemId},
        opaque::Names,
        outcome::Settled,
    },
    limits,
};

/// A journal that no service has open.
pub struct Offline {
    home: JournalDir,
    dir: PathBuf,
}

/// Why an operator's question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unavailable),
    /// The answer cannot be written.
    #[error("writing the answer: {0}")]
    Out(#[from] io::Error),
}

impl From<StorageError> for OfflineError {
    fn from(fault: StorageError) -> Self {
        Self::Unreadable(fault.into())
    }
}

/// What was counted, and how much of it makes no sense.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct JournalReport {
    /// The journal's name.
    pub journal: String,
    /// Keys in the store.
    pub entries: u64,
    /// Batches.
    pub batches: u64,
    /// Items.
    pub items: u64,
    /// Items that have not settled.
    pub open_items: u64,
    /// What makes no sense.
    pub problems: u64,
}

/// One item, as it is exported.
#[derive(Serialize)]
struct ItemLine<'a> {
    batch_id: BatchName,
    index: u32,
    kind: crate::domain::ids::Kind,
    caller: &'a str,
    idempotency_key: &'a str,
    request_key: &'a str,
    admitted_at: Timestamp,
    command: &'a Command,
    settled: Option<&'a Settled>,
}

/// One batch, as it is shown.
#[derive(Serialize)]
struct BatchLine<'a> {
    batch_id: BatchName,
    kind: crate::domain::ids::Kind,
    caller: &'a str,
    request_key: &'a str,
    admitted_at: Timestamp,
    items: u32,
    open_items: u32,
    stopped: bool,
}

#[derive(Serialize)]
struct ProblemLine<'a> {
    problem: &'a str,
}

impl Offline {
    /// Opens a journal that is there.
    ///
    /// # Errors
    /// Says what is wrong and what to do about it.
    pub fn open(options: &SledJournalOptions) -> Result<Self, OpenError> {
        let home = JournalDir::open(&options.dir, options.cache_bytes, Purpose::Look)?;
        let dir = options.dir.clone();
        Ok(Self { home, dir })
    }

    /// How far its audit had got when it was closed; `None` if it never had one.
    ///
    /// # Errors
    /// That record makes no sense.
    pub fn audited(&self) -> Result<Option<Audited>, OpenError> {
        let audited = Reader(&*self.home.store).audited();
        audited.map_err(damaged(&self.dir))
    }

    /// Reads everything and checks that it fits together. Writes a line for each problem, then
    /// the report.
    ///
    /// # Errors
    /// The store cannot be read, or `out` not written.
    pub fn verify(&self, out: &mut impl Write) -> Result<JournalReport, OfflineError> {
        let mut check = Check {
            reader: Reader(&*self.home.store),
            report: JournalReport {
                journal: self.home.meta.store.clone(),
                ..JournalReport::default()
            },
            problems: Vec::new(),
        };
        let commits = check.reader.number(&StoreKey::Commits)?.unwrap_or(0);
        if commits < self.home.acknowledged {
            check.problem(format!(
                "it ends with commit {commits}, and {} were acknowledged: its end is lost",
                self.home.acknowledged
            ));
        }
        for entry in check.reader.0.scan(Span::all()) {
            let (key, value) = entry?;
            check.entry(&key, &value);
            if let Some(StoreKey::Header(batch)) = StoreKey::decode(&key)
                && let Err(fault) = check.batch(batch)
            {
                check.problem(fault.to_string());
            }
            for problem in check.problems.drain(..) {
                write_line(out, &ProblemLine { problem: &problem })?;
            }
        }
        write_line(out, &check.report)?;
        Ok(check.report)
    }

    /// Writes a line for each item, oldest first. Goes on past batches that do not decode.
    ///
    /// # Errors
    /// Some of it could not be read, or `out` not written.
    pub fn export(&self, out: &mut impl Write) -> Result<(), OfflineError> {
        let (reader, names) = (Reader(&*self.home.store), self.home.meta.names());
        self.each_batch(|id, header| write_items(reader, &names, id, header, out))
    }

    /// Writes a line for each batch, oldest first; with `batch`, its line and one for each of its
    /// items and for each step of what happened to it.
    ///
    /// # Errors
    /// The store cannot be read, there is no such batch, or `out` cannot be written.
    pub fn inspect(
        &self,
        batch: Option<&BatchName>,
        out: &mut impl Write,
    ) -> Result<(), OfflineError> {
        let reader = Reader(&*self.home.store);
        let names = self.home.meta.names();
        let Some(asked) = batch else {
            return self.each_batch(|id, header| write_batch(reader, &names, id, header, out));
        };
        let id = names.any(asked);
        let header = reader.header(id)?;
        let header = header.ok_or_else(|| Unavailable(format!("there is no batch {asked}")))?;
        write_batch(reader, &names, id, &header, out)?;
        write_items(reader, &names, id, &header, out)?;
        BatchHistory::each_step(reader.0, id, |seq, body| {
            let step: record::Step<&serde_json::value::RawValue> =
                record::parse(body, format_args!("step {seq} of batch {id}"))?;
            Ok(write_line(out, &StepLine::of(names.of(id), seq, &step))?)
        })
    }

    fn each_batch(
        &self,
        mut each: impl FnMut(BatchId, &Header) -> Result<(), OfflineError>,
    ) -> Result<(), OfflineError> {
        let mut unreadable = Vec::new();
        for entry in self.home.store.scan(Span::headers()) {
            let (key, value) = entry?;
            let Some(StoreKey::Header(id)) = StoreKey::decode(&key) else {
                return Err(StorageError::damaged("a batch", "its key does not decode").into());
            };
            let header = record::read_whole(&value, format_args!("batch {id}"));
            match header
                .map_err(OfflineError::from)
                .and_then(|header| each(id, &header))
            {
                Err(OfflineError::Unreadable(why)) => unreadable.push(why),
                other => other?,
            }
        }
        match unreadable.first() {
            Some(first) => Err(OfflineError::Unreadable(Unavailable(format!(
                "{} batches could not be read, the first because {first}",
                unreadable.len()
            )))),
            None => Ok(()),
        }
    }
}

/// One step of what happened to a batch, as it is shown.
#[derive(Serialize)]
struct StepLine {
    batch_id: BatchName,
    step: u32,
    what: &'static str,
    at: Option<Timestamp>,
    indexes: Vec<u32>,
}

impl StepLine {
    fn of<S>(batch: BatchName, step: u32, what: &record::Step<S>) -> Self {
        let (what, at, indexes) = match what {
            record::Step::Settled { latest, items, .. } => (
                "settled",
                Some(*latest),
                items.iter().map(|(index, _)| *index).collect(),
            ),
            record::Step::Opened { at, indexes, .. } => ("opened", Some(*at), indexes.clone()),
            record::Step::Cleared { at, indexes, .. } => ("cleared", Some(at.at), all(indexes)),
            record::Step::Noted { items } => (
                "noted",
                None,
                items.iter().map(|(index, _)| *index).collect(),
            ),
            record::Step::Withdrawn { indexes, .. } => ("withdrawn", None, all(indexes)),
            record::Step::Stopped { at, indexes, .. } => {
                let indexes = indexes.as_ref().map(all).unwrap_or_default();
                ("stopped", Some(*at), indexes)
            }
        };
        Self {
            batch_id: batch,
            step,
            what,
            at,
            indexes,
        }
    }
}

/// The indexes of ranges, which may be damaged.
fn all(indexes: &record::Ranges) -> Vec<u32> {
    indexes.indexes().take(limits::BATCH_ITEMS_MAX).collect()
}

fn write_batch(
    reader: Reader<'_, Stores>,
    names: &Names,
    id: BatchId,
    header: &Header,
    out: &mut impl Write,
) -> Result<(), OfflineError> {
    let history = reader.history(id, header, |_| Wanted::Nothing)?;
    let items = reader.items(id, header)?;
    let open = own_items(&items).filter(|(index, ..)| !history.trace(*index).is_settled);
    let line = BatchLine {
        batch_id: names.of(id),
        kind: header.kind,
        caller: header.caller.as_str(),
        request_key: header.key.as_str(),
        admitted_at: header.admitted_at,
        items: header.total,
        open_items: u32::try_from(open.count()).unwrap_or(u32::MAX),
        stopped: history.is_stopped(),
    };
    Ok(write_line(out, &line)?)
}

fn write_items(
    reader: Reader<'_, Stores>,
    names: &Names,
    id: BatchId,
    header: &Header,
    out: &mut impl Write,
) -> Result<(), OfflineError> {
    let history = reader.history(id, header, |_| Wanted::Everything)?;
    for (index, item) in (0..).zip(reader.items(id, header)?) {
        let Some(RecordedItem::Own { key, command, .. }) = item else {
            continue;
        };
        let here = ItemId { batch: id, index };
        let record = compose(header, here, key, command, history.trace(index));
        let line = ItemLine {
            batch_id: names.of(id),
            index,
            kind: record.scope.kind,
            caller: record.scope.caller.as_str(),
            idempotency_key: record.key.as_str(),
            request_key: record.request_key.as_str(),
            admitted_at: record.admitted_at,
            command: &record.command,
            settled: record.settled.as_deref(),
        };
        write_line(out, &line)?;
    }
    Ok(())
}

/// A provider's answer is kept as it came, with its line breaks; inside of JSON's strings there
/// are none, so they may as well be spaces.
fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    for byte in &mut bytes {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    bytes.push(b'\n');
    out.write_all(&bytes)
}
