//! What HTTP statuses mean, once for all providers. An adapter lists only its exceptions.

use std::sync::Arc;

use crate::{
    domain::{
        command::Command,
        http_exchange::{Class, Exchange, Fault, Reply, Response},
        outcome::{
            Conclusion, Detail, EnrollmentsDetail, Failure, FailureReason, Outcome, ProviderError,
            Reached, SubscriptionDetail,
        },
    },
    limits,
};

pub(in crate::providers) use super::retry_after::retry_after;
use crate::providers::Step;

/// An exchange by its class, with its reply.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::providers) enum StatusMeaning<'a> {
    /// The provider's own 2xx, about this target or without a body.
    Success(&'a Response),
    /// A documented rejection other than 404 and 410.
    Refused(&'a Response),
    /// A documented 404 or 410.
    Absent(&'a Response),
    /// The provider's own rejection, which its page does not document.
    Undocumented(&'a Response),
    /// Another operation is in progress.
    Busy(&'a Response),
    /// 401: the credentials are wrong. Nothing was done.
    Unauthenticated(&'a Response),
    /// 403: the credentials do not permit it. Nothing was done.
    Forbidden(&'a Response),
    /// 429: not processed; the retries have run out.
    Throttled(&'a Response),
    /// It is unknown whether it was processed.
    Doubtful(Option<&'a Response>, &'a str),
    /// A complete but inconclusive reply to a lookup.
    Unreadable(&'a Response),
    /// An intermediary's reply.
    Foreign(&'a Response),
    /// Not sent.
    Unsent(&'a Fault),
}

/// The meaning of an exchange, from its class.
pub(in crate::providers) fn verdict(exchange: &Exchange) -> StatusMeaning<'_> {
    let response: &Arc<Response> = match &exchange.reply {
        Reply::Answered(response) => response,
        Reply::NotSent(fault) => return StatusMeaning::Unsent(fault),
        Reply::InDoubt(fault) => return StatusMeaning::Doubtful(None, &fault.message),
    };
    match exchange.class {
        Class::Accepted => StatusMeaning::Success(response),
        Class::Refused if matches!(response.status, 404 | 410) => StatusMeaning::Absent(response),
        Class::Refused => StatusMeaning::Refused(response),
        Class::Undocumented => StatusMeaning::Undocumented(response),
        Class::Busy => StatusMeaning::Busy(response),
        Class::Unauthenticated => StatusMeaning::Unauthenticated(response),
        Class::Forbidden => StatusMeaning::Forbidden(response),
        Class::Throttled => StatusMeaning::Throttled(response),
        Class::Lost => {
            StatusMeaning::Doubtful(Some(response), "no answer that tells what became of it")
        }
        Class::Unreadable => StatusMeaning::Unreadable(response),
        Class::Foreign | Class::Unsent => StatusMeaning::Foreign(response),
    }
}

/// The provider's error, from the parts of its envelope. If that has no message, the message is the
/// target of a redirect or a text that is not JSON, as proxies send.
pub(in crate::providers) fn provider_error(
    response: &Response,
    code: Option<String>,
    message: Option<&str>,
    fields: Vec<(String, String)>,
) -> ProviderError {
    let text = response.text.trim();
    let plain = (response.json.is_none() && !text.is_empty()).then_some(text);
    let elsewhere = redirect(response);
    ProviderError {
        http_status: response.status,
        code,
        message: message.or(elsewhere.as_deref()).or(plain).map(cut),
        fields,
    }
}

/// The target of a redirect: often the address that `base_url` should have.
fn redirect(response: &Response) -> Option<String> {
    let location = response.header("location")?;
    let is_redirect = (300..=399).contains(&response.status);
    is_redirect.then(|| format!("a redirect to {location}, which is not followed"))
}

/// A provider's text, cut at [`limits::MESSAGE_CHARS_MAX`] characters.
pub(in crate::providers) fn cut(text: &str) -> String {
    text.chars().take(limits::MESSAGE_CHARS_MAX).collect()
}

/// An empty detail of the command's kind.
pub(in crate::providers) fn blank(command: &Command) -> Detail {
    match command {
        Command::Subscription(_) => Detail::Subscription(SubscriptionDetail::default()),
        Command::Enrollments(_) => Detail::Enrollments(EnrollmentsDetail::default()),
    }
}

/// The outcome of an item whose account was changed to another kind of provider while it was open.
pub(in crate::providers) fn account_changed(command: &Command) -> Step {
    Step::Done(Conclusion::failure(
        Outcome::Unavailable,
        blank(command),
        Failure {
            reason: FailureReason::AccountChanged,
            message: format!(
                "account {} is of another kind of provider than when this was admitted; restore \
                 its configuration and send the key again",
                command.account()
            ),
            reached: Reached::Unknown,
            retry_at: None,
            provider: None::<ProviderError>,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_tells_where_to_unless_the_provider_has_words_of_its_own() {
        let location = vec![("location".to_owned(), "https://b.example/x".to_owned())];
        let told = |status, said| {
            let response = Response::new(status, location.clone(), "<html>".to_owned());
            provider_error(&response, None, said, Vec::new()).message
        };
        let there = "a redirect to https://b.example/x, which is not followed";
        assert_eq!(told(307, None).as_deref(), Some(there));
        assert_eq!(told(307, Some("moved")).as_deref(), Some("moved"));
        assert_eq!(told(404, None).as_deref(), Some("<html>"));
    }
}
