//! The audit: what it records of whom, that nothing is missing, and that every change to it is
//! found.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use cancelot::{
    rpc::proto::{
        CancelEnrollmentsRequest, CancellationKind, EnrollmentCancellation, GetCancellationRequest,
        Initiator, ListCancellationsRequest, Outcome, Reason, StopBatchRequest,
        enrollment_cancellation::Target,
    },
    sandbox::Provider,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tonic::{Code, Request};

use crate::support::{
    BILLING_TOKEN, Gateway, SUPPORT_TOKEN, gateway, in_time, now, period_end, request, subscription,
};

/// The lines of an audit, as JSON.
pub(crate) fn lines(dir: &Path) -> Vec<Value> {
    let mut lines = Vec::new();
    for file in files(dir) {
        let text = fs::read_to_string(file).unwrap();
        lines.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
    }
    lines
}

/// The files of an audit, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    files.sort();
    files
}

/// What `cancelot audit` says, and its exit code.
pub(crate) fn audit(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cancelot"))
        .arg("audit")
        .args(arguments)
        .output()
        .unwrap();
    let mut said = String::from_utf8(output.stdout).unwrap();
    said.push_str(&String::from_utf8(output.stderr).unwrap());
    (output.status.code().unwrap(), said)
}

/// What the audit says of a token that was shown.
fn fingerprint(token: &str) -> String {
    let digest = Sha256::digest(token);
    let digits = digest.iter().take(4).map(|byte| format!("{byte:02x}"));
    format!("token:{}", digits.collect::<String>())
}

fn verify(journal: &Path) -> (i32, String) {
    audit(&["verify", "--journal", journal.to_str().unwrap()])
}

impl Gateway {
    fn audit_dir(&self) -> PathBuf {
        self.journal_dir().join("audit")
    }

    /// The lines of one event, once it has stopped.
    pub(crate) fn events(&self, event: &str) -> Vec<Value> {
        let mut lines = lines(&self.audit_dir());
        lines.retain(|line| line["event"] == event);
        lines
    }
}

const CALLERS: &str = "[callers.billing]\ntoken_env = \"BILLING_TOKEN\"\n\
                       [callers.support]\ntoken_env = \"SUPPORT_TOKEN\"";

fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

#[tokio::test]
async fn a_line_says_who_did_what_when_and_why_and_how_it_ended() {
    let mut gateway = gateway().config(CALLERS).start().await;
    let mut item = subscription(Provider::Rebilly, "sub-1", period_end());
    item.set_reason(Reason::TooExpensive);
    item.set_initiated_by(Initiator::Customer);
    item.comment = "ann@example.com said so".to_owned();
    let sent = by(BILLING_TOKEN, request("order-1", [item]));
    let mut stream = gateway
        .client
        .cancel_subscription(sent)
        .await
        .unwrap()
        .into_inner();
    let (mut results, mut batch) = (Vec::new(), String::new());
    while let Some(message) = stream.message().await.unwrap() {
        batch = message.progress.unwrap().batch_id;
        results.extend(message.results);
    }
    gateway.stop().await;

    let admitted = &gateway.events("admitted")[..];
    let settled = &gateway.events("settled")[..];
    let ([admitted], [settled]) = (admitted, settled) else {
        panic!("{admitted:?} {settled:?}");
    };
    for line in [admitted, settled] {
        for (field, value) in [
            ("caller", "billing"),
            ("method", "CancelSubscription"),
            ("batch", &*batch),
            ("key", "order-1/0"),
            ("account", "rebilly"),
            ("target", "sub-1"),
            ("when", "period_end"),
            ("reason", "too-expensive"),
            ("initiated_by", "customer"),
        ] {
            assert_eq!(line[field], value, "{field}: {line}");
        }
        assert_eq!(line["index"], 0);
    }
    assert_eq!(settled["outcome"], "scheduled");
    assert_eq!(settled["attempts"], results[0].attempts);
    let reference = settled["provider_reference"].as_str().unwrap();
    let state = results[0].state.as_ref().unwrap();
    assert_eq!(reference, state.cancellation_id);
    let text = fs::read_to_string(&files(&gateway.audit_dir())[0]).unwrap();
    assert!(!text.contains("ann@example.com"), "{text}");
    assert_eq!(verify(&gateway.journal_dir()).0, 0);
}

