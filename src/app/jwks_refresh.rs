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

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, sleep},
};

use super::file_watch::short;
use crate::{
    audit::{Noted, Sink},
    config::{read_file, read_text},
    egress::jwks_client::{JwksRequest, fetch},
    identity::{Issuer, Jwks},
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
    pub(super) state: Mutex<FetchState>,
    pub(super) freshness: Freshness,
    /// Who hears of keys that have changed.
    pub(super) audit: Sink,
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
pub(super) struct FetchState {
    /// When keys were fetched last because somebody named one that was not known.
    asked_at: Option<Instant>,
    /// What was told last, so that it is told once.
    told: Option<String>,
    /// The digest of the answer that keys were read from last.
    taken: Option<[u8; 32]>,
}

/// All issuers whose keys are fetched. They change with the configuration.
#[derive(Debug, Default)]
pub(super) struct Fetchers {
    all: ArcSwap<Vec<Arc<Fetcher>>>,
    replaced: Notify,
}

impl Fetchers {
    pub(super) fn new(all: Vec<Arc<Fetcher>>) -> Self {
        Self {
            all: ArcSwap::from_pointee(all),
            replaced: Notify::new(),
        }
    }

    /// Each of them.
    pub(super) fn all(&self) -> Arc<Vec<Arc<Fetcher>>> {
        self.all.load_full()
    }

    /// Fetches for these from now on, in place of those before.
    pub(super) fn replace(&self, all: Vec<Arc<Fetcher>>) {
        let before = self.all.swap(Arc::new(all));
        let now = self.all();
        let is_same =
            before.len() == now.len() && before.iter().zip(&**now).all(|(a, b)| Arc::ptr_eq(a, b));
        if !is_same {
            self.replaced.notify_one();
        }
    }

    /// Fetches all keys once, at the same time.
    pub(super) async fn fetch_all(&self) {
        let all = self.all();
        join_all(all.iter().map(|fetcher| fetcher.fetch())).await;
    }

    /// Keeps all keys fresh.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            let all = self.all();
            tokio::select! {
                () = self.replaced.notified() => {}
                // Without any there is nothing to do until there is one.
                _ = join_all(all.iter().map(|fetcher| fetcher.watch())), if !all.is_empty() => {}
            }
        }
    }
}

