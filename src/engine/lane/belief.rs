//! When to look up the fate of a request whose effect is unknown. While the request may still act,
//! a lookup that finds nothing done is only informative; later it is proof, and is *believed*.

use std::time::Duration;

use tokio::time::Instant;

/// When the first early lookup goes after a lost reply, and the second after an acceptance.
const SOON: Duration = Duration::from_secs(1);

/// The schedule of lookups for a request that may still act.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Belief {
    /// When the reply was given up, or came without the effect.
    begun: Instant,
    /// From this time on a lookup that is sent is believed.
    believed_at: Instant,
    /// Early lookups that were sent or skipped.
    early: u32,
    plan: LookPlan,
    /// When the last believed lookup was sent.
    last_believed: Option<Instant>,
    /// Time between two believed lookups.
    spacing: Duration,
}

/// When lookups go that are too early to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum LookPlan {
    /// After a lost reply: 1 s later, and a third of the settling time later.
    Lost,
    /// After an acceptance: at once, after 1 s, then at doubling distances. The effect is expected
    /// soon.
    Accepted,
    /// One lookup at once: after a restart or a reopening.
    AtOnce,
    /// None: after a restart with too many items to look all up at once.
    AtBelief,
}

impl Belief {
    /// The schedule that begins now.
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

    /// When a lookup can be believed.
    pub(in crate::engine) fn believed_at(&self) -> Instant {
        self.believed_at
    }

    /// Whether a lookup that is sent now is believed.
    pub(in crate::engine) fn is_believed(&self, now: Instant) -> bool {
        now >= self.believed_at
    }

    /// When the next lookup goes, and whether it is believed.
    pub(in crate::engine) fn next_look(&mut self, now: Instant) -> (Instant, bool) {
        if self.is_believed(now) {
            let at = self.last_believed.map_or(now, |last| last + self.spacing);
            return (at.max(now), true);
        }
        // An early lookup that is overdue at the time of the next one is skipped.
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

    /// Records a lookup that was sent at this time and has finished.
    pub(in crate::engine) fn looked(&mut self, sent: Instant) {
        if self.is_believed(sent) {
            self.last_believed = Some(sent);
        } else {
            self.early = self.early.saturating_add(1);
        }
    }

    /// How long after `begun` the early lookup of this number goes; `None` if there is none.
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

    /// Seconds and belief of each lookup, up to the third believed one, of a doubt that is believed
    /// after 30 s.
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
