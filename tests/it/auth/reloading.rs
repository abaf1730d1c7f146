//! Callers, their policies and issuers are taken from the configuration file as it changes, and
//! nothing else is.

use cancelot::{
    app::Reloaded,
    rpc::proto::{ListAccountsRequest, Outcome},
    sandbox::{Fault, Provider},
};
use tonic::Code;

use crate::{
    edge::frames::{CANCEL, grpc},
    observability::metrics::Scrape,
    support::{
        BILLING_TOKEN, Gateway, SUPPORT_TOKEN,
        asking::Reader,
        gateway,
        identities::{by, called_as, one, reason, refused_as},
        now,
        pki::Files,
        request,
        slow::Slow,
        subscription,
    },
};

const NEW: &str = "newcomer-0123456789abcdef";
const NONE_CHANGED: Reloaded = Reloaded {
    changed: 0,
    failed: 0,
};
const FAILED: Reloaded = Reloaded {
    changed: 0,
    failed: 1,
};

/// `billing` with these lines, and `support`.
async fn two_callers(lines: &str) -> Gateway {
    gateway()
        .config("[server]\nadmin_listen = \"127.0.0.1:0\"")
        .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"")
        .config(lines)
        .config("[callers.support]\ntoken_env = \"SUPPORT_TOKEN\"")
        .start()
        .await
}

async fn sends(gateway: &Gateway, token: &str, key: &str, items: usize) -> Result<usize, String> {
    let item = |i| subscription(Provider::Rebilly, format!("{key}-{i}"), now());
    let message = request(key, (0..items).map(item));
    let mut client = gateway.client.clone();
    let sent = client.cancel_subscription(by(token, message)).await;
    let stream = sent.map_err(|status| reason(&status))?;
    Ok(Reader::new(stream.into_inner()).rest().await.unwrap().len())
}

#[tokio::test]
async fn a_policy_that_changes_is_in_effect_at_once_and_on_open_connections() {
    let mut gateway = two_callers("batch_items_max = 1").await;
    assert_eq!(sends(&gateway, BILLING_TOKEN, "a", 2).await, violated());
    let changed = gateway
        .change("batch_items_max = 1", "batch_items_max = 2")
        .await;
    assert_eq!((changed.changed, changed.failed), (1, 0));
    assert_eq!(sends(&gateway, BILLING_TOKEN, "a", 2).await, Ok(2));

    let to = "methods = [\"GetCancellation\"]";
    gateway.change("batch_items_max = 2", to).await;
    let refused = sends(&gateway, BILLING_TOKEN, "b", 1).await;
    assert_eq!(refused, Err("METHOD_NOT_ALLOWED".to_owned()));
    assert_eq!(sends(&gateway, SUPPORT_TOKEN, "c", 1).await, Ok(1));
    assert_eq!(gateway.reload().await, NONE_CHANGED);

    gateway.stop().await;
    let told = gateway.events("reloaded");
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0]["what"], "configuration");
    let settings = serde_json::json!(["callers.billing.batch_items_max"]);
    assert_eq!(told[0]["settings"], settings);
}

fn violated() -> Result<usize, String> {
    Err("POLICY_VIOLATED".to_owned())
}

#[tokio::test]
async fn a_caller_that_is_added_is_let_in_and_one_that_is_taken_out_is_not() {
    let files = Files::new();
    let token = files.write("token", NEW);
    let mut gateway = two_callers("").await;
    let newcomer = format!("[callers.newcomer]\ntoken_file = {token}\n[callers.support]");
    let client = gateway.client.clone();
    assert_eq!(refused_as(&client, Some(NEW)).await, "UNAUTHENTICATED");

    gateway.change("[callers.support]", &newcomer).await;
    let called = called_as(&client, Some(NEW), "a").await;
    assert_eq!(called.unwrap(), "newcomer");
    // Its file is looked at from now on.
    files.write("token", "");
    assert_eq!(gateway.reload().await.changed, 1);
    assert_eq!(refused_as(&client, Some(NEW)).await, "UNAUTHENTICATED");
    files.write("token", NEW);
    assert_eq!(gateway.reload().await.changed, 1);

    // What is under way goes on, and its stream tells of it.
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let sent = client
        .clone()
        .cancel_subscription(by(NEW, one("K", "b")))
        .await;
    let mut open = Reader::new(sent.unwrap().into_inner());
    gateway.control.held_reached(Provider::Rebilly, 1).await;
    gateway.change(&newcomer, "[callers.support]").await;
    assert_eq!(refused_as(&client, Some(NEW)).await, "UNAUTHENTICATED");
    gateway.control.release(Provider::Rebilly);
    let results = open.rest().await.unwrap();
    assert_eq!(results[0].outcome(), Outcome::Canceled);
    let support = called_as(&client, Some(SUPPORT_TOKEN), "c").await;
    assert_eq!(support.unwrap(), "support");
    // Nor is its file looked at.
    std::fs::remove_file(files.path("token")).unwrap();
    assert_eq!(gateway.reload().await, NONE_CHANGED);
}

