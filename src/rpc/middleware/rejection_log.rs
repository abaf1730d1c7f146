//! What is told of calls that were refused. It is told where the answer leaves, above all that may
//! refuse a call, so that nothing which refuses has to remember to say so.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use http::{Extensions, Request, Response};
use tonic::{Code, Status, body::Body, transport::server::TcpConnectInfo};

use crate::{
    audit::{Noted, RejectionWord, Sink},
    domain::{
        access::provenance::Provenance,
        ids::{BatchName, CallerId, Key},
    },
    identity::{AuthError, Caller, Callers, Method, Proof},
    limits,
    observe::{BySource, RequestContext, RequestId, Source, code_name},
    rpc::status,
};

/// A call that was refused; or a connection, because of what it showed in its handshake. Nothing
/// was admitted.
#[derive(Debug, Clone, Copy)]
pub struct LoggedRejection<'a> {
    /// Why.
    pub why: RejectionWord,
    /// The gRPC status that the caller gets, such as `NOT_FOUND`; `None` if there was no call.
    pub code: Option<&'static str>,
    /// The RPC's published name, `unknown` for one that there is not, or [`HANDSHAKE`].
    pub method: &'static str,
    /// Who called, if that is known.
    pub caller: Option<&'a CallerId>,
    /// Where from, if that is known.
    pub peer: Option<SocketAddr>,
    /// Why, more exactly: a stable word in `SCREAMING_SNAKE_CASE`. The status's ErrorInfo has it too,
    /// but where nobody knows who calls.
    pub reason: &'static str,
    /// The status's message, or what is true where the status says less.
    pub message: &'a str,
    /// What was shown of who calls.
    pub proofs: &'a [String],
    /// The request's id, if there was a call.
    pub request_id: Option<&'a RequestId>,
    /// What was asked for, if it was read before it was refused.
    pub asked: Option<&'a RequestSummary>,
}

impl LoggedRejection<'_> {
    /// What it is thinned out by, beside why.
    #[must_use]
    pub fn source(&self) -> Source {
        Source::new(self.caller, self.peer)
    }
}

/// Stands for a method where a connection did not come about.
pub const HANDSHAKE: &str = "handshake";

/// What a call asks for, as far as it is told when it is refused.
#[derive(Debug, Clone, Default)]
pub struct RequestSummary {
    /// The request's key, if it is one.
    pub key: Option<Key>,
    /// Items of the request.
    pub items: Option<usize>,
    /// The batch that it is about.
    pub batch: Option<BatchName>,
}

/// Told of each refusal, before the caller is. Clones are of the same.
#[derive(Clone)]
pub struct RejectionLog(Arc<Told>);

struct Told {
    /// What has no line of its own in the log.
    log: Mutex<BySource<RejectionCause>>,
    /// Those of calls and connections of nobody who is known, by their reasons.
    strangers: Mutex<BTreeMap<&'static str, u64>>,
    tell: Box<Tell>,
}

/// What refusals of one source are thinned out by: what their lines say of why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RejectionCause {
    reason: &'static str,
    code: Option<&'static str>,
}

