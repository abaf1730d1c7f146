//! Spans as a collector gets them from the real process, from a caller's trace to the request at
//! the provider.

use std::net::SocketAddr;

use cancelot::{
    rpc::proto::ListAccountsRequest,
    sandbox::{Fault, Provider, Sandbox},
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use tokio::{net::TcpListener, sync::mpsc};
use tonic::{
    Request, Response, Status,
    metadata::AsciiMetadataKey,
    transport::{Endpoint, server::TcpIncoming},
};

use crate::support::{
    identities::shown,
    in_time, now,
    pki::Files,
    process::{Place, try_connect},
    request, subscription, subscription_results,
};

/// A collector that keeps what it gets.
struct Collector {
    addr: SocketAddr,
    spans: mpsc::Receiver<(Span, String)>,
}

struct Keep(mpsc::Sender<(Span, String)>);

#[tonic::async_trait]
impl TraceService for Keep {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let resource = of_resource.resource.unwrap_or_default();
            let service = resource.attributes.iter().find(|a| a.key == "service.name");
            let service = service
                .map(|a| format!("{:?}", a.value))
                .unwrap_or_default();
            for span in of_resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                self.0.send((span, service.clone())).await.unwrap();
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (keep, spans) = mpsc::channel(1_000);
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(Keep(keep)))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(server);
        Self { addr, spans }
    }

    fn config(&self, more: &str) -> String {
        format!(
            "[telemetry]\notlp_endpoint = \"http://{}\"\n{more}\n",
            self.addr
        )
    }

    /// All spans, once the process that sends them is gone.
    fn all(&mut self) -> Vec<Span> {
        let mut all = Vec::new();
        while let Ok((span, service)) = self.spans.try_recv() {
            assert!(service.contains("cancelot"), "{service}");
            all.push(span);
        }
        all
    }
}

fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|a| a.key == name);
    match found.and_then(|a| a.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(other) => panic!("{other:?}"),
        None => "-".to_owned(),
    }
}

fn of_kind(spans: &[Span], kind: SpanKind) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind() == kind).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Cancels one subscription below a caller's span, as the process sees it with these settings.
async fn cancel(place: &Place, flags: &str, fault: Option<(&Sandbox, Fault)>) {
    if let Some((sandbox, fault)) = fault {
        sandbox.control().script(Provider::Rebilly, fault);
    }
    let (process, url) = place.serve().await;
    let mut client = try_connect(&url).await.unwrap();
    let item = subscription(Provider::Rebilly, "sub_private", now());
    let mut sent = Request::new(request("key", [item]));
    let parent = format!("00-{TRACE}-{PARENT}-{flags}");
    sent.metadata_mut()
        .insert("traceparent", parent.parse().unwrap());
    sent.metadata_mut()
        .insert("tracestate", "vendor=secret".parse().unwrap());
    let stream = client.cancel_subscription(sent).await.unwrap().into_inner();
    in_time(subscription_results(stream)).await.unwrap();
    process.terminate();
    assert!(process.ended().await.success(), "{}", place.stderr());
}

