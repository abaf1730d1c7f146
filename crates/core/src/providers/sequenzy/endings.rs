//! Outcomes of a drain.

use crate::{
    domain::{
        command::EnrollmentsTarget,
        http_exchange::{Exchange, Response},
        outcome::{Conclusion, FailureReason, Outcome},
    },
    providers::{Step, item_state::answered},
};

use super::{
    drain::Drain,
    wire::{Call, read_error, unknown_subscriber_ids},
};

impl<'a> Drain<'a> {
    /// No match remains. Whether it was our doing has to be found out only if a reply was lost and
    /// no other reply counts any.
    pub(super) fn finished(&self, call: &Call<'_>) -> Step {
        match self.ended() {
            0 if self.lost && self.can_list() => self.list(),
            0 if self.lost => self.ended_by_us(call.response),
            0 => self.ended_by_others(call),
            _ => self.ended_by_us(call.response),
        }
    }

    pub(super) fn ended_by_us(&self, response: &Response) -> Step {
        let conclusion = Conclusion::success(Outcome::Canceled, self.at.detail.clone());
        self.at.end(conclusion, Some(response))
    }

    pub(super) fn ended_by_others(&self, call: &Call<'_>) -> Step {
        if self.knows_nobody(call) {
            return self.unknown_subscribers(call);
        }
        let outcome = Outcome::AlreadyCanceled;
        let conclusion = Conclusion::success(outcome, self.at.detail.clone());
        self.at.end(conclusion, Some(call.response))
    }

    pub(super) fn preview(&self, call: &Call<'_>) -> Step {
        let preview = match call.matched {
            0 => "nothing matches, so nothing would be cancelled".to_owned(),
            1 => "1 enrollment matches and would be cancelled".to_owned(),
            matched => format!("{matched} enrollments match and would be cancelled"),
        };
        let detail = self.at.detail.clone();
        self.at.previewed(preview, detail, call.response)
    }

    /// Sequenzy rejected it, and no reply was lost. Final only if nothing was cancelled before.
    pub(super) fn refused(&self, last: &Exchange) -> Step {
        let Some(response) = answered(&last.reply) else {
            return self.at.unable(last);
        };
        if response.status == 404 {
            return self.not_found(response);
        }
        if self.ended() > 0 {
            return self.at.gives_up(
                FailureReason::ProviderRefused,
                &format!("{}, and sequenzy refused to go on", self.so_far()),
                "look at its answer, then send the key again",
                Some(response),
            );
        }
        let said = read_error(response).message.unwrap_or_default();
        self.at.refused(
            Outcome::Rejected,
            FailureReason::ProviderRefused,
            format!("sequenzy refused it: {said}; correct it and send it under a new key"),
            self.at.detail.clone(),
            response,
        )
    }

    /// A count got an undocumented rejection before any cancel was sent.
    pub(super) fn undocumented(&self, response: &Response) -> Step {
        let status = response.status;
        self.at.gives_up(
            FailureReason::UndocumentedRefusal,
            &format!("sequenzy refused with {status}, which its page does not describe"),
            "look at its answer, then send the key again",
            Some(response),
        )
    }

    /// The sequence or the subscriber is unknown: only the text may say which.
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
    pub(super) fn knows_nobody(&self, call: &Call<'_>) -> bool {
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

    pub(super) fn unknown_subscribers(&self, call: &Call<'_>) -> Step {
        let message = "sequenzy knows none of the subscribers; check their ids".to_owned();
        self.gone(message, call.response)
    }

    fn gone(&self, message: String, response: &Response) -> Step {
        let (outcome, reason) = (Outcome::NotFound, FailureReason::TargetNotFound);
        let detail = self.at.detail.clone();
        self.at.refused(outcome, reason, message, detail, response)
    }

    pub(super) fn too_many(&self, call: &Call<'_>, max: u32) -> Step {
        let why = format!(
            "{} enrollments match, more than max_matches allows ({max})",
            call.matched
        );
        if self.lost {
            // The lost call may have acted when fewer enrollments matched.
            let why = format!("an answer was lost, and {why}");
            return self.at.open(self.counting(), &why, call.response);
        }
        if self.ended() > 0 {
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

    /// A counting call says that it cancelled.
    pub(super) fn not_dry(&self, call: &Call<'_>) -> Step {
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

    /// The run has reached the limit of exchanges.
    pub(super) fn is_too_long(&self) -> Step {
        self.at.gives_up(
            FailureReason::DrainUnfinished,
            &format!("{}, and one run makes no more calls", self.so_far()),
            "send the key again to go on",
            None,
        )
    }

    /// Enrollments that this run is known to have cancelled.
    pub(super) fn ended(&self) -> u64 {
        self.calls
            .iter()
            .fold(0, |sum, call| sum.saturating_add(call.canceled))
    }

    pub(super) fn so_far(&self) -> String {
        let remaining = self.calls.last().map_or_else(
            || "an unknown number".to_owned(),
            |call| call.remaining.to_string(),
        );
        format!("{} were cancelled and {remaining} remain", self.ended())
    }
}
