//! Flow control of one account: decides whether a request may be sent now.
//!
//! The layers and their order, outermost first. The order is part of the promises:
//!
//! 1. **observe** counts each try with its result (a layer in [`crate::egress::Egress::build`]).
//! 2. **retry**: a failed try waits outside of everything below, in the lane, so that it holds no
//!    slot and no token. [`crate::egress::retry_policy`] decides whether to retry; [`backoff`] and
//!    the provider's `Retry-After` decide when.
//! 3. **pause**: the provider asked for it, so nothing is sent, not even a probe.
//! 4. **circuit breaker**: while the provider is away, no retry, slot or token is used up.
//! 5. **retry budget**: inside of the breaker, so that waiting out an outage costs none of it.
//! 6. **concurrency**: as many executions at once as the provider can handle.
//! 7. **rate**: last, so that a token is taken only for a request that is sent right now.
//! 8. **deadline** and **HTTP** (layers again): the timeout starts after all waiting.
//!
//! Flow control decides and never waits: time is an argument, and items wait in the lane.

use std::time::Duration;

use tokio::time::Instant;

use self::{
    adaptive_concurrency::{Bounds, ConcurrencyLimit},
    circuit_breaker::{BreakerDecision, CircuitBreaker, Pauses},
    retry_budget::{RetryBudget, RetryBudgetOptions},
    token_bucket::TokenBucket,
};

/// Options of an account's flow control.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowOptions {
    /// Bounds of concurrent executions.
    pub concurrency: Bounds,
    /// Requests per second.
    pub rate_per_second: f64,
    /// Requests at once before the rate applies, 1 or more.
    pub rate_burst: u32,
    /// Limits on retries.
    pub retries: RetryBudgetOptions,
    /// Pauses between probes while the breaker is open.
    pub pauses: Pauses,
}

/// How a request counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// No request of the item has failed.
    First,
    /// The item's last try failed.
    Retry,
}

/// Why no request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Not before this time.
    Until(Instant),
    /// Not before a running execution or probe ends.
    Occupied,
}

/// The slot of a running execution. It must be returned with [`FlowControl::leave`].
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "its place is given back by `leave`"]
pub struct Permit {
    probe: bool,
    retry: bool,
    silent: bool,
}

impl Permit {
    /// Whether the execution bypassed flow control, so that it may not send.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent
    }
}

/// The result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    /// A reply, after this time.
    Answered(Duration),
    /// A reply that asks to slow down.
    Throttled,
    /// No reply, or one that says the provider is in trouble.
    Failed,
}

/// A change of the circuit breaker, for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerTransition {
    /// It opened: only probes are sent.
    Opened,
    /// It closed: the provider is back.
    Closed,
}

/// Figures of flow control, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowSnapshot {
    /// Running executions.
    pub inside: usize,
    /// The current limit on them.
    pub limit: usize,
    /// Whether the breaker is not closed.
    pub is_away: bool,
    /// Whether a pause asked for by the provider is on.
    pub is_paused: bool,
    /// How often retries had to start waiting for the retry budget.
    pub retries_held: u64,
}

/// The flow control of one account.
#[derive(Debug)]
pub struct FlowControl {
    paused_until: Option<Instant>,
    breaker: CircuitBreaker,
    budget: RetryBudget,
    limit: ConcurrencyLimit,
    places: usize,
    /// Executions that bypass it and hold no slot, since they probably send nothing.
    silent: usize,
    bucket: TokenBucket,
    probe_pause: Duration,
}

impl FlowControl {
    /// Without a pause, with the breaker closed. `seed` is for the jitter of the breaker.
    #[must_use]
    pub fn new(options: FlowOptions, seed: u64) -> Self {
        Self {
            paused_until: None,
            breaker: CircuitBreaker::new(options.pauses, seed),
            budget: RetryBudget::new(options.retries),
            limit: ConcurrencyLimit::new(options.concurrency),
            places: 0,
            silent: 0,
            bucket: TokenBucket::new(options.rate_per_second, options.rate_burst),
            probe_pause: options.pauses.base,
        }
    }

