//! What may have been sent of an item, as its batch's log tells it: since when it could be, by
//! which process last, and what was known of it before.

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

/// When each process began that is known to have.
pub(in crate::journal) type Lives = BTreeMap<u64, Moment>;

/// Permission to send: when it was given, and to which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::journal) struct Permission {
    pub(in crate::journal) at: Moment,
    pub(in crate::journal) life: u64,
}

/// Whether an item may have been sent since it was last settled, noted or withdrawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::journal) enum PossibleSends {
    /// As the admission of its batch says.
    #[default]
    AsAdmitted,
    /// It was not.
    Not,
    /// It may have been since the first of these permissions, and until the end of the process
    /// that had the last: places in the batch's list of them. `ended` is the last that a process
    /// before that one had.
    Since {
        first: u32,
        last: u32,
        ended: Option<u32>,
    },
}

impl PossibleSends {
    /// It may have been since this permission.
    pub(in crate::journal) fn since(given: u32) -> Self {
        Self::Since {
            first: given,
            last: given,
            ended: None,
        }
    }
}

/// Which items of a batch its admission cleared, and with what permission.
#[derive(Debug)]
pub(in crate::journal) struct AdmittedAt {
    pub(in crate::journal) permission: Permission,
    /// `None` for all.
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

/// What an admission gave; in format 1 that was not written down.
pub(in crate::journal) fn permission(at: Timestamp, cleared: Option<&Cleared>) -> Permission {
    Permission {
        at: Moment {
            at,
            boot: cleared.and_then(|cleared| cleared.boot),
        },
        life: cleared.map_or(0, |cleared| cleared.life),
    }
}

/// When the process had ended that was allowed to send: nothing reaches a provider later. The
/// one that came after it began after its end, and the system gives an unanswered connection up
/// after a while.
///
/// If none came after it nobody can tell, which is said with a time that no clock has reached.
fn end(life: u64, lives: &Lives) -> Moment {
    let mut later = lives.range(life.saturating_add(1)..);
    match later.next() {
        Some((_, begun)) => begun.after(Duration::from_millis(limits::TCP_USER_TIMEOUT_MS)),
        None => Moment::wall(Timestamp::MAX),
    }
}

/// What is unknown of an item that was cleared between these and has not been noted since.
/// `before` is what was unknown of it already.
pub(in crate::journal) fn doubt(
    first: Permission,
    last: Permission,
    lives: &Lives,
    before: Option<Doubt>,
) -> Doubt {
    let latest = end(last.life, lives);
    match before {
        None => Doubt::between(Some(first.at), latest),
        // Its effects may have begun as early as they could before.
        Some(before) => Doubt {
            latest,
            settle_ms: None,
            may_act: true,
            ..before
        },
    }
}

/// Until when at least an outcome is kept: a day after its effect cannot come any more.
pub(in crate::journal) fn kept(settled: &Settled) -> Option<Timestamp> {
    let doubt = settled.doubt.as_ref().filter(|doubt| doubt.may_act)?;
    let day = Duration::from_secs(limits::DOUBT_KEPT_SECONDS);
    // It was sent before it settled. A clock that was set back between the two would have it kept
    // for as long as it was set back.
    let soonest = settled.settled_at;
    let latest = soonest.checked_add(day).unwrap_or(Timestamp::MAX);
    let sent = doubt.latest.at.clamp(soonest, latest);
    let settling = doubt.settle_ms.unwrap_or(limits::SETTLING_MS_MAX);
    let wait = Duration::from_millis(settling).saturating_add(day);
    Some(sent.checked_add(wait).unwrap_or(Timestamp::MAX))
}
