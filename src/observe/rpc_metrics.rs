//! What is counted of gRPC calls, by the names that Prometheus users know from other servers.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::counters::{Counter, Histogram};

/// The names of gRPC's status codes, by number.
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
/// The number of a call that the caller gave up.
const CANCELED: usize = 1;
/// The number of a call that has no status anybody knows.
const UNKNOWN: usize = 2;

/// Stands for every method that there is not.
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

/// What is counted of one method.
#[derive(Debug)]
pub struct MethodMeters {
    /// Which.
    pub method: MethodLabel,
    /// `service/method`.
    pub full_name: String,
    /// Calls that began.
    pub started: Counter,
    /// Calls that ended, by the number of their status.
    pub handled: [Counter; CODES.len()],
    /// Messages of callers.
    pub received: Counter,
    /// Our messages.
    pub sent: Counter,
    /// From a call's headers to its status.
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

/// What is counted of all methods.
#[derive(Debug)]
pub struct CallMeters {
    by_path: HashMap<String, Arc<MethodMeters>>,
    /// Calls of methods that there are not: one label for whatever callers make up.
    other: Arc<MethodMeters>,
}

impl CallMeters {
    /// Meters of these methods, at nothing.
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

    /// A call to this path begins.
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

    /// All methods, by name, and last the one that stands for all others.
    #[must_use]
    pub fn methods(&self) -> Vec<&MethodMeters> {
        let mut methods: Vec<_> = self.by_path.iter().collect();
        methods.sort_by_key(|(path, _)| *path);
        let known = methods.into_iter().map(|(_, meters)| &**meters);
        known.chain([&*self.other]).collect()
    }
}

/// An open call. Dropped without an end, its caller gave it up.
#[derive(Debug)]
pub struct Call {
    meters: Arc<MethodMeters>,
    begun: Instant,
    ended: Option<usize>,
}

impl Call {
    /// Its method's meters.
    #[must_use]
    pub fn meters(&self) -> &Arc<MethodMeters> {
        &self.meters
    }

    /// It ended with a status of this number. The first end counts, and counts before the caller
    /// hears of it.
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

    /// The name of the status that it ended with, or would if nobody wanted its end any more.
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