#[tokio::test]
async fn a_failure_has_its_reason_and_what_the_provider_said() {
    let mut gateway = gateway()
        .account(
            Provider::Solidgate,
            "credential_env = \"INVALID_CREDENTIAL\"",
        )
        .engine("retry_window_ms = 1000")
        .start()
        .await;
    let item = subscription(Provider::Solidgate, "sub-1", now());
    let result = gateway.cancel_one("k", item).await.unwrap();
    gateway.stop().await;
    let settled = gateway.events("settled").remove(0);
    assert_eq!(result.outcome(), Outcome::Unavailable);
    assert_eq!(settled["outcome"], "unavailable");
    assert_eq!(settled["failure"], "CREDENTIALS_REFUSED");
    assert_eq!(settled["provider_status"], 401);
    assert!(!settled.to_string().contains("invalid-credential"));
}

#[tokio::test]
async fn of_enrollments_ids_are_kept_and_values_only_counted() {
    let mut gateway = gateway().start().await;
    let aims = [
        Target::SubscriberId("ann".to_owned()),
        Target::Field(cancelot::rpc::proto::FieldMatch {
            path: "customer.email".to_owned(),
            values: vec!["bob@example.com".to_owned(), "eve@example.com".to_owned()],
        }),
        Target::All(Default::default()),
    ];
    let items = (0..).zip(aims).map(|(n, target)| EnrollmentCancellation {
        account: Provider::Sequenzy.name().to_owned(),
        sequence_id: format!("seq-{n}"),
        target: Some(target),
        dry_run: Some(false),
        reason: "closed by eve@example.com".to_owned(),
        ..Default::default()
    });
    let request = CancelEnrollmentsRequest {
        idempotency_key: "e".to_owned(),
        cancellations: items.collect(),
        ..Default::default()
    };
    gateway.cancel_enrollments(request).await.unwrap();
    gateway.stop().await;
    let admitted = gateway.events("admitted");
    assert_eq!(admitted.len(), 3);
    assert_eq!(admitted[0]["subscribers"][0], "ann");
    assert_eq!(admitted[1]["field_path"], "customer.email");
    assert_eq!(admitted[1]["values_count"], 2);
    assert_eq!(admitted[2]["everyone"], true);
    assert_eq!(admitted[2]["reason"], "closed by (e-mail removed)");
    let settled = gateway.events("settled");
    assert_eq!(settled.len(), 3);
    assert!(
        settled.iter().all(|line| line["matched"].is_u64()),
        "{settled:?}"
    );
    let text = fs::read_to_string(&files(&gateway.audit_dir())[0]).unwrap();
    assert!(!text.contains("@example.com"), "{text}");
}

#[tokio::test]
async fn stops_and_what_they_stopped_are_told() {
    let mut gateway = gateway().start().await;
    gateway.stop_sandbox().await;
    let items = ["a", "b"].map(|id| subscription(Provider::Rebilly, id, now()));
    let mut reader = gateway.open(request("k", items)).await;
    reader.next().await.unwrap();
    let batch = reader.progress.batch_id.clone();
    gateway.stop_batch(&batch).await.unwrap();
    in_time(reader.rest()).await.unwrap();
    gateway.stop().await;
    let stopped = gateway.events("stopped");
    assert_eq!(stopped.len(), 1);
    assert_eq!(stopped[0]["batch"], *batch);
    assert_eq!(stopped[0]["caller"], "anonymous");
    assert_eq!(stopped[0]["method"], "StopBatch");
    assert_eq!(stopped[0]["indexes"], serde_json::json!([[0, 1]]));
    assert_eq!(stopped[0]["items"], 2);
    let lines = gateway.events("settled");
    let settled = settled_of(&lines);
    assert_eq!(settled.keys().copied().collect::<Vec<_>>(), [0, 1]);
    assert!(settled.values().all(|line| line["outcome"] == "stopped"));
    // Whoever asks for one of them finds what became of it.
    let journal = gateway.journal_dir();
    for key in ["k/0", "k/1"] {
        let (code, said) = audit(&["--journal", journal.to_str().unwrap(), "--key", key]);
        assert_eq!(code, 0, "{said}");
        let events = said.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["event"].as_str().unwrap().to_owned()
        });
        let events: Vec<_> = events.collect();
        assert_eq!(events, ["admitted", "stopped", "settled"], "{said}");
    }
}

/// Which line says how each item ended.
fn settled_of(lines: &[Value]) -> BTreeMap<u64, &Value> {
    let mut settled = BTreeMap::new();
    for line in lines {
        for index in indexes(line) {
            assert!(settled.insert(index, line).is_none(), "{index} ends once");
        }
    }
    settled
}

