//! Checks whether an outcome is true when it becomes durable, by the provider's state and by the
//! effects that the network saw.

use super::{doubts, enrollments, watch::Sighting};
use crate::{
    domain::{
        command::Command,
        ids::ItemId,
        outcome::{FailureReason, Outcome, Settled},
    },
    sandbox::{
        Provider, Standing,
        variants::{Revolv3GetCancelled, SequenzyTargets},
    },
    simulation::{
        model::Recorded,
        plan::conditions::Lag,
        world::{State, World},
    },
};

/// Statements that have to hold, each with the message if it does not.
pub(in crate::simulation) type Claims = Vec<(bool, &'static str)>;

/// Checks an outcome against the truth.
pub(in crate::simulation) fn check_settled(
    world: &World,
    state: &mut State,
    id: ItemId,
    settled: &Settled,
) {
    world.set_providers_clock(state);
    let item = &state.model.items[&id];
    let outcome = settled.conclusion.outcome;
    let plan = &world.plan;
    let provider = plan.accounts[plan.targets[item.target].account].provider;
    let mut claims = match provider {
        Provider::Sequenzy => enrollments::claims(world, state, item, settled),
        _ => subscription(world, state, item, provider, settled),
    };
    if outcome == Outcome::Stopped {
        let asked = state.model.stop_asked.contains(&id.batch);
        claims.push((asked, "nobody stopped it"));
    }
    if outcome == Outcome::InDoubt {
        let elsewhere = settled.conclusion.failure.as_ref();
        let elsewhere = elsewhere.is_some_and(|of| of.reason == FailureReason::AccountChanged);
        let told = !elsewhere && could_be_told(world, state, item);
        claims.push((!told, "a look could have told"));
    }
    claims.extend(doubts::claims(world, state, item, settled));
    let wrong = claims.iter().find(|(holds, _)| !holds);
    let wrong = wrong.map(|(_, problem)| *problem);
    let target = &plan.targets[item.target].id;
    let line = format!(
        "{id} [{} {}] {target} {outcome:?}",
        item.scope.caller, item.key
    );
    let reason = settled.conclusion.failure.as_ref().map(|of| of.reason);
    state.trace(format_args!(
        "settled {line} {reason:?} {:?}",
        settled.doubt
    ));
    state.met(name(outcome));
    if let Some(problem) = wrong {
        let said = settled.conclusion.failure.as_ref();
        let said = said.map_or("", |failure| failure.message.as_str());
        state.broken(
            "what is told is true",
            format_args!("{line}: {problem} ({said})"),
        );
    }
}

/// Claims of an outcome about a subscription.
fn subscription(
    world: &World,
    state: &State,
    item: &Recorded,
    provider: Provider,
    settled: &Settled,
) -> Claims {
    let plan_lag = world.plan.lag;
    let target = &world.plan.targets[item.target];
    let confirmed = settled.conclusion.confirmed_by_lookup;
    let standing = world.providers.subscription(provider, &target.id);
    // No request has named it before.
    let standing = standing.map_or(target.born, |of| Some(of.standing));
    let is_over = |standing| matches!(standing, Some(Standing::Canceled | Standing::Expired));
    let (over, scheduled) = (is_over(standing), standing == Some(Standing::Scheduled));
    let born_over = is_over(target.born);
    let alone = world.plan.aimed_at(item.target).0 == 1;
    // Without a comment, an effect on a target of several keys cannot be assigned.
    let mine = match provider {
        Provider::Revolv3 if alone => Some(state.watch.effects_of(item.target, None)),
        Provider::Revolv3 => None,
        _ => {
            let tag = world.plan.tag_of(item);
            Some(state.watch.effects_of(item.target, Some(&[tag])))
        }
    };
    // No client can wait for a duplicate.
    let straggled = state.watch.was_doubled(item.target);
    let is_late = plan_lag == Lag::Beyond && state.watch.was_late(item.target);
    let ours = mine.is_none_or(|mine| mine == 1 || is_late || (mine == 0 && confirmed));
    // The service does not trust replies of a place that has never proved to be the provider's.
    let blocked = state.watch.blocked.contains(&item.target);
    let not_ours = mine.is_none_or(|mine| mine == 0) || straggled || blocked;
    // Revolv3 may accept a cancel of an ended or scheduled subscription, which changes nothing.
    let is_born_done = born_over || target.born == Some(Standing::Scheduled);
    let changes_nothing = is_born_done && provider == Provider::Revolv3;
    // An effect later than `believed_at` may be taken for others' work.
    let theirs = not_ours || is_late || changes_nothing || doubts::is_clock_lost(world);
    let untouched = !alone || standing == target.born || straggled;
    let not_final = [Outcome::Unavailable, Outcome::Stopped];
    let is_excused = (is_late || blocked) && not_final.contains(&settled.conclusion.outcome);
    // Rebilly may accept another cancellation of an ended subscription.
    let accepted_anew = provider == Provider::Rebilly && born_over;
    let hidden = provider == Provider::Revolv3 && over;
    match settled.conclusion.outcome {
        Outcome::Canceled => vec![(over, "it has not ended"), (ours, "it was not us")],
        Outcome::Scheduled => vec![
            (
                scheduled || accepted_anew || (over && !alone),
                "it is not going to end",
            ),
            (ours, "it was not us"),
        ],
        Outcome::AlreadyCanceled => vec![
            (over, "it has not ended"),
            (
                born_over || !alone || straggled || blocked || doubts::is_clock_lost(world),
                "it had not ended before",
            ),
            (theirs, "it was us"),
        ],
        Outcome::AlreadyScheduled => vec![
            (scheduled || (over && !alone), "it is not going to end"),
            (theirs, "it was us"),
        ],
        Outcome::NotFound => vec![
            (standing.is_none() || hidden, "it exists"),
            (not_ours, "it was cancelled"),
        ],
        Outcome::Rejected | Outcome::Unavailable | Outcome::Stopped => {
            vec![
                (untouched || is_excused, "it changed"),
                (not_ours || is_excused, "it was cancelled"),
            ]
        }
        Outcome::InDoubt => {
            let once = mine.is_none_or(|mine| mine <= 1);
            vec![(once || is_late, "an effect twice")]
        }
        Outcome::Previewed => vec![(false, "that is no end")],
    }
}

/// Whether the service had a reply that resolves the doubt about an item, after it arose.
fn could_be_told(world: &World, state: &State, item: &Recorded) -> bool {
    let (keys, dry) = world.plan.aimed_at(item.target);
    // Lookups for other keys do not count for this one.
    let alone = keys == 1 && !dry;
    let in_vain = state.watch.in_vain.contains(&item.target);
    // An effect later than anyone waits is reported as it stood.
    let is_late = world.plan.lag == Lag::Beyond;
    // Replies before the place proved to be the provider's count as lost afterwards, so the lookup
    // that shows the truth is believed later than this model assumes.
    let strange = state.watch.strangers.contains(&item.target);
    let excused = in_vain || is_late || strange;
    if !alone || excused || is_unknowable(world, item) {
        return false;
    }
    let Some(doubt) = item.doubt_since else {
        return true;
    };
    let clear = state.watch.clear_at.get(&item.target);
    clear.is_some_and(|at| *at > doubt)
}

/// Revolv3 answers the same for ended and unknown subscriptions, and has undocumented statuses. If
/// more enrollments match than allowed, it is unknown whether some were cancelled before.
pub(in crate::simulation) fn is_unknowable(world: &World, item: &Recorded) -> bool {
    if let Command::Enrollments(command) = &*item.command {
        // For an unknown target, a rejection says no more than for an ended one.
        let unknown = world.plan.targets[item.target].born.is_none();
        // A server that does not know "all" rejects it in every call.
        let refused = world.plan.variants.sequenzy.targets == SequenzyTargets::Two;
        return command.matches_max.is_some() || refused || unknown;
    }
    let of = &world.plan.targets[item.target];
    let provider = world.plan.accounts[of.account].provider;
    let now = world.providers.subscription(provider, &of.id);
    let canceled = now.is_some_and(|of| of.standing == Standing::Canceled);
    let vanishes = world.plan.variants.revolv3.get_cancelled == Revolv3GetCancelled::NotFound;
    let unknown = of.born.is_none();
    unknown
        || provider == Provider::Revolv3
            && (matches!(of.born, Some(Standing::Paused | Standing::Expired))
                || (canceled && vanishes))
}

impl World {
    /// Effects on a target so far.
    pub(in crate::simulation) fn effects_on(&self, target: usize) -> u64 {
        let of = &self.plan.targets[target];
        let provider = self.plan.accounts[of.account].provider;
        match provider {
            Provider::Sequenzy => {
                let all = self.providers.sequence(&of.id).unwrap_or_default();
                all.iter().map(|one| one.effects).sum()
            }
            _ => {
                let found = self.providers.subscription(provider, &of.id);
                found.map_or(0, |found| found.tally.effects)
            }
        }
    }

    /// Whether a subscription exists and is active.
    pub(in crate::simulation) fn runs(&self, target: usize) -> bool {
        let of = &self.plan.targets[target];
        let provider = self.plan.accounts[of.account].provider;
        let found = self.providers.subscription(provider, &of.id);
        let standing = found.map_or(of.born, |found| Some(found.standing));
        let over = [Standing::Scheduled, Standing::Canceled, Standing::Expired];
        standing.is_some_and(|standing| !over.contains(&standing))
    }

    /// An effect has just happened: never twice for one key, and never for a dry run.
    pub(in crate::simulation) fn check_effects(
        &self,
        state: &mut State,
        target: usize,
        seen: &Sighting,
    ) {
        let of = &self.plan.targets[target];
        let provider = self.plan.accounts[of.account].provider;
        let most = match (provider, &seen.tag) {
            (Provider::Sequenzy, _) => {
                let all = self.providers.sequence(&of.id).unwrap_or_default();
                if all.iter().any(|one| one.effects > 1) {
                    state.broken("never twice", &of.id);
                }
                return;
            }
            (_, Some(tag)) => {
                state
                    .watch
                    .effects_of(target, Some(std::slice::from_ref(tag)))
                    <= 1
            }
            (_, None) => {
                let keys = u64::try_from(self.plan.aimed_at(target).0).unwrap();
                state.watch.effects_of(target, None) <= keys
            }
        };
        if !most && self.plan.lag == Lag::Beyond && state.watch.was_late(target) {
            state.met("a second effect beyond belief");
        } else if !most {
            state.broken("never twice", format_args!("{} {:?}", of.id, seen.tag));
        }
        if seen.tag.as_ref().is_some_and(|tag| tag.starts_with("[dry")) {
            state.broken("a dry run changes nothing", &of.id);
        }
    }
}

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Canceled => "CANCELED",
        Outcome::Scheduled => "SCHEDULED",
        Outcome::AlreadyCanceled => "ALREADY_CANCELED",
        Outcome::AlreadyScheduled => "ALREADY_SCHEDULED",
        Outcome::Previewed => "PREVIEWED",
        Outcome::NotFound => "NOT_FOUND",
        Outcome::Rejected => "REJECTED",
        Outcome::Unavailable => "UNAVAILABLE",
        Outcome::InDoubt => "IN_DOUBT",
        Outcome::Stopped => "STOPPED",
    }
}