#[tokio::test]
async fn a_request_that_arrives_after_its_caller_was_taken_out_is_not_taken_on() {
    let files = Files::new();
    let token = files.write("token", NEW);
    let newcomer = format!("[callers.newcomer]\ntoken_file = {token}\n[callers.support]");
    let mut gateway = two_callers("").await;
    gateway.change("[callers.support]", &newcomer).await;
    for (from, to, code) in [
        (
            "[callers.newcomer]\n",
            "[callers.newcomer]\nmethods = \"StopBatch\"\n",
            Code::PermissionDenied,
        ),
        (&newcomer, "[callers.support]", Code::Unauthenticated),
    ] {
        let proof = format!("Bearer {NEW}");
        let head = [("authorization", &*proof)];
        let before = begun(&gateway).await;
        let mut call = Slow::open_at(&gateway, CANCEL, &head).await;
        let mut body = grpc(&one("K", "late"));
        let rest = body.split_off(body.len() / 2);
        call.body.send_data(body.into(), false).unwrap();
        while begun(&gateway).await <= before {
            tokio::task::yield_now().await;
        }
        gateway.change(from, to).await;
        call.body.send_data(rest.into(), true).unwrap();
        assert_eq!(call.status().await.code(), code);
        gateway.change(to, from).await;
    }
    assert_eq!(gateway.requests(Provider::Rebilly), 0);
}

/// Calls of CancelSubscription that have begun.
async fn begun(gateway: &Gateway) -> f64 {
    let scrape = Scrape::of(gateway).await;
    scrape.value(STARTED).unwrap()
}

const STARTED: &str = "grpc_server_started_total{grpc_type=\"server_stream\",\
                       grpc_service=\"cancelot.v1.CancellationService\",\
                       grpc_method=\"CancelSubscription\"}";

#[tokio::test]
async fn the_last_callers_are_not_taken_out_as_that_would_let_everybody_in() {
    let mut gateway = two_callers("").await;
    let callers = "[callers.billing]\ntoken_env = \"BILLING_TOKEN\"\n\n\
                   [callers.support]\ntoken_env = \"SUPPORT_TOKEN\"\n";
    assert_eq!(gateway.change(callers, "").await, FAILED);
    assert_eq!(refused_as(&gateway.client, None).await, "UNAUTHENTICATED");
    let called = called_as(&gateway.client, Some(BILLING_TOKEN), "a").await;
    assert_eq!(called.unwrap(), "billing");
}

#[tokio::test]
async fn a_file_that_is_wrong_or_gone_changes_nothing_and_is_told() {
    let mut gateway = two_callers("batch_items_max = 2").await;
    for (from, to) in [
        ("batch_items_max = 2", "batch_items_max = 0"),
        ("batch_items_max = 0", "batch_items_mx = 2"),
        ("batch_items_mx = 2", "batch_items_max = "),
    ] {
        assert_eq!(gateway.change(from, to).await, FAILED, "{to}");
        assert_eq!(sends(&gateway, BILLING_TOKEN, "a", 2).await, Ok(2));
        assert_eq!(sends(&gateway, BILLING_TOKEN, "b", 3).await, violated());
    }
    let failing = "cancelot_reload_failing{setting=\"configuration\"}";
    Scrape::of(&gateway).await.check(failing, 1.0);
    std::fs::remove_file(gateway.config_file()).unwrap();
    assert_eq!(gateway.reload().await, FAILED);
    assert_eq!(sends(&gateway, BILLING_TOKEN, "a", 2).await, Ok(2));

    let fixed = gateway.change("batch_items_max = ", "batch_items_max = 3");
    assert_eq!(fixed.await.changed, 1);
    assert_eq!(sends(&gateway, BILLING_TOKEN, "b", 3).await, Ok(3));
    Scrape::of(&gateway).await.check(failing, 0.0);

    gateway.stop().await;
    let told = gateway.events("reload_failed");
    let reasons = told.iter().map(|line| line["reason"].as_str().unwrap());
    let reasons: Vec<_> = reasons.collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(
        reasons[0].contains("callers.billing.batch_items_max"),
        "{reasons:?}"
    );
    assert!(told.iter().all(|line| line["what"] == "configuration"));
}

#[tokio::test]
async fn what_takes_a_restart_is_counted_and_not_taken() {
    let mut gateway = two_callers("batch_items_max = 1").await;
    let waiting = "cancelot_restart_needed_settings";
    Scrape::of(&gateway).await.check(waiting, 0.0);
    let more = "[engine]\nopen_items_max = 20000\nretry_window_ms = 60000\n";
    gateway.change("[engine]\n", more).await;
    Scrape::of(&gateway).await.check(waiting, 2.0);
    gateway
        .change("batch_items_max = 1", "batch_items_max = 2")
        .await;
    assert_eq!(sends(&gateway, BILLING_TOKEN, "a", 2).await, Ok(2));
    Scrape::of(&gateway).await.check(waiting, 2.0);
    gateway.change(more, "[engine]\n").await;
    Scrape::of(&gateway).await.check(waiting, 0.0);
}

