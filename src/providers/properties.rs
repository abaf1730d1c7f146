//! What holds for every provider, whatever comes back: a step for any history, an end within the
//! bound, a look before anything is sent again that must not be sent twice, and nothing but looks
//! and drafts in a dry run.

use std::sync::Arc;

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop},
    prop_assert, prop_assert_eq, prop_oneof,
    sample::select,
    test_runner::{
        Config, RngAlgorithm, TestCaseError, TestCaseResult, TestError, TestRng, TestRunner,
    },
};
use serde_json::{Value, json};

use super::{EffectId, Mode, Provider, Step, Task, conformance, of};
use crate::{
    domain::{
        account::{Account, ProviderId},
        command::Command,
        exchange::{Exchange, Fault, FaultKind, Operation, Reply, Response, Safety},
        ids::{CallerId, Key, Scope},
        outcome::{Conclusion, Outcome},
    },
    limits,
};

/// One item, wherever and however.
#[derive(Debug, Clone)]
struct Item {
    account: Account,
    command: Command,
    effect_id: EffectId,
    mode: Mode,
}

impl Item {
    fn task(&self) -> Task<'_> {
        Task {
            account: &self.account,
            command: &self.command,
            effect_id: &self.effect_id,
            mode: self.mode,
        }
    }

    fn provider(&self) -> &'static dyn Provider {
        of(self.account.provider())
    }
}

#[test]
fn any_history_gives_a_step() {
    let histories = vec((operation(), reply()), 0..12);
    holds(1, 3_000, (item(), histories), |(item, history)| {
        let exchanges: Vec<_> = history.into_iter().map(exchange).collect();
        if let Step::Done(conclusion) = item.provider().next(&item.task(), &exchanges) {
            sound(&conclusion)?;
        }
        let _ = item.provider().progress(&item.task(), &exchanges);
        Ok(())
    });
}

#[test]
fn a_history_of_the_greatest_length_is_the_end() {
    let histories = vec((operation(), reply()), 1..4);
    holds(2, 60, (item(), histories), |(item, part)| {
        let part: Vec<_> = part.into_iter().map(exchange).collect();
        let whole: Vec<_> = part
            .into_iter()
            .cycle()
            .take(limits::EXCHANGES_MAX)
            .collect();
        match item.provider().next(&item.task(), &whole) {
            Step::Done(conclusion) => sound(&conclusion),
            Step::Send(request) => Err(TestCaseError::fail(format!("sends {request:?}"))),
        }
    });
}

#[test]
fn every_conversation_ends_and_sends_nothing_it_must_not() {
    let replies = vec(reply(), 1..8);
    let inputs = (item(), any::<bool>(), replies);
    holds(3, 2_000, inputs, |(item, restarted, replies)| {
        let mut history = Vec::new();
        // What is admitted can be interrupted; a dry run is not admitted.
        if restarted && item.mode == Mode::Cancel {
            history.push(Exchange::recovered());
        }
        let mut sent = None;
        let mut replies = replies.into_iter().cycle();
        loop {
            let step = item.provider().next(&item.task(), &history);
            let doubtful = history
                .last()
                .is_some_and(|last: &Exchange| matches!(last.reply, Reply::InDoubt(_)));
            match step {
                Step::Done(conclusion) => {
                    if doubtful && sent.is_some_and(|sent| sent != Safety::Look) {
                        let told = conclusion.outcome == Outcome::InDoubt;
                        prop_assert!(told || item.mode == Mode::DryRun, "{conclusion:?}");
                    }
                    return sound(&conclusion);
                }
                Step::Send(request) => {
                    prop_assert!(history.len() < limits::EXCHANGES_MAX);
                    prop_assert!(request.path.as_str().starts_with('/'));
                    let again = request.safety == Safety::Once;
                    let settled = request.safety == Safety::Look || !doubtful;
                    prop_assert!(settled || !again, "{request:?} right after doubt");
                    let dry = item.mode == Mode::DryRun;
                    prop_assert!(!dry || request.operation.0 != "cancel", "{request:?}");
                    sent = Some(request.safety);
                    let operation = Some(request.operation);
                    let reply = replies.next().unwrap();
                    history.push(Exchange { operation, reply });
                }
            }
        }
    });
}

#[test]
fn what_was_never_sent_never_reached_anyone() {
    holds(4, 300, item(), |item| {
        let Step::Send(first) = item.provider().next(&item.task(), &[]) else {
            return Ok(());
        };
        let unsent = Exchange {
            operation: Some(first.operation),
            reply: Reply::NotSent(fault(FaultKind::Connect)),
        };
        let Step::Done(conclusion) = item.provider().next(&item.task(), &[unsent]) else {
            return Err(TestCaseError::fail("it goes on"));
        };
        prop_assert_eq!(conclusion.outcome, Outcome::Unavailable);
        let failure = conclusion.failure.unwrap();
        prop_assert_eq!(failure.reached, crate::domain::outcome::Reached::No);
        Ok(())
    });
}

