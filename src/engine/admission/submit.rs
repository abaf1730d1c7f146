//! Admits a parsed request: reserves capacity, writes the admission, and starts its items.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use tracing::Instrument as _;

use super::{
    room::Capacity,
    submission::{Submission, SubmitError},
};
use crate::{
    domain::{
        doubt::Moment,
        ids::{AccountName, BatchId},
    },
    engine::{
        Engine,
        lane::work_item,
        results::{feed::Feed, watch::Subscription},
    },
    journal::{Admission, AdmitError, Admitted, AdmittedItem, Slot, Unavailable},
    providers::Mode,
    shared_budget::Reservation,
};

/// An admitted request.
#[derive(Debug)]
pub struct Ticket {
    /// The batch; `None` if all items are dry runs.
    pub batch: Option<BatchId>,
    /// Updates of the items.
    pub feed: Arc<Feed>,
    /// Ends the feed's subscriptions when the stream ends.
    _watching: Subscription,
    /// Reservations for the results that the stream may buffer, in items and bytes.
    _held: [Reservation; 2],
}

impl Engine {
    /// Admits a request and starts its new items. Once called it runs to its end, even if the
    /// caller stops waiting.
    ///
    /// # Errors
    /// See [`SubmitError`]. Nothing was sent. Nothing was admitted, unless the journal failed
    /// during the write.
    pub async fn submit(self: &Arc<Self>, submission: Submission) -> Result<Ticket, SubmitError> {
        let engine = Arc::clone(self);
        let work = async move { engine.take_on(submission).await };
        let work = self.shared.overseer.watched("admission", work);
        let ended = tokio::spawn(work.in_current_span()).await.ok().flatten();
        ended
            .unwrap_or_else(|| Err(Unavailable("the engine failed".to_owned()).into()))
            .inspect_err(|error| self.refusals.inc(error.refusal()))
    }

