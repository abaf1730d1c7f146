//! Every interpretation of what a provider's page leaves open, with every fault on the way: results
//! are true by the provider's own state and count of effects.
//!
//! Each fault in each interpretation of the sandbox gets a batch of targets in every state.

use cancelot::{
    rpc::proto::{
        CancelEnrollmentsRequest, EnrollmentCancellation, FieldMatch, Outcome, SubscriberIds,
        SubscriptionResult, enrollment_cancellation::Target,
    },
    sandbox::{Fault, Provider, RequestMatch, Scripted, Variants},
};
use tokio::task::JoinSet;

use crate::{
    doubt::truth::{Aim, BILLING, Case, cases, enrollments_untruth, timings, untruth},
    support::{Gateway, gateway, in_time, request, subscription},
};

/// Shorter than [`LATE_MS`], so that a late reply is a lost one.
const TIMEOUT_MS: u64 = 600;
const LATE_MS: u64 = 900;
/// More than is read of a reply.
const HUGE_BYTES: usize = cancelot::limits::REPLY_BYTES_MAX + 1;

/// None at first, then one after the other, with a number.
fn faults() -> Vec<(usize, &'static str, Option<Fault>)> {
    let faults = [
        ("reset before", Fault::ResetBefore),
        ("reset after", Fault::ResetAfter),
        ("503 before", Fault::ErrorBefore { status: 503 }),
        ("500 after", Fault::ErrorAfter { status: 500 }),
        ("late reply", Fault::LateReply { delay_ms: LATE_MS }),
        ("truncated body", Fault::TruncatedBody),
        ("garbage body", Fault::GarbageBody),
        ("throttle", Fault::Throttle { retry_after_ms: 20 }),
        (
            "huge body",
            Fault::HugeBody {
                body_bytes: HUGE_BYTES,
            },
        ),
    ];
    let none = [("no fault", None)].into_iter();
    let faults = none.chain(faults.map(|(name, fault)| (name, Some(fault))));
    let numbered = faults.enumerate();
    numbered
        .map(|(salt, (name, fault))| (salt, name, fault))
        .collect()
}

/// Lets the request with an effect of each case meet this fault once. Where the path does not name
/// the target, the first requests are those of the different cases.
fn script(gateway: &Gateway, cases: &[Case], fault: &Fault) {
    for case in cases {
        let id = &case.item.subscription_id;
        let (method, path) = match case.provider {
            Provider::Rebilly => ("PUT", "/subscription-cancellations/".to_owned()),
            Provider::Solidgate => ("POST", "/subscriptions/cancel".to_owned()),
            Provider::FunnelFox | Provider::Revolv3 => ("POST", format!("/{id}/cancel")),
            Provider::Sequenzy => unreachable!("it has no subscriptions"),
        };
        gateway
            .control
            .script(case.provider, scripted(fault, method, path));
    }
}

fn scripted(fault: &Fault, method: &str, path: String) -> Scripted {
    Scripted {
        fault: fault.clone(),
        on: RequestMatch {
            method: Some(method.to_owned()),
            path_contains: Some(path),
        },
        times: 1,
    }
}

/// The untruths in a batch's results, in words.
fn untruths(what: &str, gateway: &Gateway, told: &[(&Case, &SubscriptionResult)]) -> Vec<String> {
    let mut found = Vec::new();
    for (case, result) in told {
        if let Some(problem) = untruth(&gateway.control, case, result) {
            let id = &case.item.subscription_id;
            let after = gateway.control.subscription(case.provider, id);
            let (provider, when) = (case.provider.name(), &case.item.when);
            found.push(format!(
                "{what}: {problem}: {provider} {id} {when:?} born {:?}\n  now {after:?}\n  told \
                 {result:?}",
                case.born
            ));
        }
    }
    found
}

fn is_doubt(result: &SubscriptionResult) -> bool {
    result.outcome() == Outcome::InDoubt
}