/// Which items of its batch a line is of.
pub(crate) fn indexes(line: &Value) -> Vec<u64> {
    match line["indexes"].as_array() {
        Some(ranges) => ranges
            .iter()
            .flat_map(|range| range[0].as_u64().unwrap()..=range[1].as_u64().unwrap())
            .collect(),
        None => vec![line["index"].as_u64().unwrap()],
    }
}

/// Lines and bytes of an audit.
fn size(gateway: &Gateway) -> (usize, usize) {
    let files = files(&gateway.audit_dir());
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    texts.fold((0, 0), |(lines, bytes), text| {
        (lines + text.lines().count(), bytes + text.len())
    })
}

#[tokio::test]
async fn resends_and_stops_in_turns_take_a_few_lines_each_however_many_items_there_are() {
    const ITEMS: usize = 2_000;
    const TURNS: usize = 5;
    let mut gateway = gateway().start().await;
    gateway.stop_sandbox().await;
    let send = || {
        let ids = (0..ITEMS).map(|n| format!("sub-{n}"));
        request(
            "k",
            ids.map(|id| subscription(Provider::Rebilly, id, now())),
        )
    };
    let mut before = (0, 0);
    for turn in 0..=TURNS {
        let mut reader = gateway.open(send()).await;
        reader.next().await.unwrap();
        let batch = reader.progress.batch_id.clone();
        gateway.stop_batch(&batch).await.unwrap();
        in_time(reader.rest()).await.unwrap();
        if turn == 0 {
            gateway.restart().await;
            before = size(&gateway);
        }
    }
    gateway.stop().await;

    let after = size(&gateway);
    let (lines, bytes) = ((after.0 - before.0) / TURNS, (after.1 - before.1) / TURNS);
    assert!(lines < 40 && bytes < 40_000, "{lines} lines, {bytes} bytes");
    let admitted = gateway.events("admitted");
    assert_eq!(admitted.len(), ITEMS);
    for (event, times) in [("opened", TURNS), ("settled", TURNS + 1)] {
        let told = gateway.events(event);
        let mut count = vec![0; ITEMS];
        for index in told.iter().flat_map(indexes) {
            count[usize::try_from(index).unwrap()] += 1;
        }
        assert!(count.iter().all(|count| *count == times), "{event}");
        assert!(told.iter().all(|line| line["account"] == "rebilly"));
    }
    assert_eq!(verify(&gateway.journal_dir()).0, 0);
}

#[tokio::test]
async fn how_requests_came_that_stopped_a_batch_and_opened_it_again_is_told() {
    let mut gateway = gateway().config(CALLERS).start().await;
    let port = gateway.stop_sandbox().await;
    let mut client = gateway.client.clone();
    let message = || {
        request(
            "k",
            ["a", "b"].map(|id| subscription(Provider::Rebilly, id, now())),
        )
    };
    let sent = client
        .cancel_subscription(by(BILLING_TOKEN, message()))
        .await;
    let mut open = sent.unwrap().into_inner();
    let first = open.message().await.unwrap().unwrap();
    let stop = StopBatchRequest {
        batch_id: first.progress.unwrap().batch_id,
    };
    client.stop_batch(by(BILLING_TOKEN, stop)).await.unwrap();
    while open.message().await.unwrap().is_some() {}
    gateway.start_sandbox(port);
    let sent = client
        .cancel_subscription(by(BILLING_TOKEN, message()))
        .await;
    let mut again = sent.unwrap().into_inner();
    while again.message().await.unwrap().is_some() {}
    gateway.stop().await;

    let (stopped, opened) = (gateway.events("stopped"), gateway.events("opened"));
    assert_eq!((stopped.len(), opened.len()), (1, 1));
    assert_eq!(
        (&stopped[0]["items"], &opened[0]["items"]),
        (&2.into(), &2.into())
    );
    for line in stopped.iter().chain(&opened) {
        let proofs = serde_json::json!([fingerprint(BILLING_TOKEN)]);
        assert_eq!(line["proofs"], proofs, "{line}");
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        assert!(line["request_id"].is_string(), "{line}");
    }
    assert_eq!(verify(&gateway.journal_dir()).0, 0);
}

