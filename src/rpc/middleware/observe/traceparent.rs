//! The caller's span in the headers of a call (W3C Trace Context).

use http::HeaderMap;

use crate::{limits, observe::Parent};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The caller's span, if the headers name exactly one.
pub(super) fn of(headers: &HeaderMap) -> Option<Parent<'_>> {
    let mut named = headers.get_all(TRACEPARENT).iter();
    let (Some(only), None) = (named.next(), named.next()) else {
        return None;
    };
    Some(Parent {
        traceparent: only.to_str().ok()?,
        tracestate: state(headers),
    })
}

/// The members of all `tracestate` headers in order, up to the number and length that the standard
/// wants passed on. If they are too long together, long members are dropped first, from the end.
/// Their format is checked later.
fn state(headers: &HeaderMap) -> Option<String> {
    let mut members = Vec::new();
    for header in headers.get_all(TRACESTATE) {
        let list = header.to_str().ok()?.split(',');
        let list = list.map(|member| member.trim_matches([' ', '\t']));
        members.extend(list.filter(|member| !member.is_empty()));
    }
    members.truncate(limits::TRACE_STATE_MEMBERS_MAX);
    let is_long = |member: &&str| member.len() > limits::TRACE_STATE_MEMBER_BYTES;
    while bytes(&members) > limits::TRACE_STATE_BYTES_MAX {
        let last = members.len().saturating_sub(1);
        members.remove(members.iter().rposition(is_long).unwrap_or(last));
    }
    Some(members.join(",")).filter(|state| !state.is_empty())
}

/// The length of all members, joined by commas.
fn bytes(members: &[&str]) -> usize {
    let commas = members.len().saturating_sub(1);
    members.iter().map(|member| member.len()).sum::<usize>() + commas
}
