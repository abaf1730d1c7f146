//! HTTP as data: what a provider wants sent, and what came of it. No client, no credentials.

mod bytes;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

/// Names a kind of request in metrics, logs and histories, such as "cancel" or "look".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operation(pub &'static str);

/// What may happen if a request is sent a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// It changes nothing: send it as often as needed.
    Look,
    /// It changes something, and the provider makes a resend harmless.
    Repeatable,
    /// It changes something, and after doubt a look has to come first.
    Once,
}

/// An HTTP method that a provider's API uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the methods of HTTP")]
pub enum HttpMethod {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl HttpMethod {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// When a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As soon as it is its turn.
    AtOnce,
    /// It is a look at what became of a request whose effect is not known: it goes when it is
    /// likely to learn something, and once more when what it finds can be believed.
    Settle,
    /// Not before this time after the exchange before it.
    After(Duration),
}

/// A request below an account's base URL, without its credentials.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What it is, for labels and for reading the history.
    pub operation: Operation,
    /// Whether it may be sent twice.
    pub safety: Safety,
    /// When it goes.
    pub pace: Pace,
    /// The method.
    pub method: HttpMethod,
    /// The path below the base URL, encoded.
    pub path: Path,
    /// Query parameters, not yet encoded.
    pub query: Vec<(&'static str, String)>,
    /// Headers, none of them secret.
    pub headers: Vec<(&'static str, String)>,
    /// The body and its media type; `None` is an explicit empty body.
    pub body: Option<Body>,
}

/// A request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Its media type.
    pub content_type: &'static str,
    /// Its text.
    pub text: String,
}

/// Everything but the unreserved characters of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A URL path made of segments, each encoded as it enters: an id can never leave its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path of fixed segments, such as `v2/subscriptions/cancel`. Must not hold any value of a
    /// request.
    #[must_use]
    pub fn fixed(segments: &str) -> Self {
        Self(format!("/{}", segments.trim_matches('/')))
    }

    /// Appends fixed segments.
    #[must_use]
    pub fn then(mut self, segments: &'static str) -> Self {
        self.0.push('/');
        self.0.push_str(segments);
        self
    }

    /// Appends one segment that holds any value.
    #[must_use]
    pub fn segment(mut self, value: &str) -> Self {
        self.0.push('/');
        self.0.extend(utf8_percent_encode(value, SEGMENT));
        self
    }

    /// Whether its segments stay what they are where a server on the way decodes it, once or twice:
    /// nothing in a segment becomes an end of it, of the path, or a step in it.
    #[must_use]
    pub fn stays(&self) -> bool {
        let mut decoded = Cow::Borrowed(self.0.as_bytes());
        for _ in 0..=2 {
            let mut segments = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
            let is_kept = segments.clone().count() == self.0.split('/').count()
                && !segments.any(|segment| matches!(segment, b"." | b".."))
                && !decoded
                    .iter()
                    .any(|byte| matches!(byte, b'?' | b'#' | b'\0'));
            if !is_kept {
                return false;
            }
            decoded = Cow::Owned(percent_decode(&decoded).collect());
        }
        true
    }

    /// The encoded path, beginning with a slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A provider's reply, read whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Headers by lower-case name.
    pub headers: Vec<(String, String)>,
    /// The body as text, without what is blank around it; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// The body as JSON, if it is one JSON value.
    pub json: Option<serde_json::Value>,
}

impl Response {
    /// A reply with this body, parsed once. What is blank before and behind the JSON value is no
    /// part of it: a byte order mark (RFC 8259, section 8.1, lets readers ignore it), NULs, and
    /// white space of any kind. A second value behind the first one is no blank.
    #[must_use]
    pub fn new(status: u16, headers: Vec<(String, String)>, text: String) -> Self {
        let bare = text.trim_matches(is_blank);
        let text = if bare.len() == text.len() {
            text
        } else {
            bare.to_owned()
        };
        let json = serde_json::from_str(&text).ok();
        Self {
            status,
            headers,
            text,
            json,
        }
    }

    /// The first header of this lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers_of(name).next()
    }

    /// All headers of this lower-case name, in their order.
    pub fn headers_of(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A character that says nothing at either end of a body.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\0' | '\u{feff}')
}

/// One finished HTTP request of an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// What was sent; `None` where a restart lost that.
    pub operation: Option<Operation>,
    /// What came of it.
    pub reply: Reply,
    /// What the reply is, decided once when it came.
    pub class: Class,
    /// The circumstances.
    pub seen: Seen,
}

impl Exchange {
    /// What is known of an item that may have been sent before this run: perhaps something was.
    #[must_use]
    pub fn recovered() -> Self {
        let message = "the service restarted while the cancellation was open".to_owned();
        Self {
            operation: None,
            reply: Reply::InDoubt(Fault {
                kind: FaultKind::Restart,
                message,
            }),
            class: Class::Lost,
            seen: Seen::default(),
        }
    }
}

/// When an exchange took place, as far as that bears on what its answer says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// No earlier request of the item could act any more when this one was sent, so a look that
    /// found nothing done is proof.
    pub believed: bool,
    /// When the answer came, by our wall clock.
    pub at: Option<Timestamp>,
    /// How long ago the item was first allowed to be sent: what happened at the provider before
    /// that is not its doing.
    pub since_earliest: Option<Duration>,
}