type Tell = dyn Fn(&LoggedRejection<'_>) + Send + Sync;

impl RejectionLog {
    /// Tells this function, which must not block, and the log.
    pub fn new(tell: impl Fn(&LoggedRejection<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Told {
            log: Mutex::default(),
            strangers: Mutex::default(),
            tell: Box::new(tell),
        }))
    }

    /// Tells of a refusal. In the log a flood of one source's is thinned out.
    pub fn tell(&self, refusal: &LoggedRejection<'_>) {
        if refusal.why.is_about_a_stranger() {
            *self.strangers().entry(refusal.reason).or_default() += 1;
        }
        let cause = RejectionCause {
            reason: refusal.reason,
            code: refusal.code,
        };
        let passes = self.log().passes(cause, &refusal.source(), Instant::now());
        if passes {
            // Of other refusals the message may quote what is personal.
            let is_fit = refusal.why.is_about_the_caller();
            tracing::warn!(
                method = refusal.method,
                caller = refusal.caller.map(tracing::field::display),
                peer = refusal.peer.map(tracing::field::display),
                reason = refusal.reason,
                code = refusal.code,
                why = is_fit.then_some(refusal.message),
                "refused"
            );
        }
        (self.0.tell)(refusal);
    }

    /// Tells the log how many refusals had no lines of their own.
    pub fn tell_counts(&self) {
        let counts = self.log().take_counts(true, Instant::now());
        for counted in counts {
            let RejectionCause { reason, code } = counted.reason;
            let Source { caller, network } = counted.source.unwrap_or_default();
            tracing::warn!(
                caller = caller.as_ref().map(tracing::field::display),
                peer = network.map(tracing::field::display),
                reason,
                code,
                suppressed = counted.count,
                "refused"
            );
        }
    }

    /// Does so now and then, for ever.
    pub async fn keep_telling_counts(self) {
        let interval = Duration::from_secs(limits::REFUSALS_COUNTED_SECONDS);
        loop {
            tokio::time::sleep(interval).await;
            self.tell_counts();
        }
    }

    /// Calls and connections of nobody who is known, by the reason that they were not told.
    #[must_use]
    pub fn of_strangers(&self) -> Vec<(&'static str, u64)> {
        let strangers = self.strangers();
        strangers
            .iter()
            .map(|(why, count)| (*why, *count))
            .collect()
    }

    fn strangers(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.0
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, BySource<RejectionCause>> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a call if its answer refuses it. Questions that are no good change nothing and are
    /// not told, but for who asked them.
    pub(in crate::rpc) fn look(&self, call: &CallContext, answer: &Response<Body>) {
        // The status of a call that was taken on comes after the answer's head.
        let Some(status) = answer.extensions().get::<Status>() else {
            return;
        };
        let Some(because) = because_of(status) else {
            return;
        };
        let RejectionReason { why, reason, .. } = because;
        if why.is_about_the_caller() || call.method.is_some_and(Method::acts) {
            self.tell(&LoggedRejection {
                why,
                code: Some(code_name(status.code().into())),
                method: call.method.map_or("unknown", Method::name),
                caller: call.caller.get().map(|caller| &caller.id),
                peer: call.peer,
                reason,
                message: because
                    .in_truth
                    .as_deref()
                    .unwrap_or_else(|| status.message()),
                proofs: &call.proofs(),
                request_id: call.request_id.as_ref(),
                asked: call.asked.get(),
            });
        }
    }

    /// The answer to a call on a connection whose certificate is good no more, and why it is not.
    #[must_use]
    pub fn stale<B>(&self, request: &Request<B>, why: &str) -> Response<Body> {
        let answer = status::stale(why).into_http();
        self.look(&CallContext::by(request), &answer);
        answer
    }
}

impl Default for RejectionLog {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for RejectionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refusals")
    }
}

/// A call, with what has come to be known of it.
#[derive(Debug)]
pub(in crate::rpc) struct CallContext {
    pub(in crate::rpc) method: Option<Method>,
    pub(in crate::rpc) caller: OnceLock<Arc<Caller>>,
    peer: Option<SocketAddr>,
    request_id: Option<RequestId>,
    proofs: Mutex<Vec<String>>,
    asked: OnceLock<RequestSummary>,
    audit: Sink,
    callers: Option<Arc<Callers>>,
}

impl CallContext {
    pub(in crate::rpc) fn by<B>(request: &Request<B>) -> Self {
        Self {
            method: Method::of_path(request.uri().path()),
            caller: OnceLock::new(),
            peer: peer(request.extensions()),
            request_id: request
                .extensions()
                .get::<RequestContext>()
                .and_then(|origin| origin.id().cloned()),
            proofs: Mutex::default(),
            audit: Sink::default(),
            callers: None,
            asked: OnceLock::new(),
        }
    }

    /// One of these callers.
    pub(in crate::rpc) fn among(self, callers: Arc<Callers>) -> Self {
        Self {
            callers: Some(callers),
            ..self
        }
    }

    /// Its caller as it is now: a request takes its time to arrive, and its caller may have been
    /// taken out meanwhile, or may do less.
    ///
    /// # Errors
    /// If it may not make the call any more.
    pub(in crate::rpc) fn caller_now(&self, was: &Arc<Caller>) -> Result<Arc<Caller>, Status> {
        let Some(callers) = &self.callers else {
            return Ok(Arc::clone(was));
        };
        let now = callers.now(&was.id);
        let caller =
            now.ok_or_else(|| status::unproven(&AuthError::Gone(was.id.clone()), false))?;
        match self.method {
            Some(method) if !caller.policy.allows_method(method) => {
                Err(status::method_not_allowed(&caller, method))
            }
            _ => Ok(caller),
        }
    }

    /// One whose looks at what is others' are told here.
    pub(in crate::rpc) fn told_to(self, audit: Sink) -> Self {
        Self { audit, ..self }
    }

