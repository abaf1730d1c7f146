//! Outcomes of an item, from what was found of its subscription.

use crate::domain::{
    http_exchange::Response,
    outcome::{Detail, FailureReason, Outcome, SubscriptionDetail},
};

use super::{CancelRefusal, Lookup, Phase, decide::CancelState};
use crate::providers::{Step, item_state::settle, reply::answer_subject::CancelCause};

impl CancelState<'_> {
    /// The provider rejected the request, and a lookup shows that the goal is not reached.
    pub(super) fn refused(
        &self,
        refusal: CancelRefusal,
        refused: &Response,
        found: Lookup,
    ) -> Step {
        let (outcome, reason, message) = match refusal {
            CancelRefusal::Scheduled => return self.scheduled(refused),
            CancelRefusal::Final(outcome, reason, message) => (outcome, reason, message),
            CancelRefusal::Unclear(reason, message) => (Outcome::Rejected, reason, message),
        };
        if found.life == Phase::Unknown && self.is_undocumented() {
            return self.undocumented();
        }
        let state = found.state();
        let message = match state.provider_status.as_str() {
            "" => message,
            status => format!("{message}; a look found it {status}"),
        };
        let detail = Detail::Subscription(found.detail);
        self.standing
            .refused(outcome, reason, message, detail, refused)
    }

    /// The provider said that the end is scheduled, and no lookup showed for when.
    pub(super) fn scheduled(&self, refused: &Response) -> Step {
        let found = Lookup {
            life: Phase::Ending,
            detail: SubscriptionDetail::default(),
            timing: None,
            with_period: true,
            cause: CancelCause::Asked(None),
        };
        match (self.at_once, self.standing.may_act) {
            (true, true) => settle(self.talk.look()),
            (true, false) => self.conflict(found, refused),
            (false, _) => self.reached(Outcome::AlreadyScheduled, found, refused),
        }
    }

    /// The goal is reached. It counts as ours if a request of ours may have reached it.
    pub(super) fn reached(&self, outcome: Outcome, found: Lookup, response: &Response) -> Step {
        let cause = found.cause;
        let detail = Detail::Subscription(found.detail);
        self.standing.found(outcome, detail, response, cause)
    }

    /// It ends later, although an end at once was asked for.
    pub(super) fn conflict(&self, found: Lookup, response: &Response) -> Step {
        let whose = match self.standing.ours {
            true => ", perhaps by this key",
            false => "",
        };
        let detail = self.completed(found);
        let when = match detail.effective_at {
            Some(time) => format!("at {time}"),
            None => "later".to_owned(),
        };
        let message = format!(
            "it is scheduled{whose} to end {when}, not at once as asked for; if that is too late, \
             end it at the provider"
        );
        self.standing.refused(
            Outcome::Rejected,
            FailureReason::TimingConflict,
            message,
            Detail::Subscription(detail),
            response,
        )
    }

    pub(super) fn preview(&self, found: &Lookup, response: &Response) -> Step {
        let state = found.state();
        let mut text = match state.provider_status.as_str() {
            "" => "its status is not said".to_owned(),
            status => format!("it is {status}"),
        };
        let times = [
            (", and its period ends at", state.period_end),
            (", and it is scheduled to end at", found.detail.effective_at),
        ];
        for (words, time) in times {
            if let Some(time) = time {
                text.push_str(&format!("{words} {time}"));
            }
        }
        let text = format!("{text}; {}", self.talk.plan(found));
        let detail = Detail::Subscription(found.detail.clone());
        self.standing.previewed(text, detail, response)
    }

    /// The detail of a reply, completed with what an earlier lookup found.
    pub(super) fn completed(&self, found: Lookup) -> SubscriptionDetail {
        let mut detail = found.detail;
        let known = self.known.as_ref().map(Lookup::state).unwrap_or_default();
        if let Some(state) = &mut detail.state {
            state.period_end = state.period_end.or(known.period_end);
            state.customer_id = state.customer_id.take().or(known.customer_id);
            if found.life == Phase::Ending && found.with_period {
                detail.effective_at = detail.effective_at.or(state.period_end);
            }
        }
        detail
    }
}
