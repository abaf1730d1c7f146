//! Where an item stands: what its history leaves unsettled, and the endings that follow from that
//! alone. The same for every provider; nothing here knows any of them.

use std::borrow::Cow;

use crate::{
    domain::{
        command::Command,
        exchange::{Exchange, Fault, FaultKind, Operation, Reply, Request, Response, Throttle},
        outcome::{Conclusion, Detail, Failure, FailureReason, Outcome, ProviderError, Reached},
    },
    limits,
};

use super::{
    Step, Task, of,
    status::{self, Verdict},
};

/// What an exchange says about effects of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bearing {
    /// It may have had an effect that nobody saw.
    Doubt,
    /// It shows that the target is untouched, so no request before it had an effect.
    Settled,
    /// Nothing.
    Neither,
}

/// The default: a request with an effect whose reply says neither yes nor no is doubt, and so is
/// whatever a restart lost.
pub(super) fn bearing(exchange: &Exchange, effects: &[Operation]) -> Bearing {
    let Some(operation) = exchange.operation else {
        return Bearing::Doubt;
    };
    if effects.contains(&operation)
        && matches!(status::verdict(&exchange.reply), Verdict::Doubtful(..))
    {
        Bearing::Doubt
    } else {
        Bearing::Neither
    }
}

/// An item in the middle of its history.
#[derive(Clone)]
pub(super) struct Standing<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) history: &'a [Exchange],
    /// A request of ours may have had an effect, and nothing since has settled whether it did.
    pub(super) doubt: bool,
    /// Requests with an effect that the provider accepted so far.
    pub(super) accepted: usize,
    /// What is known of the target, for endings that learn nothing more. Blank at first.
    pub(super) detail: Detail,
    effects: &'a [Operation],
    read_error: fn(&Response) -> ProviderError,
}

impl<'a> Standing<'a> {
    /// Reads a history. `effects` are the operations that change something, `read_error` reads
    /// the provider's error envelopes, and `bearings` are what each exchange says about
    /// effects.
    pub(super) fn new(
        task: &'a Task<'a>,
        history: &'a [Exchange],
        effects: &'a [Operation],
        read_error: fn(&Response) -> ProviderError,
        bearings: impl IntoIterator<Item = Bearing>,
    ) -> Self {
        let doubt = bearings
            .into_iter()
            .fold(false, |doubt, bearing| match bearing {
                Bearing::Doubt => true,
                Bearing::Settled => false,
                Bearing::Neither => doubt,
            });
        let is_accepted = |exchange: &&Exchange| {
            has_effect(exchange, effects)
                && matches!(status::verdict(&exchange.reply), Verdict::Success(_))
        };
        Self {
            task,
            history,
            doubt,
            accepted: history.iter().filter(is_accepted).count(),
            detail: status::blank(task.command),
            effects,
            read_error,
        }
    }

