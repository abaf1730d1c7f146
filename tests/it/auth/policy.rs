//! The policy of each caller, rule by rule: a rejection that names the field and what is allowed,
//! and an accepted request beside it.

use cancelot::{
    rpc::proto::{
        CancelEnrollmentsRequest, CancelSubscriptionRequest, Cancellation, EnrollmentCancellation,
        GetCancellationRequest, ListAccountsRequest, ListCancellationsRequest, Outcome,
        StopBatchRequest, cancellation,
    },
    sandbox::{Fault, Provider},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    BILLING_TOKEN, Gateway, SUPPORT_TOKEN,
    asking::{
        Reader, always, enrollment, enrollments, everyone, field, live, outcomes, subscriber,
        subscribers,
    },
    gateway,
    identities::{by, called_as, every_rpc, first_of, one, reason},
    now, request, subscription,
};

/// `billing` with this policy, and `support` without any.
async fn with_policy(lines: &str) -> Gateway {
    gateway()
        .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"")
        .config(lines)
        .config("[callers.support]\ntoken_env = \"SUPPORT_TOKEN\"")
        .start()
        .await
}

async fn send(
    gateway: &Gateway,
    token: &str,
    request: CancelSubscriptionRequest,
) -> Result<usize, Status> {
    let mut client = gateway.client.clone();
    let stream = client.cancel_subscription(by(token, request)).await?;
    Ok(Reader::new(stream.into_inner()).rest().await?.len())
}

async fn send_enrollments(
    gateway: &Gateway,
    token: &str,
    request: CancelEnrollmentsRequest,
) -> Result<(), Status> {
    let mut client = gateway.client.clone();
    client
        .cancel_enrollments(by(token, request))
        .await
        .map(drop)
}

/// A refusal by the caller's policy, with these fields.
#[track_caller]
fn violates(status: &Status, fields: &[&str]) {
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert_eq!(reason(status), "POLICY_VIOLATED");
    let named = status.get_details_bad_request().unwrap().field_violations;
    let named: Vec<_> = named.iter().map(|violation| &*violation.field).collect();
    assert_eq!(named, fields);
}

fn many(key: &str, items: usize) -> CancelSubscriptionRequest {
    let item = |i| subscription(Provider::Rebilly, format!("{key}-{i}"), now());
    request(key, (0..items).map(item))
}

#[tokio::test]
async fn an_rpc_that_is_not_allowed_is_refused_with_those_that_are() {
    let gateway = with_policy("methods = [\"ListAccounts\", \"GetCancellation\"]").await;
    for (rpc, answer) in every_rpc(&gateway.client, Some(BILLING_TOKEN)).await {
        match (rpc, answer) {
            ("ListAccounts", answer) => answer.unwrap(),
            ("GetCancellation", answer) => {
                assert_eq!(answer.unwrap_err().code(), Code::NotFound);
            }
            (_, answer) => {
                let status = answer.expect_err(rpc);
                assert_eq!(status.code(), Code::PermissionDenied, "{rpc}");
                assert_eq!(reason(&status), "METHOD_NOT_ALLOWED");
                let allowed = "allowed are GetCancellation, ListAccounts";
                assert!(status.message().ends_with(allowed), "{status}");
            }
        }
    }
    assert_eq!(gateway.requests(Provider::Rebilly), 0);
    let support = called_as(&gateway.client, Some(SUPPORT_TOKEN), "a").await;
    assert_eq!(support.unwrap(), "support");
}

