//! `cancelot journal erase`: one person's data goes from the records, the audit and their files.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{Exit, terminal};
use crate::{
    audit::erase::{Erasure, erase},
    domain::{
        ids::TargetId,
        opaque::Names,
        personal::erasure::{Extent, Whose},
    },
    engine::Clock,
    journal::{Audited, Found, offline::erase::Erasing, sled_journal::SledJournalOptions},
    limits,
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The journal's directory.
    #[arg(long)]
    dir: PathBuf,
    /// Whose: a subscription's, subscriber's or customer's id, or a value such as an address.
    #[arg(long, value_name = "ID", value_parser = target, required_unless_present = "text", conflicts_with = "text")]
    target: Option<TargetId>,
    /// Whose: a text that is said of them, such as a name or an address, however it is written.
    #[arg(long = "match", value_name = "TEXT", id = "text")]
    text: Option<String>,
    /// The audit's directory, if it is not `audit` in the journal's.
    #[arg(long, value_name = "DIR")]
    audit: Option<PathBuf>,
    /// Why, for the audit: such as the number of the request. Do not name the person.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only say what would be erased.
    #[arg(long)]
    dry_run: bool,
}

fn target(text: &str) -> Result<TargetId, String> {
    TargetId::try_from(text).map_err(|error| error.to_string())
}

/// An item of theirs.
#[derive(Serialize)]
struct ItemLine {
    batch_id: String,
    index: u32,
    /// Whether it is about them alone; else only what is theirs in it goes.
    whole: bool,
    open: bool,
}

/// The last line.
#[derive(Serialize)]
struct Report {
    records: usize,
    audit_lines: usize,
    /// Batches that cannot be read: what is in them stays.
    unreadable: u64,
    dry_run: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let whose = match (&arguments.target, &arguments.text) {
        (Some(target), _) => Ok(Whose::Target(target.clone())),
        (None, text) => Whose::text(text.as_deref().unwrap_or_default()),
    };
    let whose = match whose {
        Ok(whose) => whose,
        Err(why) => {
            terminal::say(format!("cancelot: --match: {why}"));
            return Exit::Usage;
        }
    };
    match carry_out(arguments, &whose) {
        Ok(exit) => exit,
        Err(why) => {
            terminal::say(format!("cancelot: {why}"));
            Exit::Failure
        }
    }
}

fn carry_out(arguments: &Arguments, whose: &Whose) -> Result<Exit, String> {
    let now = Clock::system().now();
    let mut journal = Erasing::open(&SledJournalOptions::new(&arguments.dir)).map_err(text)?;
    let audited = journal.audited().map_err(text)?;
    let audit = audit_dir(arguments, audited.as_ref())?;
    let found = journal.find(whose, now).map_err(text)?;
    let mut out = terminal::json_lines();
    let names = journal.names();
    let told = tell(&found, &names, &mut out);
    told.map_err(|error| format!("writing the answer: {error}"))?;
    if let Some(refusal) = refusal(&found, &names, now) {
        return Err(refusal);
    }
    let mut report = Report {
        records: found.items.len(),
        audit_lines: 0,
        unreadable: found.unreadable,
        dry_run: arguments.dry_run,
    };
    if !arguments.dry_run {
        journal.raise().map_err(text)?;
        if let Some(audit) = audit {
            let digest = journal.digest(whose);
            let erasure = Erasure {
                whose,
                digest: &digest,
                found: &found,
                names: &names,
                known: audited.as_ref(),
                why: arguments.reason.as_deref(),
                now,
            };
            report.audit_lines = erase(&audit, &erasure).map_err(text)?;
        }
        report.records = journal.erase(&found, whose).map_err(text)?;
        journal.vacate().map_err(text)?;
    }
    let told = line(&mut out, &report);
    told.map_err(|error| format!("writing the answer: {error}"))?;
    if found.unreadable > 0 {
        return Err(format!(
            "{} batches are damaged and cannot be read, so what they have of it stays; `cancelot \
             journal verify` lists them",
            found.unreadable
        ));
    }
    Ok(Exit::Success)
}

/// Where the audit is; `None` if there never was one.
fn audit_dir(arguments: &Arguments, audited: Option<&Audited>) -> Result<Option<PathBuf>, String> {
    let default = || arguments.dir.join(limits::AUDIT_DIR);
    let dir = arguments.audit.clone().unwrap_or_else(default);
    let is_there = Path::is_dir(&dir);
    match (is_there, audited) {
        (true, _) => Ok(Some(dir)),
        (false, None) if arguments.audit.is_none() => Ok(None),
        (false, _) => Err(format!(
            "there is no audit in {}, and this journal has one: give its directory with --audit",
            dir.display()
        )),
    }
}

/// Why nothing can be erased yet.
fn refusal(found: &Found, names: &Names, now: Timestamp) -> Option<String> {
    if let Some(open) = found.open.first() {
        return Some(format!(
            "{} items are open, the first of them {} of {} with the key {}: stop their batches \
             (`cancelot stop`), and erase when they have settled; nothing was erased",
            found.open.len(),
            format_args!("{}/{}", names.of(open.id.batch).as_str(), open.id.index),
            open.caller,
            open.key
        ));
    }
    let until = found.doubtful_until.filter(|until| *until > now)?;
    Some(format!(
        "a request whose answer was lost may still act on this target until {until}, and until then \
         its id is needed; nothing was erased"
    ))
}

fn tell(found: &Found, names: &Names, out: &mut impl Write) -> io::Result<()> {
    for (id, extent) in &found.items {
        let item = ItemLine {
            batch_id: names.of(id.batch).as_str().to_owned(),
            index: id.index,
            whole: *extent == Extent::Whole,
            open: found.open.iter().any(|open| open.id == *id),
        };
        line(out, &item)?;
    }
    Ok(())
}

fn line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