#[tokio::test]
async fn an_hour_that_is_used_stays_used_whatever_becomes_of_the_policy() {
    let exhausted = Err("HOURLY_ITEMS_EXHAUSTED".to_owned());
    let mut gateway = two_callers("hourly_items_max = 5").await;
    assert_eq!(sends(&gateway, BILLING_TOKEN, "a", 4).await, Ok(4));
    gateway
        .change("hourly_items_max = 5", "hourly_items_max = 6")
        .await;
    assert_eq!(sends(&gateway, BILLING_TOKEN, "b", 3).await, exhausted);
    assert_eq!(sends(&gateway, BILLING_TOKEN, "c", 2).await, Ok(2));
    // Without a limit nothing is counted, and all of it counts when there is one again.
    gateway
        .change("hourly_items_max = 6", "scans_max = 3")
        .await;
    assert_eq!(sends(&gateway, BILLING_TOKEN, "d", 3).await, Ok(3));
    gateway
        .change("scans_max = 3", "hourly_items_max = 10")
        .await;
    assert_eq!(sends(&gateway, BILLING_TOKEN, "e", 2).await, exhausted);
    assert_eq!(sends(&gateway, BILLING_TOKEN, "f", 1).await, Ok(1));
}

#[tokio::test]
async fn room_is_shared_by_the_callers_that_there_are() {
    let mut gateway = two_callers("").await;
    for _ in 0..3 {
        gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    }
    // A bound of its own holds a caller that had none, and leaves what is open.
    let mut client = gateway.client.clone();
    let item = |i| subscription(Provider::Rebilly, format!("open-{i}"), now());
    let sent = client
        .cancel_subscription(by(BILLING_TOKEN, request("open", (0..3).map(item))))
        .await;
    let mut open = Reader::new(sent.unwrap().into_inner());
    gateway.control.held_reached(Provider::Rebilly, 3).await;
    gateway
        .change("[callers.support]", "open_items_max = 4\n[callers.support]")
        .await;
    let full = sends(&gateway, BILLING_TOKEN, "two", 2).await;
    assert_eq!(full, Err("SERVICE_FULL".to_owned()));
    gateway.control.release(Provider::Rebilly);
    assert_eq!(open.rest().await.unwrap().len(), 3);
    assert_eq!(sends(&gateway, BILLING_TOKEN, "two", 2).await, Ok(2));
}

#[tokio::test]
async fn an_issuer_that_is_added_or_changed_is_believed_as_the_file_says() {
    use super::jwt::{Signer, claims, jwks};
    let signer = Signer::ec("k");
    let files = Files::new();
    let keys = files.write("jwks", &jwks([&signer]));
    let token = signer.sign(&claims());
    let mut gateway = two_callers("").await;
    let client = gateway.client.clone();
    assert_eq!(refused_as(&client, Some(&token)).await, "UNAUTHENTICATED");

    let added = format!(
        "[issuers.test]\nissuer = \"https://issuer.test\"\naudiences = \"cancelot\"\n\
         jwks_file = {keys}\n[callers.worker]\njwt_issuer = \"test\"\n\
         jwt_subjects = \"system:serviceaccount:billing:worker\"\n[callers.support]"
    );
    gateway.change("[callers.support]", &added).await;
    let called = called_as(&client, Some(&token), "a").await;
    assert_eq!(called.unwrap(), "worker");
    gateway.change("\"cancelot\"", "\"another\"").await;
    assert_eq!(refused_as(&client, Some(&token)).await, "UNAUTHENTICATED");
    gateway.change("\"another\"", "\"cancelot\"").await;
    let called = called_as(&client, Some(&token), "b").await;
    assert_eq!(called.unwrap(), "worker");
    // Its keys are looked at.
    files.write("jwks", "{\"keys\":[]}");
    gateway.reload().await;
    assert_eq!(refused_as(&client, Some(&token)).await, "UNAUTHENTICATED");
}

#[tokio::test]
async fn who_was_let_in_by_nobody_needing_a_proof_needs_one_when_there_are_callers() {
    let mut gateway = gateway().start().await;
    let mut client = gateway.client.clone();
    client.list_accounts(ListAccountsRequest {}).await.unwrap();
    let callers = "[callers.billing]\ntoken_env = \"BILLING_TOKEN\"\n[engine]";
    assert_eq!(gateway.change("[engine]", callers).await.changed, 1);
    let refused = client.list_accounts(ListAccountsRequest {}).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let called = called_as(&client, Some(BILLING_TOKEN), "a").await;
    assert_eq!(called.unwrap(), "billing");
}
