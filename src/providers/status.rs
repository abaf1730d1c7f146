//! What HTTP statuses mean, once for all providers. A provider lists only its exceptions.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    domain::{
        command::Command,
        exchange::{Fault, Reply, Response, Throttle},
        outcome::{
            Conclusion, Detail, EnrollmentsDetail, Failure, FailureReason, Outcome, ProviderError,
            Reached, SubscriptionDetail,
        },
    },
    limits,
};

use super::Step;
pub(super) use super::retry_after::retry_after;

/// A reply sorted by what it says about the request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict<'a> {
    /// 2xx with a JSON body.
    Success(&'a Response),
    /// The provider understood the request and said no: 4xx but those below.
    Refused(&'a Response),
    /// 401: the credentials are wrong. Nothing was done.
    Unauthenticated(&'a Response),
    /// 403: the credentials do not permit it. Nothing was done.
    Forbidden(&'a Response),
    /// 404 or 410.
    Absent(&'a Response),
    /// 408, 425 or 429: not processed, come back later; the retries have run out.
    Throttled(&'a Response),
    /// 5xx, another odd status, or a success that cannot be read: it may have had its effect.
    Doubtful(Option<&'a Response>, &'a str),
    /// Certainly never sent.
    Unsent(&'a Fault),
}

/// The defaults.
pub(super) fn verdict(reply: &Reply) -> Verdict<'_> {
    let response: &Arc<Response> = match reply {
        Reply::Answered(response) => response,
        Reply::NotSent(fault) => return Verdict::Unsent(fault),
        Reply::InDoubt(fault) => return Verdict::Doubtful(None, &fault.message),
    };
    match response.status {
        200..=299 if response.json.is_some() || response.text.trim().is_empty() => {
            Verdict::Success(response)
        }
        200..=299 => Verdict::Doubtful(Some(response), "a success that cannot be read"),
        401 => Verdict::Unauthenticated(response),
        403 => Verdict::Forbidden(response),
        404 | 410 => Verdict::Absent(response),
        408 | 425 | 429 => Verdict::Throttled(response),
        400..=499 => Verdict::Refused(response),
        _ => Verdict::Doubtful(Some(response), "an error of the provider's own"),
    }
}

/// HTTP's own throttling signal: 429, with or without [`retry_after`].
pub(super) fn throttle(response: &Response) -> Option<Throttle> {
    (response.status == 429).then(|| retry_after(response).unwrap_or(Throttle::Unsaid))
}

/// A time as RFC 3339 writes it, with however many digits the provider likes.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// What a provider said, from the parts of its own envelope. Without a message there, it is where
/// a redirect leads to, or a text that is not JSON: proxies answer like that.
pub(super) fn provider_error(
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

/// Where a redirect leads to: often the address that `base_url` should have.
fn redirect(response: &Response) -> Option<String> {
    let location = response.header("location")?;
    let is_redirect = (300..=399).contains(&response.status);
    is_redirect.then(|| format!("a redirect to {location}, which is not followed"))
}

/// A provider's words, cut at [`limits::MESSAGE_CHARS_MAX`].
pub(super) fn cut(text: &str) -> String {
    text.chars().take(limits::MESSAGE_CHARS_MAX).collect()
}

/// An empty detail of the command's kind.
pub(super) fn blank(command: &Command) -> Detail {
    match command {
        Command::Subscription(_) => Detail::Subscription(SubscriptionDetail::default()),
        Command::Enrollments(_) => Detail::Enrollments(EnrollmentsDetail::default()),
    }
}

/// The end of an item whose account was given to another kind of provider while it was open.
pub(super) fn account_changed(command: &Command) -> Step {
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
