//! What is a gRPC call and what is not, and streams without updates.

use std::time::Duration;

use cancelot::{
    rpc::proto::{GetCancellationRequest, ListAccountsRequest, StopBatchRequest},
    sandbox::{Fault, Provider},
};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;

use super::frames::{CANCEL, grpc};
use crate::support::{
    Gateway,
    asking::{Reader, enrollment, enrollments, everyone},
    gateway,
    identities::one,
    in_time, now, request, subscription,
};

const LIST: &str = "/cancelot.v1.CancellationService/ListAccounts";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// Any HTTP/2 request: the answer's status, headers and, if it has a body, trailers.
async fn http(
    gateway: &Gateway,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let url = gateway.url();
    let tcp = TcpStream::connect(url.strip_prefix("http://").unwrap());
    let (send, connection) = h2::client::handshake(tcp.await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let mut head = Request::builder()
        .method(method)
        .uri(format!("{url}{path}"));
    for (name, value) in headers {
        head = head.header(*name, *value);
    }
    let mut send = send.ready().await.unwrap();
    let (response, mut stream) = send.send_request(head.body(()).unwrap(), false).unwrap();
    // It may have been answered, and reset, by its headers alone.
    let _ = stream.send_data(body.into(), true);
    let response = in_time(response).await.unwrap();
    let (head, mut body) = response.into_parts();
    let mut headers = head.headers;
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = in_time(body.data()).await {
        bytes.extend(chunk);
    }
    if let Ok(Some(trailers)) = in_time(body.trailers()).await {
        headers.extend(trailers);
    }
    (head.status, headers, bytes)
}

fn code(headers: &HeaderMap) -> Code {
    Status::from_header_map(headers).unwrap().code()
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

#[tokio::test]
async fn what_is_no_grpc_is_answered_415_and_reaches_nothing() {
    let mut gateway = gateway().start().await;
    for (path, body) in [
        (CANCEL, grpc(&one("K", "a"))),
        (LIST, grpc(&ListAccountsRequest {})),
        (HEALTH, grpc(&HealthCheckRequest::default())),
        (REFLECTION, Vec::new()),
        ("/no.such.Service/Method", Vec::new()),
    ] {
        for other in [
            "application/json",
            "application/grpc+json",
            "application/grpc-web",
            "text/plain",
        ] {
            let (status, headers, told) = http(
                &gateway,
                Method::POST,
                path,
                &[("content-type", other)],
                body.clone(),
            )
            .await;
            assert_eq!(status, 415, "{path} {other}");
            assert_eq!(code(&headers), Code::InvalidArgument);
            assert!(
                headers["content-type"]
                    .to_str()
                    .unwrap()
                    .starts_with("text/plain")
            );
            assert!(
                String::from_utf8(told)
                    .unwrap()
                    .contains("application/grpc")
            );
        }
        let (status, ..) = http(&gateway, Method::POST, path, &[], body.clone()).await;
        assert_eq!(status, 415, "{path} without a content-type");
        for method in [
            Method::GET,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
            Method::PATCH,
        ] {
            let (status, headers, _) =
                http(&gateway, method.clone(), path, &[GRPC], body.clone()).await;
            assert_eq!(
                (status, &headers["allow"]),
                (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap()),
                "{method} {path}"
            );
        }
    }
    assert_eq!(gateway.control.counts(Provider::Rebilly).requests, 0);
    let (status, headers, _) = http(
        &gateway,
        Method::POST,
        LIST,
        &[("content-type", "application/grpc+proto")],
        grpc(&ListAccountsRequest {}),
    )
    .await;
    assert_eq!((status.as_u16(), code(&headers)), (200, Code::Ok));
    in_time(gateway.stop()).await;
    let told = gateway.events("refused");
    assert!(told.iter().any(|line| line["reason"] == "UNSUPPORTED"));
    assert!(told.iter().any(|line| line["reason"] == "INVALID_REQUEST"));
}

#[tokio::test]
async fn a_second_message_is_an_error_and_neither_is_taken_on() {
    let gateway = gateway().start().await;
    let stop = StopBatchRequest {
        batch_id: "b000000000001".to_owned(),
    };
    for (path, message) in [
        (CANCEL, grpc(&one("K", "a"))),
        (LIST, grpc(&ListAccountsRequest {})),
        ("/cancelot.v1.CancellationService/StopBatch", grpc(&stop)),
        (
            "/cancelot.v1.CancellationService/GetCancellation",
            grpc(&GetCancellationRequest::default()),
        ),
        (HEALTH, grpc(&HealthCheckRequest::default())),
    ] {
        let twice = [&message[..], &message].concat();
        let trailing = [&message[..], b"\0"].concat();
        for body in [twice, trailing] {
            let (status, headers, _) = http(&gateway, Method::POST, path, &[GRPC], body).await;
            assert_eq!(status, 200);
            assert_eq!(code(&headers), Code::Unimplemented, "{path}");
        }
    }
    assert_eq!(gateway.control.counts(Provider::Rebilly).requests, 0);
}

#[tokio::test]
async fn compressed_requests_are_refused_with_what_is_taken() {
    let gateway = gateway().start().await;
    for encoding in ["gzip", "deflate", "zstd", "br"] {
        let mut body = grpc(&one("K", "a"));
        body[0] = 1;
        let headers = [GRPC, ("grpc-encoding", encoding)];
        let (_, headers, _) = http(&gateway, Method::POST, CANCEL, &headers, body).await;
        assert_eq!(code(&headers), Code::Unimplemented, "{encoding}");
        assert_eq!(headers["grpc-accept-encoding"], "identity");
    }
    assert_eq!(gateway.control.counts(Provider::Rebilly).requests, 0);
    let headers = [GRPC, ("grpc-encoding", "identity")];
    let body = grpc(&one("K", "a"));
    let (_, headers, _) = http(&gateway, Method::POST, CANCEL, &headers, body).await;
    assert_eq!(code(&headers), Code::Ok);
}

#[tokio::test]
async fn a_stream_with_nothing_new_says_its_progress_again() {
    let mut gateway = gateway()
        .config("[server]\nprogress_interval_ms = 100")
        .start()
        .await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let items = [
        subscription(Provider::Rebilly, "a", now()),
        subscription(Provider::Solidgate, "b", now()),
    ];
    let stream = gateway
        .client
        .cancel_subscription(request("K", items))
        .await;
    let mut reader = Reader::new(stream.unwrap().into_inner());
    let first = reader.until_settled(1).await;
    assert_eq!(first[0].subscription_id, "b");
    for _ in 0..3 {
        let results = reader.next().await.unwrap();
        assert_eq!(results.map(|results| results.len()), Some(0));
        assert_eq!((reader.progress.total, reader.progress.settled), (2, 1));
        assert!(!reader.progress.batch_id.is_empty());
    }
    gateway.control.release(Provider::Rebilly);
    let rest = reader.rest().await.unwrap();
    assert_eq!(rest[0].subscription_id, "a");

    // The other RPC too.
    gateway
        .control
        .script(Provider::Sequenzy, Fault::HoldBefore);
    let request = enrollments("E", [enrollment("seq_1", everyone())]);
    let stream = gateway.client.cancel_enrollments(request).await;
    let mut stream = stream.unwrap().into_inner();
    for _ in 0..4 {
        let message = in_time(stream.message()).await.unwrap().unwrap();
        assert_eq!(message.progress.unwrap().settled, 0);
    }
    gateway.control.release(Provider::Sequenzy);
}

#[tokio::test]
async fn a_deadline_ends_a_stream_that_repeats_itself() {
    let mut gateway = gateway()
        .config("[server]\nprogress_interval_ms = 100")
        .start()
        .await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let mut call = tonic::Request::new(request("K", [subscription(Provider::Rebilly, "a", now())]));
    call.set_timeout(Duration::from_millis(350));
    let mut stream = gateway
        .client
        .cancel_subscription(call)
        .await
        .unwrap()
        .into_inner();
    let status = loop {
        match in_time(stream.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    gateway.control.release(Provider::Rebilly);
}
