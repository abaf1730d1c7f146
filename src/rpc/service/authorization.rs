//! What a request asks for that its caller may not: every such field at once, before anything else
//! of the request is looked at. The rules themselves are in [`crate::identity::Policy`]; the hourly
//! limit is held where an admission is decided, since only there it is known what is new.

use crate::{
    domain::ids::{AccountName, CallerId},
    identity::{Caller, Policy},
    limits,
    rpc::{
        parse,
        proto::{self, enrollment_cancellation::Target},
        status::Violations,
    },
};

/// What a CancelSubscriptionRequest asks for that its caller may not.
pub(in crate::rpc) fn subscriptions(
    request: &proto::CancelSubscriptionRequest,
    policy: &Policy,
) -> Violations {
    let mut v = Violations::default();
    batch(&mut v, request.cancellations.len(), policy);
    window(&mut v, request.retry_window, policy);
    let names = request.cancellations.iter().map(|item| &*item.account);
    accounts(&mut v, names, policy);
    v
}

/// What a CancelEnrollmentsRequest asks for that its caller may not.
pub(in crate::rpc) fn enrollments(
    request: &proto::CancelEnrollmentsRequest,
    policy: &Policy,
) -> Violations {
    let mut v = Violations::default();
    batch(&mut v, request.cancellations.len(), policy);
    window(&mut v, request.retry_window, policy);
    let names = request.cancellations.iter().map(|item| &*item.account);
    accounts(&mut v, names, policy);
    matches(&mut v, request, policy);
    if policy.many_matching {
        return v;
    }
    for (place, item) in request.cancellations.iter().enumerate() {
        let field = match &item.target {
            Some(Target::SubscriberIds(_)) => "subscriber_ids",
            Some(Target::Field(_)) => "field",
            Some(Target::All(_)) => "all",
            Some(Target::SubscriberId(_)) | None => continue,
        };
        v.add(
            format!("cancellations[{place}].{field}"),
            "can match many enrollments, which this caller may not; allowed is subscriber_id",
        );
    }
    v
}

fn batch(v: &mut Violations, items: usize, policy: &Policy) {
    let max = policy.batch_items_max;
    // More than anybody may send is told like any other mistake.
    if items > max && max < limits::BATCH_ITEMS_MAX {
        v.add(
            "cancellations",
            format!("has {items} items; this caller may send {max} in a request: split it"),
        );
    }
}

/// How many an item may match: no more than its caller may ask for, and a number where people are
/// counted.
fn matches(v: &mut Violations, request: &proto::CancelEnrollmentsRequest, policy: &Policy) {
    for (place, item) in request.cancellations.iter().enumerate() {
        let field = || format!("cancellations[{place}].max_matches");
        match (item.max_matches, policy.matches_max) {
            (Some(asked), Some(max)) if asked > max => v.add(
                field(),
                format!("is {asked}; this caller may ask for {max} at most"),
            ),
            (None, None) if policy.hourly_items_max.is_some() && policy.many_matching => {
                if matches!(item.target, Some(Target::Field(_) | Target::All(_))) {
                    v.add(
                        field(),
                        "is not set, and the people are counted whom this caller's items concern; \
                         say how many there are at most",
                    );
                }
            }
            _ => {}
        }
    }
}

fn window(v: &mut Violations, window: Option<prost_types::Duration>, policy: &Policy) {
    let (Some(window), Some(max)) = (window, policy.retry_window_max) else {
        return;
    };
    // What is no window at all is told like any other mistake.
    if parse::window_of(window).is_ok_and(|window| window > max) {
        v.add(
            "retry_window",
            format!(
                "is longer than the {} s that this caller may ask for",
                max.as_secs_f64()
            ),
        );
    }
}

fn accounts<'a>(v: &mut Violations, names: impl Iterator<Item = &'a str>, policy: &Policy) {
    if policy.allows_all_accounts() {
        return;
    }
    for (place, name) in names.enumerate() {
        // What is no account's name at all is told like any other mistake.
        if policy.allows_account(name) || AccountName::try_from(name).is_err() {
            continue;
        }
        v.add(
            format!("cancellations[{place}].account"),
            not_allowed(name, policy),
        );
    }
}

/// Whose records a reader may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::rpc) enum AccessScope {
    /// One caller's.
    Of(CallerId),
    /// Everybody's.
    All,
}

impl AccessScope {
    /// Whether it is others' too.
    pub(in crate::rpc) fn is_others(&self, caller: &Caller) -> bool {
        match self {
            Self::Of(id) => *id != caller.id,
            Self::All => true,
        }
    }
}

/// Whose records a caller asks for, if it may see them: its own, unless it is an auditor.
pub(in crate::rpc) fn whose(
    caller: &Caller,
    named: &str,
    all: bool,
) -> Result<AccessScope, Denied> {
    let malformed = |field: &str, problem: String| {
        let mut v = Violations::default();
        v.add(field, problem);
        Denied::Malformed(v)
    };
    if all && !named.is_empty() {
        let problem = "names one caller and all_callers asks for all; give one of them";
        return Err(malformed("caller", problem.to_owned()));
    }
    if !all && (named.is_empty() || named == caller.id.as_str()) {
        return Ok(AccessScope::Of(caller.id.clone()));
    }
    if !caller.policy.auditor {
        let mut v = Violations::default();
        let field = if all { "all_callers" } else { "caller" };
        v.add(
            field,
            format!(
                "asks for records of others; {} may see its own: leave the field away",
                caller.id
            ),
        );
        return Err(Denied::NotAllowed(v));
    }
    if all {
        return Ok(AccessScope::All);
    }
    CallerId::try_from(named)
        .map(AccessScope::Of)
        .map_err(|problem| malformed("caller", problem.to_string()))
}

/// What a reader asks for of others' records that it may not see: a provider's answers, and an
/// account that is not its to name.
pub(in crate::rpc) fn others(caller: &Caller, with_answer: bool, account: &str) -> Violations {
    let (policy, mut v) = (&caller.policy, Violations::default());
    if with_answer && !policy.auditor_answers {
        v.add(
            "include_provider_response",
            format!(
                "asks for what providers answered to others, which {} may not see: leave it away",
                caller.id
            ),
        );
    }
    // What is no account's name at all is told like any other mistake.
    if !policy.allows_account(account) && AccountName::try_from(account).is_ok() {
        v.add("account", not_allowed(account, policy));
    }
    v
}

fn not_allowed(account: &str, policy: &Policy) -> String {
    format!(
        "{account} is not this caller's to use; allowed are {}",
        policy.accounts_told()
    )
}

/// Why a reader may not see what it asks for.
#[derive(Debug)]
pub(in crate::rpc) enum Denied {
    /// It is no question.
    Malformed(Violations),
    /// It is not this caller's to ask.
    NotAllowed(Violations),
}
