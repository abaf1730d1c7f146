//! The time of day, as whoever runs the engine tells it.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest as _, Sha256};

use crate::domain::doubt::{Boot, Moment};

/// Tells the time of day. Everything that waits uses tokio's clock instead.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Moment + Send + Sync>);

impl Clock {
    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        let boot_id = boot_id();
        Self(Arc::new(move || Moment {
            at: Timestamp::now(),
            boot: boot_id.and_then(boot),
        }))
    }

    /// Any other, for tests and simulations: one that knows nothing of boots.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(move || Moment::wall(now())))
    }

    /// Any other, by both clocks.
    pub fn from_moments(now: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)().at
    }

    /// The time, in the form that outlives the process.
    #[must_use]
    pub fn moment(&self) -> Moment {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Which start of the machine this is; `None` where the system does not say.
fn boot_id() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digest = Sha256::digest(text.trim().as_bytes());
    let bytes = digest.iter().take(8);
    Some(bytes.fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
}

/// How long this machine has run, with the time that it slept.
fn boot(id: u64) -> Option<Boot> {
    let since = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(since.tv_sec).ok()?;
    let ms = u64::try_from(since.tv_nsec / 1_000_000).ok()?;
    let ms = seconds.saturating_mul(1_000).saturating_add(ms);
    Some(Boot { id, ms })
}
