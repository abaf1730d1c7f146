//! Files that change while the service runs: certificates, keys, tokens, credentials, and the
//! configuration as far as it says who may call. Their content
//! is compared, not their times: Kubernetes replaces a directory of links, and a file that is
//! written anew with the same content is no news. What is new and wrong is told, and the old stays.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::jwks_refresh::Fetchers;
use crate::{
    audit::{Noted, Sink},
    config::read_file,
};

/// Takes the content of files, in their order. Gives the settings that are new, if it is a file of
/// settings.
type Take = Box<dyn FnMut(&[Vec<u8>]) -> Result<Vec<String>, String> + Send>;

/// Files that belong together, and what is done with them when one of them has changed.
pub struct FileWatcher {
    /// Whose they are, in the words of the configuration.
    what: String,
    files: Vec<PathBuf>,
    bytes_max: u64,
    take: Take,
    /// The digest of what was taken last; no content is kept.
    taken: Option<[u8; 32]>,
    /// The digest of what the last look found, if it is not taken.
    seen: Option<[u8; 32]>,
    /// Whether something is in use that came from these files: at first what was read at the start.
    is_in_use: bool,
    /// What was told last, so that it is told once.
    told: Option<String>,
    /// Whether that is so still, for whoever watches.
    failing: Arc<AtomicBool>,
    close: Option<Close>,
    /// For the audit. What it is of is so already, so the log alone tells it if the audit has no
    /// room.
    noted: Vec<Noted>,
}

/// What becomes of what was read last when files cannot be used for long: it may be what somebody
/// wanted to take away.
struct Close {
    after: Duration,
    /// Whether there was something to close.
    close: Box<dyn FnMut() -> bool + Send>,
    failing_since: Option<Instant>,
}

impl FileWatcher {
    /// Watches these files. `take` gets their content, at first too: it may have changed since the
    /// configuration was read.
    pub fn new(
        what: impl Into<String>,
        files: impl IntoIterator<Item = PathBuf>,
        bytes_max: u64,
        mut take: impl FnMut(&[Vec<u8>]) -> Result<(), String> + Send + 'static,
    ) -> Self {
        let take = move |contents: &[Vec<u8>]| take(contents).map(|()| Vec::new());
        Self::of_settings(what, files, bytes_max, take)
    }

