//! Callers with JWTs: which are accepted, whose they are, and where the keys come from.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tonic::Code;

use crate::{
    observability::metrics::Scrape,
    support::{
        Gateway, gateway,
        identities::{called_as, every_rpc, reason, refused_as},
        pki::{Authority, Files, Pair},
    },
};

const ISSUER: &str = "https://issuer.test";
const AUDIENCE: &str = "cancelot";
const SUBJECT: &str = "system:serviceaccount:billing:worker";

/// A key that signs tokens.
pub(crate) struct Signer {
    kid: String,
    algorithm: Algorithm,
    key: EncodingKey,
    public_pem: String,
}

impl Signer {
    pub(crate) fn ec(kid: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self {
            kid: kid.to_owned(),
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(),
            public_pem: pair.public_key_pem(),
        }
    }

    fn rsa(kid: &str) -> Self {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        Self {
            kid: kid.to_owned(),
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap(),
            public_pem: pair.public_key_pem(),
        }
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.kid.clone());
        serde_json::to_value(jwk).unwrap()
    }

    fn header(&self) -> Header {
        Header {
            kid: Some(self.kid.clone()),
            ..Header::new(self.algorithm)
        }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&self.header(), claims, &self.key).unwrap()
    }
}

pub(crate) fn jwks<'a>(signers: impl IntoIterator<Item = &'a Signer>) -> String {
    let keys: Vec<_> = signers.into_iter().map(Signer::jwk).collect();
    json!({ "keys": keys }).to_string()
}

/// Seconds from now.
fn within(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}

/// What a good token says.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": SUBJECT,
        "iat": within(0), "nbf": within(0), "exp": within(600),
    })
}

/// The same with one of them changed, or left out if it is null.
fn but(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let all = claims.as_object_mut().unwrap();
    match value {
        Value::Null => all.remove(name),
        value => all.insert(name.to_owned(), value),
    };
    claims
}

const CALLER: &str = "[callers.billing]\njwt_issuer = \"test\"\n\
     jwt_subjects = [\"system:serviceaccount:billing:worker\"]";

async fn with_issuer(lines: &str) -> Gateway {
    gateway()
        .config(&format!(
            "[issuers.test]\nissuer = \"{ISSUER}\"\naudiences = [\"{AUDIENCE}\", \"other-name\"]"
        ))
        .config(lines)
        .config(CALLER)
        .start()
        .await
}

