//! Folds a batch's log: what happened to its items after the admission.

mod sending;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::possible_sends::{self, AdmittedAt, Permission, PossibleSends};
use crate::{
    domain::{doubt::Doubt, ids::BatchId, outcome::Settled},
    journal::{
        error::StorageError,
        format::{
            key::{Span, StoreKey},
            record::{self, Cleared, Header, Joiner, Step},
        },
        store::table::Table,
    },
};

/// Which part of an item's outcome to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::journal) enum Wanted {
    /// Only whether there is one.
    Nothing,
    /// The outcome without the provider's response.
    Outcome,
    /// The whole outcome.
    Everything,
}

impl Wanted {
    /// The whole outcome of some items, and only whether there is one of the others.
    pub(in crate::journal) fn only(wanted: bool) -> Self {
        if wanted {
            Self::Everything
        } else {
            Self::Nothing
        }
    }
}

/// The folded log of a batch.
#[derive(Debug)]
pub(in crate::journal) struct BatchHistory {
    traces: Vec<Trace>,
    /// The sequence number of the next step.
    pub(in crate::journal) next_seq: u32,
    /// The latest settlement, or the latest minimum retention of one.
    latest: Option<Timestamp>,
    admission: AdmittedAt,
    /// Clearances after the admission, in order.
    permissions: Vec<Permission>,
    stopped_seq: Option<u32>,
    opened_seq: Option<u32>,
}

/// What happened to a slot; the default if nothing did.
#[derive(Debug, Clone, Default)]
pub(in crate::journal) struct Trace {
    /// The item has settled and was not reopened since.
    pub(in crate::journal) is_settled: bool,
    /// Its last outcome, if decoded.
    pub(in crate::journal) settled: Option<Arc<Settled>>,
    /// When it was last opened after the batch's admission.
    pub(in crate::journal) opened: Option<Reopened>,
    /// When it was admitted to a slot that had been vacant.
    pub(in crate::journal) admitted_at: Option<Timestamp>,
    /// Whether it may have been sent since it was opened.
    sent: PossibleSends,
    /// The last note about it since it settled.
    noted: Option<Arc<Doubt>>,
}

/// When an item was reopened, or admitted to a vacant slot.
#[derive(Debug, Clone, Copy)]
pub(in crate::journal) struct Reopened {
    seq: u32,
    pub(in crate::journal) retry_until: Timestamp,
}

impl Trace {
    /// Whether nothing has happened to the slot.
    pub(in crate::journal) fn is_untouched(&self) -> bool {
        !self.is_settled
            && self.opened.is_none()
            && self.sent == PossibleSends::AsAdmitted
            && self.noted.is_none()
    }
}

impl BatchHistory {
    /// Reads and folds the log of a batch. Outcomes are decoded only as wanted.
    pub(in crate::journal) fn read(
        table: &impl Table,
        batch: BatchId,
        header: &Header,
        wanted: impl Fn(u32) -> Wanted,
    ) -> Result<Self, StorageError> {
        let mut history = Self {
            traces: Vec::new(),
            next_seq: 0,
            latest: None,
            admission: AdmittedAt::of(header),
            permissions: Vec::new(),
            stopped_seq: None,
            opened_seq: None,
        };
        let what = format_args!("the log of batch {batch}");
        Self::each_step(table, batch, |seq, body| {
            let step = record::parse(body, what)?;
            if history.traces.is_empty() {
                history
                    .traces
                    .resize_with(size(header.total)?, Trace::default);
            }
            history
                .apply(seq, step, &wanted)
                .map_err(|why| StorageError::damaged(what, why))
        })?;
        Ok(history)
    }