#[tokio::test]
async fn a_callers_trace_goes_on_to_the_requests_at_the_provider() {
    let sandbox = Sandbox::start(cancelot::sandbox::Options::default()).unwrap();
    let mut collector = Collector::start().await;
    let config = format!("[log]\nformat = \"json\"\n{}", collector.config(""));
    let place = Place::new(&sandbox, &config);

    cancel(
        &place,
        "01",
        Some((&sandbox, Fault::ErrorBefore { status: 503 })),
    )
    .await;
    let log = place.stderr();
    let line = log.lines().find(|line| line.contains("request taken on"));
    let in_log = format!("\"trace_id\":\"{TRACE}\"");
    assert!(line.unwrap().contains(&in_log), "{log}");
    let spans = collector.all();

    let servers = of_kind(&spans, SpanKind::Server);
    let [server] = servers.as_slice() else {
        panic!("{servers:#?}");
    };
    assert_eq!(
        server.name,
        "cancelot.v1.CancellationService/CancelSubscription"
    );
    assert_eq!(
        (
            hex(&server.trace_id).as_str(),
            hex(&server.parent_span_id).as_str()
        ),
        (TRACE, PARENT)
    );
    assert_eq!(server.trace_state, "vendor=secret");
    assert_eq!(attribute(server, "rpc.system.name"), "grpc");
    assert_eq!(attribute(server, "rpc.method"), server.name);
    assert_eq!(attribute(server, "rpc.response.status_code"), "OK");
    assert_eq!(attribute(server, "error.type"), "-");

    let clients = of_kind(&spans, SpanKind::Client);
    let statuses: Vec<_> = clients
        .iter()
        .map(|c| attribute(c, "http.response.status_code"))
        .collect();
    assert_eq!(
        statuses.first().map(String::as_str),
        Some("503"),
        "{clients:#?}"
    );
    assert_eq!(statuses.last().map(String::as_str), Some("201"));
    for client in &clients {
        assert_eq!(hex(&client.trace_id), TRACE);
        assert_eq!(client.parent_span_id, server.span_id);
        assert_eq!(
            client.name.split(' ').next(),
            Some(attribute(client, "http.request.method").as_str())
        );
        assert_eq!(attribute(client, "server.address"), "127.0.0.1");
        assert_eq!(
            attribute(client, "server.port"),
            sandbox.addr().port().to_string()
        );
        assert_eq!(attribute(client, "cancelot.account"), "rebilly");
    }
    assert_eq!(attribute(clients[0], "error.type"), "503");
    assert_eq!(
        clients[0].status.as_ref().unwrap().code(),
        StatusCode::Error
    );
    let told = format!("{spans:?}");
    assert!(!told.contains("sub_private"), "spans have no ids");
    let sent = sandbox.control().requests(Provider::Rebilly);
    assert!(
        sent.iter().all(|r| r.header("traceparent").is_none()),
        "a third party is told nothing"
    );
}

#[tokio::test]
async fn a_provider_is_told_the_trace_and_nothing_else_if_that_is_allowed() {
    let sandbox = Sandbox::start(cancelot::sandbox::Options::default()).unwrap();
    let mut collector = Collector::start().await;
    let place = Place::new(&sandbox, &collector.config("propagate_to_providers = true"));

    cancel(&place, "01", None).await;
    let spans = collector.all();

    let sent = sandbox.control().requests(Provider::Rebilly);
    let clients = of_kind(&spans, SpanKind::Client);
    assert_eq!(sent.len(), clients.len());
    for (sent, client) in sent.iter().zip(clients) {
        let expected = format!("00-{TRACE}-{}-01", hex(&client.span_id));
        assert_eq!(sent.header("traceparent"), Some(expected.as_str()));
        assert_eq!(sent.header("tracestate"), None);
    }
}

#[tokio::test]
async fn a_caller_that_does_not_record_its_trace_decides_for_us_and_the_ratio_for_all_others() {
    let sandbox = Sandbox::start(cancelot::sandbox::Options::default()).unwrap();
    for (ratio, flags, recorded) in [("1.0", "00", false), ("0.0", "01", true)] {
        let mut collector = Collector::start().await;
        let settings = format!("sample_ratio = {ratio}");
        let place = Place::new(&sandbox, &collector.config(&settings));
        cancel(&place, flags, None).await;
        assert_eq!(!collector.all().is_empty(), recorded, "{ratio} {flags}");
    }
}

