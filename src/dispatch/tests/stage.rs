//! One account at a provider that plays a script in paused time, over a journal that outlives the
//! engine, with clocks that a test sets.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::bench::{item, submission};
use crate::{
    dispatch::{
        Clock, Dispatch, LaneOptions, Options, Submission, Ticket, budget::Members, feed::Update,
    },
    domain::{
        account::{Account, FunnelFoxEnd, ProviderSettings, RebillyAuth},
        doubt::{Boot, Moment},
        exchange::{Fault, FaultKind, Request, Response},
        outcome::{Outcome, Settled},
    },
    egress::{
        Egress, Unanswered, backoff::Backoff, breaker::Pauses, budget, concurrency::Bounds, gate,
    },
    journal::memory::MemoryJournal,
    providers::Mode,
};

/// The account's `timeout_ms`, if a test does not say.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// The account's `settling_ms`, if a test does not say.
pub(super) const SETTLING: Duration = Duration::from_secs(10);

/// What comes of a request.
pub(super) type Said = Result<Response, Unanswered>;
/// The same, after a while.
pub(super) struct Act(Duration, Said);

impl From<Said> for Act {
    fn from(said: Said) -> Self {
        Self(Duration::ZERO, said)
    }
}

/// What comes of a request so much later.
pub(super) fn late(after: Duration, said: Said) -> Act {
    Act(after, said)
}

/// A request's second, from when the stage was set up, and its operation.
pub(super) type Asked = (u64, &'static str);

/// An answer in JSON.
pub(super) fn says(status: u16, body: serde_json::Value) -> Said {
    Ok(Response::new(status, Vec::new(), body.to_string()))
}

/// The same with `Retry-After`.
pub(super) fn says_wait(status: u16, wait: &str, body: serde_json::Value) -> Said {
    let headers = vec![("retry-after".to_owned(), wait.to_owned())];
    Ok(Response::new(status, headers, body.to_string()))
}

/// A page of something in between.
pub(super) fn page(status: u16) -> Said {
    Ok(Response::new(status, Vec::new(), "<html>".to_owned()))
}

/// The connection breaks after the request was sent.
pub(super) fn lost() -> Said {
    Err(Unanswered::InDoubt(Fault {
        kind: FaultKind::Broken,
        message: "the connection broke".to_owned(),
    }))
}

/// Which clocks a process has, as they stand beside the test's own.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clocks {
    /// Seconds that the wall clock is ahead.
    pub(super) wall: i64,
    /// Which start of the machine it is, and how many seconds that clock is ahead.
    pub(super) boot: Option<(u64, u64)>,
}

/// What stays between processes.
pub(super) struct Stage {
    account: Arc<Account>,
    pub(super) secret: &'static str,
    pub(super) clocks: Clocks,
    /// `timeout_ms` and `settling_ms`.
    pub(super) times: (Duration, Duration),
    journal: MemoryJournal,
    begun: Instant,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A process.
pub(super) struct Scene {
    stage: Stage,
    pub(super) dispatch: Arc<Dispatch>,
    /// It is gone: nobody hears it any more.
    is_gone: Arc<AtomicBool>,
}

impl Stage {
    fn at(settings: ProviderSettings) -> Self {
        let account = Arc::new(Account {
            name: "a".try_into().unwrap(),
            base_url: "https://provider".to_owned(),
            settings,
        });
        Self {
            account,
            secret: "secret",
            clocks: Clocks::default(),
            times: (TIMEOUT, SETTLING),
            journal: MemoryJournal::new(),
            begun: Instant::now(),
            asked: Arc::default(),
        }
    }

    /// An account at FunnelFox that ends subscriptions at once.
    pub(super) fn at_funnelfox() -> Self {
        Self::at(ProviderSettings::FunnelFox {
            cancel_ends: FunnelFoxEnd::Now,
        })
    }

    /// An account at Rebilly.
    pub(super) fn at_rebilly() -> Self {
        Self::at(ProviderSettings::Rebilly {
            organization: None,
            auth: RebillyAuth::ApiKey,
        })
    }

    /// Moves the account to another address.
    pub(super) fn moved(mut self, base_url: &str) -> Self {
        self.account = Arc::new(Account {
            base_url: base_url.to_owned(),
            ..(*self.account).clone()
        });
        self
    }

