//! Requests beyond the simplest one, and readers of the responses.

use std::collections::BTreeMap;

use cancelot::{
    rpc::proto::{
        AllEnrollments, CancelEnrollmentsRequest, CancelEnrollmentsResponse,
        CancelSubscriptionRequest, CancelSubscriptionResponse, Cancellation, CancellationKind,
        EnrollmentCancellation, EnrollmentResult, FieldMatch, GetCancellationRequest,
        ListCancellationsRequest, Outcome, Progress, StopBatchRequest, StopBatchResponse,
        SubscriberIds, SubscriptionResult, enrollment_cancellation::Target,
    },
    sandbox::{Fault, Provider, RequestMatch, Scripted},
};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::support::{Gateway, in_time};

/// Enrollments of a sequence at the Sequenzy account.
pub(crate) fn enrollment(sequence_id: &str, target: Target) -> EnrollmentCancellation {
    EnrollmentCancellation {
        account: "sequenzy".to_owned(),
        sequence_id: sequence_id.to_owned(),
        target: Some(target),
        ..Default::default()
    }
}

/// The same, and really to be cancelled.
pub(crate) fn live(enrollment: EnrollmentCancellation) -> EnrollmentCancellation {
    EnrollmentCancellation {
        dry_run: Some(false),
        ..enrollment
    }
}

/// One subscriber.
pub(crate) fn subscriber(id: &str) -> Target {
    Target::SubscriberId(id.to_owned())
}

/// Several subscribers.
pub(crate) fn subscribers<'a>(ids: impl IntoIterator<Item = &'a str>) -> Target {
    let ids = ids.into_iter().map(str::to_owned).collect();
    Target::SubscriberIds(SubscriberIds { ids })
}

/// All with one of these values in a field.
pub(crate) fn field<'a>(path: &str, values: impl IntoIterator<Item = &'a str>) -> Target {
    Target::Field(FieldMatch {
        path: path.to_owned(),
        values: values.into_iter().map(str::to_owned).collect(),
    })
}

/// A whole sequence.
pub(crate) fn everyone() -> Target {
    Target::All(AllEnrollments {})
}

/// A request of these items.
pub(crate) fn enrollments(
    key: &str,
    items: impl IntoIterator<Item = EnrollmentCancellation>,
) -> CancelEnrollmentsRequest {
    CancelEnrollmentsRequest {
        idempotency_key: key.to_owned(),
        cancellations: items.into_iter().collect(),
        ..Default::default()
    }
}

/// A fault for so many of the next requests with this method.
pub(crate) fn on(method: &str, fault: Fault, times: u32) -> Scripted {
    Scripted {
        fault,
        on: RequestMatch {
            method: Some(method.to_owned()),
            path_contains: None,
        },
        times,
    }
}

/// A fault for every request from now on.
pub(crate) fn always(fault: Fault) -> Scripted {
    Scripted {
        times: u32::MAX,
        ..fault.into()
    }
}

impl Gateway {
    /// Sends a request, without waiting for its results.
    pub(crate) async fn open(&self, request: CancelSubscriptionRequest) -> Reader {
        let sent = self.client.clone().cancel_subscription(request).await;
        Reader::new(sent.unwrap().into_inner())
    }

    /// Sends a request, without waiting for its results.
    pub(crate) async fn open_enrollments(
        &self,
        request: CancelEnrollmentsRequest,
    ) -> Streaming<CancelEnrollmentsResponse> {
        let sent = self.client.clone().cancel_enrollments(request).await;
        sent.unwrap().into_inner()
    }

    /// Why a request is not taken on.
    pub(crate) async fn refused(&self, request: CancelSubscriptionRequest) -> Status {
        let sent = self.client.clone().cancel_subscription(request).await;
        sent.expect_err("the request is refused")
    }

    /// Why a request is not taken on.
    pub(crate) async fn refused_enrollments(&self, request: CancelEnrollmentsRequest) -> Status {
        let sent = self.client.clone().cancel_enrollments(request).await;
        sent.expect_err("the request is refused")
    }

    /// The record of a subscription's cancellation.
    pub(crate) async fn get(&self, key: &str) -> Result<Cancellation, Status> {
        self.get_of(CancellationKind::Subscription, key).await
    }

    /// A record.
    pub(crate) async fn get_of(
        &self,
        kind: CancellationKind,
        key: &str,
    ) -> Result<Cancellation, Status> {
        let request = GetCancellationRequest {
            kind: kind.into(),
            idempotency_key: key.to_owned(),
            include_provider_response: false,
            ..Default::default()
        };
        let got = self.client.clone().get_cancellation(request).await?;
        Ok(got.into_inner().cancellation.unwrap())
    }

