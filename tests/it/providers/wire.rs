//! Requests to the providers, byte for byte as their pages describe, for any content of the
//! caller's fields.

use cancelot::{
    rpc::proto::{
        CancelEnrollmentsRequest, EnrollmentCancellation, FieldMatch, Initiator, LineItem,
        LineItemType, Outcome, Reason, SolidgateOptions, SubscriberIds, SubscriptionCancellation,
        enrollment_cancellation::Target, subscription_cancellation::ProviderOptions,
        when::When as Choice,
    },
    sandbox::{Fault, Provider, Recorded, RequestMatch, Sandbox, Scripted},
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    doubt::truth::BILLING,
    support::{
        Gateway, gateway, in_time, now, period_end,
        process::{Place, try_connect},
        provider_default, request, subscription, subscription_results,
    },
};

const SECRET: &str = "good-credential";

/// Ids with what an id may have and a URL, a header or JSON gives a meaning elsewhere.
fn odd_ids() -> [&'static str; 10] {
    [
        "a@b", "@host", "..a", "...", "a..", "-a-", "_", "~a", ".a.b", "2e2e",
    ]
}

/// Ids that would leave their place if they were pasted into a URL, a header or JSON, or if an
/// intermediary decoded them: each with the first character that no id has.
fn hostile_ids() -> [(&'static str, char); 26] {
    [
        ("../customers/cus_2", '/'),
        ("..%2fcustomers%2fcus_2", '%'),
        ("%2e%2e", '%'),
        ("%00", '%'),
        ("a/../../b", '/'),
        ("a/b", '/'),
        ("/", '/'),
        ("a?status=draft", '?'),
        ("a#b", '#'),
        ("a&b=c", '&'),
        ("a;b", ';'),
        ("a\\b", '\\'),
        ("a b", ' '),
        (" a", ' '),
        ("a ", ' '),
        ("a\"b", '"'),
        ("a'b", '\''),
        ("{}", '{'),
        ("<script>", '<'),
        ("a,b", ','),
        ("ünïcode", 'ü'),
        ("a\u{1f980}", '\u{1f980}'),
        ("\u{202e}rtl", '\u{202e}'),
        ("a\u{200b}b", '\u{200b}'),
        ("a\u{a0}b", '\u{a0}'),
        ("a\u{2215}b", '\u{2215}'),
    ]
}

/// The one segment between two fixed parts of a path.
#[track_caller]
fn segment<'a>(path: &'a str, before: &str, after: &[&str]) -> &'a str {
    let rest = path.strip_prefix(before);
    let rest = rest.unwrap_or_else(|| panic!("{path:?} does not begin with {before:?}"));
    let found = after.iter().find_map(|after| rest.strip_suffix(after));
    found.unwrap_or_else(|| panic!("{path:?} does not end with one of {after:?}"))
}

#[track_caller]
fn check_segment(segment: &str, id: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
    assert!(segment.chars().all(plain), "{segment:?} of {id:?}");
    assert_eq!(percent_decode_str(segment).decode_utf8().unwrap(), id);
}

#[tokio::test]
async fn no_id_leaves_its_place_in_the_path() {
    let mut gateway = gateway().start().await;
    let requests = [
        // Only a refused cancel is followed by a look that names the subscription in its path.
        (Provider::Rebilly, "missing"),
        (Provider::Solidgate, ""),
        (Provider::FunnelFox, ""),
    ];
    for (provider, suffix) in requests {
        let ids = odd_ids().map(|id| format!("{id}{suffix}"));
        let when = if provider == Provider::FunnelFox {
            period_end()
        } else {
            now()
        };
        for (i, id) in ids.iter().enumerate() {
            let seen = gateway.control.requests(provider).len();
            let key = format!("{}-{i}", provider.name());
            let item = subscription(provider, id, when);
            let result = in_time(gateway.cancel_one(&key, item)).await.unwrap();
            assert_ne!(result.outcome(), Outcome::Unspecified);
            let sent = gateway.control.requests(provider).split_off(seen);
            assert!(!sent.is_empty());
            for sent in sent {
                check_place(provider, &sent, id);
            }
        }
    }
}