    /// Whether an execution may start now.
    ///
    /// # Errors
    /// Why not, and until when.
    pub fn check(&mut self, now: Instant, entry: RequestKind) -> Result<(), Denied> {
        if let Some(until) = self.paused_until(now) {
            return Err(Denied::Until(until));
        }
        match self.breaker.admits(now) {
            BreakerDecision::All | BreakerDecision::Probe => {}
            BreakerDecision::NothingUntil(until) => return Err(Denied::Until(until)),
            BreakerDecision::NothingYet => return Err(Denied::Occupied),
        }
        if entry == RequestKind::Retry
            && let Some(at) = self.budget.retry_at(now)
        {
            return Err(Denied::Until(at));
        }
        if self.places >= self.limit.now() {
            return Err(Denied::Occupied);
        }
        let ready_at = self.bucket.ready_at(now);
        if ready_at > now {
            return Err(Denied::Until(ready_at));
        }
        Ok(())
    }

    /// Starts an execution, right after [`FlowControl::check`] allowed it. Takes a slot and a
    /// token.
    pub fn enter(&mut self, now: Instant, entry: RequestKind) -> Permit {
        let probe = self.breaker.admits(now) == BreakerDecision::Probe;
        if probe {
            self.breaker.probe();
        }
        let retry = entry == RequestKind::Retry;
        if retry {
            self.budget.sent_again(now);
        }
        self.places += 1;
        self.bucket.try_take(now);
        Permit {
            probe,
            retry,
            silent: false,
        }
    }

    /// Starts an execution that has to wait for something else before it sends. Takes a slot;
    /// [`FlowControl::follow`] takes the token later.
    pub fn enter_unpaid(&mut self) -> Permit {
        self.places += 1;
        Permit::default()
    }

    /// Starts an execution that probably sends nothing. It takes no slot from the others.
    pub fn enter_silent(&mut self) -> Permit {
        self.silent += 1;
        Permit {
            silent: true,
            ..Permit::default()
        }
    }

    /// The number of running executions from [`FlowControl::enter_silent`].
    #[must_use]
    pub fn silent(&self) -> usize {
        self.silent
    }

    /// Allows a further request of a running execution, and takes its token. Returns when to send
    /// it.
    ///
    /// # Errors
    /// When to ask again: the account is paused, the breaker is open, or the retry budget is used
    /// up.
    pub fn follow(
        &mut self,
        now: Instant,
        entry: RequestKind,
        pass: &mut Permit,
    ) -> Result<Instant, Instant> {
        if let Some(until) = self.paused_until(now) {
            return Err(until);
        }
        match self.breaker.admits(now) {
            BreakerDecision::All => {
                if entry == RequestKind::Retry {
                    if let Some(at) = self.budget.retry_at(now) {
                        return Err(at);
                    }
                    self.budget.sent_again(now);
                    pass.retry = true;
                }
                Ok(self.bucket.reserve(now))
            }
            BreakerDecision::NothingUntil(until) => Err(until),
            // A probe is the first request of an execution, never a further one.
            BreakerDecision::Probe | BreakerDecision::NothingYet => Err(now + self.probe_pause),
        }
    }

