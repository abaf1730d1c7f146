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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn account(settings: ProviderSettings) -> Account {
        Account {
            name: "a".try_into().unwrap(),
            base_url: "https://provider".to_owned(),
            settings,
        }
    }

    fn rebilly(organization: Option<&str>, auth: RebillyAuth) -> Account {
        account(ProviderSettings::Rebilly {
            organization: organization.map(str::to_owned),
            auth,
        })
    }

    fn sequenzy(company_id: Option<&str>) -> Account {
        account(ProviderSettings::Sequenzy {
            company_id: company_id.map(str::to_owned),
        })
    }

    #[test]
    fn an_address_an_organization_a_company_and_a_proxy_are_each_another_place() {
        let key = RebillyAuth::ApiKey;
        let elsewhere = |account: Account| Account {
            base_url: "https://elsewhere".to_owned(),
            ..account
        };
        let (proxy, other_proxy) = (Some("http://proxy:3128"), Some("http://proxy:3129"));
        let places = [
            rebilly(None, key).place(None),
            elsewhere(rebilly(None, key)).place(None),
            rebilly(Some("org"), key).place(None),
            rebilly(Some("other"), key).place(None),
            rebilly(None, key).place(proxy),
            rebilly(None, key).place(other_proxy),
            rebilly(Some("org"), key).place(proxy),
            // What moves from one to the next is not the same.
            rebilly(Some("http://proxy:3128"), key).place(None),
            sequenzy(None).place(None),
            elsewhere(sequenzy(None)).place(None),
            sequenzy(Some("org")).place(None),
            sequenzy(Some("other")).place(None),
            sequenzy(Some("org")).place(proxy),
        ];
        let different = BTreeSet::from(places);
        assert_eq!(different.len(), places.len(), "{places:?}");
    }

    #[test]
    fn what_does_not_say_where_requests_go_is_no_other_place() {
        let place = rebilly(Some("org"), RebillyAuth::ApiKey).place(None);
        let bearer = rebilly(Some("org"), RebillyAuth::Bearer);
        assert_eq!(bearer.place(None), place);
        let renamed = Account {
            name: "b".try_into().unwrap(),
            ..bearer
        };
        assert_eq!(renamed.place(None), place);
        let solidgate = |channel_id: Option<&str>, lookup_path: &str| {
            let settings = ProviderSettings::Solidgate {
                channel_id: channel_id.map(str::to_owned),
                lookup_path: lookup_path.to_owned(),
            };
            account(settings).place(None)
        };
        let one = solidgate(None, "v2/subscriptions/get");
        assert_eq!(solidgate(Some("channel"), "v1/subscription/get"), one);
        let funnelfox = |cancel_ends| account(ProviderSettings::FunnelFox { cancel_ends });
        let ends = [FunnelFoxEnd::Now, FunnelFoxEnd::PeriodEnd];
        let [now, period_end] = ends.map(|ends| funnelfox(ends).place(None));
        assert_eq!(now, period_end);
        let revolv3 = |auth, set_timing| {
            let settings = ProviderSettings::Revolv3 { auth, set_timing };
            account(settings).place(None)
        };
        let one = revolv3(Revolv3Auth::Token, false);
        assert_eq!(revolv3(Revolv3Auth::Bearer, true), one);
    }

    /// It is in journals: a version that reckoned it otherwise would take every doubt for one that
    /// was left elsewhere.
    #[test]
    fn a_place_is_the_same_in_every_version() {
        let account = rebilly(Some("org"), RebillyAuth::ApiKey);
        let place = account.place(Some("http://proxy"));
        assert_eq!(place, 17_920_183_385_157_912_213);
    }
}
