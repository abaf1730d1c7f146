//! When to look for what became of a request whose effect is not known: while it may still act, a
//! look that finds nothing done is news; after it, proof.

use std::time::Duration;

use tokio::time::Instant;

/// The first early look after a lost answer, and the first after an acceptance that is not seen.
const SOON: Duration = Duration::from_secs(1);

/// A request of an item that may still act.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Belief {
    /// When its answer was given up, or came without its effect.
    begun: Instant,
    /// A look that is sent from then on is believed.
    believed_at: Instant,
    /// Early looks that were made or are too late.
    early: u32,
    plan: LookPlan,
    /// When the last look that is believed was sent.
    last_believed: Option<Instant>,
    /// Time between two looks that are believed.
    spacing: Duration,
}

/// Which early looks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum LookPlan {
    /// About a second and a third of the settling time after the answer was lost.
    Lost,
    /// At once, after a second, and at growing distances: the provider took it on.
    Accepted,
    /// At once, and no other.
    AtOnce,
    /// None: too many others wait for one.
    AtBelief,
}

impl Belief {
    /// A request whose answer was lost or does not show its effect, from now on.
    pub(in crate::engine) fn new(plan: LookPlan, believed_at: Instant, spacing: Duration) -> Self {
        Self {
            begun: Instant::now(),
            believed_at,
            early: 0,
            plan,
            last_believed: None,
            spacing,
        }
    }

    /// When a look is believed.
    pub(in crate::engine) fn believed_at(&self) -> Instant {
        self.believed_at
    }

    /// Whether a look that is sent now is believed.
    pub(in crate::engine) fn is_believed(&self, now: Instant) -> bool {
        now >= self.believed_at
    }

    /// When the next look goes, and whether it is believed.
    pub(in crate::engine) fn next_look(&mut self, now: Instant) -> (Instant, bool) {
        if self.is_believed(now) {
            let at = self.last_believed.map_or(now, |last| last + self.spacing);
            return (at.max(now), true);
        }
        // An early look that is late by as much as to the next one is dropped.
        while self
            .offset(self.early + 1)
            .is_some_and(|next| self.begun + next <= now)
        {
            self.early += 1;
        }
        match self.offset(self.early).map(|offset| self.begun + offset) {
            Some(at) if at < self.believed_at => (at.max(now), false),
            Some(_) | None => (self.believed_at, true),
        }
    }

    /// A look was sent at this time, and is over.
    pub(in crate::engine) fn looked(&mut self, sent: Instant) {
        if self.is_believed(sent) {
            self.last_believed = Some(sent);
        } else {
            self.early = self.early.saturating_add(1);
        }
    }

    /// How long after the beginning an early look goes.
    fn offset(&self, number: u32) -> Option<Duration> {
        match (self.plan, number) {
            (LookPlan::Lost, 0) => Some(SOON.min(self.spacing / 3)),
            (LookPlan::Lost, 1) => Some(SOON.max(self.spacing / 3)),
            (LookPlan::Accepted | LookPlan::AtOnce, 0) => Some(Duration::ZERO),
            (LookPlan::Accepted, number) => {
                Some(SOON.saturating_mul(1_u32.checked_shl(number - 1).unwrap_or(u32::MAX)))
            }
            (LookPlan::Lost | LookPlan::AtOnce | LookPlan::AtBelief, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACING: Duration = Duration::from_secs(30);

    /// The looks of a doubt that is believed 30 s after it began, in seconds, until three were
    /// believed.
    async fn looks(plan: LookPlan) -> Vec<(f64, bool)> {
        let begun = Instant::now();
        let mut settling = Belief::new(plan, begun + SPACING, SPACING);
        let mut looks = Vec::new();
        while looks.iter().filter(|(_, believed)| *believed).count() < 3 {
            let (at, believed) = settling.next_look(Instant::now());
            tokio::time::sleep_until(at).await;
            looks.push(((at - begun).as_secs_f64(), believed));
            settling.looked(at);
        }
        looks
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_is_looked_for_twice_before_a_look_is_believed() {
        let at = [
            (1.0, false),
            (10.0, false),
            (30.0, true),
            (60.0, true),
            (90.0, true),
        ];
        assert_eq!(looks(LookPlan::Lost).await, at);
    }

    #[tokio::test(start_paused = true)]
    async fn an_acceptance_is_looked_for_at_once_and_at_growing_distances() {
        let early = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0].map(|at| (at, false));
        let believed = [30.0, 60.0, 90.0].map(|at| (at, true));
        assert_eq!(
            looks(LookPlan::Accepted).await,
            [&early[..], &believed].concat()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_restart_left_is_looked_for_once_before_belief_or_not_at_all() {
        let believed = [30.0, 60.0, 90.0].map(|at| (at, true));
        assert_eq!(
            looks(LookPlan::AtOnce).await,
            [&[(0.0, false)][..], &believed].concat()
        );
        assert_eq!(looks(LookPlan::AtBelief).await, believed);
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_look_that_is_late_is_dropped() {
        let begun = Instant::now();
        let mut settling = Belief::new(LookPlan::Lost, begun + SPACING, SPACING);
        let late = begun + Duration::from_secs(12);
        assert_eq!(settling.next_look(late), (late, false));
        settling.looked(late);
        assert_eq!(settling.next_look(late), (begun + SPACING, true));
    }
}