    /// Until when no request is sent, or none but a probe: the end of a pause or of the breaker's
    /// pause. `None` if requests are sent.
    #[must_use]
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until(now)
            .or_else(|| match self.breaker.admits(now) {
                BreakerDecision::All => None,
                BreakerDecision::NothingUntil(until) => Some(until),
                // The probe decides, and that is soon.
                BreakerDecision::Probe | BreakerDecision::NothingYet => {
                    Some(now + self.probe_pause)
                }
            })
    }

    /// Records the result of a request. Returns a change of the breaker, if there is one.
    pub fn heard(
        &mut self,
        now: Instant,
        pass: &mut Permit,
        heard: Feedback,
    ) -> Option<BreakerTransition> {
        let Permit { probe, retry, .. } = std::mem::take(pass);
        if !retry {
            // Counted here and not at the start: an execution may end without a request.
            self.budget.sent_first();
        }
        match heard {
            Feedback::Answered(_) | Feedback::Throttled => {
                let back = self.breaker.succeeded(now);
                if back {
                    self.limit.begin_anew();
                }
                match heard {
                    Feedback::Answered(latency) => {
                        self.limit.answered(latency, self.places);
                        if retry {
                            self.budget.retry_answered();
                        }
                    }
                    Feedback::Throttled | Feedback::Failed => self.limit.throttled(),
                }
                back.then_some(BreakerTransition::Closed)
            }
            Feedback::Failed => {
                self.limit.failed();
                // An item that fails again and again says little about the provider, so only its
                // first failure counts, and that of a probe.
                let counts = probe || !retry;
                (counts && self.breaker.failed(now, probe)).then_some(BreakerTransition::Opened)
            }
        }
    }

    /// Ends or suspends an execution: returns its slot, and the probe or retry that it did not use.
    pub fn leave(&mut self, pass: Permit) {
        if pass.silent {
            self.silent -= 1;
        } else {
            self.places -= 1;
        }
        if pass.probe {
            self.breaker.probe_unused();
        }
        if pass.retry {
            self.budget.unused();
        }
    }

    /// Pauses the account until a time, as its provider asked. Never shortens a pause.
    pub fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |now| now.max(until)));
    }

    /// Requests that may be sent at once, to be restored by the next process.
    #[must_use]
    pub fn tokens(&self, now: Instant) -> f64 {
        self.bucket.level(now)
    }

    /// Lowers the tokens to this level, if there are more.
    pub fn begin_with(&mut self, tokens: f64, now: Instant) {
        self.bucket.begin_with(tokens, now);
    }

    /// The end of the current pause.
    #[must_use]
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// The current figures.
    #[must_use]
    pub fn standing(&self, now: Instant) -> FlowSnapshot {
        FlowSnapshot {
            inside: self.places,
            limit: self.limit.now(),
            is_away: self.is_away(),
            is_paused: self.paused_until(now).is_some(),
            retries_held: self.budget.held(),
        }
    }

    /// Whether the breaker is not closed, so that the provider counts as away.
    #[must_use]
    pub fn is_away(&self) -> bool {
        !self.breaker.is_closed()
    }
}