#[tokio::test]
async fn a_longer_retry_window_than_is_allowed_is_refused_and_the_default_is_no_longer() {
    let mut gateway = with_policy("retry_window_max_ms = 60000\nopen_items_max = 3").await;
    let window = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let mut longer = many("K", 1);
    longer.retry_window = window(61);
    let refused = send(&gateway, BILLING_TOKEN, longer).await.unwrap_err();
    violates(&refused, &["retry_window"]);
    assert!(refused.message().contains("60 s"), "{refused}");
    // A batch that could never be open as a whole gets the same error as one that is too large.
    let refused = send(&gateway, BILLING_TOKEN, many("L", 4))
        .await
        .unwrap_err();
    violates(&refused, &["cancellations"]);
    assert_eq!(gateway.requests(Provider::Rebilly), 0);

    let mut allowed = many("K", 1);
    allowed.retry_window = window(60);
    assert_eq!(send(&gateway, BILLING_TOKEN, allowed).await.unwrap(), 1);
    // Without a window the service's is an hour.
    let sandbox = gateway.stop_sandbox().await;
    let (mut client, unsaid) = (gateway.client.clone(), many("M", 1));
    let stream = client.cancel_subscription(by(BILLING_TOKEN, unsaid)).await;
    let mut reader = Reader::new(stream.unwrap().into_inner());
    reader.next().await.unwrap();
    gateway.advance(120);
    let ended = reader.rest().await.unwrap();
    assert_eq!(outcomes(&ended), [Outcome::Unavailable]);
    gateway.start_sandbox(sandbox);
}

