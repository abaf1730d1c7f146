//! One account at a scripted provider in paused time, and what outlives the engine: the journal and
//! the clocks.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{
    hooked::Hooked,
    scene::Scene,
    script::{Act, Asked, Provider},
};
use crate::{
    domain::{
        account::{Account, FunnelFoxEnd, ProviderSettings, RebillyAuth},
        doubt::{Boot, Moment},
        ids::ItemId,
    },
    egress::{
        Egress,
        flow::{
            self, adaptive_concurrency::Bounds, backoff::Backoff, circuit_breaker::Pauses,
            retry_budget,
        },
    },
    engine::{Clock, Engine, EngineOptions, LaneOptions},
    journal::{Journal, memory_journal::MemoryJournal},
    shared_budget::Members,
};

pub(in crate::engine::tests) const SECOND: Duration = Duration::from_secs(1);
pub(in crate::engine::tests) const HOUR: Duration = Duration::from_secs(3_600);
/// The account's default `timeout_ms`.
pub(in crate::engine::tests) const TIMEOUT: Duration = Duration::from_secs(10);
/// The account's default `settling_ms`.
pub(in crate::engine::tests) const SETTLING: Duration = Duration::from_secs(30);

/// The time of a request in seconds since the stage was set up, and its operation.
pub(in crate::engine::tests) type Second = (u64, &'static str);

/// The clocks of a process, relative to the test's own.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::engine::tests) struct Clocks {
    /// Seconds by which the wall clock is ahead.
    pub(in crate::engine::tests) wall: i64,
    /// The boot, and the seconds by which its clock is ahead.
    pub(in crate::engine::tests) boot: Option<(u64, u64)>,
}

/// What outlives a process, and the set-up of the next one.
pub(in crate::engine::tests) struct Stage {
    pub(in crate::engine::tests) settings: ProviderSettings,
    pub(in crate::engine::tests) base_url: &'static str,
    pub(in crate::engine::tests) secret: &'static str,
    pub(in crate::engine::tests) clocks: Clocks,
    /// `timeout_ms` and `settling_ms`.
    pub(in crate::engine::tests) times: (Duration, Duration),
    pub(in crate::engine::tests) rate: f64,
    pub(in crate::engine::tests) burst: u32,
    pub(in crate::engine::tests) concurrency: usize,
    pub(in crate::engine::tests) retries: retry_budget::RetryBudgetOptions,
    pub(in crate::engine::tests) journal: MemoryJournal,
    provider: Provider,
    begun: Instant,
}

impl Stage {
    /// An account without a limiting rate.
    pub(in crate::engine::tests) fn at(settings: ProviderSettings) -> Self {
        Self {
            settings,
            base_url: "https://provider",
            secret: "secret",
            clocks: Clocks::default(),
            times: (TIMEOUT, SETTLING),
            rate: 1_000.0,
            burst: 1_000,
            concurrency: 64,
            retries: retry_budget::RetryBudgetOptions {
                per_request: 0.2,
                per_second: 1.0,
                saved_max: 10.0,
            },
            journal: MemoryJournal::new(),
            provider: Provider::new(),
            begun: Instant::now(),
        }
    }

    /// An account at FunnelFox that ends subscriptions at once.
    pub(in crate::engine::tests) fn at_funnelfox() -> Self {
        Self::at(ProviderSettings::FunnelFox {
            cancel_ends: FunnelFoxEnd::Now,
        })
    }

    /// An account at Rebilly.
    pub(in crate::engine::tests) fn at_rebilly() -> Self {
        Self::at(ProviderSettings::Rebilly {
            organization: None,
            auth: RebillyAuth::ApiKey,
        })
    }

    fn clock(&self) -> Clock {
        let (begun, clocks) = (self.begun, self.clocks);
        let epoch = epoch();
        Clock::from_moments(move || {
            let passed = begun.elapsed();
            let ahead = SignedDuration::from_secs(clocks.wall);
            Moment {
                at: epoch + SignedDuration::try_from(passed).unwrap() + ahead,
                boot: clocks.boot.map(|(id, ahead)| Boot {
                    id,
                    ms: u64::try_from(passed.as_millis()).unwrap() + ahead * 1_000,
                }),
            }
        })
    }

    /// When the wall clock showed this, if it was not set.
    pub(in crate::engine::tests) fn instant(&self, at: Timestamp) -> Instant {
        self.begun + Duration::try_from(at.duration_since(epoch())).unwrap()
    }

