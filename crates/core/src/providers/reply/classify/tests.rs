//! The classes of replies at each provider: its own, and those of everything that can be in
//! between.

mod denials;
mod strangers;

use std::sync::Arc;

use serde_json::{Value, json};

use self::strangers::OF_OTHERS;
use super::*;
use crate::{
    domain::{
        account::{Account, ProviderId},
        command::Command,
        http_exchange::{Fault, FaultKind, HttpMethod, Pace, Path, Seen},
        ids::{CallerId, Key, Scope},
    },
    providers::{EffectId, Facts, Mode, conformance, of},
};

struct Bench {
    account: Account,
    command: Command,
    effect_id: EffectId,
}

impl Bench {
    fn new(provider: ProviderId) -> Self {
        let account = conformance::account(provider, &Value::Null).unwrap();
        let name = &account.name;
        let command = match provider {
            ProviderId::Sequenzy => {
                json!({"enrollments": {"account": name, "sequence_id": "2232", "target": "all"}})
            }
            ProviderId::Revolv3 => json!({"subscription": {"account": name,
                "subscription_id": "2232", "when": "provider_default"}}),
            _ => json!({"subscription": {"account": name, "subscription_id": "2232",
                "when": "period_end"}}),
        };
        let command: Command = serde_json::from_value(command).unwrap();
        let (caller, kind) = (CallerId::anonymous(), command.kind());
        let key = Key::try_from("k").unwrap();
        let effect_id = EffectId::derive(&Scope { caller, kind }, &key, &command);
        Self {
            account,
            command,
            effect_id,
        }
    }

    fn task(&self, answered: bool) -> Task<'_> {
        Task {
            account: &self.account,
            command: &self.command,
            effect_id: &self.effect_id,
            mode: Mode::Cancel,
            doubt: None,
            facts: Facts {
                answered,
                ..Facts::default()
            },
        }
    }

    /// The class of a reply to a cancel or a lookup, at a place that has or has not been proved.
    fn class(&self, safety: Safety, answered: bool, reply: &Reply) -> Class {
        let provider = of(self.account.provider());
        provider.classify(&self.task(answered), &self.request(safety), reply)
    }

    fn request(&self, safety: Safety) -> Request {
        let operation = match (safety, self.account.provider()) {
            (Safety::Look, ProviderId::Sequenzy) => "count",
            (Safety::Look, _) => "look",
            (Safety::Once | Safety::Repeatable, _) => "cancel",
        };
        Request {
            operation: Operation(operation),
            safety,
            pace: Pace::AtOnce,
            method: HttpMethod::Post,
            path: Path::fixed("x"),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
        }
    }

    fn evidence(&self, safety: Safety, reply: Reply) -> Evidence {
        let exchange = Exchange {
            operation: Some(self.request(safety).operation),
            class: self.class(safety, true, &reply),
            reply,
            seen: Seen::default(),
        };
        of(self.account.provider()).evidence(&self.task(true), &exchange)
    }
}

fn answered(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let headers = headers.iter();
    let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Reply::Answered(Arc::new(Response::new(
        status,
        headers.collect(),
        body.to_owned(),
    )))
}

#[test]
fn what_stands_between_says_no_for_nobody() {
    for provider in ProviderId::ALL {
        let bench = Bench::new(provider);
        for (whose, status, body) in OF_OTHERS {
            let reply = answered(*status, &[("location", "https://elsewhere")], body);
            let told = format!("{provider:?}: {whose}");
            for safety in [Safety::Once, Safety::Look] {
                let class = bench.class(safety, false, &reply);
                assert_eq!(class, Class::Foreign, "{told}, {safety:?}");
                let evidence = bench.evidence(safety, reply.clone());
                assert_eq!(evidence, Evidence::default(), "{told}");
            }
            let effect = match status {
                301 | 307 | 308 | 407 | 421 => Class::Foreign,
                _ => Class::Lost,
            };
            assert_eq!(bench.class(Safety::Once, true, &reply), effect, "{told}");
            let look = bench.class(Safety::Look, true, &reply);
            assert_eq!(look, Class::Unreadable, "{told}");
        }
    }
}

