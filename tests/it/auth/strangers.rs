//! Whoever proves nobody is told one thing, whatever is wrong with what it shows; the operator is
//! told what it is.

use cancelot::rpc::proto::ListAccountsRequest;
use tonic::{Code, Status};

use super::jwt::{Publisher, Signer, claims, jwks};
use crate::{
    observability::metrics::Scrape,
    support::{
        BILLING_TOKEN, Client, SUPPORT_TOKEN, gateway,
        identities::{reason, shown},
        pki::{Authority, Files},
    },
};

async fn refused(client: &Client, token: Option<&str>) -> Status {
    let mut client = client.clone();
    let answer = client.list_accounts(shown(token, ListAccountsRequest {}));
    answer.await.unwrap_err()
}

#[tokio::test]
async fn every_stranger_is_told_the_same_and_the_operator_what_was_wrong() {
    let (server_ca, client_ca) = (Authority::new("server"), Authority::new("client"));
    let (files, signer) = (Files::new(), Signer::ec("k"));
    let server = files.server(&server_ca.server());
    let ca = files.write("client-ca.pem", &client_ca.pem);
    let keys = files.write("jwks", &jwks([&signer]));
    let mut gateway = gateway()
        .config(&format!(
            "[server]\nadmin_listen = \"127.0.0.1:0\"\n{server}"
        ))
        .config(&format!("tls_client_ca_file = {ca}"))
        .config("[issuers.test]\nissuer = \"https://issuer.test\"\naudiences = \"cancelot\"")
        .config(&format!("jwks_file = {keys}"))
        .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"\nrequire = \"all\"")
        .config("tls_sans = [\"dns:billing.internal\"]")
        .config("[callers.support]\ntoken_env = \"SUPPORT_TOKEN\"")
        .config("[callers.worker]\njwt_issuer = \"test\"")
        .config("jwt_subjects = \"system:serviceaccount:billing:worker\"")
        .start()
        .await;
    let but = |name: &str, value: serde_json::Value| {
        let mut claims = claims();
        claims[name] = value;
        signer.sign(&claims)
    };
    let expired = but("exp", 1.into());
    let unknown_issuer = but("iss", "https://else.test".into());
    let unknown_subject = but("sub", "nobody".into());
    let unknown_key = Signer::ec("other").sign(&claims());
    let forged = Signer::ec("k").sign(&claims());
    let plain = gateway.over_tls(&server_ca, None).await.unwrap();
    let billing = client_ca.client(&["dns:billing.internal"]);
    let billing = gateway.over_tls(&server_ca, Some(&billing)).await.unwrap();
    let nobody = client_ca.client(&["dns:nobody.internal"]);
    let nobody = gateway.over_tls(&server_ca, Some(&nobody)).await.unwrap();

    let tries: [(&Client, Option<&str>, &str); 11] = [
        (&plain, None, "CREDENTIALS_MISSING"),
        (&plain, Some("not-the-token-of-anyone"), "TOKEN_INVALID"),
        (&plain, Some("a.b.c"), "JWT_INVALID"),
        (&plain, Some(&expired), "JWT_INVALID"),
        (&plain, Some(&unknown_issuer), "JWT_INVALID"),
        (&plain, Some(&unknown_key), "JWT_INVALID"),
        (&plain, Some(&forged), "JWT_INVALID"),
        (&plain, Some(&unknown_subject), "SUBJECT_UNKNOWN"),
        (&plain, Some(BILLING_TOKEN), "CREDENTIALS_INCOMPLETE"),
        (&billing, Some(SUPPORT_TOKEN), "CREDENTIALS_CONTRADICT"),
        (&nobody, None, "CERTIFICATE_UNKNOWN"),
    ];
    let mut told = Vec::new();
    for (client, token, _) in tries {
        let status = refused(client, token).await;
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(reason(&status), "UNAUTHENTICATED");
        told.push((status.message().to_owned(), status.details().to_vec()));
    }
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");

    let scrape = Scrape::of(&gateway).await;
    let of = |reason| format!("cancelot_strangers_refused_total{{reason=\"{reason}\"}}");
    scrape.check(&of("JWT_INVALID"), 5.0);
    scrape.check(&of("CERTIFICATE_UNKNOWN"), 1.0);
    gateway.stop().await;
    let lines = gateway.events("refused");
    let causes: Vec<_> = lines
        .iter()
        .map(|line| line["cause"].as_str().unwrap())
        .collect();
    let expected: Vec<_> = tries.iter().map(|(_, _, cause)| *cause).collect();
    assert_eq!(causes, expected);
    assert_eq!(lines[3]["detail"], "the token has expired");
    assert_eq!(
        lines[4]["detail"],
        "the token is of an issuer that is not configured"
    );
}

