//! What stands between an item whose turn it is and its request: one account's gate.
//!
//! The order is that of a stack, outermost first, and part of the promises:
//!
//! 1. **observe** sees every try with its verdict (a layer in [`crate::egress::Egress::build`]).
//! 2. **retry**: a failed try waits outside of everything below, in the lane, so that it holds
//!    no place, no token and no turn. [`crate::egress::retry_policy`] says whether, [`crate::egress::flow::backoff`] and the
//!    provider's own signal say when.
//! 3. **pause**: the provider asked for it, so nobody goes, not even a probe.
//! 4. **breaker**: nobody uses up a retry, a place or a token at a provider that is away.
//! 5. **retry budget**, inside of the breaker, so that waiting out an outage costs nothing of it.
//! 6. **concurrency**: as many conversations as the provider takes well.
//! 7. **rate**, last, so that a token is spent only by what goes out in this moment.
//! 8. **deadline** and **HTTP** (layers again): the provider's time begins when all waiting is
//!    over.
//!
//! It decides and does not wait: time is an argument, and whoever waits, waits in the lane.

use std::time::Duration;

use tokio::time::Instant;

use self::{
    adaptive_concurrency::{Bounds, ConcurrencyLimit},
    circuit_breaker::{BreakerDecision, CircuitBreaker, Pauses},
    retry_budget::{RetryBudget, RetryBudgetOptions},
    token_bucket::TokenBucket,
};

/// What an account's gate lets through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowOptions {
    /// Conversations at once.
    pub concurrency: Bounds,
    /// Requests a second.
    pub rate_per_second: f64,
    /// Requests at once before the rate holds, 1 or more.
    pub rate_burst: u32,
    /// What may be sent again.
    pub retries: RetryBudgetOptions,
    /// Waits between probes of a provider that is away.
    pub pauses: Pauses,
}

/// How an item comes to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// Nothing of it has failed.
    First,
    /// Its last try failed.
    Retry,
}

/// Why nobody goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Nothing goes before this time.
    Until(Instant),
    /// Something has to come back first.
    Occupied,
}

/// A conversation that went through.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "its place is given back by `leave`"]
pub struct Permit {
    probe: bool,
    retry: bool,
    silent: bool,
}

impl Permit {
    /// Nobody has checked that it may send anything.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent
    }
}

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    /// An answer, after this time.
    Answered(Duration),
    /// The wish to be left alone.
    Throttled,
    /// None, or that the provider is in trouble.
    Failed,
}

/// A change of the breaker, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerTransition {
    /// The provider is away: only probes go.
    Opened,
    /// It is back.
    Closed,
}

/// How a gate stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowSnapshot {
    /// Conversations inside.
    pub inside: usize,
    /// How many may be.
    pub limit: usize,
    /// Whether the provider is away.
    pub is_away: bool,
    /// Whether it asked for a pause that is on.
    pub is_paused: bool,
    /// Times that retries had to begin to wait for the retry budget.
    pub retries_held: u64,
}

/// One account's gate.
#[derive(Debug)]
pub struct FlowControl {
    paused_until: Option<Instant>,
    breaker: CircuitBreaker,
    budget: RetryBudget,
    limit: ConcurrencyLimit,
    places: usize,
    /// Conversations that take no place: they have nothing to send, as far as one can know.
    silent: usize,
    bucket: TokenBucket,
    probe_pause: Duration,
}

impl FlowControl {
    /// An open gate. `seed` is where the spread of the breaker's pauses comes from.
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

    /// Whether a conversation may begin now.
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

    /// A conversation begins, right after [`FlowControl::check`] allowed it.
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

    /// The same for one that has to wait for something else before it sends: its token is taken
    /// by [`FlowControl::follow`] then.
    pub fn enter_unpaid(&mut self) -> Permit {
        self.places += 1;
        Permit::default()
    }

    /// A conversation begins that has nothing to send, as far as one can know. It takes no place
    /// from those that have.
    pub fn enter_silent(&mut self) -> Permit {
        self.silent += 1;
        Permit {
            silent: true,
            ..Permit::default()
        }
    }

    /// Conversations of [`FlowControl::enter_silent`] that are inside.
    #[must_use]
    pub fn silent(&self) -> usize {
        self.silent
    }

    /// A further request of a conversation that went through: the time that it may go at, with
    /// its token taken.
    ///
    /// # Errors
    /// When to ask again, if the account is paused, the provider away, or no retry may go.
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
            // Whoever probes begins a conversation.
            BreakerDecision::Probe | BreakerDecision::NothingYet => Err(now + self.probe_pause),
        }
    }

    /// The time before which nothing goes, or nothing but a probe, if there is one: the end of a
    /// pause, or of the breaker's wait.
    #[must_use]
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until(now)
            .or_else(|| match self.breaker.admits(now) {
                BreakerDecision::All => None,
                BreakerDecision::NothingUntil(until) => Some(until),
                // What the probe comes to decides, and that is soon.
                BreakerDecision::Probe | BreakerDecision::NothingYet => {
                    Some(now + self.probe_pause)
                }
            })
    }

    /// What a request came to. Says if the provider has gone or come back by that.
    pub fn heard(
        &mut self,
        now: Instant,
        pass: &mut Permit,
        heard: Feedback,
    ) -> Option<BreakerTransition> {
        let Permit { probe, retry, .. } = std::mem::take(pass);
        if !retry {
            // Not before: whoever goes in may have nothing to send after all.
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
                // An item that fails over and over says little about the provider: its first
                // failure counts, and that of a probe.
                let counts = probe || !retry;
                (counts && self.breaker.failed(now, probe)).then_some(BreakerTransition::Opened)
            }
        }
    }

    /// A conversation ends, or waits elsewhere: its place is free. What it did not use is free
    /// too.
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

    /// Lets nothing through before a time: the provider asked for it.
    pub fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |now| now.max(until)));
    }

    /// How many requests may be sent at once, for the next process.
    #[must_use]
    pub fn tokens(&self, now: Instant) -> f64 {
        self.bucket.level(now)
    }

    /// Begins with no more than so many requests at once.
    pub fn begin_with(&mut self, tokens: f64, now: Instant) {
        self.bucket.begin_with(tokens, now);
    }

    /// The end of a pause that is on.
    #[must_use]
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// How it stands, for those who watch.
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

    /// Whether the provider is away, as far as the breaker knows.
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

    /// Sends one, if that may be; says what that changed.
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
        // Five that go out earn one.
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
