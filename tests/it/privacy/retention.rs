//! E-mail addresses and providers' responses that are not to be kept.

use std::process::Command;

use cancelot::rpc::proto::{
    CancelEnrollmentsRequest, CancellationKind, EnrollmentCancellation, GetCancellationRequest,
    Outcome,
};
use cancelot::sandbox::Provider;
use tonic::Code;

use crate::support::{Gateway, asking::field, gateway, in_time};

fn request(value: &str) -> CancelEnrollmentsRequest {
    let item = EnrollmentCancellation {
        account: Provider::Sequenzy.name().to_owned(),
        sequence_id: "seq".to_owned(),
        target: Some(field("customer.email", [value])),
        dry_run: Some(false),
        ..Default::default()
    };
    CancelEnrollmentsRequest {
        idempotency_key: "k".to_owned(),
        cancellations: vec![item],
        include_provider_response: true,
        ..Default::default()
    }
}

/// All that the journal has, in the clear.
fn export(gateway: &Gateway) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cancelot"))
        .args(["journal", "export", "--dir"])
        .arg(gateway.journal_dir())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until the journal has taken the addresses out of the command.
async fn swept(gateway: &mut Gateway) {
    let get = GetCancellationRequest {
        kind: CancellationKind::Enrollments.into(),
        idempotency_key: "k/0".to_owned(),
        ..Default::default()
    };
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
    loop {
        looks.tick().await;
        let found = gateway.client.get_cancellation(get.clone()).await.unwrap();
        if !format!("{:?}", found.into_inner()).contains('@') {
            return;
        }
    }
}

#[tokio::test]
async fn what_is_not_to_be_kept_is_told_once_and_not_written() {
    let mut gateway = gateway()
        .journal("emails_retention_days = 0\nanswers_retention_days = 0")
        .start()
        .await;
    let results = gateway
        .cancel_enrollments(request("ann@example.com"))
        .await
        .unwrap();
    assert_eq!(results[0].outcome(), Outcome::Canceled);
    assert!(
        results[0].provider_response.is_some(),
        "who asked is told all of it"
    );
    assert!(results[0].removed_parts.is_empty(), "{results:?}");
    // What settled is looked through at the start, and from then on now and then.
    gateway.restart().await;
    in_time(swept(&mut gateway)).await;

    let replayed = gateway
        .cancel_enrollments(request("ann@example.com"))
        .await
        .unwrap();
    assert!(replayed[0].replayed);
    assert_eq!(replayed[0].outcome(), Outcome::Canceled);
    assert_eq!(replayed[0].matched_count, results[0].matched_count);
    assert!(replayed[0].provider_response.is_none());
    let removed = ["provider_response", "email_addresses"];
    assert_eq!(replayed[0].removed_parts, removed);
    let other = gateway
        .cancel_enrollments(request("bob@example.com"))
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition, "{other:?}");
    gateway.stop().await;
    let kept = export(&gateway);
    assert!(!kept.contains('@'), "{kept}");
    assert!(kept.contains("\"answer_removed\":true"), "{kept}");
    let text = std::fs::read_dir(gateway.journal_dir().join("audit")).unwrap();
    for file in text {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains('@'), "{text}");
    }
}

#[tokio::test]
async fn a_shorter_time_than_the_outcomes_is_kept_to() {
    let mut gateway = gateway()
        .journal("emails_retention_days = 2\nanswers_retention_days = 1")
        .start()
        .await;
    gateway
        .cancel_enrollments(request("ann@example.com"))
        .await
        .unwrap();
    gateway.restart().await;
    let replayed = gateway
        .cancel_enrollments(request("ann@example.com"))
        .await
        .unwrap();
    assert!(replayed[0].provider_response.is_some(), "it is too soon");
    assert!(replayed[0].removed_parts.is_empty(), "{replayed:?}");
    gateway.advance(3 * 24 * 60 * 60);
    gateway.restart().await;
    in_time(swept(&mut gateway)).await;
    let replayed = gateway
        .cancel_enrollments(request("ann@example.com"))
        .await
        .unwrap();
    assert!(replayed[0].replayed && replayed[0].provider_response.is_none());
    gateway.stop().await;
    assert!(!export(&gateway).contains('@'));
}
