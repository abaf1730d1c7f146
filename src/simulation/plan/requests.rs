//! The requests of a run: callers, keys and items. There are few keys, so that requests collide:
//! the same request again, the same key with other content, an item's key in two requests, another
//! caller with the same key.

use std::{sync::Arc, time::Duration};

use super::{AccountPlan, Target};
use crate::{
    domain::{
        account::Timing,
        command::{
            Command, EnrollmentsCommand, EnrollmentsTarget, Reason, SubscriptionCommand, When,
        },
        ids::{Key, Kind, Scope, TargetId},
    },
    engine::{Submission, SubmittedItem},
    observe::RequestContext,
    providers::{self, Mode},
    sandbox::Provider,
};

/// A request as a client sends it.
#[derive(Debug, Clone)]
pub(in crate::simulation) struct Asked {
    pub(in crate::simulation) scope: Scope,
    pub(in crate::simulation) key: Key,
    pub(in crate::simulation) items: Vec<AskedItem>,
    pub(in crate::simulation) window: Duration,
}

/// An item of a request.
#[derive(Debug, Clone)]
pub(in crate::simulation) struct AskedItem {
    pub(in crate::simulation) own_key: Option<Key>,
    pub(in crate::simulation) command: Arc<Command>,
    pub(in crate::simulation) mode: Mode,
    /// The index of its target in the plan.
    pub(in crate::simulation) target: usize,
    /// Text in every request with an effect that is sent for it, if the provider has a field for
    /// it.
    pub(in crate::simulation) tag: String,
}

/// The retry window once there are no faults.
const CALM_WINDOW: Duration = Duration::from_secs(3_600);

impl Asked {
    pub(in crate::simulation) fn submission(&self, calm: bool) -> Submission {
        let item = |item: &AskedItem| SubmittedItem {
            key: item.own_key.clone(),
            command: Arc::clone(&item.command),
            mode: item.mode,
        };
        Submission {
            scope: self.scope.clone(),
            key: self.key.clone(),
            items: self.items.iter().map(item).collect(),
            // Time enough for every item's turn.
            retry_window: Some(if calm { CALM_WINDOW } else { self.window }),
            with_answers: false,
            quota: None,
            hangup: None,
            from: RequestContext::default(),
        }
    }

    /// The key of an item.
    pub(in crate::simulation) fn key_at(&self, place: usize) -> Key {
        let derived = || self.key.derive(u32::try_from(place).unwrap());
        self.items[place].own_key.clone().unwrap_or_else(derived)
    }

    /// The items that are no dry runs, with their keys.
    pub(in crate::simulation) fn recorded(&self) -> impl Iterator<Item = (Key, &AskedItem)> {
        let items = self.items.iter().enumerate();
        items
            .filter(|(_, item)| item.mode == Mode::Cancel)
            .map(|(place, item)| (self.key_at(place), item))
    }

    /// Whether the two cannot both be admitted: one key with two meanings.
    pub(in crate::simulation) fn contradicts(&self, other: &Self) -> bool {
        let same_items = || {
            self.items.len() == other.items.len()
                && self.items.iter().zip(&other.items).all(|(a, b)| {
                    (&a.command, &a.own_key, a.mode) == (&b.command, &b.own_key, b.mode)
                })
        };
        let recorded = |asked: &Self| asked.recorded().next().is_some();
        let whole = self.key == other.key && recorded(self) && recorded(other) && !same_items();
        let mut items = self.recorded().flat_map(|(key, item)| {
            other
                .recorded()
                .map(move |(other_key, other)| (key == other_key, item.command != other.command))
        });
        self.scope == other.scope && (whole || items.any(|(same, differ)| same && differ))
    }
}

pub(in crate::simulation) fn draw_requests(
    accounts: &[AccountPlan],
    targets: &[Target],
    rng: &mut fastrand::Rng,
) -> Vec<Asked> {
    let mut all: Vec<Asked> = Vec::new();
    for n in 0..rng.usize(1..=5) {
        let copied = match all.len() {
            0 => None,
            len => Some(all[rng.usize(0..len)].clone()),
        };
        let asked = match (copied, rng.u32(0..8)) {
            (Some(of), 0) => under_another_caller(&of, accounts, targets),
            (Some(of), 1) => with_other_content(&of, accounts, targets, rng),
            (copied, _) => fresh(n, copied.as_ref(), accounts, targets, rng),
        };
        all.push(asked);
    }
    all
}

