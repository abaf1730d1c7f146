//! What a caller's headers say of the span that a call is below (W3C Trace Context).

use http::HeaderMap;

use crate::observe::Parent;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The caller's span, if the headers name one.
pub(super) fn of(headers: &HeaderMap) -> Option<Parent<'_>> {
    let text = |name| headers.get(name)?.to_str().ok();
    Some(Parent {
        traceparent: text(TRACEPARENT)?,
        tracestate: text(TRACESTATE).map(str::to_owned),
    })
}
