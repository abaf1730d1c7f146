//! Reading records: one by its key, many by a filter, and accounts.

use cancelot::{
    rpc::proto::{
        CancellationKind, Capabilities, DryRun, EnrollmentCancellation, Initiator, LineItem,
        LineItemType, ListAccountsRequest, ListCancellationsRequest, Outcome, Reason,
        SolidgateOptions, SubscriptionCancellation, Timing,
        cancellation::{Command, Result},
        subscription_cancellation::ProviderOptions,
        when::When as Choice,
    },
    sandbox::{Fault, Provider},
};
use prost_types::Timestamp;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    Gateway,
    asking::{enrollment, enrollments, everyone, field, live, subscriber, subscribers, violations},
    gateway, now, request, subscription,
};

type List = ListCancellationsRequest;

#[tokio::test]
async fn a_record_holds_all_that_was_asked_for() {
    let mut gateway = gateway().start().await;
    let time = |seconds| Some(Timestamp { seconds, nanos: 5 });
    let rebilly = SubscriptionCancellation {
        reason: Reason::BillingFailure.into(),
        comment: "as agreed".to_owned(),
        initiated_by: Initiator::Provider.into(),
        prorate: Some(false),
        line_items: vec![LineItem {
            r#type: LineItemType::Credit.into(),
            description: "rest".to_owned(),
            unit_price_amount: "49.95".to_owned(),
            unit_price_currency: "EUR".to_owned(),
            quantity: 3,
            period_start_time: time(1),
            period_end_time: time(2),
        }],
        ..subscription(
            Provider::Rebilly,
            "a",
            Choice::At(time(4_102_444_800).unwrap()),
        )
    };
    let channel_id = "web".to_owned();
    let solidgate = SubscriptionCancellation {
        provider_options: Some(ProviderOptions::Solidgate(SolidgateOptions { channel_id })),
        ..subscription(Provider::Solidgate, "b", now())
    };
    let asked = [rebilly, solidgate];
    gateway.cancel(request("K", asked.clone())).await.unwrap();
    let targets = [
        subscriber("s"),
        subscribers(["t", "u"]),
        field("a.b", ["v"]),
        everyone(),
    ];
    let enrolled = targets.map(|target| EnrollmentCancellation {
        reason: "left".to_owned(),
        max_matches: Some(9),
        ..live(enrollment("seq", target))
    });
    gateway
        .cancel_enrollments(enrollments("K", enrolled.clone()))
        .await
        .unwrap();

    for (i, asked) in asked.into_iter().enumerate() {
        let record = gateway.get(&format!("K/{i}")).await.unwrap();
        assert_eq!(record.command, Some(Command::Subscription(asked)));
        assert_eq!(
            (record.request_key.as_str(), record.caller.as_str()),
            ("K", "anonymous")
        );
        assert!(!record.open && record.admitted_time.is_some());
    }
    for (i, asked) in enrolled.into_iter().enumerate() {
        let kind = CancellationKind::Enrollments;
        let record = gateway.get_of(kind, &format!("K/{i}")).await.unwrap();
        assert_eq!(record.command, Some(Command::Enrollments(asked)));
    }
}

