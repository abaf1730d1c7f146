//! A provider that turns slow, throttles, fails half of its requests, vanishes for a minute and
//! comes back, over real sockets, while another account works on.
//!
//! `cargo bench --bench brownout`, or with `-- --quick` for a fifth of the time. Says what load the
//! provider was given meanwhile, how soon it was at full speed again, what the other account
//! noticed, and whether anything was lost or done twice.

use std::{
    error::Error,
    fmt::Write as _,
    io::Write as _,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cancelot::{
    app::{self, App},
    config::{self, Env},
    rpc::proto::{
        CancelSubscriptionRequest, Outcome, SubscriptionCancellation, When,
        cancellation_service_client::CancellationServiceClient,
        when::{Now, When as Choice},
    },
    sandbox::{self, FaultRates, Provider, Sandbox},
};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tonic::transport::{Channel, Endpoint};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Failure = Box<dyn Error + Send + Sync>;

/// Requests a second that either account is allowed, and so its full speed.
const RATE: f64 = 200.0;
const BATCH: u64 = 1_000;
/// Batches that each account has open at a time.
const BATCHES_OPEN: usize = 2;

/// A provider's behaviour for some time.
struct Phase {
    name: &'static str,
    seconds: u64,
    rates: Option<FaultRates>,
}

fn phases(quick: bool) -> Vec<Phase> {
    let healthy = FaultRates {
        latency_ms_min: 10,
        latency_ms_max: 30,
        ..Default::default()
    };
    let phase = |name, seconds, rates| Phase {
        name,
        seconds: if quick { seconds / 5 } else { seconds },
        rates,
    };
    vec![
        phase("healthy", 20, Some(healthy.clone())),
        phase(
            "slow: 0.5-1 s",
            20,
            Some(FaultRates {
                latency_ms_min: 500,
                latency_ms_max: 1_000,
                ..Default::default()
            }),
        ),
        phase(
            "throttles half",
            20,
            Some(FaultRates {
                throttle: 0.5,
                throttle_ms: 1_000,
                ..healthy.clone()
            }),
        ),
        phase(
            "fails half",
            20,
            Some(FaultRates {
                error_before: 0.25,
                error_after: 0.25,
                ..healthy.clone()
            }),
        ),
        phase("gone", 60, None),
        phase("back", 30, Some(healthy)),
    ]
}

/// What an account has come to so far.
#[derive(Default)]
struct Tally {
    settled: AtomicU64,
    canceled: AtomicU64,
    /// Given up for now, with nothing done.
    unavailable: AtomicU64,
    sent: AtomicU64,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if !words.iter().any(|word| word == "--bench") || words.iter().any(|word| word == "--test") {
        return ExitCode::SUCCESS;
    }
    let quick = words.iter().any(|word| word == "--quick");
    let ended = tokio::runtime::Runtime::new()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(quick)));
    let (text, code) = match ended {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(failure) => (format!("brownout: {failure}\n"), ExitCode::FAILURE),
    };
    // With standard output gone there is nobody left to tell.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    code
}