fn fresh(
    n: usize,
    other: Option<&Asked>,
    accounts: &[AccountPlan],
    targets: &[Target],
    rng: &mut fastrand::Rng,
) -> Asked {
    let kind = accounts[targets[rng.usize(0..targets.len())].account].kind();
    let caller = ["ann", "bob"][rng.usize(0..2)].try_into().unwrap();
    let scope = Scope { caller, kind };
    let key = Key::try_from(format!("r{n}")).unwrap();
    let places =
        (0..targets.len()).filter(|place| accounts[targets[*place].account].kind() == kind);
    let mut places: Vec<_> = places.collect();
    rng.shuffle(&mut places);
    let is_crowded = |place: &usize| accounts[targets[*place].account].is_crowded;
    if rng.bool() || !places.iter().any(is_crowded) {
        places.truncate(rng.usize(1..=8));
    }
    let dry = rng.u32(0..10) == 0;
    let mut items: Vec<AskedItem> = Vec::new();
    for target in places {
        // An item that is in another request of this caller too, with its own key.
        let shared = other
            .filter(|other| other.scope == scope && rng.bool())
            .and_then(|other| {
                let mut items = other.items.iter();
                items.find(|item| item.target == target && item.own_key.is_some())
            });
        if let Some(item) = shared {
            items.push(item.clone());
            continue;
        }
        let own_key = (rng.u32(0..3) == 0).then(|| format!("k{n}-{target}").try_into().unwrap());
        let place = u32::try_from(items.len()).unwrap();
        let key = own_key.clone().unwrap_or_else(|| key.derive(place));
        let dry = dry || (kind == Kind::Enrollments && rng.u32(0..8) == 0);
        let tag = match dry {
            true => format!("[dry {n} {target}]"),
            false => tag(&scope, &key),
        };
        let when = when(accounts[targets[target].account].provider, rng);
        let bound = (rng.u32(0..6) == 0).then(|| rng.u32(2..=3));
        items.push(AskedItem {
            own_key,
            command: command(accounts, targets, target, when, &tag, bound),
            mode: if dry { Mode::DryRun } else { Mode::Cancel },
            target,
            tag,
        });
    }
    let window = [1, 5, 30, 120, 600][rng.usize(0..5)];
    Asked {
        scope,
        key,
        items,
        window: Duration::from_secs(window),
    }
}

fn tag(scope: &Scope, key: &Key) -> String {
    format!("[{} {key}]", scope.caller)
}

/// The same keys and content from another caller.
fn under_another_caller(of: &Asked, accounts: &[AccountPlan], targets: &[Target]) -> Asked {
    let mut asked = of.clone();
    let caller = match of.scope.caller.as_str() {
        "ann" => "bob",
        _ => "ann",
    };
    asked.scope.caller = caller.try_into().unwrap();
    for place in 0..asked.items.len() {
        let key = asked.key_at(place);
        let item = &mut asked.items[place];
        if item.mode == Mode::Cancel {
            item.tag = tag(&asked.scope, &key);
        }
        item.command = retagged(item, accounts, targets);
    }
    asked
}

/// The same keys with other content.
fn with_other_content(
    of: &Asked,
    accounts: &[AccountPlan],
    targets: &[Target],
    rng: &mut fastrand::Rng,
) -> Asked {
    let mut asked = of.clone();
    let place = rng.usize(0..asked.items.len());
    let item = &mut asked.items[place];
    item.tag = format!("{} other", item.tag);
    let provider = accounts[targets[item.target].account].provider;
    item.command = match &*item.command {
        // Nothing else can differ if comments are not sent.
        Command::Subscription(command) if provider == Provider::Revolv3 => {
            let mut command = command.clone();
            command.when = match command.when {
                When::Now => When::PeriodEnd,
                _ => When::Now,
            };
            Arc::new(Command::Subscription(command))
        }
        _ => retagged(item, accounts, targets),
    };
    asked
}

fn retagged(item: &AskedItem, accounts: &[AccountPlan], targets: &[Target]) -> Arc<Command> {
    let (when, bound) = match &*item.command {
        Command::Subscription(command) => (command.when, None),
        Command::Enrollments(command) => (When::Now, command.matches_max),
    };
    command(accounts, targets, item.target, when, &item.tag, bound)
}

fn when(provider: Provider, rng: &mut fastrand::Rng) -> When {
    let at = When::At(crate::simulation::world::EPOCH + jiff::SignedDuration::from_hours(240));
    let choices: &[When] = match provider {
        Provider::Rebilly => &[When::Now, When::PeriodEnd, at],
        Provider::Solidgate => &[When::Now, When::PeriodEnd],
        Provider::FunnelFox => &[When::PeriodEnd, When::ProviderDefault],
        Provider::Revolv3 => &[When::Now, When::PeriodEnd, When::ProviderDefault],
        Provider::Sequenzy => &[When::Now],
    };
    choices[rng.usize(0..choices.len())]
}

fn command(
    accounts: &[AccountPlan],
    targets: &[Target],
    target: usize,
    when: When,
    tag: &str,
    matches_max: Option<u32>,
) -> Arc<Command> {
    let of = &accounts[targets[target].account];
    let id: TargetId = targets[target].id.as_str().try_into().unwrap();
    let command = match of.provider {
        Provider::Sequenzy => Command::Enrollments(EnrollmentsCommand {
            account: of.account.name.clone(),
            sequence_id: id,
            target: EnrollmentsTarget::All,
            reason: Some(tag.to_owned()),
            matches_max,
        }),
        provider => Command::Subscription(SubscriptionCommand {
            account: of.account.name.clone(),
            subscription_id: id,
            when,
            reason: (provider == Provider::Rebilly).then_some(Reason::Other),
            comment: (provider != Provider::Revolv3).then(|| tag.to_owned()),
            initiated_by: None,
            prorate: None,
            line_items: Vec::new(),
            options: None,
        }),
    };
    let violations = providers::check(&of.account, &command);
    assert!(violations.is_empty(), "{violations:?}");
    if let Command::Subscription(command) = &command {
        let timing = Timing::from(command.when);
        let can = providers::of(of.account.provider()).capabilities(&of.account);
        assert!(can.timings.contains(&timing));
    }
    Arc::new(command)
}
