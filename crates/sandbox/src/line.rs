//! The connection side of a provider: received requests, faults, and the means to wait for either.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use jiff::SignedDuration;
use tokio::sync::{Notify, watch};

use super::{faults::Faults, wire::Received, world::locked};

/// See the module docs.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) faults: Faults,
    requests: AtomicU64,
    held: AtomicU64,
    /// Wakes waiters for a number of requests or holds.
    changed: Notify,
    /// A held request waits until this number changes.
    gate: watch::Sender<u64>,
    recorded: Mutex<VecDeque<Arc<Received>>>,
    recorded_max: usize,
    /// How many milliseconds the provider's clock is ahead.
    skew_ms: AtomicI64,
    /// Whether its replies have no `Date`.
    no_date: AtomicBool,
}

impl Line {
    pub(super) fn new(seed: u64, recorded_max: usize) -> Self {
        Self {
            faults: Faults::new(seed),
            requests: AtomicU64::new(0),
            held: AtomicU64::new(0),
            changed: Notify::new(),
            gate: watch::Sender::new(0),
            recorded: Mutex::new(VecDeque::new()),
            recorded_max,
            skew_ms: AtomicI64::new(0),
            no_date: AtomicBool::new(false),
        }
    }

    pub(super) fn record(&self, received: &Arc<Received>) {
        if self.recorded_max > 0 {
            let mut recorded = locked(&self.recorded);
            if recorded.len() >= self.recorded_max {
                recorded.pop_front();
            }
            recorded.push_back(Arc::clone(received));
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Sets the provider's clock: how many milliseconds it is ahead, and whether replies have a
    /// `Date`.
    pub(super) fn set_clock(&self, skew_ms: i64, no_date: bool) {
        self.skew_ms.store(skew_ms, Ordering::SeqCst);
        self.no_date.store(no_date, Ordering::SeqCst);
    }

    pub(super) fn skew(&self) -> SignedDuration {
        SignedDuration::from_millis(self.skew_ms.load(Ordering::SeqCst))
    }

    pub(super) fn tells_date(&self) -> bool {
        !self.no_date.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::SeqCst)
    }

    pub(super) fn recorded(&self) -> Vec<Arc<Received>> {
        locked(&self.recorded).iter().map(Arc::clone).collect()
    }

    /// Releases every held request.
    pub(super) fn release(&self) {
        self.gate.send_modify(|passed| *passed += 1);
    }

    /// Waits for the next [`Line::release`].
    pub(super) async fn hold(&self) {
        struct Held<'a>(&'a Line);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                self.0.held.fetch_sub(1, Ordering::SeqCst);
                self.0.changed.notify_waiters();
            }
        }
        // Subscribed before it is counted, so that a reader of the count can release it.
        let mut gate = self.gate.subscribe();
        self.held.fetch_add(1, Ordering::SeqCst);
        let _held = Held(self);
        self.changed.notify_waiters();
        // The sender lives in `self`, so the gate cannot close.
        let _ = gate.changed().await;
    }

    /// Waits until `reached` is true; checked after each request and each hold.
    pub(super) async fn until(&self, reached: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on a change wakes this task, even before the await.
            changed.as_mut().enable();
            if reached(self) {
                return;
            }
            changed.await;
        }
    }

    /// Drops requests and faults, and releases held requests.
    pub(super) fn reset(&self) {
        self.faults.clear();
        self.set_clock(0, false);
        locked(&self.recorded).clear();
        self.requests.store(0, Ordering::SeqCst);
        self.release();
    }
}