async fn run(quick: bool) -> Result<String, Failure> {
    let options = || sandbox::Options {
        recorded_requests_max: 0,
        ..Default::default()
    };
    let mut troubled = Some(Sandbox::start(options())?);
    let calm = Sandbox::start(options())?;
    let addr = troubled.as_ref().ok_or("no sandbox")?.addr();
    let control = troubled.as_ref().ok_or("no sandbox")?.control();
    let text = format!(
        "{}{}",
        account("troubled", &format!("http://{addr}/rebilly")),
        account("calm", &calm.base_url(Provider::Rebilly)),
    );
    let dir = tempfile::tempdir()?;
    let (app, client) = serve(&text, &dir).await?;

    let tallies = [Arc::new(Tally::default()), Arc::new(Tally::default())];
    let over = Arc::new(AtomicBool::new(false));
    let mut work = feeds(&client, &tallies, &over);

    let mut report = format!(
        "{:<16} {:>7} {:>14} {:>8} {:>11} {:>8} {:>12}\n",
        "phase", "seconds", "requests/s", "load", "settled/s", "speed", "other/s"
    );
    let mut usual = None;
    let mut back_after = None;
    let mut others_least = f64::INFINITY;
    for phase in phases(quick) {
        match &phase.rates {
            Some(rates) => {
                if troubled.is_none() {
                    troubled = Some(Sandbox::start_with(control.clone(), addr.port())?);
                }
                control.set_fault_rates(Provider::Rebilly, rates.clone());
            }
            None => {
                if let Some(sandbox) = troubled.take() {
                    sandbox.stop().await;
                }
            }
        }
        let seen = watch(&phase, &control, &tallies).await;
        let (requests, settled, other) = seen.mean();
        let (load_1, speed_1, other_1) = *usual.get_or_insert((requests, settled, other));
        others_least = others_least.min(other / other_1);
        if phase.name == "back" {
            back_after = seen.settled.iter().position(|now| *now >= 0.9 * speed_1);
        }
        writeln!(
            report,
            "{:<16} {:>7} {requests:>14.0} {:>7.2}x {settled:>11.0} {:>7.2}x {other:>12.0}",
            phase.name,
            phase.seconds,
            requests / load_1,
            settled / speed_1,
        )?;
    }
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = work.join_next().await {
        ended??;
    }
    app.stop().await;
    write!(
        report,
        "\nat 90 % of full speed again {} of its return\nother account at least at \
         {others_least:.2} of its speed\n",
        back_after.map_or_else(
            || "not within the phase".to_owned(),
            |second| format!("within {} s", second + 1)
        ),
    )?;
    let [tally, _] = &tallies;
    let (kept, text) = promises(tally, &control)?;
    report.push_str(&text);
    if kept {
        Ok(report)
    } else {
        Err(format!("{report}a promise was broken").into())
    }
}

/// Whether all that was admitted settled, what is told as done was done once, and what it took.
/// An item may settle as unavailable: eight failures of it, and a look after each that found
/// nothing done.
fn promises(tally: &Tally, control: &sandbox::Control) -> Result<(bool, String), Failure> {
    let effects = control.effects(Provider::Rebilly);
    let twice = effects.values().filter(|count| **count > 1).count();
    let sent = tally.sent.load(Ordering::Relaxed);
    let canceled = tally.canceled.load(Ordering::Relaxed);
    let unavailable = tally.unavailable.load(Ordering::Relaxed);
    let requests = control.counts(Provider::Rebilly).requests;
    let each = to_f64(requests) / to_f64(sent);
    let done = effects.len();
    let text = format!(
        "{requests} requests for {sent} cancellations: {each:.2} each\nadmitted {sent}, canceled \
         {canceled}, unavailable {unavailable}, effects {done}, done twice {twice}\n"
    );
    let kept = canceled + unavailable == sent && twice == 0 && done == usize::try_from(canceled)?;
    Ok((kept, text))
}

fn account(name: &str, base_url: &str) -> String {
    format!(
        "[accounts.{name}]\nprovider = \"rebilly\"\norganization = \"org\"\nbase_url = \
         {base_url:?}\ncredential_env = \"CREDENTIAL\"\nrate_per_second = {RATE:.1}\nrate_burst = \
         20\ntimeout_ms = 5000\nsettling_ms = 1000\n"
    )
}

async fn serve(
    accounts: &str,
    dir: &tempfile::TempDir,
) -> Result<(App, CancellationServiceClient<Channel>), Failure> {
    let text = format!(
        "[journal]\ndir = {:?}\n{accounts}",
        dir.path().join("journal").display().to_string()
    );
    let env: Env = [("CREDENTIAL", "bench-credential")].into_iter().collect();
    let config = config::parse("brownout", &text, &env, &[]).map_err(|e| e.to_string())?;
    let (journal, options) = app::assemble(&config)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let app = App::start(listener, journal, options).await?;
    let channel = Endpoint::from_shared(format!("http://{}", app.addr()))?
        .connect()
        .await?;
    Ok((app, CancellationServiceClient::new(channel)))
}

