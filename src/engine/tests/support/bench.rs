//! One account at a provider that takes requests and never answers, over any journal.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    domain::{
        account::{Account, ProviderSettings, RebillyAuth},
        command::{Command, SubscriptionCommand, When},
        http_exchange::{Request, Response},
        ids::{Kind, Scope},
    },
    egress::{
        Egress, SendError,
        flow::{
            self, adaptive_concurrency::Bounds, backoff::Backoff, circuit_breaker::Pauses,
            retry_budget,
        },
    },
    engine::{Clock, Engine, EngineOptions, LaneOptions, Submission, SubmittedItem},
    journal::{Journal, memory_journal::MemoryJournal},
    observe,
    providers::Mode,
    shared_budget::Members,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// An engine under test.
pub(in crate::engine::tests) struct Bench {
    pub(in crate::engine::tests) engine: Arc<Engine>,
    /// Requests that the provider has got.
    pub(in crate::engine::tests) sent: Arc<AtomicUsize>,
}

/// What a test sets.
pub(in crate::engine::tests) struct Choices {
    pub(in crate::engine::tests) journal: Arc<dyn Journal>,
    /// Requests per second.
    pub(in crate::engine::tests) rate: f64,
    /// Maximum of concurrent executions.
    pub(in crate::engine::tests) concurrency: usize,
    pub(in crate::engine::tests) open_items_max: usize,
    pub(in crate::engine::tests) members: Members,
    pub(in crate::engine::tests) scanners: Members,
    pub(in crate::engine::tests) open_bytes_max: usize,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            journal: Arc::new(MemoryJournal::new()),
            rate: 0.001,
            concurrency: 16,
            open_items_max: 1_000_000,
            members: Members::default(),
            scanners: Members::default(),
            open_bytes_max: usize::MAX / 2,
        }
    }
}

impl Choices {
    pub(in crate::engine::tests) async fn start(self) -> Bench {
        let sent = Arc::<AtomicUsize>::default();
        let account = Arc::new(Account {
            name: "a".try_into().unwrap(),
            base_url: "https://provider".to_owned(),
            settings: ProviderSettings::Rebilly {
                organization: None,
                auth: RebillyAuth::ApiKey,
            },
        });
        let counted = Arc::clone(&sent);
        let provider = tower::service_fn(move |_: Request| {
            counted.fetch_add(1, Ordering::AcqRel);
            std::future::pending::<Result<Response, SendError>>()
        });
        let lane = LaneOptions {
            place: account.place(None),
            egress: Egress::simulated(&account, HOUR, provider),
            account,
            gate: flow::FlowOptions {
                concurrency: Bounds {
                    floor: self.concurrency,
                    ceiling: self.concurrency,
                },
                rate_per_second: self.rate,
                rate_burst: 1,
                retries: retry_budget::RetryBudgetOptions {
                    per_request: 0.2,
                    per_second: 1.0,
                    saved_max: 10.0,
                },
                pauses: Pauses {
                    base: Duration::from_secs(1),
                    max: Duration::from_secs(8),
                },
            },
            backoff: Backoff {
                base: Duration::from_secs(1),
                max: Duration::from_secs(8),
            },
            timeout: HOUR,
            settling: Duration::from_secs(30),
        };
        let begun = Instant::now();
        let options = EngineOptions {
            lanes: vec![lane],
            open_items_max: self.open_items_max,
            scanners: self.scanners,
            members: self.members,
            open_bytes_max: self.open_bytes_max,
            audit: crate::audit::Usage::default(),
            results_held_max: 1_000_000,
            reader_patience: HOUR,
            retry_window: HOUR,
            clock: Clock::from_fn(move || {
                let passed = jiff::SignedDuration::try_from(begun.elapsed()).unwrap();
                Timestamp::UNIX_EPOCH + passed
            }),
            seed: 1,
        };
        let engine = Engine::start(self.journal, options).await.unwrap();
        Bench { engine, sent }
    }
}

/// A cancellation of the subscription with this id.
pub(in crate::engine::tests) fn item(id: &str) -> SubmittedItem {
    let command = Command::Subscription(SubscriptionCommand {
        account: "a".try_into().unwrap(),
        subscription_id: id.try_into().unwrap(),
        when: When::Now,
        reason: None,
        comment: None,
        initiated_by: None,
        prorate: None,
        line_items: Vec::new(),
        options: None,
    });
    SubmittedItem {
        key: None,
        command: Arc::new(command),
        mode: Mode::Cancel,
    }
}

/// The same with its own key.
pub(in crate::engine::tests) fn keyed(key: &str, id: &str) -> SubmittedItem {
    SubmittedItem {
        key: Some(key.try_into().unwrap()),
        ..item(id)
    }
}

/// `count` cancellations of subscriptions that no other key names.
pub(in crate::engine::tests) fn items(key: &str, count: usize) -> Vec<SubmittedItem> {
    (0..count).map(|i| item(&format!("{key}-{i}"))).collect()
}

/// A request.
pub(in crate::engine::tests) fn submission(key: &str, items: Vec<SubmittedItem>) -> Submission {
    Submission {
        scope: Scope {
            caller: "ann".try_into().unwrap(),
            kind: Kind::Subscription,
        },
        key: key.try_into().unwrap(),
        items,
        retry_window: None,
        with_answers: false,
        quota: None,
        hangup: None,
        from: observe::RequestContext::default(),
    }
}