#[tokio::test]
async fn only_a_good_token_of_the_issuers_names_its_caller() {
    let (signer, other, rsa) = (Signer::ec("k1"), Signer::ec("k1"), Signer::rsa("k2"));
    let files = Files::new();
    let file = files.write("jwks", &jwks([&signer, &rsa]));
    let gateway = with_issuer(&format!("jwks_file = {file}")).await;
    let client = &gateway.client;

    for (key, good) in [
        ("a", signer.sign(&claims())),
        ("b", rsa.sign(&claims())),
        ("c", signer.sign(&but("aud", json!(["else", "other-name"])))),
        ("d", signer.sign(&but("nbf", Value::Null))),
        ("e", signer.sign(&but("exp", json!(within(-20))))),
        // RFC 7519, section 2: times may have fractions.
        (
            "j",
            signer.sign(&but("exp", json!(within(60) as f64 + 0.75))),
        ),
    ] {
        assert_eq!(
            called_as(client, Some(&good), key).await.unwrap(),
            "billing",
            "{key}"
        );
    }

    let good = signer.sign(&claims());
    let mut parts = good.split('.');
    let (header, payload) = (parts.next().unwrap(), parts.next().unwrap());
    let signature = parts.next().unwrap();
    // {"alg":"none","typ":"JWT"} and {"alg":"none","kid":"k1"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let none_with_kid = "eyJhbGciOiJub25lIiwia2lkIjoiazEifQ";
    let hmac = |secret: &[u8], kid: &str, algorithm| {
        let header = Header {
            kid: Some(kid.to_owned()),
            ..Header::new(algorithm)
        };
        let key = EncodingKey::from_secret(secret);
        jsonwebtoken::encode(&header, &claims(), &key).unwrap()
    };
    let with_kid = |kid: &str| {
        let header = Header {
            kid: Some(kid.to_owned()),
            ..signer.header()
        };
        jsonwebtoken::encode(&header, &claims(), &signer.key).unwrap()
    };
    let of_kind = |kind: &str| {
        let header = Header {
            typ: Some(kind.to_owned()),
            ..signer.header()
        };
        jsonwebtoken::encode(&header, &claims(), &signer.key).unwrap()
    };
    for (key, kind) in [("f", "at+jwt"), ("g", "application/AT+JWT"), ("h", "jwt")] {
        let called = called_as(client, Some(&of_kind(kind)), key).await;
        assert_eq!(called.unwrap(), "billing", "{kind}");
    }
    let untyped = Header {
        typ: None,
        ..signer.header()
    };
    let untyped = jsonwebtoken::encode(&untyped, &claims(), &signer.key).unwrap();
    let called = called_as(client, Some(&untyped), "i").await;
    assert_eq!(called.unwrap(), "billing");
    let crit = Header {
        crit: Some(vec!["exp".to_owned()]),
        ..signer.header()
    };
    let crit = jsonwebtoken::encode(&crit, &claims(), &signer.key).unwrap();
    let tampered = signer.sign(&but("sub", json!("system:serviceaccount:billing:admin")));
    let tampered = tampered.split('.').nth(1).unwrap();
    for (what, token) in [
        ("no algorithm", format!("{none}.{payload}.")),
        (
            "no algorithm, a signature",
            format!("{none}.{payload}.{signature}"),
        ),
        (
            "no algorithm, a key",
            format!("{none_with_kid}.{payload}.{signature}"),
        ),
        ("no signature", format!("{header}.{payload}.")),
        ("other claims", format!("{header}.{tampered}.{signature}")),
        (
            "a public key as secret",
            hmac(signer.public_pem.as_bytes(), "k1", Algorithm::HS256),
        ),
        (
            "an RSA key as secret",
            hmac(rsa.public_pem.as_bytes(), "k2", Algorithm::HS512),
        ),
        ("an empty secret", hmac(b"", "k1", Algorithm::HS256)),
        ("another's key", other.sign(&claims())),
        (
            "another issuer",
            signer.sign(&but("iss", json!("https://evil.test"))),
        ),
        ("no issuer", signer.sign(&but("iss", Value::Null))),
        (
            "two issuers",
            signer.sign(&but("iss", json!([ISSUER, "https://evil.test"]))),
        ),
        (
            "another audience",
            signer.sign(&but("aud", json!("billing"))),
        ),
        ("no audience", signer.sign(&but("aud", Value::Null))),
        ("an empty audience", signer.sign(&but("aud", json!([])))),
        (
            "an end that was",
            signer.sign(&but("exp", json!(within(-60)))),
        ),
        ("no end", signer.sign(&but("exp", Value::Null))),
        (
            "an end in words",
            signer.sign(&but("exp", json!("tomorrow"))),
        ),
        (
            "a beginning to come",
            signer.sign(&but("nbf", json!(within(60)))),
        ),
        ("no subject", signer.sign(&but("sub", Value::Null))),
        ("an unknown key", with_kid("k9")),
        ("a path as key", with_kid("../../../../dev/null")),
        ("a URL as key", with_kid("http://127.0.0.1:1/jwks")),
        ("a question as key", with_kid("k1' OR '1'='1")),
        ("a key of another kind", {
            let header = Header {
                kid: Some("k2".to_owned()),
                ..signer.header()
            };
            jsonwebtoken::encode(&header, &claims(), &signer.key).unwrap()
        }),
        ("an extension", crit),
        ("another kind", of_kind("logout+jwt")),
        ("no kind in words", of_kind("")),
        ("nothing", "..".to_owned()),
        ("noise", "a.b.c".to_owned()),
    ] {
        assert_eq!(
            refused_as(client, Some(&token)).await,
            "UNAUTHENTICATED",
            "{what}"
        );
    }
    for subject in [
        "system:serviceaccount:billing:worker2",
        "SYSTEM:serviceaccount:billing:worker",
    ] {
        let token = signer.sign(&but("sub", json!(subject)));
        assert_eq!(refused_as(client, Some(&token)).await, "UNAUTHENTICATED");
    }
    let long = signer.sign(&but("more", json!("x".repeat(8 * 1024))));
    assert_eq!(refused_as(client, Some(&long)).await, "UNAUTHENTICATED");
    for (rpc, answer) in every_rpc(client, Some(&other.sign(&claims()))).await {
        assert_eq!(
            answer.expect_err(rpc).code(),
            Code::Unauthenticated,
            "{rpc}"
        );
    }
}

