//! `cancelot demo`: the whole system in one process, with faults, checked against its promises.

mod batch;
mod proof;

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::ProgressBar;
use tokio::net::TcpListener;

use self::proof::Proof;
use super::{
    Exit,
    client::{self, Cancelling, Client, News, Outcome, status},
    serve,
    terminal::{out, progress, say, summary::Summary},
};
use crate::{
    app::App,
    rpc::proto::{EnrollmentResult, SubscriptionResult},
    sandbox::{Control, FaultRates, Provider, Sandbox},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Seeds the faults: the same seed, the same faults in the same order of requests.
    #[arg(long, default_value_t = 20_261_121)]
    seed: u64,
    /// Runs without faults.
    #[arg(long)]
    calm: bool,
}

/// Explains once what the demo waits for.
const WAITED_FOR: &str = "; the others lost an answer, or were told to come back: they wait until a \
                          request that was lost can act no more, and are looked up before anything \
                          is sent again";
/// How often to report progress.
const WAITING_SAID: Duration = Duration::from_secs(2);

/// The results of the whole batch.
#[derive(Debug, Default)]
struct Results {
    subscriptions: Vec<SubscriptionResult>,
    enrollments: Vec<EnrollmentResult>,
    summary: Summary,
}

pub(super) async fn run(arguments: Arguments) -> Exit {
    match show(arguments).await {
        Ok(true) => Exit::Success,
        Ok(false) => Exit::Failure,
        Err(problem) => {
            say(format!("cancelot demo: {problem}"));
            Exit::Failure
        }
    }
}

async fn show(arguments: Arguments) -> Result<bool, String> {
    let sandbox = Sandbox::start(crate::sandbox::Options {
        seed: arguments.seed,
        recorded_requests_max: 0,
        ..Default::default()
    })
    .map_err(|error| format!("the sandbox cannot start: {error}"))?;
    let control = sandbox.control();
    let dir = tempfile::tempdir().map_err(|error| format!("no temporary directory: {error}"))?;
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(|error| error.to_string())?;
    let config = serve::sandboxed::of_five(&sandbox, dir.path(), &[])?;
    let app = serve::start(&config, listener).await?;
    out(format!(
        "Five simulated providers on {}, the gateway on {}, its journal in {}.",
        sandbox.addr(),
        app.addr(),
        dir.path().display()
    ));
    if !arguments.calm {
        switch_faults_on(&control);
        out(format!(
            "Faults are on (seed {}): of all requests 1 % are throttled, 3 % lose their \
             connection before and 3 % after the effect, 2 % fail before and 2 % after it.",
            arguments.seed
        ));
    }
    let held = prove(&app, &control).await?;
    app.stop().await;
    sandbox.stop().await;
    out(NEXT_STEPS);
    Ok(held)
}

fn switch_faults_on(control: &Control) {
    for provider in Provider::ALL {
        control.set_fault_rates(
            provider,
            FaultRates {
                throttle: 0.01,
                throttle_ms: 100,
                reset_before: 0.03,
                reset_after: 0.03,
                error_before: 0.02,
                error_after: 0.02,
                latency_ms_min: 5,
                latency_ms_max: 30,
                ..Default::default()
            },
        );
    }
}

async fn prove(app: &App, control: &Control) -> Result<bool, String> {
    let mut client = client::connect(&client::Service::at(format!("http://{}", app.addr())))
        .await
        .map_err(|problem| problem.to_string())?;
    let total = batch::SUBSCRIPTIONS + batch::ENROLLMENTS;
    out(format!("\nCancelling {total} things over gRPC ..."));
    let begun = Instant::now();
    let first = ask(&mut client).await?;
    out(format!(
        "{} settled in {:.1} s:\n",
        first.summary.total(),
        begun.elapsed().as_secs_f64()
    ));
    out(first.summary.table());

    let requests_before = requests(control);
    out("\nThe same request once more ...");
    let begun = Instant::now();
    let second = ask(&mut client).await?;
    out(format!("answered in {} ms.\n", begun.elapsed().as_millis()));

    let mut proof = Proof::default();
    proof.everything_settled(total, &first);
    proof.everything_replayed(&first, &second);
    proof.providers_saw_nothing(requests_before, requests(control));
    proof.effects(control, &first);
    out(proof.to_string());
    Ok(proof.held())
}

/// Requests that the five providers have received.
fn requests(control: &Control) -> u64 {
    Provider::ALL
        .iter()
        .map(|provider| control.counts(*provider).requests)
        .sum()
}

/// Sends both requests at once, and follows them to their ends.
async fn ask(client: &mut Client) -> Result<Results, String> {
    let (subscriptions, enrollments) = (batch::subscriptions(), batch::enrollments());
    let total = subscriptions.total() + enrollments.total();
    let bar = progress(u64::try_from(total).unwrap_or(u64::MAX));
    let mut other = client.clone();
    let (mut done_subscriptions, mut done_enrollments) = (Vec::new(), Vec::new());
    let patience = tokio::time::Instant::now().checked_add(Duration::from_secs(300));
    let following = async {
        tokio::join!(
            client::follow(client, subscriptions, patience, |news| {
                if let News::Result(result) = news {
                    bar.inc(u64::from(result.outcome != 0));
                    done_subscriptions.push(result);
                }
            }),
            client::follow(&mut other, enrollments, patience, |news| {
                if let News::Result(result) = news {
                    bar.inc(u64::from(result.outcome != 0));
                    done_enrollments.push(result);
                }
            }),
        )
    };
    let (a, b) = tokio::select! {
        ended = following => ended,
        never = tell_of_waiting(&bar) => match never {},
    };
    bar.finish_and_clear();
    a.and(b).map_err(|status| status::told(&status))?;
    // A drain is reported after each of its calls; only its end counts here.
    done_enrollments.retain(|result: &EnrollmentResult| result.outcome != 0);
    let mut results = Results {
        subscriptions: done_subscriptions,
        enrollments: done_enrollments,
        summary: Summary::default(),
    };
    for result in &results.subscriptions {
        results
            .summary
            .count(&result.account, Outcome::outcome(result));
    }
    for result in &results.enrollments {
        results
            .summary
            .count(&result.account, Outcome::outcome(result));
    }
    Ok(results)
}

/// Explains the wait while few items settle.
async fn tell_of_waiting(bar: &ProgressBar) -> Infallible {
    let mut before = bar.position();
    let mut is_first = true;
    loop {
        tokio::time::sleep(WAITING_SAID).await;
        let (settled, total) = (bar.position(), bar.length().unwrap_or_default());
        // No explanation while results come in quickly.
        if settled - before < total / 10 {
            let why = if std::mem::take(&mut is_first) {
                WAITED_FOR
            } else {
                ""
            };
            bar.suspend(|| say(format!("  {settled} of {total} settled{why}")));
        }
        before = settled;
    }
}

const NEXT_STEPS: &str = r#"
To go on by hand, keep such a gateway running:

  cargo run --release -- serve --sandbox

and in another terminal, with grpcurl:

  grpcurl -plaintext 127.0.0.1:50051 list
  grpcurl -plaintext 127.0.0.1:50051 cancelot.v1.CancellationService/ListAccounts
  grpcurl -plaintext -d '{"idempotency_key":"try-1","cancellations":[
      {"account":"rebilly","subscription_id":"sub_1","when":{"now":{}}},
      {"account":"solidgate","subscription_id":"subs_2","when":{"period_end":{}}}]}' \
    127.0.0.1:50051 cancelot.v1.CancellationService/CancelSubscription"#;
