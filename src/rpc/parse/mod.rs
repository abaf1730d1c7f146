//! From messages to the domain's types. A request is checked as a whole: every violation is
//! found, none is admitted around.

mod chars;
mod enrollment;
mod field;
mod subscription;

use std::{collections::HashMap, hash::Hash, sync::Arc};

use super::{
    proto,
    status::{ViolationMark, Violations},
};
use crate::{
    config::did_you_mean::nearest,
    domain::{
        command::{Command, When},
        ids::{AccountName, Key, Kind, Scope, TargetId},
    },
    engine::{Engine, Submission, SubmittedItem},
    identity::Caller,
    limits,
    observe::RequestContext,
    providers::{self, Mode},
};

pub(super) use self::field::{time_of, window_of};
use self::{enrollment::enrollment, subscription::subscription};

/// A request that is fit to be submitted.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) submission: Submission,
    /// What keeps items from being admitted, and not from being replayed or joined.
    pub(super) new: Vec<OfNew>,
}

/// What is wrong with an item, unless it was admitted before: then it was right, or was not checked
/// yet.
#[derive(Debug)]
pub(super) struct OfNew {
    /// The item.
    pub(super) place: u32,
    /// The field, in the request.
    pub(super) field: String,
    /// What is wrong with it.
    pub(super) description: String,
}

/// Parses a CancelSubscriptionRequest.
pub(super) fn subscriptions(
    request: proto::CancelSubscriptionRequest,
    caller: &Caller,
    engine: &Engine,
) -> Result<Parsed, Violations> {
    let mut v = Violations::default();
    let mode = if request.dry_run {
        Mode::DryRun
    } else {
        Mode::Cancel
    };
    let now = engine.clock().now();
    let total = request.cancellations.len();
    let mut frame = BatchBuilder::new(&mut v, caller, &request.idempotency_key, total);
    for (place, cancellation) in (0_u32..).zip(request.cancellations).take(frame.items_max) {
        let mark = v.mark();
        let own_key = frame.own_key(&mut v, place, &cancellation.idempotency_key);
        let at = |field: &str| format!("cancellations[{place}].{field}");
        let strange = chars::of_subscription(&cancellation, engine);
        let command = subscription(&mut v, &at, cancellation);
        frame.strange(&v, mark, place, strange);
        let Some(command) = command else {
            continue;
        };
        if matches!(command.when, When::At(time) if time <= now) {
            frame.new.push(OfNew {
                place,
                field: at("when"),
                description: "at is in the past".to_owned(),
            });
        }
        if !v.names(mark, &at("subscription_id")) {
            let target = (command.account.clone(), command.subscription_id.clone());
            let target = UniqueKeys::Subscription(target);
            frame.target(&mut v, place, "subscription_id", target);
        }
        let command = Command::Subscription(command);
        frame.check(&mut v, mark, engine, place, &command);
        frame.push(own_key, command, mode);
    }
    let (window, with_answers) = (request.retry_window, request.include_provider_response);
    frame.finish(v, Kind::Subscription, window, with_answers)
}

/// Parses a CancelEnrollmentsRequest.
pub(super) fn enrollments(
    request: proto::CancelEnrollmentsRequest,
    caller: &Caller,
    engine: &Engine,
) -> Result<Parsed, Violations> {
    let mut v = Violations::default();
    let total = request.cancellations.len();
    let mut frame = BatchBuilder::new(&mut v, caller, &request.idempotency_key, total);
    for (place, cancellation) in (0_u32..).zip(request.cancellations).take(frame.items_max) {
        let mark = v.mark();
        let own_key = frame.own_key(&mut v, place, &cancellation.idempotency_key);
        let at = |field: &str| format!("cancellations[{place}].{field}");
        let asked = cancellation.dry_run;
        let strange = chars::of_enrollment(&cancellation, engine);
        let command = enrollment(&mut v, &at, cancellation, &caller.policy);
        frame.strange(&v, mark, place, strange);
        let Some(command) = command else {
            continue;
        };
        let dry = request.dry_run || asked.unwrap_or_else(|| command.target.matches_many());
        let mode = if dry { Mode::DryRun } else { Mode::Cancel };
        if v.mark() == mark {
            let target = format!("{:?}", command.target);
            let target = (command.account.clone(), command.sequence_id.clone(), target);
            frame.target(&mut v, place, "target", UniqueKeys::Enrollments(target));
        }
        let command = Command::Enrollments(command);
        frame.check(&mut v, mark, engine, place, &command);
        frame.push(own_key, command, mode);
    }
    let (window, with_answers) = (request.retry_window, request.include_provider_response);
    frame.finish(v, Kind::Enrollments, window, with_answers)
}

/// What identifies a target within a request.
#[derive(Debug, PartialEq, Eq, Hash)]
enum UniqueKeys {
    Subscription((AccountName, TargetId)),
    Enrollments((AccountName, TargetId, String)),
}

