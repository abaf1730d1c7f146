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
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::keys::Fetchers;
use crate::{
    audit::{Noted, Sink},
    config::read_file,
};

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
    close: Option<Close>,
}

/// What becomes of what was read last when files cannot be used for long: it may be what somebody
/// wanted to take away.
struct Close {
    after: Duration,
    /// Whether there was something to close.
    close: Box<dyn FnMut() -> bool + Send>,
    failing_since: Option<Instant>,
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
            close: None,
        }
    }

    /// Has what was read last be given up once the files could not be used for so long. `close`
    /// says whether there was something to give up.
    pub fn closed_after(
        mut self,
        after: Duration,
        close: impl FnMut() -> bool + Send + 'static,
    ) -> Self {
        self.close = Some(Close {
            after,
            close: Box::new(close),
            failing_since: None,
        });
        self
    }

    /// Gives up what was read last, if it is time to.
    fn close_if_due(&mut self) {
        let Some(close) = &mut self.close else { return };
        let since = *close.failing_since.get_or_insert_with(Instant::now);
        // Once: what was closed is taken anew when it can be used again.
        if since.elapsed() < close.after || self.taken.is_none() {
            return;
        }
        if (close.close)() {
            self.taken = None;
            tracing::error!(
                what = %self.what,
                after_ms = u64::try_from(close.after.as_millis()).unwrap_or(u64::MAX),
                "could not be reloaded for too long; nothing is accepted from it any more"
            );
        }
    }

    /// Has the audit tell that it was reloaded. It is so already, so that it is told by the log
    /// alone if the audit has no room.
    fn tell(&self, audit: &Sink) {
        let digest = self.taken.iter().flatten().take(8);
        let _ = audit.note(Noted {
            event: "reloaded",
            what: Some(self.what.clone()),
            digest: Some(digest.map(|byte| format!("{byte:02x}")).collect()),
            ..Noted::default()
        });
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

    /// The same, told to the log. What is wrong and was not before is told on the last try.
    fn look_and_tell(&mut self, is_last: bool) -> Looked {
        let looked = self.look();
        let is_news = looked.as_ref().err() != self.told.as_ref();
        if looked.is_err() && is_news && !is_last {
            return Looked::Again;
        }
        self.failing.store(looked.is_err(), Ordering::Relaxed);
        match looked {
            Ok(is_new) => {
                if let Some(close) = &mut self.close {
                    close.failing_since = None;
                }
                if is_new || self.told.take().is_some() {
                    tracing::info!(what = %self.what, "reloaded");
                }
                if is_new { Looked::New } else { Looked::Same }
            }
            Err(why) => {
                if is_news {
                    tracing::error!(
                        what = %self.what,
                        why = %why,
                        "cannot be reloaded; what was there before stays in use"
                    );
                    self.told = Some(why);
                }
                self.close_if_due();
                Looked::Failed
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

/// What a look at files that belong together came to.
enum Looked {
    Same,
    New,
    Failed,
    /// They cannot be used, and may be in the middle of being replaced: a certificate is read
    /// before its key is.
    Again,
}

/// Tries before files that cannot be used are told of, and the time between two of them. Who
/// replaces several takes some milliseconds.
const TRIES: usize = 5;
const TRY_AGAIN: Duration = Duration::from_millis(200);

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
    audit: Sink,
}

impl Reload {
    pub(super) fn new(watches: Vec<Watch>, fetchers: Arc<Fetchers>, audit: Sink) -> Self {
        let failing = watches
            .iter()
            .map(|w| (w.what.clone(), Arc::clone(&w.failing)));
        Self {
            failing: Arc::new(Failing(failing.collect())),
            watches: Arc::new(Mutex::new(watches)),
            fetchers,
            audit,
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

    /// Looks at all files, and soon again at those that may be in the middle of being replaced.
    pub(super) async fn files(&self) -> Reloaded {
        let mut changed = 0;
        for tried in 1..=TRIES {
            let is_last = tried == TRIES;
            let (reloaded, again) = self.look(is_last).await;
            changed += reloaded.changed;
            if !again || is_last {
                let failed = reloaded.failed;
                return Reloaded { changed, failed };
            }
            sleep(TRY_AGAIN).await;
        }
        Reloaded::default()
    }

    /// Looks at all files, off the async threads: a disk may be far away. With what came of it,
    /// whether it is worth another look.
    async fn look(&self, is_last: bool) -> (Reloaded, bool) {
        let (watches, audit) = (Arc::clone(&self.watches), self.audit.clone());
        let look = move || {
            let (mut reloaded, mut again) = (Reloaded::default(), false);
            let mut watches = watches.lock().unwrap_or_else(PoisonError::into_inner);
            for watch in watches.iter_mut() {
                match watch.look_and_tell(is_last) {
                    Looked::New => {
                        reloaded.changed += 1;
                        watch.tell(&audit);
                    }
                    Looked::Same => {}
                    Looked::Failed => reloaded.failed += 1,
                    Looked::Again => again = true,
                }
            }
            (reloaded, again)
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(looked) => looked,
            Err(error) => match error.try_into_panic() {
                // For the one who watches this task.
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down.
                Err(_) => Default::default(),
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

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_used_for_longer_than_its_grace_is_given_up_once() {
        let mut bench = Bench::new();
        let closed = Arc::new(Mutex::new(0));
        let grace = Duration::from_secs(60);
        let counted = Arc::clone(&closed);
        bench.watch = bench.watch.closed_after(grace, move || {
            *counted.lock().unwrap() += 1;
            true
        });
        let look = |bench: &mut Bench| {
            bench.watch.look_and_tell(true);
            *closed.lock().unwrap()
        };
        bench.write("one");
        assert_eq!(look(&mut bench), 0);
        bench.write("bad");
        assert_eq!(look(&mut bench), 0);
        tokio::time::advance(grace - Duration::from_millis(1)).await;
        assert_eq!(look(&mut bench), 0);
        // What was good in between begins a new grace.
        bench.write("one");
        assert_eq!(look(&mut bench), 0);
        bench.write("bad");
        tokio::time::advance(grace).await;
        assert_eq!(look(&mut bench), 0);
        tokio::time::advance(grace).await;
        assert_eq!(look(&mut bench), 1);
        tokio::time::advance(grace).await;
        assert_eq!(look(&mut bench), 1, "there is nothing left to close");
        bench.write("one");
        look(&mut bench);
        assert_eq!(*bench.taken.lock().unwrap(), ["one", "one"]);
        bench.write("bad");
        look(&mut bench);
        tokio::time::advance(grace).await;
        assert_eq!(look(&mut bench), 2);
    }

    /// Files that fit together if they say the same. What is half replaced is whole after so many
    /// looks.
    async fn replaced(looks: usize) -> (Reloaded, bool, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["cert", "key"].map(|name| dir.path().join(name));
        let write = |path: &PathBuf, text: &str| std::fs::write(path, text).unwrap();
        paths.iter().for_each(|path| write(path, "old"));
        let taken = Arc::<Mutex<Vec<String>>>::default();
        let (into, key, mut looked) = (Arc::clone(&taken), paths[1].clone(), 0);
        let watch = Watch::new("test", paths.clone(), 10, move |contents| {
            if contents[0] != contents[1] {
                looked += 1;
                if looked == looks {
                    std::fs::write(&key, "new").unwrap();
                }
                return Err("they do not fit together".to_owned());
            }
            let text = String::from_utf8(contents[0].clone()).unwrap();
            into.lock().unwrap().push(text);
            Ok(())
        });
        let reload = Reload::new(vec![watch], Arc::new(Fetchers(Vec::new())), Sink::default());
        assert_eq!(reload.files().await, Reloaded::default());
        write(&paths[0], "new");
        let reloaded = reload.files().await;
        let (_, failing) = reload.failing().iter().next().unwrap();
        let taken = taken.lock().unwrap().clone();
        (reloaded, failing, taken)
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_replaced_pair_is_looked_at_again_before_it_is_told_of() {
        let (changed, failed) = (1, 0);
        for looks in [1, TRIES - 1] {
            let (reloaded, failing, taken) = replaced(looks).await;
            assert_eq!(reloaded, Reloaded { changed, failed }, "{looks} looks");
            assert!(!failing);
            assert_eq!(taken, ["old", "new"]);
        }
        let (changed, failed) = (0, 1);
        let (reloaded, failing, taken) = replaced(usize::MAX).await;
        assert_eq!(reloaded, Reloaded { changed, failed });
        assert!(failing);
        assert_eq!(taken, ["old"]);
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