    fn lane(&self, is_gone: &Arc<AtomicBool>) -> LaneOptions {
        let account = Arc::new(Account {
            name: "a".try_into().unwrap(),
            base_url: self.base_url.to_owned(),
            settings: self.settings.clone(),
        });
        let (provider, is_gone) = (self.provider.clone(), Arc::clone(is_gone));
        let provider =
            tower::service_fn(move |request| provider.clone().take(request, Arc::clone(&is_gone)));
        let (timeout, settling) = self.times;
        let egress = Egress::simulated(&account, timeout, provider);
        LaneOptions {
            place: account.place(None),
            egress: egress.showing(&account, self.secret),
            account,
            gate: flow::FlowOptions {
                concurrency: Bounds {
                    floor: self.concurrency,
                    ceiling: self.concurrency,
                },
                rate_per_second: self.rate,
                rate_burst: self.burst,
                retries: self.retries,
                pauses: Pauses {
                    base: SECOND,
                    max: 8 * SECOND,
                },
            },
            backoff: Backoff {
                base: Duration::from_millis(1),
                max: Duration::from_millis(1),
            },
            timeout,
            settling,
        }
    }

    /// Starts a process.
    pub(in crate::engine::tests) async fn starts(self) -> Scene {
        let is_gone = Arc::default();
        let options = EngineOptions {
            lanes: vec![self.lane(&is_gone)],
            open_items_max: 1_000_000,
            members: Members::default(),
            scanners: Members::default(),
            open_bytes_max: usize::MAX / 2,
            audit: crate::audit::Usage::default(),
            results_held_max: 1_000_000,
            reader_patience: HOUR,
            retry_window: HOUR,
            clock: self.clock(),
            seed: 1,
        };
        let hooked = Hooked::over(self.journal.clone());
        let journal = Arc::new(hooked.clone());
        let engine = Engine::start(journal, options).await.unwrap();
        Scene::new(self, engine, hooked, is_gone)
    }

    /// Starts a process with this script of the provider.
    pub(in crate::engine::tests) async fn plays(
        self,
        script: impl FnMut(&Asked) -> Act + Send + 'static,
    ) -> Scene {
        self.play(script);
        self.starts().await
    }

    /// Sets the provider's script for later requests.
    pub(in crate::engine::tests) fn play(
        &self,
        script: impl FnMut(&Asked) -> Act + Send + 'static,
    ) {
        self.provider.play(script);
    }

    /// The requests so far.
    pub(in crate::engine::tests) fn asked(&self) -> Vec<Asked> {
        self.provider.log().clone()
    }

    /// The requests so far, by the second.
    pub(in crate::engine::tests) fn seconds(&self) -> Vec<Second> {
        let log = self.provider.log();
        let second = |asked: &Asked| (asked.at - self.begun).as_secs();
        let all = log.iter();
        all.map(|asked| (second(asked), asked.operation.0))
            .collect()
    }

    /// The requests since `from`, in seconds since then.
    pub(in crate::engine::tests) fn seconds_after(
        &self,
        from: Instant,
    ) -> Vec<(f64, &'static str)> {
        let log = self.provider.log();
        let since = |asked: &Asked| (asked.at - from).as_secs_f64();
        let all = log.iter().filter(|asked| asked.at >= from);
        all.map(|asked| (since(asked), asked.operation.0)).collect()
    }

    /// The number of requests with an effect.
    pub(in crate::engine::tests) fn effects(&self) -> usize {
        let log = self.provider.log();
        log.iter().filter(|asked| !asked.is_look).count()
    }

    /// The number of lookups.
    pub(in crate::engine::tests) fn looks(&self) -> usize {
        let log = self.provider.log();
        log.iter().filter(|asked| asked.is_look).count()
    }

    /// The stage as the next process finds it.
    pub(in crate::engine::tests) fn restarted(self) -> Self {
        Self {
            journal: self.journal.restarted(),
            ..self
        }
    }

    /// The open items that the process which is gone may have sent.
    pub(in crate::engine::tests) async fn in_doubt(&self) -> Vec<ItemId> {
        let journal: &dyn Journal = &self.journal;
        journal.begin(self.clock().moment()).await.unwrap();
        let open = journal.open_items().unwrap().into_iter();
        let doubtful = open.filter(|open| open.doubt.is_some());
        doubtful.map(|open| open.id).collect()
    }
}

pub(in crate::engine::tests) fn epoch() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}