impl KeySource for Fetchers {
    fn refresh(&self, issuer: Option<&str>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let all = self.all();
        let is_meant =
            |fetcher: &&Arc<Fetcher>| issuer.is_none_or(|is| fetcher.issuer.name() == is);
        let meant: Vec<_> = all.iter().filter(is_meant).cloned().collect();
        Box::pin(async move {
            join_all(meant.into_iter().map(Fetcher::asked_for)).await;
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
    /// request now and then, also one who hangs up at once: the fetch goes on without the caller.
    async fn asked_for(self: Arc<Self>) {
        let pause = Duration::from_millis(limits::JWKS_PAUSE_MS_MIN);
        let is_asked =
            move |state: &FetchState| state.asked_at.is_some_and(|at| at.elapsed() < pause);
        if is_asked(&*self.state.lock().await) {
            return;
        }
        let fetch = tokio::spawn(async move {
            let mut state = self.state.lock().await;
            // Of those who came meanwhile one is enough.
            if !is_asked(&state) {
                state.asked_at = Some(Instant::now());
                self.fetch_now(&mut state).await;
            }
        });
        if let Err(error) = fetch.await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }

    async fn fetch(&self) -> bool {
        let mut state = self.state.lock().await;
        self.fetch_now(&mut state).await
    }

    /// Fetches them; whether that went well.
    async fn fetch_now(&self, state: &mut FetchState) -> bool {
        let issuer = self.issuer.name();
        let fetched = self.keys().await;
        self.freshness.tell(fetched.is_ok());
        match fetched {
            Ok((keys, digest)) => {
                if state.told.take().is_some() {
                    tracing::info!(issuer, keys = keys.count(), "keys are fetched again");
                }
                self.issuer.set_keys(keys);
                let before = state.taken.replace(digest);
                if before.is_some_and(|before| before != digest) {
                    self.tell("reloaded", Some(short(&digest)), None);
                }
                true
            }
            Err(why) => {
                if state.told.as_ref() != Some(&why) {
                    tracing::error!(
                        issuer,
                        why = %why,
                        "keys cannot be fetched; those that are known stay in use"
                    );
                    self.tell("reload_failed", None, Some(&why));
                    state.told = Some(why);
                }
                false
            }
        }
    }

    /// Has the audit tell of it. It is so already, so that it is told by the log alone if the audit
    /// has no room.
    fn tell(&self, event: &'static str, digest: Option<String>, why: Option<&str>) {
        let _ = self.audit.note(Noted {
            event,
            what: Some(format!("issuers.{}.jwks_url", self.issuer.name())),
            digest,
            why: why.map(str::to_owned),
            ..Noted::default()
        });
    }

    /// The keys, and the digest of what they were read from.
    async fn keys(&self) -> Result<(Jwks, [u8; 32]), String> {
        let (ca_file, token_file) = (self.ca_file.clone(), self.token_file.clone());
        let read = tokio::task::spawn_blocking(move || {
            let max = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
            let pem = ca_file.map(|file| read_file(&file, max(limits::PEM_BYTES_MAX)));
            let token = token_file.map(|file| read_text(&file, max(limits::TOKEN_BYTES_MAX)));
            (pem.transpose(), token.transpose())
        });
        let (pem, token) = read.await.map_err(|error| error.to_string())?;
        let question = JwksRequest {
            url: self.url.clone(),
            ca_pem: pem.map_err(|why| format!("jwks_ca_file: {why}"))?,
            token: token
                .map_err(|why| format!("jwks_token_file: {why}"))?
                .map(|token| SecretString::from(token.trim())),
        };
        let answer = fetch(&question).await?;
        let keys = Jwks::parse(&answer).map_err(|why| format!("its answer {why}"))?;
        Ok((keys, keys_digest(&answer)))
    }
}

/// The digest of the keys in a JWKS, in whatever order it has them.
fn keys_digest(jwks: &str) -> [u8; 32] {
    let jwks: serde_json::Value = serde_json::from_str(jwks).unwrap_or_default();
    let keys = jwks.get("keys").and_then(|keys| keys.as_array());
    let mut keys: Vec<_> = keys
        .into_iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
    keys.sort_unstable();
    Sha256::digest(keys.join("\n").as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    use super::*;
    use crate::identity::IssuerSettings;

    #[tokio::test]
    async fn whoever_asks_for_keys_and_hangs_up_causes_one_fetch() {
        let settings = IssuerSettings {
            name: "sso".to_owned(),
            issuer: "https://sso.example.com".to_owned(),
            audiences: Vec::new(),
            algorithms: Vec::new(),
            types: Vec::new(),
            token_life_max: None,
            keys_age_max: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fetcher = Fetcher {
            issuer: Arc::new(Issuer::new(settings)),
            url: format!("http://{}/jwks", listener.local_addr().unwrap()),
            ca_file: None,
            token_file: None,
            refresh: Duration::from_secs(3_600),
            state: Mutex::default(),
            freshness: Freshness::default(),
            audit: Sink::default(),
        };
        let fetchers = Fetchers::new(vec![Arc::new(fetcher)]);
        // The first one leaves while its fetch waits for the answer.
        let mut first = tokio::select! {
            () = fetchers.refresh(None) => panic!("nothing was answered"),
            accepted = listener.accept() => accepted.unwrap().0,
        };
        let answer =
            b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\nconnection: close\r\n\r\n{\"keys\":[]}";
        tokio::select! {
            () = async { first.write_all(answer).await.unwrap(); fetchers.refresh(None).await } => {}
            _ = listener.accept() => panic!("it is fetched again"),
        }
    }
}
