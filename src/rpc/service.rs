//! The six RPCs: each parses, asks dispatch or the journal, and renders.

use std::{pin::Pin, sync::Arc};

use futures_util::Stream;
use tonic::{Request, Response, Status};

use super::{
    deadline, parse,
    policy::{self, Denied, Whose},
    proto::{
        self, CancelEnrollmentsRequest, CancelEnrollmentsResponse, CancelSubscriptionRequest,
        CancelSubscriptionResponse, GetCancellationRequest, GetCancellationResponse,
        ListAccountsRequest, ListAccountsResponse, ListCancellationsRequest,
        ListCancellationsResponse, StopBatchRequest, StopBatchResponse,
        cancellation_service_server::CancellationService,
    },
    records,
    refusal::Known,
    render, status,
    stream::{self, Asked},
};
use crate::{
    audit::{Refused, Sink, Why},
    dispatch::{self, Dispatch, Hangup, Submission, Ticket},
    domain::ids::{BatchId, CallerId, Key},
    journal::{Batch, Unavailable},
    observe::Origin,
};

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Debug, Clone)]
pub struct Service {
    dispatch: Arc<Dispatch>,
    audit: Sink,
}

impl Service {
    /// A service over this engine.
    #[must_use]
    pub fn new(dispatch: Arc<Dispatch>) -> Self {
        Self {
            dispatch,
            audit: Sink::default(),
        }
    }

    /// The same, and what it refuses is told to the audit.
    #[must_use]
    pub fn with_audit(self, audit: Sink) -> Self {
        Self { audit, ..self }
    }

    /// Submits what was parsed, and streams what comes of it.
    async fn submit<R: stream::Response>(
        &self,
        asking: &Asking<'_>,
        parsed: Result<parse::Parsed, status::Violations>,
        with_answer: bool,
        deadline: Option<tokio::time::Instant>,
        came: Came,
    ) -> Result<Response<ResponseStream<R>>, Status> {
        let parsed = parsed.map_err(|violations| {
            self.refused(asking, Why::Invalid);
            violations.into_status()
        })?;
        let submission = Submission {
            hangup: came.hangup,
            from: came.from,
            ..parsed.submission
        };
        let asked = Asked {
            key: submission.key.clone(),
            items: submission.items.clone(),
            with_answer,
        };
        let caller = submission.scope.caller.clone();
        let submitted = async {
            self.refuse_late(asking, &submission, &parsed.late).await?;
            self.dispatch.submit(submission).await.map_err(|error| {
                if let Some(why) = status::refusal(&error) {
                    self.refused(asking, why);
                }
                status::of_submit(error, asking.known)
            })
        };
        let ticket: Ticket = deadline::within(deadline, submitted).await?;
        tracing::info!(
            batch = ticket.batch.map(tracing::field::display),
            items = asked.items.len(),
            %caller,
            "request taken on"
        );
        Ok(Response::new(stream::results(ticket, asked, deadline)))
    }

    /// A time that has passed is right only in a request that was admitted before it had.
    async fn refuse_late(
        &self,
        asking: &Asking<'_>,
        submission: &Submission,
        late: &[u32],
    ) -> Result<(), Status> {
        let mut violations = status::Violations::default();
        for place in late {
            let at = usize::try_from(*place)
                .ok()
                .and_then(|at| submission.items.get(at));
            let Some(item) = at else { continue };
            let key = item.key_at(&submission.key, *place);
            let (scope, journal) = (
                submission.scope.clone(),
                Arc::clone(self.dispatch.journal()),
            );
            let known = dispatch::blocking(move || journal.find(&scope, &key)).await;
            if known
                .map_err(|unavailable| status::of_unavailable(&unavailable))?
                .is_none()
            {
                violations.add(format!("cancellations[{place}].when"), "at is in the past");
            }
        }
        if violations.is_empty() {
            Ok(())
        } else {
            self.refused(asking, Why::Invalid);
            Err(violations.into_status())
        }
    }