#[tokio::test]
async fn an_algorithm_is_only_what_the_operator_allows() {
    let (ec, rsa) = (Signer::ec("k1"), Signer::rsa("k2"));
    let files = Files::new();
    let file = files.write("jwks", &jwks([&ec, &rsa]));
    let gateway = with_issuer(&format!("jwks_file = {file}\nalgorithms = [\"RS256\"]")).await;

    let called = called_as(&gateway.client, Some(&rsa.sign(&claims())), "a").await;
    assert_eq!(called.unwrap(), "billing");
    let refused = refused_as(&gateway.client, Some(&ec.sign(&claims()))).await;
    assert_eq!(refused, "UNAUTHENTICATED");
}

#[tokio::test]
async fn claims_that_a_caller_needs_have_to_be_there() {
    let signer = Signer::ec("k1");
    let files = Files::new();
    let file = files.write("jwks", &jwks([&signer]));
    let gateway = gateway()
        .config(&format!(
            "[issuers.test]\nissuer = \"{ISSUER}\"\naudiences = \"{AUDIENCE}\""
        ))
        .config(&format!("jwks_file = {file}"))
        .config(CALLER)
        .config("jwt_claims = [\"azp=billing\", \"tier=gold=1\"]")
        .start()
        .await;
    let mut good = but("azp", json!("billing"));
    good["tier"] = json!("gold=1");

    let called = called_as(&gateway.client, Some(&signer.sign(&good)), "a").await;
    assert_eq!(called.unwrap(), "billing");
    for (name, value) in [
        ("azp", json!("support")),
        ("azp", json!(["billing"])),
        ("tier", json!(1)),
    ] {
        let mut other = good.clone();
        other[name] = value;
        let refused = refused_as(&gateway.client, Some(&signer.sign(&other))).await;
        assert_eq!(refused, "UNAUTHENTICATED");
    }
}

#[tokio::test]
async fn a_token_is_good_for_no_longer_than_its_issuer_may_make_it() {
    let signer = Signer::ec("k");
    let files = Files::new();
    let file = files.write("jwks", &jwks([&signer]));
    let lines = format!("jwks_file = {file}\ntoken_life_max_ms = 3600000");
    let gateway = with_issuer(&lines).await;
    let client = &gateway.client;
    let sign = |issued: Value, end: i64| {
        let mut claims = but("iat", issued);
        claims["exp"] = json!(within(end));
        signer.sign(&claims)
    };
    for (key, good) in [
        ("a", sign(json!(within(0)), 3_600)),
        ("b", sign(json!(within(-3_000)), 600)),
        ("c", sign(Value::Null, 3_600)),
    ] {
        let called = called_as(client, Some(&good), key).await;
        assert_eq!(called.unwrap(), "billing", "{key}");
    }
    for (what, long) in [
        ("from its issue", sign(json!(within(-3_000)), 900)),
        ("from now on", sign(Value::Null, 3_700)),
        ("issued in times to come", sign(json!(within(7_200)), 7_500)),
    ] {
        assert_eq!(
            refused_as(client, Some(&long)).await,
            "UNAUTHENTICATED",
            "{what}"
        );
    }
}

#[tokio::test]
async fn keys_that_are_for_other_operations_sign_nothing() {
    let (signer, other) = (Signer::ec("k"), Signer::ec("other"));
    let mut keys = json!({ "keys": [signer.jwk(), other.jwk()] });
    keys["keys"][0]["key_ops"] = json!(["verify"]);
    keys["keys"][1]["key_ops"] = json!(["encrypt"]);
    let files = Files::new();
    let file = files.write("jwks", &keys.to_string());
    let gateway = with_issuer(&format!("jwks_file = {file}")).await;
    let client = &gateway.client;
    let called = called_as(client, Some(&signer.sign(&claims())), "a").await;
    assert_eq!(called.unwrap(), "billing");
    let refused = refused_as(client, Some(&other.sign(&claims()))).await;
    assert_eq!(refused, "UNAUTHENTICATED");
}

