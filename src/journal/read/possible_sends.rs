//! Which items may have been sent, from a batch's log: since when, by which process last, and with
//! which earlier doubt.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    domain::{
        doubt::{Doubt, Moment},
        outcome::Settled,
    },
    journal::format::record::{Cleared, Header, Ranges},
    limits,
};

/// The recorded starts of processes, by number.
pub(in crate::journal) type Lives = BTreeMap<u64, Moment>;

/// A clearance: when, and for which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::journal) struct Permission {
    pub(in crate::journal) at: Moment,
    pub(in crate::journal) life: u64,
}

/// Whether an item may have been sent since it last settled, was noted or was withdrawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::journal) enum PossibleSends {
    /// As the admission of its batch says.
    #[default]
    AsAdmitted,
    /// It was not sent.
    Not,
    /// It may have been sent since the first clearance, up to the end of the process that had the
    /// last one. Positions in the batch's list of clearances. `ended` is the last one of an earlier
    /// process.
    Since {
        first: u32,
        last: u32,
        ended: Option<u32>,
    },
}

impl PossibleSends {
    /// Possibly sent since this clearance.
    pub(in crate::journal) fn since(given: u32) -> Self {
        Self::Since {
            first: given,
            last: given,
            ended: None,
        }
    }
}

/// The items of a batch that its admission cleared, and that clearance.
#[derive(Debug)]
pub(in crate::journal) struct AdmittedAt {
    pub(in crate::journal) permission: Permission,
    /// `None` for all items.
    cleared: Option<Ranges>,
}

impl AdmittedAt {
    pub(in crate::journal) fn of(header: &Header) -> Self {
        Self {
            permission: permission(header.admitted_at, header.cleared.as_ref()),
            cleared: header.cleared.as_ref().map(|c| c.indexes.clone()),
        }
    }

    /// Whether it cleared an item.
    pub(in crate::journal) fn clears(&self, index: u32) -> bool {
        let cleared = self.cleared.as_ref();
        cleared.is_none_or(|cleared| cleared.contains(index))
    }
}

/// The clearance of an admission. Records of format 1 do not have it.
pub(in crate::journal) fn permission(at: Timestamp, cleared: Option<&Cleared>) -> Permission {
    Permission {
        at: Moment {
            at,
            boot: cleared.and_then(|cleared| cleared.boot),
        },
        life: cleared.map_or(0, |cleared| cleared.life),
    }
}

/// The end of a process that was allowed to send: no request of it reaches a provider later. The
/// next process started after that end, and the system gives up an unanswered connection after a
/// while.
///
/// Without a next process the end is unknown, so it is a time that no clock has reached.
fn end(life: u64, lives: &Lives) -> Moment {
    let mut later = lives.range(life.saturating_add(1)..);
    match later.next() {
        Some((_, begun)) => begun.after(Duration::from_millis(limits::TCP_USER_TIMEOUT_MS)),
        None => Moment::wall(Timestamp::MAX),
    }
}

/// The doubt about an item that was cleared between these and not noted since. `before` is its
/// earlier doubt.
pub(in crate::journal) fn doubt(
    first: Permission,
    last: Permission,
    lives: &Lives,
    before: Option<Doubt>,
) -> Doubt {
    let latest = end(last.life, lives);
    match before {
        None => Doubt::between(Some(first.at), latest),
        // Its effects may have begun as early as in the earlier doubt.
        Some(before) => Doubt {
            latest,
            settle_ms: None,
            may_act: true,
            ..before
        },
    }
}

/// The minimum retention of an outcome: a day after its request cannot act any more.
pub(in crate::journal) fn kept(settled: &Settled) -> Option<Timestamp> {
    let doubt = settled.doubt.as_ref().filter(|doubt| doubt.may_act)?;
    let day = Duration::from_secs(limits::DOUBT_KEPT_SECONDS);
    // It was sent before it settled. If the clock was set back in between, it would otherwise be
    // kept for as long as that.
    let soonest = settled.settled_at;
    let latest = soonest.checked_add(day).unwrap_or(Timestamp::MAX);
    let sent = doubt.latest.at.clamp(soonest, latest);
    let settling = doubt.settle_ms.unwrap_or(limits::SETTLING_MS_MAX);
    let wait = Duration::from_millis(settling).saturating_add(day);
    Some(sent.checked_add(wait).unwrap_or(Timestamp::MAX))
}