/// Lets the accounts describe a subscription each: without that no unknown one is believed.
async fn prove(gateway: &mut Gateway, providers: &[Provider]) {
    let known = |provider: &Provider| subscription(*provider, 7, timings(*provider)[0]);
    let known = request("known", providers.iter().map(known));
    let results = in_time(gateway.cancel(known)).await.unwrap();
    for result in results {
        let goal = [Outcome::Canceled, Outcome::Scheduled];
        assert!(goal.contains(&result.outcome()), "{result:?}");
    }
}

/// One fault in one reading.
async fn try_fault(
    name: String,
    variants: Variants,
    providers: Vec<Provider>,
    (salt, fault_name, fault): (usize, &'static str, Option<Fault>),
) -> Vec<String> {
    let mut gateway = fresh(variants).await;
    prove(&mut gateway, &providers).await;
    let mut found = Vec::new();
    let what = format!("{name}, {fault_name}");
    let cases = cases(&providers, salt);
    if let Some(fault) = &fault {
        script(&gateway, &cases, fault);
    }
    let items = cases.iter().map(|case| case.item.clone());
    let asked = request(&format!("batch-{salt}"), items);
    let results = in_time(gateway.cancel(asked.clone())).await.unwrap();
    assert_eq!(results.len(), cases.len(), "{what}");
    let told: Vec<_> = cases.iter().zip(&results).collect();
    found.extend(untruths(&what, &gateway, &told));
    for provider in BILLING {
        gateway.control.clear_faults(provider);
    }
    // Once more, without faults: what is final stays, what is not may become so.
    let again = in_time(gateway.cancel(asked)).await.unwrap();
    let retold: Vec<_> = cases.iter().zip(&again).collect();
    let what = format!("{what}, again");
    found.extend(untruths(&what, &gateway, &retold));
    for (before, now) in results.iter().zip(&again) {
        if !is_doubt(before) && (!now.replayed || now.outcome != before.outcome) {
            found.push(format!("{what}: {before:?} became {now:?}"));
        }
    }
    gateway.stop().await;
    found
}

async fn fresh(variants: Variants) -> Gateway {
    // All cases at once, so that each meets the fault that was scripted for it.
    let quick = format!(
        "timeout_ms = {TIMEOUT_MS}\nconnect_timeout_ms = {TIMEOUT_MS}\nconcurrency_max = \
         64\nconcurrency_min = 64\n"
    );
    let mut builder = gateway().sandbox(|options| {
        options.variants = variants;
        options.recorded_requests_max = 0;
    });
    for provider in Provider::ALL {
        let more = match provider {
            Provider::Revolv3 => "set_timing = true\n",
            _ => "",
        };
        builder = builder.account(provider, &format!("{quick}{more}"));
    }
    builder.start().await
}

/// The provider whose reading a name such as `rebilly.already=Conflict` is; all for the default.
fn concerned(name: &str) -> Vec<Provider> {
    match name.split_once('.') {
        Some((provider, _)) => Provider::named(provider).into_iter().collect(),
        None => Provider::ALL.to_vec(),
    }
}

/// Several at once, since they mostly wait.
const AT_ONCE: usize = 16;

/// Tries readings and asserts that no untruth was found.
async fn in_every_reading<F>(try_one: impl Fn(String, Variants) -> Vec<F>)
where
    F: Future<Output = Vec<String>> + Send + 'static,
{
    let readings = Variants::all().into_iter();
    let mut tries: Vec<F> = readings
        .flat_map(|(name, variants)| try_one(name, variants))
        .collect();
    assert!(tries.len() > 1);
    let mut running = JoinSet::new();
    let mut found = Vec::new();
    loop {
        while running.len() < AT_ONCE
            && let Some(next) = tries.pop()
        {
            running.spawn(next);
        }
        match running.join_next().await {
            Some(done) => found.extend(done.unwrap()),
            None => break,
        }
    }
    let (count, first): (_, Vec<_>) = (found.len(), found.iter().take(5).cloned().collect());
    assert!(
        count == 0,
        "{count} untruths, such as:\n{}",
        first.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_of_subscriptions_is_true_in_every_reading_and_after_every_fault() {
    in_every_reading(|name, variants| {
        let billing = |p: &Provider| *p != Provider::Sequenzy;
        let providers: Vec<_> = concerned(&name).into_iter().filter(billing).collect();
        let faults = if providers.is_empty() {
            Vec::new()
        } else {
            faults()
        };
        // By themselves: what a provider takes for a conflict is tried for half a minute.
        let tries = faults
            .into_iter()
            .map(|fault| try_fault(name.clone(), variants, providers.clone(), fault));
        tries.collect()
    })
    .await;
}

fn aims(salt: usize) -> Vec<Aim> {
    let one = |id: &str| Target::SubscriberId(id.to_owned());
    let many = |ids: &[&str]| {
        Target::SubscriberIds(SubscriberIds {
            ids: ids.iter().map(ToString::to_string).collect(),
        })
    };
    let field = |path: &str, values: &[&str]| {
        Target::Field(FieldMatch {
            path: path.to_owned(),
            values: values.iter().map(ToString::to_string).collect(),
        })
    };
    let all = || Target::All(Default::default());
    let rows = [
        ("one", one("ann"), None, 0),
        ("one_done", one("ann_canceled"), None, 0),
        ("one_gone", one("missing"), None, 0),
        ("one_bound", one("ann"), Some(3), 0),
        ("many", many(&["ann", "bob", "missing"]), None, 0),
        ("many_gone", many(&["missing_1", "missing_2"]), None, 0),
        ("field", field("order.id", &["o1", "o2"]), None, 0),
        ("field_default", field("", &["o1"]), None, 0),
        ("all", all(), None, 0),
        ("all_done_canceled", all(), None, 0),
        ("all_bound", all(), Some(3), 1),
        ("all_too_many", all(), Some(2), 0),
        ("missing", all(), None, 0),
        ("missing_one", one("ann"), None, 0),
        ("a_drain_3522", all(), None, 0),
        ("b_drain_3522", all(), None, 1),
        ("c_drain_3522", all(), Some(3522), 2),
        ("d_drain_3522", all(), None, 3),
    ];
    let aim = |(name, target, max_matches, faulty_call)| Aim {
        item: EnrollmentCancellation {
            account: Provider::Sequenzy.name().to_owned(),
            sequence_id: format!("x{salt}_{name}"),
            target: Some(target),
            dry_run: Some(false),
            max_matches,
            reason: "moved away".to_owned(),
            ..Default::default()
        },
        faulty_call,
    };
    rows.map(aim).into_iter().collect()
}

async fn try_enrollments(name: String, variants: Variants) -> Vec<String> {
    let mut gateway = fresh(variants).await;
    let mut found = Vec::new();
    for (salt, fault_name, fault) in faults() {
        let aims = aims(salt);
        for (aim, fault) in aims.iter().zip(std::iter::repeat(&fault)) {
            let Some(fault) = fault else { continue };
            let path = format!("/{}/", aim.item.sequence_id);
            let mut calm = scripted(&Fault::Latency { latency_ms: 0 }, "POST", path.clone());
            calm.times = aim.faulty_call;
            if calm.times > 0 {
                gateway.control.script(Provider::Sequenzy, calm);
            }
            let faulty = scripted(fault, "POST", path);
            gateway.control.script(Provider::Sequenzy, faulty);
        }
        let asked = CancelEnrollmentsRequest {
            idempotency_key: format!("batch-{salt}"),
            cancellations: aims.iter().map(|aim| aim.item.clone()).collect(),
            ..Default::default()
        };
        let results = in_time(gateway.cancel_enrollments(asked)).await.unwrap();
        assert_eq!(results.len(), aims.len());
        for (aim, result) in aims.iter().zip(&results) {
            if let Some(problem) = enrollments_untruth(&gateway.control, aim, result) {
                let mut told = result.clone();
                told.enrollments.clear();
                let asked = &aim.item;
                found.push(format!(
                    "{name}, {fault_name}: {problem}: {asked:?}\n  told {told:?}"
                ));
            }
        }
        gateway.control.clear_faults(Provider::Sequenzy);
    }
    gateway.stop().await;
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_of_enrollments_is_true_in_every_reading_and_after_every_fault() {
    in_every_reading(|name, variants| {
        let concerned = concerned(&name).contains(&Provider::Sequenzy);
        let tries = concerned.then(|| try_enrollments(name, variants));
        tries.into_iter().collect()
    })
    .await;
}