    async fn take_on(&self, submission: Submission) -> Result<Ticket, SubmitError> {
        if self.draining.load(Ordering::Acquire) {
            return Err(SubmitError::Draining);
        }
        let count = submission.items.len();
        let caller = &submission.scope.caller;
        let weights = submission
            .items
            .iter()
            .map(|i| work_item::weight(&i.command));
        let bytes: usize = weights.sum();
        // More than the caller can ever have, so waiting would not help.
        if bytes > self.results_bytes_held.most(caller) {
            return Err(SubmitError::Oversized(format!("{bytes} bytes of memory")));
        }
        let shares = (
            self.results_held.take(caller, count),
            self.results_bytes_held.take(caller, bytes),
        );
        let (Ok(held), Ok(bytes_held)) = shares else {
            // Room for results is short: the stream that has gone unread longest is evicted, for
            // the next request.
            self.readers.make_room();
            return Err(SubmitError::Full(
                "too many results of this caller wait for their readers".to_owned(),
            ));
        };
        let (mut room, may_open) = self.room_for(&submission)?;
        // Held until the items are queued: see `Engine::entering`.
        let entering = self.entering.read().await;
        let at = self.shared.clock.moment();
        let retry_until = self.retry_until(at.at, submission.retry_window);
        let clear = self.reserve_clearances(&submission);
        let asked = SubmittedRequest {
            at,
            retry_until,
            clear: clear.clone(),
            may_open,
        };
        let admitted = self.admit(&submission, asked, &mut room).await;
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                self.unreserve_clearances(clear);
                return Err(error);
            }
        };
        // The journal may clear fewer items than were reserved, for example if some are settled
        // already.
        self.unreserve_clearances(unused(clear, &submission, admitted.as_ref()));
        if admitted.as_ref().is_some_and(meets_others) {
            // Outcomes recorded before this admission are published before its items are
            // registered. Otherwise the old outcome of a reopened item would be taken for the new
            // one. If that fails, the journal has failed, and the feed ends.
            let _ = self.flush().await;
        }
        let feed = self.shared.live.feed(count);
        if let Some(hangup) = &submission.hangup {
            self.readers.enter(&feed, hangup.clone());
        }
        let batch = admitted.as_ref().map(|admitted| admitted.batch);
        let times = (at, retry_until);
        let (watching, unknown) = self.start_items(&submission, admitted, &feed, room, times);
        drop(entering);
        self.catch_up(unknown, &feed).await;
        Ok(Ticket {
            batch,
            feed,
            _watching: watching,
            _held: [held, bytes_held],
        })
    }

    /// Reserves clearances for the admission, per account: they are written in the same commit.
    fn reserve_clearances(&self, submission: &Submission) -> BTreeMap<AccountName, usize> {
        let mut wanted = BTreeMap::<AccountName, usize>::new();
        let items = submission.items.iter();
        for item in items.filter(|item| item.mode == Mode::Cancel) {
            match wanted.get_mut(item.command.account()) {
                Some(count) => *count += 1,
                None => drop(wanted.insert(item.command.account().clone(), 1)),
            }
        }
        for (account, count) in &mut wanted {
            let lane = self.lanes.get(account);
            *count = lane.map_or(0, |lane| lane.reserve_clearances(*count));
        }
        wanted.retain(|_, count| *count > 0);
        wanted
    }

    fn unreserve_clearances(&self, unused: BTreeMap<AccountName, usize>) {
        for (account, count) in unused {
            if let Some(lane) = self.lanes.get(&account) {
                lane.unreserve_clearances(count);
            }
        }
    }

    /// Admits the items that are not dry runs; `None` if all are. Reserves more capacity if
    /// reopened items need it.
    async fn admit(
        &self,
        submission: &Submission,
        asked: SubmittedRequest,
        room: &mut Capacity,
    ) -> Result<Option<Admitted>, SubmitError> {
        let SubmittedRequest {
            at: Moment { at, boot },
            retry_until,
            clear,
            may_open,
        } = asked;
        let slots: Vec<Slot> = submission
            .items
            .iter()
            .map(|item| match item.mode {
                Mode::DryRun => Slot::Vacant,
                Mode::Cancel => Slot::Item {
                    key: item.key.clone(),
                    command: Arc::clone(&item.command),
                },
            })
            .collect();
        // Dry runs are not recorded, so the journal has nothing to admit.
        if slots.iter().all(|slot| matches!(slot, Slot::Vacant)) {
            return Ok(None);
        }
        let mut admission = Admission {
            scope: submission.scope.clone(),
            key: submission.key.clone(),
            slots,
            from: submission.from.provenance().cloned(),
            at,
            boot,
            clear,
            retry_until,
            with_answers: submission.with_answers,
            quota: submission.quota.clone(),
            may_open,
            overfull: self.audit.check(&submission.scope.caller).err(),
        };
        let mut answer = self.journal.admit(admission.clone()).await;
        // Nothing was admitted: these items would be opened without capacity. Once it is reserved,
        // the admission is tried again.
        if let Err(AdmitError::Unreserved(opens)) = answer {
            room.opened.join(self.room_to_open(submission, &opens)?);
            admission.may_open = Some(opens);
            answer = self.journal.admit(admission).await;
        }
        match answer {
            Ok(admitted) => Ok(Some(admitted)),
            Err(AdmitError::Conflict(conflicts)) => Err(SubmitError::Conflict(conflicts)),
            Err(AdmitError::Unavailable(unavailable)) => {
                self.journal_refused();
                Err(unavailable.into())
            }
            Err(AdmitError::NoRoom(no_room)) => Err(no_room.into()),
            Err(AdmitError::OverQuota(exhausted)) => Err(exhausted.into()),
            Err(AdmitError::Behind(behind)) => Err(behind.into()),
            Err(AdmitError::Overfull(overfull)) => Err(overfull.into()),
            Err(AdmitError::Damaged(why)) => Err(SubmitError::Damaged(why)),
            // More items settled in between without a final outcome, so these would be reopened as
            // well. A third try could race in the same way.
            Err(AdmitError::Unreserved(_)) => Err(SubmitError::Full(
                "more of it has to be opened again than there was room for".to_owned(),
            )),
        }
    }

    fn retry_until(&self, at: Timestamp, window: Option<Duration>) -> Timestamp {
        at.checked_add(window.unwrap_or(self.retry_window))
            .unwrap_or(Timestamp::MAX)
    }
}

/// What an admission needs beside its items.
struct SubmittedRequest {
    at: Moment,
    retry_until: Timestamp,
    clear: BTreeMap<AccountName, usize>,
    may_open: Option<BTreeSet<u32>>,
}

/// The reserved clearances that an admission did not use.
fn unused(
    mut reserved: BTreeMap<AccountName, usize>,
    submission: &Submission,
    admitted: Option<&Admitted>,
) -> BTreeMap<AccountName, usize> {
    let items = admitted.map(|admitted| admitted.items.as_slice());
    for (item, fate) in submission.items.iter().zip(items.unwrap_or_default()) {
        if matches!(fate, AdmittedItem::Opened { cleared: true, .. })
            && let Some(left) = reserved.get_mut(item.command.account())
        {
            *left = left.saturating_sub(1);
        }
    }
    reserved.retain(|_, count| *count > 0);
    reserved
}

/// Whether items of this request are, or were, part of other requests.
fn meets_others(admitted: &Admitted) -> bool {
    admitted.items.iter().any(|item| match item {
        AdmittedItem::Running { .. } => true,
        AdmittedItem::Opened { previous, .. } => previous.is_some(),
        AdmittedItem::Vacant | AdmittedItem::Settled { .. } => false,
    })
}
