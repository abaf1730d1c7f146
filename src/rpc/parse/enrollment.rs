//! Enrollments to cancel.

use super::field::{stand_in, text_of};
use crate::{
    domain::{
        command::{EnrollmentsCommand, EnrollmentsTarget},
        ids::{AccountName, TargetId},
    },
    identity::Policy,
    limits,
    rpc::{
        proto::{self, enrollment_cancellation::Target},
        status::Violations,
    },
};

/// As for a subscription.
pub(super) fn enrollment(
    v: &mut Violations,
    at: &dyn Fn(&str) -> String,
    c: proto::EnrollmentCancellation,
    policy: &Policy,
) -> Option<EnrollmentsCommand> {
    let account = v.check(|| at("account"), AccountName::try_from(c.account));
    let sequence_id = v.check(|| at("sequence_id"), TargetId::try_from(c.sequence_id));
    let target = target_of(v, at, c.target);
    let reason = v.check(|| at("reason"), text_of(c.reason));
    if c.max_matches == Some(0) {
        v.add(
            at("max_matches"),
            "is 0; it is 1 or more, or not set for no bound",
        );
    }
    Some(EnrollmentsCommand {
        account: account?,
        sequence_id: sequence_id.or_else(stand_in)?,
        target: target.unwrap_or(EnrollmentsTarget::All),
        reason: reason.flatten(),
        matches_max: c.max_matches.or(policy.matches_max),
    })
}

fn target_of(
    v: &mut Violations,
    at: &dyn Fn(&str) -> String,
    target: Option<Target>,
) -> Option<EnrollmentsTarget> {
    match target {
        None => {
            v.add(
                at("target"),
                "is not set; say subscriber_id, subscriber_ids, field or all",
            );
            None
        }
        Some(Target::SubscriberId(id)) => v
            .check(|| at("subscriber_id"), TargetId::try_from(id))
            .map(EnrollmentsTarget::Subscriber),
        Some(Target::SubscriberIds(ids)) => {
            values_of(v, &|i| at(&format!("subscriber_ids.ids{i}")), ids.ids)
                .map(EnrollmentsTarget::Subscribers)
        }
        Some(Target::Field(field)) => {
            let path = v.check(
                || at("field.path"),
                Some(field.path)
                    .filter(|path| !path.is_empty())
                    .map(TargetId::try_from)
                    .transpose(),
            );
            let values = values_of(v, &|i| at(&format!("field.values{i}")), field.values);
            Some(EnrollmentsTarget::Field {
                path: path?,
                values: values?,
            })
        }
        Some(Target::All(_)) => Some(EnrollmentsTarget::All),
    }
}

/// A set of values: its order means nothing, so equal sets become equal commands.
fn values_of(
    v: &mut Violations,
    at: &dyn Fn(&str) -> String,
    values: Vec<String>,
) -> Option<Vec<TargetId>> {
    let count = values.len();
    if count == 0 || count > limits::TARGET_VALUES_MAX {
        v.add(at(""), format!("has {count} values; give 1-500"));
        return None;
    }
    let mut parsed: Vec<TargetId> = values
        .into_iter()
        .enumerate()
        .filter_map(|(i, value)| v.check(|| at(&format!("[{i}]")), TargetId::try_from(value)))
        .collect();
    if parsed.len() < count {
        return None;
    }
    parsed.sort_unstable();
    parsed.dedup();
    if parsed.len() < count {
        v.add(at(""), "has the same value more than once");
        return None;
    }
    Some(parsed)
}
