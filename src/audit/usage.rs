//! How much of the disk the audit takes, and whose lines take it: when all that it may have is
//! taken, callers with more than their share wait, and the others go on.
//!
//! Nothing that was admitted is ever left out for want of room: admissions are refused before, and
//! what is open has its lines to the end, beyond the bound if need be.

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::segments::Segment;
use crate::{
    domain::ids::CallerId,
    journal::{Overfull, directory::private_files},
};

/// What the audit takes, for those who ask. Clones are of the same. The default one has no bound.
#[derive(Debug, Clone, Default)]
pub struct Usage(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Bytes that it may take.
    bytes_max: Option<u64>,
    /// The callers that share them.
    members: Mutex<BTreeSet<String>>,
    taken: Mutex<Tally>,
}

impl Usage {
    /// Of an audit that may take so much, which these callers share.
    #[must_use]
    pub fn new(bytes_max: Option<u64>, members: impl IntoIterator<Item = CallerId>) -> Self {
        Self(Arc::new(Inner {
            bytes_max,
            members: Mutex::new(members.into_iter().map(String::from).collect()),
            taken: Mutex::default(),
        }))
    }

    /// Has other callers share it from now on.
    pub fn share_anew(&self, members: impl IntoIterator<Item = CallerId>) {
        *self.members() = members.into_iter().map(String::from).collect();
    }

    /// Whether a caller may bring more. Half of the whole is kept for all callers in equal parts;
    /// the rest is for whoever comes first.
    ///
    /// # Errors
    /// All is taken, or kept for others, and the caller has its own part.
    pub fn check(&self, caller: &CallerId) -> Result<(), Overfull> {
        let Some(bytes_max) = self.0.bytes_max else {
            return Ok(());
        };
        let taken = self.taken();
        let held = taken.of(caller.as_str());
        let members = self.members();
        let kept = kept_for_each(bytes_max, members.len());
        let others = members.iter().filter(|of| *of != caller.as_str());
        let kept_for_others = others.map(|of| kept.saturating_sub(taken.of(of)));
        let kept_for_others = kept_for_others.fold(0, u64::saturating_add);
        let is_member = members.contains(caller.as_str());
        if taken.bytes.saturating_add(kept_for_others) < bytes_max || (is_member && held < kept) {
            return Ok(());
        }
        Err(Overfull { held })
    }

    /// Bytes that it may take.
    #[must_use]
    pub fn bytes_max(&self) -> Option<u64> {
        self.0.bytes_max
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.taken().bytes
    }

    /// Bytes of each caller's lines.
    #[must_use]
    pub fn held(&self) -> Vec<(String, u64)> {
        let taken = self.taken();
        let callers = taken.callers.iter();
        callers
            .map(|(caller, bytes)| (caller.clone(), *bytes))
            .collect()
    }

    fn members(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0
            .members
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn taken(&self) -> MutexGuard<'_, Tally> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that are kept for each of so many callers. One that shares with nobody needs nothing kept.
fn kept_for_each(bytes_max: u64, members: usize) -> u64 {
    match u64::try_from(members).unwrap_or(u64::MAX) {
        0 | 1 => 0,
        members => bytes_max / 2 / members,
    }
}

/// Bytes of lines, and of each caller's among them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    bytes: u64,
    callers: BTreeMap<String, u64>,
}

impl Tally {
    /// One more line, of a caller or of nobody.
    pub(super) fn add(&mut self, caller: Option<&str>, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
        let Some(caller) = caller else { return };
        match self.callers.get_mut(caller) {
            Some(held) => *held = held.saturating_add(bytes),
            None => drop(self.callers.insert(caller.to_owned(), bytes)),
        }
    }

    fn of(&self, caller: &str) -> u64 {
        self.callers.get(caller).copied().unwrap_or(0)
    }

    fn join(&mut self, other: &Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        for (caller, bytes) in &other.callers {
            let held = self.callers.entry(caller.clone()).or_default();
            *held = held.saturating_add(*bytes);
        }
    }

    fn leave(&mut self, other: &Self) {
        self.bytes = self.bytes.saturating_sub(other.bytes);
        for (caller, bytes) in &other.callers {
            if let Some(held) = self.callers.get_mut(caller) {
                *held = held.saturating_sub(*bytes);
            }
        }
        self.callers.retain(|_, held| *held > 0);
    }

