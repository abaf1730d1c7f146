//! `cancelot cancel`: cancellations from flags, a file or standard input, at a running service.

mod report;
mod request;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Cursor, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use tonic::{Code, Status};

use self::{
    report::{Output, Report},
    request::Sendable,
};
use super::{
    Exit,
    client::{self, Client, Outcome as _},
    input::{self, Defaults, EnrollmentsRow, Row, Rows, SubscriptionRow},
    terminal::{ask, progress, say},
};
use crate::{limits, rpc::proto::Outcome};

/// Mistakes of an input that are shown.
const MISTAKES_SHOWN_MAX: usize = 50;
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Cancel subscriptions.
    Subscriptions(Subscriptions),
    /// Cancel enrollments of marketing sequences.
    Enrollments(Enrollments),
}

/// How to send, whatever is sent.
#[derive(Debug, Args)]
struct Sending {
    #[command(flatten)]
    service: client::Service,
    /// Read rows from this file; `-` is standard input. Flags fill in what a row leaves empty.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What the file is; found out if not given.
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// The idempotency key of the request. The same command with the same key resumes or replays.
    #[arg(long)]
    key: Option<String>,
    /// Find out what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before cancelling.
    #[arg(long)]
    yes: bool,
    /// How to show results.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Stop waiting after so many seconds; the work goes on.
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u64>,
    /// How long the service keeps trying a provider that is away.
    #[arg(long, value_name = "SECONDS")]
    retry_window: Option<i64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FileFormat {
    Csv,
    Jsonl,
}

#[derive(Debug, Args)]
struct Subscriptions {
    #[command(flatten)]
    sending: Sending,
    /// A configured account.
    #[arg(long)]
    account: Option<String>,
    /// The provider's id of the subscription.
    #[arg(long)]
    subscription_id: Option<String>,
    /// When it is to end: now, period_end, provider_default, or a time such as
    /// 2027-01-31T00:00:00Z.
    #[arg(long)]
    when: Option<String>,
    /// Why, from the list: did_not_use, too_expensive, other, ...
    #[arg(long)]
    reason: Option<String>,
    /// Why, in words.
    #[arg(long)]
    comment: Option<String>,
    /// Who asked for it: merchant, customer or provider.
    #[arg(long)]
    initiated_by: Option<String>,
    /// Credit the rest of the period: true or false.
    #[arg(long)]
    prorate: Option<String>,
    /// Solidgate's channel.
    #[arg(long)]
    channel_id: Option<String>,
}

#[derive(Debug, Args)]
struct Enrollments {
    #[command(flatten)]
    sending: Sending,
    /// A configured account.
    #[arg(long)]
    account: Option<String>,
    /// The provider's id of the sequence.
    #[arg(long)]
    sequence_id: Option<String>,
    /// One subscriber.
    #[arg(long)]
    subscriber_id: Option<String>,
    /// Several subscribers, separated by semicolons.
    #[arg(long)]
    subscriber_ids: Option<String>,
    /// Dot path into the entry event, for --field-values.
    #[arg(long)]
    field_path: Option<String>,
    /// Values of the field, separated by semicolons.
    #[arg(long)]
    field_values: Option<String>,
    /// Every active or waiting enrollment of the sequence.
    #[arg(long)]
    all: bool,
    /// Why, in words.
    #[arg(long)]
    reason: Option<String>,
    /// More matches than this and nothing is cancelled.
    #[arg(long)]
    max_matches: Option<u32>,
}

pub(super) async fn run(arguments: Arguments) -> Exit {
    match arguments.what {
        What::Subscriptions(flags) => {
            let columns = [
                ("account", flags.account),
                ("subscription_id", flags.subscription_id),
                ("when", flags.when),
                ("reason", flags.reason),
                ("comment", flags.comment),
                ("initiated_by", flags.initiated_by),
                ("prorate", flags.prorate),
                ("channel_id", flags.channel_id),
            ];
            send::<SubscriptionRow>(&flags.sending, defaults(columns)).await
        }
        What::Enrollments(flags) => {
            let columns = [
                ("account", flags.account),
                ("sequence_id", flags.sequence_id),
                ("subscriber_id", flags.subscriber_id),
                ("subscriber_ids", flags.subscriber_ids),
                ("field_path", flags.field_path),
                ("field_values", flags.field_values),
                ("all", flags.all.then(|| "true".to_owned())),
                ("reason", flags.reason),
                ("max_matches", flags.max_matches.map(|max| max.to_string())),
            ];
            send::<EnrollmentsRow>(&flags.sending, defaults(columns)).await
        }
    }
}

fn defaults<const N: usize>(columns: [(&str, Option<String>); N]) -> Defaults {
    let given = columns.into_iter();
    given
        .filter_map(|(column, text)| Some((column, text?)))
        .collect()
}

impl Sending {
    fn retry_window(&self) -> Option<prost_types::Duration> {
        self.retry_window
            .map(|seconds| prost_types::Duration { seconds, nanos: 0 })
    }
}

async fn send<R: Sendable>(sending: &Sending, defaults: Defaults) -> Exit {
    let rows = match rows::<R>(sending, &defaults) {
        Ok(rows) => rows,
        Err(problem) => {
            say(format!("cancelot: nothing was sent:\n{problem}"));
            return Exit::Usage;
        }
    };
    let mut client = match client::connect(&sending.service) {
        Ok(client) => client,
        Err(problem) => {
            say(format!("cancelot: {problem}"));
            return Exit::Usage;
        }
    };
    if !sending.dry_run && !sending.yes && !confirmed(&rows) {
        return Exit::Usage;
    }
    let key = sending.key.clone().unwrap_or_else(|| {
        let key = format!("cli-{:016x}", fastrand::u64(..));
        if !sending.dry_run {
            say(format!(
                "idempotency key: {key} (give --key {key} to resume or replay)"
            ));
        }
        key
    });
    let mut report = Report::new(sending.output);
    let ended = follow_all(&mut client, &key, &rows, sending, &mut report).await;
    report.show();
    match ended {
        Ok(()) => report.exit(),
        Err(status) => {
            say(format!("cancelot: {}", client::told(&status)));
            match status.code() {
                Code::InvalidArgument | Code::FailedPrecondition | Code::Unauthenticated => {
                    Exit::Usage
                }
                Code::DeadlineExceeded => Exit::Unfinished,
                _ => Exit::Unavailable,
            }
        }
    }
}

fn rows<R: Row>(sending: &Sending, defaults: &Defaults) -> Result<Vec<R>, String> {
    let (input, format): (Box<dyn Read + Send>, _) = match &sending.file {
        // Flags alone are one row that leaves everything to them.
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
    let rows = Rows::open(input, format, defaults).map_err(|mistakes| mistakes.to_string())?;
    let rows = rows
        .read_all(MISTAKES_SHOWN_MAX)
        .map_err(|mistakes| mistakes.to_string())?;
    if rows.is_empty() {
        return Err("there are no rows".to_owned());
    }
    Ok(rows)
}

/// Asks before anything is destroyed. Without a person to ask, the answer is no.
fn confirmed<R: Sendable>(rows: &[R]) -> bool {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        *kinds.entry(row.kind()).or_default() += 1;
    }
    let kinds: Vec<_> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} at {kind}"))
        .collect();
    let question = format!("Cancel {} {}: {}?", rows.len(), R::WHAT, kinds.join(", "));
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

/// Sends as many requests as it takes, one after the other.
async fn follow_all<R: Sendable>(
    client: &mut Client,
    key: &str,
    rows: &[R],
    sending: &Sending,
    report: &mut Report,
) -> Result<(), Status> {
    let bar = progress(u64::try_from(rows.len()).unwrap_or(u64::MAX));
    let chunks = rows.chunks(limits::BATCH_ITEMS_MAX);
    let many = chunks.len() > 1;
    let deadline = sending.deadline.map(Duration::from_secs);
    for (number, chunk) in chunks.enumerate() {
        let key = if many {
            format!("{key}.{number}")
        } else {
            key.to_owned()
        };
        let request = R::request(key, chunk, sending);
        let followed = client::follow(client, request, deadline, |_, result| {
            if result.outcome() != Outcome::Unspecified {
                bar.inc(1);
                bar.suspend(|| report.add(&result));
            }
        });
        if let Err(status) = followed.await {
            bar.finish_and_clear();
            return Err(status);
        }
    }
    bar.finish_and_clear();
    Ok(())
}