#[test]
fn throttling_is_read_from_any_response() {
    let inputs = (select(ProviderId::ALL.to_vec()), response());
    holds(5, 3_000, inputs, |(provider, response)| {
        let _ = of(provider).throttle(&response);
        Ok(())
    });
}

/// What is true of every conclusion.
fn sound(conclusion: &Conclusion) -> TestCaseResult {
    let fails = conclusion.failure.is_some();
    prop_assert_eq!(fails, !conclusion.outcome.is_success(), "{:?}", conclusion);
    prop_assert!(!matches!(conclusion.outcome, Outcome::Stopped));
    let previewed = conclusion.outcome == Outcome::Previewed;
    prop_assert_eq!(previewed, conclusion.preview.is_some());
    if matches!(
        conclusion.outcome,
        Outcome::AlreadyCanceled | Outcome::AlreadyScheduled
    ) {
        prop_assert!(!conclusion.confirmed_by_lookup);
    }
    if let Some(failure) = &conclusion.failure {
        prop_assert!(!failure.message.is_empty());
        let said = failure.provider.as_ref().and_then(|p| p.message.as_ref());
        let chars = said.map_or(0, |said| said.chars().count());
        prop_assert!(chars <= limits::MESSAGE_CHARS_MAX);
    }
    let stored = serde_json::to_string(conclusion).unwrap();
    let read: Conclusion = serde_json::from_str(&stored).unwrap();
    prop_assert_eq!(&read, conclusion, "the journal keeps it");
    Ok(())
}

/// Runs a property with a seed of its own, which is printed if it fails.
#[track_caller]
fn holds<S: Strategy>(
    seed: u8,
    cases: u32,
    strategy: S,
    property: impl Fn(S::Value) -> TestCaseResult,
) where
    S::Value: std::fmt::Debug,
{
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    match runner.run(&strategy, property) {
        Ok(()) => {}
        Err(TestError::Fail(reason, input)) => panic!("seed {seed}: {reason}\n{input:#?}"),
        Err(TestError::Abort(reason)) => panic!("seed {seed}: {reason}"),
    }
}

fn item() -> impl Strategy<Value = Item> {
    let times = select(vec![
        json!("now"),
        json!("period_end"),
        json!({"at": "2027-01-31T12:00:00Z"}),
        json!("provider_default"),
    ]);
    let targets = select(vec![
        json!("all"),
        json!({"subscriber": "sub_1"}),
        json!({"subscribers": ["sub_1", "sub_2"]}),
        json!({"field": {"path": "order.id", "values": ["ord_1"]}}),
    ]);
    let mode = select(vec![Mode::Cancel, Mode::DryRun]);
    let provider = select(ProviderId::ALL.to_vec());
    let odd = any::<bool>();
    (provider, times, targets, mode, odd, any::<bool>()).prop_map(
        |(provider, when, target, mode, full, set_timing)| {
            let settings = match provider {
                ProviderId::Revolv3 => json!({"set_timing": set_timing}),
                ProviderId::FunnelFox if set_timing => json!({"cancel_ends": "now"}),
                _ => Value::Null,
            };
            let account = conformance::account(provider, &settings).unwrap();
            let mut command = match provider {
                ProviderId::Sequenzy => json!({"enrollments": {
                    "account": account.name, "sequence_id": "seq_1", "target": target,
                }}),
                _ => json!({"subscription": {
                    "account": account.name, "subscription_id": "2232", "when": when,
                }}),
            };
            let inner = command
                .as_object_mut()
                .unwrap()
                .values_mut()
                .next()
                .unwrap();
            if full && provider == ProviderId::Sequenzy {
                inner["matches_max"] = json!(3);
                inner["reason"] = json!("Cutover");
            } else if full {
                inner["reason"] = json!("other");
                inner["comment"] = json!("said so");
                inner["initiated_by"] = json!("customer");
            }
            let command: Command = serde_json::from_value(command).unwrap();
            let scope = Scope {
                caller: CallerId::anonymous(),
                kind: command.kind(),
            };
            let effect_id = EffectId::derive(&scope, &Key::try_from("k").unwrap(), &command);
            Item {
                account,
                command,
                effect_id,
                mode,
            }
        },
    )
}

