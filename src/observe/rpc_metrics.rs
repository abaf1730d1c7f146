//! Metrics of gRPC calls, under the names known to Prometheus users from other servers.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::counters::{Counter, Histogram};

/// The names of gRPC status codes, by code.
pub const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
/// The code of a call that the caller cancelled.
const CANCELED: usize = 1;
/// The code of a call without a known status.
const UNKNOWN: usize = 2;

/// The label of all unknown methods.
const OTHER: &str = "_OTHER";

/// One method of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodLabel {
    /// The service's full name.
    pub service: String,
    /// The method's name.
    pub name: String,
    /// `unary`, `client_stream`, `server_stream` or `bidi_stream`.
    pub kind: &'static str,
}

/// The metrics of one method.
#[derive(Debug)]
pub struct MethodMeters {
    /// The method.
    pub method: MethodLabel,
    /// `service/method`.
    pub full_name: String,
    /// Started calls.
    pub started: Counter,
    /// Ended calls, by status code.
    pub handled: [Counter; CODES.len()],
    /// Messages received from callers.
    pub received: Counter,
    /// Messages sent to callers.
    pub sent: Counter,
    /// Time from a call's headers to its status.
    pub time: Histogram,
}

impl MethodMeters {
    fn new(method: MethodLabel) -> Arc<Self> {
        Arc::new(Self {
            full_name: format!("{}/{}", method.service, method.name),
            method,
            started: Counter::default(),
            handled: Default::default(),
            received: Counter::default(),
            sent: Counter::default(),
            time: Histogram::of_calls(),
        })
    }
}

/// The metrics of all methods.
#[derive(Debug)]
pub struct CallMeters {
    by_path: HashMap<String, Arc<MethodMeters>>,
    /// Calls of unknown methods: one label, so that callers cannot create more.
    other: Arc<MethodMeters>,
}

impl CallMeters {
    /// Metrics of these methods, at zero.
    #[must_use]
    pub fn new(methods: impl IntoIterator<Item = MethodLabel>) -> Self {
        let by_path = methods.into_iter().map(|method| {
            let meters = MethodMeters::new(method);
            (format!("/{}", meters.full_name), meters)
        });
        let other = MethodLabel {
            service: OTHER.to_owned(),
            name: OTHER.to_owned(),
            kind: "unary",
        };
        Self {
            by_path: by_path.collect(),
            other: MethodMeters::new(other),
        }
    }

    /// Starts a call to this path.
    #[must_use]
    pub fn begin(&self, path: &str) -> Call {
        let meters = Arc::clone(self.by_path.get(path).unwrap_or(&self.other));
        meters.started.inc();
        Call {
            meters,
            begun: Instant::now(),
            ended: None,
        }
    }

    /// The metrics of all methods by name, those of unknown methods last.
    #[must_use]
    pub fn methods(&self) -> Vec<&MethodMeters> {
        let mut methods: Vec<_> = self.by_path.iter().collect();
        methods.sort_by_key(|(path, _)| *path);
        let known = methods.into_iter().map(|(_, meters)| &**meters);
        known.chain([&*self.other]).collect()
    }
}

/// An open call. If it is dropped without an end, the caller has cancelled it.
#[derive(Debug)]
pub struct Call {
    meters: Arc<MethodMeters>,
    begun: Instant,
    ended: Option<usize>,
}

impl Call {
    /// The metrics of its method.
    #[must_use]
    pub fn meters(&self) -> &Arc<MethodMeters> {
        &self.meters
    }

    /// Ends the call with this status code. Only the first end counts. Counted before the caller
    /// gets the status.
    pub fn end(&mut self, code: i32) {
        let known = usize::try_from(code)
            .ok()
            .filter(|code| *code < CODES.len());
        self.end_as(known.unwrap_or(UNKNOWN));
    }

    fn end_as(&mut self, code: usize) {
        if self.ended.is_none() {
            self.ended = Some(code);
            self.meters.handled.get(code).inspect(|count| count.inc());
            self.meters.time.time(self.begun.elapsed());
        }
    }

    /// The name of its status, or that of a cancelled call if it is still open.
    #[must_use]
    pub fn code(&self) -> &'static str {
        let code = self.ended.unwrap_or(CANCELED);
        CODES.get(code).copied().unwrap_or_default()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end_as(CANCELED);
    }
}
