//! The six RPCs: each parses, asks the engine or the journal, and renders.

pub(super) mod authorization;
pub(super) mod record_query;
pub(super) mod result_stream;

use std::{collections::BTreeSet, pin::Pin, sync::Arc, time::Duration};

use futures_util::Stream;
use tonic::{Request, Response, Status};

use self::authorization::{AccessScope, Denied};
use super::{
    middleware::{
        deadline,
        rejection_log::{CallContext, RequestSummary},
    },
    parse,
    proto::{
        self, CancelEnrollmentsRequest, CancelEnrollmentsResponse, CancelSubscriptionRequest,
        CancelSubscriptionResponse, GetCancellationRequest, GetCancellationResponse,
        ListAccountsRequest, ListAccountsResponse, ListCancellationsRequest,
        ListCancellationsResponse, StopBatchRequest, StopBatchResponse,
        cancellation_service_server::CancellationService,
    },
    render, status,
};
use crate::{
    audit::Noted,
    domain::{
        command::Command,
        ids::{BatchId, BatchName, CallerId, Key},
    },
    engine::{Engine, Hangup, Stopped, Submission, Ticket},
    identity::Caller,
    journal::{Batch, Record, Stopper, Unavailable},
    observe::RequestContext,
    providers::Mode,
};

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Debug, Clone)]
pub struct Service {
    engine: Arc<Engine>,
    progress_interval: Duration,
}

impl Service {
    /// A service over this engine, whose streams say their progress again after so long without
    /// anything new.
    #[must_use]
    pub fn new(engine: Arc<Engine>, progress_interval: Duration) -> Self {
        Self {
            engine,
            progress_interval,
        }
    }

    /// Submits what was parsed, and streams what comes of it.
    async fn submit<R: result_stream::Response>(
        &self,
        caller: &Caller,
        parsed: Result<parse::Parsed, status::Violations>,
        with_answer: bool,
        deadline: Option<tokio::time::Instant>,
        came: RequestMeta,
    ) -> Result<Response<ResponseStream<R>>, Status> {
        let parsed = parsed.map_err(status::Violations::into_status)?;
        let longest = caller.policy.retry_window_max;
        let window = parsed.submission.retry_window;
        let submission = Submission {
            retry_window: window.or_else(|| longest.map(|max| max.min(self.engine.retry_window()))),
            hangup: came.hangup,
            from: came.from,
            ..parsed.submission
        };
        let (key, items) = (submission.key.clone(), submission.items.clone());
        let submitted = async {
            let mut places: Vec<_> = parsed.new.iter().map(|of_new| of_new.place).collect();
            places.dedup();
            let unrecorded = self.engine.unrecorded(&submission, &places).await;
            let unrecorded = unrecorded
                .map_err(|error| status::of_submit(error, caller, self.engine.names()))?;
            refuse_new(parsed.new, &unrecorded)?;
            let submitted = self.engine.submit(submission).await;
            submitted.map_err(|error| status::of_submit(error, caller, self.engine.names()))
        };
        let ticket: Ticket = deadline::within(deadline, submitted).await?;
        let batch = ticket.batch.map(|batch| self.engine.names().of(batch));
        tracing::info!(
            batch = batch.as_ref().map(tracing::field::display),
            items = items.len(),
            caller = %caller.id,
            "request taken on"
        );
        let asked = result_stream::StreamRequest {
            batch,
            key,
            items,
            with_answer,
        };
        Ok(Response::new(result_stream::results(
            ticket,
            asked,
            deadline,
            self.progress_interval,
        )))
    }

    /// Whether the audit has room for what it is told beside the journal: a look at what is
    /// others', a dry run that shows people. Each of them is a line, however often they are asked
    /// for.
    fn is_told(&self, caller: &Caller) -> Result<(), Status> {
        let has_room = self.engine.audit().check(&caller.id);
        has_room.map_err(|overfull| status::overfull_of(overfull, caller))
    }

    /// Stops a batch, and gives it as it is afterwards.
    async fn stop(
        &self,
        id: BatchId,
        by: Stopper,
    ) -> Result<(Stopped, Option<Batch>), Unavailable> {
        let stopped = self.engine.stop_batch(id, by.clone()).await?;
        let batch = self.engine.batch_to_stop(id, &by.caller).await?;
        Ok((stopped, batch))
    }
}

