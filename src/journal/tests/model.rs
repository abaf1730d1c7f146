//! Any sequence of requests, outcomes, stops, purges and restarts against a model of a few lines.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::{
    domain::doubt::{Doubt, Moment},
    journal::{Clearance, Filter, Note},
    limits,
};

/// What a slot is sent with: its own key and its target; `None` for a dry run.
type Sent = Option<(Option<u8>, u8)>;

#[derive(Debug, Clone)]
enum Act {
    /// With how many of what it opens cleared.
    Admit(u8, Vec<Sent>, usize),
    /// Settle the nth open item.
    Settle(usize, Outcome),
    Stop(u8),
    /// Clear the nth open item, and note of it what is not known, or that it was not sent.
    Clear(usize),
    Note(usize),
    Withdraw(usize),
    /// Purge what settled so long ago.
    Purge(i64),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let slot = prop_oneof![
        1 => Just(None),
        6 => (prop_oneof![3 => Just(None), 1 => (0_u8..6).prop_map(Some)], 0_u8..2).prop_map(Some),
    ];
    let outcome = proptest::sample::select(&Outcome::ALL[..]);
    prop_oneof![
        6 => (0_u8..4, proptest::collection::vec(slot, 1..4), 0_usize..3)
            .prop_map(|(r, s, clear)| Act::Admit(r, s, clear)),
        8 => (any::<usize>(), outcome).prop_map(|(n, outcome)| Act::Settle(n, outcome)),
        1 => (0_u8..4).prop_map(Act::Stop),
        3 => any::<usize>().prop_map(Act::Clear),
        1 => any::<usize>().prop_map(Act::Note),
        2 => any::<usize>().prop_map(Act::Withdraw),
        2 => (0_i64..4).prop_map(Act::Purge),
        2 => Just(Act::Restart),
    ]
}

/// Own keys, some of them like derived ones.
fn own_key(n: u8) -> String {
    ["k0", "k1", "r0/0", "r1/1", "r2/7", "r3/x"][usize::from(n)].to_owned()
}

#[derive(Debug, Default)]
struct Model {
    /// When each process began.
    lives: Vec<i64>,
    items: BTreeMap<String, Known>,
    requests: BTreeMap<String, Request>,
    /// What the audit is to be told.
    happened: Vec<String>,
}

/// What a key means.
#[derive(Debug)]
struct Known {
    /// The request that owns it.
    request: String,
    target: u8,
    /// `None` while it is open.
    outcome: Option<Outcome>,
    stopped: bool,
    /// What is unknown of what it settled with or what was noted of it.
    before: Option<Doubt>,
    /// When it was cleared since, and by which processes.
    cleared: Vec<(i64, usize)>,
}

#[derive(Debug)]
struct Request {
    batch: BatchId,
    keys: Vec<Option<String>>,
    /// When it was admitted or one of its items settled, last.
    latest: i64,
}

/// What is expected of a slot.
#[derive(Debug, PartialEq)]
enum Expected {
    Vacant,
    Opened(Option<Outcome>),
    Running,
    Settled(Outcome),
}

impl Model {
    /// What a request is answered; `None` for a conflict.
    fn admit(
        &mut self,
        request: &str,
        slots: &[Sent],
        mut clear: usize,
        now: i64,
    ) -> Option<Vec<Expected>> {
        let life = self.lives.len();
        let mut take = || {
            let is_cleared = clear > 0;
            clear = clear.saturating_sub(1);
            is_cleared.then_some((now, life)).into_iter().collect()
        };
        let keys: Vec<_> = (0..)
            .zip(slots)
            .map(|(index, slot): (u32, _)| {
                slot.map(|(own, _)| own.map_or_else(|| format!("{request}/{index}"), own_key))
            })
            .collect();
        let mut seen = HashSet::new();
        let is_repeated = !keys.iter().flatten().all(|key| seen.insert(key));
        let is_other = self.requests.get(request).is_some_and(|known| {
            known.keys.len() != keys.len()
                || known
                    .keys
                    .iter()
                    .zip(&keys)
                    .any(|(known, key)| known.is_some() && key.is_some() && known != key)
        });
        let has_other_content = keys.iter().zip(slots).any(|(key, slot)| {
            let known = key.as_ref().and_then(|key| self.items.get(key));
            known.is_some_and(|known| slot.is_some_and(|(_, target)| known.target != target))
        });
        if is_repeated || is_other || has_other_content {
            return None;
        }
        let known = self
            .requests
            .entry(request.to_owned())
            .or_insert_with(|| Request {
                batch: BatchId(0),
                keys: vec![None; keys.len()],
                latest: now,
            });
        let slots = known.keys.iter_mut().zip(keys).zip(slots);
        let expected = slots.map(|((recorded, key), slot)| {
            let (Some(key), Some((_, target))) = (key, slot) else {
                return Expected::Vacant;
            };
            *recorded = Some(key.clone());
            let name = key.clone();
            let is_new = !self.items.contains_key(&key);
            let known = self.items.entry(key).or_insert_with(|| Known {
                request: request.to_owned(),
                target: *target,
                outcome: None,
                stopped: false,
                before: None,
                cleared: Vec::new(),
            });
            match known.outcome {
                None if is_new => {
                    self.happened.push(format!("admitted {name}"));
                    known.cleared = take();
                    Expected::Opened(None)
                }
                None => Expected::Running,
                Some(outcome) if outcome.is_final() => Expected::Settled(outcome),
                Some(outcome) => {
                    (known.outcome, known.stopped) = (None, false);
                    known.cleared = take();
                    self.happened.push(format!("opened {name}"));
                    Expected::Opened(Some(outcome))
                }
            }
        });
        Some(expected.collect())
    }

