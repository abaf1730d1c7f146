//! Claims of an outcome about a sequence's enrollments.

use super::truth::Claims;
use crate::{
    domain::outcome::{Detail, Outcome, Settled},
    simulation::{
        model::Recorded,
        world::{State, World},
    },
};

/// See the module docs. The reason of an enrollment shows who cancelled it.
pub(in crate::simulation) fn claims(
    world: &World,
    state: &State,
    item: &Recorded,
    settled: &Settled,
) -> Claims {
    let target = &world.plan.targets[item.target];
    let tag = world.plan.tag_of(item);
    let all = world.providers.sequence(&target.id);
    let exists = all.is_some();
    let all = all.unwrap_or_default();
    let open = all.iter().filter(|one| one.status.is_open()).count();
    let mine = all
        .iter()
        .filter(|one| one.effects > 0 && one.reason.as_deref() == Some(&*tag))
        .count();
    let mine = u64::try_from(mine).unwrap();
    let Detail::Enrollments(told) = &settled.conclusion.detail else {
        return vec![(false, "it tells of a subscription")];
    };
    let confirmed = settled.conclusion.confirmed_by_lookup;
    let straggled = state.watch.was_doubled(item.target);
    let again = item.settled.len() > 1;
    // The service does not trust replies of a place that has never proved to be the provider's.
    let blocked = state.watch.blocked.contains(&item.target);
    let exact = confirmed || straggled || blocked || told.canceled == mine;
    let heard = state.watch.heard.get(&(item.target, Some(tag)));
    let heard = heard.copied().unwrap_or_default();
    let mut claims = vec![
        (told.canceled <= mine, "more is told than was done"),
        (told.canceled >= heard, "less is told than was heard"),
        (all.iter().all(|one| one.effects <= 1), "an effect twice"),
    ];
    claims.extend(match settled.conclusion.outcome {
        Outcome::Canceled => vec![
            (open == 0 && told.remaining == 0, "some remain"),
            (exact, "the count is wrong and nothing says so"),
            (mine > 0 || confirmed || again, "it was not us"),
        ],
        Outcome::AlreadyCanceled => vec![
            (open == 0 && told.remaining == 0, "some remain"),
            (mine == 0 || straggled || again, "it was us"),
        ],
        Outcome::NotFound => vec![
            (!exists || all.is_empty(), "it exists"),
            (mine == 0, "it was us"),
        ],
        Outcome::Rejected => vec![(mine == 0 || straggled || again, "it was cancelled")],
        Outcome::Unavailable | Outcome::Stopped => {
            vec![(exact, "the count is wrong and nothing says so")]
        }
        Outcome::InDoubt => Vec::new(),
        _ => vec![(false, "that is no end")],
    });
    claims
}