#[test]
fn a_gateway_s_message_is_nobody_s_but_where_the_form_is_only_a_message() {
    let kong = r#"{"message":"no Route matched with those values"}"#;
    for provider in ProviderId::ALL {
        let bench = Bench::new(provider);
        let reply = answered(404, &[], kong);
        let is_form = of(provider).form().is_message_only();
        let expected = if is_form {
            Class::Refused
        } else {
            Class::Foreign
        };
        assert_eq!(
            bench.class(Safety::Once, false, &reply),
            expected,
            "{provider:?}"
        );
        assert!(!bench.evidence(Safety::Look, reply).proven, "{provider:?}");
    }
}

#[test]
fn lost_and_throttled_are_so_in_any_form() {
    let bodies = [
        "",
        "<html>",
        r#"{"message":"x","code":"X","error":"x","title":"x"}"#,
    ];
    for provider in ProviderId::ALL {
        let bench = Bench::new(provider);
        for (body, safety, known) in bodies.iter().flat_map(|body| {
            [Safety::Once, Safety::Repeatable, Safety::Look]
                .into_iter()
                .flat_map(move |safety| [(body, safety, false), (body, safety, true)])
        }) {
            for status in [
                408, 425, 500, 502, 503, 504, 520, 522, 524, 530, 599, 600, 999,
            ] {
                let class = bench.class(safety, known, &answered(status, &[], body));
                assert_eq!(class, Class::Lost, "{provider:?} {status} {body}");
            }
            let class = bench.class(safety, known, &answered(429, &[], body));
            assert_eq!(class, Class::Throttled, "{provider:?} {body}");
        }
        let fault = |kind| Fault {
            kind,
            message: "x".to_owned(),
        };
        let unsent = Reply::NotSent(fault(FaultKind::Connect));
        assert_eq!(bench.class(Safety::Once, true, &unsent), Class::Unsent);
        let lost = Reply::InDoubt(fault(FaultKind::Timeout));
        assert_eq!(bench.class(Safety::Once, true, &lost), Class::Lost);
    }
}

/// An error in the provider's own format.
fn error(provider: ProviderId, status: u16, code: &str) -> String {
    let body = match provider {
        ProviderId::Rebilly => json!({"status": status, "title": "No", "detail": "no"}),
        ProviderId::Solidgate => json!({"code": code, "message": "no"}),
        ProviderId::FunnelFox => json!({"message": "no"}),
        ProviderId::Revolv3 => json!({"message": null, "errors": ["no"]}),
        ProviderId::Sequenzy => json!({"error": "no"}),
    };
    body.to_string()
}

#[test]
fn a_no_of_the_provider_s_own_is_what_its_page_says() {
    use ProviderId::{FunnelFox, Rebilly, Revolv3, Sequenzy, Solidgate};
    for provider in ProviderId::ALL {
        let bench = Bench::new(provider);
        let check = |status, code, safety, expected| {
            let reply = answered(status, &[], &error(provider, status, code));
            for known in [false, true] {
                let class = bench.class(safety, known, &reply);
                assert_eq!(class, expected, "{provider:?} {status} {code}");
            }
            let evidence = bench.evidence(safety, reply);
            assert!(evidence.answered && !evidence.proven, "{provider:?}");
        };
        check(401, "UNAUTHENTICATED", Safety::Once, Class::Unauthenticated);
        check(403, "PERMISSION_DENIED", Safety::Look, Class::Forbidden);
        let documented: &[(u16, &str)] = match provider {
            Rebilly => &[(422, "")],
            Solidgate => &[
                (400, "VALIDATION"),
                (404, "NOT_FOUND"),
                (422, "INCOMPATIBLE_STATUS"),
                (422, "SCHEDULED_FOR_CANCELLATION"),
                (422, "IDEMPOTENCY_KEY_REUSED"),
            ],
            FunnelFox | Revolv3 | Sequenzy => &[(400, ""), (404, "")],
        };
        for (status, code) in documented {
            check(*status, code, Safety::Once, Class::Refused);
        }
        for status in [402, 405, 412, 415, 418, 428, 451] {
            check(status, "X", Safety::Once, Class::Undocumented);
        }
        for status in [409, 423] {
            check(status, "X", Safety::Once, Class::Busy);
        }
        if provider == Solidgate {
            check(422, "X", Safety::Once, Class::Undocumented);
            check(404, "ROUTE_NOT_FOUND", Safety::Look, Class::Undocumented);
        }
    }
}

