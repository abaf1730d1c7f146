//! One person's data, erased by the command: it is gone from every file, and what became of it is
//! still known.

use std::{fs, path::Path, process::Command};

use cancelot::{rpc::proto::Outcome, sandbox::Provider};
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::Value;
use tonic::Code;

use crate::{
    observability::audit::audit,
    support::{Gateway, gateway, in_time, now, request, subscription},
};

fn erase(journal: &Path, more: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cancelot"))
        .args(["journal", "erase", "--dir"])
        .arg(journal)
        .args(more)
        .output()
        .unwrap();
    let mut said = String::from_utf8(output.stdout).unwrap();
    said.push_str(&String::from_utf8(output.stderr).unwrap());
    (output.status.code().unwrap(), said)
}

/// Whether a file below has these bytes.
fn has(dir: &Path, bytes: &str) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return has(&path, bytes);
        }
        let read = fs::read(&path).unwrap();
        read.windows(bytes.len())
            .any(|part| part == bytes.as_bytes())
    })
}

fn item(id: &str) -> cancelot::rpc::proto::SubscriptionCancellation {
    let mut item = subscription(Provider::Rebilly, id, now());
    item.comment = format!("said {id}@example.com");
    item
}

/// A gateway that signs its audit, and its public key.
async fn signing(dir: &Path) -> (Gateway, String) {
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let (private, public) = (dir.join("sign.pem"), dir.join("sign.pub"));
    fs::write(&private, pair.serialize_pem()).unwrap();
    fs::write(&public, pair.public_key_pem()).unwrap();
    let config = format!("[audit]\nsign_key_file = {private:?}");
    let gateway = gateway().config(&config).start().await;
    (gateway, public.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn what_is_theirs_goes_from_every_file_and_a_resend_is_answered_by_its_outcome() {
    let keys = tempfile::tempdir().unwrap();
    let (mut gateway, public) = signing(keys.path()).await;
    for (key, id) in [
        ("order-of-ann", "person-ann"),
        ("order-of-bob", "person-bob"),
    ] {
        let result = gateway.cancel_one(key, item(id)).await.unwrap();
        assert_eq!(result.outcome(), Outcome::Canceled);
    }
    let journal = gateway.journal_dir();
    let (code, said) = erase(&journal, &["--target", "person-ann"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("held by"), "the service has it open: {said}");
    gateway.stop().await;
    let (code, said) = erase(&journal, &["--target", "person-ann", "--dry-run"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("\"records\":1"), "{said}");
    assert!(has(&journal, "person-ann") && has(&journal, "order-of-ann"));

    let reason = ["--reason", "request 4711"];
    let (code, said) = erase(
        &journal,
        &[&["--target", "person-ann"], &reason[..]].concat(),
    );

    assert_eq!(code, 0, "{said}");
    let report: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&report["records"], &report["audit_lines"]),
        (&1.into(), &2.into())
    );
    for bytes in ["person-ann", "order-of-ann"] {
        assert!(!has(&journal, bytes), "{bytes}");
    }
    let dir = journal.to_str().unwrap();
    let verify = ["verify", "--journal", dir, "--public-key", &public];
    let since = |time| audit(&[&verify[..], &["--signed-since", time]].concat());
    let (code, said) = since("2000-01-01");
    assert_eq!(code, 0, "{said}");
    assert_eq!(since("2900-01-01").0, 1);
    let (code, said) = audit(&["--journal", dir, "--target", "person-bob"]);
    assert_eq!((code, said.lines().count()), (0, 2), "{said}");
    assert_eq!(audit(&["--journal", dir, "--target", "person-ann"]).1, "");
    let (_, said) = audit(&["--journal", dir, "--event", "erased"]);
    assert!(said.contains("\"reason\":\"request 4711\""), "{said}");

    gateway.start_again().await;
    let replayed = gateway
        .cancel_one("order-of-ann", item("person-ann"))
        .await
        .unwrap();
    assert!(replayed.replayed);
    assert_eq!(replayed.outcome(), Outcome::Canceled);
    assert!(replayed.removed_parts.contains(&"personal_data".to_owned()));
    let other = gateway.cancel_one("order-of-ann", item("person-eve")).await;
    let other = other.unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition);
    assert!(other.message().contains("erased"), "{other:?}");
    assert!(!other.message().contains("subscription_id"), "{other:?}");
    assert_eq!(gateway.control.effects(Provider::Rebilly).len(), 2);
    gateway.stop().await;
    assert_eq!(audit(&verify).0, 0);
}

#[tokio::test]
async fn what_is_open_has_to_be_stopped_first() {
    let mut gateway = gateway().start().await;
    gateway.stop_sandbox().await;
    let mut reader = gateway.open(request("k", [item("person-ann")])).await;
    reader.next().await.unwrap();
    let batch = reader.progress.batch_id.clone();
    drop(reader);
    gateway.stop().await;
    let journal = gateway.journal_dir();
    let (code, said) = erase(&journal, &["--match", "PERSON-ANN@example.com"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("1 items are open") && said.contains("nothing was erased"),
        "{said}"
    );
    assert!(has(&journal, "person-ann"));

    gateway.start_again().await;
    let mut reader = gateway.open(request("k", [item("person-ann")])).await;
    gateway.stop_batch(&batch).await.unwrap();
    let stopped = in_time(reader.rest()).await.unwrap();
    assert_eq!(stopped[0].outcome(), Outcome::Stopped);
    gateway.stop().await;
    let (code, said) = erase(&journal, &["--match", "PERSON-ANN@example.com"]);
    assert_eq!(code, 0, "{said}");
    assert!(!has(&journal, "person-ann"));
    assert_eq!(
        erase(&journal, &["--match", "abc"]).0,
        64,
        "everybody has that"
    );
}

#[tokio::test]
async fn a_key_that_cannot_sign_is_a_mistake_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let (config, key) = (
        dir.path().join("cancelot.toml"),
        dir.path().join("sign.pem"),
    );
    let text = format!("[audit]\nsign_key_file = {key:?}\n");
    fs::write(&config, text).unwrap();
    let check = || {
        let output = Command::new(env!("CARGO_BIN_EXE_cancelot"))
            .args(["config", "check", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said)
    };
    let (code, said) = check();
    assert_eq!(code, 64, "there is no such file: {said}");
    fs::write(&key, "no key").unwrap();
    let (code, said) = check();
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("audit.sign_key_file"), "{said}");
    let of_another_kind = KeyPair::generate().unwrap();
    fs::write(&key, of_another_kind.serialize_pem()).unwrap();
    assert_eq!(check().0, 64);
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    fs::write(&key, pair.serialize_pem()).unwrap();
    let (code, said) = check();
    assert_eq!(code, 0, "{said}");
}
