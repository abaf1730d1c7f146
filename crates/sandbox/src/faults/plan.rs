//! Chooses the fault of each request: the rate limit first, then the script, then chance. Requests
//! draw in the order of their arrival, so a seed repeats a run with the same order of requests.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{super::world::locked, Fault, FaultRates, RateLimit, Scripted};

/// The state of a provider's rate limit after a request, for headers that report it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
}

/// The fault of a request.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// Delay before the request.
    pub(crate) latency: Duration,
    pub(crate) fault: Option<Fault>,
    pub(crate) quota: Option<Quota>,
}

/// The faults of a provider.
#[derive(Debug)]
pub(crate) struct Faults {
    /// Whether there are any faults; most runs have none.
    armed: AtomicBool,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    script: VecDeque<Scripted>,
    rates: FaultRates,
    limit: Option<RateLimit>,
    window: (Instant, u32),
    rng: fastrand::Rng,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let plan = Plan {
            script: VecDeque::new(),
            rates: FaultRates::default(),
            limit: None,
            window: (Instant::now(), 0),
            rng: fastrand::Rng::with_seed(seed),
        };
        Self {
            armed: AtomicBool::new(false),
            plan: Mutex::new(plan),
        }
    }

    pub(crate) fn fate(&self, method: &str, target: &str) -> Fate {
        if !self.armed.load(Ordering::Relaxed) {
            return Fate::default();
        }
        locked(&self.plan).fate(method, target)
    }

    pub(crate) fn rates(&self) -> FaultRates {
        locked(&self.plan).rates.clone()
    }

    pub(crate) fn set_rates(&self, rates: FaultRates) {
        self.change(|plan| plan.rates = rates);
    }

    pub(crate) fn set_limit(&self, limit: Option<RateLimit>) {
        self.change(|plan| {
            plan.limit = limit;
            plan.window = (Instant::now(), 0);
        });
    }

    pub(crate) fn push(&self, scripted: Scripted) {
        self.change(|plan| plan.script.push_back(scripted));
    }

    /// The scripted faults that are not used up.
    pub(crate) fn script(&self) -> Vec<Scripted> {
        locked(&self.plan).script.iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.change(|plan| {
            plan.script.clear();
            plan.rates = FaultRates::default();
            plan.limit = None;
        });
    }

    fn change(&self, change: impl FnOnce(&mut Plan)) {
        let mut plan = locked(&self.plan);
        change(&mut plan);
        let armed =
            !plan.script.is_empty() || plan.limit.is_some() || plan.rates != FaultRates::default();
        self.armed.store(armed, Ordering::Relaxed);
    }
}

impl Plan {
    fn fate(&mut self, method: &str, target: &str) -> Fate {
        let (quota, wait) = self.count_in();
        let chance = self.rates.on.matches(method, target);
        let latency = if chance {
            self.draw_latency()
        } else {
            Duration::ZERO
        };
        let fault = match wait {
            Some(retry_after_ms) => Some(Fault::Throttle { retry_after_ms }),
            None => self.next_scripted(method, target).or_else(|| {
                if chance {
                    self.rates.at(self.rng.f64())
                } else {
                    None
                }
            }),
        };
        Fate {
            latency,
            fault,
            quota,
        }
    }

    fn next_scripted(&mut self, method: &str, target: &str) -> Option<Fault> {
        let at = self
            .script
            .iter()
            .position(|entry| entry.on.matches(method, target))?;
        let entry = self.script.get_mut(at)?;
        entry.times = entry.times.saturating_sub(1);
        let fault = entry.fault.clone();
        if entry.times == 0 {
            self.script.remove(at);
        }
        Some(fault)
    }

    fn draw_latency(&mut self) -> Duration {
        let (min, max) = (self.rates.latency_ms_min, self.rates.latency_ms_max);
        Duration::from_millis(if max > min {
            self.rng.u64(min..=max)
        } else {
            min
        })
    }

    /// Counts the request against the limit. Returns the quota and, if it is used up, the
    /// milliseconds until the window ends.
    fn count_in(&mut self) -> (Option<Quota>, Option<u64>) {
        let Some(limit) = self.limit else {
            return (None, None);
        };
        let window = Duration::from_millis(limit.window_ms);
        if self.window.0.elapsed() >= window {
            self.window = (Instant::now(), 0);
        }
        self.window.1 = self.window.1.saturating_add(1);
        let remaining = limit.requests.saturating_sub(self.window.1);
        let left = window.saturating_sub(self.window.0.elapsed()).as_millis();
        let over = self.window.1 > limit.requests;
        let wait = over.then(|| u64::try_from(left).unwrap_or(u64::MAX).saturating_add(1));
        (
            Some(Quota {
                limit: limit.requests,
                remaining,
            }),
            wait,
        )
    }
}