/// Refuses what is wrong with items that nothing is recorded of: a time that has passed is right in
/// a request that was admitted before it had, and ids that were admitted once are replayed.
fn refuse_new(all: Vec<parse::OfNew>, unrecorded: &[u32]) -> Result<(), Status> {
    let mut violations = status::Violations::default();
    for of_new in all {
        if unrecorded.binary_search(&of_new.place).is_ok() {
            violations.add(of_new.field, of_new.description);
        }
    }
    if violations.is_empty() {
        Ok(())
    } else {
        Err(violations.into_status())
    }
}

/// How many people these items name, or can match at most; `None` if one of them has no bound.
fn people<'a>(commands: impl Iterator<Item = &'a Command>) -> Option<u64> {
    let counts: Option<Vec<_>> = commands
        .map(|command| Some(command.people()).filter(|people| *people < u64::MAX))
        .collect();
    Some(counts?.into_iter().sum())
}

/// A batch, if it is this caller's.
fn of_caller(batch: Option<Batch>, name: &BatchName, caller: &CallerId) -> Result<Batch, Status> {
    batch
        .filter(|batch| batch.scope.caller == *caller)
        .ok_or_else(|| status::not_found("batch", name.as_str()))
}

/// Items that are parsed where they came in: some tenths of a millisecond's work.
const PARSED_IN_PLACE_MAX: usize = 100;

/// Does long work where it keeps nobody else waiting.
async fn aside_if_long<T: Send + 'static>(
    items: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    if items <= PARSED_IN_PLACE_MAX {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Status::internal(format!("reading the request failed: {error}")))
}

/// A call of somebody who is known.
struct AuthenticatedCall {
    caller: Arc<Caller>,
    call: Arc<CallContext>,
}

impl AuthenticatedCall {
    /// Nobody gets here but through the guard. By now the whole request is here.
    fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let told = request.extensions();
        match (told.get::<Arc<Caller>>(), told.get::<Arc<CallContext>>()) {
            (Some(caller), Some(call)) => Ok(Self {
                caller: call.caller_now(caller)?,
                call: Arc::clone(call),
            }),
            _ => Err(Status::internal("the call came in past the guard")),
        }
    }

    /// Notes what a batch's request asks for.
    fn asks(&self, key: &str, items: usize) {
        self.call.asks(RequestSummary {
            key: Key::chosen(key.to_owned()).ok(),
            items: Some(items),
            batch: None,
        });
    }

    /// Goes on if nothing is asked for that is not the caller's to ask for.
    fn may(&self, violations: status::Violations) -> Result<(), Status> {
        if violations.is_empty() {
            Ok(())
        } else {
            Err(violations.into_denied(&self.caller))
        }
    }

    /// Whether a record of others is of an account that the caller may name.
    fn sees(&self, record: &Record) -> bool {
        let account = record.command.account();
        self.caller.policy.allows_account(account.as_str())
    }

    /// Whose records are asked for, if they are the caller's to see.
    fn whose(&self, named: &str, all: bool) -> Result<AccessScope, Status> {
        authorization::whose(&self.caller, named, all).map_err(|denied| match denied {
            Denied::Malformed(violations) => violations.into_status(),
            Denied::NotAllowed(violations) => violations.into_denied(&self.caller),
        })
    }
}

/// How a request came.
struct RequestMeta {
    hangup: Option<Hangup>,
    from: RequestContext,
}

impl RequestMeta {
    fn of<T>(request: &Request<T>, known: &AuthenticatedCall) -> Self {
        let told = request.extensions();
        let from: RequestContext = told.get().cloned().unwrap_or_default();
        Self {
            hangup: told.get().cloned(),
            from: from.coming(known.call.provenance()),
        }
    }
}

#[tonic::async_trait]
impl CancellationService for Service {
    type CancelSubscriptionStream = ResponseStream<CancelSubscriptionResponse>;
    type CancelEnrollmentsStream = ResponseStream<CancelEnrollmentsResponse>;