    /// The keys of the records on the first page, and where the next one begins.
    pub(crate) async fn list(
        &self,
        request: ListCancellationsRequest,
    ) -> Result<(Vec<String>, String), Status> {
        let page = self.client.clone().list_cancellations(request).await?;
        let page = page.into_inner();
        let keys = page.cancellations.into_iter().map(|c| c.idempotency_key);
        Ok((keys.collect(), page.next_page_token))
    }

    /// Stops a batch.
    pub(crate) async fn stop_batch(&self, batch_id: &str) -> Result<StopBatchResponse, Status> {
        let request = StopBatchRequest {
            batch_id: batch_id.to_owned(),
        };
        let stopped = self.client.clone().stop_batch(request).await?;
        Ok(stopped.into_inner())
    }

    /// Requests that a provider has had.
    pub(crate) fn requests(&self, provider: Provider) -> u64 {
        self.control.counts(provider).requests
    }

    /// Ends the faults of a provider and lets what it holds go on.
    pub(crate) fn recover(&self, provider: Provider) {
        self.control.clear_faults(provider);
        self.control.release(provider);
    }
}

/// A stream of results that is read message by message.
pub(crate) struct Reader {
    stream: Streaming<CancelSubscriptionResponse>,
    /// What the last message said.
    pub(crate) progress: Progress,
}

impl Reader {
    pub(crate) fn new(stream: Streaming<CancelSubscriptionResponse>) -> Self {
        Self {
            stream,
            progress: Progress::default(),
        }
    }

    /// The results of the next message; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<SubscriptionResult>>, Status> {
        let message = in_time(self.stream.message()).await?;
        Ok(message.map(|message| {
            self.progress = message.progress.unwrap();
            message.results
        }))
    }

    /// Reads until so many items have settled; gives the results that were read now, by index.
    pub(crate) async fn until_settled(&mut self, settled: u32) -> Vec<SubscriptionResult> {
        let mut results = Vec::new();
        while self.progress.settled < settled {
            results.extend(self.next().await.unwrap().expect("more results"));
        }
        results.sort_by_key(|result| result.index);
        results
    }

    /// Reads to the end; gives the results that were read now, by index.
    pub(crate) async fn rest(&mut self) -> Result<Vec<SubscriptionResult>, Status> {
        let mut results = Vec::new();
        while let Some(more) = self.next().await? {
            results.extend(more);
        }
        results.sort_by_key(|result| result.index);
        Ok(results)
    }
}

/// The results of a stream, by index, those of running items too.
pub(crate) async fn enrollment_messages(
    mut stream: Streaming<CancelEnrollmentsResponse>,
) -> Result<Vec<EnrollmentResult>, Status> {
    let mut results = Vec::new();
    while let Some(message) = in_time(stream.message()).await? {
        results.extend(message.results);
    }
    Ok(results)
}

/// How many items have which outcome.
pub(crate) fn counts(progress: &Progress) -> BTreeMap<&'static str, u32> {
    let named = progress.outcomes.iter();
    named
        .map(|counted| (counted.outcome().as_str_name(), counted.count))
        .collect()
}

/// The outcomes of results.
pub(crate) fn outcomes(results: &[SubscriptionResult]) -> Vec<Outcome> {
    results.iter().map(SubscriptionResult::outcome).collect()
}

/// The fields that an INVALID_ARGUMENT names.
#[track_caller]
pub(crate) fn violations(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_details_bad_request().expect("BadRequest");
    let fields = details.field_violations.into_iter();
    fields.map(|violation| violation.field).collect()
}

/// The keys that a FAILED_PRECONDITION names, with the fields that differ.
#[track_caller]
pub(crate) fn conflicts(status: &Status) -> BTreeMap<String, Vec<String>> {
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    let details = status.get_details_precondition_failure();
    let violations = details.expect("PreconditionFailure").violations.into_iter();
    violations
        .map(|violation| {
            assert_eq!(violation.r#type, "IDEMPOTENCY_KEY_REUSED");
            let (_, fields) = violation.description.split_once("differ: ").unwrap();
            let fields = fields.split(", ").map(str::to_owned).collect();
            (violation.subject, fields)
        })
        .collect()
}

/// Whether a status says when to come back.
pub(crate) fn says_when(status: &Status) -> bool {
    let info = status.get_details_retry_info();
    info.is_some_and(|info| info.retry_delay.is_some_and(|delay| !delay.is_zero()))
}

/// What a status takes in HTTP/2 headers, as HTTP/2 counts it.
pub(crate) fn header_bytes(status: &Status) -> usize {
    let mut headers = http::HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    let sizes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32);
    sizes.sum()
}
