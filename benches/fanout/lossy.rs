//! A provider that hangs up on some of the cancels: what that costs the batches, and what it costs
//! single cancellations beside them, their own answers lost or not.

mod seen;
mod text;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use cancelot::rpc::proto::{CancelSubscriptionRequest, SubscriptionResult};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    Failure,
    load::{self, Client},
    machine,
    process::Process,
    settings, write_out,
};
use seen::{Ended, Side, is_lost};
use text::text;

/// The provider's time for a request, in milliseconds: it is the provider that is short, so that
/// requests that are kept waiting for lost answers would show.
const PROVIDER_MS: u32 = 20;
/// 3 % of the cancels.
const LOST_EVERY: u32 = 33;
const BATCH_ITEMS: usize = 10_000;
const WARM_UP_ITEMS: usize = 2_000;
const SINGLES_EVERY: Duration = Duration::from_millis(10);

/// Rounds, and batches of a round on each side.
const FULL: (usize, usize) = (4, 10);
const QUICK: (usize, usize) = (1, 5);

/// Measures both sides in turn.
pub(crate) async fn measure(quick: bool) -> Result<(), Failure> {
    let (rounds, batches) = if quick { QUICK } else { FULL };
    write_out(&format!("{}\n", machine::facts()))?;
    let dir = tempfile::tempdir_in(machine::SCRATCH)?;
    let stub = |name: &str, lost_every: u32| {
        let how = format!("{PROVIDER_MS} {lost_every}");
        Process::start("stub", &how, &dir.path().join(name))
    };
    let stubs = [stub("stub-whole", 0)?, stub("stub-lossy", LOST_EVERY)?];
    let service = start(&stubs, dir.path())?;
    let clients = [
        load::connect(service.addr()).await?,
        load::connect(service.addr()).await?,
    ];
    let mut sides = [Side::default(), Side::default()];
    let accounts = [settings::WHOLE, settings::LOSSY];
    for account in accounts {
        warm_up(&clients[0], account).await?;
    }
    for round in 0..rounds {
        // Whatever drifts, neither side always comes second.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let run = Run {
                account: accounts[side],
                round,
                clients: &clients,
            };
            run.measure(batches, &mut sides[side]).await?;
        }
    }
    drop(clients);
    let [whole, lossy] = &sides;
    write_out(&text(whole, lossy, BATCH_ITEMS, PROVIDER_MS, LOST_EVERY)?)?;
    service.stop().await?;
    for stub in stubs {
        stub.stop().await?;
    }
    Ok(())
}

fn start(stubs: &[Process; 2], dir: &Path) -> Result<Process, Failure> {
    let [whole, lossy] = stubs;
    let text = settings::lossy_text(&dir.join("journal"), &whole.url(), &lossy.url());
    Process::start("cancelot", &text, &dir.join("cancelot"))
}

/// Connections, threads and caches come about before the clock starts.
async fn warm_up(client: &Client, account: &str) -> Result<(), Failure> {
    let request = load::request(account, format!("{account}-warm-up"), WARM_UP_ITEMS);
    let (half, _) = oneshot::channel();
    batch(client.clone(), request, Arc::default(), half).await?;
    Ok(())
}

/// One side in one round.
struct Run<'a> {
    account: &'static str,
    round: usize,
    /// One for batches, one for singles.
    clients: &'a [Client; 2],
}

impl Run<'_> {
    /// Batches that overlap, and singles beside them.
    async fn measure(&self, batches: usize, side: &mut Side) -> Result<(), Failure> {
        let Self { account, round, .. } = *self;
        let [client, singles_client] = self.clients;
        let settled = Arc::new(AtomicUsize::new(0));
        let (enough, is_enough) = watch::channel(false);
        let mut singles = None;
        let mut from = None;
        let mut tasks = JoinSet::new();
        for number in 0..batches {
            let request =
                load::request(account, format!("{account}-{round}-{number}"), BATCH_ITEMS);
            let (half, reached) = oneshot::channel();
            tasks.spawn(batch(client.clone(), request, Arc::clone(&settled), half));
            // The next one takes over halfway, so that no tail of lost answers is waited for. A
            // batch that fails does not get there, and says why below.
            if reached.await.is_err() {
                break;
            }
            // Beginning and end are not what is measured.
            if from.is_none() {
                from = Some((Instant::now(), settled.load(Ordering::Relaxed)));
                let key = format!("{account}-{round}-single");
                let (client, is_enough) = (singles_client.clone(), is_enough.clone());
                singles = Some(tokio::spawn(self::singles(client, account, key, is_enough)));
            }
        }
        let (until, by_then) = (Instant::now(), settled.load(Ordering::Relaxed));
        enough.send_replace(true);
        while let Some(ended) = tasks.join_next().await {
            let (time, ended) = ended??;
            side.batches.add(time);
            side.ended.merge(&ended);
        }
        for (time, result) in singles.ok_or("no batch got halfway")?.await?? {
            let times = if is_lost(&result) {
                &mut side.lost
            } else {
                &mut side.answered
            };
            times.add(time);
            side.ended.add(&result);
        }
        let (from, before) = from.ok_or("no batch got halfway")?;
        let items = u32::try_from(by_then - before)?;
        side.rates
            .push(f64::from(items) / until.duration_since(from).as_secs_f64());
        Ok(())
    }
}

/// Sends one batch, says when half of it has settled, and reads on to its end, however its items
/// come out.
async fn batch(
    mut client: Client,
    request: CancelSubscriptionRequest,
    settled: Arc<AtomicUsize>,
    half: oneshot::Sender<()>,
) -> Result<(Duration, Ended), Failure> {
    let total = request.cancellations.len();
    let mut half = Some(half);
    let mut ended = Ended::default();
    let begun = Instant::now();
    let mut stream = client.cancel_subscription(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        message.results.iter().for_each(|result| ended.add(result));
        settled.fetch_add(message.results.len(), Ordering::Relaxed);
        if ended.items * 2 >= total
            && let Some(half) = half.take()
        {
            // A warm-up is not waited for.
            let _ = half.send(());
        }
    }
    if ended.items == total {
        Ok((begun.elapsed(), ended))
    } else {
        Err(format!("{} of {total} items settled", ended.items).into())
    }
}

/// Sends a single cancellation at each tick, whatever becomes of those before, until it is enough.
async fn singles(
    client: Client,
    account: &'static str,
    key: String,
    mut enough: watch::Receiver<bool>,
) -> Result<Vec<(Duration, SubscriptionResult)>, Failure> {
    let mut ticks = interval(SINGLES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut tasks = JoinSet::new();
    for number in 0.. {
        tokio::select! {
            _ = ticks.tick() => {}
            // With the other end gone it is enough too.
            _ = enough.wait_for(|enough| *enough) => break,
        }
        let request = load::request(account, format!("{key}-{number}"), 1);
        tasks.spawn(single(client.clone(), request));
    }
    let mut results = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        results.push(ended??);
    }
    Ok(results)
}

async fn single(
    mut client: Client,
    request: CancelSubscriptionRequest,
) -> Result<(Duration, SubscriptionResult), Failure> {
    let begun = Instant::now();
    let mut stream = client.cancel_subscription(request).await?.into_inner();
    let mut last = None;
    while let Some(message) = stream.message().await? {
        last = message.results.into_iter().next_back().or(last);
    }
    let result = last.ok_or("a single cancellation without a result")?;
    Ok((begun.elapsed(), result))
}
