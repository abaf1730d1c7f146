//! Ids stay ids: characters that no id of an account's provider has, by field.

use crate::{
    domain::{account::ProviderId, ids::AccountName},
    engine::Engine,
    limits, providers,
    rpc::proto::{
        EnrollmentCancellation, SubscriptionCancellation, enrollment_cancellation::Target,
        subscription_cancellation::ProviderOptions,
    },
};

/// Fields below the item, each with what is strange in it.
type ForbiddenCharacter = Vec<(String, String)>;

/// Of a subscription to cancel. Nothing if the account is not known, which is named elsewhere.
pub(super) fn of_subscription(c: &SubscriptionCancellation, engine: &Engine) -> ForbiddenCharacter {
    let mut found = ForbiddenCharacter::new();
    if let Some(provider) = provider_of(&c.account, engine) {
        look(&mut found, provider, "subscription_id", &c.subscription_id);
        if let Some(ProviderOptions::Solidgate(options)) = &c.provider_options {
            look(
                &mut found,
                provider,
                "solidgate.channel_id",
                &options.channel_id,
            );
        }
    }
    found
}

/// Of enrollments to cancel. The values of a field are any text that the sequence was entered with:
/// they are no ids, and stay in JSON.
pub(super) fn of_enrollment(c: &EnrollmentCancellation, engine: &Engine) -> ForbiddenCharacter {
    let mut found = ForbiddenCharacter::new();
    if let Some(provider) = provider_of(&c.account, engine) {
        look(&mut found, provider, "sequence_id", &c.sequence_id);
        match &c.target {
            Some(Target::SubscriberId(id)) => look(&mut found, provider, "subscriber_id", id),
            Some(Target::SubscriberIds(ids)) => {
                for (i, id) in ids.ids.iter().enumerate() {
                    if found.len() >= limits::STRANGE_IDS_TOLD_MAX {
                        break;
                    }
                    look(
                        &mut found,
                        provider,
                        format_args!("subscriber_ids.ids[{i}]"),
                        id,
                    );
                }
            }
            Some(Target::Field(_) | Target::All(_)) | None => {}
        }
    }
    found
}

fn provider_of(account: &str, engine: &Engine) -> Option<ProviderId> {
    let name = AccountName::try_from(account).ok()?;
    Some(engine.account(&name)?.provider())
}

fn look(found: &mut ForbiddenCharacter, provider: ProviderId, field: impl ToString, id: &str) {
    found.extend(providers::strange_in(provider, id).map(|strange| (field.to_string(), strange)));
}
