//! The bare fan-out: what a service does that keeps nothing. Same messages, same adapter, same
//! HTTP client and as many requests at a time; no journal, no lanes, no keys.

use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use cancelot::{
    config::AccountConfig,
    domain::{
        account::Account,
        command::{Command, Reason, SubscriptionCommand, When},
        http_exchange::{Exchange, Seen},
        ids::{AccountName, CallerId, Key, Kind, Scope, TargetId},
        outcome::{Conclusion, Detail, Outcome, SubscriptionState},
    },
    egress::{self, Egress},
    limits,
    observe::Tracer,
    providers::{self, EffectId, Facts, Mode, Step, Task},
    rpc::proto::{
        self, CancelEnrollmentsRequest, CancelEnrollmentsResponse, CancelSubscriptionRequest,
        CancelSubscriptionResponse, GetCancellationRequest, GetCancellationResponse,
        ListAccountsRequest, ListAccountsResponse, ListCancellationsRequest,
        ListCancellationsResponse, StopBatchRequest, StopBatchResponse,
        cancellation_service_server::{CancellationService, CancellationServiceServer},
        when::When as Choice,
    },
};
use futures_util::{Stream, stream};
use jiff::Timestamp;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use crate::{Failure, child, settings};

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The role.
pub(crate) fn main(text: &str) -> Result<(), Failure> {
    let config = settings::parse(text)?;
    let ways: Result<BTreeMap<_, _>, Failure> = config.accounts.iter().map(Way::build).collect();
    let bare = Bare { ways: ways? };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(config.server.listen).await?;
        child::ready(listener.local_addr()?)?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let service = CancellationServiceServer::new(bare)
            .max_decoding_message_size(limits::REQUEST_BYTES_MAX);
        // The windows of the service.
        Server::builder()
            .initial_stream_window_size(1024 * 1024)
            .initial_connection_window_size(4 * 1024 * 1024)
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, child::told_to_end())
            .await?;
        Ok(())
    })
}

/// The way to an account.
struct Way {
    account: Arc<Account>,
    egress: Egress,
    room: Arc<Semaphore>,
}

impl Way {
    fn build(config: &AccountConfig) -> Result<(AccountName, Arc<Self>), Failure> {
        let account = Arc::new(config.account.clone());
        let egress = egress(config)?;
        let name = account.name.clone();
        let room = Arc::new(Semaphore::new(settings::IN_FLIGHT));
        let way = Self {
            account,
            egress,
            room,
        };
        Ok((name, Arc::new(way)))
    }
}

/// The HTTP client of an account, as the service builds it.
pub(crate) fn egress(config: &AccountConfig) -> Result<Egress, Failure> {
    Ok(Egress::build(&egress::EgressOptions {
        account: Arc::new(config.account.clone()),
        credential: config.credential.clone(),
        connect_timeout: config.limits.connect_timeout,
        timeout: config.limits.timeout,
        proxy_url: None,
        concurrency_max: settings::IN_FLIGHT,
        tracer: Tracer::off(),
    })?)
}

struct Item {
    index: u32,
    key: Key,
    command: Command,
    way: Arc<Way>,
}

impl Item {
    async fn cancel(self, scope: &Scope) -> Result<proto::SubscriptionResult, Status> {
        let provider = providers::of(self.way.account.provider());
        let effect_id = EffectId::derive(scope, &self.key, &self.command);
        let task = Task {
            account: &self.way.account,
            command: &self.command,
            effect_id: &effect_id,
            mode: Mode::Cancel,
            doubt: None,
            facts: Facts::default(),
        };
        let Step::Send(request) = provider.next(&task, &[]) else {
            return Err(Status::internal("nothing to send"));
        };
        let sent = request.clone();
        let reply = self.way.egress.call(request).await;
        let exchange = Exchange {
            operation: Some(sent.operation),
            class: provider.classify(&task, &sent, &reply),
            reply,
            seen: Seen::default(),
        };
        match provider.next(&task, &[exchange]) {
            Step::Done(conclusion) => Ok(self.result(&conclusion)),
            Step::Send(request) => Err(Status::internal(format!("next: {request:?}"))),
        }
    }

    fn result(&self, conclusion: &Conclusion) -> proto::SubscriptionResult {
        let (effective_at, state) = match &conclusion.detail {
            Detail::Subscription(detail) => (detail.effective_at, detail.state.as_ref()),
            Detail::Enrollments(_) => (None, None),
        };
        let ignored = conclusion.ignored_fields.iter();
        proto::SubscriptionResult {
            index: self.index,
            idempotency_key: self.key.as_str().to_owned(),
            account: self.command.account().as_str().to_owned(),
            subscription_id: self.command.resource().as_str().to_owned(),
            outcome: outcome(conclusion.outcome).into(),
            effective_time: effective_at.map(time),
            state: state.map(rendered),
            attempts: 1,
            settled_time: Some(time(Timestamp::now())),
            ignored_fields: ignored.map(ToString::to_string).collect(),
            ..Default::default()
        }
    }
}

fn outcome(outcome: Outcome) -> proto::Outcome {
    match outcome {
        Outcome::Scheduled => proto::Outcome::Scheduled,
        Outcome::Canceled => proto::Outcome::Canceled,
        // Whatever else the stub led to, the client takes it for the failure it is.
        _ => proto::Outcome::InDoubt,
    }
}

fn time(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    }
}

fn rendered(state: &SubscriptionState) -> proto::SubscriptionState {
    proto::SubscriptionState {
        status: proto::SubscriptionStatus::Scheduled.into(),
        provider_status: state.provider_status.clone(),
        period_end_time: state.period_end.map(time),
        canceled_time: state.canceled_at.map(time),
        renews: state.renews,
        customer_id: state.customer_id.clone().unwrap_or_default(),
        payment_provider: state.payment_provider.clone().unwrap_or_default(),
        cancellation_id: state.cancellation_id.clone().unwrap_or_default(),
        provider_reason: state.provider_reason.clone().unwrap_or_default(),
        sandbox: state.sandbox,
    }
}

