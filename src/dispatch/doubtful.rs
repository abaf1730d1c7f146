//! Targets on which a request of a settled item may still act: the next key waits for them.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::domain::ids::TargetId;

/// As many are kept without a look at which of them are over.
const KEPT_MIN: usize = 512;

/// A lane's targets, each until nothing may act on it any more.
#[derive(Debug, Default)]
pub(super) struct Doubtful {
    until: BTreeMap<TargetId, Instant>,
    /// How many were left when those that are over went last.
    kept: usize,
}

impl Doubtful {
    /// Binds a target until a time, if it is not bound for longer.
    pub(super) fn bind(&mut self, target: TargetId, until: Instant, now: Instant) {
        let bound = self.until.entry(target).or_insert(until);
        *bound = until.max(*bound);
        // Most are never aimed at again, so nobody else would come by to let them go.
        if self.until.len() > 2 * self.kept.max(KEPT_MIN) {
            self.until.retain(|_, until| *until > now);
            self.kept = self.until.len();
        }
    }

    /// Until when a target is bound; `None` if it is not.
    pub(super) fn until(&self, target: &TargetId, now: Instant) -> Option<Instant> {
        self.until.get(target).copied().filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn target(number: u64) -> TargetId {
        TargetId::try_from(number.to_string().as_str()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_does_not_pile_up_and_what_is_not_stays() {
        let begun = Instant::now();
        let hour = begun + Duration::from_secs(3_600);
        let mut doubtful = Doubtful::default();
        for number in 0..100 {
            doubtful.bind(target(number), hour, begun);
        }
        for second in 1_000..11_000 {
            let now = begun + Duration::from_millis(second);
            doubtful.bind(target(second), now + Duration::from_millis(10), now);
        }
        assert!(doubtful.until.len() <= 2 * KEPT_MIN + 1);
        let now = begun + Duration::from_secs(60);
        assert_eq!(doubtful.until(&target(7), now), Some(hour));
        assert_eq!(doubtful.until(&target(10_999), now), None);
        doubtful.bind(target(7), now + Duration::from_secs(1), now);
        assert_eq!(doubtful.until(&target(7), now), Some(hour));
    }
}
