//! The way out: one tower stack per account, from a request without credentials to an answer or
//! the exact kind of its absence.
//!
//! Egress knows HTTP, credentials and clocks; it knows neither batches nor the journal. Waiting
//! belongs to the engine, which can park an item for the price of its command; *whether* to try
//! again is decided here in [`policy`], and whether anything may be sent now in [`gate`], which
//! also has the order of the whole stack.

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

/// How an account is called.
#[derive(Clone)]
pub struct EgressOptions {
    /// Where.
    pub account: Arc<Account>,
    /// With which secret.
    pub credential: SecretString,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long an answer may take, from the first byte sent to the last one read.
    pub timeout: Duration,
    /// The HTTP proxy on the way there; `None` for none, whatever the environment says.
    pub proxy_url: Option<String>,
    /// How many requests at once; sizes the connection pool.
    pub concurrency_max: usize,
    /// What begins the spans of its exchanges.
    pub tracer: Tracer,
}

/// A request on its way out, and the request of a caller's that it comes of.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// What is sent.
    pub request: Request,
    /// Whose work it is.
    pub from: RequestContext,
}

impl From<Request> for Outgoing {
    /// Nobody's in particular.
    fn from(request: Request) -> Self {
        let from = RequestContext::default();
        Self { request, from }
    }
}

/// Why there is no answer: the difference between these two is the safety of the whole service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// Not a byte of the request was sent, or the provider says that it did not begin with it.
    NotSent(Fault),
    /// It may have been received.
    InDoubt(Fault),
}

/// A stack could not be built.
#[derive(Debug, thiserror::Error)]
#[error("account {account}: {problem}")]
pub struct BuildError {
    account: String,
    problem: String,
}

type Stack = BoxCloneSyncService<Outgoing, Response, SendError>;

/// The way to one account.
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
    /// The stack for an account, outermost layer first.
    ///
    /// # Errors
    /// If the HTTP client cannot be set up, or the credential is no legal header value.
    pub fn build(options: &EgressOptions) -> Result<Self, BuildError> {
        Self::trusting(options, &[])
    }

    /// The same, where providers' certificates are signed by these authorities and not by the
    /// system's.
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
            // Sees every try with its final verdict, so it stands outside of what can end one.
            .layer(instrumentation::ObserveLayer::new(
                &options.account,
                told,
                tracer,
            ))
            // Bounds connecting, sending and reading together: a dribbling body is cut off too.
            // Inside of observe, so that a timeout is counted as what it is; right above HTTP, so
            // that no waiting for a turn ever uses up a provider's time.
            .layer(http_client::DeadlineLayer::new(options.timeout))
            .service(http);
        Ok(Self {
            stack: BoxCloneSyncService::new(stack),
            credential: Some(credential),
            meters,
        })
    }

    /// Shows another credential from the next request on.
    ///
    /// # Errors
    /// If it is no legal header value; then the old one stays.
    pub fn replace_credential(&self, secret: &SecretString) -> Result<(), String> {
        match &self.credential {
            Some(credential) => credential.replace(secret),
            None => Ok(()),
        }
    }

    /// A digest of what is shown to the provider: two different ones differ. It says nothing of
    /// what they are.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.credential.as_ref().map_or(0, Credential::fingerprint)
    }

    /// The stack over a simulated network in place of HTTP.
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

    /// The same stack, as if it showed this secret.
    #[cfg(test)]
    pub(crate) fn showing(self, account: &Account, secret: &str) -> Self {
        let auth = providers::of(account.provider()).auth(account);
        let credential = Credential::new(auth, &SecretString::from(secret));
        Self {
            credential: Some(credential.unwrap_or_else(|error| panic!("{error}"))),
            ..self
        }
    }

    /// What is counted of the account.
    #[must_use]
    pub fn meters(&self) -> &Arc<AccountMeters> {
        &self.meters
    }

    /// Sends one request once.
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
