//! Accounts: one set of settings at one provider, without its credentials.

use sha2::{Digest as _, Sha256};

use super::{
    command::When,
    ids::{AccountName, Kind},
};

/// A company whose API is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the companies' names")]
pub enum ProviderId {
    Rebilly,
    Solidgate,
    FunnelFox,
    Revolv3,
    Sequenzy,
}

impl ProviderId {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Rebilly,
        Self::Solidgate,
        Self::FunnelFox,
        Self::Revolv3,
        Self::Sequenzy,
    ];

    /// The name in configuration, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rebilly => "rebilly",
            Self::Solidgate => "solidgate",
            Self::FunnelFox => "funnelfox",
            Self::Revolv3 => "revolv3",
            Self::Sequenzy => "sequenzy",
        }
    }
}

/// One set of settings at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name in requests.
    pub name: AccountName,
    /// Where the API is, without a slash at the end.
    pub base_url: String,
    /// What is particular to its provider.
    pub settings: ProviderSettings,
}

impl Account {
    /// The provider it is at.
    #[must_use]
    pub fn provider(&self) -> ProviderId {
        match self.settings {
            ProviderSettings::Rebilly { .. } => ProviderId::Rebilly,
            ProviderSettings::Solidgate { .. } => ProviderId::Solidgate,
            ProviderSettings::FunnelFox { .. } => ProviderId::FunnelFox,
            ProviderSettings::Revolv3 { .. } => ProviderId::Revolv3,
            ProviderSettings::Sequenzy { .. } => ProviderId::Sequenzy,
        }
    }

    /// A digest of where its requests go: base URL, organization or company, and the proxy on the
    /// way. What may have been sent to one place cannot be looked up at another.
    #[must_use]
    pub fn place(&self, proxy_url: Option<&str>) -> u64 {
        let part = match &self.settings {
            ProviderSettings::Rebilly { organization, .. } => organization.as_deref(),
            ProviderSettings::Sequenzy { company_id } => company_id.as_deref(),
            ProviderSettings::Solidgate { .. }
            | ProviderSettings::FunnelFox { .. }
            | ProviderSettings::Revolv3 { .. } => None,
        };
        let parts = [
            self.provider().name(),
            &self.base_url,
            part.unwrap_or_default(),
            proxy_url.unwrap_or_default(),
        ];
        let mut hash = Sha256::new();
        for part in parts {
            // No part has a zero byte, so it keeps ("a", "bc") apart from ("ab", "c").
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let digest = hash.finalize();
        digest
            .iter()
            .take(8)
            .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }
}

/// What is particular to an account's provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderSettings {
    /// Rebilly.
    Rebilly {
        /// The organization in every path; `None` uses the key's default one.
        organization: Option<String>,
        /// How the secret is sent.
        auth: RebillyAuth,
    },
    /// Solidgate, API v2.
    Solidgate {
        /// The channel for commands that name none.
        channel_id: Option<String>,
        /// Path of the lookup, which the stored pages imply and do not show
        /// (default `v2/subscriptions/get`).
        lookup_path: String,
    },
    /// FunnelFox.
    FunnelFox {
        /// What its cancel does, which depends on the payment company behind it.
        cancel_ends: FunnelFoxEnd,
    },
    /// Revolv3.
    Revolv3 {
        /// How the secret is sent.
        auth: Revolv3Auth,
        /// Whether the timing may be set by a PATCH before the cancel.
        set_timing: bool,
    },
    /// Sequenzy.
    Sequenzy {
        /// The company, for personal keys that see several.
        company_id: Option<String>,
    },
}

/// How Rebilly's secret is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebillyAuth {
    /// As `REB-APIKEY`.
    ApiKey,
    /// As `Authorization: Bearer`.
    Bearer,
}

/// How Revolv3's secret is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revolv3Auth {
    /// As `x-revolv3-token`, which the guides describe.
    Token,
    /// As `Authorization: Bearer`, which the endpoint's page declares.
    Bearer,
}

/// When FunnelFox's cancel ends a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunnelFoxEnd {
    /// When what is paid is over (its dashboard's documentation).
    PeriodEnd,
    /// At once: for accounts whose payment company does that.
    Now,
}

/// How a secret joins a request, below everything that is stored or logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth {
    /// The header.
    pub header: &'static str,
    /// What stands before the secret, such as `Bearer `.
    pub prefix: &'static str,
}

/// What can be asked of an account. What cannot is refused before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Which RPC it serves.
    pub kind: Kind,
    /// The timings it takes; empty for enrollments.
    pub timings: Vec<Timing>,
    /// Whether it can prorate.
    pub prorate: bool,
    /// Whether it takes line items.
    pub line_items: bool,
    /// Notes that reach the provider, by their published names.
    pub notes: &'static [&'static str],
    /// What a dry run is.
    pub dry_run: DryRun,
}

/// A choice of when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the variants of When, without their values")]
pub enum Timing {
    Now,
    PeriodEnd,
    At,
    ProviderDefault,
}

impl From<When> for Timing {
    fn from(when: When) -> Self {
        match when {
            When::Now => Self::Now,
            When::PeriodEnd => Self::PeriodEnd,
            When::At(_) => Self::At,
            When::ProviderDefault => Self::ProviderDefault,
        }
    }
}

impl Timing {
    /// Its published name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::PeriodEnd => "period_end",
            Self::At => "at",
            Self::ProviderDefault => "provider_default",
        }
    }
}

/// What a dry run is at an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DryRun {
    /// The provider previews it.
    Preview,
    /// A look at what is there.
    Lookup,
}