/// The spans of one call with this token, below a span of the client's.
async fn called_with(token: Option<&str>, ratio: &str, flags: &str) -> Vec<Span> {
    let sandbox = Sandbox::start(cancelot::sandbox::Options::default()).unwrap();
    let mut collector = Collector::start().await;
    let files = Files::new();
    let config = collector.config(&format!(
        "sample_ratio = {ratio}\n[callers.billing]\ntoken_file = {}",
        files.write("token", TOKEN)
    ));
    let place = Place::new(&sandbox, &config);
    let (process, url) = place.serve().await;
    let mut client = try_connect(&url).await.unwrap();
    let mut sent = shown(token, ListAccountsRequest {});
    let parent = format!("00-{TRACE}-{PARENT}-{flags}");
    sent.metadata_mut()
        .insert("traceparent", parent.parse().unwrap());
    let answer = client.list_accounts(sent).await;
    assert_eq!(answer.is_ok(), token == Some(TOKEN));
    process.terminate();
    assert!(process.ended().await.success(), "{}", place.stderr());
    collector.all()
}

const TOKEN: &str = "billing-0123456789abcdef";

#[tokio::test]
async fn a_stranger_makes_nobody_record_and_has_no_part_in_a_trace() {
    for token in [None, Some("somebody-elses-0123456789")] {
        let spans = called_with(token, "0.0", "01").await;
        assert!(spans.is_empty(), "{token:?}: {spans:#?}");
        // Nor keeps anybody from it.
        let spans = called_with(token, "1.0", "00").await;
        let [span] = &*spans else {
            panic!("{token:?}: {spans:#?}");
        };
        assert_eq!(
            attribute(span, "rpc.response.status_code"),
            "UNAUTHENTICATED"
        );
        assert_ne!(hex(&span.trace_id), TRACE);
        assert!(span.parent_span_id.is_empty(), "{span:#?}");
    }
    let spans = called_with(Some(TOKEN), "0.0", "01").await;
    let [span] = &*spans else {
        panic!("{spans:#?}");
    };
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.parent_span_id), PARENT);
    assert!(called_with(Some(TOKEN), "1.0", "00").await.is_empty());
}

/// The trace and its state that a call is in with these headers, if it is recorded.
async fn check_state(headers: &[(&str, &str)], trace_is_followed: bool, state: &str) {
    let sandbox = Sandbox::start(cancelot::sandbox::Options::default()).unwrap();
    let mut collector = Collector::start().await;
    let place = Place::new(&sandbox, &collector.config(""));
    let (process, url) = place.serve().await;
    let mut client = try_connect(&url).await.unwrap();
    let mut sent = Request::new(ListAccountsRequest {});
    for (name, value) in headers {
        let name: AsciiMetadataKey = name.parse().unwrap();
        sent.metadata_mut().append(name, value.parse().unwrap());
    }
    client.list_accounts(sent).await.unwrap();
    process.terminate();
    assert!(process.ended().await.success(), "{}", place.stderr());
    let spans = collector.all();
    let [span] = &*spans else {
        panic!("{headers:?}: {spans:#?}");
    };
    let case = format!("{headers:?}");
    assert_eq!(hex(&span.trace_id) == TRACE, trace_is_followed, "{case}");
    assert_eq!(span.trace_state, state, "{case}");
}

#[tokio::test]
async fn the_state_of_a_trace_may_come_in_several_headers() {
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let parent = ("traceparent", parent.as_str());
    let state = |value| ("tracestate", value);
    check_state(
        &[
            parent,
            state("a=1,b=2"),
            state(""),
            state(" c=3 ,,"),
            state("d=4"),
        ],
        true,
        "a=1,b=2,c=3,d=4",
    )
    .await;
    // What is wrong with one of them is wrong with all, and not with the trace.
    check_state(&[parent, state("a=1"), state("B=2")], true, "").await;
    // There may be one parent.
    check_state(&[parent, parent, state("a=1")], false, "").await;
}

