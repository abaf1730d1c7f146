//! What the log contains, and what it must never contain.

use std::collections::BTreeMap;

use cancelot::{
    rpc::proto::{CancelSubscriptionRequest, Initiator, ListAccountsRequest, StopBatchRequest},
    sandbox::{Fault, Provider, Sandbox},
};
use serde_json::Value;
use tonic::{Code, Request};

use crate::{
    edge::frames::Wire,
    support::{
        Client,
        asking::{enrollment, enrollments, subscriber},
        gateway,
        identities::by,
        in_time, now, period_end,
        pki::{Authority, Files},
        process::{Place, try_connect},
        provider_default, request, subscription, subscription_results,
    },
};

/// Begins values that may be personal.
const PERSONAL: &str = "anna.private";

/// Everything that a caller may put personal data into.
fn personal() -> CancelSubscriptionRequest {
    let id = |end: &str| format!("{PERSONAL}-{end}@example.com");
    let mut item = subscription(Provider::Rebilly, id("sub"), now());
    item.comment = id("comment");
    item.set_initiated_by(Initiator::Customer);
    item.idempotency_key = id("item-key");
    let lost = subscription(Provider::FunnelFox, id("deleted"), provider_default());
    request(&id("key"), [item, lost])
}

fn with_id<T>(message: T, id: &str) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("x-request-id", id.parse().unwrap());
    request
}

/// The lines of a log in JSON with this message.
fn lines(log: &str, message: &str) -> Vec<Value> {
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect(line));
    lines.filter(|line| line["message"] == message).collect()
}

/// Calls a process in all ways that are logged, and gives its log.
async fn talked_to(config: &str) -> String {
    let sandbox = Sandbox::start(cancelot::sandbox::Options::default()).unwrap();
    sandbox
        .control()
        .script(Provider::Rebilly, Fault::ResetAfter);
    let place = Place::new(&sandbox, config);
    let (process, url) = place.serve().await;
    let mut client = try_connect(&url).await.unwrap();
    // What FunnelFox does not know is believed once it has described a subscription.
    let known = request(
        "known",
        [subscription(Provider::FunnelFox, 1, period_end())],
    );
    let known = client.cancel_subscription(with_id(known, "ours-0")).await;
    let known = known.unwrap();
    subscription_results(known.into_inner()).await.unwrap();

    let sent = client
        .cancel_subscription(with_id(personal(), "ours-1"))
        .await;
    let (progress, results) = subscription_results(sent.unwrap().into_inner())
        .await
        .unwrap();
    assert_eq!(results.len(), 2);
    let drain = enrollments("drain", [enrollment("seq_1", subscriber(PERSONAL))]);
    client
        .cancel_enrollments(drain)
        .await
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap();
    let mut plan = personal();
    plan.dry_run = true;
    let planned = client.cancel_subscription(plan).await.unwrap();
    subscription_results(planned.into_inner()).await.unwrap();
    let mut other = personal();
    other.cancellations[0].comment.clear();
    client.cancel_subscription(other).await.unwrap_err();
    let stop = StopBatchRequest {
        batch_id: progress.batch_id,
    };
    client.stop_batch(with_id(stop, "ours-2")).await.unwrap();

    process.terminate();
    assert!(process.ended().await.success());
    place.stderr()
}

#[tokio::test]
async fn each_settled_item_is_one_line_that_says_how_it_ended_and_whose_request_it_was() {
    let log = talked_to("[log]\nformat = \"json\"\n").await;

    let settled = lines(&log, "cancellation settled");
    let of_ours: Vec<_> = settled
        .iter()
        .filter(|line| line["request_id"] == "ours-1")
        .collect();
    assert_eq!(of_ours.len(), 2, "{log}");
    for (account, outcome, reason) in [
        ("rebilly", "CANCELED", Value::Null),
        ("funnelfox", "NOT_FOUND", "TARGET_NOT_FOUND".into()),
    ] {
        let line = of_ours
            .iter()
            .find(|line| line["account"] == account)
            .unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["provider"], account);
        assert_eq!(line["outcome"], outcome);
        assert_eq!(line["reason"], reason);
        assert!(line["batch"].as_str().unwrap().starts_with('b'));
        assert!(line["index"].is_u64() && line["duration_ms"].is_u64());
        assert!(line["attempts"].as_u64().unwrap() > 0);
    }
    assert_eq!(lines(&log, "dry run finished").len(), 2);
    assert_eq!(lines(&log, "request taken on")[0]["caller"], "anonymous");
    let taken_on = lines(&log, "request taken on");
    let stopped = lines(&log, "batch stopped");
    for (line, id) in [
        (&taken_on[0], "ours-0"),
        (&taken_on[1], "ours-1"),
        (&stopped[0], "ours-2"),
    ] {
        assert_eq!(line["span"]["request_id"], id, "{line}");
    }
}