    fn settle(&mut self, key: &Key, outcome: Outcome, now: i64) {
        let item = self.items.get_mut(key.as_str()).unwrap();
        item.outcome = Some(outcome);
        // What the tests settle without success may have been sent.
        item.before = (!outcome.is_success()).then(|| doubt(None, at(now)));
        item.cleared.clear();
        self.happened.push(format!("settled {key} {outcome:?}"));
        self.requests.get_mut(&item.request).unwrap().latest = now;
    }

    /// What is unknown of an open item.
    fn doubt(&self, item: &Known) -> Option<Doubt> {
        let (Some((first, _)), Some((_, last))) = (item.cleared.first(), item.cleared.last())
        else {
            return item.before.clone();
        };
        // Before its process has ended nobody knows how long it sends.
        let ended = self.lives.get(*last).map_or(Timestamp::MAX, |begun| {
            at(*begun) + SignedDuration::from_millis(limits::TCP_USER_TIMEOUT_MS.cast_signed())
        });
        Some(match &item.before {
            None => doubt(Some(*first), ended),
            Some(before) => Doubt {
                latest: Moment::wall(ended),
                settle_ms: None,
                may_act: true,
                ..before.clone()
            },
        })
    }

    fn purge(&mut self, before: i64) -> usize {
        let purged = |(request, known): (&String, &Request)| {
            let mut own = self.items.values().filter(|item| item.request == *request);
            (known.latest < before && own.all(|item| item.outcome.is_some()))
                .then(|| request.clone())
        };
        let purged: Vec<_> = self.requests.iter().filter_map(purged).collect();
        for request in &purged {
            self.requests.remove(request);
            self.items.retain(|_, item| item.request != *request);
        }
        purged.len()
    }
}

fn doubt(earliest: Option<i64>, latest: Timestamp) -> Doubt {
    let earliest = earliest.map(|earliest| Moment::wall(at(earliest)));
    Doubt::between(earliest, Moment::wall(latest))
}

/// What an orderly stop knows of an item.
fn noted(now: i64) -> Doubt {
    Doubt {
        settle_ms: Some(30_000),
        looks: 1,
        place: Some(3),
        ..doubt(Some(now - 1), at(now))
    }
}

fn send(request: &str, slots: &[Sent], clear: usize, now: i64) -> Admission {
    let slots = slots.iter().map(|slot| match slot {
        None => Slot::Vacant,
        Some((own, target)) => Slot::Item {
            key: own.map(|own| key(&own_key(own))),
            command: cancel(&format!("t{target}")),
        },
    });
    Admission {
        at: at(now),
        clear: [(subscription("t").account, clear)].into(),
        ..admission(request, slots)
    }
}

fn step(bench: &mut Bench, model: &mut Model, act: &Act, now: i64) {
    let life = model.lives.len();
    match act {
        Act::Admit(_, slots, _) if slots.iter().all(Option::is_none) => {}
        Act::Admit(request, slots, clear) => {
            let request = format!("r{request}");
            let answer = wait(bench.journal().admit(send(&request, slots, *clear, now)));
            match (model.admit(&request, slots, *clear, now), answer) {
                (None, Err(AdmitError::Conflict(conflicts))) => assert!(!conflicts.is_empty()),
                (Some(expected), Ok(admitted)) => {
                    let told = told(&admitted).into_iter().map(|told| match told {
                        Told::Vacant => Expected::Vacant,
                        Told::Opened(_) => Expected::Opened(None),
                        Told::Again(_, outcome) => Expected::Opened(Some(outcome)),
                        Told::Running(_) => Expected::Running,
                        Told::Settled(_, outcome) => Expected::Settled(outcome),
                    });
                    assert_eq!(told.collect::<Vec<_>>(), expected);
                    model.requests.get_mut(&request).unwrap().batch = admitted.batch;
                }
                (expected, answer) => panic!("{expected:?} but {answer:?}"),
            }
        }
        Act::Settle(n, outcome) => {
            let open = bench.open_items();
            if let Some(item) = open.get(n % open.len().max(1)) {
                bench.settle(item.id, &settled_at(*outcome, now));
                model.settle(&item.key, *outcome, now);
            }
        }
        Act::Stop(request) => {
            let request = format!("r{request}");
            if let Some(known) = model.requests.get(&request) {
                wait(
                    bench
                        .journal()
                        .stop(known.batch, scope().caller.into(), at(now)),
                )
                .unwrap();
                let mut own = model.items.values().filter(|item| item.request == request);
                if own.any(|item| item.outcome.is_none()) {
                    model.happened.push(format!("stopped {}", known.batch));
                }
            }
            for item in model
                .items
                .values_mut()
                .filter(|item| item.request == request)
            {
                item.stopped = true;
            }
        }
        Act::Clear(n) => {
            if let Some((id, known)) = nth_open(bench, model, *n) {
                known.cleared.push((now, life));
                let at = Moment::wall(at(now));
                let items = vec![id];
                let clearances = vec![Clearance { at, items }];
                let group = Group {
                    clearances,
                    ..Group::default()
                };
                wait(bench.journal().settle(group)).unwrap();
            }
        }
        Act::Note(n) => {
            if let Some((id, known)) = nth_open(bench, model, *n) {
                (known.before, known.cleared) = (Some(noted(now)), Vec::new());
                note(bench, id, Some(noted(now)));
            }
        }
        Act::Withdraw(n) => {
            if let Some((id, known)) = nth_open(bench, model, *n) {
                known.cleared.retain(|(_, by)| *by < life);
                note(bench, id, None);
            }
        }
        Act::Purge(age) => {
            let before = now - age;
            let purged = wait(bench.journal().purge(at(before), 100)).unwrap();
            assert_eq!(purged, model.purge(before));
        }
        Act::Restart => {
            bench.restart();
            begin(bench, model, now);
        }
    }
}