pub mod adaptive_concurrency;
pub mod backoff;
pub mod circuit_breaker;
pub mod retry_budget;
pub mod token_bucket;
#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: FlowOptions = FlowOptions {
        concurrency: Bounds {
            floor: 2,
            ceiling: 8,
        },
        rate_per_second: 1_000.0,
        rate_burst: 1_000,
        retries: RetryBudgetOptions {
            per_request: 0.2,
            per_second: 0.1,
            saved_max: 4.0,
        },
        pauses: Pauses {
            base: Duration::from_secs(1),
            max: Duration::from_secs(8),
        },
    };

    /// Sends a request that is allowed. Returns a change of the breaker.
    fn send(
        gate: &mut FlowControl,
        now: Instant,
        entry: RequestKind,
        heard: Feedback,
    ) -> Option<BreakerTransition> {
        gate.check(now, entry).unwrap();
        let mut pass = gate.enter(now, entry);
        let change = gate.heard(now, &mut pass, heard);
        gate.leave(pass);
        change
    }

    fn until(closed: Result<(), Denied>) -> Instant {
        match closed {
            Err(Denied::Until(until)) => until,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_closes_it_to_all_but_one_probe_and_uses_no_budget_up() {
        let mut now = Instant::now();
        let mut gate = FlowControl::new(OPTIONS, 7);
        let mut sent = 0;
        while send(&mut gate, now, RequestKind::First, Feedback::Failed).is_none() {
            sent += 1;
        }
        assert!(sent < 32 && gate.is_away());
        now = until(gate.check(now, RequestKind::Retry));
        let mut pass = gate.enter(now, RequestKind::Retry);
        assert_eq!(gate.check(now, RequestKind::First), Err(Denied::Occupied));
        let follows = gate.follow(now, RequestKind::First, &mut Permit::default());
        assert_eq!(follows, Err(now + OPTIONS.pauses.base));
        let back = gate.heard(
            now,
            &mut pass,
            Feedback::Answered(Duration::from_millis(20)),
        );
        gate.leave(pass);
        assert_eq!(back, Some(BreakerTransition::Closed));
        assert!(!gate.is_away());
        assert_eq!(gate.check(now, RequestKind::Retry), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_a_probe_and_a_retry_that_are_not_used_are_given_back() {
        let now = Instant::now();
        let mut gate = FlowControl::new(OPTIONS, 7);
        for _ in 0..100 {
            let pass = gate.enter(now, RequestKind::Retry);
            gate.leave(pass);
        }
        assert_eq!(gate.check(now, RequestKind::Retry), Ok(()));
        while send(&mut gate, now, RequestKind::First, Feedback::Failed).is_none() {}
        let now = until(gate.check(now, RequestKind::First));
        for _ in 0..3 {
            gate.check(now, RequestKind::First).unwrap();
            let pass = gate.enter(now, RequestKind::First);
            gate.leave(pass);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_nothing_to_send_takes_no_place() {
        let now = Instant::now();
        let mut gate = FlowControl::new(OPTIONS, 7);
        let silent: Vec<_> = (0..100).map(|_| gate.enter_silent()).collect();
        assert_eq!(
            (gate.silent(), gate.check(now, RequestKind::First)),
            (100, Ok(()))
        );
        for pass in silent {
            gate.leave(pass);
        }
        assert_eq!((gate.silent(), gate.standing(now).inside), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_that_ends_without_a_request_earns_no_retry() {
        let now = Instant::now();
        let mut gate = FlowControl::new(OPTIONS, 7);
        while gate.check(now, RequestKind::Retry).is_ok() {
            send(&mut gate, now, RequestKind::Retry, Feedback::Failed);
        }
        for _ in 0..100 {
            let pass = gate.enter(now, RequestKind::First);
            gate.leave(pass);
        }
        assert!(gate.check(now, RequestKind::Retry).is_err());
        // Five first requests earn one retry.
        for _ in 0..5 {
            let answered = Feedback::Answered(Duration::from_millis(20));
            send(&mut gate, now, RequestKind::First, answered);
        }
        assert_eq!(gate.check(now, RequestKind::Retry), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn items_that_fail_over_and_over_do_not_make_a_provider_seem_away() {
        let mut now = Instant::now();
        let mut gate = FlowControl::new(OPTIONS, 7);
        for _ in 0..200 {
            if let Err(Denied::Until(at)) = gate.check(now, RequestKind::Retry) {
                now = at;
            }
            assert_eq!(
                send(&mut gate, now, RequestKind::Retry, Feedback::Failed),
                None
            );
        }
        assert!(!gate.is_away());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_sent_again_after_a_look_is_a_retry_like_any_other() {
        let now = Instant::now();
        let mut gate = FlowControl::new(OPTIONS, 7);
        let mut sent = 0;
        let mut pass = gate.enter(now, RequestKind::First);
        while gate.follow(now, RequestKind::Retry, &mut pass).is_ok() {
            sent += 1;
            gate.heard(now, &mut pass, Feedback::Failed);
        }
        assert_eq!(sent, 4, "what was saved");
        gate.leave(pass);
        let mut gate = FlowControl::new(OPTIONS, 7);
        let mut pass = gate.enter(now, RequestKind::First);
        for _ in 0..100 {
            gate.follow(now, RequestKind::Retry, &mut pass).unwrap();
            gate.heard(
                now,
                &mut pass,
                Feedback::Answered(Duration::from_millis(20)),
            );
        }
        gate.leave(pass);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everybody_and_throttling_shows_that_the_provider_is_there() {
        let mut now = Instant::now();
        let mut gate = FlowControl::new(OPTIONS, 7);
        while send(&mut gate, now, RequestKind::First, Feedback::Failed).is_none() {}
        now = until(gate.check(now, RequestKind::First));
        let change = send(&mut gate, now, RequestKind::First, Feedback::Throttled);
        assert_eq!(change, Some(BreakerTransition::Closed));
        let later = now + Duration::from_secs(60);
        gate.pause(later);
        gate.pause(now);
        assert_eq!(
            gate.check(now, RequestKind::First),
            Err(Denied::Until(later))
        );
        let follows = gate.follow(now, RequestKind::First, &mut Permit::default());
        assert_eq!(follows, Err(later));
        assert_eq!(gate.check(later, RequestKind::First), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_limit_are_inside() {
        let now = Instant::now();
        let mut gate = FlowControl::new(OPTIONS, 7);
        let mut passes = Vec::new();
        while gate.check(now, RequestKind::First).is_ok() {
            passes.push(gate.enter(now, RequestKind::First));
        }
        assert_eq!(passes.len(), 8);
        assert_eq!(gate.check(now, RequestKind::First), Err(Denied::Occupied));
        gate.leave(passes.pop().unwrap());
        assert_eq!(gate.check(now, RequestKind::First), Ok(()));
    }
}