#[track_caller]
fn check_place(provider: Provider, sent: &Recorded, id: &str) {
    let path = sent.path.as_str();
    let body: Value = serde_json::from_str(&sent.body).unwrap_or_default();
    match (provider, sent.method.as_str()) {
        (Provider::Rebilly, "PUT") => {
            assert_eq!(body["subscriptionId"], id);
            cancellation_id(path);
        }
        (Provider::Rebilly, _) => {
            let before = "/rebilly/organizations/org/subscriptions/";
            check_segment(segment(path, before, &[""]), id);
        }
        (Provider::Solidgate, _) => {
            let paths = [
                "/solidgate/v2/subscriptions/cancel",
                "/solidgate/v2/subscriptions/get",
            ];
            assert!(paths.contains(&path), "{path}");
            assert_eq!(body["id"], id);
        }
        (Provider::FunnelFox, method) => {
            let before = "/funnelfox/public/v1/subscriptions/";
            let after: &[_] = if method == "POST" {
                &["/cancel"]
            } else {
                &[""]
            };
            check_segment(segment(path, before, after), id);
        }
        (Provider::Revolv3 | Provider::Sequenzy, _) => unreachable!("not among the requests"),
    }
}

/// The id of a cancellation at Rebilly, which is ours.
#[track_caller]
fn cancellation_id(path: &str) -> &str {
    let before = "/rebilly/organizations/org/subscription-cancellations/cancelot-";
    let id = segment(path, before, &[""]);
    assert!(
        id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{path}"
    );
    id
}

#[tokio::test]
async fn no_id_of_a_sequence_leaves_its_place_in_the_path() {
    let mut gateway = gateway().start().await;
    for (i, id) in odd_ids().into_iter().enumerate() {
        let item = enrollment(id, Target::SubscriberId(id.to_owned()));
        let result = &enrollments(&mut gateway, &format!("k{i}"), vec![item]).await[0];
        assert_eq!(result["subscriberId"], id);
        let sent = gateway.control.requests(Provider::Sequenzy).pop().unwrap();
        let before = "/sequenzy/api/v1/sequences/";
        check_segment(segment(&sent.path, before, &["/enrollments/cancel"]), id);
    }
}

#[tokio::test]
async fn ids_with_characters_that_no_id_has_are_refused_by_field_and_character() {
    let mut gateway = gateway().start().await;
    let check = |refused: Status, field: &str, character: char| {
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        let bad = refused.get_details_bad_request().unwrap();
        let [violation] = bad.field_violations.as_slice() else {
            panic!("{bad:?}");
        };
        assert_eq!(violation.field, format!("cancellations[0].{field}"));
        let code = format!("contains U+{:04X}", u32::from(character));
        assert!(violation.description.starts_with(&code), "{violation:?}");
        let shown = format!("({character})");
        assert_eq!(
            violation.description.contains(&shown),
            character.is_ascii_graphic() || character.is_alphanumeric(),
            "{violation:?}"
        );
    };
    for (id, character) in hostile_ids() {
        for provider in [Provider::Rebilly, Provider::Solidgate, Provider::FunnelFox] {
            let item = subscription(provider, id, provider_default_of(provider));
            let refused = gateway.cancel_one("key", item).await.unwrap_err();
            check(refused, "subscription_id", character);
        }
        let options = SolidgateOptions {
            channel_id: id.to_owned(),
        };
        let item = SubscriptionCancellation {
            provider_options: Some(ProviderOptions::Solidgate(options)),
            ..subscription(Provider::Solidgate, "a", now())
        };
        let refused = gateway.cancel_one("key", item).await.unwrap_err();
        check(refused, "solidgate.channel_id", character);

        let one = |id: &str| Target::SubscriberId(id.to_owned());
        let several = Target::SubscriberIds(SubscriberIds {
            ids: vec!["a".to_owned(), id.to_owned()],
        });
        for (item, field) in [
            (enrollment(id, one("a")), "sequence_id"),
            (enrollment("a", one(id)), "subscriber_id"),
            (enrollment("a", several), "subscriber_ids.ids[1]"),
        ] {
            let batch = CancelEnrollmentsRequest {
                idempotency_key: "key".to_owned(),
                cancellations: vec![item],
                ..Default::default()
            };
            let refused = gateway.client.cancel_enrollments(batch).await.unwrap_err();
            check(refused, field, character);
        }
    }
    let received: u64 = Provider::ALL
        .map(|p| gateway.control.counts(p).requests)
        .iter()
        .sum();
    assert_eq!(received, 0);
}