#[tokio::test]
async fn keys_in_a_file_are_rotated_by_changing_it() {
    let (old, new) = (Signer::ec("old"), Signer::ec("new"));
    let files = Files::new();
    let file = files.write("jwks", &jwks([&old]));
    let gateway = with_issuer(&format!("jwks_file = {file}")).await;
    let client = &gateway.client;
    let [old_token, new_token] = [&old, &new].map(|signer| signer.sign(&claims()));
    assert_eq!(
        called_as(client, Some(&old_token), "a").await.unwrap(),
        "billing"
    );
    assert_eq!(
        refused_as(client, Some(&new_token)).await,
        "UNAUTHENTICATED"
    );

    for bad in [
        "",
        "{}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}",
    ] {
        files.write("jwks", bad);
        assert_eq!(gateway.reload().await.failed, 1, "{bad}");
        assert_eq!(
            called_as(client, Some(&old_token), "a").await.unwrap(),
            "billing"
        );
    }
    files.write("jwks", &jwks([&new]));
    assert_eq!(gateway.reload().await.changed, 1);
    assert_eq!(
        called_as(client, Some(&new_token), "b").await.unwrap(),
        "billing"
    );
    assert_eq!(
        refused_as(client, Some(&old_token)).await,
        "UNAUTHENTICATED"
    );

    // Without any key nothing of the issuer's is good any more.
    files.write("jwks", "{\"keys\":[]}");
    assert_eq!(gateway.reload().await.changed, 1);
    assert_eq!(
        refused_as(client, Some(&new_token)).await,
        "UNAUTHENTICATED"
    );
}

#[tokio::test]
async fn keys_that_are_taken_back_at_their_url_are_good_no_more() {
    let signer = Signer::ec("k");
    let publisher = Publisher::start(jwks([&signer])).await;
    let gateway = with_issuer(&format!("jwks_url = {:?}", publisher.url)).await;
    let client = &gateway.client;
    gateway.reload().await;
    let token = signer.sign(&claims());
    assert_eq!(
        called_as(client, Some(&token), "a").await.unwrap(),
        "billing"
    );
    publisher.publish(jwks([]));
    gateway.reload().await;
    assert_eq!(refused_as(client, Some(&token)).await, "UNAUTHENTICATED");
}

#[tokio::test]
async fn keys_whose_file_is_gone_for_longer_than_its_grace_are_good_no_more() {
    let signer = Signer::ec("k");
    let files = Files::new();
    let file = files.write("jwks", &jwks([&signer]));
    let lines = format!("jwks_file = {file}\n[server]\nreload_grace_ms = 0");
    let gateway = with_issuer(&lines).await;
    let client = &gateway.client;
    let token = signer.sign(&claims());
    assert_eq!(
        called_as(client, Some(&token), "a").await.unwrap(),
        "billing"
    );
    std::fs::remove_file(files.path("jwks")).unwrap();
    assert_eq!(gateway.reload().await.failed, 1);
    let refused = called_as(client, Some(&token), "b").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    files.write("jwks", &jwks([&signer]));
    gateway.reload().await;
    assert_eq!(
        called_as(client, Some(&token), "b").await.unwrap(),
        "billing"
    );
}

/// Somebody who publishes keys.
pub(crate) struct Publisher {
    pub(crate) url: String,
    state: Arc<Published>,
    serving: JoinHandle<()>,
}

struct Published {
    status: Mutex<&'static str>,
    body: Mutex<String>,
    requests: Mutex<Vec<String>>,
    count: AtomicUsize,
}

impl Publisher {
    pub(crate) async fn start(body: String) -> Self {
        Self::start_with(body, None).await
    }

    async fn start_with(body: String, tls: Option<&Pair>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!(
            "{scheme}://{}/openid/v1/jwks",
            listener.local_addr().unwrap()
        );
        let state = Arc::new(Published {
            status: Mutex::new("200 OK"),
            body: Mutex::new(body),
            requests: Mutex::default(),
            count: AtomicUsize::new(0),
        });
        let acceptor = tls.map(Pair::acceptor);
        let served = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                match &acceptor {
                    None => answer(socket, &served).await,
                    Some(acceptor) => {
                        if let Ok(socket) = acceptor.accept(socket).await {
                            answer(socket, &served).await;
                        }
                    }
                }
            }
        });
        Self {
            url,
            state,
            serving,
        }
    }

    pub(crate) fn publish(&self, body: String) {
        *self.state.body.lock().unwrap() = body;
    }

    fn fail(&self) {
        *self.state.status.lock().unwrap() = "500 Internal Server Error";
    }

    fn recover(&self) {
        *self.state.status.lock().unwrap() = "200 OK";
    }

    pub(crate) fn asked(&self) -> usize {
        self.state.count.load(Ordering::SeqCst)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Answers one request, and ends the connection.
async fn answer(mut socket: impl AsyncRead + AsyncWrite + Unpin, state: &Published) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match socket.read(&mut byte).await {
            Ok(1) => request.push(byte[0]),
            _ => return,
        }
    }
    state.count.fetch_add(1, Ordering::SeqCst);
    let text = String::from_utf8(request).unwrap();
    state.requests.lock().unwrap().push(text);
    let (status, body) = (
        *state.status.lock().unwrap(),
        state.body.lock().unwrap().clone(),
    );
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
    let _ = socket.shutdown().await;
}