/// What both requests have in common: the key, the bounds, and that nothing occurs twice.
struct BatchBuilder<'a> {
    caller: &'a Caller,
    key: Option<Key>,
    items: Vec<SubmittedItem>,
    items_max: usize,
    total: usize,
    keys: HashMap<Key, u32>,
    targets: HashMap<UniqueKeys, u32>,
    new: Vec<OfNew>,
}

impl<'a> BatchBuilder<'a> {
    fn new(v: &mut Violations, caller: &'a Caller, key: &str, total: usize) -> Self {
        let key = v.check(|| "idempotency_key".to_owned(), Key::chosen(key.to_owned()));
        if total == 0 {
            v.add("cancellations", "is empty; give 1-10,000 items");
        }
        let items_max = limits::BATCH_ITEMS_MAX;
        if total > items_max {
            v.add(
                "cancellations",
                format!("has {total} items; at most 10,000: split the request"),
            );
        }
        Self {
            caller,
            key,
            items: Vec::with_capacity(total.min(items_max)),
            items_max,
            total,
            keys: HashMap::with_capacity(total.min(items_max)),
            targets: HashMap::with_capacity(total.min(items_max)),
            new: Vec::new(),
        }
    }

    /// The item's own key, if it has one; keys must differ within a request, derived ones too.
    fn own_key(&mut self, v: &mut Violations, place: u32, text: &str) -> Option<Key> {
        let field = || format!("cancellations[{place}].idempotency_key");
        let own = match text {
            "" => None,
            text => Some(v.check(field, Key::chosen(text.to_owned()))?),
        };
        let key = own
            .clone()
            .or_else(|| self.key.as_ref().map(|key| key.derive(place)))?;
        if let Some(first) = first_of(&mut self.keys, key, place) {
            v.add(
                field(),
                format!("names the same key as cancellations[{first}]"),
            );
        }
        own
    }

    fn target(&mut self, v: &mut Violations, place: u32, field: &str, target: UniqueKeys) {
        if let Some(first) = first_of(&mut self.targets, target, place) {
            v.add(
                format!("cancellations[{place}].{field}"),
                format!("is the same target as that of cancellations[{first}]"),
            );
        }
    }

    /// Checks what the account can do; fields that were named since the mark have been dealt with.
    fn check(
        &self,
        v: &mut Violations,
        mark: ViolationMark,
        engine: &Engine,
        place: u32,
        command: &Command,
    ) {
        let at = |field: &str| format!("cancellations[{place}].{field}");
        let Some(account) = engine.account(command.account()) else {
            let names = engine.accounts().map(|account| account.name.as_str());
            // Those that are not the caller's to use are none of its business.
            let known: Vec<_> = names
                .filter(|name| self.caller.policy.allows_account(name))
                .collect();
            let name = command.account();
            let meant = nearest(name.as_str(), known.iter().copied())
                .map(|meant| format!("did you mean {meant}? "))
                .unwrap_or_default();
            let known = match known.as_slice() {
                [] => "none".to_owned(),
                known => known.join(", "),
            };
            let described = format!("{name} is not configured; {meant}the accounts are: {known}");
            return v.add(at("account"), described);
        };
        for violation in providers::check(account, command) {
            let field = at(&violation.field);
            if !v.names(mark, &field) {
                v.add(field, violation.description);
            }
        }
    }

    /// Notes strange characters in fields that were not named since the mark.
    fn strange(
        &mut self,
        v: &Violations,
        mark: ViolationMark,
        place: u32,
        strange: Vec<(String, String)>,
    ) {
        for (field, description) in strange {
            let field = format!("cancellations[{place}].{field}");
            if !v.names(mark, &field) {
                self.new.push(OfNew {
                    place,
                    field,
                    description,
                });
            }
        }
    }

    fn push(&mut self, key: Option<Key>, command: Command, mode: Mode) {
        self.items.push(SubmittedItem {
            key,
            command: Arc::new(command),
            mode,
        });
    }

    fn finish(
        self,
        mut v: Violations,
        kind: Kind,
        retry_window: Option<prost_types::Duration>,
        with_answers: bool,
    ) -> Result<Parsed, Violations> {
        let retry_window = retry_window
            .and_then(|window| v.check(|| "retry_window".to_owned(), window_of(window)));
        match self.key {
            Some(key) if v.is_empty() && self.items.len() == self.total => Ok(Parsed {
                submission: Submission {
                    scope: Scope {
                        caller: self.caller.id.clone(),
                        kind,
                    },
                    key,
                    items: self.items,
                    retry_window,
                    with_answers,
                    quota: self.caller.quota.clone(),
                    hangup: None,
                    from: RequestContext::default(),
                },
                new: self.new,
            }),
            _ => {
                for of_new in self.new {
                    v.add(of_new.field, of_new.description);
                }
                Err(v)
            }
        }
    }
}

/// Where this came first, if it came before.
fn first_of<T: Eq + Hash>(seen: &mut HashMap<T, u32>, value: T, place: u32) -> Option<u32> {
    match seen.entry(value) {
        std::collections::hash_map::Entry::Occupied(first) => Some(*first.get()),
        std::collections::hash_map::Entry::Vacant(vacant) => {
            vacant.insert(place);
            None
        }
    }
}