    async fn cancel_subscription(
        &self,
        request: Request<CancelSubscriptionRequest>,
    ) -> Result<Response<Self::CancelSubscriptionStream>, Status> {
        let deadline = deadline::of(&request)?;
        let known = AuthenticatedCall::of(&request)?;
        let came = RequestMeta::of(&request, &known);
        let request = request.into_inner();
        let (items, engine) = (request.cancellations.len(), Arc::clone(&self.engine));
        known.asks(&request.idempotency_key, items);
        known.may(authorization::subscriptions(&request, &known.caller.policy))?;
        let with_answer = request.include_provider_response;
        let caller = Arc::clone(&known.caller);
        let parse = move || parse::subscriptions(request, &caller, &engine);
        let parsed = aside_if_long(items, parse).await?;
        self.submit(&known.caller, parsed, with_answer, deadline, came)
            .await
    }

    async fn cancel_enrollments(
        &self,
        request: Request<CancelEnrollmentsRequest>,
    ) -> Result<Response<Self::CancelEnrollmentsStream>, Status> {
        let deadline = deadline::of(&request)?;
        let known = AuthenticatedCall::of(&request)?;
        let came = RequestMeta::of(&request, &known);
        let request = request.into_inner();
        let (items, engine) = (request.cancellations.len(), Arc::clone(&self.engine));
        known.asks(&request.idempotency_key, items);
        known.may(authorization::enrollments(&request, &known.caller.policy))?;
        let with_answer = request.include_provider_response;
        let caller = Arc::clone(&known.caller);
        let parse = move || parse::enrollments(request, &caller, &engine);
        let parsed = aside_if_long(items, parse).await?;
        let items = parsed.iter().flat_map(|parsed| &parsed.submission.items);
        let planned: Vec<_> = items.filter(|item| item.mode == Mode::DryRun).collect();
        if !planned.is_empty() {
            // Its results are people.
            self.is_told(&known.caller)?;
            let accounts: BTreeSet<_> = planned.iter().map(|item| item.command.account()).collect();
            known.call.note(Noted {
                event: "dry_run",
                filters: accounts
                    .iter()
                    .map(|name| format!("account={name}"))
                    .collect(),
                items: Some(planned.len()),
                people: people(planned.iter().map(|item| &*item.command)),
                with_answers: with_answer,
                ..Noted::default()
            })?;
        }
        self.submit(&known.caller, parsed, with_answer, deadline, came)
            .await
    }

    async fn get_cancellation(
        &self,
        request: Request<GetCancellationRequest>,
    ) -> Result<Response<GetCancellationResponse>, Status> {
        let deadline = deadline::of(&request)?;
        let known = AuthenticatedCall::of(&request)?;
        let request = request.into_inner();
        let with_answer = request.include_provider_response;
        // Whoever may not look at what is another's is told with the key that it tried.
        known.call.asks(RequestSummary {
            key: Key::try_from(request.idempotency_key.as_str()).ok(),
            ..RequestSummary::default()
        });
        let whose = known.whose(&request.caller, false)?;
        let is_others = whose.is_others(&known.caller);
        if is_others {
            known.may(authorization::others(&known.caller, with_answer, ""))?;
            self.is_told(&known.caller)?;
        }
        let caller = match whose {
            AccessScope::Of(caller) => caller,
            AccessScope::All => known.caller.id.clone(),
        };
        let whose_told = caller.to_string();
        let (scope, key) =
            record_query::get(&request, caller).map_err(status::Violations::into_status)?;
        let name = key.to_string();
        let asking = &known.caller;
        let read = async {
            let found = self.engine.find(scope, key, &asking.id).await;
            found.map_err(|error| status::of_ask(error, asking))
        };
        let record = deadline::within(deadline, read)
            .await?
            // What is not an auditor's to see is not there for it.
            .filter(|record| !is_others || known.sees(record));
        if is_others {
            // What is not found too: somebody may try others' keys.
            known.call.note(Noted {
                event: "read",
                whose: Some(whose_told),
                filters: vec![format!("key={name}")],
                records: Some(usize::from(record.is_some())),
                with_answers: with_answer,
                ..Noted::default()
            })?;
        }
        let record = record.ok_or_else(|| status::not_found("cancellation", &name))?;
        let is_settling = self.engine.is_settling(record.id);
        let cancellation = render::record(&record, self.engine.names(), is_settling, with_answer);
        Ok(Response::new(GetCancellationResponse {
            cancellation: Some(cancellation),
        }))
    }