#[tokio::test]
async fn every_account_that_is_not_allowed_is_named_with_those_that_are() {
    let gateway = with_policy("accounts = [\"re*\", \"sequenzy\"]").await;
    let mut client = gateway.client.clone();
    let items = [
        subscription(Provider::Rebilly, "a", now()),
        subscription(Provider::Solidgate, "b", now()),
        subscription(Provider::FunnelFox, "c", now()),
    ];
    let refused = send(&gateway, BILLING_TOKEN, request("K", items))
        .await
        .unwrap_err();
    violates(
        &refused,
        &["cancellations[1].account", "cancellations[2].account"],
    );
    assert!(
        refused.message().contains("allowed are re*, sequenzy"),
        "{refused}"
    );
    let mut elsewhere = enrollment("s", subscriber("x"));
    elsewhere.account = "solidgate".to_owned();
    let refused = send_enrollments(&gateway, BILLING_TOKEN, enrollments("K", [elsewhere])).await;
    violates(&refused.unwrap_err(), &["cancellations[0].account"]);
    assert_eq!(gateway.requests(Provider::Rebilly), 0);

    // An unknown account and a forbidden one get the same error, which names no other accounts.
    let mut unknown = subscription(Provider::Rebilly, "a", now());
    unknown.account = "solidgate-2".to_owned();
    let refused = send(&gateway, BILLING_TOKEN, request("K", [unknown.clone()])).await;
    violates(&refused.unwrap_err(), &["cancellations[0].account"]);
    unknown.account = "rebilly-2".to_owned();
    let refused = send(&gateway, BILLING_TOKEN, request("K", [unknown]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(!refused.message().contains("solidgate"), "{refused}");
    let accounts = client
        .list_accounts(by(BILLING_TOKEN, ListAccountsRequest {}))
        .await;
    let accounts = accounts.unwrap().into_inner().accounts;
    let names: Vec<_> = accounts.iter().map(|account| &*account.name).collect();
    assert_eq!(names, ["rebilly", "revolv3", "sequenzy"]);

    assert_eq!(
        send(&gateway, BILLING_TOKEN, one("K", "a")).await.unwrap(),
        1
    );
    let elsewhere = request("K", [subscription(Provider::Solidgate, "b", now())]);
    assert_eq!(send(&gateway, SUPPORT_TOKEN, elsewhere).await.unwrap(), 1);
}

#[tokio::test]
async fn a_batch_that_is_longer_than_allowed_is_refused_whole() {
    let gateway = with_policy("batch_items_max = 3").await;
    let refused = send(&gateway, BILLING_TOKEN, many("A", 4))
        .await
        .unwrap_err();
    violates(&refused, &["cancellations"]);
    assert!(
        refused
            .message()
            .contains("has 4 items; this caller may send 3"),
        "{refused}"
    );
    assert_eq!(gateway.requests(Provider::Rebilly), 0);
    assert_eq!(
        send(&gateway, BILLING_TOKEN, many("A", 3)).await.unwrap(),
        3
    );
    assert_eq!(
        send(&gateway, SUPPORT_TOKEN, many("A", 4)).await.unwrap(),
        4
    );
}

#[tokio::test]
async fn targets_that_match_many_are_refused_to_who_may_not_even_look() {
    let gateway = with_policy("many_matching = false").await;
    let items = || {
        [
            enrollment("s1", subscriber("x")),
            live(enrollment("s2", subscribers(["x", "y"]))),
            live(enrollment("s3", field("entry.plan", ["basic"]))),
            enrollment("s4", everyone()),
        ]
    };
    let refused = send_enrollments(&gateway, BILLING_TOKEN, enrollments("K", items())).await;
    violates(
        &refused.unwrap_err(),
        &[
            "cancellations[1].subscriber_ids",
            "cancellations[2].field",
            "cancellations[3].all",
        ],
    );
    assert_eq!(gateway.requests(Provider::Sequenzy), 0);
    let single = enrollments("K", items().into_iter().take(1));
    send_enrollments(&gateway, BILLING_TOKEN, single)
        .await
        .unwrap();
    let all = enrollments("K", items());
    send_enrollments(&gateway, SUPPORT_TOKEN, all)
        .await
        .unwrap();
}

#[tokio::test]
async fn all_that_is_not_allowed_is_told_at_once_and_before_anything_else() {
    let gateway = with_policy("batch_items_max = 1\naccounts = [\"revolv3\"]").await;
    let mut request = many("A", 2);
    request.idempotency_key = "not a key".to_owned();
    let refused = send(&gateway, BILLING_TOKEN, request).await.unwrap_err();
    violates(
        &refused,
        &[
            "cancellations",
            "cancellations[0].account",
            "cancellations[1].account",
        ],
    );
}

/// A refusal by the hourly limit; in how many seconds to come back.
#[track_caller]
fn exhausted(status: &Status) -> Option<u64> {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(reason(status), "HOURLY_ITEMS_EXHAUSTED");
    let quota = status.get_details_quota_failure().unwrap().violations;
    assert_eq!(quota[0].subject, "caller:billing");
    let retry = status.get_details_retry_info();
    retry.map(|info| info.retry_delay.unwrap().as_secs())
}

#[tokio::test]
async fn new_items_are_limited_by_the_hour_also_over_a_restart() {
    let mut gateway = with_policy("hourly_items_max = 5").await;
    assert_eq!(
        send(&gateway, BILLING_TOKEN, many("A", 3)).await.unwrap(),
        3
    );
    let refused = send(&gateway, BILLING_TOKEN, many("B", 3))
        .await
        .unwrap_err();
    let wait = exhausted(&refused).expect("it fits later");
    assert!((3_600..=3_660).contains(&wait), "{wait}");
    let never = send(&gateway, BILLING_TOKEN, many("C", 6))
        .await
        .unwrap_err();
    assert_eq!(exhausted(&never), None);

    // A replay, a dry run and another caller's items are not counted, and a refusal is not.
    for _ in 0..3 {
        assert_eq!(
            send(&gateway, BILLING_TOKEN, many("A", 3)).await.unwrap(),
            3
        );
    }
    let mut plan = many("D", 9);
    plan.dry_run = true;
    assert_eq!(send(&gateway, BILLING_TOKEN, plan).await.unwrap(), 9);
    assert_eq!(
        send(&gateway, SUPPORT_TOKEN, many("E", 9)).await.unwrap(),
        9
    );
    assert_eq!(
        send(&gateway, BILLING_TOKEN, many("F", 2)).await.unwrap(),
        2
    );
    exhausted(
        &send(&gateway, BILLING_TOKEN, many("G", 1))
            .await
            .unwrap_err(),
    );

    gateway.restart().await;
    exhausted(
        &send(&gateway, BILLING_TOKEN, many("G", 1))
            .await
            .unwrap_err(),
    );
    assert_eq!(
        send(&gateway, BILLING_TOKEN, many("A", 3)).await.unwrap(),
        3
    );
    gateway.advance(30 * 60);
    exhausted(
        &send(&gateway, BILLING_TOKEN, many("G", 1))
            .await
            .unwrap_err(),
    );
    gateway.advance(31 * 60 + 60);
    assert_eq!(
        send(&gateway, BILLING_TOKEN, many("G", 5)).await.unwrap(),
        5
    );
    exhausted(
        &send(&gateway, BILLING_TOKEN, many("H", 1))
            .await
            .unwrap_err(),
    );
    assert_eq!(
        gateway.control.effects(Provider::Rebilly).len(),
        3 + 9 + 2 + 5
    );
}

#[tokio::test]
async fn a_request_that_adds_new_items_to_known_ones_counts_the_new_ones() {
    let gateway = with_policy("hourly_items_max = 3").await;
    let with_keys = |key: &str, ids: &[&str]| {
        let items = ids.iter().map(|id| {
            let mut item = subscription(Provider::Rebilly, id, now());
            item.idempotency_key = format!("own-{id}");
            item
        });
        request(key, items)
    };
    let sent = send(&gateway, BILLING_TOKEN, with_keys("A", &["a", "b"])).await;
    assert_eq!(sent.unwrap(), 2);
    let refused = send(
        &gateway,
        BILLING_TOKEN,
        with_keys("B", &["a", "b", "c", "d"]),
    )
    .await;
    exhausted(&refused.unwrap_err());
    let sent = send(&gateway, BILLING_TOKEN, with_keys("C", &["a", "b", "c"])).await;
    assert_eq!(sent.unwrap(), 3);
}

/// Sends one enrollment cancellation and waits for its end; how many enrollments it came to.
async fn people(
    gateway: &Gateway,
    key: &str,
    item: EnrollmentCancellation,
    max: Option<u32>,
) -> Result<u64, Status> {
    let item = EnrollmentCancellation {
        max_matches: max,
        ..live(item)
    };
    let mut client = gateway.client.clone();
    let request = by(BILLING_TOKEN, enrollments(key, [item]));
    let mut stream = client.cancel_enrollments(request).await?.into_inner();
    let mut canceled = 0;
    while let Some(message) = stream.message().await? {
        for result in message.results {
            canceled = result.canceled_count;
        }
    }
    Ok(canceled)
}

#[tokio::test]
async fn a_quota_counts_people_and_gives_back_those_that_were_not_met() {
    let mut gateway = with_policy("hourly_items_max = 10\nmany_matching = true").await;
    let many = |n: usize| {
        let ids: Vec<_> = (0..n).map(|i| format!("s{i}")).collect();
        enrollment("seq", subscribers(ids.iter().map(|id| &**id)))
    };
    let all = |left: u32| enrollment(&format!("seq_drain_{left}"), everyone());
    let never = people(&gateway, "A", many(11), None).await.unwrap_err();
    assert_eq!(exhausted(&never), None);
    // Without a bound the number of people is unknown.
    let unbounded = people(&gateway, "B", all(3), None).await.unwrap_err();
    violates(&unbounded, &["cancellations[0].max_matches"]);

    // Ten are reserved for it, and seven are given back.
    assert_eq!(people(&gateway, "C", all(3), Some(10)).await.unwrap(), 3);
    let beyond = people(&gateway, "D", all(3), Some(8)).await.unwrap_err();
    assert!(exhausted(&beyond).is_some());
    // A selector without matches counts as one person.
    assert_eq!(people(&gateway, "E", all(0), Some(7)).await.unwrap(), 0);
    // Four people, however many enrollments each has.
    people(&gateway, "F", many(4), None).await.unwrap();
    let taken = people(&gateway, "G", many(3), None).await.unwrap_err();
    assert!(exhausted(&taken).is_some());

    gateway.restart().await;
    let taken = people(&gateway, "G", many(3), None).await.unwrap_err();
    assert!(exhausted(&taken).is_some());
    people(&gateway, "H", many(2), None).await.unwrap();
    people(&gateway, "F", many(4), None).await.unwrap();
}

#[tokio::test]
async fn who_has_a_quota_may_not_match_many_unless_that_is_said() {
    let gateway = with_policy("hourly_items_max = 10").await;
    let all = enrollment("seq_drain_3", everyone());
    let refused = people(&gateway, "A", all, Some(3)).await.unwrap_err();
    violates(&refused, &["cancellations[0].all"]);
}

#[tokio::test]
async fn more_matches_than_a_caller_may_ask_for_are_refused_and_are_its_bound_unasked() {
    let gateway = with_policy("matches_max = 3").await;
    let all = |left: u32| enrollment(&format!("seq_drain_{left}"), everyone());
    let refused = people(&gateway, "A", all(3), Some(4)).await.unwrap_err();
    violates(&refused, &["cancellations[0].max_matches"]);
    assert_eq!(people(&gateway, "B", all(3), None).await.unwrap(), 3);
    assert_eq!(people(&gateway, "C", all(4), None).await.unwrap(), 0);
    assert_eq!(people(&gateway, "D", all(2), Some(3)).await.unwrap(), 2);
}

#[tokio::test]
async fn what_is_stopped_and_sent_again_counts_again() {
    let gateway = with_policy("hourly_items_max = 5").await;
    let wait = Fault::Throttle {
        retry_after_ms: 600_000,
    };
    gateway.control.script(Provider::Rebilly, always(wait));
    let mut client = gateway.client.clone();
    let mut rounds = 0;
    let refused = loop {
        let sent = client.cancel_subscription(by(BILLING_TOKEN, many("K", 2)));
        let mut reader = match sent.await {
            Ok(stream) => Reader::new(stream.into_inner()),
            Err(status) => break status,
        };
        reader.next().await.unwrap();
        let batch_id = reader.progress.batch_id.clone();
        let stop = by(BILLING_TOKEN, StopBatchRequest { batch_id });
        client.stop_batch(stop).await.unwrap();
        reader.rest().await.unwrap();
        rounds += 1;
    };
    assert!(exhausted(&refused).is_some());
    assert_eq!(rounds, 2);
}

#[tokio::test]
async fn requests_at_once_do_not_pass_the_limit_together() {
    let gateway = with_policy("hourly_items_max = 10").await;
    let keys: Vec<_> = (0..30).map(|i| format!("K{i}")).collect();
    let sent = keys
        .iter()
        .map(|key| send(&gateway, BILLING_TOKEN, many(key, 1)));
    let sent = futures_util::future::join_all(sent).await;
    assert_eq!(sent.iter().filter(|sent| sent.is_ok()).count(), 10);
    assert_eq!(gateway.control.effects(Provider::Rebilly).len(), 10);
}

#[tokio::test]
async fn an_auditor_reads_the_records_of_all_and_touches_none() {
    let gateway = with_policy(
        "auditor = true\nmethods = [\"GetCancellation\", \
         \"ListCancellations\", \"StopBatch\", \"CancelSubscription\"]",
    )
    .await;
    let mut client = gateway.client.clone();
    assert_eq!(
        send(&gateway, SUPPORT_TOKEN, one("K", "a")).await.unwrap(),
        1
    );
    assert_eq!(
        send(&gateway, BILLING_TOKEN, one("K", "b")).await.unwrap(),
        1
    );
    let get = |caller: &str| GetCancellationRequest {
        caller: caller.to_owned(),
        ..first_of("K")
    };
    let list = |caller: &str, all_callers| ListCancellationsRequest {
        caller: caller.to_owned(),
        all_callers,
        ..Default::default()
    };

    for (asked, caller) in [
        ("", "billing"),
        ("billing", "billing"),
        ("support", "support"),
    ] {
        let got = client.get_cancellation(by(BILLING_TOKEN, get(asked))).await;
        assert_eq!(
            got.unwrap().into_inner().cancellation.unwrap().caller,
            caller
        );
    }
    let mut batch_id = String::new();
    for (request, callers) in [
        (list("", false), &["billing"][..]),
        (list("billing", false), &["billing"]),
        (list("support", false), &["support"]),
        (list("nobody", false), &[]),
        (list("", true), &["billing", "support"]),
    ] {
        let page = client.list_cancellations(by(BILLING_TOKEN, request)).await;
        let records = page.unwrap().into_inner().cancellations;
        let seen: Vec<_> = records.iter().map(|record| &*record.caller).collect();
        assert_eq!(seen, callers);
        for record in records.iter().filter(|record| record.caller == "support") {
            batch_id.clone_from(&record.batch_id);
        }
    }
    let both = client
        .list_cancellations(by(BILLING_TOKEN, list("support", true)))
        .await;
    assert_eq!(both.unwrap_err().code(), Code::InvalidArgument);
    let stop = StopBatchRequest { batch_id };
    let stopped = client.stop_batch(by(BILLING_TOKEN, stop)).await;
    assert_eq!(stopped.unwrap_err().code(), Code::NotFound);

    // Who is none sees its own, and may say so.
    let got = client
        .get_cancellation(by(SUPPORT_TOKEN, get("support")))
        .await;
    assert_eq!(
        got.unwrap().into_inner().cancellation.unwrap().caller,
        "support"
    );
    let got = client
        .get_cancellation(by(SUPPORT_TOKEN, get("billing")))
        .await;
    violates(&got.unwrap_err(), &["caller"]);
    for (request, field) in [
        (list("billing", false), "caller"),
        (list("", true), "all_callers"),
    ] {
        let listed = client.list_cancellations(by(SUPPORT_TOKEN, request)).await;
        violates(&listed.unwrap_err(), &[field]);
    }
}

#[tokio::test]
async fn an_auditor_sees_its_accounts_alone_and_answers_only_with_the_right_to() {
    let gateway = with_policy("auditor = true\naccounts = [\"solidgate\", \"seq*\"]").await;
    let mut client = gateway.client.clone();
    let items = [
        subscription(Provider::Rebilly, "a", now()),
        subscription(Provider::Solidgate, "b", now()),
    ];
    let sent = send(&gateway, SUPPORT_TOKEN, request("K", items)).await;
    assert_eq!(sent.unwrap(), 2);
    let get = |item, with_answer| GetCancellationRequest {
        caller: "support".to_owned(),
        idempotency_key: format!("K/{item}"),
        include_provider_response: with_answer,
        ..first_of("K")
    };
    let list = |caller: &str, account: &str, with_answer| ListCancellationsRequest {
        caller: caller.to_owned(),
        all_callers: caller.is_empty(),
        account: account.to_owned(),
        include_provider_response: with_answer,
        ..Default::default()
    };
    for caller in ["support", ""] {
        let request = by(BILLING_TOKEN, list(caller, "", false));
        let page = client.list_cancellations(request).await.unwrap();
        let records = page.into_inner().cancellations;
        let keys: Vec<_> = records.iter().map(|r| &*r.idempotency_key).collect();
        assert_eq!(keys, ["K/1"], "{caller}");
        let request = by(BILLING_TOKEN, list(caller, "rebilly", true));
        let listed = client.list_cancellations(request).await;
        violates(
            &listed.unwrap_err(),
            &["include_provider_response", "account"],
        );
    }
    let got = client.get_cancellation(by(BILLING_TOKEN, get(0, false)));
    assert_eq!(got.await.unwrap_err().code(), Code::NotFound);
    let got = client.get_cancellation(by(BILLING_TOKEN, get(1, false)));
    assert!(got.await.is_ok());
    let got = client.get_cancellation(by(BILLING_TOKEN, get(1, true)));
    violates(&got.await.unwrap_err(), &["include_provider_response"]);
    // Its own answers are its own to see.
    let own = by(
        SUPPORT_TOKEN,
        GetCancellationRequest {
            caller: String::new(),
            ..get(0, true)
        },
    );
    let own = client.get_cancellation(own).await.unwrap().into_inner();
    let has_answer = |cancellation: Option<Cancellation>| {
        let Some(cancellation::Result::SubscriptionResult(result)) = cancellation.unwrap().result
        else {
            panic!("no result");
        };
        result.provider_response.is_some()
    };
    assert!(has_answer(own.cancellation));

    let gateway = with_policy("auditor = true\nauditor_answers = true").await;
    send(&gateway, SUPPORT_TOKEN, one("K", "a")).await.unwrap();
    let mut client = gateway.client.clone();
    let got = client.get_cancellation(by(BILLING_TOKEN, get(0, true)));
    assert!(has_answer(got.await.unwrap().into_inner().cancellation));
}

#[test]
fn every_rpc_of_the_api_has_a_line_in_the_policy() {
    use prost::Message as _;
    let set = prost_types::FileDescriptorSet::decode(cancelot::rpc::proto::DESCRIPTORS).unwrap();
    let mut published: Vec<_> = set
        .file
        .iter()
        .filter(|file| file.package() == "cancelot.v1")
        .flat_map(|file| &file.service)
        .flat_map(|service| &service.method)
        .map(|method| method.name().to_owned())
        .collect();
    let mut known: Vec<_> = cancelot::identity::Method::ALL
        .iter()
        .map(|method| method.name().to_owned())
        .collect();
    published.sort();
    known.sort();
    assert_eq!(known, published);
}
