//! Starts the items of an admitted request: queues new ones, subscribes to running ones, and
//! replays settled ones.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::AtomicBool},
};

use jiff::Timestamp;

use super::{
    room::{Capacity, CapacityPart},
    submission::{Submission, SubmittedItem},
};
use crate::{
    domain::{
        access::hourly_quota::Reserved,
        doubt::Moment,
        ids::{AccountName, BatchId, ItemId},
        outcome::Settled,
    },
    engine::{
        Engine, blocking,
        lane::{
            belief::LookPlan,
            work_item::{self, Clearance, Origin, WorkItem},
            work_item_start::WorkItemStart,
        },
        results::{
            feed::{Feed, StreamClosed, Update},
            watch::{IndexMap, Joined, Subscription},
        },
    },
    journal::{Admitted, AdmittedItem, ReadLimits},
};

impl Engine {
    /// Starts opened items and dry runs, and pushes replayed outcomes to the feed. Returns the
    /// feed's subscriptions, and the items that [`Engine::catch_up`] has to read from the journal.
    pub(in crate::engine) fn start_items(
        &self,
        submission: &Submission,
        admitted: Option<Admitted>,
        feed: &Arc<Feed>,
        mut room: Capacity,
        (admitted_at, retry_until): (Moment, Timestamp),
    ) -> (Subscription, Joined) {
        let batch = admitted
            .as_ref()
            .map_or(BatchId(0), |admitted| admitted.batch);
        let fates = admitted.map_or_else(
            || vec![AdmittedItem::Vacant; submission.items.len()],
            |a| a.items,
        );
        let mut start = ItemsToStart::default();
        for (place, (item, fate)) in (0..).zip(submission.items.iter().zip(fates)) {
            match fate {
                AdmittedItem::Vacant => start.planned.push((place, item)),
                AdmittedItem::Opened {
                    id,
                    previous,
                    cleared,
                } => start.opened.push((place, id, previous, cleared)),
                AdmittedItem::Running { id } => start.joined.push((id, place)),
                AdmittedItem::Settled { settled, .. } => {
                    start.told.push((
                        place,
                        Update::Settled {
                            settled,
                            replayed: true,
                        },
                    ));
                }
            }
        }
        feed.push(std::mem::take(&mut start.told));
        let mut watching = Subscription::new(&self.shared.live, feed);
        let unknown = watching.join(&start.joined);
        let stops = self.watch(&start, submission.items.len(), batch, &mut watching);
        let mut lanes: BTreeMap<(AccountName, BatchId), Vec<WorkItem>> = BTreeMap::new();
        let mut line_up = |item: &SubmittedItem, run: WorkItem| {
            lanes
                .entry((item.command.account().clone(), run.batch))
                .or_default()
                .push(run);
        };
        let new_run = |item: &SubmittedItem, place, origin, batch, room: &mut CapacityPart| {
            WorkItem::from(WorkItemStart {
                origin,
                from: submission.from.clone(),
                scope: &submission.scope,
                key: &item.key_at(&submission.key, place),
                batch,
                command: Arc::clone(&item.command),
                retry_until,
                place: room.items.split(1),
                bytes: room.bytes.split(work_item::weight(&item.command)),
            })
        };
        for (place, item) in start.planned {
            let origin = Origin::Planned(Arc::downgrade(feed), place);
            line_up(item, new_run(item, place, origin, batch, &mut room.planned));
        }
        let now = self.shared.clock.moment();
        for (place, id, previous, cleared) in start.opened {
            let at = usize::try_from(place)
                .ok()
                .and_then(|place| submission.items.get(place));
            let Some(item) = at else { continue };
            let origin = Origin::Recorded(id);
            let mut run = new_run(item, place, origin, id.batch, &mut room.opened);
            run.reserved = Reserved::of(submission.quota.as_ref(), admitted_at.at);
            if cleared {
                run.clearance = Clearance::Given;
                run.in_stock = true;
                run.earliest = Some(admitted_at);
            }
            // The last outcome may have left a request that may still act: one lookup goes at once,
            // since the caller is waiting.
            let doubt = previous.as_deref().and_then(Settled::left_unknown);
            if let Some(doubt) = doubt
                && let Some(lane) = self.lanes.get(item.command.account())
            {
                run.inherit(doubt, LookPlan::AtOnce, &lane.options, &now);
                lane.settling(&run, run.belief.is_some());
            }
            run.previous = previous;
            run.stop = stops.get(&id.batch).map(Arc::clone).unwrap_or_default();
            line_up(item, run);
        }
        for ((account, batch), runs) in lanes {
            match self.lanes.get(&account) {
                Some(lane) => lane.enqueue(&submission.scope.caller, batch, runs),
                // The request was checked against the accounts, and these do not change while the
                // engine runs.
                None => tracing::error!(%account, "a checked request names an unknown account"),
            }
        }
        (watching, unknown)
    }

    /// Registers opened items as open and subscribes the feed to them, before any of them can
    /// settle. Returns the stop flag of each batch.
    fn watch(
        &self,
        start: &ItemsToStart<'_>,
        total: usize,
        batch: BatchId,
        watching: &mut Subscription,
    ) -> HashMap<BatchId, Arc<AtomicBool>> {
        let mut by_batch: HashMap<BatchId, Vec<(ItemId, u32)>> = HashMap::new();
        for (place, id, ..) in &start.opened {
            by_batch.entry(id.batch).or_default().push((*id, *place));
        }
        let mut stops = HashMap::new();
        for (of, items) in by_batch {
            let stop = self
                .shared
                .live
                .open(of, items.iter().map(|(id, _)| id.index));
            stops.insert(of, stop);
            // The usual case, all items new, needs no map of indexes.
            let is_whole = of == batch && items.len() == total;
            watching.listen(
                of,
                if is_whole {
                    IndexMap::Same
                } else {
                    IndexMap::from(items.as_slice())
                },
            );
        }
        stops
    }

    /// Pushes the outcomes of joined items that are not open in this process. Items that have none
    /// yet are about to be registered, and the subscription gets theirs. If the journal cannot be
    /// read, the feed ends: its items go on, and a repeat of the request joins them again.
    pub(in crate::engine) async fn catch_up(&self, unknown: Joined, feed: &Feed) {
        for (batch, items) in unknown {
            let journal = Arc::clone(&self.journal);
            let settled = blocking(move || {
                let recorded = journal.batch(batch, &ReadLimits::default())?;
                let recorded = recorded.map(|batch| batch.items).unwrap_or_default();
                let news = items.into_iter().filter_map(|(id, place)| {
                    let at = usize::try_from(id.index).ok()?;
                    let settled = recorded.get(at)?.as_ref()?.settled.clone()?;
                    let replayed = false;
                    Some((place, Update::Settled { settled, replayed }))
                });
                Ok(news.collect::<Vec<_>>())
            });
            match settled.await {
                Ok(settled) => feed.push(settled),
                Err(error) => {
                    let batch = self.shared.names.of(batch);
                    tracing::error!(%error, %batch, "a batch that a request joins cannot be read");
                    self.journal_refused();
                    return feed.end(StreamClosed::Unread);
                }
            }
        }
    }
}

/// A request's items by how they start.
#[derive(Default)]
struct ItemsToStart<'a> {
    planned: Vec<(u32, &'a SubmittedItem)>,
    opened: Vec<(u32, ItemId, Option<Arc<Settled>>, bool)>,
    joined: Vec<(ItemId, u32)>,
    told: Vec<(u32, Update)>,
}
