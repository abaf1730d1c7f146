//! `cancelot cancel`: sends cancellations from flags, a file or standard input to a running
//! service.

mod failed;
mod follow;
mod refused;
mod report;
mod request;
mod send;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use self::{report::Output, send::send};
use super::{
    Exit, client,
    input::{Defaults, EnrollmentsRow, SubscriptionRow},
    terminal::times,
};

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
    /// Leave these columns of the file out, by their names there; may be repeated.
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "file")]
    ignore_columns: Vec<String>,
    /// Say what a column is called in the file, such as subscription_id=Ref; may be repeated.
    #[arg(
        long,
        value_name = "COLUMN=NAME",
        value_delimiter = ',',
        requires = "file"
    )]
    columns: Vec<String>,
    /// Write the rows that did not succeed to this file, to be sent again: JSON Lines, or CSV if
    /// its name ends with .csv. Those without a final outcome have the key that continues them.
    #[arg(long, value_name = "FILE")]
    failed_to: Option<PathBuf>,
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
    /// Stop waiting after so many seconds, or a time such as 5m; the work goes on.
    #[arg(long, value_name = "SECONDS", value_parser = times::length)]
    deadline: Option<Duration>,
    /// How long the service keeps trying a provider that is away: seconds, or a time such as 2h.
    #[arg(long, value_name = "SECONDS", value_parser = times::length)]
    retry_window: Option<Duration>,
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
    /// When it is to end: now, period_end, provider_default, a day such as 2027-01-31 (from its
    /// beginning in UTC), or a time such as 2027-01-31T09:00:00+01:00.
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
        let window = self.retry_window?;
        Some(prost_types::Duration {
            seconds: i64::try_from(window.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(window.subsec_nanos()).unwrap_or_default(),
        })
    }
}
