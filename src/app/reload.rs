//! Files that change while the service runs: certificates, keys, tokens, credentials. Their content
//! is compared, not their times: Kubernetes replaces a directory of links, and a file that is
//! written anew with the same content is no news. What is new and wrong is told, and the old stays.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::keys::Fetchers;
use crate::config::read_file;

/// Takes the content of files, in their order.
type Take = Box<dyn FnMut(&[Vec<u8>]) -> Result<(), String> + Send>;

/// Files that belong together, and what is done with them when one of them has changed.
pub struct Watch {
    /// Whose they are, in the words of the configuration.
    what: String,
    files: Vec<PathBuf>,
    bytes_max: u64,
    take: Take,
    /// The digest of what was taken last; no content is kept.
    taken: Option<[u8; 32]>,
    /// What was told last, so that it is told once.
    told: Option<String>,
    /// Whether that is so still, for whoever watches.
    failing: Arc<AtomicBool>,
}

impl Watch {
    /// Watches these files. `take` gets their content, at first too: it may have changed since the
    /// configuration was read.
    pub fn new(
        what: impl Into<String>,
        files: impl IntoIterator<Item = PathBuf>,
        bytes_max: u64,
        take: impl FnMut(&[Vec<u8>]) -> Result<(), String> + Send + 'static,
    ) -> Self {
        Self {
            what: what.into(),
            files: files.into_iter().collect(),
            bytes_max,
            take: Box::new(take),
            taken: None,
            told: None,
            failing: Arc::default(),
        }
    }

    /// Looks whether anything has changed.
    fn look(&mut self) -> Result<bool, String> {
        let mut contents = Vec::with_capacity(self.files.len());
        let mut hasher = Sha256::new();
        for file in &self.files {
            let content = read_file(file, self.bytes_max)
                .map_err(|why| format!("a file cannot be read ({why})"))?;
            hasher.update(Sha256::digest(&content));
            contents.push(content);
        }
        let digest = hasher.finalize().into();
        if self.taken == Some(digest) {
            return Ok(false);
        }
        (self.take)(&contents)?;
        Ok(self.taken.replace(digest).is_some())
    }

    /// The same, told to the log.
    fn look_and_tell(&mut self) -> Result<bool, ()> {
        let looked = self.look();
        self.failing.store(looked.is_err(), Ordering::Relaxed);
        match looked {
            Ok(is_new) => {
                if is_new || self.told.take().is_some() {
                    tracing::info!(what = %self.what, "reloaded");
                }
                Ok(is_new)
            }
            Err(why) => {
                if self.told.as_ref() != Some(&why) {
                    tracing::error!(
                        what = %self.what,
                        why = %why,
                        "cannot be reloaded; what was there before stays in use"
                    );
                    self.told = Some(why);
                }
                Err(())
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}

/// What a look at all files came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Groups of files whose new content is in use now.
    pub changed: usize,
    /// Groups of files that cannot be used as they are.
    pub failed: usize,
}

/// Which files cannot be used as they are, for whoever watches: a look takes as long as a disk, and
/// is not waited for.
#[derive(Debug)]
pub(super) struct Failing(Vec<(String, Arc<AtomicBool>)>);

impl Failing {
    /// Whose files there are, and whether they cannot be used.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        let all = self.0.iter();
        all.map(|(what, failing)| (&**what, failing.load(Ordering::Relaxed)))
    }
}

/// All that is reloaded. Clones are of the same.
#[derive(Debug, Clone)]
pub struct Reload {
    watches: Arc<Mutex<Vec<Watch>>>,
    fetchers: Arc<Fetchers>,
    failing: Arc<Failing>,
}

impl Reload {
    pub(super) fn new(watches: Vec<Watch>, fetchers: Arc<Fetchers>) -> Self {
        let failing = watches
            .iter()
            .map(|w| (w.what.clone(), Arc::clone(&w.failing)));
        Self {
            failing: Arc::new(Failing(failing.collect())),
            watches: Arc::new(Mutex::new(watches)),
            fetchers,
        }
    }

    /// Which files cannot be used as they are.
    pub(super) fn failing(&self) -> &Arc<Failing> {
        &self.failing
    }

    /// Looks at all files, and fetches all keys, now. What has changed is in use when this
    /// resolves.
    pub async fn now(&self) -> Reloaded {
        let files = self.files().await;
        self.fetchers.fetch_all().await;
        files
    }

    /// Looks at all files, off the async threads: a disk may be far away.
    pub(super) async fn files(&self) -> Reloaded {
        let watches = Arc::clone(&self.watches);
        let look = move || {
            let mut reloaded = Reloaded::default();
            let mut watches = watches.lock().unwrap_or_else(PoisonError::into_inner);
            for watch in watches.iter_mut() {
                match watch.look_and_tell() {
                    Ok(true) => reloaded.changed += 1,
                    Ok(false) => {}
                    Err(()) => reloaded.failed += 1,
                }
            }
            reloaded
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(reloaded) => reloaded,
            Err(error) => match error.try_into_panic() {
                // For the one who watches this task.
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down.
                Err(_) => Reloaded::default(),
            },
        }
    }

    /// Looks again and again, for the first time after this time.
    pub(super) async fn watch(self, every: Duration) {
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.files().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose content is taken if it does not begin with "bad".
    struct Bench {
        dir: tempfile::TempDir,
        watch: Watch,
        taken: Arc<Mutex<Vec<String>>>,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let taken = Arc::<Mutex<Vec<String>>>::default();
            let into = Arc::clone(&taken);
            let watch = Watch::new("test", [dir.path().join("f")], 10, move |contents| {
                let text = String::from_utf8(contents[0].clone()).unwrap();
                if text.starts_with("bad") {
                    return Err("it is bad".to_owned());
                }
                into.lock().unwrap().push(text);
                Ok(())
            });
            Self { dir, watch, taken }
        }

        fn write(&self, text: &str) {
            std::fs::write(self.dir.path().join("f"), text).unwrap();
        }
    }

    #[test]
    fn new_content_is_taken_once_and_bad_content_leaves_the_old() {
        let mut bench = Bench::new();
        assert!(bench.watch.look().is_err(), "it is not there");
        bench.write("one");
        assert_eq!(bench.watch.look(), Ok(false), "the first is no news");
        bench.write("one");
        assert_eq!(bench.watch.look(), Ok(false));
        bench.write("two");
        assert_eq!(bench.watch.look(), Ok(true));
        bench.write("bad");
        assert!(bench.watch.look().is_err());
        assert!(bench.watch.look().is_err(), "as long as it is bad");
        bench.write("far too long for it");
        assert!(bench.watch.look().is_err());
        bench.write("two");
        assert_eq!(bench.watch.look(), Ok(false), "it is in use still");
        bench.write("three");
        assert_eq!(bench.watch.look(), Ok(true));
        assert_eq!(*bench.taken.lock().unwrap(), ["one", "two", "three"]);
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_new_content() {
        let mut bench = Bench::new();
        let path = |name: &str| bench.dir.path().join(name);
        for (name, text) in [("a", "one"), ("b", "two")] {
            std::fs::write(path(name), text).unwrap();
        }
        std::os::unix::fs::symlink("a", path("f")).unwrap();
        assert_eq!(bench.watch.look(), Ok(false));
        let (new, link) = (bench.dir.path().join("new"), bench.dir.path().join("f"));
        std::os::unix::fs::symlink("b", &new).unwrap();
        std::fs::rename(new, link).unwrap();
        assert_eq!(bench.watch.look(), Ok(true));
    }
}
