//! The control handle as JSON over HTTP under `/_sandbox`, for a service in another process and for
//! people with curl.

use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Control, FaultRates, Provider, RateLimit, Scripted, Seed, SequenceSeed, Subscription, Variants,
    wire::{Received, Reply, decoded},
};

const INDEX: &str = "\
Cancelot's sandbox: a simulator of five provider APIs.

Base URLs on this port
  /rebilly                 /organizations/{org}/subscription-cancellations[/{id}]
                           /organizations/{org}/subscriptions/{id}
  /solidgate               /v2/subscriptions/cancel, /v2/subscriptions/get
  /funnelfox/public/v1     /subscriptions/{id}/cancel, /subscriptions/{id}
  /revolv3                 /api/Subscriptions/{id}/cancel, /api/Subscriptions/{id}
  /sequenzy/api/v1         /sequences/{id}/enrollments/cancel, /sequences/{id}/enrollments

Ids choose the state a subscription is born in
  scheduled, canceled, expired, paused, pending, unpaid, trialing, redemption; missing = none
  Revolv3: 1.. immediate, 100000000.. end of cycle, 200000000.. scheduled, 300000000.. cancelled,
           400000000.. recycling, 500000000.. expired, 600000000.. paused, 900000000.. missing
  FunnelFox also: paddle, paypal, solidgate, braintree (not cancellable), funnelfox, unknownpsp
  Sequenzy: a sequence like seq_drain_3522 has 3522 enrollments; 'missing' or 'canceled' in
            subscriber ids and field values

Credentials: anything, but 'invalid' in it = 401, 'forbidden' = 403 (Revolv3: 401)
  Solidgate 'multichannel' needs channel_id, Sequenzy 'multicompany' needs x-company-id

