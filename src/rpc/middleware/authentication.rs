//! Authenticates and authorizes a call before anything of its body is received.

use std::{fmt, pin::Pin, sync::Arc};

use futures_util::future::{Either, select};
use http::{Request, Response, header::AUTHORIZATION, request::Parts};
use tonic::{Status, body::Body};

use super::{
    Grpc, Handler, answer_of, observe,
    rejection_log::{CallContext, RejectionLog},
    side_room::{Need, Visitor},
};
use crate::{
    audit::Sink,
    identity::{AuthError, Caller, Callers, Certificate, Credentials, JwtFault},
    rpc::status,
};

/// Fetches issuers' keys anew when a token names one that is not known.
pub trait KeySource: fmt::Debug + Send + Sync {
    /// Those of one issuer, or of all. Resolves when that has been tried, or is not to be tried
    /// again yet.
    fn refresh(&self, issuer: Option<&str>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Authentication of calls. Only authenticated and permitted calls reach the service behind it.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The configured callers.
    pub callers: Arc<Callers>,
    /// Refreshes unknown token keys; `None` if keys are fixed.
    pub keys: Option<Arc<dyn KeySource>>,
    /// Logs and audits rejected calls.
    pub refusals: RejectionLog,
    /// Audits reads of other callers' data.
    pub audit: Sink,
}

impl Access {
    /// Authenticates a call. If its token names an unknown key, once more after a refresh.
    async fn identify(&self, head: &Parts, call: &CallContext) -> Result<Arc<Caller>, Status> {
        let mut headers = head.headers.get_all(AUTHORIZATION).iter();
        let authorization = match (headers.next(), headers.next()) {
            (None, _) => None,
            (Some(only), None) => Some(only.to_str().map_err(|_| ())),
            // A second header may have been added by someone else, so neither is trusted.
            (Some(_), Some(_)) => Some(Err(())),
        };
        let proofs = Credentials {
            authorization,
            certificate: head.extensions.get::<Arc<Certificate>>().map(|c| &**c),
        };
        let (mut identified, mut shown) = self.callers.identify_shown(proofs);
        if let (Err(unproven), Some(keys)) = (&identified, &self.keys)
            && unproven.is_of_a_jwt()
        {
            // Whoever can write a token can bring this about.
            // They are told of too if there is no room for another look.
            call.shows(&shown);
            let stay = match head.extensions.get::<Arc<Visitor>>() {
                Some(visitor) => Some(visitor.enter(Need::Keys).ok_or_else(status::crowded)?),
                None => None,
            };
            // So the time that it takes tells a stranger neither which issuers there are nor
            // whether a key is known: whatever is wrong with a JWT, all keys are asked for at once.
            // Who is known as soon as its own issuer's are here waits for no other's.
            let all = keys.refresh(None);
            if let AuthError::Jwt(JwtFault::UnknownKey { issuer } | JwtFault::NoKeys { issuer }) =
                unproven
            {
                let own = select(keys.refresh(Some(issuer)), all).await;
                (identified, shown) = self.callers.identify_shown(proofs);
                if let (Either::Left(((), all)), true) = (own, identified.is_err()) {
                    all.await;
                }
            } else {
                all.await;
            }
            drop(stay);
        }
        call.shows(&shown);
        identified.map_err(|unproven| status::unproven(&unproven, self.callers.lacks_keys()))
    }

    /// Admits a call that its caller may make, and adds the caller to its extensions.
    async fn let_in(&self, head: &mut Parts, call: &Arc<CallContext>) -> Result<(), Status> {
        let identified = self.identify(head, call).await;
        observe::begin_span(head, identified.is_ok());
        let caller = identified?;
        if let Some(visitor) = head.extensions.get::<Arc<Visitor>>() {
            visitor.is_now_known();
        }
        let caller = call.caller.get_or_init(|| caller);
        // Unknown methods pass: the service answers UNIMPLEMENTED once the caller is authenticated.
        if let Some(method) = call.method
            && !caller.policy.allows_method(method)
        {
            return Err(status::method_not_allowed(caller, method));
        }
        head.extensions.insert(Arc::clone(caller));
        head.extensions.insert(Arc::clone(call));
        Ok(())
    }
}

impl Handler for Access {
    async fn answer(self, request: Request<Body>, service: impl Grpc) -> Response<Body> {
        let call = CallContext::by(&request).told_to(self.audit.clone());
        let call = Arc::new(call.among(Arc::clone(&self.callers)));
        let (mut head, body) = request.into_parts();
        let answer = match self.let_in(&mut head, &call).await {
            Ok(()) => answer_of(service, Request::from_parts(head, body)).await,
            Err(status) => status.into_http(),
        };
        self.refusals.look(&call, &answer);
        answer
    }
}