    /// Tells the audit.
    fn refused(&self, asking: &Asking<'_>, why: Why) {
        self.audit.refused(why, |refused| Refused {
            caller: Some(asking.known.caller.id.clone()),
            method: Some(asking.known.method),
            key: asking.key.clone(),
            items: Some(asking.items),
            ..refused
        });
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn crate::journal::Journal) -> Result<T, Unavailable> + Send + 'static,
    ) -> Result<T, Status> {
        let journal = Arc::clone(self.dispatch.journal());
        dispatch::blocking(move || read(&*journal))
            .await
            .map_err(|unavailable| status::of_unavailable(&unavailable))
    }

    /// A batch of this caller's.
    async fn batch(&self, id: BatchId, caller: &CallerId) -> Result<Batch, Status> {
        let batch = self.read(move |journal| journal.batch(id)).await?;
        batch
            .filter(|batch| batch.scope.caller == *caller)
            .ok_or_else(|| status::not_found("batch", &id.to_string()))
    }
}

/// What the audit is told of a request that is refused.
struct Asking<'a> {
    known: &'a Known,
    /// The request's key, if it is one.
    key: Option<Key>,
    items: usize,
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

/// Who calls. Nobody gets here but through the guard.
fn known<T>(request: &Request<T>) -> Result<Known, Status> {
    let known = request.extensions().get::<Known>().cloned();
    known.ok_or_else(|| Status::internal("the call came in past the guard"))
}

/// Goes on if nothing is asked for that is not the caller's to ask for.
fn allowed(known: &Known, violations: status::Violations) -> Result<(), Status> {
    if violations.is_empty() {
        return Ok(());
    }
    let status = violations.into_denied(&known.caller);
    Err(known.refused(status::POLICY_VIOLATED, status))
}

/// Whose records are asked for, if they are the caller's to see.
fn whose(known: &Known, named: &str, all: bool) -> Result<Whose, Status> {
    match policy::whose(&known.caller, named, all) {
        Ok(whose) => Ok(whose),
        Err(Denied::Malformed(violations)) => Err(violations.into_status()),
        Err(Denied::NotAllowed(violations)) => {
            let status = violations.into_denied(&known.caller);
            Err(known.refused(status::POLICY_VIOLATED, status))
        }
    }
}

/// How a request came.
struct Came {
    hangup: Option<Hangup>,
    from: Origin,
}