#[tokio::test]
async fn no_line_has_what_may_be_personal_whatever_is_logged() {
    for format in ["json", "text"] {
        let filter = "debug,cancelot=trace";
        let log = talked_to(&format!(
            "[log]\nformat = \"{format}\"\nfilter = \"{filter}\"\n"
        ))
        .await;

        assert!(log.contains("exchange finished") && log.contains("cancellation settled"));
        let told: Vec<_> = log.lines().filter(|line| line.contains(PERSONAL)).collect();
        assert!(told.is_empty(), "{told:#?}");
    }
}

#[tokio::test]
async fn a_request_id_is_in_the_lines_whatever_else_the_filter_keeps_out() {
    let filter = "error,cancelot::rpc::service=info";
    let log = talked_to(&format!(
        "[log]\nformat = \"json\"\nfilter = \"{filter}\"\n"
    ))
    .await;

    let taken_on = lines(&log, "request taken on");
    assert_eq!(taken_on[0]["span"]["request_id"], "ours-0");
    assert_eq!(taken_on[1]["span"]["request_id"], "ours-1");
    assert!(lines(&log, "cancellation settled").is_empty(), "kept out");
}

/// What comes back for a request id that was sent.
async fn answered_id(client: &mut Client, sent: Option<&str>) -> String {
    let mut request = Request::new(ListAccountsRequest {});
    if let Some(sent) = sent {
        request
            .metadata_mut()
            .insert("x-request-id", sent.parse().unwrap());
    }
    let answer = client.list_accounts(request).await.unwrap();
    answer
        .metadata()
        .get("x-request-id")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_request_id_comes_back_and_one_that_is_missing_or_malformed_is_replaced() {
    let mut gateway = gateway().start().await;

    assert_eq!(
        answered_id(&mut gateway.client, Some("svc/4:7")).await,
        "svc/4:7"
    );
    let long = "x".repeat(129);
    for sent in [None, Some("two words"), Some("{}"), Some(long.as_str())] {
        let id = answered_id(&mut gateway.client, sent).await;
        assert_eq!(id.len(), 32, "{sent:?} -> {id}");
    }
    let refused = gateway
        .client
        .cancel_subscription(with_id(request("k", []), "mine"))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.metadata().get("x-request-id").unwrap(), "mine");
    let item = subscription(Provider::Rebilly, "sub_1", now());
    let streamed = gateway
        .client
        .cancel_subscription(with_id(request("k", [item]), "mine"))
        .await;
    assert_eq!(
        streamed.unwrap().metadata().get("x-request-id").unwrap(),
        "mine"
    );
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_no_cancellation() {
    let sandbox = Sandbox::start(cancelot::sandbox::Options::default()).unwrap();
    let place = Place::new(&sandbox, "");
    let unread = place.unread_log();
    let (process, url) = place.serve().await;
    let mut client = try_connect(&url).await.unwrap();

    // More lines than a pipe holds.
    let items = (0..2_000).map(|n| subscription(Provider::Rebilly, format!("s{n}"), now()));
    let sent = client
        .cancel_subscription(request("many", items))
        .await
        .unwrap();
    let (_, results) = in_time(subscription_results(sent.into_inner()))
        .await
        .unwrap();

    assert_eq!(results.len(), 2_000);
    process.terminate();
    assert!(process.ended().await.success());
    drop(unread);
}

/// Why a call was refused, and with which status, as its line says.
fn cause(line: &Value) -> String {
    let text = |field: &str| line[field].as_str().unwrap_or("-").to_owned();
    [text("reason"), text("code")].join(" ")
}

/// The lines that report one refusal each, and how many the summary lines stand for, by reason.
fn refusals(log: &str) -> (Vec<Value>, BTreeMap<String, u64>) {
    let (counts, told): (Vec<_>, Vec<_>) = lines(log, "refused")
        .into_iter()
        .partition(|line| line["suppressed"].is_u64());
    let mut counted = BTreeMap::new();
    for line in counts {
        *counted.entry(cause(&line)).or_default() += line["suppressed"].as_u64().unwrap();
    }
    (told, counted)
}

/// Lines that a flood may write: a few more than it does at once, in case it takes minutes.
const FLOOD_LINES_MAX: usize = 60;

#[tokio::test]
async fn a_flood_of_refused_calls_is_thinned_out_and_the_rest_is_counted() {
    const CALLS: usize = 1_000;
    let sandbox = Sandbox::start(cancelot::sandbox::Options::default()).unwrap();
    let files = Files::new();
    let token = files.write("token", "billing-0123456789abcdef");
    let place = Place::new(
        &sandbox,
        &format!(
            "[log]\nformat = \"json\"\n[callers.billing]\ntoken_file = {token}\n\
             methods = [\"ListAccounts\"]\n"
        ),
    );
    let (process, url) = place.serve().await;
    let mut client = try_connect(&url).await.unwrap();
    for _ in 0..CALLS {
        let refused = client.list_accounts(ListAccountsRequest {}).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    }
    let other = by("billing-0123456789abcdef", request("key", []));
    let refused = client.cancel_subscription(other).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    process.terminate();
    assert!(process.ended().await.success());

    let (told, counted) = refusals(&place.stderr());
    let of = |why: &str| told.iter().filter(|line| cause(line) == why).count();
    let missing = "CREDENTIALS_MISSING UNAUTHENTICATED";
    let strangers = of(missing);
    assert!((50..FLOOD_LINES_MAX).contains(&strangers), "{strangers}");
    let other = of("METHOD_NOT_ALLOWED PERMISSION_DENIED");
    assert_eq!(other, 1, "others pass a flood by");
    let rest = u64::try_from(CALLS - strangers).unwrap();
    assert_eq!(counted, [(missing.to_owned(), rest)].into());
}

#[tokio::test]
async fn a_flood_of_handshakes_that_fail_is_thinned_out_too() {
    const CONNECTIONS: usize = 300;
    let sandbox = Sandbox::start(cancelot::sandbox::Options::default()).unwrap();
    let files = Files::new();
    let server = files.server(&Authority::new("server").server());
    let config = format!("[log]\nformat = \"json\"\n[server]\n{server}");
    let place = Place::new(&sandbox, &config);
    let (process, url) = place.serve().await;
    for _ in 0..CONNECTIONS {
        let plain = Wire::silent(&url, b"GET / HTTP/1.1\r\n\r\n").await;
        in_time(plain.closed()).await;
    }
    process.terminate();
    assert!(process.ended().await.success());

    let log = place.stderr();
    let (told, counted) = refusals(&log);
    assert!((50..FLOOD_LINES_MAX).contains(&told.len()), "{log}");
    let rest = u64::try_from(CONNECTIONS - told.len()).unwrap();
    assert_eq!(counted, [("HANDSHAKE_FAILED -".to_owned(), rest)].into());
    // No other lines report each refusal.
    assert!(log.lines().count() < 2 * FLOOD_LINES_MAX, "{log}");
}

#[tokio::test]
async fn places_that_are_taken_over_and_over_are_few_lines() {
    const ROUNDS: usize = 300;
    let sandbox = Sandbox::start(cancelot::sandbox::Options::default()).unwrap();
    let config = "[log]\nformat = \"json\"\n[server]\nconnections_max = 2\n";
    let place = Place::new(&sandbox, config);
    let (process, url) = place.serve().await;
    for _ in 0..ROUNDS {
        let mut taken = Vec::new();
        for _ in 0..3 {
            let mut wire = Wire::connect(&url, &[]).await;
            assert!(in_time(wire.answers()).await);
            taken.push(wire);
        }
    }
    process.terminate();
    assert!(process.ended().await.success());

    let log = place.stderr();
    let told = lines(&log, "all places are taken");
    assert!((1..FLOOD_LINES_MAX).contains(&told.len()), "{}", told.len());
}
