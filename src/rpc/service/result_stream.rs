//! Results as they settle. What is ready together goes in one message: many tiny messages make
//! some HTTP/2 clients drop the connection (h2 0.4.16-0.4.18), and one message for all that
//! is ready is cheaper for everybody.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use prost::Message;
use tokio::time::Instant;
use tonic::Status;

use crate::{
    domain::{
        ids::{BatchName, Key},
        outcome::Outcome,
    },
    engine::{
        SubmittedItem, Ticket,
        results::feed::{StreamClosed, Update},
    },
    limits,
    rpc::{
        middleware::deadline,
        proto::{self, CancelEnrollmentsResponse, CancelSubscriptionResponse},
        render, status,
    },
};

/// A response message: progress, and one kind of results.
pub(in crate::rpc) trait Response: Sized + Send + 'static {
    /// One result.
    type Result: Message;
    /// Renders one item's news.
    fn result(at: &ResultIndex<'_>, update: &Update, with_answer: bool) -> Self::Result;
    /// A message of these.
    fn message(progress: proto::Progress, results: Vec<Self::Result>) -> Self;
}

/// An item and where it stands.
#[derive(Debug)]
pub(in crate::rpc) struct ResultIndex<'a> {
    pub(in crate::rpc) index: u32,
    pub(in crate::rpc) key: Key,
    pub(in crate::rpc) item: &'a SubmittedItem,
}

impl Response for CancelSubscriptionResponse {
    type Result = proto::SubscriptionResult;

    fn result(at: &ResultIndex<'_>, update: &Update, with_answer: bool) -> Self::Result {
        render::subscription_result(at.index, &at.key, at.item, update, with_answer)
    }

    fn message(progress: proto::Progress, results: Vec<Self::Result>) -> Self {
        Self {
            progress: Some(progress),
            results,
        }
    }
}

impl Response for CancelEnrollmentsResponse {
    type Result = proto::EnrollmentResult;

    fn result(at: &ResultIndex<'_>, update: &Update, with_answer: bool) -> Self::Result {
        render::enrollment_result(at.index, &at.key, at.item, update, with_answer)
    }

    fn message(progress: proto::Progress, results: Vec<Self::Result>) -> Self {
        Self {
            progress: Some(progress),
            results,
        }
    }
}

/// A request's items, for rendering what comes of them.
#[derive(Debug)]
pub(in crate::rpc) struct StreamRequest {
    /// The batch of the request; `None` if it has only dry runs.
    pub(in crate::rpc) batch: Option<BatchName>,
    pub(in crate::rpc) key: Key,
    pub(in crate::rpc) items: Vec<SubmittedItem>,
    pub(in crate::rpc) with_answer: bool,
}

struct StreamState<R: Response> {
    ticket: Ticket,
    asked: Arc<StreamRequest>,
    deadline: Option<Instant>,
    /// How long nothing is said while nothing is new.
    progress_interval: Duration,
    settled: u32,
    outcomes: BTreeMap<Outcome, u32>,
    /// Rendered results that did not fit into the previous message.
    rendered: std::collections::VecDeque<R::Result>,
    greeted: bool,
    ended: bool,
}

/// The stream of a request's results.
pub(in crate::rpc) fn results<R: Response>(
    ticket: Ticket,
    asked: StreamRequest,
    deadline: Option<Instant>,
    progress_interval: Duration,
) -> Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>> {
    let state = StreamState::<R> {
        ticket,
        asked: Arc::new(asked),
        deadline,
        progress_interval,
        settled: 0,
        outcomes: BTreeMap::new(),
        rendered: std::collections::VecDeque::new(),
        greeted: false,
        ended: false,
    };
    Box::pin(stream::unfold(state, |mut state| async move {
        let item = state.next().await?;
        Some((item, state))
    }))
}

impl<R: Response> StreamState<R> {
    async fn next(&mut self) -> Option<Result<R, Status>> {
        if self.ended {
            return None;
        }
        if self.rendered.is_empty() {
            let taking = self.ticket.feed.take(limits::RESPONSE_RESULTS_MAX);
            let taken = if self.greeted {
                // Where nothing is new for long the progress goes out again: proxies and balancers
                // cut off what is silent. What is not taken stays where it is.
                let waiting = async {
                    let taken = tokio::time::timeout(self.progress_interval, taking).await;
                    Ok(taken.unwrap_or(Ok(Some(Vec::new()))))
                };
                match deadline::within(self.deadline, waiting).await {
                    Ok(taken) => taken,
                    Err(status) => return self.end(status),
                }
            } else {
                // The first message goes out at once, with whatever is there, so that the caller
                // has the batch's name.
                futures_util::FutureExt::now_or_never(taking).unwrap_or(Ok(Some(Vec::new())))
            };
            match taken {
                Ok(Some(updates)) => self.render(&updates),
                Ok(None) => return None,
                Err(StreamClosed::Draining) => return self.end(status::draining()),
                Err(why @ (StreamClosed::Failed | StreamClosed::Unread)) => {
                    let why = match why {
                        StreamClosed::Unread => "what other requests have under way cannot be read",
                        StreamClosed::Failed | StreamClosed::Draining => "the journal has failed",
                    };
                    let unavailable = crate::journal::Unavailable(why.to_owned());
                    return self.end(status::of_unavailable(&unavailable));
                }
            }
        }
        self.greeted = true;
        Some(Ok(self.message()))
    }

    fn end(&mut self, status: Status) -> Option<Result<R, Status>> {
        self.ended = true;
        Some(Err(status))
    }

    fn render(&mut self, updates: &[(u32, Update)]) {
        let asked = Arc::clone(&self.asked);
        for (index, update) in updates {
            let at = usize::try_from(*index)
                .ok()
                .and_then(|at| asked.items.get(at));
            let Some(item) = at else { continue };
            if let Update::Settled { settled, .. } = update {
                self.settled += 1;
                *self.outcomes.entry(settled.conclusion.outcome).or_default() += 1;
            }
            let place = ResultIndex {
                index: *index,
                key: item.key_at(&asked.key, *index),
                item,
            };
            self.rendered
                .push_back(R::result(&place, update, asked.with_answer));
        }
    }

    /// A message of what is rendered, as far as it fits.
    fn message(&mut self) -> R {
        let mut bytes = 0;
        let mut results = Vec::with_capacity(self.rendered.len());
        while let Some(result) = self.rendered.pop_front() {
            bytes += result.encoded_len();
            if bytes > limits::RESPONSE_BYTES_MAX && !results.is_empty() {
                self.rendered.push_front(result);
                break;
            }
            results.push(result);
        }
        let progress = proto::Progress {
            batch_id: self
                .asked
                .batch
                .as_ref()
                .map(|batch| batch.to_string())
                .unwrap_or_default(),
            total: u32::try_from(self.asked.items.len()).unwrap_or(u32::MAX),
            settled: self.settled,
            outcomes: render::outcome_counts(&self.outcomes),
            settling: u32::try_from(self.ticket.feed.settling_count()).unwrap_or(u32::MAX),
        };
        R::message(progress, results)
    }
}
