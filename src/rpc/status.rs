//! gRPC statuses with google.rpc details. They travel in headers, which many clients bound at
//! 8 KiB, so long lists are cut, and say so.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::middleware::rejection_log::{because, because_in_truth};
use crate::{
    audit::{Full, RejectionWord},
    domain::{access::hourly_quota::Exhausted, opaque::Names},
    engine::{ReadError, SubmitError},
    identity::{AuthError, Caller, JwtFault, KEYS_UNAVAILABLE, Method},
    journal::{Conflict, DiskFull, Overfull, Unavailable},
    limits,
};

/// Bytes of details, and of the message. The message travels twice: in a header of its own, where
/// most bytes may become three, and with the details, where three become four.
const DETAIL_BYTES_MAX: usize = 3_000;
const MESSAGE_BYTES_MAX: usize = 800;
const _: () = assert!(
    3 * MESSAGE_BYTES_MAX + (DETAIL_BYTES_MAX + MESSAGE_BYTES_MAX + 64) * 4 / 3 < 8 * 1024 - 256
);
/// Bytes of one description: callers' texts are quoted in them.
const DESCRIPTION_BYTES_MAX: usize = 300;
/// Violations told in the message itself, for those who look no further.
const TOLD_MAX: usize = 3;
/// The domain of our ErrorInfo.
const DOMAIN: &str = "cancelot";
/// Reasons of refusals.
const METHOD_NOT_ALLOWED: &str = "METHOD_NOT_ALLOWED";
const POLICY_VIOLATED: &str = "POLICY_VIOLATED";
const HOURLY_ITEMS_EXHAUSTED: &str = "HOURLY_ITEMS_EXHAUSTED";
const SCANS_EXHAUSTED: &str = "SCANS_EXHAUSTED";
const STOP_IN_DOUBT: &str = "STOP_IN_DOUBT";

/// All that is wrong with a request.
#[derive(Debug, Default)]
pub(super) struct Violations {
    list: Vec<(String, String)>,
}

/// A place in the list of violations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ViolationMark(usize);

impl Violations {
    pub(super) fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        let mut description = description.into();
        clip(&mut description, DESCRIPTION_BYTES_MAX);
        self.list.push((field.into(), description));
    }

    /// Where the list ends now.
    pub(super) fn mark(&self) -> ViolationMark {
        ViolationMark(self.list.len())
    }

    /// Whether a field was named since then.
    pub(super) fn names(&self, since: ViolationMark, field: &str) -> bool {
        self.list
            .iter()
            .skip(since.0)
            .any(|(name, _)| name == field)
    }

    /// Notes what is wrong with a field, and gives its value if nothing is.
    pub(super) fn check<T, E: std::fmt::Display>(
        &mut self,
        field: impl FnOnce() -> String,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(field(), error.to_string());
                None
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// INVALID_ARGUMENT with all of them, as far as they fit.
    pub(super) fn into_status(self) -> Status {
        let status = self.told(Code::InvalidArgument, ErrorDetails::new());
        refuse(RejectionWord::Invalid, status)
    }

    /// PERMISSION_DENIED with all of them: fields whose values are not this caller's to choose.
    pub(super) fn into_denied(self, caller: &Caller) -> Status {
        let details = refused_details(POLICY_VIOLATED, caller);
        let status = self.told(Code::PermissionDenied, details);
        because(RejectionWord::NotPermitted, POLICY_VIOLATED, status)
    }

    fn told(self, code: Code, mut details: ErrorDetails) -> Status {
        let mut bytes = 0;
        let mut listed = 0;
        for (field, description) in &self.list {
            bytes += field.len() + description.len() + 8;
            if bytes > DETAIL_BYTES_MAX {
                break;
            }
            details.add_bad_request_violation(field, description);
            listed += 1;
        }
        let count = self.list.len();
        let mut message = format!("nothing was admitted: {}", plural(count, "violation"));
        if listed < count {
            message.push_str(&format!(" (the details list the first {listed})"));
        }
        for (field, description) in self.list.iter().take(TOLD_MAX) {
            message.push_str(&format!("; {field}: {description}"));
        }
        if count > TOLD_MAX {
            message.push_str("; ...");
        }
        clip(&mut message, MESSAGE_BYTES_MAX);
        Status::with_error_details(code, message, details)
    }
}

/// Says why a status refuses, by the word that the audit has for it.
fn refuse(why: RejectionWord, status: Status) -> Status {
    because(why, why.word(), status)
}

