//! The state of a sandbox: the five providers with a lock each, their connections' faults, the
//! clock.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Options, Provider, funnelfox, line::Line, rebilly, revolv3, sequenzy, solidgate, state::shift,
    variants::Variants,
};

/// See the module docs.
#[derive(Debug)]
pub(super) struct World {
    pub(super) options: Options,
    pub(super) rebilly: Mutex<rebilly::Desk>,
    pub(super) solidgate: Mutex<solidgate::Desk>,
    pub(super) funnelfox: Mutex<funnelfox::Desk>,
    pub(super) revolv3: Mutex<revolv3::Desk>,
    pub(super) sequenzy: Mutex<sequenzy::Desk>,
    lines: [Line; 5],
    /// How far the simulated clock is ahead of the system's, in ms.
    ahead_ms: AtomicI64,
}

impl World {
    pub(super) fn new(options: Options) -> Self {
        let mut seeds = fastrand::Rng::with_seed(options.seed);
        let recorded_max = options.recorded_requests_max;
        let v = options.variants;
        Self {
            rebilly: Mutex::new(rebilly::Desk::new(&options, v.rebilly)),
            solidgate: Mutex::new(solidgate::Desk::new(&options, v.solidgate)),
            funnelfox: Mutex::new(funnelfox::Desk::new(&options, v.funnelfox)),
            revolv3: Mutex::new(revolv3::Desk::new(&options, v.revolv3)),
            sequenzy: Mutex::new(sequenzy::Desk::new(&options, v.sequenzy)),
            lines: Provider::ALL.map(|_| Line::new(seeds.u64(..), recorded_max)),
            ahead_ms: AtomicI64::new(0),
            options,
        }
    }

    pub(super) const fn line(&self, provider: Provider) -> &Line {
        let [rebilly, solidgate, funnelfox, revolv3, sequenzy] = &self.lines;
        match provider {
            Provider::Rebilly => rebilly,
            Provider::Solidgate => solidgate,
            Provider::FunnelFox => funnelfox,
            Provider::Revolv3 => revolv3,
            Provider::Sequenzy => sequenzy,
        }
    }

    /// The simulated time: the only place where the sandbox reads a clock for its data.
    pub(super) fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.ahead_ms.load(Ordering::SeqCst));
        let now = self.options.stands_at.unwrap_or_else(Timestamp::now);
        shift(now, ahead)
    }

    /// The time by a provider's own clock.
    pub(super) fn now_at(&self, provider: Provider) -> Timestamp {
        shift(self.now(), self.line(provider).skew())
    }

    pub(super) fn advance(&self, by_ms: i64) {
        self.ahead_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    pub(super) fn variants(&self) -> Variants {
        Variants {
            rebilly: locked(&self.rebilly).variants,
            solidgate: locked(&self.solidgate).variants,
            funnelfox: locked(&self.funnelfox).variants,
            revolv3: locked(&self.revolv3).variants,
            sequenzy: locked(&self.sequenzy).variants,
        }
    }

    pub(super) fn set_variants(&self, variants: Variants) {
        locked(&self.rebilly).variants = variants.rebilly;
        locked(&self.solidgate).variants = variants.solidgate;
        locked(&self.funnelfox).variants = variants.funnelfox;
        locked(&self.revolv3).variants = variants.revolv3;
        locked(&self.sequenzy).variants = variants.sequenzy;
    }

    /// Resets to the start: no state, no faults, no recorded requests, the initial variants.
    pub(super) fn reset(&self) {
        let (options, v) = (&self.options, self.options.variants);
        *locked(&self.rebilly) = rebilly::Desk::new(options, v.rebilly);
        *locked(&self.solidgate) = solidgate::Desk::new(options, v.solidgate);
        *locked(&self.funnelfox) = funnelfox::Desk::new(options, v.funnelfox);
        *locked(&self.revolv3) = revolv3::Desk::new(options, v.revolv3);
        *locked(&self.sequenzy) = sequenzy::Desk::new(options, v.sequenzy);
        self.lines.iter().for_each(Line::reset);
        self.ahead_ms.store(0, Ordering::SeqCst);
    }
}

/// Locks a mutex even if it is poisoned: every critical section leaves its data consistent.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
