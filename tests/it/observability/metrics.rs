//! The admin listener for Prometheus and probes: exact counts after known calls.

use std::collections::BTreeMap;

use cancelot::{
    journal::FreeSpace,
    rpc::proto::{CancellationKind, GetCancellationRequest, ListAccountsRequest, Outcome},
    sandbox::{Fault, Provider},
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    Gateway, gateway, in_time, now, period_end, provider_default, request, subscription,
};

const ADMIN: &str = "[server]\nadmin_listen = \"127.0.0.1:0\"\n";

/// What a GET of a path answers: status, media type, body.
async fn get(gateway: &Gateway, path: &str, accept: &str) -> (u16, String, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", gateway.admin_addr());
    let answer = client
        .get(url)
        .header("accept", accept)
        .send()
        .await
        .unwrap();
    let kind = answer
        .headers()
        .get("content-type")
        .map(|kind| kind.to_str().unwrap().to_owned());
    (
        answer.status().as_u16(),
        kind.unwrap_or_default(),
        answer.text().await.unwrap(),
    )
}

/// All samples by name and labels.
pub(crate) struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    pub(crate) async fn of(gateway: &Gateway) -> Self {
        let (status, _, page) = get(gateway, "/metrics", "*/*").await;
        assert_eq!(status, 200);
        let samples = page
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').unwrap();
                (name.to_owned(), value.parse().unwrap())
            });
        Self(samples.collect())
    }

    /// A sample's value, if it is there.
    pub(crate) fn value(&self, sample: &str) -> Option<f64> {
        self.0.get(sample).copied()
    }

    #[track_caller]
    pub(crate) fn check(&self, sample: &str, expected: f64) {
        assert_eq!(self.value(sample), Some(expected), "{sample}");
    }

    /// Samples of a name that are not zero.
    fn counted(&self, name: &str) -> Vec<(&str, f64)> {
        let of_name = |sample: &str| sample.split('{').next() == Some(name);
        self.0
            .iter()
            .filter(|(sample, value)| of_name(sample) && **value != 0.0)
            .map(|(sample, value)| (sample.as_str(), *value))
            .collect()
    }
}

fn of(method: &str, kind: &str) -> String {
    format!(
        "grpc_type=\"{kind}\",grpc_service=\"cancelot.v1.CancellationService\",grpc_method=\"{method}\""
    )
}