    fn clock(&self) -> Clock {
        let (begun, clocks) = (self.begun, self.clocks);
        let epoch: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
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

    /// What the provider was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Starts a process, with a provider that plays this.
    pub(super) async fn plays<A: Into<Act>>(
        self,
        play: impl FnMut(&Request) -> A + Send + 'static,
    ) -> Scene {
        let is_gone = Arc::<AtomicBool>::default();
        let play = Arc::new(Mutex::new(play));
        let (asked, begun, gone) = (Arc::clone(&self.asked), self.begun, Arc::clone(&is_gone));
        let provider = tower::service_fn(move |request: Request| {
            if gone.load(Ordering::Acquire) {
                panic!("sent by a process that is gone: {request:?}");
            }
            let at = (begun.elapsed().as_secs(), request.operation.0);
            asked.lock().unwrap().push(at);
            let Act(after, said) = (play.lock().unwrap())(&request).into();
            async move {
                tokio::time::sleep(after).await;
                said
            }
        });
        let (timeout, settling) = self.times;
        let egress = Egress::simulated(&self.account, timeout, provider);
        let lane = LaneOptions {
            place: self.account.place(None),
            egress: egress.showing(&self.account, self.secret),
            account: Arc::clone(&self.account),
            gate: gate::Options {
                concurrency: Bounds {
                    floor: 16,
                    ceiling: 16,
                },
                rate_per_second: 1_000.0,
                rate_burst: 1_000,
                retries: budget::Share {
                    per_request: 0.2,
                    per_second: 1.0,
                    saved_max: 10.0,
                },
                pauses: Pauses {
                    base: Duration::from_secs(1),
                    max: Duration::from_secs(1),
                },
            },
            backoff: Backoff {
                base: Duration::from_millis(1),
                max: Duration::from_millis(1),
            },
            timeout,
            settling,
        };
        let options = Options {
            lanes: vec![lane],
            open_items_max: 1_000,
            members: Members::default(),
            open_bytes_max: usize::MAX / 2,
            results_held_max: 1_000,
            reader_patience: Duration::from_secs(3_600),
            retry_window: Duration::from_secs(3_600),
            clock: self.clock(),
            seed: 1,
        };
        let journal = Arc::new(self.journal.clone());
        let dispatch = Dispatch::start(journal, options).await.unwrap();
        Scene {
            stage: self,
            dispatch,
            is_gone,
        }
    }
}

impl Scene {
    /// What the provider was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.stage.asked()
    }

    /// Sends a request.
    pub(super) async fn opens(&self, submission: Submission) -> Ticket {
        self.dispatch.submit(submission).await.unwrap()
    }

    /// Cancels a subscription under this key, and waits for its outcome.
    pub(super) async fn cancels(&self, key: &str, id: &str) -> Arc<Settled> {
        let ticket = self.opens(submission(key, vec![item(id)])).await;
        outcome(&ticket).await
    }

    /// Finds out what that would do.
    pub(super) async fn dry_runs(&self, id: &str) -> Arc<Settled> {
        let mut request = submission("dry", vec![item(id)]);
        for item in &mut request.items {
            item.mode = Mode::DryRun;
        }
        outcome(&self.opens(request).await).await
    }

    /// Stops in order.
    pub(super) async fn stops(self) -> Stage {
        self.dispatch.drain(Duration::from_secs(60)).await;
        self.is_gone.store(true, Ordering::Release);
        self.restarts()
    }

    /// Is killed.
    pub(super) async fn dies(self) -> Stage {
        self.stage.journal.fail("the process is gone");
        for lane in self.dispatch.lanes.values() {
            lane.close();
        }
        self.dispatch.shared.cut.cancel();
        self.dispatch.shared.tasks.close();
        self.dispatch.shared.tasks.wait().await;
        self.is_gone.store(true, Ordering::Release);
        self.restarts()
    }

    fn restarts(self) -> Stage {
        let journal = self.stage.journal.restarted();
        Stage {
            journal,
            ..self.stage
        }
    }
}

/// The outcome of a request of one item.
pub(super) async fn outcome(ticket: &Ticket) -> Arc<Settled> {
    loop {
        let updates = ticket.feed.take(usize::MAX).await.unwrap();
        for (_, update) in updates.expect("it settles") {
            if let Update::Settled { settled, .. } = update {
                return settled;
            }
        }
    }
}

/// The outcome, and the reason of a failure.
pub(super) fn told(settled: &Settled) -> (Outcome, &'static str) {
    let failure = settled.conclusion.failure.as_ref();
    let reason = failure.map_or("", |failure| failure.reason.name());
    (settled.conclusion.outcome, reason)
}