#[tokio::test]
async fn a_record_is_found_by_its_key_and_no_other() {
    let mut gateway = gateway().start().await;
    let own = SubscriptionCancellation {
        idempotency_key: "mine".to_owned(),
        ..subscription(Provider::Rebilly, "b", now())
    };
    let other = subscription(Provider::Rebilly, "a", now());
    let results = gateway.cancel(request("K", [other, own])).await.unwrap();

    for (key, expected) in [("K/0", &results[0]), ("mine", &results[1])] {
        let record = gateway.get(key).await.unwrap();
        assert_eq!(
            record.result,
            Some(Result::SubscriptionResult(expected.clone()))
        );
    }
    for key in ["K/1", "K/2", "K", "other", "K/00"] {
        let status = gateway.get(key).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{key}");
        let named = status.get_details_resource_info().unwrap();
        assert_eq!(named.resource_name, key);
    }
    let elsewhere = gateway.get_of(CancellationKind::Enrollments, "mine").await;
    assert_eq!(elsewhere.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn what_is_open_is_shown_as_open() {
    let gateway = gateway().start().await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let items = [Provider::Rebilly, Provider::Solidgate].map(|p| subscription(p, "a", now()));
    let mut reader = gateway.open(request("K", items)).await;
    reader.until_settled(1).await;
    let only = |outcomes: &[Outcome]| List {
        outcomes: outcomes.iter().map(|outcome| i32::from(*outcome)).collect(),
        ..Default::default()
    };

    let record = gateway.get("K/0").await.unwrap();
    let (open, _) = gateway.list(only(&[Outcome::Unspecified])).await.unwrap();
    let (settled, _) = gateway.list(only(&[Outcome::Canceled])).await.unwrap();
    let both = [Outcome::Canceled, Outcome::Unspecified];
    let (both, _) = gateway.list(only(&both)).await.unwrap();
    gateway.control.release(Provider::Rebilly);
    reader.rest().await.unwrap();
    let (after, _) = gateway.list(only(&[Outcome::Unspecified])).await.unwrap();

    assert!(record.open);
    match record.result.unwrap() {
        Result::SubscriptionResult(result) => {
            assert_eq!(
                (result.outcome(), result.settled_time),
                (Outcome::Unspecified, None)
            );
        }
        Result::EnrollmentResult(result) => panic!("{result:?}"),
    }
    assert_eq!(
        (open, settled),
        (vec!["K/0".to_owned()], vec!["K/1".to_owned()])
    );
    assert_eq!(both, ["K/1", "K/0"]);
    assert_eq!(after, [] as [String; 0]);
}

/// Three batches: J and L of subscriptions, K of enrollments.
async fn three_batches() -> (Gateway, Vec<String>) {
    let mut gateway = gateway().start().await;
    let rebilly = |id| subscription(Provider::Rebilly, id, now());
    let solidgate = |id| subscription(Provider::Solidgate, id, now());
    gateway
        .cancel(request("J", [rebilly("a"), solidgate("missing")]))
        .await
        .unwrap();
    let items = [
        enrollment("seq", subscriber("s")),
        live(enrollment("seq", subscribers(["s", "t"]))),
    ];
    gateway
        .cancel_enrollments(enrollments("K", items))
        .await
        .unwrap();
    gateway
        .cancel(request(
            "L",
            [solidgate("a"), rebilly("b"), rebilly("churned")],
        ))
        .await
        .unwrap();
    let mut batches = Vec::new();
    for (kind, key) in [(1, "J/0"), (2, "K/0"), (1, "L/0")] {
        let kind = CancellationKind::try_from(kind).unwrap();
        batches.push(gateway.get_of(kind, key).await.unwrap().batch_id);
    }
    (gateway, batches)
}

#[tokio::test]
async fn records_are_listed_newest_first_by_any_filters_together() {
    let (gateway, batches) = three_batches().await;
    let middle = gateway
        .get_of(CancellationKind::Enrollments, "K/0")
        .await
        .unwrap();
    let middle = middle.admitted_time;
    let all = List::default;
    let account = |name: &str| List {
        account: name.to_owned(),
        ..all()
    };
    let target = |id: &str| List {
        target_id: id.to_owned(),
        ..all()
    };
    let cases: Vec<(List, &[&str])> = vec![
        (all(), &["L/2", "L/1", "L/0", "K/1", "K/0", "J/1", "J/0"]),
        (account("rebilly"), &["L/2", "L/1", "J/0"]),
        (account("sequenzy"), &["K/1", "K/0"]),
        (account("gone"), &[]),
        (target("a"), &["L/0", "J/0"]),
        (target("seq"), &["K/1", "K/0"]),
        (target("s"), &["K/1", "K/0"]),
        (target("t"), &["K/1"]),
        (target("nobody"), &[]),
        (
            List {
                batch_id: batches[2].clone(),
                ..all()
            },
            &["L/2", "L/1", "L/0"],
        ),
        (
            List {
                batch_id: "b000000999999".to_owned(),
                ..all()
            },
            &[],
        ),
        (
            List {
                kind: CancellationKind::Enrollments.into(),
                ..all()
            },
            &["K/1", "K/0"],
        ),
        (
            List {
                outcomes: vec![Outcome::NotFound.into()],
                ..all()
            },
            &["J/1"],
        ),
        (
            List {
                outcomes: vec![Outcome::NotFound.into(), Outcome::AlreadyCanceled.into()],
                ..account("rebilly")
            },
            &["L/2"],
        ),
        (
            List {
                admitted_after: middle,
                ..all()
            },
            &["L/2", "L/1", "L/0", "K/1", "K/0"],
        ),
        (
            List {
                admitted_before: middle,
                ..all()
            },
            &["J/1", "J/0"],
        ),
        (
            List {
                admitted_after: middle,
                admitted_before: middle,
                ..all()
            },
            &[],
        ),
        (
            List {
                batch_id: batches[0].clone(),
                account: "solidgate".to_owned(),
                ..target("a")
            },
            &[],
        ),
        (
            List {
                kind: 1,
                admitted_after: middle,
                account: "solidgate".to_owned(),
                ..target("a")
            },
            &["L/0"],
        ),
    ];

    for (filter, expected) in cases {
        let (keys, next) = gateway.list(filter.clone()).await.unwrap();
        assert_eq!(keys, expected, "{filter:?}");
        assert_eq!(next, "", "{filter:?}");
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repeat() {
    let (gateway, _) = three_batches().await;
    let (all, _) = gateway.list(List::default()).await.unwrap();
    for page_size in 1..=8 {
        for (filter, expected) in [
            (List::default(), all.clone()),
            (
                List {
                    account: "rebilly".to_owned(),
                    ..Default::default()
                },
                vec!["L/2".to_owned(), "L/1".to_owned(), "J/0".to_owned()],
            ),
        ] {
            let (mut keys, mut page_token) = (Vec::new(), String::new());
            loop {
                let page = List {
                    page_size,
                    page_token,
                    ..filter.clone()
                };
                let (more, next) = gateway.list(page).await.unwrap();
                assert!(more.len() <= usize::try_from(page_size).unwrap());
                keys.extend(more);
                page_token = next;
                if page_token.is_empty() {
                    break;
                }
            }
            assert_eq!(keys, expected, "in pages of {page_size}");
        }
    }
}

#[tokio::test]
async fn a_page_goes_on_only_with_the_same_filters() {
    let (gateway, _) = three_batches().await;
    let page = |account: &str, page_token: &str| List {
        page_size: 1,
        account: account.to_owned(),
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    let (_, token) = gateway.list(page("rebilly", "")).await.unwrap();

    let same = gateway.list(page("rebilly", &token)).await.unwrap();
    let other = gateway.list(page("solidgate", &token)).await.unwrap_err();
    let none = gateway.list(page("", &token)).await.unwrap_err();
    let bent = gateway
        .list(page("rebilly", &format!("{token}0")))
        .await
        .unwrap_err();

    assert_eq!(same.0, ["L/1"]);
    for status in [other, none, bent] {
        assert_eq!(violations(&status), ["page_token"]);
    }
}

#[tokio::test]
async fn neither_ids_nor_tokens_tell_how_many_batches_there_are() {
    let (gateway, batches) = three_batches().await;
    let one = List {
        page_size: 1,
        ..Default::default()
    };
    let (_, token) = gateway.list(one).await.unwrap();
    assert!(!token.contains('.') && token.len() == 32, "{token}");
    for (number, batch) in (1..).zip(&batches) {
        assert!(batch.starts_with("bx") && batch.len() == 18, "{batch}");
        // Nobody finds a batch by counting, not even its own.
        let number = format!("b{number:012}");
        let status = gateway.stop_batch(&number).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        let of_it = List {
            batch_id: number,
            ..Default::default()
        };
        assert_eq!(gateway.list(of_it).await.unwrap().0, [""; 0]);
    }
}

#[tokio::test]
async fn accounts_are_listed_with_what_each_can_do() {
    use Timing::{At, Now, PeriodEnd, ProviderDefault};
    let other = |name: &str, provider: &str, line: &str| {
        format!(
            "[accounts.{name}]\nprovider = {provider:?}\nbase_url = \"{{{provider}}}\"\n\
             credential_env = \"CREDENTIAL\"\n{line}"
        )
    };
    let gateway = gateway()
        .config(&other("fox-now", "funnelfox", "cancel_ends = \"now\""))
        .config(&other("r3-timed", "revolv3", "set_timing = true"))
        .start()
        .await;

    let listed = gateway
        .client
        .clone()
        .list_accounts(ListAccountsRequest {})
        .await
        .unwrap();

    let expected: [(&str, &[Timing], bool, &[&str], DryRun); 7] = [
        (
            "fox-now",
            &[Now, ProviderDefault],
            false,
            &["reason", "comment"],
            DryRun::Lookup,
        ),
        (
            "funnelfox",
            &[PeriodEnd, ProviderDefault],
            false,
            &["reason", "comment"],
            DryRun::Lookup,
        ),
        (
            "r3-timed",
            &[Now, PeriodEnd, ProviderDefault],
            false,
            &[],
            DryRun::Lookup,
        ),
        (
            "rebilly",
            &[Now, PeriodEnd, At],
            true,
            &["reason", "comment", "initiated_by"],
            DryRun::Preview,
        ),
        ("revolv3", &[ProviderDefault], false, &[], DryRun::Lookup),
        ("sequenzy", &[], false, &["reason"], DryRun::Preview),
        (
            "solidgate",
            &[Now, PeriodEnd],
            false,
            &["comment"],
            DryRun::Lookup,
        ),
    ];
    let accounts = listed.into_inner().accounts;
    assert_eq!(accounts.len(), expected.len());
    for (account, (name, timings, rich, notes, dry_run)) in accounts.iter().zip(expected) {
        let kind = match name {
            "sequenzy" => CancellationKind::Enrollments,
            _ => CancellationKind::Subscription,
        };
        let capabilities = Capabilities {
            kind: kind.into(),
            timings: timings.iter().map(|timing| i32::from(*timing)).collect(),
            prorate: rich,
            line_items: rich,
            notes: notes.iter().map(|note| (*note).to_owned()).collect(),
            dry_run: dry_run.into(),
        };
        assert_eq!(account.name, name);
        assert_eq!(account.capabilities.as_ref(), Some(&capabilities), "{name}");
        assert!(account.base_url.starts_with("http://127.0.0.1:"));
    }
}