#[tokio::test]
async fn after_known_calls_every_count_is_what_it_has_to_be() {
    let mut gateway = gateway().config(ADMIN).start().await;
    let items = [
        subscription(Provider::Rebilly, "sub_1", now()),
        subscription(Provider::Rebilly, "missing", now()),
        subscription(Provider::Solidgate, "subs_2", period_end()),
    ];
    gateway
        .cancel(request("first", items.clone()))
        .await
        .unwrap();
    gateway.cancel(request("first", items)).await.unwrap();
    let mut plan = request(
        "plan",
        [subscription(Provider::FunnelFox, "sub_3", period_end())],
    );
    plan.dry_run = true;
    gateway.cancel(plan).await.unwrap();
    let wrong = gateway.cancel(request("wrong", [])).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    let other = [subscription(Provider::Rebilly, "sub_2", now())];
    let other = gateway.cancel(request("first", other)).await.unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition);
    gateway
        .client
        .list_accounts(ListAccountsRequest {})
        .await
        .unwrap();
    let question = GetCancellationRequest {
        idempotency_key: "none".to_owned(),
        kind: CancellationKind::Subscription.into(),
        ..Default::default()
    };
    let none = gateway.client.get_cancellation(question).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);

    let scrape = Scrape::of(&gateway).await;

    let cancel = of("CancelSubscription", "server_stream");
    let unary = |method| of(method, "unary");
    scrape.check(&format!("grpc_server_started_total{{{cancel}}}"), 5.0);
    scrape.check(
        &format!("grpc_server_handled_total{{{cancel},grpc_code=\"OK\"}}"),
        3.0,
    );
    scrape.check(
        &format!("grpc_server_handled_total{{{cancel},grpc_code=\"InvalidArgument\"}}"),
        1.0,
    );
    scrape.check(
        &format!("grpc_server_handled_total{{{cancel},grpc_code=\"FailedPrecondition\"}}"),
        1.0,
    );
    scrape.check(
        &format!(
            "grpc_server_handled_total{{{},grpc_code=\"OK\"}}",
            unary("ListAccounts")
        ),
        1.0,
    );
    scrape.check(
        &format!(
            "grpc_server_handled_total{{{},grpc_code=\"NotFound\"}}",
            unary("GetCancellation")
        ),
        1.0,
    );
    assert_eq!(scrape.counted("grpc_server_handled_total").len(), 5);
    scrape.check(&format!("grpc_server_msg_received_total{{{cancel}}}"), 5.0);
    scrape.check(
        &format!("grpc_server_msg_sent_total{{{}}}", unary("ListAccounts")),
        1.0,
    );
    scrape.check(
        &format!("grpc_server_handling_seconds_count{{{cancel}}}"),
        5.0,
    );

    assert_eq!(
        scrape.counted("cancelot_outcomes_total"),
        [
            (
                "cancelot_outcomes_total{account=\"rebilly\",provider=\"rebilly\",outcome=\"CANCELED\"}",
                1.0
            ),
            (
                "cancelot_outcomes_total{account=\"rebilly\",provider=\"rebilly\",outcome=\"NOT_FOUND\"}",
                1.0
            ),
            (
                "cancelot_outcomes_total{account=\"solidgate\",provider=\"solidgate\",outcome=\"SCHEDULED\"}",
                1.0
            ),
        ]
    );
    assert_eq!(
        scrape.counted("cancelot_failures_total"),
        [(
            "cancelot_failures_total{account=\"rebilly\",provider=\"rebilly\",reason=\"TARGET_NOT_FOUND\"}",
            1.0
        )]
    );
    scrape.check(
        "cancelot_settle_seconds_count{account=\"rebilly\",provider=\"rebilly\"}",
        2.0,
    );
    scrape.check(
        "cancelot_dry_runs_total{account=\"funnelfox\",provider=\"funnelfox\"}",
        1.0,
    );
    scrape.check("cancelot_refused_requests_total{reason=\"conflict\"}", 1.0);
    // A look after the 404 makes sure.
    for (name, count) in [("2xx", 1.0), ("4xx", 2.0), ("5xx", 0.0), ("in_doubt", 0.0)] {
        scrape.check(
            &format!("cancelot_provider_requests_total{{account=\"rebilly\",provider=\"rebilly\",result=\"{name}\"}}"),
            count,
        );
    }
    scrape.check("cancelot_open_items", 0.0);
    scrape.check("cancelot_open_batches", 0.0);
    scrape.check("cancelot_ready", 1.0);
    scrape.check("cancelot_journal_failed", 0.0);
    // Three admitted and three settled, whether written by now or not.
    let audit = ["cancelot_audit_waiting_lines", "cancelot_audit_lines_total"];
    assert_eq!(audit.map(|name| scrape.0[name]).iter().sum::<f64>(), 6.0);
    assert!(scrape.0["cancelot_journal_commit_seconds_count"] >= 2.0);
    // Admitted, and settled.
    scrape.check("cancelot_journal_group_items_sum", 6.0);
    assert!(scrape.0["cancelot_journal_disk_free_bytes"] > 0.0);
    assert!(scrape.0["cancelot_journal_file_bytes"] > 0.0);
    assert!(scrape.0["process_resident_memory_bytes"] > 1e6);
    assert!(scrape.0["process_open_fds"] > 3.0);
    assert!(scrape.0["process_cpu_seconds_total"] > 0.0);
}