    /// The same of files that hold settings, with those that are new.
    pub(super) fn of_settings(
        what: impl Into<String>,
        files: impl IntoIterator<Item = PathBuf>,
        bytes_max: u64,
        take: impl FnMut(&[Vec<u8>]) -> Result<Vec<String>, String> + Send + 'static,
    ) -> Self {
        Self {
            what: what.into(),
            files: files.into_iter().collect(),
            bytes_max,
            take: Box::new(take),
            taken: None,
            seen: None,
            is_in_use: true,
            told: None,
            failing: Arc::default(),
            close: None,
            noted: Vec::new(),
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
        if since.elapsed() < close.after || !self.is_in_use {
            return;
        }
        if (close.close)() {
            self.is_in_use = false;
            self.taken = None;
            tracing::error!(
                what = %self.what,
                after_ms = u64::try_from(close.after.as_millis()).unwrap_or(u64::MAX),
                "could not be reloaded for too long; nothing is accepted from it any more"
            );
            let why = self.told.clone();
            self.note("given_up", |noted| Noted { why, ..noted });
        }
    }

    fn note(&mut self, event: &'static str, complete: impl FnOnce(Noted) -> Noted) {
        let noted = Noted {
            event,
            what: Some(self.what.clone()),
            ..Noted::default()
        };
        self.noted.push(complete(noted));
    }

    /// What is in the files, and its digest.
    fn read(&self) -> Result<Content, String> {
        let mut contents = Vec::with_capacity(self.files.len());
        let mut hasher = Sha256::new();
        for file in &self.files {
            let content = read_file(file, self.bytes_max)
                .map_err(|why| format!("a file cannot be read ({why})"))?;
            hasher.update(Sha256::digest(&content));
            contents.push(content);
        }
        Ok((hasher.finalize().into(), contents))
    }

    /// Takes what was read, if it has changed; with the settings that are new, if something was
    /// taken before.
    fn take(&mut self, (digest, contents): Content) -> Result<Option<Vec<String>>, String> {
        if self.taken == Some(digest) {
            return Ok(None);
        }
        let settings = (self.take)(&contents)?;
        let is_first = self.taken.replace(digest).is_none();
        self.is_in_use = true;
        // A configuration may have changed since it was read at the start.
        Ok((!is_first || !settings.is_empty()).then_some(settings))
    }

    /// Looks whether anything has changed, takes it and tells the log. What is wrong and was not
    /// before is told on the last try. What is new is taken when two looks found the same: the
    /// first part of a list is a list too, and of a configuration it can allow more than the whole.
    fn look_and_tell(&mut self, is_last: bool) -> Looked {
        let read = self.read();
        let found = read.as_ref().ok().map(|(digest, _)| *digest);
        let new = found.filter(|digest| self.taken != Some(*digest));
        // One after the other: a file that is written anew each hour begins alike each time.
        let before = std::mem::replace(&mut self.seen, new);
        if new.is_some() && new != before {
            return if is_last { Looked::Same } else { Looked::Again };
        }
        let looked = read.and_then(|content| self.take(content));
        let is_news = looked.as_ref().err() != self.told.as_ref();
        if looked.is_err() && is_news && !is_last {
            return Looked::Again;
        }
        self.failing.store(looked.is_err(), Ordering::Relaxed);
        match looked {
            Ok(new) => {
                if let Some(close) = &mut self.close {
                    close.failing_since = None;
                }
                let settings = new.as_deref().unwrap_or_default();
                if new.is_some() || self.told.take().is_some() {
                    let settings = (!settings.is_empty()).then(|| settings.join(", "));
                    tracing::info!(what = %self.what, settings, "reloaded");
                }
                let Some(settings) = new else {
                    return Looked::Same;
                };
                let digest = self.taken.as_ref().map(short);
                self.note("reloaded", |noted| Noted {
                    digest,
                    settings,
                    ..noted
                });
                Looked::New
            }
            Err(why) => {
                if is_news {
                    tracing::error!(
                        what = %self.what,
                        why = %why,
                        "cannot be reloaded; what was there before stays in use"
                    );
                    self.told = Some(why.clone());
                    self.note("reload_failed", |noted| Noted {
                        why: Some(why),
                        ..noted
                    });
                }
                self.close_if_due();
                Looked::Failed
            }
        }
    }
}

impl fmt::Debug for FileWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}

/// The beginning of a digest, as it is told.
pub(super) fn short(digest: &[u8; 32]) -> String {
    let digest = digest.iter().take(8);
    digest.map(|byte| format!("{byte:02x}")).collect()
}

/// What is in files that belong together, and its digest.
type Content = ([u8; 32], Vec<Vec<u8>>);

/// What a look at files that belong together came to.
enum Looked {
    Same,
    New,
    Failed,
    /// They cannot be used or are new, and may be in the middle of being replaced: a certificate is
    /// read before its key is, and a file may be half written.
    Again,
}

/// Tries before files that cannot be used are told of, and the time between two of them. Who
/// replaces several takes some milliseconds.
const TRIES: usize = 7;
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
#[derive(Debug, Default)]
pub(super) struct ReloadFailures {
    all: ArcSwap<Vec<(String, Arc<AtomicBool>)>>,
    /// Settings that are changed in the file and take a restart.
    restart_needed: Arc<AtomicU64>,
}

