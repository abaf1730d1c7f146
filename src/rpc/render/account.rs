//! An account and what it can do.

use super::kind;
use crate::{
    domain::account::{Account, Capabilities, DryRun, ProviderId, Timing},
    providers,
    rpc::proto,
};

/// An account and what it can do.
pub(in crate::rpc) fn account(account: &Account) -> proto::Account {
    let provider = match account.provider() {
        ProviderId::Rebilly => proto::Provider::Rebilly,
        ProviderId::Solidgate => proto::Provider::Solidgate,
        ProviderId::FunnelFox => proto::Provider::Funnelfox,
        ProviderId::Revolv3 => proto::Provider::Revolv3,
        ProviderId::Sequenzy => proto::Provider::Sequenzy,
    };
    let can: Capabilities = providers::of(account.provider()).capabilities(account);
    proto::Account {
        name: account.name.as_str().to_owned(),
        provider: provider.into(),
        base_url: account.base_url.clone(),
        capabilities: Some(proto::Capabilities {
            kind: kind(can.kind).into(),
            timings: can
                .timings
                .iter()
                .map(|timing| i32::from(timing_of(*timing)))
                .collect(),
            prorate: can.prorate,
            line_items: can.line_items,
            notes: can.notes.iter().map(ToString::to_string).collect(),
            dry_run: match can.dry_run {
                DryRun::Preview => proto::DryRun::Preview,
                DryRun::Lookup => proto::DryRun::Lookup,
            }
            .into(),
        }),
    }
}

fn timing_of(timing: Timing) -> proto::Timing {
    match timing {
        Timing::Now => proto::Timing::Now,
        Timing::PeriodEnd => proto::Timing::PeriodEnd,
        Timing::At => proto::Timing::At,
        Timing::ProviderDefault => proto::Timing::ProviderDefault,
    }
}