/// What a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 2xx in the provider's documented form and about this target, or without a body. To a look:
    /// one that can be read.
    Accepted,
    /// 4xx in the provider's form, and its page documents the status for this request.
    Refused,
    /// Another 4xx in the provider's form.
    Undocumented,
    /// 409 or 423 in the provider's form that its page does not document: something is in
    /// progress.
    Busy,
    /// 401 in the provider's form. Nothing was done.
    Unauthenticated,
    /// 403 in the provider's form. Nothing was done.
    Forbidden,
    /// 429. Nothing was done.
    Throttled,
    /// To a request with an effect: nobody knows what became of it. To a look: no answer, or an
    /// error of the provider's own.
    Lost,
    /// A whole answer to a look that tells nothing: unreadable, or about another target.
    Unreadable,
    /// Not the provider's answer: something in between answered, and this place has never
    /// answered in the provider's form.
    Foreign,
    /// Certainly never sent, or certainly not done by what stands in between.
    Unsent,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The provider answered.
    Answered(Arc<Response>),
    /// It certainly did not reach the provider, and time was up.
    NotSent(Fault),
    /// It may have reached the provider.
    InDoubt(Fault),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind of trouble.
    pub kind: FaultKind,
    /// In words, without secrets.
    pub message: String,
}

impl Fault {
    /// The window was over before a request could be sent.
    #[must_use]
    pub fn window_ended(obstacle: &Obstacle) -> Self {
        let ended = "the retry window ended before it could be sent";
        let (kind, message) = match obstacle {
            Obstacle::None => (FaultKind::WindowEnded, ended.to_owned()),
            Obstacle::Throttling => (
                FaultKind::Throttled,
                format!("{ended} while the provider was throttling"),
            ),
            Obstacle::Away(last) => (
                FaultKind::WindowEnded,
                format!("{ended} while the provider was away: {last}"),
            ),
        };
        Self { kind, message }
    }
}

/// What stood in the way of a request whose window ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Nothing but others whose turn came first.
    None,
    /// The provider was throttling the account.
    Throttling,
    /// The provider was away, as this last fault showed.
    Away(String),
}

/// The kinds of trouble that leave a request without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// No connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke, or the answer was cut off.
    Broken,
    /// The answer is longer than [`crate::limits::REPLY_BYTES_MAX`].
    TooLong,
    /// The service restarted.
    Restart,
    /// The retry window ended before it could be sent.
    WindowEnded,
    /// The same, while the provider was throttling the account.
    Throttled,
}

/// A provider's wish that callers come back later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// After so many seconds.
    After(u64),
    /// At this time.
    Until(Timestamp),
    /// Later.
    Unsaid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_blank_around_a_json_value_is_no_part_of_it() {
        let read = |text: &str| Response::new(200, Vec::new(), text.to_owned());
        for around in [
            "",
            "\u{feff}",
            "\0",
            "\u{b}",
            "\u{c}",
            "\u{a0}",
            "\r\n\t ",
            "\u{feff}\0 \n",
        ] {
            let response = read(&format!("{around}{{\"id\":\" 1 \"}}{around}"));
            assert_eq!(
                response.json,
                Some(serde_json::json!({"id": " 1 "})),
                "{around:?}"
            );
            assert_eq!(read(around).text, "", "{around:?}");
        }
    }

    #[test]
    fn a_body_of_more_than_one_value_is_not_json() {
        for text in [
            "{}{}",
            "{}\n{}",
            "{}\0{}",
            "{} x",
            ")]}',{}",
            "{\"a\":NaN}",
            "{",
            "\u{feff}",
        ] {
            let response = Response::new(200, Vec::new(), text.to_owned());
            assert_eq!(response.json, None, "{text:?}");
        }
    }

    #[test]
    fn an_id_never_leaves_its_segment() {
        for (id, encoded) in [
            ("../x", "/subscriptions/..%2Fx/cancel"),
            ("a?b", "/subscriptions/a%3Fb/cancel"),
            ("a#b", "/subscriptions/a%23b/cancel"),
            ("a%2Fb", "/subscriptions/a%252Fb/cancel"),
            ("a\\b c", "/subscriptions/a%5Cb%20c/cancel"),
            ("ü", "/subscriptions/%C3%BC/cancel"),
        ] {
            let path = Path::fixed("subscriptions").segment(id).then("cancel");
            assert_eq!(path.as_str(), encoded);
        }
    }

    #[test]
    fn a_path_stays_if_its_segments_do_when_it_is_decoded_twice() {
        for (id, stays) in [
            ("sub_1", true),
            ("a@b:c+d=", true),
            ("a b", true),
            ("ü", true),
            ("...", true),
            ("a..b", true),
            ("100%", true),
            // Beyond two decodings: no server does that.
            ("%25252f", true),
            ("a/b", false),
            ("../x", false),
            ("a\\b", false),
            ("a?b", false),
            ("a#b", false),
            ("a\0b", false),
            ("%2f", false),
            ("%5C", false),
            ("%3F", false),
            ("%2e%2e", false),
            (".%2e", false),
            (".", false),
            ("..", false),
        ] {
            let path = Path::fixed("subscriptions").segment(id).then("cancel");
            assert_eq!(path.stays(), stays, "{id}");
        }
    }
}
