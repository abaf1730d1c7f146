//! The replies of a provider that accepts a request and executes it later: its 2xx, with the target
//! unchanged.

use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use serde_json::{Map, Value, json};

use super::{
    Provider,
    answers::carry_out,
    state::shift,
    wire::{Received, Reply, Stamp},
    world::World,
};

/// The reply to a request with an effect; `None` to any other, and to one that would be rejected.
pub(super) fn accepted(world: &World, to: Provider, received: &Received) -> Option<Reply> {
    let path = received.path();
    match to {
        Provider::Solidgate => {
            let look = path.strip_suffix("/cancel")?;
            shown(world, to, received, Method::POST, &format!("{look}/get"))
        }
        Provider::FunnelFox => shown(
            world,
            to,
            received,
            Method::GET,
            path.strip_suffix("/cancel")?,
        ),
        Provider::Revolv3 if received.method == Method::PATCH => {
            shown(world, to, received, Method::GET, path)
        }
        Provider::Revolv3 => {
            let look = path.strip_suffix("/cancel")?;
            let mut reply = shown(world, to, received, Method::GET, look)?;
            let of: Value = serde_json::from_slice(&reply.body).ok()?;
            let body = json!({
                "subscriptionId": of.get("subscriptionId"),
                "customerId": of.get("customerId"),
                "subscriptionStatus": of.get("subscriptionStatusType"),
            });
            reply.body = Reply::json(StatusCode::OK, &body).body;
            Some(reply)
        }
        Provider::Rebilly => confirmed(world, received),
        Provider::Sequenzy => counted(world, received),
    }
}

/// What a lookup shows, if it finds the target.
fn shown(world: &World, to: Provider, of: &Received, method: Method, path: &str) -> Option<Reply> {
    let body = match method {
        Method::GET => Bytes::new(),
        _ => of.body.clone(),
    };
    let reply = carry_out(world, to, &rewritten(of, to, method, path, body)?, None);
    let found: Value = serde_json::from_slice(&reply.body).ok()?;
    (reply.status.is_success() && runs(&found)).then_some(reply)
}

/// Whether a cancel would be accepted, as far as a lookup shows.
fn runs(found: &Value) -> bool {
    let status = found
        .get("status")
        .or_else(|| found.get("subscriptionStatusType"));
    let status = status.and_then(Value::as_str).unwrap_or_default();
    let is_running = [
        "active",
        "trialing",
        "paused",
        "unpaid",
        "redemption",
        "current",
        "recycle",
    ]
    .iter()
    .any(|word| word.eq_ignore_ascii_case(status));
    is_running
        && found.get("cancellation_info").is_none()
        && found.get("renews") != Some(&Value::Bool(false))
        && found
            .get("payment_provider")
            .is_none_or(|name| name != "braintree")
}

/// A confirmed Rebilly cancellation that does not show in its subscription yet.
fn confirmed(world: &World, received: &Received) -> Option<Reply> {
    let path = received.path();
    let (before, id) = path.split_once("/subscription-cancellations/")?;
    let mut body: Map<String, Value> = serde_json::from_slice(&received.body).ok()?;
    let is_put = received.method == Method::PUT;
    if !is_put
        || body
            .get("status")
            .is_some_and(|status| status != "confirmed")
    {
        return None;
    }
    let subscription = body.get("subscriptionId")?.as_str()?.to_owned();
    let look = format!("{before}/subscriptions/{subscription}");
    let order = shown(world, Provider::Rebilly, received, Method::GET, &look)?;
    let order: Value = serde_json::from_slice(&order.body).ok()?;
    if order.get("status")? != "active" {
        return None;
    }
    let now = world.now_at(Provider::Rebilly);
    let churn = match body.get("churnTimePolicy").and_then(Value::as_str) {
        Some("at-next-renewal") => order.get("renewalTime").cloned(),
        _ => body.get("churnTime").cloned(),
    };
    // An immediate cancellation takes effect as soon as it is executed.
    let soon = json!(Stamp::<0>(shift(now, jiff::SignedDuration::from_secs(1))));
    body.insert("id".to_owned(), json!(id));
    body.insert("status".to_owned(), json!("confirmed"));
    body.insert("churnTime".to_owned(), churn.unwrap_or(soon));
    body.insert("canceledTime".to_owned(), Value::Null);
    for time in ["createdTime", "updatedTime"] {
        body.insert(time.to_owned(), json!(Stamp::<0>(now)));
    }
    Some(Reply::json(StatusCode::CREATED, &body))
}

/// A Sequenzy cancel that has matched and not cancelled yet.
fn counted(world: &World, received: &Received) -> Option<Reply> {
    let path = received.path().to_owned();
    path.strip_suffix("/cancel")?;
    let mut body: Map<String, Value> = serde_json::from_slice(&received.body).ok()?;
    if body.get("dryRun") != Some(&Value::Bool(false)) {
        return None;
    }
    body.insert("dryRun".to_owned(), Value::Bool(true));
    let counting = serde_json::to_vec(&body).ok()?.into();
    let to = Provider::Sequenzy;
    let counting = rewritten(received, to, Method::POST, &path, counting)?;
    let mut reply = carry_out(world, to, &counting, None);
    let mut counts: Map<String, Value> = serde_json::from_slice(&reply.body).ok()?;
    if !reply.status.is_success() {
        return None;
    }
    counts.insert("dryRun".to_owned(), Value::Bool(false));
    counts.insert(
        "message".to_owned(),
        json!("The sequence enrollments are being cancelled."),
    );
    reply.body = Reply::json(StatusCode::OK, &counts).body;
    Some(reply)
}

/// The same client's request for another resource.
fn rewritten(
    of: &Received,
    to: Provider,
    method: Method,
    path: &str,
    body: Bytes,
) -> Option<Received> {
    let uri: Uri = format!("{}{path}", to.base_path()).parse().ok()?;
    Some(Received {
        method,
        uri,
        headers: of.headers.clone(),
        body,
        base_len: of.base_len,
    })
}
