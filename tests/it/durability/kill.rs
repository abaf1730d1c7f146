//! SIGKILL at random moments, under load and faults, repeatedly on one journal: published results
//! stay true, admitted items end, nothing is done twice, and nothing is claimed that had ended
//! before.
//!
//! `KILLS` sets the number of kills (100 by default), `SEED` the random choices:
//! `KILLS=500 SEED=7 cargo test --test it kill`. The choices follow from the seed; where a kill
//! then strikes also depends on the machine.

use std::{collections::BTreeMap, path::Path, time::Duration};

use cancelot::{
    rpc::proto::{
        CancelEnrollmentsRequest, CancelSubscriptionRequest, Cancellation, CancellationKind,
        EnrollmentCancellation, EnrollmentResult, GetCancellationRequest, ListCancellationsRequest,
        Outcome, SubscriptionResult, cancellation::Result as Recorded,
        enrollment_cancellation::Target,
    },
    sandbox::{Control, FaultRates, Options, Provider, Sandbox},
};
use tokio::{task::JoinSet, time::timeout};
use tonic::{Code, Status};

use crate::{
    doubt::truth::{Aim, BILLING, Case, cases, enrollments_untruth, untruth},
    observability::audit,
    support::{
        Client,
        process::{Place, try_connect},
        request,
    },
};

const KILLS: u64 = 100;
const SEED: u64 = 20_261_121;
/// Streams that are open when it is killed.
const STREAMS: usize = 4;

/// What is asked, with what is known of its targets.
#[derive(Clone)]
enum Asked {
    Subscriptions(CancelSubscriptionRequest, Vec<Case>),
    Enrollments(CancelEnrollmentsRequest, Vec<Aim>),
}

/// An outcome, whether it is final, and when it was recorded.
type Told = (Outcome, bool, Option<prost_types::Timestamp>);

/// What one stream brought before it broke.
#[derive(Default)]
struct Heard {
    batch_id: Option<String>,
    told: Vec<(u32, Told)>,
    end: Option<Status>,
}

/// A request, and every result that was ever received for it.
struct Batch {
    asked: Asked,
    /// Whether it is sent again. What is not has to be finished all the same.
    resent: bool,
    /// Known once a stream has begun: from then on it is admitted.
    id: Option<String>,
    told: BTreeMap<u32, Told>,
}

impl Asked {
    fn key(&self) -> &str {
        match self {
            Self::Subscriptions(request, _) => &request.idempotency_key,
            Self::Enrollments(request, _) => &request.idempotency_key,
        }
    }

    fn kind(&self) -> CancellationKind {
        match self {
            Self::Subscriptions(..) => CancellationKind::Subscription,
            Self::Enrollments(..) => CancellationKind::Enrollments,
        }
    }

    fn total(&self) -> usize {
        match self {
            Self::Subscriptions(_, cases) => cases.len(),
            Self::Enrollments(_, aims) => aims.len(),
        }
    }

    /// Sends it and listens until the stream ends, however it does.
    async fn send(self, url: String) -> Heard {
        let mut heard = Heard::default();
        if let Some(client) = try_connect(&url).await {
            heard.end = self.listen(client, &mut heard).await.err();
        } else {
            heard.end = Some(Status::unavailable("no connection"));
        }
        heard
    }

    async fn listen(self, mut client: Client, heard: &mut Heard) -> Result<(), Status> {
        match self {
            Self::Subscriptions(request, _) => {
                let mut stream = client.cancel_subscription(request).await?.into_inner();
                while let Some(message) = stream.message().await? {
                    heard.batch_id = Some(message.progress.unwrap().batch_id);
                    let results = message.results.iter();
                    heard.told.extend(results.map(|r| (r.index, told(r))));
                }
            }
            Self::Enrollments(request, _) => {
                let mut stream = client.cancel_enrollments(request).await?.into_inner();
                while let Some(message) = stream.message().await? {
                    heard.batch_id = Some(message.progress.unwrap().batch_id);
                    let results = message.results.iter();
                    let settled = results.filter(|r| r.outcome() != Outcome::Unspecified);
                    heard
                        .told
                        .extend(settled.map(|r| (r.index, enrollments_told(r))));
                }
            }
        }
        Ok(())
    }
}

fn told(result: &SubscriptionResult) -> Told {
    (result.outcome(), result.is_final, result.settled_time)
}

fn enrollments_told(result: &EnrollmentResult) -> Told {
    (result.outcome(), result.is_final, result.settled_time)
}