/// Keeps both accounts busy.
fn feeds(
    client: &CancellationServiceClient<Channel>,
    tallies: &[Arc<Tally>; 2],
    over: &Arc<AtomicBool>,
) -> JoinSet<Result<(), Failure>> {
    let mut work = JoinSet::new();
    for (name, tally) in ["troubled", "calm"].into_iter().zip(tallies) {
        for lane in 0..BATCHES_OPEN {
            let (tally, over) = (Arc::clone(tally), Arc::clone(over));
            work.spawn(feed(client.clone(), name, lane, tally, over));
        }
    }
    work
}

/// Sends one batch after the other until it is over.
async fn feed(
    mut client: CancellationServiceClient<Channel>,
    account: &'static str,
    lane: usize,
    tally: Arc<Tally>,
    over: Arc<AtomicBool>,
) -> Result<(), Failure> {
    let mut batch = 0;
    while !over.load(Ordering::Relaxed) {
        let key = format!("{account}-{lane}-{batch}");
        batch += 1;
        let item = |i| SubscriptionCancellation {
            account: account.to_owned(),
            subscription_id: format!("{key}-{i}"),
            when: Some(When {
                when: Some(Choice::Now(Now {})),
            }),
            ..Default::default()
        };
        let request = CancelSubscriptionRequest {
            idempotency_key: key.clone(),
            cancellations: (0..BATCH).map(item).collect(),
            retry_window: Some(prost_types::Duration {
                seconds: 3_600,
                nanos: 0,
            }),
            ..Default::default()
        };
        tally.sent.fetch_add(BATCH, Ordering::Relaxed);
        let mut stream = client.cancel_subscription(request).await?.into_inner();
        while let Some(message) = stream.message().await? {
            for result in &message.results {
                let canceled = result.outcome() == Outcome::Canceled;
                let unavailable = result.outcome() == Outcome::Unavailable;
                tally
                    .unavailable
                    .fetch_add(u64::from(unavailable), Ordering::Relaxed);
                tally.settled.fetch_add(1, Ordering::Relaxed);
                tally
                    .canceled
                    .fetch_add(u64::from(canceled), Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// What was seen second by second.
#[derive(Default)]
struct Seen {
    requests: Vec<f64>,
    settled: Vec<f64>,
    other: Vec<f64>,
}

impl Seen {
    fn mean(&self) -> (f64, f64, f64) {
        let mean = |values: &[f64]| {
            let count = u32::try_from(values.len()).unwrap_or(1).max(1);
            values.iter().sum::<f64>() / f64::from(count)
        };
        (mean(&self.requests), mean(&self.settled), mean(&self.other))
    }
}

async fn watch(phase: &Phase, control: &sandbox::Control, tallies: &[Arc<Tally>; 2]) -> Seen {
    let [troubled, calm] = tallies;
    let read = || {
        (
            control.counts(Provider::Rebilly).requests,
            troubled.settled.load(Ordering::Relaxed),
            calm.settled.load(Ordering::Relaxed),
            Instant::now(),
        )
    };
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut seen = Seen::default();
    let mut before = read();
    for _ in 0..phase.seconds {
        ticks.tick().await;
        let now = read();
        let seconds = (now.3 - before.3).as_secs_f64();
        seen.requests.push(to_f64(now.0 - before.0) / seconds);
        seen.settled.push(to_f64(now.1 - before.1) / seconds);
        seen.other.push(to_f64(now.2 - before.2) / seconds);
        before = now;
    }
    seen
}

/// Counts here are far below what a float holds exactly.
fn to_f64(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
