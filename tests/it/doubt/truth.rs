//! Results are true by the provider's own state and count of effects.

use cancelot::{
    rpc::proto::{
        EnrollmentCancellation, EnrollmentResult, Outcome, SubscriptionCancellation,
        SubscriptionResult, enrollment_cancellation::Target, when::When as Choice,
    },
    sandbox::{
        Control, Provider, Standing,
        variants::{
            Revolv3Already, Revolv3GetCancelled, Revolv3PendingCancelledAt, SequenzyTargets,
        },
    },
};

use crate::support::{now, period_end, provider_default, subscription};

/// The providers of subscriptions.
pub(crate) const BILLING: [Provider; 4] = [
    Provider::Rebilly,
    Provider::Solidgate,
    Provider::FunnelFox,
    Provider::Revolv3,
];

/// The states a target is born in: the word in its id, the range at Revolv3, and the state.
pub(crate) const BORN: [(&str, u64, Option<Standing>); 9] = [
    ("active", 1_000, Some(Standing::Active)),
    ("scheduled", 200_000_000, Some(Standing::Scheduled)),
    ("canceled", 300_000_000, Some(Standing::Canceled)),
    ("unpaid", 400_000_000, Some(Standing::Unpaid)),
    ("expired", 500_000_000, Some(Standing::Expired)),
    ("paused", 600_000_000, Some(Standing::Paused)),
    // Revolv3 has none of these two; its ids here are of a stored end of cycle.
    ("pending", 100_000_000, Some(Standing::Pending)),
    ("trialing", 150_000_000, Some(Standing::Trialing)),
    ("missing", 900_000_000, None),
];

/// The choices of when that the tests' accounts take.
pub(crate) fn timings(provider: Provider) -> Vec<Choice> {
    match provider {
        Provider::Rebilly => {
            let seconds = jiff::Timestamp::now().as_second() + 10 * 24 * 60 * 60;
            let at = prost_types::Timestamp { seconds, nanos: 0 };
            vec![now(), period_end(), Choice::At(at)]
        }
        Provider::Solidgate => vec![now(), period_end()],
        Provider::FunnelFox => vec![period_end(), provider_default()],
        Provider::Revolv3 => vec![now(), period_end(), provider_default()],
        Provider::Sequenzy => Vec::new(),
    }
}

/// One target, with what is known of it before anything happens.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) provider: Provider,
    pub(crate) born: Option<Standing>,
    pub(crate) item: SubscriptionCancellation,
}

/// Every state and timing at these providers. `salt` keeps ids of batches apart.
pub(crate) fn cases(providers: &[Provider], salt: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for provider in providers {
        for when in timings(*provider) {
            for (word, range, born) in BORN {
                let n = salt * 1_000 + cases.len();
                let (id, born) = match (provider, born) {
                    (Provider::Revolv3, Some(Standing::Pending | Standing::Trialing)) => {
                        (format!("{}", range + n as u64), Some(Standing::Active))
                    }
                    (Provider::Revolv3, _) => (format!("{}", range + n as u64), born),
                    _ => (format!("s_{word}_{n}"), born),
                };
                cases.push(Case {
                    provider: *provider,
                    born,
                    item: subscription(*provider, id, when),
                });
            }
        }
    }
    cases
}

