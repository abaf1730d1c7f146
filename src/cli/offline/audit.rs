//! `cancelot audit`: prints the audit as JSON lines, filtered, or verifies it. Reads files only, so
//! the service may be running.

use std::{
    collections::{BTreeSet, HashMap},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    audit::{
        ChainHead, EVENTS, PublicKey,
        chain::verify::{KnownHead, verify},
        segments::{Lines, Segment},
    },
    cli::{
        Exit,
        terminal::{self, say, times},
    },
    config::{did_you_mean::did_you_mean, read_text},
    domain::outcome::Outcome,
    journal::{Ranges, directory::OpenError, offline::Offline, sled_journal::SledJournalOptions},
    limits,
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    export: Export,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check that no line was changed, removed, inserted or moved; exits with 1 if one was.
    Verify(Verify),
}

/// Where the audit is.
#[derive(Debug, Args)]
struct Place {
    /// The journal's directory, which has the audit in it unless --dir says otherwise.
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
    /// The audit's directory.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Export {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    filter: Filter,
    /// Go on with what is written from now on, until this is stopped.
    #[arg(long)]
    follow: bool,
}

/// Which lines: all that is given has to match.
#[derive(Debug, Args)]
struct Filter {
    /// Only what happened at this time or later: so long ago, such as 24h or 7d, a day such as
    /// 2026-11-28 (from its beginning in UTC), or a time such as 2026-11-28T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = times::point_or_ago)]
    since: Option<Timestamp>,
    /// Only what happened before this time, written likewise.
    #[arg(long, value_name = "TIME", value_parser = times::point_or_ago)]
    until: Option<Timestamp>,
    /// Only this caller's.
    #[arg(long)]
    caller: Option<String>,
    /// Only at this account.
    #[arg(long)]
    account: Option<String>,
    /// Only of this batch.
    #[arg(long)]
    batch: Option<String>,
    /// Only with this key, of the item or of the refused request.
    #[arg(long)]
    key: Option<String>,
    /// Only this subscription's, sequence's or subscriber's.
    #[arg(long)]
    target: Option<String>,
    /// Only this event: admitted, opened, settled, stopped, refused, read, dry_run, reloaded,
    /// started, gap, dropped, erased or signed; may be repeated.
    #[arg(long, value_parser = event, value_delimiter = ',')]
    event: Vec<String>,
    /// Only this outcome, such as canceled or in_doubt; may be repeated.
    #[arg(long, value_parser = outcome, value_delimiter = ',')]
    outcome: Vec<String>,
}

#[derive(Debug, Args)]
struct Verify {
    #[command(flatten)]
    place: Place,
    /// A line that has to be in it, as an earlier run printed its head; may be repeated.
    #[arg(long, value_name = "SEQ:HASH")]
    expect: Vec<ChainHead>,
    /// A public key in PEM (Ed25519) that its head is signed with, as `openssl pkey -pubout` writes
    /// it: each signature is checked, and there have to be some up to the end. May be repeated, for
    /// keys that were replaced.
    #[arg(long, value_name = "FILE")]
    public_key: Vec<PathBuf>,
    /// The last signature may not be older: so long ago, such as 2h, or a time. A log whose end was
    /// cut off has an older one.
    #[arg(long, value_name = "TIME", value_parser = times::point_or_ago, requires = "public_key")]
    signed_since: Option<Timestamp>,
}

/// Parses an event of the audit.
fn event(text: &str) -> Result<String, String> {
    known(text, EVENTS.into_iter())
}

/// Parses an outcome. British spelling is accepted too.
fn outcome(text: &str) -> Result<String, String> {
    let american = text.to_ascii_lowercase().replace("cancelled", "canceled");
    known(&american, Outcome::ALL.into_iter().map(Outcome::name))
}

/// The word that is meant: case, dashes and underscores do not matter.
fn known(text: &str, words: impl Iterator<Item = &'static str> + Clone) -> Result<String, String> {
    let plain = |word: &str| word.trim().to_ascii_lowercase().replace(['-', ' '], "_");
    let found = words.clone().find(|word| plain(word) == plain(text));
    found
        .map(str::to_owned)
        .ok_or_else(|| format!("there is no such word; {}", did_you_mean(text, words)))
}

/// How often to check for more.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);

