//! `cancelot stop`: stops a batch.

use clap::Args;

use super::{
    Exit,
    client::{self, status},
    terminal::{out, say, words::plural},
};
use crate::{domain::ids::BatchName, rpc::proto::StopBatchRequest};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The batch, such as bx9f86d081884c7d65.
    batch: BatchName,
    #[command(flatten)]
    service: client::Service,
}

pub(super) async fn run(arguments: Arguments) -> Exit {
    let mut client = match client::connect(&arguments.service).await {
        Ok(client) => client,
        Err(problem) => return problem.tell(),
    };
    let request = StopBatchRequest {
        batch_id: arguments.batch.to_string(),
    };
    let stopped = match client.stop_batch(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => {
            say(format!("cancelot: {}", status::told(&status)));
            return status::exit(&status);
        }
    };
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let progress = stopped.progress.unwrap_or_default();
    out(format!(
        "{}: {} stopped, {} being finished because something may have been sent; {} of {} settled",
        arguments.batch,
        plural(count(stopped.stopped), "item"),
        plural(count(stopped.finishing), "item"),
        progress.settled,
        plural(count(progress.total), "item"),
    ));
    Exit::Success
}