/// UNAVAILABLE, to be tried again after so many seconds.
fn unavailable(why: RejectionWord, message: impl Into<String>, again_after: u64) -> Status {
    unavailable_because(why, why.word(), message, again_after)
}

/// The same, with a reason of its own.
fn unavailable_because(
    why: RejectionWord,
    reason: &'static str,
    message: impl Into<String>,
    again_after: u64,
) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(Duration::from_secs(again_after)));
    details.set_error_info(reason, DOMAIN, []);
    let mut message = message.into();
    clip(&mut message, MESSAGE_BYTES_MAX);
    let status = Status::with_error_details(Code::Unavailable, message, details);
    because(why, reason, status)
}

fn refused_details(reason: &str, caller: &Caller) -> ErrorDetails {
    let metadata = [("caller".to_owned(), caller.id.to_string())];
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

/// The status of a call that nobody knows whose it is: UNAUTHENTICATED, or UNAVAILABLE if the keys
/// of an issuer are missing, `keys_missing`, and it may be for that. Strangers are told one thing
/// whatever is wrong with what they show; the operator is told what it is.
pub(super) fn unproven(unproven: &AuthError, keys_missing: bool) -> Status {
    let why = match unproven {
        AuthError::Jwt(JwtFault::NoKeys { .. }) => RejectionWord::KeysUnavailable,
        _ => RejectionWord::Unauthenticated,
    };
    let is_for_now =
        why == RejectionWord::KeysUnavailable || (keys_missing && unproven.is_of_a_jwt());
    let (code, reason, message) = if is_for_now {
        (Code::Unavailable, KEYS_UNAVAILABLE, KEYS_MISSING)
    } else {
        (
            Code::Unauthenticated,
            RejectionWord::Unauthenticated.word(),
            STRANGER,
        )
    };
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, []);
    if is_for_now {
        details.set_retry_info(Some(Duration::from_secs(5)));
    }
    let status = Status::with_error_details(code, message, details);
    because_in_truth(why, unproven.reason(), unproven.to_string(), status)
}

/// What strangers are told.
const STRANGER: &str = "what this call shows proves no caller; show a token as metadata \
                        `authorization: Bearer <token>` or a client certificate, whichever this \
                        caller is configured with; the service's log says what is wrong, by the \
                        request's id";
const KEYS_MISSING: &str = "tokens cannot be checked now, as keys of an issuer are not known; send \
                            the same request again";

/// PERMISSION_DENIED: an RPC that is not this caller's to call.
pub(super) fn method_not_allowed(caller: &Caller, method: Method) -> Status {
    let message = format!(
        "{} may not call {}; allowed are {}",
        caller.id,
        method.name(),
        caller.policy.methods_told()
    );
    let details = refused_details(METHOD_NOT_ALLOWED, caller);
    let status = Status::with_error_details(Code::PermissionDenied, message, details);
    because(RejectionWord::NotPermitted, METHOD_NOT_ALLOWED, status)
}

/// RESOURCE_EXHAUSTED: more new items than the caller may bring in an hour.
fn over_quota(exhausted: &Exhausted, caller: &Caller) -> Status {
    let mut details = refused_details(HOURLY_ITEMS_EXHAUSTED, caller);
    let mut message = format!("nothing was admitted: {exhausted}");
    match exhausted.retry_after {
        Some(after) => {
            details.set_retry_info(Some(after));
            message.push_str(&format!(
                "; the same request fits in {} s if nothing else comes",
                after.as_secs()
            ));
        }
        None => message.push_str("; such a request never fits: split it"),
    }
    details.add_quota_failure_violation(format!("caller:{}", caller.id), exhausted.to_string());
    clip(&mut message, MESSAGE_BYTES_MAX);
    let status = Status::with_error_details(Code::ResourceExhausted, message, details);
    because(RejectionWord::OverQuota, HOURLY_ITEMS_EXHAUSTED, status)
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        format!("1 {word}")
    } else {
        format!("{count} {word}s")
    }
}

/// Leaves the beginning of a text that is too long.
fn clip(text: &mut String, bytes_max: usize) {
    const MORE: &str = "...";
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max.saturating_sub(MORE.len())));
        text.push_str(MORE);
    }
}