fn provider_default_of(provider: Provider) -> Choice {
    match provider {
        Provider::FunnelFox => period_end(),
        _ => now(),
    }
}

#[tokio::test]
async fn strange_ids_are_told_with_all_else_that_is_wrong() {
    let gateway = gateway().start().await;
    let items = [
        subscription(Provider::Rebilly, "a/b", now()),
        subscription(Provider::Rebilly, "c", provider_default()),
    ];
    let refused = gateway.refused(request("key", items)).await;
    let bad = refused.get_details_bad_request().unwrap();
    let mut fields: Vec<_> = bad
        .field_violations
        .iter()
        .map(|v| v.field.as_str())
        .collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["cancellations[0].subscription_id", "cancellations[1].when"]
    );
}

/// What was admitted where ids have more characters is replayed where they have fewer: a resend is
/// not checked for more than the first request was.
#[tokio::test]
async fn an_id_that_was_admitted_before_is_replayed() {
    let provider = |name: &str| format!("[accounts.main]\nprovider = {name:?}\n");
    let text = format!(
        "{}base_url = \"{{solidgate}}\"\ncredential_env = \"CREDENTIAL\"\n",
        provider("solidgate")
    );
    let mut gateway = gateway().config(&text).start().await;
    let item = |id: &str| SubscriptionCancellation {
        account: "main".to_owned(),
        ..subscription(Provider::Solidgate, id, now())
    };
    let first = gateway.cancel_one("K", item("a:b")).await.unwrap();

    gateway.reconfigure(&provider("solidgate"), &provider("rebilly"));
    gateway.restart().await;
    let again = gateway.cancel_one("K", item("a:b")).await.unwrap();
    let other = in_time(gateway.cancel_one("L", item("a:b"))).await;
    let other = other.unwrap_err();

    assert!(again.replayed, "{again:?}");
    assert_eq!(again.outcome(), first.outcome());
    assert_eq!(other.code(), Code::InvalidArgument, "{other:?}");
    assert!(other.message().contains("U+003A (:)"), "{other:?}");
}

#[tokio::test]
async fn ids_that_no_encoding_saves_are_refused() {
    let mut gateway = gateway().start().await;
    for id in [".", ".."] {
        for provider in [Provider::Rebilly, Provider::FunnelFox] {
            let item = subscription(provider, id, period_end());
            let refused = gateway.cancel_one("key", item).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        }
    }
    for id in [
        "1/cancel", "1?x=1", "../1", "%31", "1 ", "+1", "01", "1.0", "1e3", "0x1", "\u{661}",
    ] {
        let item = subscription(Provider::Revolv3, id, provider_default());
        let refused = gateway.cancel_one("key", item).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{id}: {refused:?}");
    }
    let received: u64 = Provider::ALL
        .map(|p| gateway.control.counts(p).requests)
        .iter()
        .sum();
    assert_eq!(received, 0);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let mut gateway = gateway().start().await;
    let decoy = format!(
        "{}/subscriptions/decoy/cancel",
        gateway.sandbox().base_url(Provider::FunnelFox)
    );
    for (i, status) in [301, 302, 303, 307, 308].into_iter().enumerate() {
        for provider in BILLING {
            let redirect = Fault::Reply {
                status,
                headers: vec![("location".to_owned(), decoy.clone())],
                body: String::new(),
            };
            let is_effect = if provider == Provider::Rebilly {
                "PUT"
            } else {
                "POST"
            };
            let on = RequestMatch {
                method: Some(is_effect.to_owned()),
                path_contains: None,
            };
            let scripted = Scripted {
                fault: redirect,
                on,
                times: 1,
            };
            gateway.control.script(provider, scripted);
            let id = (1_000 + i).to_string();
            let when = match provider {
                Provider::Revolv3 => provider_default(),
                _ => period_end(),
            };
            let key = format!("{}-{i}", provider.name());
            let item = subscription(provider, &id, when);
            let result = in_time(gateway.cancel_one(&key, item)).await.unwrap();
            let goal = [Outcome::Canceled, Outcome::Scheduled];
            assert!(goal.contains(&result.outcome()), "{status}: {result:?}");
            assert_eq!(
                gateway.control.effects(provider)[&id],
                1,
                "{provider:?} {status}"
            );
        }
    }
    let at_decoy = gateway.control.requests(Provider::FunnelFox);
    assert!(at_decoy.iter().all(|sent| !sent.path.contains("decoy")));
}

