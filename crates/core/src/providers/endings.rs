//! Conclusions of an item, given its state: outcomes, reasons and messages that all providers
//! share.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::domain::{
    command::Command,
    http_exchange::{Class, Exchange, Reply, Response, Throttle},
    outcome::{Conclusion, Detail, Failure, FailureReason, Outcome, Reached},
};

use super::{
    Step,
    item_state::{ItemState, answered},
    of,
    reply::{
        answer_subject::{self, CancelCause},
        reasons,
    },
};

impl<'a> ItemState<'a> {
    /// The provider did as asked, as this reply shows.
    pub(super) fn did(&self, outcome: Outcome, detail: Detail, response: &Response) -> Step {
        self.end(Conclusion::success(outcome, detail), Some(response))
    }

    /// A lookup found the goal reached: `AlreadyCanceled` or `AlreadyScheduled`, unless a request
    /// of ours may have reached it.
    pub(super) fn found(
        &self,
        outcome: Outcome,
        detail: Detail,
        response: &Response,
        cause: CancelCause,
    ) -> Step {
        let look = self.exchange_of(response);
        let ours = self.ours && !look.is_some_and(|look| answer_subject::is_others(look, cause));
        let outcome = match outcome {
            Outcome::AlreadyCanceled if ours => Outcome::Canceled,
            Outcome::AlreadyScheduled if ours => Outcome::Scheduled,
            outcome => outcome,
        };
        let mut conclusion = Conclusion::success(outcome, detail);
        conclusion.confirmed_by_lookup = ours;
        self.end(conclusion, Some(response))
    }

    /// The plan of a dry run, as text.
    pub(super) fn previewed(&self, preview: String, detail: Detail, response: &Response) -> Step {
        let mut conclusion = Conclusion::success(Outcome::Previewed, detail);
        let unsettled = match self.task.facts.target_known {
            true => "; a cancellation of it may have to wait before it is sent",
            false => "",
        };
        conclusion.preview = Some(format!("{preview}{unsettled}"));
        self.end(conclusion, Some(response))
    }

    /// A final rejection: `NotFound` or `Rejected`. `message` says what happened and what to do.
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

    /// Believed lookups leave the doubt open: the final outcome is in doubt.
    pub(super) fn unresolved(&self, why: &str, response: &Response) -> Step {
        let message = format!("{why}; see at the provider what it is, and use a new key if needed");
        let failure = self.failure(FailureReason::DoubtUnresolved, message, Some(response));
        let detail = self.detail.clone();
        let conclusion = Conclusion::failure(Outcome::InDoubt, detail, failure);
        self.end(conclusion, Some(response))
    }

    /// Any server could have given this reply, and nothing has proved yet that the account is the
    /// right one.
    pub(super) fn unproven(&self, why: &str, response: &Response) -> Step {
        let account = &self.task.account.name;
        let why = format!(
            "{why}; but account {account} has not described any subscription yet, so this may be \
             the answer of something in between, or of another project"
        );
        let advice = "check the account's base URL and credentials, look at a subscription that \
                      exists with a dry run, and send the key again";
        self.gives_up(FailureReason::AccountUnproven, &why, advice, Some(response))
    }

    /// Gives up for now. In doubt, the outcome is `InDoubt`, and the reason is `AnswerLost` where
    /// it would only say that no reply came.
    pub(super) fn gives_up(
        &self,
        reason: FailureReason,
        why: &str,
        advice: &str,
        response: Option<&Response>,
    ) -> Step {
        let advice = reasons::advice_on_strangers_denial(reason, response).unwrap_or(advice);
        let (outcome, reason, message) = if self.doubt {
            let what = match self.accepted {
                true => "a request was accepted, and what came of it",
                false => "an answer was lost, and what happened",
            };
            let message =
                format!("{what} could not be learned: {why}; {advice}: nothing is done twice");
            let reason = match reason {
                FailureReason::LookFailed
                | FailureReason::ProviderUnreachable
                | FailureReason::ProviderError => FailureReason::AnswerLost,
                reason => reason,
            };
            (Outcome::InDoubt, reason, message)
        } else {
            (Outcome::Unavailable, reason, format!("{why}; {advice}"))
        };
        let failure = self.failure(reason, message, response);
        self.end(
            Conclusion::failure(outcome, self.detail.clone(), failure),
            response,
        )
    }

    /// The step, or the end of a run that has reached `EXCHANGES_MAX`.
    pub(super) fn bounded(&self, step: Step) -> Step {
        match step {
            Step::Send(_) if self.history.len() >= crate::limits::EXCHANGES_MAX => self.gives_up(
                FailureReason::NoProgress,
                "it took more requests than one run makes",
                "send the key again",
                None,
            ),
            Step::Send(_) | Step::Done(_) => step,
        }
    }

    /// A failure, with the facts of the history and this reply.
    pub(super) fn failure(
        &self,
        reason: FailureReason,
        message: String,
        response: Option<&Response>,
    ) -> Failure {
        Failure {
            reason,
            message,
            reached: self.reached(),
            retry_at: response.and_then(|response| self.retry_at(response)),
            provider: response.map(self.read_error),
        }
    }

    /// The time that a reply asks to wait until.
    fn retry_at(&self, response: &Response) -> Option<Timestamp> {
        match of(self.task.account.provider()).throttle(response)? {
            Throttle::Until(time) => Some(time),
            Throttle::After(seconds) => {
                let came = self.exchange_of(response)?.seen.at?;
                came.checked_add(std::time::Duration::from_secs(seconds))
                    .ok()
            }
            Throttle::Unsaid => None,
        }
    }

    /// The exchange of this reply.
    fn exchange_of(&self, response: &Response) -> Option<&'a Exchange> {
        let brought = |exchange: &&Exchange| {
            answered(&exchange.reply).is_some_and(|its| std::ptr::eq(its, response))
        };
        self.history.iter().rev().find(brought)
    }

    /// Completes a conclusion with the provider's reply and the ignored fields.
    pub(super) fn end(&self, mut conclusion: Conclusion, response: Option<&Response>) -> Step {
        conclusion.answer = response.map(|response| {
            crate::domain::provider_response::ProviderResponse::from_text(&response.text)
        });
        conclusion.answer_headers = response
            .map(crate::domain::provider_response::headers)
            .unwrap_or_default();
        conclusion.ignored_fields = self.ignored();
        Step::Done(conclusion)
    }

    pub(super) fn reached(&self) -> Reached {
        let any = |is: fn(&Exchange) -> bool| self.history.iter().any(is);
        let is_answered = any(|exchange| matches!(exchange.reply, Reply::Answered(_)));
        let is_lost = self.task.doubt.is_some()
            || any(|exchange| {
                matches!(exchange.class, Class::Lost) || exchange.operation.is_none()
            });
        match (is_answered, is_lost) {
            (true, true) if self.doubt => Reached::Unknown,
            (true, _) => Reached::Yes,
            (false, true) => Reached::Unknown,
            (false, false) => Reached::No,
        }
    }

    /// The given notes that the provider has no field for.
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
