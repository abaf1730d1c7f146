//! Rebilly: `PUT /subscription-cancellations/{id}` under an id of ours, so that after doubt a GET
//! of that id tells whether the cancellation is there.
//!
//! Its page lists no status for a subscription that is unknown, already cancelled or in a wrong
//! state, and its errors have no codes. So whenever it refuses, the subscription itself is looked
//! at, and its state decides (reference, section 2).

mod talk;
mod wire;

use jiff::Timestamp;

use crate::domain::{
    account::{Account, Auth, Capabilities, DryRun, ProviderSettings, RebillyAuth, Timing},
    command::{Command, When},
    exchange::{Exchange, Operation, Response, Throttle},
    ids::Kind,
};

use super::{
    Mode, Provider, Step, Task, Violation,
    standing::{Bearing, Standing, answered, bearing},
    status::{self, Verdict, verdict},
};
use talk::Talk;
use wire::{CancellationStatus, read_error};

/// Makes the cancellation.
const CANCEL: Operation = Operation("cancel");
/// Looks for the cancellation of ours.
const LOOK_OWN: Operation = Operation("look_cancellation");
/// Looks at the subscription.
const LOOK: Operation = Operation("look");
/// Makes a draft for a dry run.
const DRAFT: Operation = Operation("draft");
/// Deletes the draft.
const DISCARD: Operation = Operation("discard");

/// `maxLength` of a subscription's id.
const SUBSCRIPTION_ID_CHARS_MAX: usize = 50;
/// `maxLength` of `description`, which carries the comment.
const DESCRIPTION_CHARS_MAX: usize = 255;
/// Greater numbers in a header that says when to come back are Unix times: as a wait it would be
/// three years.
const WAIT_SECONDS_MAX: i64 = 100_000_000;

pub(super) struct Rebilly;

impl Provider for Rebilly {
    fn capabilities(&self, _account: &Account) -> Capabilities {
        Capabilities {
            kind: Kind::Subscription,
            timings: vec![Timing::Now, Timing::PeriodEnd, Timing::At],
            prorate: true,
            line_items: true,
            notes: &["reason", "comment", "initiated_by"],
            dry_run: DryRun::Preview,
        }
    }

    fn auth(&self, account: &Account) -> Auth {
        match &account.settings {
            ProviderSettings::Rebilly {
                auth: RebillyAuth::Bearer,
                ..
            } => Auth {
                header: "authorization",
                prefix: "Bearer ",
            },
            ProviderSettings::Rebilly { .. }
            | ProviderSettings::Solidgate { .. }
            | ProviderSettings::FunnelFox { .. }
            | ProviderSettings::Revolv3 { .. }
            | ProviderSettings::Sequenzy { .. } => Auth {
                header: "reb-apikey",
                prefix: "",
            },
        }
    }

    fn check(&self, _account: &Account, command: &Command) -> Vec<Violation> {
        let Command::Subscription(command) = command else {
            return Vec::new();
        };
        let comment = command.comment.as_deref().unwrap_or_default();
        let lengths = [
            (
                "subscription_id",
                command.subscription_id.as_str(),
                SUBSCRIPTION_ID_CHARS_MAX,
            ),
            ("comment", comment, DESCRIPTION_CHARS_MAX),
        ];
        let too_long = lengths.into_iter().filter_map(|(field, text, chars_max)| {
            let chars = text.chars().count();
            let described = format!("has {chars} characters; rebilly takes at most {chars_max}");
            (chars > chars_max).then(|| Violation::new(field, described))
        });
        too_long.collect()
    }

    fn next(&self, task: &Task<'_>, history: &[Exchange]) -> Step {
        let command = match task.subscription() {
            // Not one of the timings above: admitted while the account was another provider's.
            Ok(command) if command.when == When::ProviderDefault => {
                return status::account_changed(task.command);
            }
            Ok(command) => command,
            Err(step) => return step,
        };
        let effects = match task.mode {
            Mode::Cancel => &[CANCEL][..],
            // A draft applies nothing.
            Mode::DryRun => &[],
        };
        let bears = |exchange: &Exchange| match task.mode {
            Mode::Cancel => bears(exchange),
            Mode::DryRun => Bearing::Neither,
        };
        let talk = Talk {
            command,
            at: Standing::new(
                task,
                history,
                effects,
                read_error,
                history.iter().map(bears),
            ),
        };
        let step = match task.mode {
            Mode::Cancel => talk.cancel(),
            Mode::DryRun => talk.dry_run(),
        };
        talk.at.bounded(step)
    }

    /// A 429 carries `X-RateLimit-Retry-After`, a Unix time by its specification; Rebilly's own
    /// PHP SDK reads `Retry-After`. Either may come in either form.
    fn throttle(&self, response: &Response) -> Option<Throttle> {
        if response.status != 429 {
            return None;
        }
        let header = |name| response.header(name)?.trim().parse::<i64>().ok();
        let number = header("x-ratelimit-retry-after").or_else(|| header("retry-after"));
        match number {
            Some(time) if time > WAIT_SECONDS_MAX => {
                let time = Timestamp::from_second(time).ok();
                Some(time.map_or(Throttle::Unsaid, Throttle::Until))
            }
            Some(seconds) => {
                let seconds = u64::try_from(seconds).ok();
                Some(seconds.map_or(Throttle::Unsaid, Throttle::After))
            }
            None => status::throttle(response),
        }
    }
}

fn bears(exchange: &Exchange) -> Bearing {
    let state = answered(&exchange.reply).map(CancellationStatus::read);
    match (exchange.operation, verdict(&exchange.reply), state) {
        (Some(LOOK_OWN), Verdict::Absent(_), _)
        | (
            Some(LOOK_OWN),
            Verdict::Success(_),
            Some(CancellationStatus::Draft | CancellationStatus::Revoked),
        ) => Bearing::Settled,
        (
            Some(CANCEL),
            Verdict::Success(_),
            Some(CancellationStatus::Draft | CancellationStatus::Unknown),
        ) => Bearing::Doubt,
        _ => bearing(exchange, &[CANCEL]),
    }
}