/// The status of a request that was not taken on.
pub(super) fn of_submit(error: SubmitError, caller: &Caller, names: &Names) -> Status {
    match error {
        SubmitError::OverQuota(exhausted) => over_quota(&exhausted, caller),
        SubmitError::Conflict(conflicts) => of_conflicts(&conflicts, names),
        SubmitError::Full(why) => full(&why),
        SubmitError::NoRoom(no_room) => of_no_room(&no_room),
        SubmitError::Behind(_) => of_behind(),
        SubmitError::Overfull(overfull) => overfull_of(overfull, caller),
        SubmitError::Oversized(_) => oversized(&error.to_string()),
        SubmitError::Draining => draining(),
        SubmitError::Damaged(why) => of_damaged(&why),
        SubmitError::Unavailable(unavailable) => of_unavailable(&unavailable),
    }
}

/// DATA_LOSS: what the request's keys mean cannot be read.
fn of_damaged(why: &Unavailable) -> Status {
    tracing::error!(%why, "a request needs records that cannot be read");
    let message = "the records that the request's keys lead to are damaged, so nothing was \
                   admitted and nothing is sent; sending it again does not help: its operator has \
                   to look at the journal";
    Status::data_loss(message)
}

/// UNAVAILABLE: the journal's disk is full.
fn of_no_room(no_room: &DiskFull) -> Status {
    let message = format!(
        "nothing was admitted and nothing is sent: {no_room}; then send the same request again"
    );
    unavailable(RejectionWord::DiskFull, message, 30)
}

/// UNAVAILABLE: what is admitted is audited, and the audit cannot be written. How many lines wait
/// is the work of all callers, so metrics tell it and this does not.
fn of_behind() -> Status {
    let message = "nothing was admitted and nothing is sent: the audit cannot keep up \
                   (audit.lag_max), and the service's log says so if it cannot be written; no restart \
                   is needed; send the same request again";
    unavailable(RejectionWord::AuditBehind, message, 10)
}

/// RESOURCE_EXHAUSTED: the audit has no room for more of this caller. How much others take is not
/// its to know.
pub(super) fn overfull_of(overfull: Overfull, caller: &Caller) -> Status {
    let mut details = refused_details(RejectionWord::AuditFull.word(), caller);
    details.set_retry_info(Some(Duration::from_secs(limits::AUDIT_FULL_RETRY_SECONDS)));
    let mut message = format!(
        "nothing was admitted, sent or read: {overfull}; its operator has to make room; what was \
         admitted goes on and is replayed"
    );
    clip(&mut message, MESSAGE_BYTES_MAX);
    let status = Status::with_error_details(Code::ResourceExhausted, message, details);
    refuse(RejectionWord::AuditFull, status)
}

/// RESOURCE_EXHAUSTED: there is no room at the moment.
pub(super) fn full(why: &str) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
    details.set_error_info(RejectionWord::Full.word(), DOMAIN, []);
    let message = format!("the service is full: {why}; nothing was admitted");
    let status = Status::with_error_details(Code::ResourceExhausted, message, details);
    refuse(RejectionWord::Full, status)
}

/// The status of a question that was not answered.
pub(super) fn of_ask(error: ReadError, caller: &Caller) -> Status {
    let (reason, why) = match error {
        ReadError::Unavailable(unavailable) => return of_unavailable(&unavailable),
        ReadError::Scans(why) => (SCANS_EXHAUSTED, why),
        ReadError::Full(why) => (RejectionWord::Full.word(), why),
    };
    let mut details = refused_details(reason, caller);
    details.set_retry_info(Some(Duration::from_secs(1)));
    let message = format!("nothing was read: {why}; call again in a moment");
    let status = Status::with_error_details(Code::ResourceExhausted, message, details);
    because(RejectionWord::Full, reason, status)
}

