//! Reads an input, asks for confirmation, sends it, and reports.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Cursor, Read},
    path::Path,
};

use super::{FileFormat, Sending, failed::Failed, follow, report::Report, request::Sendable};
use crate::cli::{
    Exit,
    client::{self, connection::quoted},
    input::{self, Defaults, Naming, Row, Rows},
    terminal::{ask, say},
};

/// Mistakes of an input that are shown at most.
const MISTAKES_SHOWN_MAX: usize = 50;

pub(super) async fn send<R: Sendable>(sending: &Sending, defaults: Defaults) -> Exit {
    let rows = match rows::<R>(sending, &defaults) {
        Ok(rows) => rows,
        Err(problem) => {
            say(format!("cancelot: nothing was sent:\n{problem}"));
            return Exit::Usage;
        }
    };
    let mut client = match client::connect(&sending.service).await {
        Ok(client) => client,
        Err(problem) => return problem.tell(),
    };
    if !sending.dry_run && !sending.yes && !confirmed(&rows) {
        return Exit::Usage;
    }
    let input = sending.file.as_deref();
    let failed = sending.failed_to.as_deref();
    let failed = match failed.map(|path| Failed::open(path, input)).transpose() {
        Ok(failed) => failed,
        Err(problem) => {
            say(format!(
                "cancelot: nothing was sent: --failed-to: {problem}"
            ));
            return Exit::Usage;
        }
    };
    let key = sending.key.clone().unwrap_or_else(|| {
        let key = format!("cli-{:016x}", fastrand::u64(..));
        if !sending.dry_run {
            say(format!(
                "idempotency key: {key} (give --key {key} to resume or replay)"
            ));
        }
        key
    });
    let lines = sending.file.as_ref().map(|_| rows.iter().map(Row::line));
    let mut report = Report::new(
        sending.output,
        rows.len(),
        lines.map(Iterator::collect).unwrap_or_default(),
    );
    let followed = follow::Followed {
        key: &key,
        rows: &rows,
        sending,
    };
    let ended = followed.to_the_end(&mut client, &mut report).await;
    report.show(sending.failed_to.is_some());
    if let Some(failed) = failed {
        // If the whole request is invalid, the input has to be corrected.
        if ended == Some(Exit::Usage) && report.is_empty() {
            failed.discard();
        } else if let Err(problem) = failed.write(&key, &rows, &report, sending.dry_run) {
            say(format!("cancelot: --failed-to: {problem}"));
        }
    }
    ended.unwrap_or_else(|| report.exit())
}

fn rows<R: Row>(sending: &Sending, defaults: &Defaults) -> Result<Vec<R>, String> {
    let (input, format): (Box<dyn Read + Send>, _) = match &sending.file {
        // Flags alone are one row of defaults.
        None => (Box::new(Cursor::new(b"{}")), Some(input::Format::JsonLines)),
        Some(path) if path == Path::new("-") => (Box::new(io::stdin()), None),
        Some(path) => {
            let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
            (Box::new(file), input::Format::of_path(path))
        }
    };
    let format = match sending.format {
        Some(FileFormat::Csv) => Some(input::Format::Csv),
        Some(FileFormat::Jsonl) => Some(input::Format::JsonLines),
        None => format,
    };
    let naming = Naming::new(&sending.ignore_columns, &sending.columns, R::COLUMNS)?;
    let rows = Rows::open_named(input, format, defaults, &naming)
        .and_then(|rows| rows.read_all(MISTAKES_SHOWN_MAX))
        .map_err(|mistakes| match &sending.file {
            Some(_) => mistakes.to_string(),
            // Without a file, lines have no meaning.
            None => mistakes.of_flags(),
        })?;
    if rows.is_empty() {
        return Err("there are no rows".to_owned());
    }
    Ok(rows)
}

/// Asks for confirmation before anything is cancelled. Without a terminal the answer is no.
fn confirmed<R: Sendable>(rows: &[R]) -> bool {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        *kinds.entry(row.kind()).or_default() += 1;
    }
    let count = rows.len();
    let kinds: Vec<_> = kinds
        .iter()
        .map(|(kind, of_kind)| {
            if *of_kind == count {
                format!("at {kind}")
            } else {
                format!("{of_kind} at {kind}")
            }
        })
        .collect();
    let question = format!("Cancel {} {}?", R::what(count), kinds.join(", "));
    match ask(&question) {
        Some(true) => true,
        Some(false) => {
            say("nothing was sent");
            false
        }
        None => {
            say(format!(
                "cancelot: {question} Give --yes, or --dry-run to look first."
            ));
            false
        }
    }
}

/// The command that resumes this request.
pub(super) fn same_again(key: &str) -> String {
    format!("the same command with --key {}", quoted(key))
}