#[tokio::test]
async fn all_methods_are_there_with_all_statuses_before_anybody_calls() {
    let gateway = gateway().config(ADMIN).start().await;

    let scrape = Scrape::of(&gateway).await;

    let handled = scrape
        .0
        .keys()
        .filter(|name| name.starts_with("grpc_server_handled_total"));
    let ours = handled
        .clone()
        .filter(|name| name.contains("cancelot.v1"))
        .count();
    assert_eq!(ours, 6 * 17);
    // Health has two or three, reflection one in each version, and one stands for all others.
    assert_eq!(handled.count() % 17, 0);
    assert!(scrape.counted("grpc_server_handled_total").is_empty());
    assert!(scrape.counted("cancelot_outcomes_total").is_empty());
}

#[tokio::test]
async fn each_call_of_a_flood_that_is_refused_is_counted() {
    let callers = "[callers.billing]\ntoken_env = \"BILLING_TOKEN\"\n";
    let gateway = gateway().config(ADMIN).config(callers).start().await;
    let mut client = gateway.client.clone();
    for _ in 0..200 {
        let refused = client.list_accounts(ListAccountsRequest {}).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    }

    let scrape = Scrape::of(&gateway).await;

    let calls = of("ListAccounts", "unary");
    scrape.check(
        &format!("grpc_server_handled_total{{{calls},grpc_code=\"Unauthenticated\"}}"),
        200.0,
    );
}

#[tokio::test]
async fn calls_of_methods_that_there_are_not_share_one_label() {
    let gateway = gateway().config(ADMIN).start().await;
    let channel = tonic::transport::Endpoint::from_shared(gateway.url()).unwrap();
    let channel = channel.connect().await.unwrap();
    for path in [
        "/cancelot.v1.CancellationService/Nothing",
        "/no.Service/Method",
    ] {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<ListAccountsRequest, ListAccountsRequest>::default();
        let asked = tonic::Request::new(ListAccountsRequest {});
        let refused = client.unary(asked, path.parse().unwrap(), codec).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    }

    let scrape = Scrape::of(&gateway).await;

    let other = "grpc_type=\"unary\",grpc_service=\"_OTHER\",grpc_method=\"_OTHER\"";
    assert_eq!(
        scrape.counted("grpc_server_handled_total"),
        [(
            format!("grpc_server_handled_total{{{other},grpc_code=\"Unimplemented\"}}").as_str(),
            2.0
        )]
    );
}

#[tokio::test]
async fn a_provider_that_throttles_and_fails_is_seen() {
    let mut gateway = gateway().config(ADMIN).start().await;
    let throttle = Fault::Throttle { retry_after_ms: 1 };
    gateway.control.script(Provider::Revolv3, throttle);
    let item = subscription(Provider::Revolv3, "7", provider_default());
    let settled = gateway.cancel_one("key", item).await.unwrap();
    assert_eq!(settled.outcome(), Outcome::Canceled);

    let scrape = Scrape::of(&gateway).await;

    let whose = "account=\"revolv3\",provider=\"revolv3\"";
    scrape.check(
        &format!("cancelot_provider_throttles_total{{{whose}}}"),
        1.0,
    );
    scrape.check(
        &format!("cancelot_provider_requests_total{{{whose},result=\"4xx\"}}"),
        1.0,
    );
    scrape.check(&format!("cancelot_breaker_open{{{whose}}}"), 0.0);
    scrape.check(&format!("cancelot_in_flight{{{whose}}}"), 0.0);
}