#[tokio::test]
async fn keys_at_a_url_are_fetched_again_when_a_token_names_one_that_is_not_known() {
    let (old, new) = (Signer::ec("old"), Signer::ec("new"));
    let publisher = Publisher::start(jwks([&old])).await;
    let gateway = with_issuer(&format!("jwks_url = {:?}", publisher.url)).await;
    let client = &gateway.client;
    gateway.reload().await;
    let [old_token, new_token] = [&old, &new].map(|signer| signer.sign(&claims()));
    assert_eq!(
        called_as(client, Some(&old_token), "a").await.unwrap(),
        "billing"
    );

    publisher.publish(jwks([&old, &new]));
    assert_eq!(
        called_as(client, Some(&new_token), "b").await.unwrap(),
        "billing"
    );
    assert_eq!(
        called_as(client, Some(&old_token), "c").await.unwrap(),
        "billing"
    );

    // Invented key ids cause no requests beyond the one at the start.
    let asked = publisher.asked();
    for i in 0..20 {
        let made_up = Signer::ec(&format!("made-up-{i}"));
        let token = made_up.sign(&claims());
        assert_eq!(refused_as(client, Some(&token)).await, "UNAUTHENTICATED");
    }
    assert!(publisher.asked() <= asked + 1);
}

#[tokio::test]
async fn while_keys_cannot_be_fetched_the_last_ones_are_good() {
    let signer = Signer::ec("k");
    let publisher = Publisher::start(jwks([&signer])).await;
    let gateway = with_issuer(&format!("jwks_url = {:?}", publisher.url)).await;
    let client = &gateway.client;
    gateway.reload().await;
    let token = signer.sign(&claims());
    let billing = async |key: &str| called_as(client, Some(&token), key).await.unwrap();
    assert_eq!(billing("a").await, "billing");

    publisher.publish("no keys at all".to_owned());
    gateway.reload().await;
    assert_eq!(billing("b").await, "billing");
    publisher.publish(" ".repeat(300 * 1024));
    gateway.reload().await;
    assert_eq!(billing("c").await, "billing");
    publisher.fail();
    publisher.publish(jwks([]));
    gateway.reload().await;
    assert_eq!(billing("d").await, "billing");
    drop(publisher);
    gateway.reload().await;
    assert_eq!(billing("e").await, "billing");
}

#[tokio::test]
async fn the_audit_tells_when_keys_at_a_url_change_or_cannot_be_fetched_and_not_each_time() {
    let (old, new) = (Signer::ec("old"), Signer::ec("new"));
    let publisher = Publisher::start(jwks([&old, &new])).await;
    let mut gateway = with_issuer(&format!("jwks_url = {:?}", publisher.url)).await;
    gateway.reload().await;
    // The same in another order.
    publisher.publish(jwks([&new, &old]));
    gateway.reload().await;
    publisher.publish(jwks([&new]));
    gateway.reload().await;
    gateway.reload().await;
    publisher.fail();
    gateway.reload().await;
    gateway.reload().await;
    gateway.stop().await;
    for event in ["reloaded", "reload_failed"] {
        let told = gateway.events(event);
        assert_eq!(told.len(), 1, "{event}: {told:?}");
        assert_eq!(told[0]["what"], "issuers.test.jwks_url");
    }
}

#[tokio::test]
async fn whether_keys_are_fetched_and_when_they_last_were_is_measured() {
    const LAST: &str = "cancelot_issuer_keys_last_success_timestamp_seconds{issuer=\"test\"}";
    const FAILING: &str = "cancelot_issuer_keys_failing{issuer=\"test\"}";
    let publisher = Publisher::start(String::new()).await;
    let gateway = with_issuer(&format!(
        "jwks_url = {:?}\n[server]\nadmin_listen = \"127.0.0.1:0\"",
        publisher.url
    ))
    .await;
    gateway.reload().await;
    let scrape = Scrape::of(&gateway).await;
    scrape.check(LAST, 0.0);
    scrape.check(FAILING, 1.0);

    let before = within(0);
    publisher.publish(jwks([&Signer::ec("k")]));
    gateway.reload().await;
    let scrape = Scrape::of(&gateway).await;
    scrape.check(FAILING, 0.0);
    let fetched = scrape.value(LAST).unwrap();
    let bounds = [before, within(0)].map(|at| at.to_string().parse::<f64>().unwrap());
    assert!(
        (bounds[0]..=bounds[1]).contains(&fetched),
        "{fetched} {bounds:?}"
    );

    publisher.fail();
    gateway.reload().await;
    let scrape = Scrape::of(&gateway).await;
    scrape.check(FAILING, 1.0);
    scrape.check(LAST, fetched);
    publisher.recover();
    gateway.reload().await;
    Scrape::of(&gateway).await.check(FAILING, 0.0);
}