/// A success that describes the target, with this id in place of the target's.
fn success(provider: ProviderId, safety: Safety, id: &Value) -> Value {
    match (provider, safety) {
        (ProviderId::Rebilly, Safety::Look) => json!({"id": id, "status": "active"}),
        (ProviderId::Rebilly, _) => json!({"subscriptionId": id, "status": "confirmed"}),
        (ProviderId::Solidgate, _) => json!({"id": id, "status": "ACTIVE"}),
        (ProviderId::FunnelFox, _) => json!({"id": id, "status": "active", "renews": true}),
        (ProviderId::Revolv3, Safety::Look) => {
            json!({"subscriptionId": id, "subscriptionStatusType": "Current"})
        }
        (ProviderId::Revolv3, _) => json!({"subscriptionId": id, "subscriptionStatus": "Current"}),
        (ProviderId::Sequenzy, _) => json!({"success": true, "sequenceId": id,
            "matchedCount": 1, "cancelledCount": 1}),
    }
}

#[test]
fn a_success_is_believed_about_this_target_alone() {
    for provider in ProviderId::ALL {
        let bench = Bench::new(provider);
        for safety in [Safety::Once, Safety::Look] {
            let other = match safety {
                Safety::Look => Class::Unreadable,
                _ => Class::Lost,
            };
            for (id, class, proven) in [
                (json!("2232"), Class::Accepted, true),
                (json!(2232), Class::Accepted, true),
                (Value::Null, Class::Accepted, false),
                (json!(""), Class::Accepted, false),
                (json!("2233"), other, false),
                (json!(2233), other, false),
                (json!(" 2232"), other, false),
            ] {
                let body = success(provider, safety, &id).to_string();
                let told = format!("{provider:?} {safety:?} {body}");
                let reply = answered(200, &[], &body);
                assert_eq!(bench.class(safety, true, &reply), class, "{told}");
                let evidence = bench.evidence(safety, reply);
                assert_eq!(evidence.proven, proven, "{told}");
                assert_eq!(evidence.answered, class == Class::Accepted, "{told}");
            }
        }
    }
}

#[test]
fn a_success_that_cannot_be_read_is_lost_to_a_cancel_and_tells_a_look_nothing() {
    for provider in ProviderId::ALL {
        let bench = Bench::new(provider);
        for body in [
            "<html>Please wait</html>",
            "{\"id\":",
            "[]",
            "[1]",
            "\"ok\"",
            "true",
            "7",
        ] {
            let reply = answered(200, &[], body);
            let told = format!("{provider:?} {body}");
            assert_eq!(
                bench.class(Safety::Once, true, &reply),
                Class::Lost,
                "{told}"
            );
            let look = bench.class(Safety::Look, true, &reply);
            assert_eq!(look, Class::Unreadable, "{told}");
        }
        for (status, body) in [(200, ""), (202, ""), (204, ""), (200, " \r\n")] {
            let reply = answered(status, &[], body);
            let class = bench.class(Safety::Once, true, &reply);
            assert_eq!(class, Class::Accepted, "{provider:?} {status}");
            let look = bench.class(Safety::Look, true, &reply);
            assert_eq!(look, Class::Unreadable, "{provider:?} {status}");
        }
    }
}

#[test]
fn what_a_cache_kept_counts_only_if_it_shows_the_goal() {
    let bench = Bench::new(ProviderId::Solidgate);
    let untouched = success(ProviderId::Solidgate, Safety::Look, &json!("2232"));
    let ended = json!({"id": "2232", "status": "CANCELLED"});
    for (age, body, class) in [
        ("0", &untouched, Class::Accepted),
        ("", &untouched, Class::Accepted),
        ("1", &untouched, Class::Unreadable),
        (" 30 ", &untouched, Class::Unreadable),
        ("10", &untouched, Class::Unreadable),
        ("30", &ended, Class::Accepted),
    ] {
        let reply = answered(200, &[("age", age)], &body.to_string());
        assert_eq!(
            bench.class(Safety::Look, true, &reply),
            class,
            "{age:?} {body}"
        );
    }
}