#[tokio::test]
async fn the_state_of_a_trace_is_as_long_as_it_may_be() {
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let parent = ("traceparent", parent.as_str());
    // So many members, and not one more.
    let members: Vec<_> = (0..33).map(|n| format!("k{n}={n}")).collect();
    let mut headers = vec![parent];
    headers.extend(members.iter().map(|member| ("tracestate", &**member)));
    check_state(&headers, true, &members[..32].join(",")).await;

    // So many characters: long members go first, then the last ones.
    let long = format!("long={}", "x".repeat(124));
    let short = |n: usize| format!("s{n:02}={}", "x".repeat(96));
    let shorts: Vec<_> = (0..6).map(short).collect();
    let at_most = shorts[..5].join(",");
    assert!(at_most.len() <= 512 && shorts.join(",").len() > 512);
    let mut headers = vec![parent, ("tracestate", &*long)];
    headers.extend(shorts.iter().map(|member| ("tracestate", &**member)));
    check_state(&headers, true, &at_most).await;
    let with_long = [&long, &shorts[0]].map(String::as_str).join(",");
    check_state(&headers[..3], true, &with_long).await;
}

#[tokio::test]
async fn a_call_to_nowhere_has_a_span_of_its_own_if_the_service_wants_one() {
    let sandbox = Sandbox::start(cancelot::sandbox::Options::default()).unwrap();
    for (ratio, expected) in [("0.0", 0), ("1.0", 1)] {
        let mut collector = Collector::start().await;
        let place = Place::new(
            &sandbox,
            &collector.config(&format!("sample_ratio = {ratio}")),
        );
        let (process, url) = place.serve().await;
        let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.unwrap();
        let mut sent = Request::new(ListAccountsRequest {});
        let parent = format!("00-{TRACE}-{PARENT}-01");
        sent.metadata_mut()
            .insert("traceparent", parent.parse().unwrap());
        let codec = tonic_prost::ProstCodec::<_, ListAccountsRequest>::default();
        let path = "/cancelot.v9.Nowhere/Nothing".parse().unwrap();
        let status = grpc.unary(sent, path, codec).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
        process.terminate();
        assert!(process.ended().await.success(), "{}", place.stderr());
        let spans = collector.all();
        assert_eq!(spans.len(), expected, "{spans:#?}");
        assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE));
    }
}

#[tokio::test]
async fn a_collector_that_is_away_or_talks_otherwise_keeps_nobody_waiting() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = gone.local_addr().unwrap();
    let plain = Collector::start().await;
    for endpoint in [format!("http://{gone}"), format!("https://{}", plain.addr)] {
        let sandbox = Sandbox::start(cancelot::sandbox::Options::default()).unwrap();
        let config = format!("[telemetry]\notlp_endpoint = {endpoint:?}\n");
        let place = Place::new(&sandbox, &config);
        cancel(&place, "01", None).await;
        let effects = sandbox.control().effects(Provider::Rebilly);
        assert_eq!(effects["sub_private"], 1, "{endpoint}");
    }
}

#[tokio::test]
async fn work_that_goes_on_after_a_restart_begins_a_trace_of_its_own() {
    let sandbox = Sandbox::start(cancelot::sandbox::Options::default()).unwrap();
    let mut collector = Collector::start().await;
    let place = Place::new(&sandbox, &collector.config(""));
    sandbox
        .control()
        .script(Provider::Rebilly, Fault::HoldBefore);
    let (mut process, url) = place.serve().await;
    let mut client = try_connect(&url).await.unwrap();
    let item = subscription(Provider::Rebilly, "sub_1", now());
    let sent = request("key", [item.clone()]);
    let _stream = client.cancel_subscription(sent.clone()).await.unwrap();
    in_time(sandbox.control().held_reached(Provider::Rebilly, 1)).await;
    process.kill();
    sandbox.control().clear_faults(Provider::Rebilly);
    sandbox.control().release(Provider::Rebilly);

    let (process, url) = place.serve().await;
    let mut client = try_connect(&url).await.unwrap();
    client.list_accounts(ListAccountsRequest {}).await.unwrap();
    let stream = client.cancel_subscription(sent).await.unwrap().into_inner();
    in_time(subscription_results(stream)).await.unwrap();
    process.terminate();
    assert!(process.ended().await.success());

    let spans = collector.all();
    let clients = of_kind(&spans, SpanKind::Client);
    assert!(!clients.is_empty());
    for client in clients {
        assert!(client.parent_span_id.is_empty(), "{client:#?}");
    }
}