    /// Has the audit tell what the call does, before it is answered.
    ///
    /// # Errors
    /// If the audit has no room for it: then the call is not to be answered.
    pub(in crate::rpc) fn note(&self, noted: Noted) -> Result<(), Status> {
        let noted = Noted {
            caller: self.caller.get().map(|caller| caller.id.clone()),
            from: self.provenance(),
            method: self.method.map(Method::name),
            ..noted
        };
        self.audit
            .note(noted)
            .map_err(|full| status::unaudited(&full))
    }

    /// Notes what was shown of who calls, in place of what was noted before.
    pub(in crate::rpc) fn shows(&self, shown: &[Proof]) {
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        *proofs = shown.iter().map(Proof::told).collect();
    }

    fn proofs(&self) -> Vec<String> {
        let proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.clone()
    }

    /// How it came, as far as that is recorded.
    pub(in crate::rpc) fn provenance(&self) -> Provenance {
        Provenance {
            peer: self.peer,
            proofs: self.proofs(),
            request_id: self.request_id.as_ref().map(ToString::to_string),
        }
    }

    /// Notes what is asked for. The first note stays.
    pub(in crate::rpc) fn asks(&self, asked: RequestSummary) {
        self.asked.get_or_init(|| asked);
    }
}

/// Where a call comes from.
fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<TcpConnectInfo>()?.remote_addr()
}

/// What a status that refuses has as its source, so that it is known why when it leaves.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
struct RejectionReason {
    why: RejectionWord,
    reason: &'static str,
    /// What the operator is told where the caller is told less.
    in_truth: Option<Arc<str>>,
}

/// Says why a status refuses, with the reason that it tells.
pub(in crate::rpc) fn because(
    why: RejectionWord,
    reason: &'static str,
    mut status: Status,
) -> Status {
    status.set_source(Arc::new(RejectionReason {
        why,
        reason,
        in_truth: None,
    }));
    status
}

/// Says why a status refuses, and more of it than its caller is told.
pub(in crate::rpc) fn because_in_truth(
    why: RejectionWord,
    reason: &'static str,
    in_truth: String,
    mut status: Status,
) -> Status {
    status.set_source(Arc::new(RejectionReason {
        why,
        reason,
        in_truth: Some(in_truth.into()),
    }));
    status
}

/// Why a status refuses its call; `None` if that is not what it does.
fn because_of(status: &Status) -> Option<RejectionReason> {
    let source = std::error::Error::source(status);
    if let Some(because) = source.and_then(|source| source.downcast_ref()) {
        return Some(RejectionReason::clone(because));
    }
    // The call was refused below us: its message could not be read.
    let why = match status.code() {
        Code::Ok | Code::Cancelled | Code::DeadlineExceeded => return None,
        Code::InvalidArgument => RejectionWord::Invalid,
        Code::OutOfRange => RejectionWord::Oversized,
        Code::Unimplemented => RejectionWord::Unsupported,
        _ => RejectionWord::Unreadable,
    };
    let reason = why.word();
    Some(RejectionReason {
        why,
        reason,
        in_truth: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: Status, expected: &[&str]) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let refusals = RejectionLog::new({
            let told = Arc::clone(&told);
            move |refusal| {
                let code = refusal.code.unwrap();
                told.lock().unwrap().push([refusal.reason, code].join(" "));
            }
        });
        let path = "/cancelot.v1.CancellationService/StopBatch";
        let call = CallContext::by(&Request::builder().uri(path).body(()).unwrap());
        refusals.look(&call, &status.into_http());
        assert_eq!(*told.lock().unwrap(), expected);
    }

    #[test]
    fn a_refusal_is_told_with_the_code_that_its_caller_gets() {
        check(Status::internal(""), &["UNREADABLE INTERNAL"]);
        check(Status::unknown(""), &["UNREADABLE UNKNOWN"]);
        check(Status::data_loss(""), &["UNREADABLE DATA_LOSS"]);
        check(Status::unimplemented(""), &["UNSUPPORTED UNIMPLEMENTED"]);
        check(
            Status::invalid_argument(""),
            &["INVALID_REQUEST INVALID_ARGUMENT"],
        );
        check(status::draining(), &["DRAINING UNAVAILABLE"]);
        check(status::full(""), &["SERVICE_FULL RESOURCE_EXHAUSTED"]);
        check(status::not_received(), &["NOT_RECEIVED DEADLINE_EXCEEDED"]);
        check(Status::cancelled(""), &[]);
    }
}
