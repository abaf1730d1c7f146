//! HTTP as the provider modules see it: a received request, a reply, and helpers for all five APIs.
//! It knows no provider.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use percent_encoding::percent_decode_str;
use serde::{Serialize, Serializer};

pub(super) const JSON: &str = "application/json";

/// A received request.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Length of the base path before the documented endpoint path.
    pub(super) base_len: usize,
}

impl Received {
    /// The path after the provider's base path, still encoded.
    pub(super) fn path(&self) -> &str {
        self.uri.path().get(self.base_len..).unwrap_or_default()
    }

    /// The segments of [`Received::path`], still encoded.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.path().trim_start_matches('/').split('/').collect()
    }

    /// Path and query as on the wire.
    pub(super) fn target(&self) -> &str {
        self.uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
    }

    /// A header's value, if present and readable as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The credential in `Authorization: Bearer …`.
    pub(super) fn bearer(&self) -> Option<&str> {
        let value = self.header("authorization")?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// The media type of the body without parameters, if present.
    pub(super) fn content_type(&self) -> Option<&str> {
        let value = self.header("content-type")?;
        Some(value.split(';').next().unwrap_or(value).trim())
    }

    /// The first query parameter of this name, decoded.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let query = self.uri.query()?;
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key) == name).then(|| decoded(&value.replace('+', " ")).into_owned())
        })
    }

    /// A numeric query parameter, or the default if it is absent or unreadable.
    pub(super) fn query_number(&self, name: &str, default: usize) -> usize {
        self.query(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(default)
    }
}

/// A path segment or query part, percent-decoded.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// What a credential permits; see the module docs of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Invalid,
    Forbidden,
}

pub(super) fn verdict(credential: Option<&str>) -> Verdict {
    match credential {
        None | Some("") => Verdict::Invalid,
        Some(token) if token.contains("invalid") => Verdict::Invalid,
        Some(token) if token.contains("forbidden") => Verdict::Forbidden,
        Some(_) => Verdict::Good,
    }
}

/// A reply before any fault changes it.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<&'static str>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        // Only a map with non-string keys fails here, and no reply has one.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self {
            status,
            content_type: Some(JSON),
            headers: Vec::new(),
            body: body.into(),
        }
    }

    pub(super) const fn empty(status: StatusCode) -> Self {
        Self {
            status,
            content_type: None,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn text(status: StatusCode, media: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: Some(media),
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// Adds a header; an invalid one is left out.
    pub(super) fn with(mut self, name: &'static str, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }
}

/// A time as a provider prints it: RFC 3339, UTC, with this many fractional digits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<const DIGITS: u8>(pub(super) Timestamp);

impl<const DIGITS: u8> Serialize for Stamp<DIGITS> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const fn printer(digits: u8) -> DateTimePrinter {
            DateTimePrinter::new().precision(Some(digits))
        }
        let mut text = String::with_capacity(32);
        printer(DIGITS)
            .print_timestamp(&self.0, &mut text)
            .map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}