/// Sends one cancellation and gives the first request that it led to.
async fn first_sent(gateway: &mut Gateway, item: SubscriptionCancellation) -> Recorded {
    let provider = Provider::named(&item.account).unwrap();
    let seen = gateway.control.requests(provider).len();
    in_time(gateway.cancel_one(&format!("key-{provider:?}-{seen}"), item))
        .await
        .unwrap();
    gateway.control.requests(provider).swap_remove(seen)
}

#[track_caller]
fn check_body(sent: &Recorded, body: &Value) {
    assert_eq!(serde_json::from_str::<Value>(&sent.body).unwrap(), *body);
    assert_eq!(sent.header("content-type"), Some("application/json"));
}

/// The credential is in this header, and nowhere else.
#[track_caller]
fn check_credential(sent: &Recorded, header: &str, value: &str) {
    assert_eq!(sent.header(header), Some(value));
    let shown = sent
        .headers
        .iter()
        .filter(|(_, value)| value.contains(SECRET));
    assert_eq!(shown.count(), 1, "{sent:?}");
    assert!(!sent.path.contains(SECRET) && !sent.body.contains(SECRET));
    for name in ["cookie", "referer", "origin"] {
        assert_eq!(sent.header(name), None);
    }
    let agent = sent.header("user-agent").unwrap();
    assert!(agent.starts_with("cancelot/"), "{agent}");
    assert_eq!(sent.header("accept"), Some("application/json"));
}

fn time(text: &str) -> prost_types::Timestamp {
    let time: jiff::Timestamp = text.parse().unwrap();
    prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    }
}