    async fn list_cancellations(
        &self,
        request: Request<ListCancellationsRequest>,
    ) -> Result<Response<ListCancellationsResponse>, Status> {
        let deadline = deadline::of(&request)?;
        let known = AuthenticatedCall::of(&request)?;
        let request = request.into_inner();
        let whose = known.whose(&request.caller, request.all_callers)?;
        let with_answer = request.include_provider_response;
        let is_others = whose.is_others(&known.caller);
        if is_others {
            known.may(authorization::others(
                &known.caller,
                with_answer,
                &request.account,
            ))?;
            self.is_told(&known.caller)?;
        }
        let whose_told = match &whose {
            AccessScope::Of(caller) => caller.to_string(),
            AccessScope::All => "*".to_owned(),
        };
        let accounts = is_others.then(|| known.caller.policy.accounts.clone());
        let names = self.engine.names();
        let listing = record_query::list(&request, whose, accounts, names);
        let listing = listing.map_err(status::Violations::into_status)?;
        let (filter, after, max) = (listing.filter.clone(), listing.after, listing.records_max);
        let asking = &known.caller;
        let read = async {
            let page = self.engine.list(filter, after, max, &asking.id).await;
            page.map_err(|error| status::of_ask(error, asking))
        };
        let page = deadline::within(deadline, read).await?;
        let render = |record: &Record| {
            let is_settling = self.engine.is_settling(record.id);
            render::record(record, names, is_settling, with_answer)
        };
        let (cancellations, next) = record_query::fitting(page, render);
        if is_others {
            known.call.note(Noted {
                event: "read",
                whose: Some(whose_told),
                filters: record_query::filters(&request),
                records: Some(cancellations.len()),
                with_answers: with_answer,
                ..Noted::default()
            })?;
        }
        Ok(Response::new(ListCancellationsResponse {
            cancellations,
            next_page_token: next
                .map(|next| listing.token(next, names))
                .unwrap_or_default(),
        }))
    }

    async fn stop_batch(
        &self,
        request: Request<StopBatchRequest>,
    ) -> Result<Response<StopBatchResponse>, Status> {
        let deadline = deadline::of(&request)?;
        let known = AuthenticatedCall::of(&request)?;
        let caller = known.caller.id.clone();
        let parsed = BatchName::try_from(request.into_inner().batch_id);
        let name = parsed.map_err(|malformed| {
            let mut violations = status::Violations::default();
            violations.add("batch_id", malformed.to_string());
            violations.into_status()
        })?;
        // Whoever asks for a batch of another caller's learns nothing, and the audit does.
        known.call.asks(RequestSummary {
            batch: Some(name.clone()),
            ..RequestSummary::default()
        });
        let id = self.engine.names().batch(&name);
        let id = id.ok_or_else(|| status::not_found("batch", name.as_str()))?;
        let work = async {
            let whose = self.engine.whose_to_stop(id, &caller).await;
            let whose = whose.map_err(|error| status::of_unavailable(&error))?;
            whose
                .filter(|whose| whose.caller == caller)
                .ok_or_else(|| status::not_found("batch", name.as_str()))?;
            // From here on it may be stopped, whatever fails.
            let by = Stopper {
                caller: caller.clone(),
                from: Some(known.call.provenance()),
            };
            let stopped = self.stop(id, by).await;
            let (stopped, batch) = stopped.map_err(|error| status::stop_in_doubt(&error))?;
            tracing::info!(batch = %name, stopped = stopped.stopped, "batch stopped");
            let batch = of_caller(batch, &name, &caller)?;
            let settling = self.engine.settling_of(id);
            let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
            Ok(StopBatchResponse {
                progress: Some(render::progress(name.to_string(), &batch.items, &settling)),
                stopped: count(stopped.stopped),
                finishing: count(stopped.finishing),
            })
        };
        deadline::within(deadline, work).await.map(Response::new)
    }

    async fn list_accounts(
        &self,
        request: Request<ListAccountsRequest>,
    ) -> Result<Response<ListAccountsResponse>, Status> {
        let known = AuthenticatedCall::of(&request)?;
        let policy = &known.caller.policy;
        let accounts: Vec<proto::Account> = self
            .engine
            .accounts()
            .filter(|account| policy.allows_account(account.name.as_str()))
            .map(render::account)
            .collect();
        Ok(Response::new(ListAccountsResponse { accounts }))
    }
}
