//! The network between egress and the providers: lost, late, duplicated and garbled requests and
//! replies, and providers that are down, throttle or fail. The providers are the sandbox's own
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

use super::{
    World,
    arrival::Late,
    wire::{http_request, read},
};
use crate::{
    domain::http_exchange::{Fault, FaultKind, Request, Response, Safety},
    egress::SendError,
    sandbox::{Control, Foreign, Provider, Standing},
    simulation::{
        oracle::watch::Sighting,
        plan::{TIMEOUT, conditions::believed_at, fate::Fate},
    },
};

/// The connection to one account.
#[derive(Clone)]
pub(in crate::simulation) struct Network {
    pub(in crate::simulation) world: Arc<World>,
    pub(in crate::simulation) account: usize,
}

/// Records when a request is over for the service, also if the service drops it. What was under way
/// then still arrives.
struct Under {
    world: Arc<World>,
    seen: Sighting,
    on_its_way: Option<(Request, Duration)>,
}

impl Drop for Under {
    fn drop(&mut self) {
        if let Some((request, at)) = self.on_its_way.take() {
            self.world
                .state()
                .met("a request arrives without its sender");
            self.world.straggles(&self.seen, request, at, Late::Given);
        }
        self.world.state().request_ends(&self.seen);
    }
}

impl Network {
    #[expect(
        clippy::too_many_lines,
        reason = "one request, from its sender and back"
    )]
    async fn exchange(self, request: Request) -> Result<Response, SendError> {
        let world = &self.world;
        world.step().await;
        let seen = Sighting::of(&world.plan, self.account, &request);
        let elsewhere = world.is_elsewhere(self.account);
        let (fate, there, back, sent, given_up) = {
            let mut state = world.state();
            let fate = match elsewhere {
                true => Fate::Foreign(Foreign::PlainHttp, false),
                false => state.fate(world, &seen),
            };
            let (there, back) = (state.latency(), state.latency());
            state.met(if elsewhere {
                "a wrong address"
            } else {
                fate.name()
            });
            state.trace(format_args!(
                "send {} {:?} {} {:?} {:?} -> {fate:?}",
                world.plan.accounts[self.account].account.name,
                request.method,
                request.path.as_str(),
                seen.tag,
                seen.target
                    .map(|target| world.plan.targets[target].id.as_str())
            ));
            state.request_starts(world, &seen, &request);
            let sent = state.now();
            let given_up = sent
                + if fate.times_out() {
                    TIMEOUT
                } else {
                    there + back
                };
            let is_retry = state.is_retry(&world.plan, &seen);
            if is_retry {
                state.met("a retry");
            }
            // Its end is the injected fault.
            state.came_to(&world.plan, &seen, is_retry, fate.is_failure());
            if fate.is_doubt() {
                state.doubted(&world.plan, &seen, believed_at(sent, given_up));
            }
            (fate, there, back, sent, given_up)
        };
        let path = request.path.as_str().to_owned();
        let operation = request.operation.0;
        let on_its_way = fate.arrives().then(|| (request.clone(), sent + there));
        let mut under = Under {
            world: Arc::clone(world),
            seen: seen.clone(),
            on_its_way,
        };
        let late = fate
            .arrives_later()
            .then(|| world.late(self.account, sent, sent + there, given_up));
        if let Some(at) = late.filter(|_| fate != Fate::AcceptedThenEffect) {
            world.straggles(&seen, request.clone(), at, Late::Given);
        }
        sleep(there).await;
        under.on_its_way = None;
        let result = self.meet(fate, request, &seen, late).await;
        if !matches!(fate, Fate::Refused) {
            sleep(back).await;
        }
        world.step().await;
        let mut state = world.state();
        if let Ok(response) = &result {
            if fate.is_plain() {
                let off = &world.plan.accounts[self.account].off;
                if off.no_date {
                    state.met("an answer without a date");
                }
                if off.skew_ms != 0 {
                    state.met("a provider whose clock is off");
                }
                state.watch.answered(&seen, response);
                state.watch.spoken.insert(self.account);
                state.watch.heard_from.insert(self.account);
            }
            if let (Fate::Foreign(..), true, Some(target)) = (fate, seen.is_effect, seen.target)
                && !state.watch.heard_from.contains(&self.account)
            {
                state.watch.strangers.insert(target);
            }
            let was_done = matches!(fate, Fate::Foreign(_, true)) && seen.is_effect;
            if let (true, Some(target)) = (was_done, seen.target)
                && !state.watch.spoken.contains(&self.account)
            {
                state.watch.blocked.insert(target);
            }
            let target = seen.target.map(|target| &world.plan.targets[target]);
            if fate.is_plain()
                && (200..300).contains(&response.status)
                && target.is_some_and(|of| self.is_documented(of.born))
            {
                state.watch.proven.insert(self.account);
            }
        }
        match &result {
            // That a cancel type was set says nothing about a cancel, nor does a rejection of what
            // may have been done before.
            Ok(response)
                if fate.is_plain()
                    && operation != "set_timing"
                    && (!seen.is_effect || response.status < 300) =>
            {
                state.clear(&world.plan, &seen, &path, sent);
            }
            // A rejection of a repeat: an earlier request may have been executed all the same.
            Ok(response)
                if (fate.is_plain() || matches!(fate, Fate::Busy(_)))
                    && operation == "cancel"
                    && !matches!(self.provider(), Provider::Rebilly | Provider::Sequenzy)
                    && matches!(response.status, 400 | 402 | 404..429) =>
            {
                let believed = believed_at(sent, state.now());
                state.doubted_again(&world.plan, &seen, believed);
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

    /// Applies the injected fault to a request.
    async fn meet(
        &self,
        fate: Fate,
        request: Request,
        seen: &Sighting,
        late: Option<Duration>,
    ) -> Result<Response, SendError> {
        let world = &self.world;
        let never = || async { std::future::pending::<Result<Response, SendError>>().await };
        let arrives = |request: &Request| read(&world.deliver(seen, request, None));
        let broken = |message: &str| {
            Err(SendError::InDoubt(Fault {
                kind: FaultKind::Broken,
                message: message.to_owned(),
            }))
        };
        match fate {
            Fate::Clean => Ok(self.looked(&request, arrives(&request))),
            Fate::Refused => Err(SendError::NotSent(Fault {
                kind: FaultKind::Connect,
                message: "connection refused".to_owned(),
            })),
            Fate::RequestLost | Fate::RequestLate => never().await,
            Fate::ReplyLost => {
                arrives(&request);
                never().await
            }
            Fate::ReplyLate => {
                let response = arrives(&request);
                sleep(TIMEOUT + Duration::from_secs(1)).await;
                Ok(response)
            }
            Fate::Twice => {
                let response = arrives(&request);
                let at = {
                    let mut state = world.state();
                    state.now() + state.ms(1..=30_000)
                };
                world.straggles(seen, request, at, Late::Doubled);
                Ok(response)
            }
            Fate::ResetBefore | Fate::ResetThenEffect => broken("reset"),
            Fate::ResetAfter | Fate::Truncated => {
                arrives(&request);
                broken("reset")
            }
            Fate::ErrorBefore(status) | Fate::ErrorThenEffect(status) => Ok(self.error(status)),
            Fate::ErrorAfter(status) => {
                arrives(&request);
                Ok(self.error(status))
            }
            Fate::Throttled(seconds) => Ok(self.throttled(seconds)),
            Fate::Unready => Ok(Response::new(408, Vec::new(), String::new())),
            Fate::Garbage => {
                arrives(&request);
                Ok(odd("<html><h1>It works!</h1></html>"))
            }
            Fate::WrongBody => {
                arrives(&request);
                let bodies = ["{}", "[]", "null", r#"{"status":17}"#];
                let body = bodies[world.state().rng.usize(0..bodies.len())];
                Ok(odd(body))
            }
            Fate::AcceptedThenEffect | Fate::AcceptedInVain => self.accepted(late, &request, seen),
            Fate::Bodiless => {
                let response = arrives(&request);
                Ok(match response.status {
                    200..300 => Response::new(200, Vec::new(), String::new()),
                    _ => response,
                })
            }
            Fate::Foreign(answer, after) => {
                if after {
                    arrives(&request);
                }
                Ok(read(&world.providers.foreign(self.provider(), answer)))
            }
            Fate::Busy(status) => Ok(read(&world.providers.busy(self.provider(), status))),
            Fate::AboutAnother => {
                let of_another = self.of_another(&request, seen);
                // Every client takes a rejection without a target for this target's.
                if world.state().rng.bool() && of_another.status < 400 {
                    return Ok(of_another);
                }
                let answer = world.deliver(seen, &request, None);
                Ok(read(&Control::about_another(answer)))
            }
            Fate::Cached => Ok(self.cached(&request, seen)),
        }
    }

    /// Replies that a request is accepted, and executes it later, if at all. Invalid requests are
    /// rejected.
    fn accepted(
        &self,
        late: Option<Duration>,
        request: &Request,
        seen: &Sighting,
    ) -> Result<Response, SendError> {
        let world = &self.world;
        let of = &world.plan.accounts[self.account];
        world.deliver_stragglers();
        world.set_providers_clock(&mut world.state());
        let asked = http_request(&of.account, request);
        match world.providers.accepted(of.provider, asked) {
            Some(answer) => {
                match late {
                    Some(at) => {
                        let promised = seen.target.map(|target| (target, seen.tag.clone()));
                        world.state().watch.promised.extend(promised);
                        world.straggles(seen, request.clone(), at, Late::Given);
                    }
                    None => world.state().watch.in_vain.extend(seen.target),
                }
                Ok(read(&answer))
            }
            None => Ok(read(&world.deliver(seen, request, None))),
        }
    }

    /// The reply to someone else's identical request, delivered here.
    fn of_another(&self, request: &Request, seen: &Sighting) -> Response {
        let world = &self.world;
        let of = &world.plan.accounts[self.account];
        world.deliver_stragglers();
        world.set_providers_clock(&mut world.state());
        let mut asked = http_request(&of.account, request);
        let id = seen.target.map(|target| &world.plan.targets[target].id);
        let other = |text: String| match id {
            Some(id) if of.provider == Provider::Revolv3 => text.replace(id, "72000001"),
            Some(id) => text.replace(id, &format!("{id}9")),
            None => text,
        };
        let mut uri = other(asked.uri().to_string());
        if of.provider == Provider::Rebilly {
            // The id of the cancellation is another one too.
            uri.push('9');
        }
        *asked.uri_mut() = uri.parse().unwrap();
        let body = String::from_utf8_lossy(asked.body()).into_owned();
        *asked.body_mut() = other(body).into();
        read(&world.providers.carry_out(of.provider, asked))
    }

    /// Whether the provider documents a word for this state.
    fn is_documented(&self, standing: Option<Standing>) -> bool {
        let odd = [Some(Standing::Expired), Some(Standing::Paused)];
        self.provider() != Provider::Revolv3 || !odd.contains(&standing)
    }

    /// Stores the reply to a lookup for a cache.
    fn looked(&self, request: &Request, response: Response) -> Response {
        if request.safety == Safety::Look {
            let kept = (self.account, name(request));
            self.world
                .state()
                .watch
                .cache
                .insert(kept, response.clone());
        }
        response
    }

    /// The reply to a lookup from a cache, or fetched for it.
    fn cached(&self, request: &Request, seen: &Sighting) -> Response {
        let kept = (self.account, name(request));
        let found = {
            let mut state = self.world.state();
            state.watch.cached.extend(seen.target);
            state.watch.cache.get(&kept).cloned()
        };
        let mut response = match found {
            Some(response) => response,
            None => {
                let response = read(&self.world.deliver(seen, request, None));
                self.looked(request, response)
            }
        };
        response.headers.push(("age".to_owned(), "5".to_owned()));
        response
    }

    fn provider(&self) -> Provider {
        self.world.plan.accounts[self.account].provider
    }

    fn error(&self, status: u16) -> Response {
        read(&self.world.providers.error(self.provider(), status))
    }

    fn throttled(&self, seconds: u64) -> Response {
        let world = &self.world;
        world.deliver_stragglers();
        world.set_providers_clock(&mut world.state());
        let wait = Duration::from_secs(seconds);
        read(&world.providers.throttled(self.provider(), wait))
    }
}

/// A success that is not the provider's.
fn odd(body: &str) -> Response {
    Response::new(200, Vec::new(), body.to_owned())
}

/// The cache key of a request.
fn name(request: &Request) -> String {
    let body = request.body.as_ref().map_or("", |body| body.text.as_str());
    format!(
        "{:?} {} {:?} {body}",
        request.method,
        request.path.as_str(),
        request.query
    )
}

impl Service<Request> for Network {
    type Response = Response;
    type Error = SendError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, SendError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(self.clone().exchange(request))
    }
}