#[tokio::test]
async fn rebilly_gets_every_field_under_its_name() {
    let mut gateway = gateway().start().await;
    let item = SubscriptionCancellation {
        reason: Reason::TooExpensive.into(),
        comment: "moved \"away\"".to_owned(),
        initiated_by: Initiator::Customer.into(),
        prorate: Some(true),
        line_items: vec![
            LineItem {
                r#type: LineItemType::Debit.into(),
                description: "setup".to_owned(),
                unit_price_amount: "49.95".to_owned(),
                unit_price_currency: "USD".to_owned(),
                quantity: 2,
                period_start_time: Some(time("2031-01-01T00:00:00Z")),
                period_end_time: Some(time("2031-02-01T00:00:00Z")),
            },
            LineItem {
                r#type: LineItemType::Credit.into(),
                unit_price_amount: "0.1".to_owned(),
                unit_price_currency: "EUR".to_owned(),
                quantity: 1,
                ..Default::default()
            },
        ],
        ..subscription(
            Provider::Rebilly,
            "sub_1",
            Choice::At(time("2031-05-06T07:08:09Z")),
        )
    };
    let sent = first_sent(&mut gateway, item).await;
    assert_eq!(sent.method, "PUT");
    cancellation_id(&sent.path);
    check_credential(&sent, "reb-apikey", SECRET);
    // Amounts with the digits they came in: no float in between.
    assert!(
        sent.body.contains(r#""unitPriceAmount":49.95"#),
        "{}",
        sent.body
    );
    assert!(
        sent.body.contains(r#""unitPriceAmount":0.1,"#),
        "{}",
        sent.body
    );
    check_body(
        &sent,
        &json!({
            "subscriptionId": "sub_1",
            "status": "confirmed",
            "canceledBy": "customer",
            "reason": "too-expensive",
            "description": "moved \"away\"",
            "prorated": true,
            "churnTime": "2031-05-06T07:08:09Z",
            "lineItems": [
                {
                    "type": "debit",
                    "description": "setup",
                    "unitPriceAmount": serde_json::from_str::<Value>("49.95").unwrap(),
                    "unitPriceCurrency": "USD",
                    "quantity": 2,
                    "periodStartTime": "2031-01-01T00:00:00Z",
                    "periodEndTime": "2031-02-01T00:00:00Z",
                },
                {
                    "type": "credit",
                    "unitPriceAmount": serde_json::from_str::<Value>("0.1").unwrap(),
                    "unitPriceCurrency": "EUR",
                    "quantity": 1,
                },
            ],
        }),
    );
}

#[tokio::test]
async fn rebilly_gets_timings_reasons_and_initiators_in_its_words() {
    let mut gateway = gateway().start().await;
    let bare = |id: &str, policy: &str| {
        json!({
            "subscriptionId": id, "status": "confirmed", "canceledBy": "merchant",
            "prorated": false, "churnTimePolicy": policy,
        })
    };
    for (id, when, policy) in [
        ("sub_now", now(), "now"),
        ("sub_end", period_end(), "at-next-renewal"),
    ] {
        let sent = first_sent(&mut gateway, subscription(Provider::Rebilly, id, when)).await;
        check_body(&sent, &bare(id, policy));
    }
    let reasons = [
        (Reason::DidNotUse, "did-not-use"),
        (Reason::DidNotWant, "did-not-want"),
        (Reason::MissingFeatures, "missing-features"),
        (Reason::BugsOrProblems, "bugs-or-problems"),
        (Reason::DoNotRemember, "do-not-remember"),
        (Reason::RiskWarning, "risk-warning"),
        (Reason::ContractExpired, "contract-expired"),
        (Reason::TooExpensive, "too-expensive"),
        (Reason::Other, "other"),
        (Reason::BillingFailure, "billing-failure"),
    ];
    for (reason, word) in reasons {
        let mut item = subscription(Provider::Rebilly, format!("r_{word}"), now());
        item.reason = reason.into();
        let sent = first_sent(&mut gateway, item).await;
        let body: Value = serde_json::from_str(&sent.body).unwrap();
        assert_eq!(body["reason"], word);
    }
    let initiators = [
        (Initiator::Merchant, "merchant"),
        (Initiator::Customer, "customer"),
        (Initiator::Provider, "rebilly"),
    ];
    for (by, word) in initiators {
        let mut item = subscription(Provider::Rebilly, format!("by_{word}"), now());
        item.initiated_by = by.into();
        let sent = first_sent(&mut gateway, item).await;
        let body: Value = serde_json::from_str(&sent.body).unwrap();
        assert_eq!(body["canceledBy"], word);
    }
}

#[tokio::test]
async fn solidgate_gets_every_field_under_its_name() {
    let mut gateway = gateway().start().await;
    for (id, when, mode) in [("a", now(), "NOW"), ("b", period_end(), "PERIOD_END")] {
        let item = SubscriptionCancellation {
            comment: "moved away".to_owned(),
            provider_options: Some(ProviderOptions::Solidgate(SolidgateOptions {
                channel_id: "chn_1".to_owned(),
            })),
            ..subscription(Provider::Solidgate, id, when)
        };
        let sent = first_sent(&mut gateway, item).await;
        assert_eq!(sent.method, "POST");
        assert_eq!(sent.path, "/solidgate/v2/subscriptions/cancel");
        check_credential(&sent, "authorization", &format!("Bearer {SECRET}"));
        let body = json!({
            "id": id, "mode": mode, "comment": "moved away", "channel_id": "chn_1",
        });
        check_body(&sent, &body);
    }
    let sent = first_sent(&mut gateway, subscription(Provider::Solidgate, "c", now())).await;
    check_body(&sent, &json!({"id": "c", "mode": "NOW"}));
}

#[tokio::test]
async fn an_idempotency_key_stays_the_same_over_resends_and_differs_between_items() {
    let mut gateway = gateway().start().await;
    let before = Scripted {
        fault: Fault::ErrorBefore { status: 503 },
        on: RequestMatch {
            method: None,
            path_contains: Some("/cancel".to_owned()),
        },
        times: 2,
    };
    gateway.control.script(Provider::Solidgate, before);
    let keys = |gateway: &Gateway| -> Vec<String> {
        let sent = gateway.control.requests(Provider::Solidgate);
        let cancels = sent.iter().filter(|sent| sent.path.ends_with("/cancel"));
        let key = |sent: &Recorded| sent.header("idempotency-key").unwrap().to_owned();
        cancels.map(key).collect()
    };
    let item = subscription(Provider::Solidgate, "a", now());
    in_time(gateway.cancel_one("one", item.clone()))
        .await
        .unwrap();
    let first = keys(&gateway);
    assert_eq!(first.len(), 3);
    assert!(first.iter().all(|key| *key == first[0]), "{first:?}");
    let is_uuid = first[0].len() == 36 && first[0].split('-').count() == 5;
    assert!(is_uuid, "{first:?}");
    in_time(gateway.cancel_one("two", item)).await.unwrap();
    let other = keys(&gateway).split_off(3);
    assert!(!other.is_empty() && other.iter().all(|key| *key != first[0]));
}

#[tokio::test]
async fn funnelfox_gets_the_comment_or_the_reason_as_its_reason() {
    let mut gateway = gateway().start().await;
    let cases = [
        (
            "a",
            Reason::TooExpensive,
            "moved away",
            json!({"reason": "moved away"}),
        ),
        (
            "b",
            Reason::TooExpensive,
            "",
            json!({"reason": "too expensive"}),
        ),
        ("c", Reason::Unspecified, "", json!({})),
    ];
    for (id, reason, comment, body) in cases {
        let item = SubscriptionCancellation {
            reason: reason.into(),
            comment: comment.to_owned(),
            ..subscription(Provider::FunnelFox, id, provider_default())
        };
        let sent = first_sent(&mut gateway, item).await;
        assert_eq!(sent.method, "POST");
        assert_eq!(
            sent.path,
            format!("/funnelfox/public/v1/subscriptions/{id}/cancel")
        );
        check_credential(&sent, "fox-secret", SECRET);
        check_body(&sent, &body);
    }
}

#[tokio::test]
async fn revolv3_gets_a_cancel_without_a_body() {
    let mut gateway = gateway().start().await;
    let item = SubscriptionCancellation {
        comment: "stays here".to_owned(),
        ..subscription(Provider::Revolv3, 7, provider_default())
    };
    let sent = first_sent(&mut gateway, item).await;
    assert_eq!((sent.method.as_str(), sent.body.as_str()), ("POST", ""));
    assert_eq!(sent.path, "/revolv3/api/Subscriptions/7/cancel");
    assert_eq!(sent.header("content-type"), Some("application/json"));
    assert_eq!(sent.header("content-length"), Some("0"));
    check_credential(&sent, "x-revolv3-token", SECRET);
}

#[tokio::test]
async fn revolv3_gets_the_cancel_type_as_a_patch() {
    let mut gateway = gateway()
        .account(Provider::Revolv3, "set_timing = true")
        .start()
        .await;
    let item = subscription(Provider::Revolv3, 7, period_end());
    in_time(gateway.cancel_one("key", item)).await.unwrap();
    let sent = gateway.control.requests(Provider::Revolv3);
    let methods: Vec<_> = sent.iter().map(|sent| sent.method.as_str()).collect();
    assert_eq!(methods, ["GET", "PATCH", "GET", "POST"]);
    assert_eq!(sent[1].path, "/revolv3/api/Subscriptions/7");
    assert_eq!(
        sent[1].header("content-type"),
        Some("application/json-patch+json")
    );
    let body: Value = serde_json::from_str(&sent[1].body).unwrap();
    assert_eq!(body, json!({"subscriptionCancelType": "EndOfCycle"}));
    assert_eq!(sent[3].body, "");
    for sent in &sent {
        check_credential(sent, "x-revolv3-token", SECRET);
    }
}

#[tokio::test]
async fn credentials_go_where_the_account_says() {
    let mut gateway = gateway()
        .account(Provider::Rebilly, "auth = \"bearer\"")
        .start()
        .await;
    let sent = first_sent(&mut gateway, subscription(Provider::Rebilly, "a", now())).await;
    check_credential(&sent, "authorization", &format!("Bearer {SECRET}"));
    assert_eq!(sent.header("reb-apikey"), None);
}

fn enrollment(sequence: &str, target: Target) -> EnrollmentCancellation {
    EnrollmentCancellation {
        account: Provider::Sequenzy.name().to_owned(),
        sequence_id: sequence.to_owned(),
        target: Some(target),
        ..Default::default()
    }
}

/// Cancels enrollments, and gives the bodies that were sent for it.
async fn enrollments(
    gateway: &mut Gateway,
    key: &str,
    cancellations: Vec<EnrollmentCancellation>,
) -> Vec<Value> {
    let seen = gateway.control.requests(Provider::Sequenzy).len();
    let asked = CancelEnrollmentsRequest {
        idempotency_key: key.to_owned(),
        cancellations,
        ..Default::default()
    };
    in_time(gateway.cancel_enrollments(asked)).await.unwrap();
    let sent = gateway.control.requests(Provider::Sequenzy).split_off(seen);
    let body = |sent: &Recorded| serde_json::from_str(&sent.body).unwrap();
    sent.iter().map(body).collect()
}

#[tokio::test]
async fn sequenzy_gets_every_field_under_its_name_and_always_whether_it_is_a_dry_run() {
    let mut gateway = gateway()
        .account(Provider::Sequenzy, "company_id = \"cmp_1\"")
        .start()
        .await;
    let ids = || vec!["ann".to_owned(), "bob".to_owned()];
    let field = |path: &str| {
        Target::Field(FieldMatch {
            path: path.to_owned(),
            values: vec!["7".to_owned(), "o1".to_owned()],
        })
    };
    let cases = [
        (
            Target::SubscriberId("ann".to_owned()),
            None,
            json!({"subscriberId": "ann", "dryRun": false}),
        ),
        (
            Target::SubscriberId("ann".to_owned()),
            Some(true),
            json!({"subscriberId": "ann", "dryRun": true}),
        ),
        (
            Target::SubscriberIds(SubscriberIds { ids: ids() }),
            None,
            json!({"subscriberIds": ids(), "dryRun": true}),
        ),
        (
            Target::SubscriberIds(SubscriberIds { ids: ids() }),
            Some(false),
            json!({"subscriberIds": ids(), "dryRun": false}),
        ),
        (
            field("order.id"),
            None,
            json!({"fieldPath": "order.id", "fieldValues": ["7", "o1"], "dryRun": true}),
        ),
        (
            field(""),
            Some(false),
            json!({"fieldValues": ["7", "o1"], "dryRun": false}),
        ),
        (
            Target::All(Default::default()),
            None,
            json!({"cancelAll": true, "dryRun": true}),
        ),
        (
            Target::All(Default::default()),
            Some(false),
            json!({"cancelAll": true, "dryRun": false}),
        ),
    ];
    for (i, (target, dry_run, mut body)) in cases.into_iter().enumerate() {
        let item = EnrollmentCancellation {
            reason: "Order cancelled".to_owned(),
            dry_run,
            ..enrollment(&format!("seq_{i}"), target)
        };
        let sent = enrollments(&mut gateway, &format!("k{i}"), vec![item]).await;
        body["reason"] = json!("Order cancelled");
        assert_eq!(sent, [body]);
        let sent = gateway.control.requests(Provider::Sequenzy).pop().unwrap();
        assert_eq!(sent.method, "POST");
        assert_eq!(
            sent.path,
            format!("/sequenzy/api/v1/sequences/seq_{i}/enrollments/cancel")
        );
        assert_eq!(sent.header("x-company-id"), Some("cmp_1"));
        assert_eq!(sent.header("content-type"), Some("application/json"));
        check_credential(&sent, "authorization", &format!("Bearer {SECRET}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_line_of_any_level_shows_a_credential() {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let control = sandbox.control();
    for provider in BILLING {
        control.script(provider, Fault::ResetAfter);
        control.script(provider, Fault::ErrorBefore { status: 500 });
    }
    let place = Place::new(&sandbox, "[log]\nfilter = \"trace\"");
    let (process, url) = place.serve().await;
    let mut client = try_connect(&url).await.unwrap();
    let items = BILLING.map(|provider| {
        let when = if provider == Provider::Revolv3 {
            provider_default()
        } else {
            period_end()
        };
        subscription(provider, "77", when)
    });
    let stream = client
        .cancel_subscription(request("key", items))
        .await
        .unwrap();
    let (_, results) = in_time(subscription_results(stream.into_inner()))
        .await
        .unwrap();
    assert_eq!(results.len(), 4);
    process.terminate();
    assert!(process.ended().await.success());
    let log = place.stderr();
    assert!(log.contains("exchange finished"), "the log is empty");
    assert!(!log.contains(SECRET));
}
