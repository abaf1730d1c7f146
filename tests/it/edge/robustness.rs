//! Any message, and any bytes instead of one, get a typed response, and the service goes on.

use cancelot::{
    rpc::proto::{
        AllEnrollments, CancelEnrollmentsRequest, CancelSubscriptionRequest,
        EnrollmentCancellation, FieldMatch, GetCancellationRequest, LineItem,
        ListCancellationsRequest, SolidgateOptions, StopBatchRequest, SubscriberIds,
        SubscriptionCancellation, When, enrollment_cancellation::Target,
        subscription_cancellation::ProviderOptions, when::When as Choice,
    },
    sandbox::Provider,
};
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};
use prost::{
    Message,
    bytes::{Buf as _, BufMut as _},
};
use tokio::runtime::Runtime;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Endpoint,
};

use crate::support::{Gateway, gateway, now, subscription};

/// Runs a property against a gateway, with a seed that is printed if it fails; then the gateway
/// has to work as before.
fn holds<T: std::fmt::Debug>(
    seed: u8,
    cases: u32,
    strategy: impl Strategy<Value = T>,
    call: impl AsyncFn(&Gateway, T) -> Result<(), Status>,
) {
    let runtime = Runtime::new().unwrap();
    let mut gateway = runtime.block_on(gateway().start());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&strategy, |input| {
        if let Err(status) = runtime.block_on(call(&gateway, input)) {
            let typed = !matches!(
                status.code(),
                Code::Internal | Code::Unknown | Code::Cancelled
            );
            proptest::prop_assert!(typed, "{status:?}");
        }
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, input)) => panic!("seed {seed}: {reason}\n{input:#?}"),
        Err(TestError::Abort(reason)) => panic!("seed {seed}: {reason}"),
    }
    let good = subscription(Provider::Solidgate, "good", now());
    let result = runtime.block_on(gateway.cancel_one("good", good)).unwrap();
    assert!(result.settled_time.is_some());
}

/// Texts that are often right, often nearly so, and sometimes anything.
fn text() -> impl Strategy<Value = String> {
    let known = [
        "",
        "rebilly",
        "solidgate",
        "funnelfox",
        "revolv3",
        "sequenzy",
        "K",
        "K/0",
        "1",
        "a",
        "b000000000001",
        "EUR",
        "1.5",
        ".",
        "..",
        "../x?y#z",
        "\u{0}",
        "ü",
        "%2e",
        "-1",
        "1000000000",
        "18446744073709551615.4294967295.000000000000",
    ];
    prop_oneof![
        6 => select(known.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => (0_usize..1_200).prop_map(|length| "x".repeat(length)),
    ]
}

fn number() -> impl Strategy<Value = i32> {
    prop_oneof![3 => 0..12_i32, 1 => any::<i32>(), 1 => Just(i32::MIN)]
}

fn seconds() -> impl Strategy<Value = i64> {
    let known = [
        0,
        1,
        -1,
        4_102_444_800,
        253_402_300_799,
        -62_135_596_800,
        i64::MAX,
        i64::MIN,
    ];
    prop_oneof![select(known.to_vec()), any::<i64>()]
}

fn time() -> impl Strategy<Value = prost_types::Timestamp> {
    let nanos = prop_oneof![Just(0), any::<i32>()];
    (seconds(), nanos).prop_map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos })
}

fn window() -> impl Strategy<Value = Option<prost_types::Duration>> {
    let nanos = prop_oneof![Just(0), any::<i32>()];
    let window = (seconds(), nanos);
    option::of(window.prop_map(|(seconds, nanos)| prost_types::Duration { seconds, nanos }))
}

fn when() -> impl Strategy<Value = Option<When>> {
    let choice = prop_oneof![
        Just(None),
        Just(Some(Choice::Now(Default::default()))),
        Just(Some(Choice::PeriodEnd(Default::default()))),
        Just(Some(Choice::ProviderDefault(Default::default()))),
        time().prop_map(|time| Some(Choice::At(time))),
    ];
    option::of(choice.prop_map(|when| When { when }))
}

fn line_item() -> impl Strategy<Value = LineItem> {
    let texts = (text(), text(), text());
    (
        number(),
        texts,
        number(),
        option::of(time()),
        option::of(time()),
    )
        .prop_map(
            |(r#type, (description, amount, currency), quantity, start, end)| LineItem {
                r#type,
                description,
                unit_price_amount: amount,
                unit_price_currency: currency,
                quantity,
                period_start_time: start,
                period_end_time: end,
            },
        )
}

fn item() -> impl Strategy<Value = SubscriptionCancellation> {
    let texts = (text(), text(), text(), text());
    let notes = (number(), number(), option::of(any::<bool>()));
    let options = option::of(text());
    (texts, when(), notes, vec(line_item(), 0..3), options).prop_map(
        |((account, id, key, comment), when, (reason, by, prorate), line_items, channel)| {
            SubscriptionCancellation {
                account,
                subscription_id: id,
                idempotency_key: key,
                when,
                reason,
                comment,
                initiated_by: by,
                prorate,
                line_items,
                provider_options: channel
                    .map(|channel_id| ProviderOptions::Solidgate(SolidgateOptions { channel_id })),
            }
        },
    )
}

