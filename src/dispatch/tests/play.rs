//! One account at a provider that plays a script, over a journal and clocks that outlive the engine.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{
    bench::{item, submission},
    hooked::Hooked,
};
use crate::{
    dispatch::{
        Clock, Dispatch, Item, LaneOptions, Options, Submission, Ticket, budget::Members,
        feed::Update,
    },
    domain::{
        account::{Account, FunnelFoxEnd, ProviderSettings, RebillyAuth},
        command::Command,
        doubt::Moment,
        exchange::{Fault, FaultKind, Operation, Request, Response, Safety},
        ids::{AccountName, CallerId, ItemId, TargetId},
        outcome::Settled,
    },
    egress::{
        Egress, Unanswered, backoff::Backoff, breaker::Pauses, budget, concurrency::Bounds, gate,
    },
    journal::{Journal, memory::MemoryJournal},
    providers::Mode,
};

pub(super) const SECOND: Duration = Duration::from_secs(1);
/// The account's `timeout_ms` and `settling_ms`.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const SETTLING: Duration = Duration::from_secs(30);

/// A request that the provider got.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub(super) at: Instant,
    /// Whom it is about.
    pub(super) id: String,
    pub(super) operation: Operation,
    pub(super) is_look: bool,
}

/// What the provider makes of a request.
pub(super) enum Act {
    Answer(Response),
    /// The connection breaks at once.
    Lose,
    /// Nothing was sent.
    Refuse,
    /// No answer comes.
    Silence,
}

pub(super) fn answer(status: u16, body: &Value) -> Act {
    answer_with(status, &[], body)
}

pub(super) fn answer_with(status: u16, headers: &[(&str, &str)], body: &Value) -> Act {
    page(status, headers, &body.to_string())
}

pub(super) fn page(status: u16, headers: &[(&str, &str)], body: &str) -> Act {
    let headers = headers.iter();
    let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Act::Answer(Response::new(status, headers.collect(), body.to_owned()))
}

/// A subscription at FunnelFox.
pub(super) fn fox(asked: &Asked, status: &str) -> Act {
    let renews = status == "active";
    answer(
        200,
        &json!({"id": asked.id, "status": status, "renews": renews}),
    )
}

/// FunnelFox does what it is asked, and a look finds what has not been asked for active.
pub(super) fn obeys(asked: &Asked) -> Act {
    fox(asked, if asked.is_look { "active" } else { "cancelled" })
}

type Script = Box<dyn FnMut(&Asked) -> Act + Send>;

#[derive(Clone)]
struct Provider {
    asked: Arc<Mutex<Vec<Asked>>>,
    script: Arc<Mutex<Script>>,
}

impl Provider {
    async fn take(self, request: Request, after: Duration) -> Result<Response, Unanswered> {
        let segments = request.path.as_str().split('/');
        let id = segments
            .skip_while(|segment| *segment != "subscriptions")
            .nth(1);
        let body = request.body.as_ref().map(|body| body.text.as_str());
        let body: Value = serde_json::from_str(body.unwrap_or_default()).unwrap_or_default();
        let asked = Asked {
            at: Instant::now(),
            id: id
                .or_else(|| body["subscriptionId"].as_str())
                .unwrap_or_default()
                .to_owned(),
            operation: request.operation,
            is_look: request.safety == Safety::Look,
        };
        self.asked.lock().unwrap().push(asked.clone());
        if !after.is_zero() {
            tokio::time::sleep(after).await;
        }
        let act = (self.script.lock().unwrap())(&asked);
        let fault = |kind| Fault {
            kind,
            message: "the script says so".to_owned(),
        };
        match act {
            Act::Answer(response) => Ok(response),
            Act::Lose => Err(Unanswered::InDoubt(fault(FaultKind::Broken))),
            Act::Refuse => Err(Unanswered::NotSent(fault(FaultKind::Connect))),
            Act::Silence => std::future::pending().await,
        }
    }
}

/// All that outlives the engine, and how it runs.
pub(super) struct Stage {
    pub(super) settings: ProviderSettings,
    pub(super) base_url: &'static str,
    pub(super) rate: f64,
    pub(super) burst: u32,
    pub(super) concurrency: usize,
    pub(super) retries: budget::Share,
    /// How long the provider takes.
    pub(super) answers_after: Duration,
    pub(super) journal: MemoryJournal,
    /// The same, as the last process has it.
    pub(super) hooked: Hooked,
    provider: Provider,
    begun: Instant,
}

impl Stage {
    /// An account at FunnelFox, which sends as fast as is asked for.
    pub(super) fn new() -> Self {
        let provider = Provider {
            asked: Arc::default(),
            script: Arc::new(Mutex::new(Box::new(obeys))),
        };
        Self {
            settings: ProviderSettings::FunnelFox {
                cancel_ends: FunnelFoxEnd::Now,
            },
            base_url: "https://provider",
            rate: 1_000.0,
            burst: 1_000,
            concurrency: 64,
            retries: budget::Share {
                per_request: 0.2,
                per_second: 1.0,
                saved_max: 10.0,
            },
            answers_after: Duration::ZERO,
            journal: MemoryJournal::new(),
            hooked: Hooked::new(),
            provider,
            begun: Instant::now(),
        }
    }

    /// The same at Rebilly.
    pub(super) fn rebilly() -> Self {
        Self {
            settings: ProviderSettings::Rebilly {
                organization: None,
                auth: RebillyAuth::ApiKey,
            },
            ..Self::new()
        }
    }

