//! TLS on the service's port: client certificates as credentials, and as files that are reloaded.

use cancelot::{
    app::Reloaded,
    rpc::proto::{ListAccountsRequest, Outcome},
    sandbox::{Fault, Provider},
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    edge::frames::{PREFACE, Wire},
    observability::metrics::Scrape,
    support::{
        BILLING_TOKEN, Gateway, SUPPORT_TOKEN,
        asking::Reader,
        gateway,
        identities::{by, called_as, every_rpc, one, refused_as},
        in_time,
        pki::{Authority, Files, Pair},
    },
};

const SPIFFE: &str = "spiffe://prod/ns/billing/sa/worker";

/// A gateway with TLS, and everything around it.
struct Bench {
    gateway: Gateway,
    server_ca: Authority,
    client_ca: Authority,
    files: Files,
}

impl Bench {
    /// `billing` has a SPIFFE ID, a DNS name and a token, `support` a DNS name and a token.
    async fn start(more: &str) -> Self {
        Self::start_with(more, None).await
    }

    /// The same, whose authority has taken certificates with these numbers back.
    async fn start_with(more: &str, revoked: Option<&[u64]>) -> Self {
        let (server_ca, client_ca) = (Authority::new("server"), Authority::new("client"));
        let files = Files::new();
        let list = revoked.map(|numbers| files.write("crl.pem", &client_ca.revokes(numbers)));
        let list = list.map_or_else(String::new, |list| {
            format!("tls_client_crl_file = {list}\n")
        });
        let server = files.server(&server_ca.server());
        let ca = files.write("client-ca.pem", &client_ca.pem);
        let gateway = gateway()
            .config(&format!(
                "[server]\n{server}tls_client_ca_file = {ca}\n{list}{more}"
            ))
            .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"")
            .config(&format!(
                "tls_sans = [\"{SPIFFE}\", \"dns:billing.internal\"]"
            ))
            .config("[callers.support]\ntoken_env = \"SUPPORT_TOKEN\"")
            .config("tls_sans = [\"dns:support.internal\"]")
            .start()
            .await;
        Self {
            gateway,
            server_ca,
            client_ca,
            files,
        }
    }

    async fn connect(&self, own: Option<&Pair>) -> crate::support::Client {
        self.gateway.over_tls(&self.server_ca, own).await.unwrap()
    }

    /// A connection is refused, at the latest when it is used: with TLS 1.3 a client learns only
    /// then what the server thinks of its certificate.
    async fn refuses(&self, own: Option<&Pair>) {
        if let Ok(mut client) = self.gateway.over_tls(&self.server_ca, own).await {
            let status = client
                .list_accounts(by(BILLING_TOKEN, ListAccountsRequest {}))
                .await;
            let status = status.expect_err("there is no connection");
            let code = status.code();
            assert!(
                matches!(code, Code::Unavailable | Code::Unknown),
                "{status:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_certificate_names_its_caller() {
    let bench = Bench::start("").await;
    for (names, caller) in [
        (&[SPIFFE][..], "billing"),
        (&["dns:billing.internal"], "billing"),
        (&["dns:Billing.Internal"], "billing"),
        (
            &["dns:other", "dns:support.internal", "https://else"],
            "support",
        ),
    ] {
        let client = bench.connect(Some(&bench.client_ca.client(names))).await;
        let key = names.join("_").replace([':', '/'], "_");
        assert_eq!(called_as(&client, None, &key).await.unwrap(), caller);
    }
}

#[tokio::test]
async fn a_certificate_with_any_other_name_names_nobody() {
    let bench = Bench::start("").await;
    let ca = &bench.client_ca;
    for names in [
        &["dns:internal"][..],
        &["dns:*.internal"],
        &["dns:x.billing.internal"],
        &["dns:billing.internal.evil.test"],
        &["spiffe://prod/ns/billing/sa/worker2"],
        &["spiffe://prod/ns/billing/sa/Worker"],
        &["spiffe://prod/ns/billing/sa"],
        &["spiffe://prod/ns/billing/sa/worker/"],
        &["spiffe://prod/ns/billing/sa/*"],
        &["dns:spiffe"],
    ] {
        let client = bench.connect(Some(&ca.client(names))).await;
        assert_eq!(
            refused_as(&client, None).await,
            "UNAUTHENTICATED",
            "{names:?}"
        );
    }
    let client = bench
        .connect(Some(&ca.client_by_common_name("billing.internal")))
        .await;
    assert_eq!(refused_as(&client, None).await, "UNAUTHENTICATED");
    let client = bench.connect(None).await;
    assert_eq!(refused_as(&client, None).await, "UNAUTHENTICATED");
    let both = ca.client(&["dns:billing.internal", "dns:support.internal"]);
    let client = bench.connect(Some(&both)).await;
    assert_eq!(refused_as(&client, None).await, "UNAUTHENTICATED");
    assert_eq!(bench.gateway.requests(Provider::Rebilly), 0);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_makes_no_connection() {
    let bench = Bench::start("").await;
    let stranger = Authority::new("client");
    bench.refuses(Some(&stranger.client(&[SPIFFE]))).await;
    bench
        .refuses(Some(&bench.server_ca.client(&[SPIFFE])))
        .await;
    bench
        .refuses(Some(&bench.client_ca.expired_client(&[SPIFFE])))
        .await;
    // A server's certificate is not for clients, and two SPIFFE IDs are none.
    bench.refuses(Some(&bench.client_ca.server())).await;
    let two = bench
        .client_ca
        .client(&[SPIFFE, "spiffe://prod/ns/other/sa/worker"]);
    bench.refuses(Some(&two)).await;
    // All that was because of the certificates.
    let good = bench
        .connect(Some(&bench.client_ca.client(&[SPIFFE])))
        .await;
    assert_eq!(called_as(&good, None, "good").await.unwrap(), "billing");
}

#[tokio::test]
async fn where_certificates_are_required_there_is_no_connection_without_one() {
    let bench = Bench::start("tls_client_auth = \"required\"").await;
    bench.refuses(None).await;
    let own = bench.client_ca.client(&[SPIFFE]);
    let client = bench.connect(Some(&own)).await;
    assert_eq!(called_as(&client, None, "a").await.unwrap(), "billing");
}

#[tokio::test]
async fn who_has_to_show_certificate_and_token_is_nobody_with_one_of_them() {
    let bench = Bench::start("").await;
    // `billing` again, in a service of its own.
    let server = bench.files.server(&bench.server_ca.server());
    let ca = bench.files.write("client-ca.pem", &bench.client_ca.pem);
    let gateway = gateway()
        .config(&format!("[server]\n{server}tls_client_ca_file = {ca}"))
        .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"\nrequire = \"all\"")
        .config(&format!("tls_sans = [\"{SPIFFE}\"]"))
        .config("[callers.support]\ntoken_env = \"SUPPORT_TOKEN\"")
        .start()
        .await;
    let own = bench.client_ca.client(&[SPIFFE]);
    let with = gateway
        .over_tls(&bench.server_ca, Some(&own))
        .await
        .unwrap();
    let without = gateway.over_tls(&bench.server_ca, None).await.unwrap();
    let token = Some(BILLING_TOKEN);
    assert_eq!(called_as(&with, token, "a").await.unwrap(), "billing");
    assert_eq!(refused_as(&with, None).await, "UNAUTHENTICATED");
    assert_eq!(refused_as(&without, token).await, "UNAUTHENTICATED");
    let support = called_as(&without, Some(SUPPORT_TOKEN), "b").await;
    assert_eq!(support.unwrap(), "support");
}

#[tokio::test]
async fn what_is_shown_together_has_to_be_of_one_caller() {
    let bench = Bench::start("").await;
    let billing = bench
        .connect(Some(&bench.client_ca.client(&[SPIFFE])))
        .await;
    let proxy = bench
        .connect(Some(&bench.client_ca.client(&["dns:proxy"])))
        .await;

    let (billings, supports) = (Some(BILLING_TOKEN), Some(SUPPORT_TOKEN));
    assert_eq!(called_as(&billing, billings, "a").await.unwrap(), "billing");
    assert_eq!(refused_as(&billing, supports).await, "UNAUTHENTICATED");
    let wrong = Some("not-the-token-of-anyone");
    assert_eq!(refused_as(&billing, wrong).await, "UNAUTHENTICATED");
    // Who stands in between has a certificate, and whose call it passes on has the token.
    assert_eq!(called_as(&proxy, supports, "b").await.unwrap(), "support");
    assert_eq!(refused_as(&proxy, None).await, "UNAUTHENTICATED");
}

#[tokio::test]
async fn without_a_proof_nothing_answers_but_health() {
    let bench = Bench::start("").await;
    let client = bench.connect(None).await;
    for token in [
        None,
        Some("not-the-token-of-anyone"),
        Some("a.b.c"),
        Some(""),
    ] {
        for (rpc, answer) in every_rpc(&client, token).await {
            let status = answer.expect_err(rpc);
            assert_eq!(status.code(), Code::Unauthenticated, "{rpc} {token:?}");
        }
    }
    assert_eq!(bench.gateway.requests(Provider::Rebilly), 0);
    let tls = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(tonic::transport::Certificate::from_pem(
            &bench.server_ca.pem,
        ))
        .domain_name(crate::support::pki::SERVER_NAME);
    let url = bench.gateway.url().replace("http://", "https://");
    let endpoint = tonic::transport::Endpoint::from_shared(url).unwrap();
    let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
    let health = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await;
    let status = health.unwrap().into_inner().status();
    assert_eq!(status, ServingStatus::Serving);
}

/// The beginning of a TLS record that promises more than it brings.
const HELLO_CUT_OFF: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

#[tokio::test]
async fn who_speaks_no_tls_or_never_ends_its_handshake_is_closed_and_holds_nobody_up() {
    let mut bench = Bench::start("handshake_timeout_ms = 100\nconnections_max = 3").await;
    let url = bench.gateway.url();
    for plain in [PREFACE, b"GET / HTTP/1.1\r\n\r\n", &[0; 100]] {
        in_time(Wire::silent(&url, plain).await.closed()).await;
    }
    for slow in [&b""[..], b"\x16", HELLO_CUT_OFF] {
        in_time(Wire::silent(&url, slow).await.closed()).await;
    }
    // They take all places, and still give one up to who has something to say.
    let mut slow = Vec::new();
    for _ in 0..10 {
        slow.push(Wire::silent(&url, HELLO_CUT_OFF).await);
    }
    let client = in_time(bench.connect(None)).await;
    let called = in_time(called_as(&client, Some(BILLING_TOKEN), "a")).await;
    assert_eq!(called.unwrap(), "billing");
    in_time(bench.gateway.stop()).await;
    let refused = bench.gateway.events("refused");
    assert!(!refused.is_empty());
    for line in refused {
        assert_eq!(line["reason"], "HANDSHAKE_FAILED", "{line}");
        assert!(line.get("code").is_none(), "there was no call: {line}");
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_does_not_hold_up_the_end() {
    let mut bench = Bench::start("handshake_timeout_ms = 600000\ndrain_ms = 100").await;
    let _slow = Wire::silent(&bench.gateway.url(), HELLO_CUT_OFF).await;
    let _silent = Wire::silent(&bench.gateway.url(), b"").await;
    let client = in_time(bench.connect(None)).await;
    let called = in_time(called_as(&client, Some(BILLING_TOKEN), "a")).await;
    assert_eq!(called.unwrap(), "billing");
    in_time(bench.gateway.stop()).await;
}

#[tokio::test]
async fn the_servers_certificate_is_replaced_without_a_restart() {
    let bench = Bench::start("").await;
    let old = bench.connect(None).await;
    let new_ca = Authority::new("new");
    assert!(bench.gateway.over_tls(&new_ca, None).await.is_err());

    // Half of a pair is not taken, and neither is what is no certificate.
    let pair = new_ca.server();
    bench.files.write("server.pem", &pair.cert);
    let failed = Reloaded {
        changed: 0,
        failed: 1,
    };
    assert_eq!(bench.gateway.reload().await, failed);
    bench.files.write("server-key.pem", "no key at all");
    assert_eq!(bench.gateway.reload().await, failed);
    bench.connect(None).await;

    bench.files.write("server-key.pem", &pair.key);
    let changed = Reloaded {
        changed: 1,
        failed: 0,
    };
    assert_eq!(bench.gateway.reload().await, changed);
    assert_eq!(bench.gateway.reload().await, Reloaded::default());
    let new = bench.gateway.over_tls(&new_ca, None).await.unwrap();
    assert!(
        bench
            .gateway
            .over_tls(&bench.server_ca, None)
            .await
            .is_err()
    );
    for (client, key) in [(old, "old"), (new, "new")] {
        let called = called_as(&client, Some(BILLING_TOKEN), key).await;
        assert_eq!(called.unwrap(), "billing");
    }
}

#[tokio::test]
async fn the_clients_authorities_are_replaced_also_for_connections_that_are_open() {
    let mut bench = Bench::start("").await;
    let new_ca = Authority::new("new");
    let (old, new) = (bench.client_ca.client(&[SPIFFE]), new_ca.client(&[SPIFFE]));
    let open = bench.connect(Some(&old)).await;
    assert_eq!(called_as(&open, None, "a").await.unwrap(), "billing");
    bench.refuses(Some(&new)).await;

    let both = format!("{}{}", bench.client_ca.pem, new_ca.pem);
    bench.files.write("client-ca.pem", &both);
    assert_eq!(bench.gateway.reload().await.changed, 1);
    assert_eq!(called_as(&open, None, "b").await.unwrap(), "billing");
    let client = bench.connect(Some(&new)).await;
    assert_eq!(called_as(&client, None, "c").await.unwrap(), "billing");

    bench.files.write("client-ca.pem", &new_ca.pem);
    assert_eq!(bench.gateway.reload().await.changed, 1);
    let refused = called_as(&open, None, "d").await.unwrap_err();
    assert!(
        matches!(refused.code(), Code::Unavailable | Code::Unknown),
        "{refused:?}"
    );
    bench.refuses(Some(&old)).await;
    assert_eq!(called_as(&client, None, "e").await.unwrap(), "billing");

    in_time(bench.gateway.stop()).await;
    let mut refused = bench.gateway.events("refused");
    refused.retain(|line| line["reason"] == "CERTIFICATE_STALE");
    let [line] = &*refused else {
        panic!("{refused:?}");
    };
    assert_eq!(line["method"], "CancelSubscription");
    assert_eq!(line["code"], "UNAVAILABLE");
}

/// A call on a connection whose certificate has ceased to be valid.
async fn is_cut_off(client: &crate::support::Client) {
    let refused = called_as(client, None, "late").await.unwrap_err();
    assert!(
        matches!(refused.code(), Code::Unavailable | Code::Unknown),
        "{refused:?}"
    );
}

#[tokio::test]
async fn authorities_that_are_taken_away_vouch_for_nobody_any_more() {
    for (more, away) in [
        ("", Some("")),
        ("", Some(" \n")),
        ("reload_grace_ms = 0", Some("no certificate")),
        ("reload_grace_ms = 0", None),
    ] {
        let bench = Bench::start(more).await;
        let pair = bench.client_ca.client(&[SPIFFE]);
        let open = bench.connect(Some(&pair)).await;
        assert_eq!(called_as(&open, None, "a").await.unwrap(), "billing");

        match away {
            Some(text) => drop(bench.files.write("client-ca.pem", text)),
            None => std::fs::remove_file(bench.files.path("client-ca.pem")).unwrap(),
        }
        bench.gateway.reload().await;
        is_cut_off(&open).await;
        bench.refuses(Some(&pair)).await;
        // Who shows no certificate is let in by a token as before.
        let client = bench.connect(None).await;
        let called = called_as(&client, Some(SUPPORT_TOKEN), "b").await;
        assert_eq!(called.unwrap(), "support");

        bench.files.write("client-ca.pem", &bench.client_ca.pem);
        bench.gateway.reload().await;
        let client = bench.connect(Some(&pair)).await;
        assert_eq!(called_as(&client, None, "c").await.unwrap(), "billing");
    }
}

#[tokio::test]
async fn the_listeners_own_files_being_gone_takes_nothing_from_clients() {
    let bench = Bench::start("reload_grace_ms = 0").await;
    let pair = bench.client_ca.client(&[SPIFFE]);
    let open = bench.connect(Some(&pair)).await;
    bench.files.write("server.pem", "no certificate");
    assert_eq!(bench.gateway.reload().await.failed, 1);
    assert_eq!(called_as(&open, None, "a").await.unwrap(), "billing");
    let client = bench.connect(Some(&pair)).await;
    assert_eq!(called_as(&client, None, "b").await.unwrap(), "billing");
}

#[tokio::test]
async fn a_certificate_on_a_revocation_list_lets_nobody_in_on_open_connections_either() {
    let bench = Bench::start_with("", Some(&[1])).await;
    let [stolen, good] = [7, 8].map(|n| bench.client_ca.client_numbered(&[SPIFFE], n));
    let open = bench.connect(Some(&stolen)).await;
    let other = bench.connect(Some(&good)).await;
    assert_eq!(called_as(&open, None, "a").await.unwrap(), "billing");

    bench
        .files
        .write("crl.pem", &bench.client_ca.revokes(&[1, 7]));
    assert_eq!(bench.gateway.reload().await.changed, 1);
    is_cut_off(&open).await;
    bench.refuses(Some(&stolen)).await;
    assert_eq!(called_as(&other, None, "b").await.unwrap(), "billing");
    let again = bench.connect(Some(&good)).await;
    assert_eq!(called_as(&again, None, "c").await.unwrap(), "billing");

    // A list that was emptied would make everything good again.
    bench.files.write("crl.pem", "");
    assert_eq!(bench.gateway.reload().await.failed, 1);
    bench.refuses(Some(&stolen)).await;
    assert_eq!(called_as(&other, None, "d").await.unwrap(), "billing");
}

/// Seconds in an hour.
const HOUR: i64 = 60 * 60;

#[tokio::test]
async fn a_certificate_that_ends_while_its_connection_is_open_lets_no_call_in() {
    let mut bench = Bench::start("").await;
    let end = jiff::Timestamp::now().as_second() + 2 * HOUR;
    let names = &[SPIFFE];
    let own = bench.client_ca.client_until(names, end.unsigned_abs());
    let renewed = bench.client_ca.client(names);
    let open = bench.connect(Some(&own)).await;
    assert_eq!(called_as(&open, None, "a").await.unwrap(), "billing");
    bench.gateway.advance(HOUR);
    assert_eq!(called_as(&open, None, "b").await.unwrap(), "billing");

    // A minute after its end, which is as long as it can let in.
    bench.gateway.advance(HOUR + 60);
    let refused = called_as(&open, None, "c").await.unwrap_err();
    let code = refused.code();
    assert!(
        matches!(code, Code::Unavailable | Code::Unknown),
        "{refused:?}"
    );
    bench.refuses(Some(&own)).await;
    let client = bench.connect(Some(&renewed)).await;
    assert_eq!(called_as(&client, None, "d").await.unwrap(), "billing");

    in_time(bench.gateway.stop()).await;
    let refused = bench.gateway.events("refused");
    let reasons: Vec<_> = refused.iter().map(|line| &line["reason"]).collect();
    assert_eq!(reasons, ["CERTIFICATE_STALE", "HANDSHAKE_FAILED"]);
    let keys = bench.gateway.events("admitted");
    let keys: Vec<_> = keys.iter().map(|line| &line["key"]).collect();
    assert_eq!(keys, ["a/0", "b/0", "d/0"]);
}

/// The first moment of a year, in seconds since 1970.
fn year(year: i16) -> f64 {
    let date = jiff::civil::date(year, 1, 1);
    let at = date.to_zoned(jiff::tz::TimeZone::UTC).unwrap();
    at.timestamp().as_duration().as_secs_f64()
}

/// Checks from when until when the metrics say that a certificate is good.
#[track_caller]
fn is_good(scrape: &Scrape, certificate: &str, years: [i16; 2]) {
    for (bound, at) in ["before", "after"].into_iter().zip(years) {
        let metric = format!("cancelot_tls_certificate_not_{bound}_timestamp_seconds");
        scrape.check(
            &format!("{metric}{{certificate=\"{certificate}\"}}"),
            year(at),
        );
    }
}

#[tokio::test]
async fn the_end_of_each_certificate_in_use_is_measured_and_follows_reloads() {
    let bench = Bench::start("admin_listen = \"127.0.0.1:0\"").await;
    let intermediate = Authority::of_years("between", 2021, 2041);
    let leaf = bench.server_ca.server_of_years(2022, 2042);
    let chain = format!("{}{}", leaf.cert, intermediate.pem);
    let old = Authority::of_years("old", 2001, 2002);
    let new = Authority::of_years("new", 2023, 2043);
    bench.files.write("server.pem", &chain);
    bench.files.write("server-key.pem", &leaf.key);
    bench
        .files
        .write("client-ca.pem", &format!("{}{}", new.pem, old.pem));
    assert_eq!(bench.gateway.reload().await.changed, 1);
    // What ends first is what matters.
    let scrape = Scrape::of(&bench.gateway).await;
    is_good(&scrape, "server", [2021, 2041]);
    is_good(&scrape, "client_ca", [2001, 2002]);
    // An authority's own end is watched and not enforced: its certificates have ends of their own.
    let client = bench.connect(Some(&old.client(&[SPIFFE]))).await;
    assert_eq!(called_as(&client, None, "a").await.unwrap(), "billing");

    bench.files.write("server.pem", &leaf.cert);
    bench.files.write("client-ca.pem", &new.pem);
    assert_eq!(bench.gateway.reload().await.changed, 1);
    let scrape = Scrape::of(&bench.gateway).await;
    is_good(&scrape, "server", [2022, 2042]);
    is_good(&scrape, "client_ca", [2023, 2043]);

    // What is refused is not in use.
    bench.files.write("server.pem", "no certificate");
    assert_eq!(bench.gateway.reload().await.failed, 1);
    is_good(&Scrape::of(&bench.gateway).await, "server", [2022, 2042]);
}

#[tokio::test]
async fn a_stream_outlives_its_certificate_until_the_next_call_ends_their_connection() {
    let bench = Bench::start("").await;
    let (old, new_ca) = (bench.client_ca.client(&[SPIFFE]), Authority::new("new"));
    let (mut quiet, mut calls) = (
        bench.connect(Some(&old)).await,
        bench.connect(Some(&old)).await,
    );
    let control = &bench.gateway.control;
    control.script(Provider::Rebilly, Fault::HoldBefore);
    control.script(Provider::Rebilly, Fault::HoldBefore);
    let mut open = Vec::new();
    for (client, key) in [(&mut quiet, "quiet"), (&mut calls, "calls")] {
        let sent = client.cancel_subscription(one(key, key)).await;
        open.push(Reader::new(sent.unwrap().into_inner()));
    }
    control.held_reached(Provider::Rebilly, 2).await;

    bench.files.write("client-ca.pem", &new_ca.pem);
    assert_eq!(bench.gateway.reload().await.changed, 1);
    let refused = calls.list_accounts(ListAccountsRequest {}).await;
    let code = refused.unwrap_err().code();
    assert!(matches!(code, Code::Unavailable | Code::Unknown), "{code}");
    // Its stream goes with it, and the other connection has not noticed anything.
    open.remove(1)
        .rest()
        .await
        .expect_err("the connection ended");
    control.release(Provider::Rebilly);
    let results = open.remove(0).rest().await.unwrap();
    assert_eq!(results[0].outcome(), Outcome::Canceled);

    // Results that no stream delivered are delivered to a later call with a valid certificate.
    let mut client = bench.connect(Some(&new_ca.client(&[SPIFFE]))).await;
    let sent = client.cancel_subscription(one("calls", "calls")).await;
    let results = Reader::new(sent.unwrap().into_inner())
        .rest()
        .await
        .unwrap();
    assert_eq!(results[0].outcome(), Outcome::Canceled);
    assert_eq!(bench.gateway.requests(Provider::Rebilly), 2);
}

#[tokio::test]
async fn results_stream_over_tls_as_they_do_without() {
    let bench = Bench::start("").await;
    let mut client = bench.connect(None).await;
    bench
        .gateway
        .control
        .script(Provider::Rebilly, Fault::HoldBefore);
    let sent = client
        .cancel_subscription(by(BILLING_TOKEN, one("K", "a")))
        .await;
    let mut reader = Reader::new(sent.unwrap().into_inner());
    bench
        .gateway
        .control
        .held_reached(Provider::Rebilly, 1)
        .await;
    bench.gateway.control.release(Provider::Rebilly);
    let results = reader.rest().await.unwrap();
    assert_eq!(results[0].outcome(), Outcome::Canceled);
}