    /// Counts what is in a file.
    fn count(segment: &Segment) -> io::Result<Self> {
        /// What is read of a line.
        #[derive(Deserialize)]
        struct Seen<'a> {
            #[serde(borrow)]
            caller: Option<Cow<'a, str>>,
        }
        let (mut tally, mut lines) = (Self::default(), segment.lines()?);
        while let Some(line) = lines.next_line()? {
            // What does not decode takes room all the same.
            let seen = serde_json::from_slice::<Seen<'_>>(line).ok();
            let caller = seen.and_then(|seen| seen.caller);
            tally.add(caller.as_deref(), line.len());
        }
        Ok(tally)
    }
}

/// What lines that became durable together take, and where they are.
#[derive(Debug)]
pub(super) struct Synced {
    /// The number of the first line of their file.
    pub(super) first: u64,
    pub(super) tally: Tally,
    /// Nothing is added to that file any more.
    pub(super) is_closed: bool,
}

/// What ends the name of a file that says what a file of lines takes. It saves the next start from
/// counting; without it, or where it does not fit, the lines are counted.
const SUFFIX: &str = ".sizes";

/// What each file takes, as the one who writes knows it.
#[derive(Debug)]
pub(super) struct Tallies {
    usage: Usage,
    segments: BTreeMap<u64, Tally>,
    /// Files of which only the length is known, the newest last.
    uncounted: Vec<Segment>,
}

impl Tallies {
    /// Of the files in a directory. Those whose callers are not known yet are counted one by one.
    pub(super) fn load(dir: &Path, usage: Usage) -> io::Result<Self> {
        let mut tallies = Self {
            usage,
            segments: BTreeMap::new(),
            uncounted: Vec::new(),
        };
        for segment in Segment::list(dir)? {
            let bytes = fs::metadata(&segment.path)?.len();
            let told = fs::read(path_of(&segment)).ok();
            let told = told.and_then(|told| serde_json::from_slice::<Tally>(&told).ok());
            let told = told.filter(|told| told.bytes == bytes);
            let tally = told.unwrap_or_else(|| {
                tallies.uncounted.push(segment.clone());
                let callers = BTreeMap::new();
                Tally { bytes, callers }
            });
            tallies.set(segment.first, tally);
        }
        // The last may be added to, so it has to be known first.
        tallies.count_one();
        Ok(tallies)
    }

    /// Whether files are left to count.
    pub(super) fn is_counting(&self) -> bool {
        !self.uncounted.is_empty()
    }

    /// Counts one file, if one is left. What cannot be read counts as nobody's.
    pub(super) fn count_one(&mut self) {
        let Some(segment) = self.uncounted.pop() else {
            return;
        };
        match Tally::count(&segment) {
            Ok(tally) => {
                self.set(segment.first, tally);
                if self.segments.keys().next_back() != Some(&segment.first) {
                    self.save(&segment);
                }
            }
            Err(error) => {
                let file = segment.path.display();
                tracing::warn!(%file, %error, "what callers take of the audit cannot be counted");
            }
        }
    }

    /// Lines were added.
    pub(super) fn add(&mut self, dir: &Path, synced: &Synced) {
        self.usage.taken().join(&synced.tally);
        let of = self.segments.entry(synced.first).or_default();
        of.join(&synced.tally);
        if synced.is_closed {
            self.save(&Segment::new(dir, synced.first));
        }
    }

    /// Files are removed.
    pub(super) fn forget(&mut self, segments: &[Segment]) {
        for segment in segments {
            if let Some(tally) = self.segments.remove(&segment.first) {
                self.usage.taken().leave(&tally);
            }
            self.uncounted.retain(|other| other != segment);
            // A next start would pass it by.
            let _ = fs::remove_file(path_of(segment));
        }
    }

    fn set(&mut self, first: u64, tally: Tally) {
        let mut taken = self.usage.taken();
        taken.join(&tally);
        if let Some(before) = self.segments.insert(first, tally) {
            taken.leave(&before);
        }
    }

    /// Writes down what a file takes.
    fn save(&self, segment: &Segment) {
        let Some(tally) = self.segments.get(&segment.first) else {
            return;
        };
        let path = path_of(segment);
        let saved = serde_json::to_vec(tally).map_err(io::Error::from);
        let saved = saved.and_then(|told| {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            private_files::make(&path)?.write_all(&told)
        });
        if let Err(error) = saved {
            let file = path.display();
            tracing::debug!(%file, %error, "the next start counts the lines of a file of the audit");
        }
    }
}

fn path_of(segment: &Segment) -> PathBuf {
    segment.path.with_extension(SUFFIX.trim_start_matches('.'))
}

/// Whether a file says what a file of lines takes, by its name.
pub(super) fn is_name(name: &str) -> bool {
    name.strip_suffix(SUFFIX)
        .is_some_and(|number| number.len() == 20 && number.bytes().all(|b| b.is_ascii_digit()))
}
