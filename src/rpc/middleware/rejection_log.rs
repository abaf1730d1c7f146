//! Logs and audits rejected calls. Outermost on the response path, so that no rejecting layer has
//! to report anything.

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

/// A rejected call, or a connection rejected in its TLS handshake. Nothing was admitted.
#[derive(Debug, Clone, Copy)]
pub struct LoggedRejection<'a> {
    /// The audit's word for the reason.
    pub why: RejectionWord,
    /// The gRPC status sent to the caller, such as `NOT_FOUND`; `None` without a call.
    pub code: Option<&'static str>,
    /// The RPC's published name, `unknown` for an unknown one, or [`HANDSHAKE`].
    pub method: &'static str,
    /// The caller, if authenticated.
    pub caller: Option<&'a CallerId>,
    /// The peer address, if known.
    pub peer: Option<SocketAddr>,
    /// Why, more exactly: a stable word in `SCREAMING_SNAKE_CASE`. The status's ErrorInfo has it
    /// too, but where nobody knows who calls.
    pub reason: &'static str,
    /// The status's message, or what is true where the status says less.
    pub message: &'a str,
    /// The fingerprints of the credentials.
    pub proofs: &'a [String],
    /// The request id, if there was a call.
    pub request_id: Option<&'a RequestId>,
    /// The request, if it was read before it was rejected.
    pub asked: Option<&'a RequestSummary>,
}

impl LoggedRejection<'_> {
    /// The source by which the log is rate-limited, besides the reason.
    #[must_use]
    pub fn source(&self) -> Source {
        Source::new(self.caller, self.peer)
    }
}

/// The method of a connection that was rejected in its handshake.
pub const HANDSHAKE: &str = "handshake";

/// What a rejected call asked for, as far as it is logged and audited.
#[derive(Debug, Clone, Default)]
pub struct RequestSummary {
    /// The request's key, if it is valid.
    pub key: Option<Key>,
    /// The number of items.
    pub items: Option<usize>,
    /// The batch that it is about.
    pub batch: Option<BatchName>,
}

/// Reports every rejection before its response is sent. Clones share the log's rate limiter.
#[derive(Clone)]
pub struct RejectionLog(Arc<Told>);

struct Told {
    /// Rejections without a log line of their own.
    log: Mutex<BySource<RejectionCause>>,
    /// Those of calls and connections of nobody who is known, by their reasons.
    strangers: Mutex<BTreeMap<&'static str, u64>>,
    tell: Box<Tell>,
}

/// The reason by which rejections of one source are rate-limited: what a log line says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RejectionCause {
    reason: &'static str,
    code: Option<&'static str>,
}

type Tell = dyn Fn(&LoggedRejection<'_>) + Send + Sync;

impl RejectionLog {
    /// Reports to this function, which must not block, and to the log.
    pub fn new(tell: impl Fn(&LoggedRejection<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Told {
            log: Mutex::default(),
            // A series that begins with its first rejection hides that one from `increase`.
            strangers: Mutex::new(AuthError::REASONS.map(|reason| (reason, 0)).into()),
            tell: Box::new(tell),
        }))
    }

    /// Reports a rejection. A flood from one source is rate-limited in the log, not in the audit.
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
            // In other rejections the message may quote personal data.
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

    /// Logs how many rejections had no log line of their own.
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

    /// Logs these counts once per interval, for ever.
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

    /// Reports a call if its response rejects it. Invalid read-only calls are not reported unless
    /// the reason concerns the caller (authentication, policy).
    pub(in crate::rpc) fn look(&self, call: &CallContext, answer: &Response<Body>) {
        // An accepted call has its status in the trailers, after this head.
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

    /// The response on a connection whose certificate is no longer valid; `why` says why.
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

/// A call and what is known of it so far.
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

    /// Writes an audit entry for what the call does, before it is answered.
    ///
    /// # Errors
    /// If the audit has no room for it. The call must not be answered then.
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

    /// Sets the credentials that the call has presented.
    pub(in crate::rpc) fn shows(&self, shown: &[Proof]) {
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        *proofs = shown.iter().map(Proof::told).collect();
    }

    fn proofs(&self) -> Vec<String> {
        let proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.clone()
    }

    /// The origin of the call, as far as it is recorded.
    pub(in crate::rpc) fn provenance(&self) -> Provenance {
        Provenance {
            peer: self.peer,
            proofs: self.proofs(),
            request_id: self.request_id.as_ref().map(ToString::to_string),
        }
    }

    /// Sets what the call asks for; only the first summary counts.
    pub(in crate::rpc) fn asks(&self, asked: RequestSummary) {
        self.asked.get_or_init(|| asked);
    }
}

/// The peer address of a call.
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

/// Marks a status as a rejection for this reason.
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

/// Why a status rejects its call; `None` if it does not.
fn because_of(status: &Status) -> Option<RejectionReason> {
    let source = std::error::Error::source(status);
    if let Some(because) = source.and_then(|source| source.downcast_ref()) {
        return Some(RejectionReason::clone(because));
    }
    // tonic rejected the call: its message could not be read.
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