pub(in crate::cli) fn run(arguments: Arguments) -> Exit {
    let done = match &arguments.action {
        Some(Action::Verify(arguments)) => check(arguments),
        None => export(&arguments.export).map(|()| true),
    };
    match done {
        Ok(true) => Exit::Success,
        Ok(false) => Exit::Failure,
        Err(Problem::Usage(why)) => {
            say(format!("cancelot: {why}"));
            Exit::Usage
        }
        Err(Problem::File(why)) => {
            say(format!("cancelot: {why}"));
            Exit::Usage
        }
        // `cancelot audit | head` ends before we do.
        Err(Problem::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(Problem::Io(error)) => {
            say(format!("cancelot: the audit cannot be read: {error}"));
            Exit::Failure
        }
    }
}

enum Problem {
    Usage(&'static str),
    File(String),
    Io(io::Error),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Place {
    fn dir(&self) -> Result<PathBuf, Problem> {
        match (&self.dir, &self.journal) {
            (Some(dir), _) => Ok(dir.clone()),
            (None, Some(journal)) => Ok(journal.join(limits::AUDIT_DIR)),
            (None, None) => Err(Problem::Usage(
                "give --journal with the journal's directory, or --dir with the audit's",
            )),
        }
    }
}

fn export(arguments: &Export) -> Result<(), Problem> {
    let dir = arguments.place.dir()?;
    let mut out = BufWriter::new(terminal::json_lines());
    let mut reading: Option<(u64, Lines)> = None;
    let mut meant = Meant::default();
    loop {
        let mut next = Segment::list(&dir)?.into_iter();
        loop {
            if let Some((_, lines)) = &mut reading {
                while let Some(line) = lines.next_whole()? {
                    if arguments.filter.takes(line, &mut meant) {
                        out.write_all(line)?;
                    }
                }
            }
            let done = reading.as_ref().map(|(first, _)| *first);
            match next.find(|segment| done.is_none_or(|done| segment.first > done)) {
                Some(segment) => reading = Some((segment.first, segment.lines()?)),
                None => break,
            }
        }
        out.flush()?;
        if !arguments.follow {
            return Ok(());
        }
        thread::sleep(FOLLOW_INTERVAL);
    }
}

/// The fields that a line is filtered by.
#[derive(Deserialize)]
struct Seen {
    time: Timestamp,
    event: String,
    caller: Option<String>,
    account: Option<String>,
    batch: Option<String>,
    index: Option<u32>,
    indexes: Option<Ranges>,
    key: Option<String>,
    target: Option<String>,
    #[serde(default)]
    subscribers: Vec<Option<String>>,
    outcome: Option<String>,
}

/// Items that are asked for, by batch and index: a line for several items names them so alone, and
/// their admissions came before it.
#[derive(Default)]
struct Meant(HashMap<String, BTreeSet<u32>>);

impl Meant {
    fn add(&mut self, batch: &str, index: u32) {
        if let Some(indexes) = self.0.get_mut(batch) {
            indexes.insert(index);
        } else {
            self.0.insert(batch.to_owned(), [index].into());
        }
    }

    fn has_any(&self, batch: &str, of: &Ranges) -> bool {
        let indexes = self.0.get(batch);
        indexes.is_some_and(|indexes| indexes.iter().any(|index| of.contains(*index)))
    }
}

impl Filter {
    fn is_empty(&self) -> bool {
        let Self {
            since,
            until,
            caller,
            account,
            batch,
            key,
            target,
            event,
            outcome,
        } = self;
        let texts = [caller, account, batch, key, target];
        since.is_none()
            && until.is_none()
            && texts.iter().all(|text| text.is_none())
            && event.is_empty()
            && outcome.is_empty()
    }

    /// Whether a line is asked for. One that does not decode always is: nothing is hidden here
    /// that is for `verify` to tell.
    fn takes(&self, line: &[u8], meant: &mut Meant) -> bool {
        if self.is_empty() {
            return true;
        }
        let Ok(seen) = serde_json::from_slice::<Seen>(line) else {
            return true;
        };
        let same = |asked: &Option<String>, has: &Option<String>| asked.is_none() || asked == has;
        let any = |asked: &[String], has: Option<&String>| {
            asked.is_empty()
                || has.is_some_and(|has| asked.iter().any(|a| a.eq_ignore_ascii_case(has)))
        };
        let is_item = same(&self.account, &seen.account)
            && same(&self.key, &seen.key)
            && (same(&self.target, &seen.target)
                || self.target.as_ref().is_some_and(|target| {
                    seen.subscribers.iter().flatten().any(|id| id == target)
                }));
        let is_one = self.account.is_some() || self.key.is_some() || self.target.is_some();
        let is_meant = match (&seen.batch, seen.index, &seen.indexes) {
            (Some(batch), Some(index), _) if is_one && is_item => {
                meant.add(batch, index);
                true
            }
            (Some(batch), None, Some(indexes)) if !is_item => meant.has_any(batch, indexes),
            _ => is_item,
        };
        is_meant
            && self.since.is_none_or(|since| seen.time >= since)
            && self.until.is_none_or(|until| seen.time < until)
            && same(&self.caller, &seen.caller)
            && same(&self.batch, &seen.batch)
            && any(&self.event, Some(&seen.event))
            && any(&self.outcome, seen.outcome.as_ref())
    }
}

/// The last line of the output of `verify`.
#[derive(Serialize)]
struct Verified<'a> {
    #[serde(flatten)]
    report: &'a crate::audit::chain::verify::AuditReport,
    /// Whether the journal's own word for the last line was compared.
    journal: &'static str,
}

fn check(arguments: &Verify) -> Result<bool, Problem> {
    let dir = arguments.place.dir()?;
    let mut known = KnownHead {
        heads: arguments
            .expect
            .iter()
            .map(|head| (head.clone(), "--expect"))
            .collect(),
        keys: public_keys(&arguments.public_key)?,
        signed_since: arguments.signed_since,
    };
    let journal = match arguments.place.journal.as_deref().map(journal_head) {
        None => "not given",
        Some(Ok(Some(head))) => {
            known.heads.push((head, "the journal"));
            "compared"
        }
        Some(Ok(None)) => "has no audit",
        Some(Err(OpenError::Locked { .. })) => "in use, not compared",
        Some(Err(error)) => {
            say(format!("cancelot: the journal cannot be compared: {error}"));
            "cannot be read, not compared"
        }
    };
    let mut out = terminal::json_lines();
    let report = verify(&dir, &known, |problem| write_line(&mut out, problem))?;
    let verified = Verified {
        report: &report,
        journal,
    };
    write_line(&mut out, &verified)?;
    Ok(report.problems == 0)
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn public_keys(files: &[PathBuf]) -> Result<Vec<PublicKey>, Problem> {
    let read = |file: &PathBuf| {
        let of_file = |why| Problem::File(format!("--public-key {}: {why}", file.display()));
        let bytes_max = u64::try_from(limits::PEM_BYTES_MAX).unwrap_or(u64::MAX);
        let pem = read_text(file, bytes_max).map_err(of_file)?;
        PublicKey::from_pem(&pem).map_err(of_file)
    };
    files.iter().map(read).collect()
}

/// The last line as the journal knows it, if no service has it open.
fn journal_head(dir: &Path) -> Result<Option<ChainHead>, OpenError> {
    let audited = Offline::open(&SledJournalOptions::new(dir))?.audited()?;
    Ok(audited.map(|audited| ChainHead {
        seq: audited.seq,
        hash: audited.hash,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_the_audit_has_are_taken_however_they_are_spelled() {
        for (text, word) in [
            ("canceled", "CANCELED"),
            ("Cancelled", "CANCELED"),
            ("already-cancelled", "ALREADY_CANCELED"),
            ("ALREADY_CANCELED", "ALREADY_CANCELED"),
            ("in doubt", "IN_DOUBT"),
        ] {
            assert_eq!(outcome(text).as_deref(), Ok(word));
        }
        assert!(
            outcome("cancled")
                .unwrap_err()
                .contains("did you mean CANCELED?")
        );
        assert!(outcome("OUTCOME_X").is_err() && outcome("").is_err());
        for word in EVENTS {
            assert_eq!(event(word).as_deref(), Ok(word));
        }
        assert!(
            event("setled")
                .unwrap_err()
                .contains("did you mean settled?")
        );
        assert!(
            event("canceled")
                .unwrap_err()
                .contains("known are admitted")
        );
    }
}