/// Compares a target's result with what the provider knows of the target; returns the mismatch.
pub(crate) fn untruth(
    control: &Control,
    case: &Case,
    result: &SubscriptionResult,
) -> Option<&'static str> {
    let reading = control.variants().revolv3;
    let id = &case.item.subscription_id;
    let after = control.subscription(case.provider, id);
    let effects = after.as_ref().map_or(0, |of| of.tally.effects);
    let standing = after.as_ref().map(|of| of.standing);
    let over = [Standing::Canceled, Standing::Expired].map(Some);
    let scheduled = Some(Standing::Scheduled);
    // The time of the cancellation shows whose it is. Revolv3 may omit it for a scheduled end.
    let has_no_time = case.provider == Provider::Revolv3
        && reading.pending_cancelled_at != Revolv3PendingCancelledAt::Requested
        && case.born == Some(Standing::Scheduled);
    let ours = effects == 1 || (effects == 0 && result.confirmed_by_lookup && has_no_time);
    // Rebilly may take another cancellation, to a later time, of what has ended.
    let accepted_anew = case.provider == Provider::Rebilly && over.contains(&case.born);
    // Revolv3 may accept it once more of what ended or was to end before, which changes nothing.
    let again = case.provider == Provider::Revolv3 && reading.already == Revolv3Already::OkAgain;
    let not_us = effects == 0 || again;
    // Revolv3 may answer 404 for a subscription that has ended.
    let hidden = case.provider == Provider::Revolv3 && over.contains(&case.born);
    let vanishes = reading.get_cancelled == Revolv3GetCancelled::NotFound
        && standing == Some(Standing::Canceled);
    let undocumented = [Standing::Paused, Standing::Expired]
        .map(Some)
        .contains(&case.born);
    let claims = match result.outcome() {
        Outcome::Canceled => [
            (over.contains(&standing), "it has not ended"),
            (ours, "it was not us"),
        ],
        Outcome::Scheduled => [
            (
                standing == scheduled || accepted_anew,
                "it is not going to end",
            ),
            (ours, "it was not us"),
        ],
        Outcome::AlreadyCanceled => [
            (over.contains(&case.born), "it had not ended before"),
            (not_us, "it was us"),
        ],
        Outcome::AlreadyScheduled => [
            (case.born == scheduled, "it was not going to end before"),
            (standing == scheduled && not_us, "it was us"),
        ],
        Outcome::NotFound => [
            (case.born.is_none() || hidden, "it exists"),
            (effects == 0, "it was cancelled"),
        ],
        Outcome::Rejected | Outcome::Unavailable | Outcome::Stopped => [
            (standing == case.born, "it changed"),
            (effects == 0, "it was cancelled"),
        ],
        // No lookup can resolve an undocumented word, or which of two things a 404 means.
        Outcome::InDoubt => [
            (
                case.provider == Provider::Revolv3
                    && (undocumented || case.born.is_none() || vanishes),
                "a look could have told",
            ),
            (effects <= 1, "an effect twice"),
        ],
        Outcome::Unspecified | Outcome::Previewed => [(false, "that is no end"); 2],
    };
    let wrong = claims.iter().find(|(holds, _)| !holds);
    wrong.map(|(_, problem)| *problem)
}

/// One target of enrollments.
#[derive(Clone)]
pub(crate) struct Aim {
    pub(crate) item: EnrollmentCancellation,
    /// The call to it that the fault is for, from 0.
    pub(crate) faulty_call: u32,
}

impl Aim {
    /// Whether it is aimed at this subscriber's enrollments.
    pub(crate) fn hits(&self, subscriber: &str) -> bool {
        match self.item.target.as_ref().unwrap() {
            Target::SubscriberId(id) => subscriber == id,
            Target::SubscriberIds(many) => many.ids.iter().any(|id| id == subscriber),
            Target::Field(field) => field
                .values
                .iter()
                .any(|value| subscriber.starts_with(&format!("sub_{value}_"))),
            Target::All(_) => true,
        }
    }
}

/// Compares results of enrollments with what the provider knows of them; returns the mismatch.
pub(crate) fn enrollments_untruth(
    control: &Control,
    aim: &Aim,
    of: &EnrollmentResult,
) -> Option<&'static str> {
    let all = control.sequence(&aim.item.sequence_id);
    let all = all.unwrap_or_default();
    let (hit, missed): (Vec<_>, Vec<_>) = all.iter().partition(|e| aim.hits(&e.subscriber_id));
    let open = hit.iter().filter(|e| e.status.is_open()).count();
    let ended: u64 = hit.iter().map(|e| e.effects).sum();
    let listed = u64::try_from(of.enrollments.len()).unwrap();
    let sound = [
        (all.iter().all(|e| e.effects <= 1), "an effect twice"),
        (
            missed.iter().all(|e| e.effects == 0),
            "another was cancelled",
        ),
        (of.canceled_count <= ended, "more is told than was done"),
        (
            listed <= of.matched_count.max(ended),
            "more is listed than matched",
        ),
    ];
    let exact = of.confirmed_by_lookup || (ended > 0 && of.canceled_count == ended);
    let refused = control.variants().sequenzy.targets == SequenzyTargets::Two;
    let claims = match of.outcome() {
        Outcome::Canceled => [
            (open == 0 && of.remaining_count == 0, "some remain"),
            (exact, "the count is wrong and nothing says so"),
        ],
        Outcome::AlreadyCanceled => [
            (open == 0 && of.remaining_count == 0, "some remain"),
            (ended == 0, "it was us"),
        ],
        Outcome::NotFound | Outcome::Rejected | Outcome::Stopped => [
            (ended == 0, "it was cancelled"),
            (of.canceled_count == 0, "more is told than was done"),
        ],
        // What Sequenzy does not know may be known under another name, or be gone after a call
        // whose answer was lost.
        Outcome::InDoubt => {
            [(
                (refused || hit.is_empty()) && ended == 0,
                "a repeat could have told",
            ); 2]
        }
        _ => [(false, "that is no end"); 2],
    };
    let wrong = sound.iter().chain(&claims).find(|(holds, _)| !holds);
    wrong.map(|(_, problem)| *problem)
}
