//! Cache of recent events, so that the audit need not read them back and decode them. Only a
//! shortcut: what is not here is read.

use std::{collections::HashMap, sync::Arc};

use super::{EventKind, settlement::AuditedOutcome};
use crate::{
    journal::{format::record::Header, read::reader::Items},
    limits,
};

/// A cached event.
#[derive(Debug)]
pub(in crate::journal) enum CachedEvent {
    /// A new batch.
    Admitted(Header, Items),
    /// Index and audited outcome of each item.
    Settled(Vec<(u32, Arc<AuditedOutcome>)>),
}

impl CachedEvent {
    fn items(&self) -> usize {
        match self {
            Self::Admitted(_, items) => items.len(),
            Self::Settled(items) => items.len(),
        }
    }
}

/// Recent events, up to a number of items.
#[derive(Debug, Default)]
pub(in crate::journal) struct EventCache {
    told: HashMap<EventKind, CachedEvent>,
    items: usize,
}

/// Maximum of cached items: some 20 MB.
const ITEMS_MAX: usize = 4 * limits::BATCH_ITEMS_MAX;

impl EventCache {
    /// Adds an event, unless the cache is full.
    pub(in crate::journal) fn add(&mut self, of: EventKind, told: CachedEvent) {
        let items = self.items.saturating_add(told.items());
        if items <= ITEMS_MAX {
            self.items = items;
            self.told.insert(of, told);
        }
    }

    /// Adds the events of another cache.
    pub(in crate::journal) fn append(&mut self, other: Self) {
        for (of, told) in other.told {
            self.add(of, told);
        }
    }

    /// Takes an event out.
    pub(in crate::journal) fn take(&mut self, of: EventKind) -> Option<CachedEvent> {
        let told = self.told.remove(&of)?;
        self.items = self.items.saturating_sub(told.items());
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::BatchId;

    #[test]
    fn it_holds_no_more_than_it_may_and_all_that_is_taken_makes_room() {
        let told = || CachedEvent::Admitted(header(), vec![None; limits::BATCH_ITEMS_MAX]);
        let of = |number| EventKind::Admission(BatchId(number));
        let mut recent = EventCache::default();
        for number in 0..6 {
            recent.add(of(number), told());
        }
        let held: Vec<_> = (0..6).filter(|n| recent.take(of(*n)).is_some()).collect();
        assert_eq!(held, [0, 1, 2, 3]);
        let mut other = EventCache::default();
        other.add(of(7), told());
        recent.append(other);
        assert!(recent.take(of(7)).is_some());
        assert!(recent.take(of(7)).is_none());
        assert_eq!(recent.items, 0);
    }

    fn header() -> Header {
        Header {
            caller: "billing".try_into().unwrap(),
            kind: crate::domain::ids::Kind::Subscription,
            key: "k".try_into().unwrap(),
            admitted_at: jiff::Timestamp::MIN,
            retry_until: jiff::Timestamp::MIN,
            total: 1,
            own: 1,
            refs: 0,
            fingerprint: String::new(),
            cleared: None,
            from: None,
        }
    }
}