impl ReloadFailures {
    /// Whose files there are, and whether they cannot be used.
    pub(super) fn all(&self) -> Vec<(String, bool)> {
        let all = self.all.load();
        let all = all.iter();
        all.map(|(what, failing)| (what.clone(), failing.load(Ordering::Relaxed)))
            .collect()
    }

    /// How many settings are changed in the configuration file and take a restart.
    pub(super) fn restart_needed(&self) -> u64 {
        self.restart_needed.load(Ordering::Relaxed)
    }

    fn replace<'a>(&self, watches: impl Iterator<Item = &'a FileWatcher>) {
        let all = watches.map(|watch| (watch.what.clone(), Arc::clone(&watch.failing)));
        self.all.store(Arc::new(all.collect()));
    }
}

/// Files that follow from the configuration file, to be looked at from now on.
pub(super) type Next = Arc<Mutex<Option<Vec<FileWatcher>>>>;

/// The configuration file, and where it leaves what follows from it.
#[derive(Debug)]
pub(super) struct Configuration {
    pub(super) watch: FileWatcher,
    pub(super) next: Next,
}

/// What is looked at.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// Before all that follows from it.
    pub(super) configuration: Option<Configuration>,
    /// What is the same until the service ends.
    pub(super) fixed: Vec<FileWatcher>,
    /// What follows from the configuration.
    pub(super) following: Vec<FileWatcher>,
}

impl Watches {
    fn all(&self) -> impl Iterator<Item = &FileWatcher> {
        let configuration = self.configuration.iter().map(|of| &of.watch);
        configuration.chain(&self.fixed).chain(&self.following)
    }

    /// Looks at the configuration file; whether other files follow from it now.
    fn look_at_configuration(&mut self, see: &mut impl FnMut(&mut FileWatcher)) -> bool {
        let Some(configuration) = &mut self.configuration else {
            return false;
        };
        see(&mut configuration.watch);
        let mut next = configuration
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(following) = next.take() else {
            return false;
        };
        self.following = following;
        true
    }
}

/// All that is reloaded. Clones are of the same.
#[derive(Debug, Clone)]
pub struct Reload {
    watches: Arc<Mutex<Watches>>,
    fetchers: Arc<Fetchers>,
    failing: Arc<ReloadFailures>,
    audit: Sink,
}

impl Reload {
    /// `restart_needed` is how many settings take a restart.
    pub(super) fn new(
        watches: Watches,
        restart_needed: Arc<AtomicU64>,
        fetchers: Arc<Fetchers>,
        audit: Sink,
    ) -> Self {
        let failing = ReloadFailures {
            all: ArcSwap::default(),
            restart_needed,
        };
        failing.replace(watches.all());
        Self {
            failing: Arc::new(failing),
            watches: Arc::new(Mutex::new(watches)),
            fetchers,
            audit,
        }
    }

