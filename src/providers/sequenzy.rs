//! Sequenzy: `POST /sequences/{id}/enrollments/cancel`, repeated word for word until nothing that
//! matches remains. Only enrollments that still match are cancelled, so a repeat is harmless; it
//! makes the counts lower bounds, nothing worse.
//!
//! `dryRun` is always said, since its default depends on the target, and compared with the
//! reply's. `hasMore` is about the sample of enrollments in a reply, not about what remains
//! (reference, section 1).

mod wire;

use crate::{
    domain::{
        account::{Account, Auth, Capabilities, DryRun, ProviderSettings},
        command::{EnrollmentsCommand, EnrollmentsTarget},
        exchange::{
            Body, Exchange, Method, Operation, Path, Reply, Request, Response, Safety, Throttle,
        },
        ids::Kind,
        outcome::{Conclusion, Detail, FailureReason, Outcome},
    },
    limits,
};

use super::{
    Mode, Progress, Provider, Step, Task,
    standing::{Bearing, Standing, bearing},
    status::{self, Verdict, verdict},
};
use wire::{Call, body, detail, read_error, unknown_subscriber_ids};

/// Counts what matches, by a call with `dryRun: true`.
const COUNT: Operation = Operation("count");
/// Cancels up to 1,000 enrollments that match.
const CANCEL: Operation = Operation("cancel");

/// Times that a successful call whose answer cannot be read is repeated.
const REREADS_MAX: usize = 2;

pub(super) struct Sequenzy;

impl Provider for Sequenzy {
    fn capabilities(&self, _account: &Account) -> Capabilities {
        Capabilities {
            kind: Kind::Enrollments,
            timings: Vec::new(),
            prorate: false,
            line_items: false,
            notes: &["reason"],
            dry_run: DryRun::Preview,
        }
    }

    fn auth(&self, _account: &Account) -> Auth {
        Auth {
            header: "authorization",
            prefix: "Bearer ",
        }
    }

    fn next(&self, task: &Task<'_>, history: &[Exchange]) -> Step {
        let command = match task.enrollments() {
            Ok(command) => command,
            Err(step) => return step,
        };
        let drain = Drain::new(task, command, history);
        let step = match drain.next() {
            Step::Send(_) if history.len() >= limits::EXCHANGES_MAX => drain.at.gives_up(
                FailureReason::DrainUnfinished,
                &format!("{}, and one run makes no more calls", drain.so_far()),
                "send the key again to go on",
                None,
            ),
            step => step,
        };
        match step {
            Step::Done(mut conclusion) => {
                conclusion.confirmed_by_lookup = drain.lost;
                Step::Done(conclusion)
            }
            Step::Send(request) => Step::Send(request),
        }
    }

    fn progress(&self, task: &Task<'_>, history: &[Exchange]) -> Option<Progress> {
        let drain = Drain::new(task, task.enrollments().ok()?, history);
        let is_begun = drain.lost || !drain.calls.is_empty();
        is_begun.then(|| Progress {
            detail: drain.at.detail.clone(),
            lost: drain.lost,
        })
    }

    /// Nothing is documented but the status. Its SDKs also read `retry-after-ms`.
    fn throttle(&self, response: &Response) -> Option<Throttle> {
        let said = status::throttle(response)?;
        let wait_ms = response
            .header("retry-after-ms")
            .and_then(|text| text.trim().parse::<u64>().ok());
        Some(match (said, wait_ms) {
            (Throttle::Unsaid, Some(wait_ms)) => Throttle::After(wait_ms.div_ceil(1_000)),
            (said, _) => said,
        })
    }
}

/// A success that can be read says where things stand; one that cannot is doubt.
fn bears(exchange: &Exchange) -> Bearing {
    if exchange.operation != Some(CANCEL) {
        return bearing(exchange, &[CANCEL]);
    }
    match verdict(&exchange.reply) {
        Verdict::Success(_) if Call::read(exchange).is_some() => Bearing::Settled,
        Verdict::Success(_) => Bearing::Doubt,
        _ => bearing(exchange, &[CANCEL]),
    }
}

/// Says that it succeeded, and not how: it lacks the counts, or is no JSON at all, as when a proxy
/// answers with a page of its own.
fn is_unread(exchange: &Exchange) -> bool {
    matches!(&exchange.reply, Reply::Answered(response) if (200..300).contains(&response.status))
        && Call::read(exchange).is_none()
}

/// One target on its way to having no enrollments.
struct Drain<'a> {
    command: &'a EnrollmentsCommand,
    at: Standing<'a>,
    calls: Vec<Call<'a>>,
    /// An answer was lost on the way, so more may have been cancelled than was counted.
    lost: bool,
}

