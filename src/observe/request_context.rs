//! The request that a log line, span or item belongs to.

use std::{fmt, sync::Arc};

use opentelemetry::trace::SpanContext;

use crate::domain::access::provenance::Provenance;

/// Maximum characters of a caller's own request id.
const ID_CHARS_MAX: usize = 128;

/// A request id, in our log lines and the caller's.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A caller's own id: 1-128 letters, digits and `-_.:/+=@`. Other characters could forge a log
    /// line or break a log parser.
    #[must_use]
    pub fn given(text: &str) -> Option<Self> {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || "-_.:/+=@".contains(c);
        let is_well_formed =
            !text.is_empty() && text.len() <= ID_CHARS_MAX && text.chars().all(is_fit);
        is_well_formed.then(|| Self(text.into()))
    }

    /// A new random id of 32 hexadecimal digits.
    #[must_use]
    pub fn fresh() -> Self {
        Self(format!("{:032x}", fastrand::u128(..)).into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The context of the request that admitted an item; empty for a recovered item.
#[derive(Debug, Clone, Default)]
pub struct RequestContext(Option<Arc<CurrentRequest>>);

#[derive(Debug)]
struct CurrentRequest {
    id: RequestId,
    trace: Option<SpanContext>,
    provenance: Option<Provenance>,
}

impl RequestContext {
    /// The context of a request with this id.
    #[must_use]
    pub fn new(id: RequestId) -> Self {
        Self(Some(Arc::new(CurrentRequest {
            id,
            trace: None,
            provenance: None,
        })))
    }

    /// The context with this span.
    #[must_use]
    pub fn traced(&self, trace: SpanContext) -> Self {
        Self(self.0.as_deref().map(|request| {
            Arc::new(CurrentRequest {
                id: request.id.clone(),
                trace: Some(trace),
                provenance: request.provenance.clone(),
            })
        }))
    }

    /// The context with this origin.
    #[must_use]
    pub fn coming(&self, provenance: Provenance) -> Self {
        Self(self.0.as_deref().map(|request| {
            Arc::new(CurrentRequest {
                id: request.id.clone(),
                trace: request.trace.clone(),
                provenance: Some(provenance),
            })
        }))
    }

    /// The origin of the request, if known.
    #[must_use]
    pub fn provenance(&self) -> Option<&Provenance> {
        self.0.as_deref()?.provenance.as_ref()
    }

    /// The request's id.
    #[must_use]
    pub fn id(&self) -> Option<&RequestId> {
        self.0.as_deref().map(|request| &request.id)
    }

    /// The request's span.
    pub(super) fn trace(&self) -> Option<&SpanContext> {
        self.0.as_deref()?.trace.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_harm_a_log_is_not_taken() {
        for good in [
            "a",
            "0af7651916cd43dd8448eb211c80319c",
            "svc/4:7@eu+x=",
            &"x".repeat(128),
        ] {
            assert_eq!(RequestId::given(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "a b",
            "a\nb",
            "a\"b",
            "a\u{1b}[31m",
            "ü",
            "{}",
            &"x".repeat(129),
        ] {
            assert_eq!(RequestId::given(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_fresh_id_is_one_that_could_be_given_and_no_other() {
        let (one, other) = (RequestId::fresh(), RequestId::fresh());
        assert_eq!(RequestId::given(one.as_str()), Some(one.clone()));
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 32);
    }
}