#[tokio::test]
async fn who_looks_at_what_is_others_is_told_with_what_was_asked_for_and_how_much_was_seen() {
    let mut gateway = gateway()
        .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"\nauditor = true")
        .config("auditor_answers = true\n[callers.support]\ntoken_env = \"SUPPORT_TOKEN\"")
        .start()
        .await;
    let client = &mut gateway.client;
    let items = ["a", "b"].map(|id| subscription(Provider::Rebilly, id, now()));
    let sent = client.cancel_subscription(by(SUPPORT_TOKEN, request("k", items)));
    let mut results = sent.await.unwrap().into_inner();
    while results.message().await.unwrap().is_some() {}
    let list = ListCancellationsRequest {
        all_callers: true,
        account: "rebilly".to_owned(),
        outcomes: vec![Outcome::Canceled.into(); 3],
        include_provider_response: true,
        ..Default::default()
    };
    let listed = client.list_cancellations(by(BILLING_TOKEN, list)).await;
    assert_eq!(listed.unwrap().into_inner().cancellations.len(), 2);
    let get = |caller: &str| GetCancellationRequest {
        kind: CancellationKind::Subscription.into(),
        idempotency_key: "k/1".to_owned(),
        caller: caller.to_owned(),
        ..Default::default()
    };
    let got = client.get_cancellation(by(BILLING_TOKEN, get("support")));
    got.await.unwrap();
    // Whoever tries keys of others is told of too if there is no such key.
    let tried = GetCancellationRequest {
        idempotency_key: "k/9".to_owned(),
        ..get("support")
    };
    let tried = client.get_cancellation(by(BILLING_TOKEN, tried)).await;
    assert_eq!(tried.unwrap_err().code(), Code::NotFound);
    // Whoever may not is refused, with the key.
    let denied = GetCancellationRequest {
        idempotency_key: "k/9".to_owned(),
        ..get("billing")
    };
    let denied = client.get_cancellation(by(SUPPORT_TOKEN, denied)).await;
    assert_eq!(denied.unwrap_err().code(), Code::PermissionDenied);
    // Whoever looks at its own has no line.
    let got = client.get_cancellation(by(SUPPORT_TOKEN, get("")));
    got.await.unwrap();
    let dry = CancelEnrollmentsRequest {
        idempotency_key: "dry".to_owned(),
        cancellations: vec![EnrollmentCancellation {
            account: "sequenzy".to_owned(),
            sequence_id: "seq".to_owned(),
            target: Some(Target::All(Default::default())),
            max_matches: Some(7),
            ..Default::default()
        }],
        ..Default::default()
    };
    let sent = client.cancel_enrollments(by(SUPPORT_TOKEN, dry)).await;
    let mut results = sent.unwrap().into_inner();
    while results.message().await.unwrap().is_some() {}
    gateway.stop().await;

    let reads = gateway.events("read");
    assert_eq!(reads.len(), 3, "{reads:?}");
    for line in &reads {
        assert_eq!(line["caller"], "billing");
        assert_eq!(
            line["proofs"],
            serde_json::json!([fingerprint(BILLING_TOKEN)])
        );
    }
    assert_eq!(reads[0]["method"], "ListCancellations");
    assert_eq!(reads[0]["whose"], "*");
    let filters = serde_json::json!(["account=rebilly", "outcome=OUTCOME_CANCELED"]);
    assert_eq!(reads[0]["filters"], filters);
    assert_eq!(reads[0]["records"], 2);
    assert_eq!(reads[0]["answers"], true);
    assert_eq!(reads[1]["whose"], "support");
    assert_eq!(reads[1]["filters"], serde_json::json!(["key=k/1"]));
    assert_eq!(reads[1]["records"], 1);
    assert_eq!(reads[2]["whose"], "support");
    assert_eq!(reads[2]["filters"], serde_json::json!(["key=k/9"]));
    assert_eq!(reads[2]["records"], 0);
    let refused = gateway.events("refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["caller"], "support");
    assert_eq!(refused[0]["key"], "k/9");
    let dry_runs = gateway.events("dry_run");
    assert_eq!(dry_runs.len(), 1);
    assert_eq!(dry_runs[0]["caller"], "support");
    assert_eq!(dry_runs[0]["items"], 1);
    assert_eq!(dry_runs[0]["people"], 7);
    let config = gateway.events("started")[0]["config"].clone();
    assert_eq!(config.as_str().unwrap().len(), 64);
    assert_eq!(verify(&gateway.journal_dir()).0, 0);
}