fn subscriptions() -> impl Strategy<Value = CancelSubscriptionRequest> {
    (
        text(),
        vec(item(), 0..4),
        any::<bool>(),
        window(),
        any::<bool>(),
    )
        .prop_map(
            |(key, items, dry_run, retry_window, answer)| CancelSubscriptionRequest {
                idempotency_key: key,
                cancellations: items,
                dry_run,
                retry_window,
                include_provider_response: answer,
            },
        )
}

fn enrollments() -> impl Strategy<Value = CancelEnrollmentsRequest> {
    let target = prop_oneof![
        text().prop_map(Target::SubscriberId),
        vec(text(), 0..4).prop_map(|ids| Target::SubscriberIds(SubscriberIds { ids })),
        (text(), vec(text(), 0..4))
            .prop_map(|(path, values)| Target::Field(FieldMatch { path, values })),
        Just(Target::All(AllEnrollments {})),
    ];
    let texts = (text(), text(), text(), text());
    let rest = (option::of(any::<bool>()), option::of(any::<u32>()));
    let item = (texts, option::of(target), rest).prop_map(
        |((account, sequence_id, key, reason), target, (dry_run, max_matches))| {
            EnrollmentCancellation {
                account,
                sequence_id,
                idempotency_key: key,
                target,
                reason,
                dry_run,
                max_matches,
            }
        },
    );
    (text(), vec(item, 0..4), any::<bool>(), window()).prop_map(
        |(key, items, dry_run, retry_window)| CancelEnrollmentsRequest {
            idempotency_key: key,
            cancellations: items,
            dry_run,
            retry_window,
            include_provider_response: true,
        },
    )
}

fn listing() -> impl Strategy<Value = ListCancellationsRequest> {
    let texts = (text(), text(), text(), text());
    let times = (option::of(time()), option::of(time()));
    let whose = (prop_oneof![Just(String::new()), text()], any::<bool>());
    let rest = (number(), whose);
    (any::<u32>(), texts, vec(number(), 0..4), times, rest).prop_map(
        |(page_size, (token, account, target, batch), outcomes, (after, before), rest)| {
            let (kind, (caller, all_callers)) = rest;
            ListCancellationsRequest {
                page_size: page_size % 1_500,
                page_token: token,
                account,
                target_id: target,
                batch_id: batch,
                outcomes,
                admitted_after: after,
                admitted_before: before,
                kind,
                include_provider_response: true,
                caller,
                all_callers,
            }
        },
    )
}

#[test]
fn any_subscriptions_get_a_typed_answer() {
    holds(1, 300, subscriptions(), async |gateway, request| {
        let sent = gateway.client.clone().cancel_subscription(request).await?;
        sent.into_inner().message().await.map(drop)
    });
}

#[test]
fn any_enrollments_get_a_typed_answer() {
    holds(2, 300, enrollments(), async |gateway, request| {
        let sent = gateway.client.clone().cancel_enrollments(request).await?;
        sent.into_inner().message().await.map(drop)
    });
}

#[test]
fn any_question_gets_a_typed_answer() {
    let questions = (listing(), number(), text());
    holds(3, 300, questions, async |gateway, (list, kind, text)| {
        let mut client = gateway.client.clone();
        let get = GetCancellationRequest {
            kind,
            idempotency_key: text.clone(),
            include_provider_response: true,
            ..Default::default()
        };
        let stop = StopBatchRequest { batch_id: text };
        let got = client.get_cancellation(get).await.map(drop);
        let stopped = client.stop_batch(stop).await.map(drop);
        let listed = client.list_cancellations(list).await.map(drop);
        let untyped = |status: &Status| {
            matches!(
                status.code(),
                Code::Internal | Code::Unknown | Code::Cancelled
            )
        };
        let statuses = [got, stopped, listed].into_iter().filter_map(Result::err);
        statuses.into_iter().find(untyped).map_or(Ok(()), Err)
    });
}

/// Sends and receives bytes as they are.
#[derive(Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

#[test]
fn any_bytes_get_an_answer_and_those_that_are_no_message_the_protocols_own() {
    let bytes = prop_oneof![
        vec(any::<u8>(), 0..200),
        (subscriptions(), any::<u8>(), any::<u16>()).prop_map(|(message, with, at)| {
            let mut bytes = message.encode_to_vec();
            if !bytes.is_empty() {
                let at = usize::from(at) % bytes.len();
                bytes[at] = with;
            }
            bytes
        }),
    ];
    holds(4, 300, bytes, async |gateway, bytes: Vec<u8>| {
        let channel = Endpoint::from_shared(gateway.url())
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut client = Grpc::new(channel);
        client.ready().await.unwrap();
        let is_message = CancelSubscriptionRequest::decode(bytes.as_slice()).is_ok();
        let path = "/cancelot.v1.CancellationService/CancelSubscription"
            .parse()
            .unwrap();
        let sent = client
            .server_streaming(Request::new(bytes), path, Raw)
            .await;
        match sent {
            // INTERNAL is what gRPC prescribes for a request that cannot be parsed.
            Err(status) if !is_message => {
                assert_eq!(status.code(), Code::Internal, "{status:?}");
                Ok(())
            }
            sent => sent.map(drop),
        }
    });
}