fn operation() -> impl Strategy<Value = Option<Operation>> {
    let names = [
        "cancel",
        "look",
        "look_cancellation",
        "draft",
        "discard",
        "count",
        "set_timing",
        "unheard-of",
    ];
    let known = select(names.to_vec()).prop_map(|name| Some(Operation(name)));
    prop_oneof![9 => known, 1 => Just(None)]
}

fn exchange((operation, reply): (Option<Operation>, Reply)) -> Exchange {
    Exchange { operation, reply }
}

fn fault(kind: FaultKind) -> Fault {
    let message = format!("{kind:?}");
    Fault { kind, message }
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        8 => response().prop_map(|response| Reply::Answered(Arc::new(response))),
        2 => Just(Reply::InDoubt(fault(FaultKind::Timeout))),
        1 => Just(Reply::NotSent(fault(FaultKind::WindowEnded))),
    ]
}

fn response() -> impl Strategy<Value = Response> {
    let statuses = vec![
        201, 204, 302, 400, 401, 403, 404, 408, 409, 410, 422, 425, 429, 500, 503,
    ];
    let status = prop_oneof![6 => Just(200_u16), 6 => select(statuses), 1 => any::<u16>()];
    let text = prop_oneof![
        8 => body().prop_map(|body| body.to_string()),
        1 => any::<String>(),
        1 => vec(any::<u8>(), 0..40).prop_map(|b| String::from_utf8_lossy(&b).into_owned()),
    ];
    let name = select(vec![
        "retry-after",
        "retry-after-ms",
        "x-ratelimit-retry-after",
        "idempotency-status",
    ]);
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        "[ -~]{0,12}",
    ];
    let header = (name.prop_map(str::to_owned), value);
    (status, vec(header, 0..3), text)
        .prop_map(|(status, headers, text)| Response::new(status, headers, text))
}

/// JSON out of the providers' own words, put together in any way.
fn body() -> impl Strategy<Value = Value> {
    let words = select(
        "draft confirmed completed revoked pending active paused canceled churned voided \
         cancelled expired unpaid trialing created ACTIVE CANCELLED EXPIRED TRIALING REDEMPTION \
         UNPAID VALIDATION NOT_FOUND INCOMPATIBLE_STATUS SCHEDULED_FOR_CANCELLATION RATE_LIMIT \
         Cancelled PendingCancellation Current Recycle Immediate EndOfCycle about:blank \
         2026-11-21T08:00:00Z 2026-06-22T12:01:14.7032171Z 08-Oct-25 sub_1 tok_1"
            .split_ascii_whitespace()
            .collect::<Vec<_>>(),
    );
    let leaf = prop_oneof![
        6 => words.prop_map(|word| json!(word)),
        1 => Just(Value::Null),
        2 => any::<bool>().prop_map(|flag| json!(flag)),
        3 => (0_u32..3).prop_map(|count| json!(count)),
        1 => any::<f64>().prop_map(|number| json!(number)),
        1 => any::<String>().prop_map(|text| json!(text)),
    ];
    let names = "id status churnTime canceledTime renewalTime lineItemSubtotal amount currency \
        type title detail invalidFields field message success dryRun matchedCount cancelledCount \
        remainingCount enrollments tokenId hasMore target notFoundSubscriberIds error code \
        details description period_ends_at cancelled_at renews sandbox cancellation_info \
        cancel_at requested_at reason period end_at context constraints next_try_at \
        subscriptionId subscriptionStatus subscriptionStatusType subscriptionCancelType \
        cancelledAt nextBillDate errors fluentValidatorErrors propertyName errorMessage";
    let names: Vec<_> = names.split_ascii_whitespace().collect();
    let likely = (
        select(vec![
            "status",
            "subscriptionStatus",
            "subscriptionStatusType",
        ]),
        leaf.clone(),
    );
    let any_tree = leaf.prop_recursive(3, 24, 6, move |inner| {
        let member = (select(names.clone()), inner.clone());
        prop_oneof![
            1 => vec(inner, 0..4).prop_map(Value::Array),
            5 => vec(member, 0..10).prop_map(|members| {
                let owned = members.into_iter().map(|(name, value)| (name.to_owned(), value));
                Value::Object(owned.collect())
            }),
        ]
    });
    let counts = (
        0_u64..5,
        0_u64..5,
        prop::option::of(0_u64..5),
        any::<bool>(),
    )
        .prop_map(|(matched, canceled, remaining, dry)| {
            json!({"success": true, "dryRun": dry, "matchedCount": matched,
                "cancelledCount": canceled, "remainingCount": remaining})
        });
    let with_status = (any_tree.clone(), likely).prop_map(|(mut tree, (name, value))| {
        if let Some(members) = tree.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
        tree
    });
    prop_oneof![2 => any_tree, 3 => with_status, 2 => counts]
}
