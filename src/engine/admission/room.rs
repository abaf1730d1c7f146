//! Capacity for open items of the whole service, in items and bytes. New and reopened items reserve
//! it; running items have it already, and settled ones need none. Dry runs have capacity of their
//! own, so that a caller which has filled its share can still plan.

use std::collections::BTreeSet;

use super::submission::{Submission, SubmitError, SubmittedItem};
use crate::{
    domain::ids::CallerId,
    engine::{Engine, lane::work_item},
    providers::Mode,
    shared_budget::{Reservation, ShareRefused, SharedBudget},
};

/// A request's reservation. What the items do not use is released with it.
#[derive(Debug)]
pub(in crate::engine) struct Capacity {
    /// For items that are opened.
    pub(in crate::engine) opened: CapacityPart,
    /// For dry runs.
    pub(in crate::engine) planned: CapacityPart,
}

/// A reservation in both budgets.
#[derive(Debug)]
pub(in crate::engine) struct CapacityPart {
    pub(in crate::engine) items: Reservation,
    pub(in crate::engine) bytes: Reservation,
}

impl CapacityPart {
    /// Adds a later reservation.
    pub(in crate::engine) fn join(&mut self, more: Self) {
        self.items.join(more.items);
        self.bytes.join(more.bytes);
    }
}

impl Engine {
    /// Reserves capacity for a request, and says which of its items may be opened: all (`None`), or
    /// none yet if there is not enough for all. In that case the items may be running or settled
    /// already, and a caller that resumes must not be rejected for work that is part of the load.
    /// Only the journal knows; it answers with the items that it would open.
    pub(in crate::engine) fn room_for(
        &self,
        submission: &Submission,
    ) -> Result<(Capacity, Option<BTreeSet<u32>>), SubmitError> {
        let caller = &submission.scope.caller;
        let of = |mode| {
            let items = submission.items.iter();
            items.filter(move |item| item.mode == mode)
        };
        let wholes = [&self.planned_items, &self.planned_bytes];
        let planned = part(caller, of(Mode::DryRun), wholes, "dry runs")?;
        let (opened, may_open) = match self.room(caller, of(Mode::Cancel)) {
            Ok(opened) => (opened, None),
            Err(_) => (
                self.room(caller, std::iter::empty())?,
                Some(BTreeSet::new()),
            ),
        };
        Ok((Capacity { opened, planned }, may_open))
    }

    /// Reserves capacity for these items of a request.
    pub(in crate::engine) fn room_to_open(
        &self,
        submission: &Submission,
        opens: &BTreeSet<u32>,
    ) -> Result<CapacityPart, SubmitError> {
        let items = (0..).zip(&submission.items);
        let items = items.filter_map(|(place, item)| opens.contains(&place).then_some(item));
        self.room(&submission.scope.caller, items)
    }

    fn room<'a>(
        &self,
        caller: &CallerId,
        items: impl Iterator<Item = &'a SubmittedItem>,
    ) -> Result<CapacityPart, SubmitError> {
        let wholes = [&self.open_items, &self.open_bytes];
        part(caller, items, wholes, "open items")
    }
}

/// Reserves capacity for items.
///
/// # Errors
/// Which limit leaves no room for them.
fn part<'a>(
    caller: &CallerId,
    items: impl Iterator<Item = &'a SubmittedItem>,
    [places, memory]: [&SharedBudget; 2],
    what: &str,
) -> Result<CapacityPart, SubmitError> {
    let weights = items.map(|item| work_item::weight(&item.command));
    let (items, bytes) = weights.fold((0, 0_usize), |(items, bytes), weight| {
        (items + 1, bytes.saturating_add(weight))
    });
    // More than the caller can ever have, so waiting would not help.
    if bytes > memory.most(caller) {
        return Err(SubmitError::Oversized(format!("{bytes} bytes of memory")));
    }
    if items > places.most(caller) {
        return Err(SubmitError::Oversized(format!("{items} places for {what}")));
    }
    let full = |refused, whole: &SharedBudget, unit: &str| {
        let max = whole.max();
        SubmitError::Full(match refused {
            ShareRefused::Own { held, max } => {
                format!("this caller has {held} {unit} and may have {max}")
            }
            ShareRefused::Whole { held } => format!(
                "this caller has {held} {unit}; what is left of {max} is too little, or is kept for \
                 others"
            ),
        })
    };
    let bytes = memory
        .take(caller, bytes)
        .map_err(|refused| full(refused, memory, &format!("bytes of {what}")))?;
    let items = places
        .take(caller, items)
        .map_err(|refused| full(refused, places, what))?;
    Ok(CapacityPart { items, bytes })
}
