//! Every rejected call has an entry in the audit, whichever layer rejects it and however early.

use std::{
    collections::BTreeMap,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cancelot::{
    app::{self, App, Listeners},
    engine::Clock,
    journal::FreeSpace,
    observe::Tracer,
    rpc::proto::StopBatchRequest,
    sandbox::{Fault, Provider},
};
use futures_util::future::select_all;
use tokio::net::TcpListener;
use tonic::{Code, Request, Status, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    edge::frames::{CANCEL, grpc},
    observability::audit::lines,
    support::{
        BILLING_TOKEN, Gateway, SUPPORT_TOKEN,
        asking::{enrollment, enrollments, everyone},
        configured, connect, gateway,
        identities::one,
        in_time, now, request,
        slow::Slow,
        subscription,
    },
};

const ENROLLMENTS: &str = "/cancelot.v1.CancellationService/CancelEnrollments";
const STOP: &str = "/cancelot.v1.CancellationService/StopBatch";
const GET: &str = "/cancelot.v1.CancellationService/GetCancellation";

/// What each refusal's line says: who asked for what, and why not.
fn told(lines: impl IntoIterator<Item = serde_json::Value>) -> Vec<String> {
    let text = |line: &serde_json::Value, field: &str| {
        let value = line[field].as_str();
        value.unwrap_or("-").to_owned()
    };
    lines
        .into_iter()
        .map(|line| {
            let fields = ["method", "reason", "code", "caller", "key"];
            fields.map(|field| text(&line, field)).join(" ")
        })
        .collect()
}

impl Gateway {
    /// What the audit has of refusals, after the end.
    async fn told_refusals(&mut self) -> Vec<String> {
        in_time(self.stop()).await;
        told(self.events("refused"))
    }

    /// Calls an RPC with more headers, and these bytes as its body.
    async fn raw(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Status {
        let mut call = Slow::open_at(self, path, headers).await;
        call.body.send_data(body.into(), true).unwrap();
        call.status().await
    }
}

/// A message that no request is.
fn garbage() -> Vec<u8> {
    let message = [0xff; 20];
    [&[0, 0, 0, 0, 20][..], &message].concat()
}

#[tokio::test]
async fn what_never_becomes_a_request_is_told() {
    let mut gateway = gateway().start().await;
    for (path, code) in [(CANCEL, Code::Internal), (STOP, Code::Internal)] {
        let status = gateway.raw(path, &[], garbage()).await;
        assert_eq!(status.code(), code, "{status:?}");
    }
    let compressed = [&[1, 0, 0, 0, 1][..], b"x"].concat();
    let encoding = [("grpc-encoding", "gzip")];
    let status = gateway.raw(CANCEL, &encoding, compressed).await;
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    let body = grpc(&one("K", "a"));
    let timeout = [("grpc-timeout", "soon")];
    let status = gateway.raw(CANCEL, &timeout, body).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let slow = Slow::open(&gateway, Some("50m")).await;
    assert_eq!(slow.status().await.code(), Code::DeadlineExceeded);
    let long = StopBatchRequest {
        batch_id: "b".repeat(1_000_000),
    };
    let status = gateway.raw(STOP, &[], grpc(&long)).await;
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    let status = gateway.stop_batch("no batch").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");

    assert_eq!(
        gateway.told_refusals().await,
        [
            "CancelSubscription UNREADABLE INTERNAL anonymous -",
            "StopBatch UNREADABLE INTERNAL anonymous -",
            "CancelSubscription UNSUPPORTED UNIMPLEMENTED anonymous -",
            "CancelSubscription INVALID_REQUEST INVALID_ARGUMENT anonymous -",
            "CancelSubscription NOT_RECEIVED DEADLINE_EXCEEDED anonymous -",
            "StopBatch OVERSIZED OUT_OF_RANGE anonymous -",
            "StopBatch INVALID_REQUEST INVALID_ARGUMENT anonymous -",
        ]
    );
}

#[tokio::test]
async fn what_has_no_line_of_its_own_is_counted_by_the_reason_and_the_code_of_those_that_have() {
    const EACH: u64 = 60;
    let mut gateway = gateway().start().await;
    for _ in 0..EACH {
        let status = gateway.raw(STOP, &[], garbage()).await;
        assert_eq!(status.code(), Code::Internal, "{status:?}");
        let status = gateway.stop_batch("no batch").await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    in_time(gateway.stop()).await;
    let (mut lines, mut refused) = (BTreeMap::new(), BTreeMap::new());
    for line in gateway.events("refused") {
        let cause = ["reason", "code"].map(|field| line[field].as_str().unwrap().to_owned());
        *lines.entry(cause.clone()).or_insert(0) += 1;
        *refused.entry(cause).or_insert(0) += line["suppressed"].as_u64().unwrap_or(1);
    }
    let causes = [
        ["INVALID_REQUEST", "INVALID_ARGUMENT"],
        ["UNREADABLE", "INTERNAL"],
    ];
    let causes = causes.map(|cause| cause.map(str::to_owned));
    assert_eq!(refused, causes.map(|cause| (cause, EACH)).into());
    let most = *lines.values().max().unwrap();
    assert!(most < EACH, "some of them are counted: {lines:?}");
}

#[tokio::test]
async fn a_flood_of_one_caller_hides_no_refusal_of_another() {
    let mut gateway = gateway()
        .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"")
        .config("[callers.support]\ntoken_env = \"SUPPORT_TOKEN\"")
        .start()
        .await;
    let stop = |token: &str| {
        let mut stop = Request::new(StopBatchRequest {
            batch_id: "b000000000001".to_owned(),
        });
        let proof = format!("Bearer {token}").parse().unwrap();
        stop.metadata_mut().insert("authorization", proof);
        stop
    };
    for token in [BILLING_TOKEN; 60].iter().chain([&SUPPORT_TOKEN]) {
        let status = gateway.client.stop_batch(stop(token)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
    }
    in_time(gateway.stop()).await;
    let lines = gateway.events("refused");
    assert!(lines.iter().all(|line| line["peer"].is_string()));
    let of = |caller| lines.iter().filter(move |line| line["caller"] == caller);
    let each = |line: &serde_json::Value| line["suppressed"].as_u64().unwrap_or(1);
    assert_eq!(of("support").count(), 1);
    assert_eq!(of("billing").map(each).sum::<u64>(), 60);
    assert!(of("billing").count() < 60);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_told() {
    let mut gateway = gateway()
        .config("[server]\nrequest_bytes_max = 1048576")
        .start()
        .await;
    // So many empty items that reading them would take more than all requests may.
    let items = [0x12, 0].repeat(100_000);
    let length = u32::try_from(items.len()).unwrap().to_be_bytes();
    let body = [&[0][..], &length, &items].concat();
    for path in [CANCEL, ENROLLMENTS] {
        let status = gateway.raw(path, &[], body.clone()).await;
        assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    }
    // Each fits, and both together do not.
    let half = [&[0, 0, 16, 0, 0][..], &[0; 600_000]].concat();
    let mut calls = Vec::new();
    for _ in 0..2 {
        let mut call = Slow::open(&gateway, None).await;
        call.body.send_data(half.clone().into(), false).unwrap();
        calls.push(Box::pin(call.status()));
    }
    let (refused, ..) = select_all(calls).await;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");

    assert_eq!(
        gateway.told_refusals().await,
        [
            "CancelSubscription OVERSIZED OUT_OF_RANGE anonymous -",
            "CancelEnrollments OVERSIZED OUT_OF_RANGE anonymous -",
            "CancelSubscription SERVICE_FULL RESOURCE_EXHAUSTED anonymous -",
        ]
    );
}

#[tokio::test]
async fn what_comes_before_the_journal_is_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let config = configured(&format!(
        "[journal]\ndir = {:?}\n",
        journal.display().to_string()
    ));
    let entrance = app::entrance(&config, Tracer::off(), &Clock::system()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = Listeners::open(listener, entrance).await.unwrap();
    let mut client = connect(&format!("http://{}", front.addr())).await;
    let status = client.cancel_subscription(one("K", "a")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");

    let changing = front.changing().clone();
    let (opened, setup) =
        app::engine_setup(&config, &app::journal(&config), &Tracer::off(), &changing).unwrap();
    let app = App::serve(front, opened, setup).await.unwrap();
    app.stop().await;

    let mut lines = lines(&journal.join("audit"));
    lines.retain(|line| line["event"] == "refused");
    assert_eq!(
        told(lines),
        ["CancelSubscription STARTING UNAVAILABLE anonymous -"]
    );
}

#[tokio::test]
async fn what_comes_during_the_drain_is_told() {
    let mut gateway = gateway().start().await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let _open = gateway.open(one("K", "a")).await;
    in_time(gateway.control.held_reached(Provider::Rebilly, 1)).await;
    let endpoint = Endpoint::from_shared(gateway.url()).unwrap();
    let watching = HealthClient::new(endpoint.connect().await.unwrap())
        .watch(HealthCheckRequest::default())
        .await;
    let mut watching = watching.unwrap().into_inner();
    watching.message().await.unwrap().unwrap();
    let stopping = tokio::spawn(gateway.take_app().stop());
    in_time(watching.message()).await.unwrap().unwrap();

    let batch = enrollments("E", [enrollment("seq", everyone())]);
    for status in [
        gateway.refused(one("J", "b")).await,
        gateway.refused_enrollments(batch).await,
    ] {
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
    gateway.control.release(Provider::Rebilly);
    in_time(stopping).await.unwrap();

    assert_eq!(
        gateway.told_refusals().await,
        [
            "CancelSubscription DRAINING UNAVAILABLE anonymous J",
            "CancelEnrollments DRAINING UNAVAILABLE anonymous E",
        ]
    );
}

#[tokio::test]
async fn what_a_failed_journal_cannot_take_is_told_by_the_audit_all_the_same() {
    let (fails, failing) = (Arc::new(AtomicBool::new(false)), "the disk is gone");
    let disk = FreeSpace::from_fn({
        let fails = Arc::clone(&fails);
        move |_| match fails.load(Ordering::SeqCst) {
            // The thread that writes the journal ends here.
            true => resume_unwind(Box::new(failing)),
            false => Ok(u64::MAX),
        }
    });
    let mut gateway = gateway().free_space(disk).start().await;
    let open = request("K", [subscription(Provider::Rebilly, "a", now())]);
    let mut reader = gateway.open(open).await;
    in_time(reader.rest()).await.unwrap();
    fails.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let status = gateway.refused(one("J", "b")).await;
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
    let status = gateway
        .stop_batch(&reader.progress.batch_id)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");

    assert_eq!(
        gateway.told_refusals().await,
        [
            "CancelSubscription JOURNAL_UNAVAILABLE UNAVAILABLE anonymous J",
            "CancelSubscription JOURNAL_UNAVAILABLE UNAVAILABLE anonymous J",
            "StopBatch JOURNAL_UNAVAILABLE UNAVAILABLE anonymous -",
        ]
    );
}

#[tokio::test]
async fn a_question_that_is_no_good_has_no_line() {
    let mut gateway = gateway().start().await;
    let status = gateway.raw(GET, &[], garbage()).await;
    assert_eq!(status.code(), Code::Internal, "{status:?}");
    gateway.get("unknown").await.unwrap_err();
    assert_eq!(gateway.told_refusals().await, [""; 0]);
}
