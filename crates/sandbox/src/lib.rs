//! A faithful simulator of the five provider APIs over real HTTP, with faults on demand.
//!
//! It follows the providers' pages, not our adapters: each status, body and rule is in a provider's
//! documentation. What the pages leave open is a [`variants`] axis, so that every plausible reading
//! can be tested. It is a server of its own on one port and knows nothing of the service, whose
//! real client calls it. It counts *effects*, the cancellations it really applied, which is how a
//! test detects a double one.
//!
//! # Subscriptions are born on first touch
//!
//! With [`Options::auto_create`] every well-formed id exists, and words inside the id choose the
//! state it is born in. (For Revolv3, whose ids are numbers, ranges do.)
//!
//! | word in the id | Rebilly | Solidgate | FunnelFox | Revolv3, from |
//! |---|---|---|---|---|
//! | none | `active` | `ACTIVE` | `active` | 1: immediate |
//! | | | | | 100,000,000: end of cycle |
//! | `scheduled` | `canceled` | `ACTIVE` (1) | `cancelled` (2) | 200,000,000 |
//! | `canceled`, `cancelled`, `churned` | `churned` | `CANCELLED` | `cancelled` | 300,000,000 |
//! | `unpaid` | `active` | `UNPAID` | `unpaid` | 400,000,000: `Recycle` |
//! | `expired` | `completed` | `EXPIRED` | `expired` | 500,000,000: `Expired` |
//! | `paused` | `paused` | `PAUSED` | `paused` | 600,000,000: `Paused` |
//! | `pending` | `pending` | `PENDING` | `created` | |
//! | `trialing` | `active` | `TRIALING` | `trialing` | |
//! | `redemption` | `active` | `REDEMPTION` | `unpaid` | |
//! | `missing`, `deleted` | none | none | none | 900,000,000 |
//!
//! (1) with `cancellation_info`; (2) its period still runs.
//!
//! FunnelFox ids may also name the payment provider: `paddle`, `paypal`, `solidgate`, `braintree`
//! (which FunnelFox cannot cancel), `funnelfox` and `unknownpsp` (not in the documented enum).
//!
//! A Sequenzy sequence is born with three enrollments, or with 3522 when its id contains
//! `drain_3522`. Each subscriber touched in it is born with three open enrollments, each field
//! value with one or two; `missing` in either means none, `canceled` means cancelled ones.
//!
//! # Credentials
//!
//! Any non-empty credential is accepted, except one that contains `invalid` (401) or `forbidden`
//! (403; 401 at Revolv3). Solidgate's `multichannel` keys need a `channel_id`, Sequenzy's
//! `multicompany` keys an `x-company-id`, and its `unscoped` keys lack the scope.

mod answers;
mod control;
mod control_http;
mod enrollments;
mod faults;
mod funnelfox;
mod line;
mod meanwhile;
mod rebilly;
mod revolv3;
mod sequenzy;
mod server;
mod solidgate;
mod state;
pub mod variants;
mod wire;
mod world;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

pub use control::{Control, Counts, Recorded};
pub use enrollments::{EnrollmentSeed, EnrollmentStatus, EnrollmentView, SequenceSeed};
pub use faults::{Fault, FaultRates, Foreign, Meanwhile, RateLimit, RequestMatch, Scripted};
pub use state::{CancelType, Seed, Standing, Subscription, Tally};
pub use variants::Variants;

use world::World;

/// One of the five simulated APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Rebilly, `/subscription-cancellations`.
    Rebilly,
    /// Solidgate API v2, `/v2/subscriptions/cancel`.
    Solidgate,
    /// FunnelFox public API, `/subscriptions/{id}/cancel`.
    FunnelFox,
    /// Revolv3, `/api/Subscriptions/{id}/cancel`.
    Revolv3,
    /// Sequenzy, `/sequences/{id}/enrollments/cancel`.
    Sequenzy,
}

impl Provider {
    /// Every provider, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::Rebilly,
        Self::Solidgate,
        Self::FunnelFox,
        Self::Revolv3,
        Self::Sequenzy,
    ];

    /// The lower-case name, which is also the first path segment of its URLs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rebilly => "rebilly",
            Self::Solidgate => "solidgate",
            Self::FunnelFox => "funnelfox",
            Self::Revolv3 => "revolv3",
            Self::Sequenzy => "sequenzy",
        }
    }

    /// The path of its base URL: what stands before the documented endpoint paths.
    #[must_use]
    pub const fn base_path(self) -> &'static str {
        match self {
            Self::Rebilly => "/rebilly",
            Self::Solidgate => "/solidgate",
            Self::FunnelFox => "/funnelfox/public/v1",
            Self::Revolv3 => "/revolv3",
            Self::Sequenzy => "/sequenzy/api/v1",
        }
    }

    /// The provider with this [`Provider::name`].
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.name() == name)
    }
}

/// Options of a sandbox.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port on 127.0.0.1; 0 lets the system choose.
    pub port: u16,
    /// Seed of every random choice (fault rates); print it when a test fails. Requests draw in the
    /// order of their arrival.
    pub seed: u64,
    /// Whether unknown well-formed ids are created on first use.
    pub auto_create: bool,
    /// How many of the latest requests are kept per provider; 0 for none.
    pub recorded_requests_max: usize,
    /// How long the billing period of a new subscription lasts from its creation.
    pub period_left: Duration,
    /// How the simulated providers interpret what their pages leave open.
    pub variants: Variants,
    /// How many enrollments one call at Sequenzy cancels; clients repeat it until none remains.
    pub enrollments_per_call: usize,
    /// The time of a simulated clock that only [`Control::advance`] moves; `None` for the system's
    /// clock.
    pub stands_at: Option<jiff::Timestamp>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            seed: 0,
            auto_create: true,
            recorded_requests_max: 4_096,
            period_left: Duration::from_secs(20 * 24 * 60 * 60),
            variants: Variants::default(),
            enrollments_per_call: 1_000,
            stands_at: None,
        }
    }
}

/// A running sandbox. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct Sandbox {
    addr: SocketAddr,
    control: Control,
    task: JoinHandle<()>,
}

impl Sandbox {
    /// Binds 127.0.0.1 and serves on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// When the port cannot be bound.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(options: Options) -> io::Result<Self> {
        let port = options.port;
        Self::start_with(Control::new(Arc::new(World::new(options))), port)
    }

    /// Serves the state of an earlier sandbox again, for example after an outage.
    ///
    /// # Errors
    ///
    /// When the port cannot be bound.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start_with(control: Control, port: u16) -> io::Result<Self> {
        let listener = server::bind(port)?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(server::serve(listener, control.clone()));
        Ok(Self {
            addr,
            control,
            task,
        })
    }

    /// The bound address.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL to configure for an account at this provider.
    #[must_use]
    pub fn base_url(&self, provider: Provider) -> String {
        format!("http://{}{}", self.addr, provider.base_path())
    }

    /// A handle to inspect and control the sandbox; it outlives the server.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Closes the listener and every connection, and waits until they are closed.
    pub async fn stop(mut self) {
        self.task.abort();
        // The only error is the cancellation requested one line above.
        let _ = (&mut self.task).await;
    }

    /// Serves until the process ends; for `cancelot sandbox`.
    pub async fn serve(mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}
