//! From an admission to running items: what is new is lined up, what runs is joined, and what has
//! settled is told.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::AtomicBool},
};

use jiff::Timestamp;

use super::{
    Dispatch,
    beginning::Beginning,
    belief::Plan,
    budget::Share,
    feed::{Feed, Update},
    run::{self, Clearance, Origin, Run},
    submission::{Item, Submission, SubmitError},
};
use crate::{
    domain::{
        doubt::Moment,
        ids::{AccountName, BatchId, ItemId},
        outcome::Settled,
    },
    journal::{Admitted, AdmittedItem, Unavailable},
};

impl Dispatch {
    /// Starts what was opened or is a dry run, and gives the feed its news.
    pub(super) fn start_items(
        &self,
        submission: &Submission,
        admitted: Option<Admitted>,
        feed: &Arc<Feed>,
        mut bytes: Share,
        (admitted_at, retry_until): (Moment, Timestamp),
    ) -> Result<(), SubmitError> {
        let batch = admitted
            .as_ref()
            .map_or(BatchId(0), |admitted| admitted.batch);
        let fates = admitted.map_or_else(
            || vec![AdmittedItem::Vacant; submission.items.len()],
            |a| a.items,
        );
        let mut start = Start::default();
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
        self.give_back(start.joined.len() + start.told.len());
        feed.push(std::mem::take(&mut start.told));
        self.join(&start.joined, feed)?;
        let stops = self.watch(&start, submission.items.len(), batch, feed);
        let mut lanes: BTreeMap<(AccountName, BatchId), Vec<Run>> = BTreeMap::new();
        let mut line_up = |item: &Item, run: Run| {
            lanes
                .entry((item.command.account().clone(), run.batch))
                .or_default()
                .push(run);
        };
        let mut new_run = |item: &Item, place, origin, batch| {
            Run::from(Beginning {
                origin,
                from: submission.from.clone(),
                scope: &submission.scope,
                key: &item.key_at(&submission.key, place),
                batch,
                command: Arc::clone(&item.command),
                retry_until,
                bytes: bytes.split(run::weight(&item.command)),
            })
        };
        for (place, item) in start.planned {
            let origin = Origin::Planned(Arc::downgrade(feed), place);
            line_up(item, new_run(item, place, origin, batch));
        }
        let now = self.shared.clock.moment();
        for (place, id, previous, cleared) in start.opened {
            let at = usize::try_from(place)
                .ok()
                .and_then(|place| submission.items.get(place));
            let Some(item) = at else { continue };
            let mut run = new_run(item, place, Origin::Recorded(id), id.batch);
            if cleared {
                run.clearance = Clearance::Given;
                run.in_stock = true;
                run.earliest = Some(admitted_at);
            }
            let doubt = previous.as_deref().and_then(Settled::left_unknown);
            if let Some(doubt) = doubt
                && let Some(lane) = self.lanes.get(item.command.account())
            {
                run.inherit(doubt, Plan::AtOnce, &lane.options, &now);
                lane.settling(&run, run.belief.is_some());
            }
            run.previous = previous;
            run.stop = stops.get(&id.batch).map(Arc::clone).unwrap_or_default();
            line_up(item, run);
        }
        for ((account, batch), runs) in lanes {
            match self.lanes.get(&account) {
                Some(lane) => lane.enqueue(&submission.scope.caller, batch, runs),
                // The request was checked against the accounts, which do not change.
                None => tracing::error!(%account, "a checked request names an unknown account"),
            }
        }
        Ok(())
    }

    /// Enters what is opened, and lets the feed hear of it.
    fn watch(
        &self,
        start: &Start<'_>,
        total: usize,
        batch: BatchId,
        feed: &Arc<Feed>,
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
            if of == batch && items.len() == total {
                self.shared.live.watch_same(of, feed);
            } else {
                self.shared.live.watch(of, &items, feed);
            }
        }
        stops
    }

    /// Lets the feed hear of items that other requests opened.
    fn join(&self, joined: &[(ItemId, u32)], feed: &Arc<Feed>) -> Result<(), Unavailable> {
        if joined.is_empty() {
            return Ok(());
        }
        self.shared
            .live
            .join(joined, feed, |batch| self.journal.batch(batch))
    }
}

/// A request's items by what is to be done with them.
#[derive(Default)]
struct Start<'a> {
    planned: Vec<(u32, &'a Item)>,
    opened: Vec<(u32, ItemId, Option<Arc<Settled>>, bool)>,
    joined: Vec<(ItemId, u32)>,
    told: Vec<(u32, Update)>,
}
