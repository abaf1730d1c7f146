//! Accounts for tests, from the settings that matter to them.

use serde_json::Value;

use crate::domain::account::{
    Account, FunnelFoxEnd, ProviderId, ProviderSettings, RebillyAuth, Revolv3Auth,
};

use super::ensure;

/// An account of this provider, with default settings except for those given.
pub(in crate::providers) fn account(
    provider: ProviderId,
    settings: &Value,
) -> Result<Account, String> {
    let mut known = vec![];
    let mut text = |name: &'static str, default: Option<&str>| {
        known.push(name);
        match settings.get(name) {
            None => default.map(str::to_owned),
            Some(given) => given.as_str().map(str::to_owned),
        }
    };
    let (base_url, read) = match provider {
        ProviderId::Rebilly => {
            let organization = text("organization", Some("org_1"));
            let auth = match text("auth", Some("api_key")).as_deref() {
                Some("bearer") => RebillyAuth::Bearer,
                _ => RebillyAuth::ApiKey,
            };
            let read = ProviderSettings::Rebilly { organization, auth };
            ("https://api.rebilly.com", read)
        }
        ProviderId::Solidgate => {
            let channel_id = text("channel_id", None);
            let lookup_path = text("lookup_path", Some("v2/subscriptions/get")).unwrap();
            let read = ProviderSettings::Solidgate {
                channel_id,
                lookup_path,
            };
            ("https://api.solidgate.com", read)
        }
        ProviderId::FunnelFox => {
            let cancel_ends = match text("cancel_ends", Some("period_end")).as_deref() {
                Some("now") => FunnelFoxEnd::Now,
                _ => FunnelFoxEnd::PeriodEnd,
            };
            let read = ProviderSettings::FunnelFox { cancel_ends };
            ("https://api.funnelfox.io/public/v1", read)
        }
        ProviderId::Revolv3 => {
            let auth = match text("auth", Some("token")).as_deref() {
                Some("bearer") => Revolv3Auth::Bearer,
                _ => Revolv3Auth::Token,
            };
            known.push("set_timing");
            let set_timing = settings["set_timing"].as_bool().unwrap_or(false);
            let read = ProviderSettings::Revolv3 { auth, set_timing };
            ("https://api.revolv3.com", read)
        }
        ProviderId::Sequenzy => {
            let company_id = text("company_id", None);
            let read = ProviderSettings::Sequenzy { company_id };
            ("https://api.sequenzy.com/api/v1", read)
        }
    };
    for name in settings
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
    {
        ensure(known.contains(&name.as_str()), || {
            format!("{name} is no setting of {}", provider.name())
        })?;
    }
    let name = format!("{}-main", provider.name()).try_into().unwrap();
    let base_url = base_url.to_owned();
    Ok(Account {
        name,
        base_url,
        settings: read,
    })
}
