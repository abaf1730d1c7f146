//! Random items, histories and replies, put together from the providers' own words.

use std::sync::Arc;

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop},
    prop_oneof,
    sample::select,
};
use serde_json::{Value, json};

use crate::{
    domain::{
        account::{Account, ProviderId},
        command::Command,
        doubt::{Doubt, Moment},
        http_exchange::{Class, Exchange, Fault, FaultKind, Operation, Reply, Response, Seen},
        ids::{CallerId, Key, Scope},
    },
    providers::{EffectId, Facts, Mode, Provider, Task, conformance, of},
};

/// A random item.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) account: Account,
    command: Command,
    effect_id: EffectId,
    pub(super) mode: Mode,
    pub(super) doubt: Option<Doubt>,
    facts: Facts,
}

impl Item {
    pub(super) fn task(&self) -> Task<'_> {
        Task {
            account: &self.account,
            command: &self.command,
            effect_id: &self.effect_id,
            mode: self.mode,
            doubt: self.doubt.as_ref(),
            facts: self.facts,
        }
    }

    pub(super) fn provider(&self) -> &'static dyn Provider {
        of(self.account.provider())
    }
}

pub(super) fn item() -> impl Strategy<Value = Item> {
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
    let known = (doubt(), facts());
    (provider, times, targets, mode, odd, any::<bool>(), known).prop_map(
        |(provider, when, target, mode, full, set_timing, (doubt, facts))| {
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
                doubt,
                facts,
            }
        },
    )
}

fn doubt() -> impl Strategy<Value = Option<Doubt>> {
    let parts = (any::<bool>(), any::<bool>(), 0_u32..5);
    let doubt = parts.prop_map(|(may_act, accepted, looks)| {
        Some(Doubt {
            earliest: None,
            latest: Moment::wall(jiff::Timestamp::UNIX_EPOCH),
            settle_ms: None,
            may_act,
            accepted,
            looks,
            place: None,
            place_answered: true,
        })
    });
    prop_oneof![3 => Just(None), 1 => doubt]
}

fn facts() -> impl Strategy<Value = Facts> {
    let parts = (any::<bool>(), any::<bool>(), any::<bool>());
    parts.prop_map(|(answered, proven, target_known)| Facts {
        answered,
        proven,
        target_known,
    })
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

/// A random reply, including ones that no provider sends.
pub(super) fn exchange() -> impl Strategy<Value = Exchange> {
    let classes = select(vec![
        Class::Accepted,
        Class::Refused,
        Class::Undocumented,
        Class::Busy,
        Class::Unauthenticated,
        Class::Forbidden,
        Class::Throttled,
        Class::Lost,
        Class::Unreadable,
        Class::Foreign,
        Class::Unsent,
    ]);
    let parts = (operation(), reply(), classes, any::<bool>());
    parts.prop_map(|(operation, reply, class, believed)| Exchange {
        operation,
        reply,
        class,
        seen: Seen {
            believed,
            ..Seen::default()
        },
    })
}

pub(super) fn fault(kind: FaultKind) -> Fault {
    let message = format!("{kind:?}");
    Fault { kind, message }
}

pub(super) fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        8 => response().prop_map(|response| Reply::Answered(Arc::new(response))),
        2 => Just(Reply::InDoubt(fault(FaultKind::Timeout))),
        1 => Just(Reply::NotSent(fault(FaultKind::WindowEnded))),
    ]
}

pub(super) fn response() -> impl Strategy<Value = Response> {
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

/// Random JSON from the providers' own words.
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
