//! gRPC's status codes by the names that the protocol gives them.

/// By number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The name of the status of this number, such as `NOT_FOUND`; `UNKNOWN` for one that there is not.
#[must_use]
pub fn code_name(code: i32) -> &'static str {
    let known = usize::try_from(code).ok().and_then(|code| CODES.get(code));
    known.copied().unwrap_or("UNKNOWN")
}
