//! The configuration file while the service runs. Who may call, and what each may do, is taken from
//! it without a restart; of all else that is changed there it is told that it takes one. A file
//! that is gone or has a mistake changes nothing: it is not what takes access away.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    ReloadHandles,
    assemble::{openers, scanners},
    auth_setup::{callers, issuers, text, watches_of_callers},
    count_admitted,
    file_watch::{Configuration, FileWatcher, Next},
};
use crate::{
    config::{self, Again, Config, Mistakes},
    engine::Engine,
};

/// The configuration as it is in use, and how to read it again.
#[derive(Debug)]
pub(super) struct Reconfigure {
    again: Again,
    /// What the service was started with.
    started: Config,
    /// With the callers and issuers that are in use.
    current: Config,
    changing: ReloadHandles,
    /// Settings that take a restart, as told last.
    waiting: BTreeSet<String>,
}

/// What the file is called where files that are looked at are named.
const CONFIGURATION: &str = "configuration";

impl Reconfigure {
    pub(super) fn new(again: Again, started: &Config, changing: &ReloadHandles) -> Self {
        Self {
            again,
            started: started.clone(),
            current: started.clone(),
            changing: changing.clone(),
            waiting: BTreeSet::new(),
        }
    }

    /// The file, to be looked at. The engine is not kept by it.
    pub(super) fn configuration(
        mut self,
        engine: &Arc<Engine>,
        restart_needed: Arc<AtomicU64>,
    ) -> Configuration {
        let (engine, next) = (Arc::downgrade(engine), Next::default());
        let file = self.again.file().to_owned();
        let left = Arc::clone(&next);
        let take = move |contents: &[Vec<u8>]| {
            let settings = self.take(text(contents)?, &engine, &left)?;
            let waiting = u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
            restart_needed.store(waiting, Ordering::Relaxed);
            Ok(settings)
        };
        let max = config::FILE_BYTES_MAX;
        Configuration {
            watch: FileWatcher::of_settings(CONFIGURATION, [file], max, take),
            next,
        }
    }

    /// Takes what the file says now; gives the settings that are in use and were not before.
    fn take(
        &mut self,
        text: &str,
        engine: &Weak<Engine>,
        next: &Next,
    ) -> Result<Vec<String>, String> {
        let new = self.again.parse(text).map_err(|mistakes| told(&mistakes))?;
        let changed = new.changed_since(&self.current);
        let changed: Vec<_> = changed
            .into_iter()
            .filter(|key| config::is_reloaded(key))
            .collect();
        if !changed.is_empty() {
            let Some(engine) = engine.upgrade() else {
                return Ok(Vec::new());
            };
            self.apply(&new, &engine, next)?;
            for warning in &new.warnings {
                tracing::warn!(%warning, "a setting needs a look");
            }
        }
        self.tell_waiting(&new);
        self.current = new;
        Ok(changed)
    }

    fn apply(&self, new: &Config, engine: &Arc<Engine>, next: &Next) -> Result<(), String> {
        let ReloadHandles {
            callers: known,
            fetchers,
            audit,
            ..
        } = &self.changing;
        let (issuers, fetching) = issuers(
            &new.issuers,
            &self.current.issuers,
            known,
            &fetchers.all(),
            audit,
        );
        let now = engine.clock().now();
        let count = |begun: &[_]| {
            let counted = count_admitted(&**engine.journal(), begun, now);
            counted.map_err(|error| format!("what callers have brought cannot be read ({error})"))
        };
        known.replace(&callers(new), issuers, count)?;
        engine.share_anew(openers(new), &scanners(new));
        fetchers.replace(fetching);
        let grace = self.started.server.reload_grace;
        let following = watches_of_callers(new, &self.changing, grace);
        *next.lock().unwrap_or_else(PoisonError::into_inner) = Some(following);
        Ok(())
    }

    /// Says which settings are changed in the file and not in use, when they are others than
    /// before.
    fn tell_waiting(&mut self, new: &Config) {
        let changed = new.changed_since(&self.started).into_iter();
        let waiting: BTreeSet<_> = changed.filter(|key| !config::is_reloaded(key)).collect();
        if waiting == self.waiting {
            return;
        }
        if waiting.is_empty() {
            tracing::info!("no setting is changed any more that takes a restart");
        } else {
            let settings: Vec<_> = waiting.iter().map(String::as_str).collect();
            let settings = settings.join(", ");
            tracing::warn!(settings, "settings are changed that take a restart");
        }
        self.waiting = waiting;
    }
}

/// All mistakes in one line.
fn told(mistakes: &Mistakes) -> String {
    let text = mistakes.to_string();
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    lines.join("; ")
}
