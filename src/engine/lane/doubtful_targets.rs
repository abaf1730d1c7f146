//! Targets on which a request of a settled item may still act. The next key for such a target
//! waits.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::domain::ids::{ItemId, TargetId};

/// Entries that are kept without a scan for expired ones.
const KEPT_MIN: usize = 512;

/// The item whose request may act on a target; `None` if that is not recorded.
pub(in crate::engine) type Owner = Option<ItemId>;

/// A lane's doubtful targets, each until no request may act on it any more.
#[derive(Debug, Default)]
pub(in crate::engine) struct DoubtfulTargets {
    until: BTreeMap<(TargetId, Owner), Instant>,
    /// Entries that remained after the last scan.
    kept: usize,
}

impl DoubtfulTargets {
    /// Binds a target until a time, unless the same owner has it bound for longer.
    pub(in crate::engine) fn bind(
        &mut self,
        target: TargetId,
        owner: Owner,
        until: Instant,
        now: Instant,
    ) {
        let bound = self.until.entry((target, owner)).or_insert(until);
        *bound = until.max(*bound);
        // Most targets are never named again, so no lookup by target would find their expired
        // entries. Scanning at twice the last size keeps the cost per insertion constant on
        // average.
        if self.until.len() > 2 * self.kept.max(KEPT_MIN) {
            self.until.retain(|_, until| *until > now);
            self.kept = self.until.len();
        }
    }

    /// Until when a target is bound; `None` if it is free.
    pub(in crate::engine) fn until(&self, target: &TargetId, now: Instant) -> Option<Instant> {
        self.until_by(target, now, |_| true)
    }

    /// Until when owners other than this one bind a target.
    pub(in crate::engine) fn until_by_others(
        &self,
        target: &TargetId,
        owner: ItemId,
        now: Instant,
    ) -> Option<Instant> {
        self.until_by(target, now, |of| of != Some(owner))
    }

    fn until_by(
        &self,
        target: &TargetId,
        now: Instant,
        counts: impl Fn(Owner) -> bool,
    ) -> Option<Instant> {
        let from = (target.clone(), None);
        let of_it = self.until.range(from..);
        of_it
            .take_while(|((of, _), _)| of == target)
            .filter(|((_, owner), until)| counts(*owner) && **until > now)
            .map(|(_, until)| *until)
            .max()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::ids::BatchId;

    fn target(number: u64) -> TargetId {
        TargetId::try_from(number.to_string().as_str()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_does_not_pile_up_and_what_is_not_stays() {
        let begun = Instant::now();
        let hour = begun + Duration::from_secs(3_600);
        let mut doubtful = DoubtfulTargets::default();
        for number in 0..100 {
            doubtful.bind(target(number), None, hour, begun);
        }
        for second in 1_000..11_000 {
            let now = begun + Duration::from_millis(second);
            doubtful.bind(target(second), None, now + Duration::from_millis(10), now);
        }
        assert!(doubtful.until.len() <= 2 * KEPT_MIN + 1);
        let now = begun + Duration::from_secs(60);
        assert_eq!(doubtful.until(&target(7), now), Some(hour));
        assert_eq!(doubtful.until(&target(10_999), now), None);
        doubtful.bind(target(7), None, now + Duration::from_secs(1), now);
        assert_eq!(doubtful.until(&target(7), now), Some(hour));
    }

    #[tokio::test(start_paused = true)]
    async fn who_left_a_request_there_is_bound_by_others_alone() {
        let now = Instant::now();
        let (soon, later) = (now + Duration::from_secs(1), now + Duration::from_secs(2));
        let item = |index| ItemId {
            batch: BatchId(1),
            index,
        };
        let mut doubtful = DoubtfulTargets::default();
        doubtful.bind(target(7), Some(item(0)), later, now);
        doubtful.bind(target(8), None, later, now);
        assert_eq!(doubtful.until(&target(7), now), Some(later));
        assert_eq!(doubtful.until_by_others(&target(7), item(0), now), None);
        assert_eq!(
            doubtful.until_by_others(&target(7), item(1), now),
            Some(later)
        );
        assert_eq!(
            doubtful.until_by_others(&target(8), item(1), now),
            Some(later)
        );
        doubtful.bind(target(7), Some(item(1)), soon, now);
        assert_eq!(
            doubtful.until_by_others(&target(7), item(0), now),
            Some(soon)
        );
        assert_eq!(doubtful.until_by_others(&target(7), item(0), soon), None);
    }
}