impl<'a> Drain<'a> {
    fn new(task: &'a Task<'a>, command: &'a EnrollmentsCommand, history: &'a [Exchange]) -> Self {
        let calls: Vec<_> = history.iter().filter_map(Call::read).collect();
        let dry = task.mode == Mode::DryRun;
        let bears = |exchange: &Exchange| match dry {
            true => Bearing::Neither,
            false => bears(exchange),
        };
        let bearings: Vec<_> = history.iter().map(bears).collect();
        let lost = bearings.contains(&Bearing::Doubt);
        let mut at = Standing::new(task, history, &[CANCEL], read_error, bearings);
        at.detail = Detail::Enrollments(detail(&calls));
        Self {
            command,
            at,
            calls,
            lost,
        }
    }

    fn next(&self) -> Step {
        let counts_first = self.command.matches_max.is_some();
        let Some(last) = self.at.last() else {
            return match self.at.task.mode {
                Mode::Cancel if !counts_first => self.call(CANCEL),
                Mode::Cancel | Mode::DryRun => self.call(COUNT),
            };
        };
        match (self.at.task.mode, last.operation) {
            (_, Some(COUNT)) => self.after_count(last),
            (Mode::Cancel, Some(CANCEL)) => self.after_cancel(last),
            (Mode::Cancel, _) if !counts_first => self.call(CANCEL),
            (Mode::Cancel | Mode::DryRun, _) => self.call(COUNT),
        }
    }

    fn after_count(&self, last: &Exchange) -> Step {
        let Some(call) = Call::read(last) else {
            return self.no_success(&last.reply);
        };
        if call.dry == Some(false) || call.canceled > 0 {
            return self.not_dry(&call);
        }
        if let Some(max) = self.command.matches_max
            && call.matched > u64::from(max)
        {
            return self.too_many(&call, max);
        }
        if self.knows_nobody(&call) {
            return self.unknown_subscribers(&call);
        }
        match self.at.task.mode {
            Mode::DryRun => {
                let preview = match call.matched {
                    0 => "nothing matches, so nothing would be cancelled".to_owned(),
                    1 => "1 enrollment matches and would be cancelled".to_owned(),
                    matched => format!("{matched} enrollments match and would be cancelled"),
                };
                self.at
                    .previewed(preview, self.at.detail.clone(), call.response)
            }
            Mode::Cancel if call.matched == 0 => self.finished(&call),
            Mode::Cancel => self.call(CANCEL),
        }
    }

    fn after_cancel(&self, last: &Exchange) -> Step {
        let Some(call) = Call::read(last) else {
            return self.no_success(&last.reply);
        };
        if call.dry == Some(true) {
            return self.at.gives_up(
                FailureReason::AnswerUnreadable,
                "sequenzy answered a live call as a dry run, so it cancelled nothing",
                "look at its answer, then send the key again",
                Some(call.response),
            );
        }
        if self.knows_nobody(&call) {
            return self.unknown_subscribers(&call);
        }
        match (call.remaining, call.canceled) {
            (0, _) => self.finished(&call),
            (_, 0) => self.at.gives_up(
                FailureReason::NoProgress,
                &format!(
                    "{}, and the last call cancelled none of them",
                    self.so_far()
                ),
                "ask sequenzy why, then send the key again",
                Some(call.response),
            ),
            (_, _) => self.call(CANCEL),
        }
    }

    /// Nothing that matches remains.
    fn finished(&self, call: &Call<'_>) -> Step {
        let ended: u64 = self.ended();
        let outcome = if ended > 0 || self.lost {
            Outcome::Canceled
        } else {
            Outcome::AlreadyCanceled
        };
        let conclusion = Conclusion::success(outcome, self.at.detail.clone());
        self.at.end(conclusion, Some(call.response))
    }

    fn no_success(&self, reply: &Reply) -> Step {
        match verdict(reply) {
            Verdict::Absent(response) => self.not_found(response),
            Verdict::Refused(response) if self.ended() == 0 && !self.at.doubt => {
                let said = read_error(response).message.unwrap_or_default();
                self.at.refused(
                    Outcome::Rejected,
                    FailureReason::ProviderRefused,
                    format!("sequenzy refused it: {said}; correct it and send it under a new key"),
                    self.at.detail.clone(),
                    response,
                )
            }
            Verdict::Refused(response) => self.at.gives_up(
                FailureReason::ProviderRefused,
                &format!("{}, and sequenzy refused to go on", self.so_far()),
                "look at its answer, then send the key again",
                Some(response),
            ),
            _ if self.at.last().is_some_and(is_unread) && self.rereads() < REREADS_MAX => {
                match self.at.last().and_then(|last| last.operation) {
                    Some(CANCEL) => self.call(CANCEL),
                    _ => self.call(COUNT),
                }
            }
            _ => self.at.unable(reply),
        }
    }

