//! Why an item gives up for now, from the exchange that caused it: the reason, what happened, and
//! what to do.

use crate::domain::{
    http_exchange::{Class, Exchange, Fault, FaultKind, Response},
    outcome::{FailureReason, Reached},
};

use super::http_status::{self, StatusMeaning, verdict};
use crate::providers::{Step, item_state::ItemState};

/// Advice where only time helps.
const AGAIN: &str = "send the key again later";

/// The reason, what happened, what to do, and the reply that says so.
type Why<'r> = (FailureReason, String, &'static str, Option<&'r Response>);

impl<'a> ItemState<'a> {
    /// Gives up for now because of this exchange. The default for everything that is no success and
    /// that the provider's own rules do not decide.
    pub(in crate::providers) fn unable(&self, exchange: &Exchange) -> Step {
        let account = &self.task.account.name;
        // If an intermediary answered the cancel and lookups are unreadable, the same intermediary
        // answers both: that is the reason.
        let stranger = self
            .effects()
            .next()
            .filter(|effect| effect.class == Class::Foreign && exchange.class == Class::Unreadable);
        let exchange = stranger.unwrap_or(exchange);
        let (reason, why, advice, response) = match verdict(exchange) {
            StatusMeaning::Unauthenticated(response) => (
                FailureReason::CredentialsRefused,
                format!("the provider refused the credentials of account {account}"),
                "put a valid secret into its configuration and send the key again",
                Some(response),
            ),
            StatusMeaning::Forbidden(response) => (
                FailureReason::PermissionDenied,
                format!("the credentials of account {account} do not permit it"),
                "give them the permission and send the key again",
                Some(response),
            ),
            StatusMeaning::Throttled(response) => (
                FailureReason::ProviderThrottled,
                "the provider was throttling until the retry window ended".to_owned(),
                AGAIN,
                Some(response),
            ),
            StatusMeaning::Foreign(response) => (
                FailureReason::NotTheProvider,
                foreign_words(response),
                "check the account's base_url, proxy and firewall, and send the key again",
                Some(response),
            ),
            StatusMeaning::Undocumented(response) | StatusMeaning::Busy(response) => {
                self.undocumented(exchange, response)
            }
            StatusMeaning::Unreadable(response) => (
                FailureReason::AnswerUnreadable,
                format!(
                    "looks were answered {} in a way that tells nothing of the target",
                    response.status
                ),
                "look at the provider's answer, then send the key again",
                Some(response),
            ),
            StatusMeaning::Unsent(fault) => self.unsent(fault),
            StatusMeaning::Doubtful(None, lost) => (
                FailureReason::LookFailed,
                format!("no answer came: {lost}"),
                AGAIN,
                None,
            ),
            StatusMeaning::Doubtful(Some(response), odd) => (
                FailureReason::LookFailed,
                format!("the provider answered {}: {odd}", response.status),
                AGAIN,
                Some(response),
            ),
            StatusMeaning::Success(response)
            | StatusMeaning::Refused(response)
            | StatusMeaning::Absent(response) => (
                FailureReason::AnswerUnreadable,
                format!(
                    "the provider answered {} in a way that is not documented",
                    response.status
                ),
                "look at the provider's answer, then send the key again",
                Some(response),
            ),
        };
        self.gives_up(reason, &why, advice, response)
    }

    fn undocumented<'r>(&self, exchange: &Exchange, response: &'r Response) -> Why<'r> {
        let status = response.status;
        let (reason, why) = match self.is_look(exchange) {
            true => (
                FailureReason::LookFailed,
                format!("looks were answered {status} in a way that is not documented"),
            ),
            false => (
                FailureReason::UndocumentedRefusal,
                format!("the provider refused with {status}, which its page does not describe"),
            ),
        };
        let advice = "look at the provider's answer, then send the key again";
        (reason, why, advice, Some(response))
    }

    /// The request was not sent.
    fn unsent(&self, fault: &Fault) -> Why<'a> {
        if let Some((reason, why, response)) = self.sent_before(fault) {
            return (reason, why, AGAIN, response);
        }
        let (reason, why) = match fault.kind {
            FaultKind::Throttled => (FailureReason::ProviderThrottled, "nothing was sent"),
            FaultKind::WindowEnded if self.reached() == Reached::Yes => {
                (FailureReason::NoProgress, "the next request did not go out")
            }
            FaultKind::WindowEnded => (FailureReason::ProviderUnreachable, "no request went out"),
            FaultKind::Connect
            | FaultKind::Timeout
            | FaultKind::Broken
            | FaultKind::TooLong
            | FaultKind::Restart => (
                FailureReason::ProviderUnreachable,
                "the provider could not be reached",
            ),
        };
        (reason, format!("{why}: {}", fault.message), AGAIN, None)
    }

    /// If the window ended before a request could be repeated: the result of its last try, with the
    /// reply.
    fn sent_before(&self, fault: &Fault) -> Option<(FailureReason, String, Option<&'a Response>)> {
        if fault.kind != FaultKind::WindowEnded {
            return None;
        }
        let (reason, came, response) =
            self.effects()
                .find_map(|exchange| match verdict(exchange) {
                    StatusMeaning::Doubtful(Some(response), _) => Some((
                        FailureReason::ProviderError,
                        format!("the provider answered {}", response.status),
                        Some(response),
                    )),
                    StatusMeaning::Foreign(response) => Some((
                        FailureReason::NotTheProvider,
                        foreign_words(response),
                        Some(response),
                    )),
                    StatusMeaning::Doubtful(None, lost) => Some((
                        FailureReason::AnswerLost,
                        format!("no answer came ({lost})"),
                        None,
                    )),
                    _ => None,
                })?;
        let nothing_done = match self.doubt {
            true => "",
            false => ", and a look found nothing done",
        };
        let why = format!("{}; when it was, {came}{nothing_done}", fault.message);
        Some((reason, why, response))
    }
}

/// What an intermediary answered, and where it points.
fn foreign_words(response: &Response) -> String {
    let status = response.status;
    let to = match response.header("location") {
        Some(location) => format!(" with Location {}", http_status::cut(location)),
        None => String::new(),
    };
    format!("what answered {status}{to} is not the provider")
}

/// Advice for a 401 or 403 that is not the provider's own: either side may be the cause.
pub(in crate::providers) fn advice_on_strangers_denial(
    reason: FailureReason,
    response: Option<&Response>,
) -> Option<&'static str> {
    let is_denial = response.is_some_and(|response| matches!(response.status, 401 | 403));
    let is_own = matches!(
        reason,
        FailureReason::CredentialsRefused | FailureReason::PermissionDenied
    );
    (is_denial && !is_own).then_some(
        "check the account's base_url, credentials, proxy and firewall, and send the key again",
    )
}
