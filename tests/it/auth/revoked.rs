//! Proofs that are taken back one by one: what is on the list is good no more, at once, and nothing
//! else is.

use cancelot::app::Reloaded;

use super::jwt::{Signer, claims, jwks};
use crate::support::{
    BILLING_TOKEN, SUPPORT_TOKEN, gateway,
    identities::{called_as, refused_as},
    pki::{Authority, Files},
};

const SPIFFE: &str = "spiffe://prod/ns/billing/sa/worker";
const NONE: &str = "# nothing\n";

#[tokio::test]
async fn a_token_is_revoked_by_what_the_audit_calls_it_until_it_is_off_the_list() {
    let files = Files::new();
    let list = files.write("revoked", NONE);
    let mut gateway = gateway()
        .config(&format!("[server]\nrevoked_file = {list}"))
        .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"")
        .config("[callers.support]\ntoken_env = \"SUPPORT_TOKEN\"")
        .start()
        .await;
    let (billing, support) = (Some(BILLING_TOKEN), Some(SUPPORT_TOKEN));
    let client = gateway.client.clone();
    called_as(&client, billing, "a").await.unwrap();
    gateway.stop().await;
    let told = gateway.events("admitted")[0]["proofs"][0].clone();
    let told = told.as_str().unwrap().to_owned();
    gateway.start_again().await;
    let client = gateway.client.clone();

    files.write("revoked", &format!("# stolen\n{told}\n"));
    assert_eq!(gateway.reload().await.changed, 1);
    // On the connection that it was good on.
    assert_eq!(refused_as(&client, billing).await, "UNAUTHENTICATED");
    called_as(&client, support, "b").await.unwrap();

    // What cannot be read gives nothing back, and neither does what was emptied.
    let failed = Reloaded {
        changed: 0,
        failed: 1,
    };
    for bad in ["", " \n", "nonsense"] {
        files.write("revoked", bad);
        assert_eq!(gateway.reload().await, failed, "{bad:?}");
        assert_eq!(refused_as(&client, billing).await, "UNAUTHENTICATED");
    }
    std::fs::remove_file(files.path("revoked")).unwrap();
    assert_eq!(gateway.reload().await, failed);
    assert_eq!(refused_as(&client, billing).await, "UNAUTHENTICATED");

    files.write("revoked", NONE);
    assert_eq!(gateway.reload().await.changed, 1);
    called_as(&client, billing, "c").await.unwrap();
    gateway.stop().await;
    let refused = gateway.events("refused");
    assert!(!refused.is_empty());
    assert!(
        refused
            .iter()
            .all(|line| line["cause"] == "CREDENTIALS_REVOKED")
    );
}

#[tokio::test]
async fn a_jwt_is_revoked_by_its_id_or_all_of_its_subject_by_that() {
    let files = Files::new();
    let (list, signer) = (files.write("revoked", NONE), Signer::ec("k"));
    let keys = files.write("jwks", &jwks([&signer]));
    let gateway = gateway()
        .config(&format!("[server]\nrevoked_file = {list}"))
        .config("[issuers.test]\nissuer = \"https://issuer.test\"\naudiences = \"cancelot\"")
        .config(&format!("jwks_file = {keys}"))
        .config("[callers.billing]\njwt_issuer = \"test\"")
        .config("jwt_subjects = \"system:serviceaccount:billing:worker\"")
        .start()
        .await;
    let with_id = |id: &str| {
        let mut claims = claims();
        claims["jti"] = id.into();
        signer.sign(&claims)
    };
    let (stolen, good) = (with_id("stolen"), with_id("good"));
    let client = &gateway.client;
    called_as(client, Some(&stolen), "a").await.unwrap();

    files.write("revoked", "jti:test:stolen\n");
    gateway.reload().await;
    assert_eq!(refused_as(client, Some(&stolen)).await, "UNAUTHENTICATED");
    called_as(client, Some(&good), "b").await.unwrap();

    files.write("revoked", "sub:test:system:serviceaccount:billing:worker\n");
    gateway.reload().await;
    for token in [&stolen, &good] {
        assert_eq!(refused_as(client, Some(token)).await, "UNAUTHENTICATED");
    }
}

#[tokio::test]
async fn a_certificate_is_revoked_by_its_number_on_open_connections_too() {
    let files = Files::new();
    let (server_ca, client_ca) = (Authority::new("server"), Authority::new("client"));
    let server = files.server(&server_ca.server());
    let ca = files.write("client-ca.pem", &client_ca.pem);
    let list = files.write("revoked", NONE);
    let gateway = gateway()
        .config(&format!(
            "[server]\n{server}tls_client_ca_file = {ca}\nrevoked_file = {list}"
        ))
        .config("[callers.billing]")
        .config(&format!("tls_sans = [\"{SPIFFE}\"]"))
        .start()
        .await;
    let pairs = [0x0abc, 8].map(|number| client_ca.client_numbered(&[SPIFFE], number));
    let [stolen, good] = &pairs;
    let open = gateway.over_tls(&server_ca, Some(stolen)).await.unwrap();
    let other = gateway.over_tls(&server_ca, Some(good)).await.unwrap();
    called_as(&open, None, "a").await.unwrap();

    files.write("revoked", "serial:0A:BC\n");
    assert_eq!(gateway.reload().await.changed, 1);
    assert_eq!(refused_as(&open, None).await, "UNAUTHENTICATED");
    let again = gateway.over_tls(&server_ca, Some(stolen)).await.unwrap();
    assert_eq!(refused_as(&again, None).await, "UNAUTHENTICATED");
    called_as(&other, None, "b").await.unwrap();
}
