//! HTTP as data: the requests of the adapters, and their results. No client, no credentials.

mod bytes;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

/// The name of a kind of request in metrics, logs and histories, such as "cancel" or "look".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operation(pub &'static str);

/// What may happen if a request is sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// No effect: it may be sent as often as needed.
    Look,
    /// It has an effect, and the provider makes a repeat harmless.
    Repeatable,
    /// It has an effect, and after a doubt a lookup has to come first.
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
    /// The name on the wire.
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

/// When a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At its next turn.
    AtOnce,
    /// A lookup that resolves a doubt: sent when it is likely to learn something, and once more
    /// when it can be believed.
    Settle,
    /// Not before this time after the previous exchange.
    After(Duration),
}

/// A request relative to an account's base URL, without credentials.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Its operation, for labels and for reading the history.
    pub operation: Operation,
    /// Whether it may be sent twice.
    pub safety: Safety,
    /// When it is sent.
    pub pace: Pace,
    /// The method.
    pub method: HttpMethod,
    /// The encoded path below the base URL.
    pub path: Path,
    /// Query parameters, not encoded yet.
    pub query: Vec<(&'static str, String)>,
    /// Headers; none of them secret.
    pub headers: Vec<(&'static str, String)>,
    /// The body; `None` for an explicitly empty body.
    pub body: Option<Body>,
}

/// A request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The media type.
    pub content_type: &'static str,
    /// The text.
    pub text: String,
}

/// All characters but the unreserved ones of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A URL path of segments, each encoded when it is added, so that an id cannot leave its segment.
#[derive(Clone, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path of fixed segments, such as `v2/subscriptions/cancel`. Must not contain any value of a
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

    /// Appends one segment with any value.
    #[must_use]
    pub fn segment(mut self, value: &str) -> Self {
        self.0.push('/');
        self.0.extend(utf8_percent_encode(value, SEGMENT));
        self
    }

    /// Whether the segments stay the same if a server decodes the path once or twice: no character
    /// of a segment becomes a separator, the end of the path, or a dot segment.
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

    /// The encoded path, with its leading slash.
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

/// A complete reply of a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Headers, by lower-case name.
    pub headers: Vec<(String, String)>,
    /// The body as text, trimmed; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// The body as JSON, if it is exactly one JSON value.
    pub json: Option<serde_json::Value>,
}

impl Response {
    /// A reply with this body, parsed once. Trimmed are a byte order mark (RFC 8259, section 8.1,
    /// lets readers ignore it), NULs, and white space of any kind. A second JSON value makes the
    /// body no JSON.
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

/// Whether a character at either end of a body has no meaning.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\0' | '\u{feff}')
}

/// A finished HTTP request of an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// The operation; `None` if a restart lost it.
    pub operation: Option<Operation>,
    /// The result.
    pub reply: Reply,
    /// The class of the reply, decided once when it came.
    pub class: Class,
    /// When it took place.
    pub seen: Seen,
}

impl Exchange {
    /// An item that an earlier process may have sent.
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

/// When an exchange took place, as far as that matters for its reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// No earlier request of the item could act any more when this one was sent, so a lookup that
    /// found nothing done is a proof.
    pub believed: bool,
    /// When the reply came, by our wall clock.
    pub at: Option<Timestamp>,
    /// How long before that the item could first be sent: earlier effects at the provider are not
    /// its own.
    pub since_earliest: Option<Duration>,
}

/// The class of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 2xx in the provider's documented format and about this target, or without a body. For a
    /// lookup: one that can be read.
    Accepted,
    /// 4xx in the provider's format, and documented for this request.
    Refused,
    /// Another 4xx in the provider's format.
    Undocumented,
    /// 409 or 423 in the provider's format, and not documented: another operation is in progress.
    Busy,
    /// 401 in the provider's format. Nothing was done.
    Unauthenticated,
    /// 403 in the provider's format. Nothing was done.
    Forbidden,
    /// 429. Nothing was done.
    Throttled,
    /// Request with an effect: it is unknown whether it acted. Lookup: no reply, or an error of the
    /// provider's own.
    Lost,
    /// A complete but inconclusive reply to a lookup: unreadable, or about another target.
    Unreadable,
    /// The reply of an intermediary, at a place that has never answered in the provider's format.
    Foreign,
    /// Not sent, or certainly not passed on by an intermediary.
    Unsent,
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The provider answered.
    Answered(Arc<Response>),
    /// It did not reach the provider, and there was no time for a retry.
    NotSent(Fault),
    /// It may have reached the provider.
    InDoubt(Fault),
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind of failure.
    pub kind: FaultKind,
    /// A description, without secrets.
    pub message: String,
}

impl Fault {
    /// The retry window ended before a request could be sent.
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

/// Why a request was not sent before its window ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Only that others had their turn first.
    None,
    /// The provider was throttling the account.
    Throttling,
    /// The circuit breaker was open, after this failure.
    Away(String),
}

/// Why a request has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// No connection.
    Connect,
    /// No reply within the timeout.
    Timeout,
    /// The connection broke, or the reply was cut off.
    Broken,
    /// The reply is longer than [`crate::limits::REPLY_BYTES_MAX`].
    TooLong,
    /// The service restarted.
    Restart,
    /// The retry window ended before it could be sent.
    WindowEnded,
    /// The retry window ended while the provider was throttling the account.
    Throttled,
}

/// When a throttling provider wants the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// After this many seconds.
    After(u64),
    /// At this time.
    Until(Timestamp),
    /// Later, without a time.
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
            // More than two decodings: no server does that.
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