#[tokio::test]
async fn refusals_are_told_with_who_asked_and_why() {
    let mut gateway = gateway().config(CALLERS).start().await;
    let item = |id| subscription(Provider::Rebilly, id, now());
    let client = &mut gateway.client;
    let unknown = by("no-such-token-0123456789", request("k", [item("a")]));
    let status = client.cancel_subscription(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let first = client
        .cancel_subscription(by(BILLING_TOKEN, request("k", [item("a")])))
        .await;
    let (mut first, mut batch) = (first.unwrap().into_inner(), String::new());
    while let Some(message) = first.message().await.unwrap() {
        batch = message.progress.unwrap().batch_id;
    }
    let other = by(BILLING_TOKEN, request("k", [item("b")]));
    let status = client.cancel_subscription(other).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let invalid = by(BILLING_TOKEN, request("bad", [item("")]));
    client.cancel_subscription(invalid).await.unwrap_err();
    let stop = StopBatchRequest {
        batch_id: batch.clone(),
    };
    client
        .stop_batch(by(SUPPORT_TOKEN, stop))
        .await
        .unwrap_err();
    gateway.stop().await;

    let refused = gateway.events("refused");
    let told: Vec<_> = refused
        .iter()
        .map(|line| {
            let text = |field: &str| line[field].as_str().unwrap_or("-").to_owned();
            [text("reason"), text("code"), text("caller"), text("key")].join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "UNAUTHENTICATED UNAUTHENTICATED - -",
            "IDEMPOTENCY_KEY_REUSED FAILED_PRECONDITION billing k",
            "INVALID_REQUEST INVALID_ARGUMENT billing bad",
            "NOT_FOUND NOT_FOUND support -",
        ]
    );
    assert_eq!(refused[3]["batch"], *batch);
    let admitted = gateway.events("admitted");
    for (line, token) in [
        (&refused[0], "no-such-token-0123456789"),
        (&refused[1], BILLING_TOKEN),
        (&refused[3], SUPPORT_TOKEN),
        (&admitted[0], BILLING_TOKEN),
    ] {
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        assert_eq!(line["request_id"].as_str().unwrap().len(), 32);
        assert_eq!(line["proofs"], serde_json::json!([fingerprint(token)]));
    }
    assert_eq!(verify(&gateway.journal_dir()).0, 0);
}

#[tokio::test]
async fn a_restart_goes_on_in_the_same_chain_and_a_repeat_is_no_second_admission() {
    let mut gateway = gateway().start().await;
    let send = || request("k", [subscription(Provider::Rebilly, "a", now())]);
    gateway.cancel(send()).await.unwrap();
    gateway.restart().await;
    gateway.cancel(send()).await.unwrap();
    gateway
        .cancel_one("other", subscription(Provider::Rebilly, "b", now()))
        .await
        .unwrap();
    gateway.stop().await;
    assert_eq!(gateway.events("admitted").len(), 2);
    assert_eq!(gateway.events("settled").len(), 2);
    assert_eq!(gateway.events("started").len(), 2);
    let seqs: Vec<_> = lines(&gateway.audit_dir())
        .iter()
        .map(|line| line["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=6).collect::<Vec<_>>());
    let (code, said) = verify(&gateway.journal_dir());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("\"journal\":\"compared\""), "{said}");
}

#[tokio::test]
async fn the_export_filters_while_the_service_runs() {
    let mut gateway = gateway().start().await;
    let mut batches = Vec::new();
    for id in ["a", "b"] {
        let item = subscription(Provider::Rebilly, id, now());
        let mut reader = gateway.open(request(id, [item])).await;
        in_time(reader.rest()).await.unwrap();
        batches.push(reader.progress.batch_id);
    }
    let item = subscription(Provider::Solidgate, "c", now());
    gateway.cancel_one("c", item).await.unwrap();
    let journal = gateway.journal_dir();
    let journal = journal.to_str().unwrap();
    let export = |filter: &[&str]| {
        let (code, said) = audit(&[&["--journal", journal], filter].concat());
        assert_eq!(code, 0, "{said}");
        said.lines().count()
    };
    // The last line comes a moment after the outcome.
    in_time(async {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
        while export(&["--event", "settled"]) < 3 {
            looks.tick().await;
        }
    })
    .await;
    assert_eq!(export(&[]), 7);
    assert_eq!(export(&["--account", "rebilly"]), 4);
    assert_eq!(export(&["--target", "c", "--event", "admitted"]), 1);
    assert_eq!(
        export(&["--outcome", "canceled", "--batch", &batches[1]]),
        1
    );
    assert_eq!(export(&["--caller", "nobody"]), 0);
    assert_eq!(export(&["--since", "2100-01-01T00:00:00Z"]), 0);
    assert_eq!(
        export(&["--until", "2100-01-01T00:00:00Z", "--key", "b/0"]),
        2
    );
    let (code, said) = verify(&gateway.journal_dir());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("not compared"), "{said}");
    gateway.stop().await;
}

#[tokio::test]
async fn without_an_audit_nothing_is_written() {
    let mut gateway = gateway().config("[audit]\nenabled = false").start().await;
    let item = subscription(Provider::Rebilly, "a", now());
    gateway.cancel_one("k", item).await.unwrap();
    gateway.stop().await;
    assert!(!gateway.audit_dir().exists());
    assert_eq!(audit(&["verify"]).0, 64, "it needs to know where");
}

const DAY: i64 = 24 * 60 * 60;

#[tokio::test]
async fn an_audit_that_cannot_be_written_stops_admissions_and_they_come_back_by_themselves() {
    let mut gateway = gateway().config("[audit]\nlag_max = 3").start().await;
    let item = |id: &str| subscription(Provider::Rebilly, id, now());
    gateway.cancel_one("first", item("first")).await.unwrap();
    in_time(async {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
        while gateway.events("settled").is_empty() {
            looks.tick().await;
        }
    })
    .await;
    // The next file cannot be made: something else is where its directory was.
    gateway.advance(2 * DAY);
    let (dir, away) = (gateway.audit_dir(), gateway.journal_dir().join("away"));
    fs::rename(&dir, &away).unwrap();
    fs::write(&dir, "in the way").unwrap();
    let mut taken = 1;
    let refused = loop {
        let id = format!("sub-{taken}");
        match gateway.cancel_one(&id, item(&id)).await {
            Ok(_) => taken += 1,
            Err(status) => break status,
        }
        assert!(taken < 1_000, "it is never refused");
    };
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    let details = tonic_types::StatusExt::get_error_details(&refused);
    assert_eq!(details.error_info().unwrap().reason, "AUDIT_BEHIND");
    let counts = |text: &str| text.contains(|c: char| c.is_ascii_digit());
    assert!(
        !counts(refused.message()),
        "it tells what is others': {refused:?}"
    );
    assert!(details.retry_info().is_some());
    let replayed = gateway.cancel_one("first", item("first")).await.unwrap();
    assert!(replayed.replayed, "what is known is answered");

    fs::remove_file(&dir).unwrap();
    fs::rename(&away, &dir).unwrap();
    in_time(async {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(50));
        while gateway.cancel_one("last", item("last")).await.is_err() {
            looks.tick().await;
        }
    })
    .await;
    gateway.stop().await;
    assert_eq!(gateway.events("settled").len(), taken + 1);
    assert!(files(&gateway.audit_dir()).len() > 1);
    let (code, said) = verify(&gateway.journal_dir());
    assert_eq!(code, 0, "{said}");
}