    /// Which files cannot be used as they are.
    pub(super) fn failing(&self) -> &Arc<ReloadFailures> {
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
        let failing = Arc::clone(&self.failing);
        let look = move || {
            let (mut reloaded, mut again) = (Reloaded::default(), false);
            let mut see = |watch: &mut FileWatcher| {
                match watch.look_and_tell(is_last) {
                    Looked::New => reloaded.changed += 1,
                    Looked::Same => {}
                    Looked::Failed => reloaded.failed += 1,
                    Looked::Again => again = true,
                }
                for noted in watch.noted.drain(..) {
                    let _ = audit.note(noted);
                }
            };
            let mut watches = watches.lock().unwrap_or_else(PoisonError::into_inner);
            if watches.look_at_configuration(&mut see) {
                failing.replace(watches.all());
            }
            let watches = &mut *watches;
            for watch in watches.fixed.iter_mut().chain(&mut watches.following) {
                see(watch);
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
        watch: FileWatcher,
        taken: Arc<Mutex<Vec<String>>>,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let taken = Arc::<Mutex<Vec<String>>>::default();
            let into = Arc::clone(&taken);
            let watch = FileWatcher::new("test", [dir.path().join("f")], 10, move |contents| {
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

    /// Takes what is there; whether it is new.
    fn look(bench: &mut Bench) -> Result<bool, String> {
        let content = bench.watch.read()?;
        bench.watch.take(content).map(|new| new.is_some())
    }

    #[test]
    fn new_content_is_taken_once_and_bad_content_leaves_the_old() {
        let mut bench = Bench::new();
        assert!(look(&mut bench).is_err(), "it is not there");
        bench.write("one");
        assert_eq!(look(&mut bench), Ok(false), "the first is no news");
        bench.write("one");
        assert_eq!(look(&mut bench), Ok(false));
        bench.write("two");
        assert_eq!(look(&mut bench), Ok(true));
        bench.write("bad");
        assert!(look(&mut bench).is_err());
        assert!(look(&mut bench).is_err(), "as long as it is bad");
        bench.write("far too long for it");
        assert!(look(&mut bench).is_err());
        bench.write("two");
        assert_eq!(look(&mut bench), Ok(false), "it is in use still");
        bench.write("three");
        assert_eq!(look(&mut bench), Ok(true));
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
            for _ in 0..2 {
                bench.watch.look_and_tell(true);
            }
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
        let watch = FileWatcher::new("test", paths.clone(), 10, move |contents| {
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
        let watches = Watches {
            fixed: vec![watch],
            ..Watches::default()
        };
        let reload = Reload::new(watches, Arc::default(), Arc::default(), Sink::default());
        assert_eq!(reload.files().await, Reloaded::default());
        write(&paths[0], "new");
        let reloaded = reload.files().await;
        let (_, failing) = reload.failing().all().remove(0);
        let taken = taken.lock().unwrap().clone();
        (reloaded, failing, taken)
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_replaced_pair_is_looked_at_again_before_it_is_told_of() {
        let (changed, failed) = (1, 0);
        for looks in [1, TRIES - 3] {
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
    fn a_file_that_is_written_in_parts_is_taken_when_it_is_whole() {
        let mut bench = Bench::new();
        let mut look = |text: &str, is_last| {
            bench.write(text);
            bench.watch.look_and_tell(is_last);
            bench.taken.lock().unwrap().clone()
        };
        for part in ["a", "ab", "abc"] {
            assert!(look(part, false).is_empty(), "{part}");
        }
        assert!(look("abcd", true).is_empty(), "the last try of a look");
        assert_eq!(look("abcd", false), ["abcd"]);
        // The same part is found each time that the same is written anew.
        for _ in 0..2 {
            assert_eq!(look("ab", false), ["abcd"]);
            assert_eq!(look("abcd", false), ["abcd"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_breaks_before_the_first_look_is_given_up_after_its_grace_too() {
        let mut bench = Bench::new();
        let closed = Arc::new(AtomicU64::new(0));
        let (grace, counted) = (Duration::from_secs(60), Arc::clone(&closed));
        bench.watch = bench.watch.closed_after(grace, move || {
            counted.fetch_add(1, Ordering::Relaxed);
            true
        });
        for expected in [0, 1, 1] {
            bench.watch.look_and_tell(true);
            assert_eq!(closed.load(Ordering::Relaxed), expected);
            tokio::time::advance(grace).await;
        }
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_new_content() {
        let mut bench = Bench::new();
        let path = |name: &str| bench.dir.path().join(name);
        for (name, text) in [("a", "one"), ("b", "two")] {
            std::fs::write(path(name), text).unwrap();
        }
        std::os::unix::fs::symlink("a", path("f")).unwrap();
        assert_eq!(look(&mut bench), Ok(false));
        let (new, link) = (bench.dir.path().join("new"), bench.dir.path().join("f"));
        std::os::unix::fs::symlink("b", &new).unwrap();
        std::fs::rename(new, link).unwrap();
        assert_eq!(look(&mut bench), Ok(true));
    }
}