#[tokio::test]
async fn probes_and_health_are_answered_on_the_admin_listener_and_nothing_else_is() {
    let gateway = gateway().config(ADMIN).start().await;

    let (alive, ready) = (
        get(&gateway, "/livez", "*/*").await,
        get(&gateway, "/readyz", "*/*").await,
    );
    assert_eq!((alive.0, alive.2.as_str()), (200, "alive\n"));
    assert_eq!((ready.0, ready.2.as_str()), (200, "ready\n"));
    for path in [
        "/",
        "/metrics/",
        "/debug",
        "/cancelot.v1.CancellationService/ListAccounts",
    ] {
        assert_eq!(get(&gateway, path, "*/*").await.0, 404, "{path}");
    }
    let url = format!("http://{}", gateway.admin_addr());
    let channel = tonic::transport::Endpoint::from_shared(url)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "cancelot.v1.CancellationService"] {
        let asked = HealthCheckRequest {
            service: service.to_owned(),
        };
        let checked = health.check(asked).await.unwrap().into_inner();
        assert_eq!(checked.status(), ServingStatus::Serving, "{service:?}");
    }
    let refused = crate::support::Client::new(channel)
        .list_accounts(ListAccountsRequest {})
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn metrics_come_as_openmetrics_to_those_who_ask_and_as_plain_text_to_others() {
    let gateway = gateway().config(ADMIN).start().await;

    let (_, plain_kind, plain) = get(&gateway, "/metrics", "*/*").await;
    let asked = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let (_, open_kind, open) = get(&gateway, "/metrics", asked).await;

    assert_eq!(plain_kind, "text/plain; version=0.0.4; charset=utf-8");
    assert!(plain.contains("# TYPE grpc_server_started_total counter\n"));
    assert!(!plain.contains("# EOF"));
    assert_eq!(
        open_kind,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(open.contains("# TYPE grpc_server_started counter\n"));
    assert!(open.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_full_disk_is_measured_and_takes_nobody_off_the_list_who_is_ready() {
    let full = FreeSpace::from_fn(|_| Ok(7));
    let builder = gateway().config(ADMIN).free_space(full);
    let mut gateway = builder.journal("free_bytes_min = 1000").start().await;
    let item = subscription(Provider::Rebilly, "sub_1", now());
    let refused = gateway.cancel_one("key", item).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);

    let scrape = Scrape::of(&gateway).await;

    scrape.check("cancelot_refused_requests_total{reason=\"disk_full\"}", 1.0);
    scrape.check("cancelot_journal_disk_free_bytes", 7.0);
    scrape.check("cancelot_journal_disk_reserve_bytes", 1000.0);
    scrape.check("cancelot_ready", 1.0);
    assert_eq!(get(&gateway, "/readyz", "*/*").await.0, 200);
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_from_the_admin_listener() {
    let gateway = gateway().config(ADMIN).start().await;
    let mut silent = Vec::new();
    for _ in 0..2 * cancelot::limits::ADMIN_CONNECTIONS_MAX {
        let opened = tokio::net::TcpStream::connect(gateway.admin_addr()).await;
        silent.push(opened.unwrap());
    }

    let answered = in_time(get(&gateway, "/livez", "*/*")).await;

    assert_eq!(answered.0, 200);
}

#[tokio::test]
async fn a_call_whose_caller_hangs_up_counts_as_canceled_and_its_work_goes_on() {
    let mut gateway = gateway().config(ADMIN).start().await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let item = subscription(Provider::Rebilly, "sub_1", now());
    let sent = request("key", [item.clone()]);
    let stream = gateway.client.cancel_subscription(sent).await.unwrap();
    in_time(gateway.control.held_reached(Provider::Rebilly, 1)).await;

    drop(stream);

    let cancel = of("CancelSubscription", "server_stream");
    let canceled = format!("grpc_server_handled_total{{{cancel},grpc_code=\"Canceled\"}}");
    in_time(async {
        while Scrape::of(&gateway).await.0[&canceled] != 1.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let scrape = Scrape::of(&gateway).await;
    scrape.check("cancelot_open_items", 1.0);
    assert!(scrape.counted("cancelot_outcomes_total").is_empty());
    gateway.control.release(Provider::Rebilly);
    let settled = gateway.cancel_one("key", item).await.unwrap();
    assert_eq!(settled.outcome(), Outcome::Canceled);
}
