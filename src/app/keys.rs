//! Keys of issuers that are fetched: at the start, in intervals, and when a token names one that is
//! not known. While they cannot be fetched, the last ones stay in use.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use secrecy::SecretString;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use crate::{
    config::{read_file, read_text},
    egress::jwks::{Question, fetch},
    identity::{Issuer, Keys},
    limits,
    rpc::KeySource,
};

/// Where one issuer's keys are fetched from.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) issuer: Arc<Issuer>,
    pub(super) url: String,
    pub(super) ca_file: Option<std::path::PathBuf>,
    pub(super) token_file: Option<std::path::PathBuf>,
    pub(super) refresh: Duration,
    /// Held while they are fetched, so that who waits finds them fetched.
    pub(super) state: Mutex<State>,
    pub(super) freshness: Freshness,
}

/// How fresh an issuer's keys are, for whoever watches.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    /// When they were fetched last, in seconds since 1970; 0 for never.
    fetched_at: AtomicU64,
    /// Whether the last try failed.
    failing: AtomicBool,
}

impl Freshness {
    fn tell(&self, is_fetched: bool) {
        if is_fetched {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let seconds = now.map_or(0, |now| now.as_secs());
            self.fetched_at.store(seconds, Ordering::Relaxed);
        }
        self.failing.store(!is_fetched, Ordering::Relaxed);
    }

    pub(super) fn fetched_at(&self) -> u64 {
        self.fetched_at.load(Ordering::Relaxed)
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}

/// What fetching has come to.
#[derive(Debug, Default)]
pub(super) struct State {
    /// When keys were fetched last because somebody named one that was not known.
    asked_at: Option<Instant>,
    /// What was told last, so that it is told once.
    told: Option<String>,
}

/// All issuers whose keys are fetched.
#[derive(Debug, Default)]
pub(super) struct Fetchers(pub(super) Vec<Fetcher>);

impl Fetchers {
    /// Fetches all keys once, at the same time.
    pub(super) async fn fetch_all(&self) {
        futures_util::future::join_all(self.0.iter().map(Fetcher::fetch)).await;
    }

    /// Keeps all keys fresh.
    pub(super) async fn watch(self: Arc<Self>) {
        futures_util::future::join_all(self.0.iter().map(Fetcher::watch)).await;
    }
}

impl KeySource for Fetchers {
    fn refresh(&self, issuer: &str) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let fetcher = self.0.iter().find(|f| f.issuer.name() == issuer);
        Box::pin(async move {
            if let Some(fetcher) = fetcher {
                fetcher.asked_for().await;
            }
        })
    }
}

impl Fetcher {
    async fn watch(&self) {
        let pause = Duration::from_millis(limits::JWKS_PAUSE_MS_MIN);
        loop {
            let is_fresh = self.fetch().await;
            sleep(if is_fresh {
                self.refresh
            } else {
                self.refresh.min(pause)
            })
            .await;
        }
    }

    /// Somebody named a key that is not known. Whoever makes such names up causes no more than a
    /// request now and then.
    async fn asked_for(&self) {
        let mut state = self.state.lock().await;
        let pause = Duration::from_millis(limits::JWKS_PAUSE_MS_MIN);
        if state.asked_at.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        self.fetch_now(&mut state).await;
        state.asked_at = Some(Instant::now());
    }

    async fn fetch(&self) -> bool {
        let mut state = self.state.lock().await;
        self.fetch_now(&mut state).await
    }

    /// Fetches them; whether that went well.
    async fn fetch_now(&self, state: &mut State) -> bool {
        let issuer = self.issuer.name();
        let fetched = self.keys().await;
        self.freshness.tell(fetched.is_ok());
        match fetched {
            Ok(keys) => {
                if state.told.take().is_some() {
                    tracing::info!(issuer, keys = keys.count(), "keys are fetched again");
                }
                self.issuer.set_keys(keys);
                true
            }
            Err(why) => {
                if state.told.as_ref() != Some(&why) {
                    tracing::error!(
                        issuer,
                        why = %why,
                        "keys cannot be fetched; those that are known stay in use"
                    );
                    state.told = Some(why);
                }
                false
            }
        }
    }

    async fn keys(&self) -> Result<Keys, String> {
        let (ca_file, token_file) = (self.ca_file.clone(), self.token_file.clone());
        let read = tokio::task::spawn_blocking(move || {
            let max = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
            let pem = ca_file.map(|file| read_file(&file, max(limits::PEM_BYTES_MAX)));
            let token = token_file.map(|file| read_text(&file, max(limits::TOKEN_BYTES_MAX)));
            (pem.transpose(), token.transpose())
        });
        let (pem, token) = read.await.map_err(|error| error.to_string())?;
        let question = Question {
            url: self.url.clone(),
            ca_pem: pem.map_err(|why| format!("jwks_ca_file: {why}"))?,
            token: token
                .map_err(|why| format!("jwks_token_file: {why}"))?
                .map(|token| SecretString::from(token.trim())),
        };
        Keys::parse(&fetch(&question).await?).map_err(|why| format!("its answer {why}"))
    }
}
