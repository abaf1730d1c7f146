//! Room for what is open of the whole service, in items and in bytes. What is new or opened again
//! takes of it; what is under way already has its part, and what has settled needs none.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use super::{
    Dispatch,
    budget::Share,
    run,
    submission::{Item, Submission, SubmitError},
};
use crate::providers::Mode;

/// A request's share of what is open.
#[derive(Debug)]
pub(super) struct Room {
    /// Items, which [`Dispatch::give_back`] gives back.
    pub(super) items: usize,
    pub(super) bytes: Share,
}

impl Room {
    /// Adds room that was taken later.
    pub(super) fn join(&mut self, more: Self) {
        self.items = self.items.saturating_add(more.items);
        self.bytes.join(more.bytes);
    }
}

impl Dispatch {
    /// Room for a request, and which of its items may be opened in it: all (`None`), or none yet
    /// where there is no room for all. Its items may be under way or settled: whoever resumes is
    /// not turned away for being part of what fills the service. Only the journal knows, and says
    /// what it would open.
    pub(super) fn room_for(
        &self,
        submission: &Submission,
    ) -> Result<(Room, Option<BTreeSet<u32>>), SubmitError> {
        let items = || submission.items.iter();
        let full = match self.room(items()) {
            Ok(room) => return Ok((room, None)),
            Err(full) => full,
        };
        if items().all(|item| item.mode == Mode::DryRun) {
            return Err(full);
        }
        // Nothing is known of dry runs, so they start anyway.
        let room = self.room(items().filter(|item| item.mode == Mode::DryRun))?;
        Ok((room, Some(BTreeSet::new())))
    }

    /// Room for these items of a request.
    pub(super) fn room_to_open(
        &self,
        submission: &Submission,
        opens: &BTreeSet<u32>,
    ) -> Result<Room, SubmitError> {
        let items = (0..).zip(&submission.items);
        self.room(items.filter_map(|(place, item)| opens.contains(&place).then_some(item)))
    }

    /// Room for items, or why there is none.
    fn room<'a>(&self, items: impl Iterator<Item = &'a Item>) -> Result<Room, SubmitError> {
        let weights = items.map(|item| run::weight(&item.command));
        let (items, bytes) = weights.fold((0, 0_usize), |(items, bytes), weight| {
            (items + 1, bytes.saturating_add(weight))
        });
        let Some(bytes) = self.open_bytes.take(bytes) else {
            return Err(SubmitError::Full(format!(
                "open items take {} bytes and {} is the most",
                self.open_bytes.taken(),
                self.open_bytes.max()
            )));
        };
        let open = &self.shared.open_items;
        let taken = open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
            let sum = open.checked_add(items);
            sum.filter(|sum| *sum <= self.open_items_max)
        });
        match taken {
            Ok(_) => Ok(Room { items, bytes }),
            Err(_) => Err(self.full()),
        }
    }

    /// There is no room for more items.
    pub(super) fn full(&self) -> SubmitError {
        SubmitError::Full(format!(
            "{} items are open and {} is the most",
            self.shared.open_items.load(Ordering::Acquire),
            self.open_items_max
        ))
    }

    /// Gives back the places of so many items.
    pub(super) fn give_back(&self, count: usize) {
        self.shared.open_items.fetch_sub(count, Ordering::AcqRel);
    }
}