    /// What the provider does from now on.
    pub(super) fn play(&self, script: impl FnMut(&Asked) -> Act + Send + 'static) {
        *self.provider.script.lock().unwrap() = Box::new(script);
    }

    fn lane(&self, name: &str) -> LaneOptions {
        let account = Arc::new(Account {
            name: name.try_into().unwrap(),
            base_url: self.base_url.to_owned(),
            settings: self.settings.clone(),
        });
        let (provider, after) = (self.provider.clone(), self.answers_after);
        let provider = tower::service_fn(move |request| provider.clone().take(request, after));
        LaneOptions {
            place: account.place(None),
            egress: Egress::simulated(&account, TIMEOUT, provider),
            account,
            gate: gate::Options {
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
                base: SECOND,
                max: 8 * SECOND,
            },
            timeout: TIMEOUT,
            settling: SETTLING,
        }
    }

    /// Starts a process on the journal.
    pub(super) async fn start(&mut self) -> Arc<Dispatch> {
        self.journal = self.journal.restarted();
        let begun = self.begun;
        let options = Options {
            lanes: vec![self.lane("a")],
            open_items_max: 1_000_000,
            members: Members::default(),
            open_bytes_max: usize::MAX / 2,
            results_held_max: 1_000_000,
            reader_patience: 3_600 * SECOND,
            retry_window: 3_600 * SECOND,
            clock: Clock::from_fn(move || {
                let passed = jiff::SignedDuration::try_from(begun.elapsed()).unwrap();
                Timestamp::UNIX_EPOCH + passed
            }),
            seed: 1,
        };
        self.hooked = Hooked::over(self.journal.clone());
        let journal: Arc<dyn Journal> = Arc::new(self.hooked.clone());
        Dispatch::start(journal, options).await.unwrap()
    }

    /// Ends a process as a crash does: it writes nothing more.
    pub(super) async fn crash(&self, dispatch: Arc<Dispatch>) {
        self.journal.fail("the process is gone");
        for lane in dispatch.lanes.values() {
            lane.close();
        }
        dispatch.shared.cut.cancel();
        dispatch.shared.tasks.close();
        dispatch.shared.tasks.wait().await;
    }

    /// Which open items may have been sent, once the process is gone.
    pub(super) async fn in_doubt(&mut self) -> Vec<ItemId> {
        self.journal.fail("the process is gone");
        self.journal = self.journal.restarted();
        let journal: &dyn Journal = &self.journal;
        let passed = jiff::SignedDuration::try_from(self.begun.elapsed()).unwrap();
        let now = Moment::wall(Timestamp::UNIX_EPOCH + passed);
        journal.begin(now).await.unwrap();
        let open = journal.open_items().unwrap().into_iter();
        let doubtful = open.filter(|open| open.doubt.is_some());
        doubtful.map(|open| open.id).collect()
    }

    fn log(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.provider.asked.lock().unwrap()
    }

    /// What the provider has been asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.log().clone()
    }

    /// How many requests with an effect it got.
    pub(super) fn effects(&self) -> usize {
        self.log().iter().filter(|asked| !asked.is_look).count()
    }

    /// How many looks it got.
    pub(super) fn looks(&self) -> usize {
        self.log().iter().filter(|asked| asked.is_look).count()
    }

    /// When it was asked, in seconds after a time.
    pub(super) fn seconds_after(&self, from: Instant) -> Vec<(f64, &'static str)> {
        let log = self.log();
        let since = |asked: &Asked| (asked.at - from).as_secs_f64();
        let all = log.iter().filter(|asked| asked.at >= from);
        all.map(|asked| (since(asked), asked.operation.0)).collect()
    }
}

/// A request for these subscriptions.
pub(super) fn request(key: &str, ids: impl IntoIterator<Item = impl AsRef<str>>) -> Submission {
    let items = ids.into_iter().map(|id| item(id.as_ref()));
    submission(key, items.collect())
}

/// The same as a dry run.
pub(super) fn dry(mut request: Submission) -> Submission {
    for item in &mut request.items {
        item.mode = Mode::DryRun;
    }
    request
}

/// The same with a prorated invoice.
pub(super) fn prorated(mut request: Submission) -> Submission {
    for Item { command, .. } in &mut request.items {
        if let Command::Subscription(command) = Arc::make_mut(command) {
            command.prorate = Some(true);
        }
    }
    request
}

/// What comes of all items of a request, in their order.
pub(super) async fn outcomes(ticket: &Ticket) -> Vec<Arc<Settled>> {
    let mut settled = Vec::new();
    let read = async {
        while let Some(updates) = ticket.feed.take(usize::MAX).await.unwrap() {
            settled.extend(updates.into_iter().filter_map(|(at, update)| match update {
                Update::Settled { settled, .. } => Some((at, settled)),
                Update::Progress { .. } => None,
            }));
        }
    };
    let day = 24 * 3_600 * SECOND;
    timeout(day, read).await.expect("it ends within a day");
    settled.sort_by_key(|(at, _)| *at);
    settled.into_iter().map(|(_, settled)| settled).collect()
}

/// What comes of a request with one item.
pub(super) async fn outcome(dispatch: &Arc<Dispatch>, request: Submission) -> Arc<Settled> {
    let ticket = dispatch.submit(request).await.unwrap();
    outcomes(&ticket).await.remove(0)
}

/// Lets everything go on that can without more time.
pub(super) async fn settle_down() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}

pub(super) fn account() -> AccountName {
    "a".try_into().unwrap()
}

pub(super) fn target(id: &str) -> TargetId {
    id.try_into().unwrap()
}

pub(super) fn ann() -> CallerId {
    "ann".try_into().unwrap()
}