#[tokio::test]
async fn a_jwt_that_proves_nobody_has_keys_asked_for_whatever_is_wrong_with_it() {
    let signer = Signer::ec("k");
    for (name, value) in [("iss", "https://else.test".into()), ("exp", 1.into())] {
        let publisher = Publisher::start(jwks([&signer])).await;
        let gateway = gateway()
            .config("[issuers.test]\nissuer = \"https://issuer.test\"\naudiences = \"cancelot\"")
            .config(&format!("jwks_url = {:?}", publisher.url))
            .config("[callers.worker]\njwt_issuer = \"test\"\njwt_subjects = \"nobody\"")
            .start()
            .await;
        gateway.reload().await;
        let asked = publisher.asked();
        let mut claims = claims();
        claims[name] = serde_json::Value::clone(&value);
        refused(&gateway.client, Some(&signer.sign(&claims))).await;
        // As when it names a key that is not known: it takes as long.
        assert!(publisher.asked() > asked, "{name}");
    }
}

#[tokio::test]
async fn while_keys_are_missing_no_jwt_says_which_issuers_there_are() {
    let (signer, publisher) = (Signer::ec("k"), Publisher::start(String::new()).await);
    let gateway = gateway()
        .config("[issuers.test]\nissuer = \"https://issuer.test\"\naudiences = \"cancelot\"")
        .config(&format!("jwks_url = {:?}", publisher.url))
        .config("[callers.worker]\njwt_issuer = \"test\"\njwt_subjects = \"nobody\"")
        .start()
        .await;
    let mut of_nobody = claims();
    of_nobody["iss"] = "https://else.test".into();
    let mut told = Vec::new();
    for claims in [claims(), of_nobody] {
        let status = refused(&gateway.client, Some(&signer.sign(&claims))).await;
        assert_eq!(reason(&status), "KEYS_UNAVAILABLE");
        told.push((status.code(), status.message().to_owned()));
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].0, Code::Unavailable);
}

#[tokio::test]
async fn a_certificate_that_is_not_believed_gets_one_alert_whatever_is_wrong_with_it() {
    let (server_ca, client_ca) = (Authority::new("server"), Authority::new("client"));
    let files = Files::new();
    let server = files.server(&server_ca.server());
    let ca = files.write("client-ca.pem", &client_ca.pem);
    let list = files.write("crl.pem", &client_ca.revokes(&[7]));
    let mut gateway = gateway()
        .config(&format!("[server]\n{server}tls_client_ca_file = {ca}"))
        .config(&format!("tls_client_crl_file = {list}"))
        .config("[callers.billing]\ntls_sans = [\"dns:billing.internal\"]")
        .start()
        .await;
    let names = &["dns:billing.internal"];
    for pair in [
        Authority::new("other").client(names),
        client_ca.expired_client(names),
        client_ca.client_numbered(names, 7),
        client_ca.server(),
    ] {
        let shown = match gateway.over_tls(&server_ca, Some(&pair)).await {
            Ok(client) => format!("{:?}", refused(&client, None).await),
            Err(error) => format!("{error:?}"),
        };
        // What a client's library has of the alert, if it has any.
        for more in [
            "UnknownCA",
            "Expired",
            "Revoked",
            "BadCertificate",
            "Unsupported",
        ] {
            assert!(!shown.contains(more), "{shown}");
        }
    }
    gateway.stop().await;
    let lines = gateway.events("refused");
    let told: Vec<_> = lines
        .iter()
        .map(|line| line["detail"].as_str().unwrap())
        .collect();
    let expected = ["UnknownIssuer", "expired", "revoked", "extended key usage"];
    for (told, expected) in told.iter().zip(expected) {
        let is_told = told.to_lowercase().contains(&expected.to_lowercase());
        assert!(is_told, "{told} is about {expected}");
    }
    assert_eq!(told.len(), 4);
}