    /// Reads the steps of a log in order, with their sequence numbers.
    pub(in crate::journal) fn each_step<E: From<StorageError>>(
        table: &impl Table,
        batch: BatchId,
        mut each: impl FnMut(u32, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let damaged =
            |why: &str| StorageError::damaged(format_args!("the log of batch {batch}"), why);
        let mut span = Span::log(batch);
        // The log only grows, and every step is written atomically. So everything up to the current
        // last key reads without gaps, whatever is written meanwhile. The exception is a step that
        // is just being replaced by a shorter one: that is an error here, and the next read
        // succeeds.
        let Some(last) = table.scan(span.clone()).next_back() else {
            return Ok(());
        };
        span.to = last?.0.as_ref().to_vec();
        span.to.push(0);
        let mut joiner = Joiner::default();
        let mut next = 0_u32;
        for entry in table.scan(span) {
            let (key, value) = entry?;
            let Some(StoreKey::Log { seq, part, .. }) = StoreKey::decode(key.as_ref()) else {
                return Err(damaged("it has a key that does not decode").into());
            };
            if seq != next {
                return Err(damaged(&format!("step {seq} follows where {next} should")).into());
            }
            if let Some(body) = joiner
                .add(part, value.as_ref())
                .map_err(|why| damaged(&why))?
            {
                table.unpacked(body.len());
                each(seq, &body)?;
                next = seq.saturating_add(1);
            }
        }
        if joiner.is_empty() {
            Ok(())
        } else {
            Err(damaged("its last step is not whole").into())
        }
    }

    fn apply(
        &mut self,
        seq: u32,
        step: Step<&RawValue>,
        wanted: &impl Fn(u32) -> Wanted,
    ) -> Result<(), String> {
        self.next_seq = seq.checked_add(1).ok_or("it has too many steps")?;
        match step {
            Step::Settled {
                latest,
                kept,
                items,
            } => {
                self.latest = self.latest.max(Some(latest)).max(kept);
                for (index, settled) in items {
                    let trace = self.trace_mut(index)?;
                    if trace.is_settled {
                        return Err(format!("item {index} settled twice"));
                    }
                    trace.is_settled = true;
                    (trace.sent, trace.noted) = (PossibleSends::Not, None);
                    let wanted = wanted(index);
                    if wanted != Wanted::Nothing {
                        let mut settled: Settled = serde_json::from_str(settled.get())
                            .map_err(|error| format!("item {index} does not decode ({error})"))?;
                        if wanted == Wanted::Outcome {
                            settled.conclusion.answer = None;
                            settled.conclusion.answer_headers.clear();
                        }
                        trace.settled = Some(Arc::new(settled));
                    }
                }
            }
            Step::Opened {
                at,
                retry_until,
                indexes,
                cleared,
                ..
            } => {
                self.opened_seq = Some(seq);
                let given = self.give(possible_sends::permission(at, cleared.as_ref()))?;
                let is_cleared = |index| {
                    let cleared = cleared.as_ref();
                    cleared.is_none_or(|Cleared { indexes, .. }| indexes.contains(index))
                };
                for index in indexes {
                    let trace = self.trace_mut(index)?;
                    if !trace.is_settled {
                        // An item that had not settled was not reopened: its slot was vacant
                        // before.
                        trace.admitted_at = Some(at);
                    }
                    trace.is_settled = false;
                    trace.opened = Some(Reopened { seq, retry_until });
                    trace.sent = if is_cleared(index) {
                        PossibleSends::since(given)
                    } else {
                        PossibleSends::Not
                    };
                }
            }
            Step::Cleared { at, life, indexes } => {
                self.clear(Permission { at, life }, &indexes)?;
            }
            Step::Noted { items } => {
                for (index, doubt) in items {
                    let trace = self.trace_mut(index)?;
                    (trace.sent, trace.noted) = (PossibleSends::Not, Some(Arc::new(doubt)));
                }
            }
            Step::Withdrawn { life, indexes } => self.withdraw(life, &indexes)?,
            Step::Stopped { .. } => self.stopped_seq = Some(seq),
        }
        Ok(())
    }

    fn trace_mut(&mut self, index: u32) -> Result<&mut Trace, String> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.traces.get_mut(index))
            .ok_or_else(|| format!("there is no item {index}"))
    }

    fn trace_ref(&self, index: u32) -> Result<&Trace, String> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.traces.get(index))
            .ok_or_else(|| format!("there is no item {index}"))
    }

    /// What happened to a slot.
    pub(in crate::journal) fn trace(&self, index: u32) -> Trace {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.traces.get(index))
            .cloned()
            .unwrap_or_default()
    }

    /// The latest time in the batch's records. Retention starts here when nothing of it is open.
    pub(in crate::journal) fn latest_since(&self, header: &Header) -> Timestamp {
        let latest = self.latest.unwrap_or(header.admitted_at);
        latest.max(header.admitted_at)
    }

    /// Whether a stop of the batch applies to this item: the item was not opened later.
    pub(in crate::journal) fn is_item_stopped(&self, trace: &Trace) -> bool {
        self.stopped_seq > trace.opened.map(|opened| opened.seq)
    }

    /// Whether the batch was stopped and nothing of it was opened since.
    pub(in crate::journal) fn is_stopped(&self) -> bool {
        self.stopped_seq > self.opened_seq
    }
}

/// The number of slots as a length, if it is within the limit.
pub(in crate::journal) fn size(total: u32) -> Result<usize, StorageError> {
    usize::try_from(total)
        .ok()
        .filter(|total| *total <= crate::limits::BATCH_ITEMS_MAX)
        .ok_or_else(|| StorageError::damaged("a batch", format!("it has {total} items")))
}