impl Batch {
    /// A request for new targets.
    fn draw(rng: &mut fastrand::Rng, number: usize) -> Self {
        let key = format!("batch-{number}");
        let asked = if rng.u8(..5) == 0 {
            let aims: Vec<_> = (0..rng.usize(1..6)).map(|i| aim(number, i)).collect();
            let request = CancelEnrollmentsRequest {
                idempotency_key: key,
                cancellations: aims.iter().map(|aim| aim.item.clone()).collect(),
                ..Default::default()
            };
            Asked::Enrollments(request, aims)
        } else {
            let mut cases = cases(&BILLING, number);
            rng.shuffle(&mut cases);
            cases.truncate(rng.usize(1..=cases.len()));
            let items = cases.iter().map(|case| case.item.clone());
            Asked::Subscriptions(request(&key, items), cases)
        };
        Self {
            asked,
            resent: rng.u8(..4) != 0,
            id: None,
            told: BTreeMap::new(),
        }
    }

    /// Takes in what a stream delivered; earlier results must not have changed.
    fn hear(&mut self, heard: Heard) {
        let key = self.asked.key();
        let broken = [
            Code::Unavailable,
            Code::Unknown,
            Code::Internal,
            Code::Cancelled,
        ];
        if let Some(status) = &heard.end {
            assert!(broken.contains(&status.code()), "{key}: {status:?}");
        }
        if let Some(id) = heard.batch_id {
            let before = self.id.get_or_insert_with(|| id.clone());
            assert_eq!(*before, id, "{key}");
        }
        for (index, told) in heard.told {
            let before = self.told.insert(index, told);
            if let Some(before) = before.filter(|(_, is_final, _)| *is_final) {
                assert_eq!(before, told, "{key}/{index} was told otherwise before");
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.told.len() == self.asked.total()
            && self.told.values().all(|(_, is_final, _)| *is_final)
    }

    /// Compares the records with the received results and with what the providers know.
    fn check(&self, records: &[Cancellation], control: &Control) {
        let key = self.asked.key();
        assert_eq!(
            records.len(),
            self.asked.total(),
            "{key}: items are missing"
        );
        for record in records {
            let name = &record.idempotency_key;
            assert!(!record.open, "{name} is open");
            let result = record.result.as_ref().unwrap();
            let (index, recorded, problem) = match (&self.asked, result) {
                (Asked::Subscriptions(_, cases), Recorded::SubscriptionResult(result)) => {
                    let case = &cases[result.index as usize];
                    (result.index, told(result), untruth(control, case, result))
                }
                (Asked::Enrollments(_, aims), Recorded::EnrollmentResult(result)) => {
                    let aim = &aims[result.index as usize];
                    let problem = enrollments_untruth(control, aim, result);
                    (result.index, enrollments_told(result), problem)
                }
                (_, other) => panic!("{name}: {other:?}"),
            };
            assert_eq!(problem, None, "{name}: {record:?}");
            if let Some(before) = self.told.get(&index).filter(|(_, is_final, _)| *is_final) {
                assert_eq!(*before, recorded, "{name} was told otherwise");
            }
        }
    }
}

fn aim(number: usize, place: usize) -> Aim {
    let one = |id: &str| Target::SubscriberId(id.to_owned());
    let (name, target) = match place {
        0 => ("drain_3522", Target::All(Default::default())),
        1 => ("done_canceled", Target::All(Default::default())),
        2 => ("missing", one("ann")),
        _ => ("", one("ann")),
    };
    let item = EnrollmentCancellation {
        account: Provider::Sequenzy.name().to_owned(),
        sequence_id: format!("q{number}_{place}_{name}"),
        target: Some(target),
        dry_run: Some(false),
        ..Default::default()
    };
    Aim {
        item,
        faulty_call: 0,
    }
}

fn switch_faults_on(control: &Control) {
    for provider in Provider::ALL {
        let rates = FaultRates {
            // Rebilly's signal is in whole seconds.
            throttle: if provider == Provider::Rebilly {
                0.0005
            } else {
                0.02
            },
            throttle_ms: 10,
            reset_before: 0.02,
            reset_after: 0.03,
            error_before: 0.02,
            error_after: 0.03,
            truncated_body: 0.01,
            latency_ms_min: 0,
            latency_ms_max: 12,
            ..Default::default()
        };
        control.set_fault_rates(provider, rates);
    }
}

/// Says how to see a failure again.
struct Reproduction {
    seed: u64,
    kills: u64,
}

impl Drop for Reproduction {
    fn drop(&mut self) {
        let Self { seed, kills } = self;
        if std::thread::panicking() {
            eprintln!("KILLS={kills} SEED={seed} cargo test --test it kill");
        }
    }
}

fn parameter(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_changes_or_repeats_anything() {
    let (kills, seed) = (parameter("KILLS", KILLS), parameter("SEED", SEED));
    let _reproduction = Reproduction { seed, kills };
    let mut rng = fastrand::Rng::with_seed(seed);
    let sandbox = Sandbox::start(Options {
        seed,
        recorded_requests_max: 0,
        ..Options::default()
    })
    .unwrap();
    let control = sandbox.control();
    switch_faults_on(&control);
    let place = Place::new(&sandbox, "");
    let mut batches: Vec<Batch> = Vec::new();
    for _ in 0..kills {
        if rng.u8(..5) == 0 {
            // In the middle of its start, or of taking up what is open.
            let mut process = place.start();
            tokio::time::sleep(Duration::from_micros(rng.u64(..120_000))).await;
            process.kill();
            continue;
        }
        let (mut process, url) = place.serve().await;
        let mut streams = JoinSet::new();
        for _ in 0..STREAMS {
            let open = |batch: &Batch| batch.resent && !batch.is_finished();
            let again: Vec<_> = (0..batches.len())
                .filter(|at| open(&batches[*at]))
                .collect();
            let at = match rng.choice(&again).filter(|_| rng.bool()) {
                Some(at) => *at,
                None => {
                    batches.push(Batch::draw(&mut rng, batches.len()));
                    batches.len() - 1
                }
            };
            let sent = batches[at].asked.clone().send(url.clone());
            streams.spawn(async move { (at, sent.await) });
        }
        tokio::time::sleep(Duration::from_micros(rng.u64(5_000..150_000))).await;
        process.kill();
        while let Some(done) = streams.join_next().await {
            let (at, heard) = done.unwrap();
            batches[at].hear(heard);
        }
    }
    for provider in Provider::ALL {
        control.clear_faults(provider);
    }
    let (process, url) = place.serve().await;
    let mut client = try_connect(&url).await.unwrap();
    // Batches that no client sends again are finished too.
    let patience = Duration::from_secs(60 + kills);
    let open = timeout(patience, nothing_open(&mut client)).await;
    open.expect("everything settles by itself");
    // All at once, so that what is left to settle settles together.
    let mut streams = JoinSet::new();
    for (at, batch) in batches.iter().enumerate() {
        if batch.resent {
            let sent = batch.asked.clone().send(url.clone());
            streams.spawn(async move { (at, timeout(patience, sent).await) });
        }
    }
    while let Some(done) = streams.join_next().await {
        let (at, heard) = done.unwrap();
        let heard = heard.expect("what is left to settle settles");
        assert!(heard.end.is_none(), "{:?}", heard.end);
        let batch = &mut batches[at];
        batch.hear(heard);
        // Every key comes to an end, once the provider answers.
        let key = batch.asked.key();
        assert!(batch.is_finished(), "{key}: {:?}", batch.told);
    }
    let mut admitted = 0;
    let mut recorded = BTreeMap::new();
    let mut ends = BTreeMap::<String, usize>::new();
    for batch in &batches {
        match records(&mut client, batch).await {
            Some(records) => {
                batch.check(&records, &control);
                admitted += records.len();
                for record in &records {
                    *ends.entry(end(record)).or_default() += 1;
                }
                recorded.extend(records.iter().map(|record| {
                    let outcome = match record.result.as_ref().unwrap() {
                        Recorded::SubscriptionResult(result) => result.outcome(),
                        Recorded::EnrollmentResult(result) => result.outcome(),
                    };
                    (record.idempotency_key.clone(), outcome)
                }));
            }
            None => assert_untouched(batch, &control),
        }
    }
    let told: usize = batches.iter().map(|batch| batch.told.len()).sum();
    println!(
        "seed {seed}: {kills} kills, {} requests, {admitted} items: {ends:#?}",
        batches.len()
    );
    assert!(admitted >= told && told > 0);
    process.terminate();
    assert!(process.ended().await.success());
    check_audit(&place.journal(), &recorded);
}

/// How an item ended; of one that failed also at which provider and why.
fn end(record: &Cancellation) -> String {
    let (outcome, account, failure) = match record.result.as_ref().unwrap() {
        Recorded::SubscriptionResult(r) => (r.outcome(), &r.account, &r.failure),
        Recorded::EnrollmentResult(r) => (r.outcome(), &r.account, &r.failure),
    };
    let name = outcome.as_str_name().trim_start_matches("OUTCOME_");
    match failure {
        Some(failure) => format!("{name} {account} {}", failure.reason),
        None => name.to_owned(),
    }
}

/// Everything that was admitted has one admission, and one settlement for each time that it was
/// opened, the last of which has the outcome that the journal has; and the chain is whole.
fn check_audit(journal: &Path, recorded: &BTreeMap<String, Outcome>) {
    #[derive(Default)]
    struct Told {
        admitted: usize,
        opened: usize,
        settled: Vec<String>,
    }
    let mut items: BTreeMap<String, Told> = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for line in audit::lines(&journal.join("audit")) {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        let item = || text("key");
        match line["event"].as_str().unwrap() {
            "admitted" => {
                keys.insert((text("batch"), line["index"].as_u64().unwrap()), item());
                items.entry(item()).or_default().admitted += 1;
            }
            // Of several items it is one line, which names them as their admissions do.
            "opened" => {
                for index in audit::indexes(&line) {
                    let key = &keys[&(text("batch"), index)];
                    items.entry(key.clone()).or_default().opened += 1;
                }
            }
            "settled" => items
                .entry(item())
                .or_default()
                .settled
                .push(text("outcome")),
            "started" => {}
            other => panic!("{other}: {line}"),
        }
    }
    assert_eq!(items.len(), recorded.len());
    for (key, outcome) in recorded {
        let told = &items[key];
        assert_eq!(told.admitted, 1, "{key}");
        assert_eq!(told.settled.len(), told.opened + 1, "{key}");
        let name = outcome
            .as_str_name()
            .trim_start_matches("OUTCOME_")
            .to_lowercase();
        assert_eq!(told.settled.last(), Some(&name), "{key}");
    }
    let (code, said) = audit::audit(&["verify", "--journal", journal.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
}

/// Waits until nothing is open.
async fn nothing_open(client: &mut Client) {
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let mut from = String::new();
    loop {
        looks.tick().await;
        let open = ListCancellationsRequest {
            page_size: 1,
            page_token: from.clone(),
            outcomes: vec![Outcome::Unspecified.into()],
            ..Default::default()
        };
        let page = client.list_cancellations(open).await.unwrap().into_inner();
        // A page with open ones is requested again. A page without any is as far as a call reads,
        // and what is behind it stays settled, since no client sends anything now.
        if page.cancellations.is_empty() {
            from = page.next_page_token;
            if from.is_empty() {
                return;
            }
        }
    }
}

/// What is recorded of a batch; `None` if it never was admitted, which is valid only for a batch
/// without received results.
async fn records(client: &mut Client, batch: &Batch) -> Option<Vec<Cancellation>> {
    let get = GetCancellationRequest {
        kind: batch.asked.kind().into(),
        idempotency_key: format!("{}/0", batch.asked.key()),
        ..Default::default()
    };
    let id = match client.get_cancellation(get).await {
        Ok(found) => found.into_inner().cancellation.unwrap().batch_id,
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound, "{status:?}");
            assert_eq!(batch.id, None, "{} was lost", batch.asked.key());
            return None;
        }
    };
    assert!(batch.id.as_ref().is_none_or(|told| *told == id));
    let mut list = ListCancellationsRequest {
        page_size: 1_000,
        batch_id: id,
        ..Default::default()
    };
    let mut records = Vec::new();
    loop {
        let page = client
            .list_cancellations(list.clone())
            .await
            .unwrap()
            .into_inner();
        records.extend(page.cancellations);
        if page.next_page_token.is_empty() {
            return Some(records);
        }
        list.page_token = page.next_page_token;
    }
}

/// Nothing is sent of what is not on disk.
fn assert_untouched(batch: &Batch, control: &Control) {
    match &batch.asked {
        Asked::Subscriptions(_, cases) => {
            for case in cases {
                let id = &case.item.subscription_id;
                assert!(control.subscription(case.provider, id).is_none(), "{id}");
            }
        }
        Asked::Enrollments(_, aims) => {
            for aim in aims {
                assert!(control.sequence(&aim.item.sequence_id).is_none());
            }
        }
    }
}