impl Came {
    fn of<T>(request: &Request<T>) -> Self {
        let told = request.extensions();
        Self {
            hangup: told.get().cloned(),
            from: told.get().cloned().unwrap_or_default(),
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
        let known = known(&request)?;
        let came = Came::of(&request);
        let request = request.into_inner();
        allowed(
            &known,
            policy::subscriptions(&request, &known.caller.policy),
        )?;
        let with_answer = request.include_provider_response;
        let (items, dispatch) = (request.cancellations.len(), Arc::clone(&self.dispatch));
        let asking = Asking {
            known: &known,
            key: Key::chosen(request.idempotency_key.clone()).ok(),
            items,
        };
        let caller = Arc::clone(&known.caller);
        let parse = move || parse::subscriptions(request, &caller, &dispatch);
        let parsed = aside_if_long(items, parse).await?;
        self.submit(&asking, parsed, with_answer, deadline, came)
            .await
    }

    async fn cancel_enrollments(
        &self,
        request: Request<CancelEnrollmentsRequest>,
    ) -> Result<Response<Self::CancelEnrollmentsStream>, Status> {
        let deadline = deadline::of(&request)?;
        let known = known(&request)?;
        let came = Came::of(&request);
        let request = request.into_inner();
        allowed(&known, policy::enrollments(&request, &known.caller.policy))?;
        let with_answer = request.include_provider_response;
        let (items, dispatch) = (request.cancellations.len(), Arc::clone(&self.dispatch));
        let asking = Asking {
            known: &known,
            key: Key::chosen(request.idempotency_key.clone()).ok(),
            items,
        };
        let caller = Arc::clone(&known.caller);
        let parse = move || parse::enrollments(request, &caller, &dispatch);
        let parsed = aside_if_long(items, parse).await?;
        self.submit(&asking, parsed, with_answer, deadline, came)
            .await
    }

    async fn get_cancellation(
        &self,
        request: Request<GetCancellationRequest>,
    ) -> Result<Response<GetCancellationResponse>, Status> {
        let deadline = deadline::of(&request)?;
        let known = known(&request)?;
        let request = request.into_inner();
        let caller = match whose(&known, &request.caller, false)? {
            Whose::Of(caller) => caller,
            Whose::All => known.caller.id.clone(),
        };
        let (scope, key) =
            records::get(&request, caller).map_err(status::Violations::into_status)?;
        let name = key.to_string();
        let read = self.read(move |journal| journal.find(&scope, &key));
        let record = deadline::within(deadline, read)
            .await?
            .ok_or_else(|| status::not_found("cancellation", &name))?;
        let cancellation = render::record(&record, request.include_provider_response);
        Ok(Response::new(GetCancellationResponse {
            cancellation: Some(cancellation),
        }))
    }

    async fn list_cancellations(
        &self,
        request: Request<ListCancellationsRequest>,
    ) -> Result<Response<ListCancellationsResponse>, Status> {
        let deadline = deadline::of(&request)?;
        let known = known(&request)?;
        let request = request.into_inner();
        let whose = whose(&known, &request.caller, request.all_callers)?;
        let listing = records::list(&request, whose).map_err(status::Violations::into_status)?;
        let (filter, after, max) = (listing.filter.clone(), listing.after, listing.records_max);
        let read = self.read(move |journal| journal.list(&filter, after, max));
        let page = deadline::within(deadline, read).await?;
        let with_answer = request.include_provider_response;
        Ok(Response::new(ListCancellationsResponse {
            cancellations: page
                .records
                .iter()
                .map(|r| render::record(r, with_answer))
                .collect(),
            next_page_token: page
                .next
                .map(|next| listing.token(next))
                .unwrap_or_default(),
        }))
    }

    async fn stop_batch(
        &self,
        request: Request<StopBatchRequest>,
    ) -> Result<Response<StopBatchResponse>, Status> {
        let deadline = deadline::of(&request)?;
        let caller = known(&request)?.caller.id.clone();
        let parsed = request.into_inner().batch_id.parse::<BatchId>();
        let id = parsed.map_err(|malformed| {
            let mut violations = status::Violations::default();
            violations.add("batch_id", malformed.to_string());
            violations.into_status()
        })?;
        let work = async {
            // Whoever asks for a batch of another caller's learns nothing, and the audit does.
            let found = self.batch(id, &caller).await;
            found.inspect_err(|status| {
                if status.code() == tonic::Code::NotFound {
                    self.audit.refused(Why::NotFound, |refused| Refused {
                        caller: Some(caller.clone()),
                        method: Some("StopBatch"),
                        batch: Some(id),
                        ..refused
                    });
                }
            })?;
            let stopped = self.dispatch.stop_batch(id, caller.clone()).await;
            let stopped = stopped.map_err(|unavailable| status::of_unavailable(&unavailable))?;
            tracing::info!(batch = %id, stopped = stopped.stopped, "batch stopped");
            let batch = self.batch(id, &caller).await?;
            let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
            Ok(StopBatchResponse {
                progress: Some(render::progress(id.to_string(), &batch.items)),
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
        let known = known(&request)?;
        let policy = &known.caller.policy;
        let accounts: Vec<proto::Account> = self
            .dispatch
            .accounts()
            .filter(|account| policy.allows_account(account.name.as_str()))
            .map(render::account)
            .collect();
        Ok(Response::new(ListAccountsResponse { accounts }))
    }
}