    /// Either the sequence or the subscriber: only the text tells, if it does.
    fn not_found(&self, response: &Response) -> Step {
        let said = read_error(response).message.unwrap_or_default();
        let sequence = &self.command.sequence_id;
        let message = match &self.command.target {
            EnrollmentsTarget::Subscriber(subscriber) if !said.contains("equence") => format!(
                "sequenzy does not know subscriber {subscriber} or sequence {sequence}: {said}; \
                 check both ids and the account's company"
            ),
            _ => format!(
                "sequenzy has no sequence {sequence}: {said}; check the id and the account's \
                 company"
            ),
        };
        self.gone(message, response)
    }

    /// Whether none of the subscribers is known.
    fn knows_nobody(&self, call: &Call<'_>) -> bool {
        match &self.command.target {
            EnrollmentsTarget::Subscribers(ids) => {
                let unknown = unknown_subscriber_ids(std::slice::from_ref(call));
                call.matched == 0 && ids.iter().all(|id| unknown.contains(id.as_str()))
            }
            EnrollmentsTarget::Subscriber(_)
            | EnrollmentsTarget::Field { .. }
            | EnrollmentsTarget::All => false,
        }
    }

    fn unknown_subscribers(&self, call: &Call<'_>) -> Step {
        let message = "sequenzy knows none of the subscribers; check their ids".to_owned();
        self.gone(message, call.response)
    }

    fn gone(&self, message: String, response: &Response) -> Step {
        let (outcome, reason) = (Outcome::NotFound, FailureReason::TargetNotFound);
        let detail = self.at.detail.clone();
        self.at.refused(outcome, reason, message, detail, response)
    }

    fn too_many(&self, call: &Call<'_>, max: u32) -> Step {
        let why = format!(
            "{} enrollments match, more than max_matches allows ({max})",
            call.matched
        );
        if self.at.doubt {
            // A run before the restart may have counted fewer and begun.
            let advice = "look at the sequence, then send the key again";
            let reason = FailureReason::TooManyMatches;
            return self.at.gives_up(reason, &why, advice, Some(call.response));
        }
        let message = format!(
            "{why}, so nothing was cancelled; narrow the target or raise max_matches, under a \
             new key"
        );
        let (outcome, reason) = (Outcome::Rejected, FailureReason::TooManyMatches);
        let detail = self.at.detail.clone();
        self.at
            .refused(outcome, reason, message, detail, call.response)
    }

    /// A call that was to count says that it cancelled.
    fn not_dry(&self, call: &Call<'_>) -> Step {
        let message = format!(
            "sequenzy did not take a dry run as one and says that it cancelled {} enrollments; \
             look at the sequence there",
            call.canceled
        );
        let reason = FailureReason::AnswerUnreadable;
        let failure = self.at.failure(reason, message, Some(call.response));
        let detail = self.at.detail.clone();
        let conclusion = Conclusion::failure(Outcome::InDoubt, detail, failure);
        self.at.end(conclusion, Some(call.response))
    }

    fn ended(&self) -> u64 {
        self.calls
            .iter()
            .fold(0, |sum, call| sum.saturating_add(call.canceled))
    }

    fn so_far(&self) -> String {
        let remaining = self.calls.last().map_or_else(
            || "an unknown number".to_owned(),
            |call| call.remaining.to_string(),
        );
        format!("{} were cancelled and {remaining} remain", self.ended())
    }

    /// Successes so far that could not be read.
    fn rereads(&self) -> usize {
        self.at
            .history
            .iter()
            .filter(|exchange| is_unread(exchange))
            .count()
            .saturating_sub(1)
    }

    fn call(&self, operation: Operation) -> Step {
        let dry = operation == COUNT;
        let company = match &self.at.task.account.settings {
            ProviderSettings::Sequenzy { company_id } => company_id.clone(),
            ProviderSettings::Rebilly { .. }
            | ProviderSettings::Solidgate { .. }
            | ProviderSettings::FunnelFox { .. }
            | ProviderSettings::Revolv3 { .. } => None,
        };
        Step::Send(Request {
            operation,
            safety: if dry {
                Safety::Look
            } else {
                Safety::Repeatable
            },
            method: Method::Post,
            path: Path::fixed("sequences")
                .segment(self.command.sequence_id.as_str())
                .then("enrollments/cancel"),
            query: Vec::new(),
            headers: company
                .map(|company| ("x-company-id", company))
                .into_iter()
                .collect(),
            body: Some(Body {
                content_type: "application/json",
                text: body(self.command, dry).to_string(),
            }),
        })
    }
}