#[tokio::test]
async fn when_the_audit_is_full_callers_beyond_their_share_wait_and_the_others_go_on() {
    let mut gateway = gateway()
        .config("[audit]\nbytes_max = 200000")
        .config(CALLERS)
        .start()
        .await;
    let item = |id: &str| subscription(Provider::Rebilly, id, now());
    let mut sent = 0;
    let refused = loop {
        let id = format!("sub-{sent}");
        let request = by(BILLING_TOKEN, request(&id, [item(&id)]));
        match gateway.client.cancel_subscription(request).await {
            Ok(results) => {
                let mut results = results.into_inner();
                while results.message().await.unwrap().is_some() {}
                sent += 1;
            }
            Err(status) => break status,
        }
        assert!(sent < 1_000, "it is never refused");
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let details = tonic_types::StatusExt::get_error_details(&refused);
    assert_eq!(details.error_info().unwrap().reason, "AUDIT_FULL");
    assert!(details.retry_info().is_some());
    assert!(!refused.message().contains("support"), "{refused:?}");

    // A restart changes nothing of it.
    gateway.restart().await;
    let new = by(BILLING_TOKEN, request("new", [item("new")]));
    let status = gateway.client.cancel_subscription(new).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    // A dry run that shows people is a line each time.
    for (token, code) in [
        (BILLING_TOKEN, Code::ResourceExhausted),
        (SUPPORT_TOKEN, Code::Ok),
    ] {
        let plan = CancelEnrollmentsRequest {
            idempotency_key: "dry".to_owned(),
            cancellations: vec![EnrollmentCancellation {
                account: "sequenzy".to_owned(),
                sequence_id: "seq".to_owned(),
                target: Some(Target::All(Default::default())),
                ..Default::default()
            }],
            ..Default::default()
        };
        let planned = gateway.client.cancel_enrollments(by(token, plan)).await;
        assert_eq!(
            planned.map_or_else(|status| status.code(), |_| Code::Ok),
            code
        );
    }
    // What is known is answered, and who has its share goes on.
    for (token, id) in [(BILLING_TOKEN, "sub-0"), (SUPPORT_TOKEN, "other")] {
        let request = by(token, request(id, [item(id)]));
        let results = gateway.client.cancel_subscription(request).await;
        let mut results = results.unwrap().into_inner();
        while results.message().await.unwrap().is_some() {}
    }
    gateway.stop().await;
    assert_eq!(gateway.events("admitted").len(), sent + 1);
    assert_eq!(gateway.events("settled").len(), sent + 1);
    let refused = gateway.events("refused");
    assert!(refused.iter().all(|line| line["reason"] == "AUDIT_FULL"));
    // Half of it is kept in equal parts for both, so the first may take the other's no more than
    // that.
    let bytes = size(&gateway).1;
    assert!(bytes >= 150_000, "{bytes}");
}

#[tokio::test]
async fn files_whose_time_is_over_go_and_the_log_says_where_it_begins() {
    let mut gateway = gateway().start().await;
    let item = |id: &str| subscription(Provider::Rebilly, id, now());
    for (id, days) in [("a", 2), ("b", 2), ("c", 401)] {
        gateway.cancel_one(id, item(id)).await.unwrap();
        gateway.restart().await;
        gateway.advance(days * DAY);
    }
    let before = files(&gateway.audit_dir());
    assert!(before.len() > 1, "{before:?}");
    gateway.restart().await;
    gateway.stop().await;
    let left = files(&gateway.audit_dir());
    assert!(!left.contains(&before[0]), "{left:?}");
    let dropped = gateway.events("dropped").remove(0);
    let first = lines(&gateway.audit_dir()).remove(0);
    let upto = dropped["upto_seq"].as_u64().unwrap();
    assert_eq!(first["seq"], upto + 1);
    assert_eq!(first["prev"], dropped["upto_hash"]);
    let (code, said) = verify(&gateway.journal_dir());
    assert_eq!(code, 0, "{said}");
    // Without that line it would be a gap.
    fs::remove_file(&left[0]).unwrap();
    let (code, said) = verify(&gateway.journal_dir());
    assert_eq!(code, 1, "{said}");
}

/// A finished audit of 40 lines.
async fn finished() -> (Gateway, Vec<Vec<u8>>) {
    let mut gateway = gateway().start().await;
    for n in 0..19 {
        let item = subscription(Provider::Rebilly, format!("sub-{n}"), now());
        gateway.cancel_one(&format!("k{n}"), item).await.unwrap();
    }
    gateway.restart().await;
    gateway.stop().await;
    let files = files(&gateway.audit_dir());
    assert_eq!(files.len(), 1);
    let text = fs::read(&files[0]).unwrap();
    let lines: Vec<_> = text
        .split_inclusive(|b| *b == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    assert_eq!(lines.len(), 40);
    (gateway, lines)
}

#[track_caller]
fn check(gateway: &Gateway, lines: &[Vec<u8>], what: &str, said_part: &str) {
    let file = files(&gateway.audit_dir()).remove(0);
    let before = fs::read(&file).unwrap();
    fs::write(&file, lines.concat()).unwrap();
    let (code, said) = verify(&gateway.journal_dir());
    fs::write(&file, before).unwrap();
    assert_eq!(code, 1, "{what} is not found: {said}");
    assert!(said.contains(said_part), "{what}: {said}");
}

#[tokio::test]
async fn whatever_is_changed_in_it_is_found_with_its_place() {
    let (gateway, lines) = finished().await;
    assert_eq!(verify(&gateway.journal_dir()).0, 0);
    for (at, what) in [(0, "the first line"), (20, "a line"), (39, "the last line")] {
        let place = format!("\"line\":{}", at + 1);
        let line = &lines[at];
        // A byte of each field, of each sign between them, and of the end.
        for byte in (0..line.len()).step_by(7).chain([line.len() - 1]) {
            let mut changed = lines.clone();
            changed[at][byte] ^= 1;
            check(
                &gateway,
                &changed,
                &format!("byte {byte} of {what}"),
                &place,
            );
        }
        let mut removed = lines.clone();
        removed.remove(at);
        let said = match at {
            0 => "no line says",
            39 => "the journal knows line 40",
            _ => "missing before it",
        };
        check(&gateway, &removed, &format!("{what} removed"), said);
        let mut twice = lines.clone();
        twice.insert(at, lines[at].clone());
        check(
            &gateway,
            &twice,
            &format!("{what} twice"),
            "comes after line",
        );
    }
    let mut swapped = lines.clone();
    swapped.swap(10, 11);
    check(&gateway, &swapped, "two lines swapped", "\"line\":11");
    let mut foreign = lines.clone();
    foreign.insert(10, b"{\"seq\":11}\n".to_vec());
    check(&gateway, &foreign, "a foreign line", "\"line\":11");
    for cut in [1, 5, 39] {
        check(
            &gateway,
            &lines[..cut],
            "a cut end",
            "the journal knows line 40",
        );
    }
    check(&gateway, &[], "all of it gone", "the journal knows line 40");
    let mut half = lines;
    half[39].truncate(100);
    check(
        &gateway,
        &half,
        "half of the last line",
        "the journal knows line 40",
    );
}

#[tokio::test]
async fn a_line_that_was_pinned_elsewhere_has_to_be_there() {
    let (gateway, _) = finished().await;
    let (_, said) = verify(&gateway.journal_dir());
    let report: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let head = report["head"].as_str().unwrap().to_owned();
    let dir = gateway.audit_dir();
    let expect = |head: &str| audit(&["verify", "--dir", dir.to_str().unwrap(), "--expect", head]);
    assert_eq!(expect(&head).0, 0);
    let (code, said) = expect(&head.replace("40:", "39:"));
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("line 39 is not the one that --expect knows"),
        "{said}"
    );
    let (code, said) = expect(&head.replace("40:", "41:"));
    assert_eq!(code, 1, "{said}");
    assert_eq!(expect("nonsense").0, 64);
}

#[tokio::test]
async fn a_service_whose_audit_was_cut_says_so_and_the_gap_stays_visible() {
    let (mut gateway, lines) = finished().await;
    let file = files(&gateway.audit_dir()).remove(0);
    fs::write(&file, lines[..30].concat()).unwrap();
    gateway.start_again().await;
    let item = subscription(Provider::Rebilly, "later", now());
    gateway.cancel_one("later", item).await.unwrap();
    gateway.stop().await;
    let gaps = gateway.events("gap");
    assert_eq!(gaps.len(), 1);
    assert!(
        gaps[0]["reason"]
            .as_str()
            .unwrap()
            .contains("ended with line 30"),
        "{gaps:?}"
    );
    assert_eq!(gaps[0]["seq"], 41);
    assert_eq!(
        gateway.events("admitted").last().unwrap()["target"],
        "later"
    );
    let (code, said) = verify(&gateway.journal_dir());
    assert_eq!(code, 1);
    assert!(said.contains("lines 31 to 40 are missing"), "{said}");
}

#[tokio::test]
async fn a_line_that_a_crash_cut_short_is_written_again() {
    let mut gateway = gateway().start().await;
    let item = subscription(Provider::Rebilly, "a", now());
    gateway.cancel_one("k", item).await.unwrap();
    gateway.stop().await;
    let file = files(&gateway.audit_dir()).remove(0);
    let mut text = fs::read(&file).unwrap();
    text.extend(b"{\"seq\":4,\"time\":\"2027-01-15T08:00:00Z\",\"ev");
    fs::write(&file, text).unwrap();
    let (code, said) = verify(&gateway.journal_dir());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("\"unfinished\":true"), "{said}");
    gateway.start_again().await;
    gateway.stop().await;
    let (code, said) = verify(&gateway.journal_dir());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("\"unfinished\":false"), "{said}");
    let by_event = gateway_events(&gateway);
    assert_eq!(by_event["admitted"], 1);
    assert_eq!(by_event["settled"], 1);
    assert!(!by_event.contains_key("gap"), "{by_event:?}");
}

fn gateway_events(gateway: &Gateway) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for line in lines(&gateway.audit_dir()) {
        *count
            .entry(line["event"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    count
}
