//! A scripted provider: the requests that it got, and the replies that it gives.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    domain::http_exchange::{Fault, FaultKind, Operation, Request, Response, Safety},
    egress::SendError,
};

/// A request that the provider got.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::engine::tests) struct Asked {
    pub(in crate::engine::tests) at: Instant,
    pub(in crate::engine::tests) path: String,
    /// The subscription in its path; empty if there is none.
    pub(in crate::engine::tests) id: String,
    pub(in crate::engine::tests) operation: Operation,
    pub(in crate::engine::tests) is_look: bool,
}

impl Asked {
    fn now(request: &Request) -> Self {
        let path = request.path.as_str();
        let mut segments = path.split('/');
        let of_path = segments
            .find(|segment| *segment == "subscriptions")
            .and_then(|_| segments.next());
        let body = request.body.as_ref().map(|body| body.text.as_str());
        let body: Value = serde_json::from_str(body.unwrap_or_default()).unwrap_or_default();
        let id = of_path.or_else(|| body["subscriptionId"].as_str());
        Self {
            at: Instant::now(),
            path: path.to_owned(),
            id: id.unwrap_or_default().to_owned(),
            operation: request.operation,
            is_look: request.safety == Safety::Look,
        }
    }
}

/// The reply to a request.
pub(in crate::engine::tests) struct Act {
    after: Duration,
    /// `None`: it is never answered.
    said: Option<Result<Response, SendError>>,
}

/// The same reply, this much later.
pub(in crate::engine::tests) fn late(after: Duration, act: Act) -> Act {
    Act { after, ..act }
}

/// A reply with these headers.
pub(in crate::engine::tests) fn page(status: u16, headers: &[(&str, &str)], body: &str) -> Act {
    let headers = headers.iter();
    let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let response = Response::new(status, headers.collect(), body.to_owned());
    Act {
        after: Duration::ZERO,
        said: Some(Ok(response)),
    }
}

/// A JSON reply.
pub(in crate::engine::tests) fn says(status: u16, body: Value) -> Act {
    says_with(status, &[], body)
}

/// A JSON reply with these headers.
pub(in crate::engine::tests) fn says_with(
    status: u16,
    headers: &[(&str, &str)],
    body: Value,
) -> Act {
    page(status, headers, &body.to_string())
}

/// A JSON reply with `Retry-After`.
pub(in crate::engine::tests) fn says_wait(status: u16, wait: &str, body: Value) -> Act {
    says_with(status, &[("retry-after", wait)], body)
}

/// A subscription at FunnelFox.
pub(in crate::engine::tests) fn fox(asked: &Asked, status: &str) -> Act {
    let renews = status == "active";
    says(
        200,
        json!({"id": asked.id, "status": status, "renews": renews}),
    )
}

/// FunnelFox does what it is asked, and lookups find subscriptions active that were not cancelled.
pub(in crate::engine::tests) fn obeys(asked: &Asked) -> Act {
    fox(asked, if asked.is_look { "active" } else { "cancelled" })
}

fn fails(unanswered: fn(Fault) -> SendError, kind: FaultKind) -> Act {
    let fault = Fault {
        kind,
        message: "the script says so".to_owned(),
    };
    Act {
        after: Duration::ZERO,
        said: Some(Err(unanswered(fault))),
    }
}

/// The connection breaks after the request was sent.
pub(in crate::engine::tests) fn lost() -> Act {
    fails(SendError::InDoubt, FaultKind::Broken)
}

/// The request is not sent.
pub(in crate::engine::tests) fn unsent() -> Act {
    fails(SendError::NotSent, FaultKind::Connect)
}

/// No reply comes.
pub(in crate::engine::tests) fn silence() -> Act {
    Act {
        after: Duration::ZERO,
        said: None,
    }
}

type Script = Box<dyn FnMut(&Asked) -> Act + Send>;

/// The provider.
#[derive(Clone)]
pub(in crate::engine::tests) struct Provider {
    asked: Arc<Mutex<Vec<Asked>>>,
    script: Arc<Mutex<Script>>,
}

impl Provider {
    /// A provider that does what it is asked.
    pub(in crate::engine::tests) fn new() -> Self {
        Self {
            asked: Arc::default(),
            script: Arc::new(Mutex::new(Box::new(obeys))),
        }
    }

    /// Sets the script for later requests.
    pub(in crate::engine::tests) fn play(
        &self,
        script: impl FnMut(&Asked) -> Act + Send + 'static,
    ) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// The requests so far.
    pub(in crate::engine::tests) fn log(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap()
    }

    /// Takes a request from a process, which may be gone.
    pub(in crate::engine::tests) async fn take(
        self,
        request: Request,
        is_gone: Arc<AtomicBool>,
    ) -> Result<Response, SendError> {
        if is_gone.load(Ordering::Acquire) {
            panic!("sent by a process that is gone: {request:?}");
        }
        let asked = Asked::now(&request);
        self.log().push(asked.clone());
        let Act { after, said } = (self.script.lock().unwrap())(&asked);
        tokio::time::sleep(after).await;
        match said {
            Some(said) => said,
            None => std::future::pending().await,
        }
    }
}