Kinds of faults, with what belongs to them
  throttle retry_after_ms   error_before, error_after status   reset_before, reset_after
  latency latency_ms   late_reply delay_ms   hold_before, hold_after (until released)
  late_effect effect_ms meanwhile: {\"is\":\"error\",\"status\":504}, {\"is\":\"reset\"} or
              {\"is\":\"accepted\"}: the answer comes at once, the effect so much later
  foreign_before, foreign_after answer: plain_http, firewall, proxy, page_missing, no_route, empty,
              redirect, blocked or maintenance: something in between answers
  busy status (409, 423: another request is in progress)   about_another (another id in the answer)
  slow_body over_ms   truncated_body   garbage_body   huge_body body_bytes   reply status headers body
  By chance also: looks_lag_ms (looks show an effect late), clock_skew_ms, no_date

Control
  GET    /_sandbox/{provider}                      counts
  GET    /_sandbox/{provider}/effects              what was done, by id
  GET    /_sandbox/{provider}/requests             the latest requests
  GET    /_sandbox/{provider}/subscriptions/{id}   one subscription
  PUT    /_sandbox/{provider}/subscriptions/{id}   {\"standing\":\"unpaid\"}
  GET    /_sandbox/sequenzy/sequences/{id}         its enrollments
  PUT    /_sandbox/sequenzy/sequences/{id}         {\"enrollments\":[{\"subscriber_id\":\"s\"}]}
  GET    /_sandbox/{provider}/faults               rates and script
  PUT    /_sandbox/{provider}/faults               {\"reset_after\":0.1,\"throttle\":0.2}
                                                   {\"looks_lag_ms\":500,\"clock_skew_ms\":-60000}
  POST   /_sandbox/{provider}/faults               {\"fault\":{\"kind\":\"reset_after\"}}
  DELETE /_sandbox/{provider}/faults               no more faults
  PUT    /_sandbox/{provider}/limit                {\"requests\":20,\"window_ms\":1000} or null
  POST   /_sandbox/{provider}/release              lets held requests go on
  GET    /_sandbox/variants                        how open questions are read
  PUT    /_sandbox/variants                        {\"rebilly\":{\"already\":\"conflict\"}}
  POST   /_sandbox/clock                           {\"advance_ms\":86400000}
  POST   /_sandbox/reset                           back to the start
";

pub(super) fn handle(control: &Control, request: &Received) -> Reply {
    let segments = request.segments();
    let method = &request.method;
    match segments.as_slice() {
        [""] | ["_sandbox"] | ["_sandbox", ""] => {
            Reply::text(StatusCode::OK, "text/plain; charset=utf-8", INDEX)
        }
        ["_sandbox", "variants"] => variants(control, request),
        ["_sandbox", "reset"] if method == Method::POST => {
            control.reset();
            done()
        }
        ["_sandbox", "clock"] if method == Method::POST => {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            match body.get("advance_ms").and_then(Value::as_i64) {
                Some(by_ms) => {
                    control.advance(by_ms);
                    done()
                }
                None => bad("advance_ms must be a number of milliseconds"),
            }
        }
        ["_sandbox", name, rest @ ..] => match Provider::named(name) {
            Some(provider) => of_provider(control, provider, rest, request),
            None => missing("no such provider; see /_sandbox"),
        },
        _ => missing("no provider has this base path; see /_sandbox"),
    }
}

fn variants(control: &Control, request: &Received) -> Reply {
    if request.method == Method::PUT {
        return with(request, |variants: Variants| control.set_variants(variants));
    }
    Reply::json(StatusCode::OK, &control.variants())
}

fn of_provider(control: &Control, of: Provider, rest: &[&str], request: &Received) -> Reply {
    let method = request.method.as_str();
    match (method, rest) {
        ("GET", []) => Reply::json(StatusCode::OK, &control.counts(of)),
        ("GET", ["effects"]) => Reply::json(StatusCode::OK, &control.tallies(of)),
        ("GET", ["requests"]) => Reply::json(StatusCode::OK, &control.requests(of)),
        ("GET", ["subscriptions", id]) => {
            let id = decoded(id);
            match control.subscription(of, &id) {
                Some(found) => {
                    let details = control.details(of, &id);
                    Reply::json(StatusCode::OK, &subscription(&found, &details))
                }
                None => missing("no such subscription"),
            }
        }
        ("PUT", ["subscriptions", id]) if of != Provider::Sequenzy => {
            with(request, |seed: Seed| {
                control.create(of, &decoded(id), &seed)
            })
        }
        ("GET", ["sequences", id]) if of == Provider::Sequenzy => {
            match control.sequence(&decoded(id)) {
                Some(found) => Reply::json(StatusCode::OK, &found),
                None => missing("no such sequence"),
            }
        }
        ("PUT", ["sequences", id]) if of == Provider::Sequenzy => {
            with(request, |seed: SequenceSeed| {
                control.create_sequence(&decoded(id), &seed)
            })
        }
        ("GET", ["faults"]) => {
            let body = json!({"rates": control.fault_rates(of), "script": control.scripted(of)});
            Reply::json(StatusCode::OK, &body)
        }
        ("PUT", ["faults"]) => with(request, |rates: FaultRates| {
            control.set_fault_rates(of, rates)
        }),
        ("POST", ["faults"]) => with(request, |fault: Scripted| control.script(of, fault)),
        ("DELETE", ["faults"]) => {
            control.clear_faults(of);
            done()
        }
        ("PUT", ["limit"]) => with(request, |limit: Option<RateLimit>| {
            control.set_rate_limit(of, limit)
        }),
        ("POST", ["release"]) => {
            control.release(of);
            done()
        }
        _ => missing("no such control; see /_sandbox"),
    }
}

fn subscription(of: &Subscription, details: &Value) -> Value {
    json!({
        "standing": of.standing,
        "created_at": of.created_at.to_string(),
        "period_ends_at": of.period_ends_at.to_string(),
        "requested_at": of.requested_at.map(|at| at.to_string()),
        "effective_at": of.effective_at.map(|at| at.to_string()),
        "note": of.note,
        "payment_provider": of.payment_provider,
        "cancel_type": of.cancel_type,
        "tally": of.tally,
        "details": details,
    })
}

/// Acts on the body, or explains why it cannot be parsed.
fn with<T: DeserializeOwned>(request: &Received, act: impl FnOnce(T)) -> Reply {
    match serde_json::from_slice(&request.body) {
        Ok(body) => {
            act(body);
            done()
        }
        Err(error) => bad(&error.to_string()),
    }
}

fn done() -> Reply {
    Reply::empty(StatusCode::NO_CONTENT)
}

fn bad(text: &str) -> Reply {
    Reply::json(StatusCode::BAD_REQUEST, &json!({"error": text}))
}

fn missing(text: &str) -> Reply {
    Reply::json(StatusCode::NOT_FOUND, &json!({"error": text}))
}
