//! HTTP client for provider accounts: one tower stack per account, from a request without
//! credentials to a reply, or to the exact reason why there is none.
//!
//! Egress knows HTTP, credentials and clocks, but neither batches nor the journal. The engine does
//! the waiting, because a waiting item costs it no more than its command. *Whether* to retry is
//! decided in [`retry_policy`], and whether anything may be sent now in [`flow`], which also
//! documents the order of the whole stack.

mod client_options;
mod credential;
mod credential_scrubber;
pub mod flow;
mod http_client;
mod instrumentation;
pub mod jwks_client;
mod reply_body;
pub mod retry_policy;
mod send_error;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use secrecy::SecretString;
use tower::{Service as _, ServiceBuilder, ServiceExt as _, util::BoxCloneSyncService};

use self::credential::Credential;
use crate::{
    domain::{
        account::Account,
        http_exchange::{Fault, Reply, Request, Response},
    },
    observe::{AccountMeters, RequestContext, Tracer},
    providers,
};

/// Options of an account's client.
#[derive(Clone)]
pub struct EgressOptions {
    /// The account.
    pub account: Arc<Account>,
    /// Its API credential.
    pub credential: SecretString,
    /// Timeout of TCP and TLS set-up.
    pub connect_timeout: Duration,
    /// Timeout of a whole exchange, from connecting to the last byte of the reply.
    pub timeout: Duration,
    /// HTTP proxy; `None` for a direct connection, whatever the environment says.
    pub proxy_url: Option<String>,
    /// Maximum of concurrent requests; sizes the connection pool.
    pub concurrency_max: usize,
    /// Creates the spans of the exchanges.
    pub tracer: Tracer,
}

/// A request, with the context of the caller's request that it belongs to.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The request to send.
    pub request: Request,
    /// The caller's context, for spans and logs.
    pub from: RequestContext,
}

impl From<Request> for Outgoing {
    /// Without a caller's context.
    fn from(request: Request) -> Self {
        let from = RequestContext::default();
        Self { request, from }
    }
}

/// Why there is no reply. The safety of the whole service rests on this difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// No byte of the request was sent, or the provider says that it did not process it.
    NotSent(Fault),
    /// The provider may have received the request.
    InDoubt(Fault),
}

impl SendError {
    /// The same with another message, of bounded length.
    fn map_message(self, map: impl FnOnce(String) -> String) -> Self {
        let mapped = |fault: Fault| {
            let message = map(fault.message);
            let message = message
                .chars()
                .take(crate::limits::MESSAGE_CHARS_MAX)
                .collect();
            Fault { message, ..fault }
        };
        match self {
            Self::NotSent(fault) => Self::NotSent(mapped(fault)),
            Self::InDoubt(fault) => Self::InDoubt(mapped(fault)),
        }
    }
}

/// The client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("account {account}: {problem}")]
pub struct BuildError {
    account: String,
    problem: String,
}

type Stack = BoxCloneSyncService<Outgoing, Response, SendError>;

/// The HTTP client of one account. Clones share its connections.
#[derive(Clone)]
pub struct Egress {
    stack: Stack,
    credential: Option<Credential>,
    meters: Arc<AccountMeters>,
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").finish_non_exhaustive()
    }
}

impl Egress {
    /// Builds the stack of an account, outermost layer first.
    ///
    /// # Errors
    /// If the HTTP client cannot be set up, or the credential is no valid header value.
    pub fn build(options: &EgressOptions) -> Result<Self, BuildError> {
        Self::trusting(options, &[])
    }

    /// Like [`Egress::build`]. With `trusted`, servers' certificates must be signed by these
    /// authorities instead of the system's.
    fn trusting(
        options: &EgressOptions,
        trusted: &[reqwest::Certificate],
    ) -> Result<Self, BuildError> {
        let build_error = |problem: String| BuildError {
            account: options.account.name.to_string(),
            problem,
        };
        let auth = providers::of(options.account.provider()).auth(&options.account);
        let credential = Credential::new(auth, &options.credential).map_err(build_error)?;
        let http =
            http_client::Http::build(options, credential.clone(), trusted).map_err(build_error)?;
        let meters = Arc::<AccountMeters>::default();
        let (told, tracer) = (Arc::clone(&meters), options.tracer.clone());
        let stack = ServiceBuilder::new()
            // Counts each try with its final result, so it is outside of the layer that can end
            // one.
            .layer(instrumentation::ObserveLayer::new(
                &options.account,
                told,
                tracer,
            ))
            // Bounds connecting, sending and reading together, so a dribbling body is cut off too.
            // Inside of observe, so that a timeout is counted as one. Directly above HTTP, so that
            // no waiting in the engine uses up the provider's time.
            .layer(http_client::DeadlineLayer::new(options.timeout))
            .service(http);
        Ok(Self {
            stack: BoxCloneSyncService::new(stack),
            credential: Some(credential),
            meters,
        })
    }

    /// Replaces the credential, from the next request on.
    ///
    /// # Errors
    /// If it is no valid header value; then the old one stays in use.
    pub fn replace_credential(&self, secret: &SecretString) -> Result<(), String> {
        match &self.credential {
            Some(credential) => credential.replace(secret),
            None => Ok(()),
        }
    }

    /// A digest of the credential, to distinguish credentials. It reveals nothing of them.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.credential.as_ref().map_or(0, Credential::fingerprint)
    }

    /// The stack over a simulated network instead of HTTP.
    #[cfg(test)]
    pub(crate) fn simulated<S>(account: &Account, timeout: Duration, network: S) -> Self
    where
        S: tower::Service<Request, Response = Response, Error = SendError>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let meters = Arc::<AccountMeters>::default();
        let (told, tracer) = (Arc::clone(&meters), Tracer::off());
        let stack = ServiceBuilder::new()
            .layer(instrumentation::ObserveLayer::new(account, told, tracer))
            .layer(http_client::DeadlineLayer::new(timeout))
            .service(network);
        Self {
            stack: BoxCloneSyncService::new(stack),
            credential: None,
            meters,
        }
    }

    /// The stack with this credential.
    #[cfg(test)]
    pub(crate) fn showing(self, account: &Account, secret: &str) -> Self {
        let auth = providers::of(account.provider()).auth(account);
        let credential = Credential::new(auth, &SecretString::from(secret));
        Self {
            credential: Some(credential.unwrap_or_else(|error| panic!("{error}"))),
            ..self
        }
    }

    /// The account's counters.
    #[must_use]
    pub fn meters(&self) -> &Arc<AccountMeters> {
        &self.meters
    }

    /// Sends one request, once.
    pub async fn call(&self, outgoing: impl Into<Outgoing>) -> Reply {
        let mut stack = self.stack.clone();
        let answer = match stack.ready().await {
            Ok(ready) => ready.call(outgoing.into()).await,
            Err(unanswered) => Err(unanswered),
        };
        match answer {
            Ok(response) => Reply::Answered(Arc::new(response)),
            Err(SendError::NotSent(fault)) => Reply::NotSent(fault),
            Err(SendError::InDoubt(fault)) => Reply::InDoubt(fault),
        }
    }
}
