//! A way in for the fuzzer: what happens to a message between the wire and the engine.

use prost::Message;

use super::{
    middleware::decoded_size,
    parse, proto,
    service::{authorization::AccessScope, record_query},
    status::Violations,
};
use crate::{domain::ids::CallerId, engine::Engine, identity::Caller};

/// Reads any bytes as each request message, weighs them first, and parses what is a message.
pub fn requests(bytes: &[u8], engine: &Engine) {
    let caller = CallerId::anonymous;
    let anonymous = Caller::anonymous();
    let told = |violations: Violations| violations.into_status();
    for shape in [
        &decoded_size::SUBSCRIPTIONS,
        &decoded_size::ENROLLMENTS,
        &decoded_size::PLAIN,
    ] {
        decoded_size::weigh(shape, bytes);
    }
    if let Some(request) = message::<proto::CancelSubscriptionRequest>(bytes) {
        let _ = parse::subscriptions(request, &anonymous, engine).map_err(told);
    }
    if let Some(request) = message::<proto::CancelEnrollmentsRequest>(bytes) {
        let _ = parse::enrollments(request, &anonymous, engine).map_err(told);
    }
    if let Some(request) = message::<proto::GetCancellationRequest>(bytes) {
        let _ = record_query::get(&request, caller()).map_err(told);
    }
    if let Some(request) = message::<proto::ListCancellationsRequest>(bytes) {
        let _ = record_query::list(&request, AccessScope::Of(caller()), None, engine.names())
            .map_err(told);
    }
    if let Some(request) = message::<proto::StopBatchRequest>(bytes) {
        let name = crate::domain::ids::BatchName::try_from(request.batch_id);
        let _ = name.map(|name| engine.names().batch(&name));
    }
}

fn message<M: Message + Default>(bytes: &[u8]) -> Option<M> {
    M::decode(bytes).ok()
}