/// RESOURCE_EXHAUSTED: there is no room for a call beside the service, or its connection has enough
/// of them.
pub(super) fn crowded() -> Status {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
    let message = "too many calls of this kind are open here; call again in a moment";
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// UNAVAILABLE: a call beside the service has lasted for as long as its connection may.
pub(super) fn aged() -> Status {
    Status::unavailable("the connection has reached its age; call again on another one")
}

/// OUT_OF_RANGE: there will never be room for such a request.
pub(super) fn oversized(why: &str) -> Status {
    let message = format!("{why}; nothing was admitted; send it in several requests");
    refuse(RejectionWord::Oversized, Status::out_of_range(message))
}

/// DEADLINE_EXCEEDED: the request did not arrive in time.
pub(super) fn not_received() -> Status {
    let message = "the request was not received in time; nothing was admitted; send it again";
    refuse(
        RejectionWord::NotReceived,
        Status::deadline_exceeded(message),
    )
}

/// DEADLINE_EXCEEDED: a request arrived so slowly that it kept others from arriving.
pub(super) fn too_slow() -> Status {
    let message = format!(
        "the request arrives too slowly: after {} s, fewer than {} bytes a second have come; nothing \
         was admitted; send it again",
        limits::RECEIVE_SLOWLY_MS_MAX / 1_000,
        limits::RECEIVE_BYTES_PER_SECOND_MIN
    );
    refuse(
        RejectionWord::NotReceived,
        Status::deadline_exceeded(message),
    )
}

/// UNAVAILABLE: the certificate of the call's connection is good no more. On another connection,
/// with the certificate that the client has by now, the call may be fine. The caller is not told
/// `why`.
pub(super) fn stale(why: &str) -> Status {
    let message = "the certificate of this connection is good no more; connect again";
    let status = unavailable(RejectionWord::Stale, message, 1);
    because_in_truth(
        RejectionWord::Stale,
        RejectionWord::Stale.word(),
        why.to_owned(),
        status,
    )
}

/// UNAVAILABLE: this replica does not serve yet.
pub(super) fn starting() -> Status {
    let message = "the service takes up what was open before; nothing was admitted; send the same \
                   request again";
    unavailable(RejectionWord::Starting, message, 1)
}

/// UNAVAILABLE: this replica stops serving.
pub(super) fn draining() -> Status {
    let message = "the service is draining; what was admitted goes on; send the same request again";
    unavailable(RejectionWord::Draining, message, 1)
}

/// UNAVAILABLE: the journal does not work.
pub(super) fn of_unavailable(error: &Unavailable) -> Status {
    tracing::error!(%error, "the journal cannot be used");
    let message = "the journal cannot be used; nothing that is not recorded has been sent; send \
                   the same request again";
    unavailable(RejectionWord::JournalFailed, message, 5)
}

/// UNAVAILABLE: what is asked for has to be told by the audit, which has no room.
pub(super) fn unaudited(full: &Full) -> Status {
    let message = format!("{full}, and what is asked for is answered only if it is told there");
    unavailable(RejectionWord::AuditBehind, message, 5)
}

/// UNAVAILABLE: the journal failed while a batch was being stopped. What of it is on the disk is
/// known after a restart, so this says neither that it is stopped nor that it is not.
pub(super) fn stop_in_doubt(error: &Unavailable) -> Status {
    tracing::error!(%error, "the journal cannot be used");
    let message = "the journal failed while the batch was being stopped: it may have been stopped \
                   or not; send StopBatch again, which changes nothing if it was";
    unavailable_because(RejectionWord::JournalFailed, STOP_IN_DOUBT, message, 5)
}

fn of_conflicts(conflicts: &[Conflict], names: &Names) -> Status {
    let mut details = ErrorDetails::new();
    let mut told = Vec::new();
    let mut bytes = 0;
    for conflict in conflicts {
        let place = conflict
            .index
            .map(|index| format!("cancellations[{index}]"));
        let fields: Vec<String> = conflict
            .fields
            .iter()
            .map(|field| match &place {
                Some(place) => format!("{place}.{field}"),
                None => field.clone(),
            })
            .collect();
        let differs = if fields.is_empty() {
            "it was one person's and was erased, so nobody can say in what they differ".to_owned()
        } else {
            format!("these fields differ: {}", fields.join(", "))
        };
        let description = format!(
            "key {} was used before with other content (batch {}); {differs}",
            conflict.key,
            names.of(conflict.batch)
        );
        if told.len() < TOLD_MAX {
            told.push(description.clone());
        }
        bytes += description.len() + conflict.key.as_str().len() + 32;
        if bytes <= DETAIL_BYTES_MAX {
            details.add_precondition_failure_violation(
                "IDEMPOTENCY_KEY_REUSED",
                conflict.key.as_str(),
                description,
            );
        }
    }
    let keys = plural(conflicts.len(), "key");
    let mut message = format!(
        "nothing was admitted: {keys} cannot be used: {}",
        told.join("; ")
    );
    if conflicts.len() > told.len() {
        message.push_str("; ...");
    }
    clip(&mut message, MESSAGE_BYTES_MAX);
    let status = Status::with_error_details(Code::FailedPrecondition, message, details);
    refuse(RejectionWord::KeyReused, status)
}

/// NOT_FOUND of a record or a batch.
pub(super) fn not_found(kind: &str, name: &str) -> Status {
    let details = ErrorDetails::with_resource_info(
        kind,
        name,
        "",
        "never admitted for this caller, or its retention is over",
    );
    let message = format!("there is no {kind} {name:?} of this caller's, or its retention is over");
    let status = Status::with_error_details(Code::NotFound, message, details);
    refuse(RejectionWord::NotFound, status)
}