#[tokio::test]
async fn without_keys_a_token_is_not_refused_for_good() {
    let signer = Signer::ec("k");
    let publisher = Publisher::start(String::new()).await;
    let mut gateway = with_issuer(&format!("jwks_url = {:?}", publisher.url)).await;
    let token = signer.sign(&claims());
    let status = called_as(&gateway.client, Some(&token), "a")
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::Unavailable, "KEYS_UNAVAILABLE")
    );

    publisher.publish(jwks([&signer]));
    gateway.reload().await;
    let called = called_as(&gateway.client, Some(&token), "a").await;
    assert_eq!(called.unwrap(), "billing");
    gateway.stop().await;
    let refused = gateway.events("refused");
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["reason"], "KEYS_UNAVAILABLE");
    assert_eq!(refused[0]["code"], "UNAVAILABLE");
}

/// As a cluster has it: an API server with an authority of its own, which shows its keys to who
/// has a token, and service accounts' tokens as they are in pods.
#[tokio::test]
async fn service_accounts_of_kubernetes_call_with_their_tokens_as_they_are() {
    let (signer, authority, files) = (Signer::rsa("Vx1"), Authority::new("cluster"), Files::new());
    let publisher =
        Publisher::start_with(jwks([&signer]), Some(&authority.for_host("127.0.0.1"))).await;
    let ca = files.write("ca.crt", &authority.pem);
    let token_file = files.write("token", "the-gateways-own-token\n");
    let gateway = gateway()
        .config("[issuers.cluster]\nissuer = \"https://kubernetes.default.svc.cluster.local\"")
        .config("audiences = \"cancelot\"")
        .config(&format!(
            "jwks_url = {:?}\njwks_ca_file = {ca}",
            publisher.url
        ))
        .config(&format!("jwks_token_file = {token_file}"))
        .config("[callers.billing]\njwt_issuer = \"cluster\"")
        .config("jwt_subjects = \"system:serviceaccount:billing:worker\"")
        .start()
        .await;
    gateway.reload().await;
    let token = signer.sign(&json!({
        "aud": ["cancelot"],
        "exp": within(3607),
        "iat": within(0),
        "iss": "https://kubernetes.default.svc.cluster.local",
        "jti": "0b2a4d5e-8f0e-4a9b-9a40-0c8a4f6f6a0e",
        "kubernetes.io": {
            "namespace": "billing",
            "node": {"name": "node-1", "uid": "0a6c1f0e-5d6f-4f0e-8c1e-2f5b7c9d1e3f"},
            "pod": {"name": "worker-0", "uid": "1c9f4e5a-7b8d-4c2e-9f1a-3d5b7e9c1a2b"},
            "serviceaccount": {"name": "worker", "uid": "2d8e5f6b-1a3c-4e5f-8b7d-9c1e3a5f7b9d"},
            "warnafter": within(3607),
        },
        "nbf": within(0),
        "sub": "system:serviceaccount:billing:worker",
    }));
    let called = called_as(&gateway.client, Some(&token), "a").await;
    assert_eq!(called.unwrap(), "billing");
    let asked = publisher.state.requests.lock().unwrap()[0].to_ascii_lowercase();
    assert!(
        asked.contains("authorization: bearer the-gateways-own-token\r\n"),
        "{asked}"
    );

    // Another authority vouches for no caller here.
    let evil = Publisher::start_with(
        jwks([&signer]),
        Some(&Authority::new("cluster").for_host("127.0.0.1")),
    )
    .await;
    let other = with_issuer(&format!("jwks_url = {:?}\njwks_ca_file = {ca}", evil.url)).await;
    other.reload().await;
    let status = called_as(&other.client, Some(&signer.sign(&claims())), "a").await;
    assert_eq!(status.unwrap_err().code(), Code::Unavailable);
    assert_eq!(evil.asked(), 0);
}