fn begin(bench: &Bench, model: &mut Model, now: i64) {
    wait(bench.journal().begin(Moment::wall(at(now)))).unwrap();
    model.lives.push(now);
}

fn nth_open<'m>(bench: &Bench, model: &'m mut Model, n: usize) -> Option<(ItemId, &'m mut Known)> {
    let open = bench.open_items();
    let item = open.get(n % open.len().max(1))?;
    Some((item.id, model.items.get_mut(item.key.as_str()).unwrap()))
}

fn note(bench: &Bench, id: ItemId, doubt: Option<Doubt>) {
    let group = Group {
        notes: vec![Note { id, doubt }],
        ..Group::default()
    };
    wait(bench.journal().settle(group)).unwrap();
}

fn compare(bench: &Bench, model: &Model) {
    for (item_key, item) in &model.items {
        let record = bench.find(item_key);
        let record = record.unwrap_or_else(|| panic!("{item_key} is lost"));
        assert_eq!(record.key, key(item_key));
        assert_eq!(record.id.batch, model.requests[&item.request].batch);
        assert_eq!(record.request_key, key(&item.request));
        assert_eq!(record.command, cancel(&format!("t{}", item.target)));
        assert_eq!(outcome(&record), item.outcome);
    }
    let open = bench.open_items().into_iter();
    let mut open: Vec<_> = open
        .map(|item| (item.key.to_string(), item.stopped, item.doubt))
        .collect();
    open.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    let known = model
        .items
        .iter()
        .filter(|(_, item)| item.outcome.is_none());
    let known: Vec<_> = known
        .map(|(key, item)| (key.clone(), item.stopped, model.doubt(item)))
        .collect();
    assert_eq!(open, known);
    let page = bench
        .journal()
        .list(&Filter::default(), None, 1_000, &ReadLimits::default())
        .unwrap();
    assert_eq!(page.records.len(), model.items.len());
    for request in model.requests.values() {
        let batch = bench.batch(request.batch).unwrap();
        let found = batch
            .items
            .iter()
            .map(|item| item.as_ref().map(|item| item.key.to_string()));
        let known = request.keys.iter().map(|key| {
            let key = key.as_ref()?;
            model.items.contains_key(key).then(|| key.clone())
        });
        for (found, known) in found.zip(known) {
            // A key that was free again may mean an item of another batch by now, and then the
            // slot leads nowhere until the request is sent again.
            assert!(found == known || found.is_none(), "{found:?} {known:?}");
        }
    }
}

fn check(mut bench: Bench, acts: &[Act]) {
    let (mut model, mut auditor) = (Model::default(), Auditor::default());
    begin(&bench, &mut model, -1);
    for (now, act) in (0..).zip(acts) {
        step(&mut bench, &mut model, act, now);
        compare(&bench, &model);
        let mut seen = auditor.look(bench.journal());
        let mut happened = std::mem::take(&mut model.happened);
        seen.sort();
        happened.sort();
        assert_eq!(seen, happened, "the audit is told each thing once");
        auditor.record(bench.journal());
    }
    bench.journal = None;
    if let Place::Disk(dir) = &bench.home {
        let offline =
            crate::journal::offline::Offline::open(&SledJournalOptions::new(dir.path())).unwrap();
        let mut out = Vec::new();
        let report = offline.verify(&mut out).unwrap();
        assert_eq!(report.problems, 0, "{}", String::from_utf8_lossy(&out));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]
    #[test]
    fn in_memory_it_does_what_the_model_does(acts in proptest::collection::vec(act(), 1..40)) {
        check(Bench::in_memory(), &acts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn on_disk_it_does_what_the_model_does(acts in proptest::collection::vec(act(), 1..40)) {
        check(Bench::on_disk(), &acts);
    }
}