/// The service.
struct Bare {
    ways: BTreeMap<AccountName, Arc<Way>>,
}

impl Bare {
    fn item(
        &self,
        key: &Key,
        index: u32,
        asked: proto::SubscriptionCancellation,
    ) -> Result<Item, Failure> {
        let account = AccountName::try_from(asked.account)?;
        let way = self.ways.get(&account).ok_or("unknown account")?;
        let when = match asked.when.and_then(|when| when.when) {
            Some(Choice::PeriodEnd(_)) => When::PeriodEnd,
            Some(Choice::ProviderDefault(_)) => When::ProviderDefault,
            Some(Choice::Now(_) | Choice::At(_)) | None => return Err("no such time".into()),
        };
        let reason = match proto::Reason::try_from(asked.reason)? {
            proto::Reason::DidNotUse => Some(Reason::DidNotUse),
            _ => None,
        };
        let command = Command::Subscription(SubscriptionCommand {
            account,
            subscription_id: TargetId::try_from(asked.subscription_id)?,
            when,
            reason,
            comment: Some(asked.comment).filter(|comment| !comment.is_empty()),
            initiated_by: None,
            prorate: asked.prorate,
            line_items: Vec::new(),
            options: None,
        });
        Ok(Item {
            index,
            key: key.derive(index),
            command,
            way: Arc::clone(way),
        })
    }

    fn items(&self, request: CancelSubscriptionRequest) -> Result<Vec<Item>, Failure> {
        let key = Key::chosen(request.idempotency_key)?;
        (0..)
            .zip(request.cancellations)
            .map(|(index, asked)| self.item(&key, index, asked))
            .collect()
    }
}

type Settled = mpsc::Sender<Result<proto::SubscriptionResult, Status>>;

/// Starts each item as soon as there is room at its account.
async fn fan_out(items: Vec<Item>, settled: Settled) {
    let scope = Arc::new(Scope {
        caller: CallerId::anonymous(),
        kind: Kind::Subscription,
    });
    for item in items {
        let room = Arc::clone(&item.way.room);
        // The semaphore is never closed.
        let permit = room.acquire_owned().await;
        let (scope, settled) = (Arc::clone(&scope), settled.clone());
        tokio::spawn(async move {
            let result = item.cancel(&scope).await;
            drop(permit);
            // A reader that is gone wants nothing more.
            let _ = settled.send(result).await;
        });
    }
}

/// All results that are there go in one message, as the service does it.
fn results(
    total: usize,
    settled: mpsc::Receiver<Result<proto::SubscriptionResult, Status>>,
) -> ResponseStream<CancelSubscriptionResponse> {
    let total = u32::try_from(total).unwrap_or(u32::MAX);
    Box::pin(stream::unfold(
        (settled, 0),
        move |(mut news, settled)| async move {
            let mut ready = Vec::new();
            news.recv_many(&mut ready, limits::RESPONSE_RESULTS_MAX)
                .await;
            if ready.is_empty() {
                return None;
            }
            let results: Result<Vec<_>, Status> = ready.into_iter().collect();
            let message = results.map(|results| {
                let count = u32::try_from(results.len()).unwrap_or(u32::MAX);
                let progress = proto::Progress {
                    total,
                    settled: settled + count,
                    ..Default::default()
                };
                (
                    count,
                    CancelSubscriptionResponse {
                        progress: Some(progress),
                        results,
                    },
                )
            });
            match message {
                Ok((count, message)) => Some((Ok(message), (news, settled + count))),
                Err(status) => Some((Err(status), (news, settled))),
            }
        },
    ))
}

#[tonic::async_trait]
impl CancellationService for Bare {
    type CancelSubscriptionStream = ResponseStream<CancelSubscriptionResponse>;
    type CancelEnrollmentsStream = ResponseStream<CancelEnrollmentsResponse>;

    async fn cancel_subscription(
        &self,
        request: Request<CancelSubscriptionRequest>,
    ) -> Result<Response<Self::CancelSubscriptionStream>, Status> {
        let items = self.items(request.into_inner());
        let items = items.map_err(|failure| Status::invalid_argument(failure.to_string()))?;
        let (settled, news) = mpsc::channel(limits::SETTLE_QUEUE_MAX);
        let total = items.len();
        tokio::spawn(fan_out(items, settled));
        Ok(Response::new(results(total, news)))
    }

    async fn cancel_enrollments(
        &self,
        _: Request<CancelEnrollmentsRequest>,
    ) -> Result<Response<Self::CancelEnrollmentsStream>, Status> {
        Err(Status::unimplemented("not measured"))
    }

    async fn get_cancellation(
        &self,
        _: Request<GetCancellationRequest>,
    ) -> Result<Response<GetCancellationResponse>, Status> {
        Err(Status::unimplemented("nothing is kept"))
    }

    async fn list_cancellations(
        &self,
        _: Request<ListCancellationsRequest>,
    ) -> Result<Response<ListCancellationsResponse>, Status> {
        Err(Status::unimplemented("nothing is kept"))
    }

    async fn stop_batch(
        &self,
        _: Request<StopBatchRequest>,
    ) -> Result<Response<StopBatchResponse>, Status> {
        Err(Status::unimplemented("nothing is kept"))
    }

    async fn list_accounts(
        &self,
        _: Request<ListAccountsRequest>,
    ) -> Result<Response<ListAccountsResponse>, Status> {
        Err(Status::unimplemented("not measured"))
    }
}
