//! Static tokens that are stored as hashes only, and secrets that are replaced while the service
//! runs.

use cancelot::{
    app::Reloaded,
    rpc::proto::Outcome,
    sandbox::{Fault, Provider},
};
use sha2::{Digest as _, Sha256};

use crate::{
    observability::metrics::Scrape,
    support::{
        asking::Reader,
        gateway,
        identities::{by, called_as, one, refused_as},
        now,
        pki::Files,
        subscription,
    },
};

fn digest(token: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

const OLD: &str = "old-0123456789abcdef";
const NEW: &str = "new-0123456789abcdef";

#[tokio::test]
async fn a_file_of_digests_lets_tokens_in_and_not_itself() {
    let files = Files::new();
    let file = files.write("token", &format!("{}\n", digest(OLD)));
    let gateway = gateway()
        .config(&format!("[callers.billing]\ntoken_file = {file}"))
        .start()
        .await;
    let client = &gateway.client;

    assert_eq!(called_as(client, Some(OLD), "a").await.unwrap(), "billing");
    let digest = digest(OLD);
    let hex = digest.strip_prefix("sha256:").unwrap();
    for stolen in [&*digest, hex, &hex.to_uppercase()] {
        assert_eq!(refused_as(client, Some(stolen)).await, "UNAUTHENTICATED");
    }
}

#[tokio::test]
async fn tokens_are_rotated_by_changing_their_file() {
    let files = Files::new();
    let path = files.write("token", OLD);
    let mut gateway = gateway()
        .config(&format!("[callers.billing]\ntoken_file = {path}"))
        .config("[callers.support]\ntoken_env = \"SUPPORT_TOKEN\"")
        .start()
        .await;
    let client = &gateway.client;
    let (old, new) = (Some(OLD), Some(NEW));
    assert_eq!(called_as(client, old, "a").await.unwrap(), "billing");
    assert_eq!(refused_as(client, new).await, "UNAUTHENTICATED");

    files.write("token", &format!("{OLD}\n{}\n", digest(NEW)));
    assert_eq!(gateway.reload().await.changed, 1);
    assert_eq!(called_as(client, old, "b").await.unwrap(), "billing");
    assert_eq!(called_as(client, new, "c").await.unwrap(), "billing");

    files.write("token", NEW);
    assert_eq!(gateway.reload().await.changed, 1);
    assert_eq!(refused_as(client, old).await, "UNAUTHENTICATED");
    assert_eq!(called_as(client, new, "d").await.unwrap(), "billing");

    let failed = Reloaded {
        changed: 0,
        failed: 1,
    };
    for bad in ["short", "sha256:00", crate::support::SUPPORT_TOKEN] {
        files.write("token", bad);
        assert_eq!(gateway.reload().await, failed, "{bad:?}");
        assert_eq!(called_as(client, new, "d").await.unwrap(), "billing");
    }
    std::fs::remove_file(files.path("token")).unwrap();
    assert_eq!(gateway.reload().await, failed);
    assert_eq!(called_as(client, new, "d").await.unwrap(), "billing");
    let support = called_as(client, Some(crate::support::SUPPORT_TOKEN), "e").await;
    assert_eq!(support.unwrap(), "support");

    gateway.stop().await;
    let told = gateway.events("reloaded");
    assert_eq!(told.len(), 2, "{told:?}");
    for line in &told {
        assert_eq!(line["what"], "callers.billing.token_file");
        assert_eq!(line["digest"].as_str().unwrap().len(), 16);
    }
    assert_ne!(told[0]["digest"], told[1]["digest"]);
}

#[tokio::test]
async fn an_empty_file_takes_all_tokens_back_at_once_and_through_a_restart() {
    let files = Files::new();
    let path = files.write("token", OLD);
    let mut gateway = gateway()
        .config(&format!("[callers.billing]\ntoken_file = {path}"))
        .config("[callers.support]\ntoken_env = \"SUPPORT_TOKEN\"")
        .start()
        .await;
    let support = Some(crate::support::SUPPORT_TOKEN);
    let billing = called_as(&gateway.client, Some(OLD), "a").await;
    assert_eq!(billing.unwrap(), "billing");

    for (key, empty) in [("b", ""), ("c", " \n\n")] {
        files.write("token", empty);
        assert_eq!(gateway.reload().await.failed, 0, "{empty:?}");
        assert_eq!(
            refused_as(&gateway.client, Some(OLD)).await,
            "UNAUTHENTICATED"
        );
        let others = called_as(&gateway.client, support, key).await;
        assert_eq!(others.unwrap(), "support");
    }
    gateway.restart().await;
    assert_eq!(
        refused_as(&gateway.client, Some(OLD)).await,
        "UNAUTHENTICATED"
    );
    let others = called_as(&gateway.client, support, "d").await;
    assert_eq!(others.unwrap(), "support");

    files.write("token", NEW);
    assert_eq!(gateway.reload().await.changed, 1);
    let billing = called_as(&gateway.client, Some(NEW), "e").await;
    assert_eq!(billing.unwrap(), "billing");
}

#[tokio::test]
async fn tokens_whose_file_is_of_no_use_for_longer_than_its_grace_are_good_no_more() {
    let files = Files::new();
    let path = files.write("token", OLD);
    let mut gateway = gateway()
        .config("[server]\nreload_grace_ms = 0")
        .config(&format!("[callers.billing]\ntoken_file = {path}"))
        .start()
        .await;
    let client = &gateway.client.clone();
    assert_eq!(called_as(client, Some(OLD), "a").await.unwrap(), "billing");
    for bad in [Some("short"), None] {
        match bad {
            Some(bad) => drop(files.write("token", bad)),
            None => std::fs::remove_file(files.path("token")).unwrap(),
        }
        assert_eq!(gateway.reload().await.failed, 1);
        assert_eq!(refused_as(client, Some(OLD)).await, "UNAUTHENTICATED");
        // The very same content is taken anew.
        files.write("token", OLD);
        assert_eq!(gateway.reload().await.failed, 0);
        assert_eq!(called_as(client, Some(OLD), "b").await.unwrap(), "billing");
    }
    gateway.stop().await;
    for event in ["reload_failed", "given_up"] {
        let told = gateway.events(event);
        assert_eq!(told.len(), 2, "{event}: {told:?}");
        assert_eq!(told[0]["what"], "callers.billing.token_file");
        let why = told[0]["reason"].as_str().unwrap();
        assert!(why.contains("fewer than 16 characters"), "{why}");
    }
}

#[tokio::test]
async fn a_stream_outlives_its_token_and_no_call_after_it_does() {
    let files = Files::new();
    let path = files.write("token", OLD);
    let gateway = gateway()
        .config(&format!("[callers.billing]\ntoken_file = {path}"))
        .start()
        .await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let mut client = gateway.client.clone();
    let sent = client.cancel_subscription(by(OLD, one("K", "a"))).await;
    let mut open = Reader::new(sent.unwrap().into_inner());
    gateway.control.held_reached(Provider::Rebilly, 1).await;

    files.write("token", NEW);
    assert_eq!(gateway.reload().await.changed, 1);
    // On the connection that the stream is on.
    assert_eq!(refused_as(&client, Some(OLD)).await, "UNAUTHENTICATED");
    gateway.control.release(Provider::Rebilly);
    let results = open.rest().await.unwrap();
    assert_eq!(results[0].outcome(), Outcome::Canceled);
    assert_eq!(refused_as(&client, Some(OLD)).await, "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_measured_until_it_can() {
    let files = Files::new();
    let (token, credential) = (files.write("token", OLD), files.write("credential", "good"));
    let gateway = gateway()
        .config("[server]\nadmin_listen = \"127.0.0.1:0\"")
        .config(&format!("[callers.billing]\ntoken_file = {token}"))
        .account(
            Provider::Rebilly,
            &format!("credential_file = {credential}"),
        )
        .start()
        .await;
    let failing = async || {
        let scrape = Scrape::of(&gateway).await;
        [
            "callers.billing.token_file",
            "accounts.rebilly.credential_file",
        ]
        .map(|setting| {
            scrape
                .value(&format!("cancelot_reload_failing{{setting=\"{setting}\"}}"))
                .unwrap()
        })
    };
    assert_eq!(failing().await, [0.0, 0.0]);
    files.write("token", "short");
    gateway.reload().await;
    assert_eq!(failing().await, [1.0, 0.0]);
    files.write("credential", "two\nlines");
    gateway.reload().await;
    gateway.reload().await;
    assert_eq!(failing().await, [1.0, 1.0]);
    // The old content is valid again, and nothing changes.
    files.write("token", OLD);
    files.write("credential", "another");
    gateway.reload().await;
    assert_eq!(failing().await, [0.0, 0.0]);
}

#[tokio::test]
async fn a_providers_credential_is_rotated_by_changing_its_file() {
    let files = Files::new();
    let file = files.write("credential", "invalid-credential");
    let mut gateway = gateway()
        .account(Provider::Rebilly, &format!("credential_file = {file}"))
        .start()
        .await;
    let item = subscription(Provider::Rebilly, "a", now());
    let refused = gateway.cancel_one("K", item.clone()).await.unwrap();
    assert_eq!(refused.outcome(), Outcome::Unavailable);

    files.write("credential", "two\nlines");
    assert_eq!(gateway.reload().await.failed, 1);
    files.write("credential", "good-credential\n");
    assert_eq!(gateway.reload().await.changed, 1);
    let result = gateway.cancel_one("K", item).await.unwrap();
    assert_eq!(result.outcome(), Outcome::Canceled);
}