    /// The last exchange.
    pub(super) fn last(&self) -> Option<&'a Exchange> {
        self.history.last()
    }

    /// The last exchange of this operation.
    pub(super) fn last_of(&self, operation: Operation) -> Option<&'a Exchange> {
        self.history
            .iter()
            .rev()
            .find(|exchange| exchange.operation == Some(operation))
    }

    /// The provider did as asked, and said so in this answer.
    pub(super) fn did(&self, outcome: Outcome, detail: Detail, response: &Response) -> Step {
        self.end(Conclusion::success(outcome, detail), Some(response))
    }

    /// A look found the goal reached: `AlreadyCanceled` or `AlreadyScheduled`, unless a request
    /// of ours may have been what reached it.
    pub(super) fn found(&self, outcome: Outcome, detail: Detail, response: &Response) -> Step {
        let ours = match outcome {
            Outcome::AlreadyCanceled => Outcome::Canceled,
            Outcome::AlreadyScheduled => Outcome::Scheduled,
            Outcome::Canceled
            | Outcome::Scheduled
            | Outcome::Previewed
            | Outcome::NotFound
            | Outcome::Rejected
            | Outcome::Unavailable
            | Outcome::InDoubt
            | Outcome::Stopped => outcome,
        };
        let mut conclusion = Conclusion::success(if self.doubt { ours } else { outcome }, detail);
        conclusion.confirmed_by_lookup = self.doubt;
        self.end(conclusion, Some(response))
    }

    /// A dry run's plan, in words.
    pub(super) fn previewed(&self, preview: String, detail: Detail, response: &Response) -> Step {
        let mut conclusion = Conclusion::success(Outcome::Previewed, detail);
        conclusion.preview = Some(preview);
        self.end(conclusion, Some(response))
    }

    /// The provider's answer leaves no hope: `NotFound` or `Rejected`. `message` says what
    /// happened and what to do.
    pub(super) fn refused(
        &self,
        outcome: Outcome,
        reason: FailureReason,
        message: impl Into<String>,
        detail: Detail,
        response: &Response,
    ) -> Step {
        let failure = self.failure(reason, message.into(), Some(response));
        self.end(
            Conclusion::failure(outcome, detail, failure),
            Some(response),
        )
    }

    /// Gives up for now. In doubt the outcome and the reason are those of doubt, and `why` goes
    /// into the message.
    pub(super) fn gives_up(
        &self,
        reason: FailureReason,
        why: &str,
        advice: &str,
        response: Option<&Response>,
    ) -> Step {
        let (outcome, reason, message) = if self.doubt {
            let message = format!(
                "an answer was lost, and what happened could not be learned: {why}; {advice}: \
                 nothing is done twice"
            );
            (Outcome::InDoubt, FailureReason::AnswerLost, message)
        } else {
            (Outcome::Unavailable, reason, format!("{why}; {advice}"))
        };
        let failure = self.failure(reason, message, response);
        self.end(
            Conclusion::failure(outcome, self.detail.clone(), failure),
            response,
        )
    }

    /// Gives up for now because of this reply: the default for everything but success, and for
    /// what a provider's own rules do not decide.
    pub(super) fn unable(&self, reply: &Reply) -> Step {
        let account = &self.task.account.name;
        let again = "send the key again later";
        let (reason, why, advice, response) = match status::verdict(reply) {
            Verdict::Unauthenticated(response) => (
                FailureReason::CredentialsRefused,
                format!("the provider refused the credentials of account {account}"),
                "put a valid secret into its configuration and send the key again",
                Some(response),
            ),
            Verdict::Forbidden(response) => (
                FailureReason::PermissionDenied,
                format!("the credentials of account {account} do not permit it"),
                "give them the permission and send the key again",
                Some(response),
            ),
            Verdict::Throttled(response) => (
                FailureReason::ProviderThrottled,
                "the provider was throttling until the retry window ended".to_owned(),
                again,
                Some(response),
            ),
            Verdict::Unsent(fault) if let Some((why, response)) = self.sent_before(fault) => (
                response.map_or(FailureReason::ProviderUnreachable, |_| {
                    FailureReason::ProviderError
                }),
                why,
                again,
                response,
            ),
            Verdict::Unsent(fault) => {
                let (reason, why) = match fault.kind {
                    FaultKind::Throttled => (FailureReason::ProviderThrottled, "nothing was sent"),
                    FaultKind::WindowEnded => {
                        (FailureReason::ProviderUnreachable, "no request went out")
                    }
                    FaultKind::Connect
                    | FaultKind::Timeout
                    | FaultKind::Broken
                    | FaultKind::TooLong
                    | FaultKind::Restart => (
                        FailureReason::ProviderUnreachable,
                        "the provider could not be reached",
                    ),
                };
                (reason, format!("{why}: {}", fault.message), again, None)
            }
            Verdict::Doubtful(None, lost) => (
                FailureReason::LookFailed,
                format!("no answer came: {lost}"),
                again,
                None,
            ),
            Verdict::Doubtful(Some(response), odd) => (
                FailureReason::LookFailed,
                format!("the provider answered {}: {odd}", response.status),
                again,
                Some(response),
            ),
            Verdict::Success(response) | Verdict::Refused(response) | Verdict::Absent(response) => {
                (
                    FailureReason::AnswerUnreadable,
                    format!(
                        "the provider answered {} in a way that is not documented",
                        response.status
                    ),
                    "look at the provider's answer, then send the key again",
                    Some(response),
                )
            }
        };
        self.gives_up(reason, &why, advice, response)
    }

    /// Sends a request with an effect, unless the provider has accepted it often enough.
    pub(super) fn send_effect(&self, request: Request) -> Step {
        if self.accepted < limits::ACCEPTED_MAX {
            return Step::Send(request);
        }
        let mut effects = self.effects();
        let response = effects.find_map(|exchange| answered(&exchange.reply));
        let why = format!(
            "the provider accepted the request {} times, and each time a look found nothing done",
            self.accepted
        );
        let reason = FailureReason::NoProgress;
        self.gives_up(reason, &why, "send the key again later", response)
    }

    /// Requests with an effect, the last one first.
    fn effects(&self) -> impl Iterator<Item = &'a Exchange> {
        let effects = self.effects;
        let backwards = self.history.iter().rev();
        backwards.filter(move |exchange| has_effect(exchange, effects))
    }

    /// If the window ended before a request could be sent again: what came of it the last time, in
    /// words and with the answer.
    fn sent_before(&self, fault: &Fault) -> Option<(String, Option<&'a Response>)> {
        if fault.kind != FaultKind::WindowEnded {
            return None;
        }
        let mut verdicts = self
            .effects()
            .map(|exchange| status::verdict(&exchange.reply));
        let (came, response) = verdicts.find_map(|verdict| match verdict {
            Verdict::Doubtful(Some(response), _) => {
                let came = format!("the provider answered {}", response.status);
                Some((came, Some(response)))
            }
            Verdict::Doubtful(None, lost) => Some((format!("no answer came ({lost})"), None)),
            Verdict::Success(_)
            | Verdict::Refused(_)
            | Verdict::Unauthenticated(_)
            | Verdict::Forbidden(_)
            | Verdict::Absent(_)
            | Verdict::Throttled(_)
            | Verdict::Unsent(_) => None,
        })?;
        let nothing_done = if self.doubt {
            ""
        } else {
            ", and a look found nothing done"
        };
        let why = format!("{}; when it was, {came}{nothing_done}", fault.message);
        Some((why, response))
    }

    /// The step, or an end where there is no room for another exchange.
    pub(super) fn bounded(&self, step: Step) -> Step {
        match step {
            Step::Send(_) if self.history.len() >= limits::EXCHANGES_MAX => self.gives_up(
                FailureReason::NoProgress,
                "it took more requests than one run makes",
                "send the key again",
                None,
            ),
            Step::Send(_) | Step::Done(_) => step,
        }
    }

    /// A failure with all that the history and this answer tell.
    pub(super) fn failure(
        &self,
        reason: FailureReason,
        message: String,
        response: Option<&Response>,
    ) -> Failure {
        let provider = of(self.task.account.provider());
        let retry_at = response.and_then(|response| match provider.throttle(response)? {
            Throttle::Until(time) => Some(time),
            Throttle::After(_) | Throttle::Unsaid => None,
        });
        Failure {
            reason,
            message,
            reached: self.reached(),
            retry_at,
            provider: response.map(self.read_error),
        }
    }

    /// Completes a conclusion with the answer and the notes that had no place.
    pub(super) fn end(&self, mut conclusion: Conclusion, response: Option<&Response>) -> Step {
        conclusion.answer =
            response.map(|response| crate::domain::answer::Answer::from_text(&response.text));
        conclusion.answer_headers = response
            .map(crate::domain::answer::headers)
            .unwrap_or_default();
        conclusion.ignored_fields = self.ignored();
        Step::Done(conclusion)
    }

    fn reached(&self) -> Reached {
        let any = |is: fn(&Reply) -> bool| self.history.iter().any(|exchange| is(&exchange.reply));
        if self.doubt {
            Reached::Unknown
        } else if any(|reply| matches!(reply, Reply::Answered(_))) {
            Reached::Yes
        } else if any(|reply| matches!(reply, Reply::InDoubt(_))) {
            Reached::Unknown
        } else {
            Reached::No
        }
    }

    /// The notes given that the provider has no place for.
    fn ignored(&self) -> Vec<Cow<'static, str>> {
        let given: &[(&'static str, bool)] = match self.task.command {
            Command::Subscription(command) => &[
                ("reason", command.reason.is_some()),
                ("comment", command.comment.is_some()),
                ("initiated_by", command.initiated_by.is_some()),
            ],
            Command::Enrollments(command) => &[("reason", command.reason.is_some())],
        };
        let account = self.task.account;
        let carried = of(account.provider()).capabilities(account).notes;
        given
            .iter()
            .filter(|(note, is_given)| *is_given && !carried.contains(note))
            .map(|(note, _)| Cow::Borrowed(*note))
            .collect()
    }
}

/// Whether it is one of these.
fn has_effect(exchange: &Exchange, effects: &[Operation]) -> bool {
    let operation = exchange.operation;
    operation.is_some_and(|operation| effects.contains(&operation))
}

/// The response, if there is one.
pub(super) fn answered(reply: &Reply) -> Option<&Response> {
    match reply {
        Reply::Answered(response) => Some(response),
        Reply::NotSent(_) | Reply::InDoubt(_) => None,
    }
}
