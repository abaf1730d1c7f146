//! The network between egress and the providers: requests and replies that are lost, late, twice
//! or garbled, providers that are away, throttle or fail. The providers are the sandbox's own
//! state machines, called as functions.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::sleep;
use tower::Service;

use super::{fate::Fate, plan::TIMEOUT, watch::Sighting, wire::read, world::World};
use crate::{
    domain::exchange::{Fault, FaultKind, Request, Response},
    egress::Unanswered,
    sandbox::Provider,
};

/// The way to one account.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) world: Arc<World>,
    pub(super) account: usize,
}

/// Tells when a request is over for the service, also if that drops it.
struct Under(Arc<World>, Sighting);

impl Drop for Under {
    fn drop(&mut self) {
        self.0.state().request_ends(&self.1);
    }
}

impl Network {
    async fn exchange(self, request: Request) -> Result<Response, Unanswered> {
        let world = &self.world;
        world.step().await;
        let seen = Sighting::of(&world.plan, self.account, &request);
        let (fate, there, back) = {
            let mut state = world.state();
            let fate = state.fate(world, &seen);
            let (there, back) = (state.latency(), state.latency());
            state.met(fate.name());
            state.trace(format_args!(
                "send {} {:?} {} {:?} -> {fate:?}",
                world.plan.accounts[self.account].account.name,
                request.method,
                request.path.as_str(),
                seen.tag
            ));
            state.request_starts(&world.plan, &seen, &request);
            if fate.is_doubt() {
                state.doubted(&world.plan, &seen);
            }
            let is_retry = state.is_retry(&world.plan, &seen);
            if is_retry {
                state.met("a retry");
            }
            // Its fate is its end.
            state.came_to(&world.plan, &seen, is_retry, fate.is_failure());
            (fate, there, back)
        };
        let path = request.path.as_str().to_owned();
        let operation = request.operation.0;
        let under = Under(Arc::clone(world), seen.clone());
        sleep(there).await;
        let result = self.meet(fate, request, &seen).await;
        if !matches!(fate, Fate::Refused) {
            sleep(back).await;
        }
        world.step().await;
        let mut state = world.state();
        if let Ok(response) = &result {
            state.watch.answered(&seen, response);
        }
        match &result {
            // That a cancel type is set says nothing of a cancel.
            Ok(_) if matches!(fate, Fate::Clean | Fate::Twice) && operation != "set_timing" => {
                let now = state.now();
                state.clear(&world.plan, &seen, &path, now);
            }
            Ok(response) if response.status == 429 => {
                if let Fate::Throttled(seconds) = fate {
                    state.told_to_wait(&world.plan, self.account, response, seconds);
                }
            }
            _ => {}
        }
        drop(state);
        drop(under);
        result
    }

    /// Lets a request meet its fate.
    async fn meet(
        &self,
        fate: Fate,
        request: Request,
        seen: &Sighting,
    ) -> Result<Response, Unanswered> {
        let world = &self.world;
        let never = || async { std::future::pending::<Result<Response, Unanswered>>().await };
        let arrives = |request: &Request| world.deliver(self.account, request, seen, false);
        let broken = |message: &str| {
            Err(Unanswered::InDoubt(Fault {
                kind: FaultKind::Broken,
                message: message.to_owned(),
            }))
        };
        match fate {
            Fate::Clean => Ok(arrives(&request)),
            Fate::Refused => Err(Unanswered::NotSent(Fault {
                kind: FaultKind::Connect,
                message: "connection refused".to_owned(),
            })),
            Fate::RequestLost => never().await,
            Fate::ReplyLost => {
                arrives(&request);
                never().await
            }
            Fate::ReplyLate => {
                let response = arrives(&request);
                sleep(TIMEOUT + Duration::from_secs(1)).await;
                Ok(response)
            }
            Fate::RequestLate => {
                world.straggles(self.account, request, TIMEOUT);
                never().await
            }
            Fate::Twice => {
                let response = arrives(&request);
                world.straggles(self.account, request, Duration::ZERO);
                Ok(response)
            }
            Fate::ResetBefore => broken("reset"),
            Fate::ResetAfter | Fate::Truncated => {
                arrives(&request);
                broken("reset")
            }
            Fate::ErrorBefore(status) => Ok(self.error(status)),
            Fate::ErrorAfter(status) => {
                arrives(&request);
                Ok(self.error(status))
            }
            Fate::Throttled(seconds) => Ok(self.throttled(seconds)),
            Fate::Unready => Ok(Response::new(408, Vec::new(), String::new())),
            Fate::Garbage => {
                arrives(&request);
                Ok(self.odd(seen, "<html><h1>It works!</h1></html>"))
            }
            Fate::WrongBody => {
                arrives(&request);
                let bodies = ["{}", "[]", "null", r#"{"status":17}"#];
                let body = bodies[world.state().rng.usize(0..bodies.len())];
                Ok(self.odd(seen, body))
            }
        }
    }

    fn provider(&self) -> Provider {
        self.world.plan.accounts[self.account].provider
    }

    fn error(&self, status: u16) -> Response {
        read(&self.world.providers.error(self.provider(), status))
    }

    fn throttled(&self, seconds: u64) -> Response {
        let world = &self.world;
        world.set_providers_clock(&mut world.state());
        let wait = Duration::from_secs(seconds);
        read(&world.providers.throttled(self.provider(), wait))
    }

    /// A success that is none of the provider's.
    fn odd(&self, seen: &Sighting, body: &str) -> Response {
        if let Some(target) = seen.target {
            self.world.state().watch.was_odd.insert(target, true);
        }
        Response::new(200, Vec::new(), body.to_owned())
    }
}

impl Service<Request> for Network {
    type Response = Response;
    type Error = Unanswered;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Unanswered>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unanswered>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(self.clone().exchange(request))
    }
}
