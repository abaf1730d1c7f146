//! Accounts: settings at one provider, without credentials.

use sha2::{Digest as _, Sha256};

use super::{
    command::When,
    ids::{AccountName, Kind},
};

/// A provider whose API is called.
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

/// An account: one set of settings at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name that requests use.
    pub name: AccountName,
    /// The API's base URL, without a trailing slash.
    pub base_url: String,
    /// Settings that only its provider has.
    pub settings: ProviderSettings,
}

impl Account {
    /// The account's provider.
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

    /// A digest of the address that requests go to: base URL, organization or company, and proxy. A
    /// request that was sent to one place cannot be looked up at another.
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
            // No part has a zero byte, so it separates ("a", "bc") from ("ab", "c").
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

/// Settings that only one provider has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderSettings {
    /// Rebilly.
    Rebilly {
        /// The organization in every path; `None` uses the key's default one.
        organization: Option<String>,
        /// The header of the credential.
        auth: RebillyAuth,
    },
    /// Solidgate, API v2.
    Solidgate {
        /// The channel for commands that name none.
        channel_id: Option<String>,
        /// Path of the lookup, which the stored pages imply but do not show (default
        /// `v2/subscriptions/get`).
        lookup_path: String,
    },
    /// FunnelFox.
    FunnelFox {
        /// What its cancel does, which depends on the payment company behind it.
        cancel_ends: FunnelFoxEnd,
    },
    /// Revolv3.
    Revolv3 {
        /// The header of the credential.
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

/// The header of Rebilly's credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebillyAuth {
    /// As `REB-APIKEY`.
    ApiKey,
    /// As `Authorization: Bearer`.
    Bearer,
}

/// The header of Revolv3's credential.
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
    /// At the end of the paid period (its dashboard's documentation).
    PeriodEnd,
    /// At once, for accounts whose payment company does that.
    Now,
}

/// How a credential is added to a request. It is added below everything that stores or logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth {
    /// The header.
    pub header: &'static str,
    /// Prefix of the credential, such as `Bearer `.
    pub prefix: &'static str,
}

/// What an account can do. Anything else is rejected before a request is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The RPC that it serves.
    pub kind: Kind,
    /// The timings that it accepts; empty for enrollments.
    pub timings: Vec<Timing>,
    /// Whether it can prorate.
    pub prorate: bool,
    /// Whether it takes line items.
    pub line_items: bool,
    /// Notes that are sent to the provider, by their published names.
    pub notes: &'static [&'static str],
    /// How a dry run works.
    pub dry_run: DryRun,
}

/// A kind of `when`.
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

/// How a dry run works at an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DryRun {
    /// The provider has a preview.
    Preview,
    /// A lookup of the current state.
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
            // A value that moves from one part to the next is another place.
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

    /// The digest is stored in journals: another algorithm would make every doubt one from another
    /// place.
    #[test]
    fn a_place_is_the_same_in_every_version() {
        let account = rebilly(Some("org"), RebillyAuth::ApiKey);
        let place = account.place(Some("http://proxy"));
        assert_eq!(place, 17_920_183_385_157_912_213);
    }
}
