//! Ten times what the provider takes, for a while: what is done all the same, how soon the rest
//! is refused, and what it costs the others and the memory.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tonic::Code;

use crate::{
    Failure,
    latency::Times,
    load::{self, Client},
    machine,
    process::Process,
    settings, write_out,
};

/// The provider's time for a request, in milliseconds. With the account's concurrency that makes
/// a capacity that these cores serve with ease: it is the provider that is short, not the machine.
const PROVIDER_MS: u32 = 100;
const BATCH_ITEMS: u32 = 500;
/// Offered load over capacity.
const FACTOR: u32 = 10;
/// Items that may be open: four seconds' work.
const OPEN_ITEMS_MAX: u32 = 10_000;
/// Connections, so that none runs out of streams.
const CONNECTIONS: usize = 8;
/// Batches at a time while the peak is measured.
const PEAK_STREAMS: u32 = 10;
const SINGLES_EVERY: Duration = Duration::from_millis(50);
/// How long it runs if nobody says.
const SECONDS: u64 = 60;

/// What came of what was sent.
#[derive(Default)]
struct Tally {
    settled: AtomicU64,
    admitted: AtomicU64,
    refused: AtomicU64,
    other: AtomicU64,
    refusals: Mutex<Times>,
    singles: Mutex<Times>,
    singles_refused: AtomicU64,
    full: AtomicBool,
}

/// Measures for so many seconds, as the words say.
pub(crate) async fn measure(words: &[&str]) -> Result<(), Failure> {
    let said = words.iter().position(|word| *word == "--seconds");
    let seconds = match said.and_then(|at| words.get(at + 1)) {
        Some(seconds) => seconds.parse()?,
        None => SECONDS,
    };
    write_out(&format!("{}\n", machine::facts()))?;
    let dir = tempfile::tempdir_in(machine::SCRATCH)?;
    let stub = Process::start("stub", &PROVIDER_MS.to_string(), &dir.path().join("stub"))?;
    let service = start(&stub, dir.path())?;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(load::connect(service.addr()).await?);
    }
    let peak = peak(&clients, Duration::from_secs(seconds) / 4).await?;
    let calm = probes(&clients, Duration::from_secs(seconds) / 8).await?;
    let capacity = u32::try_from(settings::IN_FLIGHT)? * 1_000 / PROVIDER_MS;
    let (tally, rate, memory) =
        overload(&service, &clients, capacity, Duration::from_secs(seconds)).await?;
    write_out(&text(peak, &calm, &tally, rate, &memory, capacity)?)?;
    service.stop().await?;
    stub.stop().await
}

fn start(stub: &Process, dir: &Path) -> Result<Process, Failure> {
    let text = settings::text(&dir.join("journal"), &stub.url(), &stub.url());
    let text = format!("{text}[engine]\nopen_items_max = {OPEN_ITEMS_MAX}\n");
    Process::start("cancelot", &text, &dir.join("cancelot"))
}

/// Items a second if as much is offered as is done.
async fn peak(clients: &[Client], time: Duration) -> Result<f64, Failure> {
    let tally = Arc::new(Tally::default());
    let until = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for stream in 0..PEAK_STREAMS {
        let client = clients[usize::try_from(stream)? % CONNECTIONS].clone();
        let tally = Arc::clone(&tally);
        tasks.spawn(async move {
            for batch in 0.. {
                if Instant::now() >= until {
                    break;
                }
                send(
                    client.clone(),
                    format!("peak-{stream}-{batch}"),
                    BATCH_ITEMS,
                    &tally,
                )
                .await;
            }
        });
    }
    // Its beginning and its end are not the peak.
    tokio::time::sleep(time / 4).await;
    let (begun, before) = (Instant::now(), tally.settled.load(Ordering::Relaxed));
    tokio::time::sleep(time / 2).await;
    let done = tally.settled.load(Ordering::Relaxed) - before;
    let rate = float(done) / begun.elapsed().as_secs_f64();
    while tasks.join_next().await.is_some() {}
    Ok(rate)
}

/// Single cancellations with nothing else going on.
async fn probes(clients: &[Client], time: Duration) -> Result<Arc<Tally>, Failure> {
    let tally = Arc::new(Tally::default());
    let until = Instant::now() + time;
    let mut number = 0;
    while Instant::now() < until {
        single(clients[0].clone(), format!("calm-{number}"), &tally).await;
        number += 1;
    }
    Ok(tally)
}

/// Offers so much more than is done, whatever becomes of it.
async fn overload(
    service: &Process,
    clients: &[Client],
    capacity: u32,
    time: Duration,
) -> Result<(Arc<Tally>, f64, Vec<u64>), Failure> {
    let tally = Arc::new(Tally::default());
    let batches = f64::from(FACTOR) * f64::from(capacity) / f64::from(BATCH_ITEMS);
    let mut batch_ticks = interval(Duration::from_secs_f64(1.0 / batches));
    // Offered is offered: a late tick is made up for.
    batch_ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut single_ticks = interval(SINGLES_EVERY);
    single_ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut second_ticks = interval(Duration::from_secs(1));
    let mut memory = Vec::new();
    let mut tasks = JoinSet::new();
    let mut number = 0_usize;
    let begun = Instant::now();
    let mut measured_from = None;
    while begun.elapsed() < time {
        number += 1;
        let tally = Arc::clone(&tally);
        let client = clients[number % CONNECTIONS].clone();
        tokio::select! {
            _ = batch_ticks.tick() => {
                let key = format!("over-{number}");
                tasks.spawn(async move { send(client, key, BATCH_ITEMS, &tally).await });
            }
            _ = single_ticks.tick() => {
                let key = format!("single-{number}");
                tasks.spawn(async move { single(client, key, &tally).await });
            }
            _ = second_ticks.tick() => {
                // From the first refusal on it is full, and stays so.
                if tally.full.load(Ordering::Relaxed) {
                    memory.push(service.memory_bytes()?);
                    measured_from.get_or_insert_with(|| {
                        (Instant::now(), tally.settled.load(Ordering::Relaxed))
                    });
                }
            }
            Some(_) = tasks.join_next() => {}
        }
    }
    let (from, before) = measured_from.ok_or("it was never full")?;
    let done = tally.settled.load(Ordering::Relaxed) - before;
    let rate = float(done) / from.elapsed().as_secs_f64();
    // What was admitted still finishes.
    while tasks.join_next().await.is_some() {}
    Ok((tally, rate, memory))
}

async fn send(mut client: Client, key: String, items: u32, tally: &Tally) {
    let Ok(count) = usize::try_from(items) else {
        return;
    };
    let request = load::request(settings::SLOW, key, count);
    let begun = Instant::now();
    let mut settled = 0;
    match client.cancel_subscription(request).await {
        Ok(stream) => {
            let mut stream = stream.into_inner();
            while let Ok(Some(message)) = stream.message().await {
                settled += message.results.len();
                let more = u64::try_from(message.results.len()).unwrap_or_default();
                tally.settled.fetch_add(more, Ordering::Relaxed);
            }
            let whole = settled == count;
            let counter = if whole { &tally.admitted } else { &tally.other };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Err(status) if status.code() == Code::ResourceExhausted => {
            tally.full.store(true, Ordering::Relaxed);
            tally.refused.fetch_add(1, Ordering::Relaxed);
            tally
                .refusals
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add(begun.elapsed());
        }
        Err(_) => {
            tally.other.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn single(mut client: Client, key: String, tally: &Tally) {
    let begun = Instant::now();
    match client
        .cancel_subscription(load::request(settings::SLOW, key, 1))
        .await
    {
        Ok(stream) => {
            let mut stream = stream.into_inner();
            while let Ok(Some(_)) = stream.message().await {}
            tally
                .singles
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add(begun.elapsed());
        }
        Err(_) => {
            tally.singles_refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn text(
    peak: f64,
    calm: &Tally,
    tally: &Tally,
    rate: f64,
    memory: &[u64],
    capacity: u32,
) -> Result<String, Failure> {
    let ms = |times: &Mutex<Times>, percent| {
        let times = times.lock().unwrap_or_else(PoisonError::into_inner);
        times.percentile(percent).as_secs_f64() * 1_000.0
    };
    let third = (memory.len() / 3).max(1);
    let mean = |part: &[u64]| {
        let count = u64::try_from(part.len()).unwrap_or(u64::MAX).max(1);
        float(part.iter().sum::<u64>() / count) / 1_048_576.0
    };
    let early = mean(memory.get(..third).unwrap_or_default());
    let late = mean(
        memory
            .get(memory.len().saturating_sub(third)..)
            .unwrap_or_default(),
    );
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(format!(
        "\n{FACTOR} times a capacity of {capacity} items a second, in batches of {BATCH_ITEMS}\n\
         goodput, items a second       {rate:>9.0}   peak {peak:.0}, ratio {:.2} (floor 0.90)\n\
         batches                       {:>9} finished, {} refused, {} else\n\
         refused after, ms             {:>9.1} p50, {:.1} p99\n\
         a single cancellation, ms     {:>9.1} p50, {:.1} p99   calm {:.1} p50, {:.1} p99; {} refused\n\
         memory, MiB                   {early:>9.1} first third, {late:.1} last third, ratio {:.2}\n",
        rate / peak,
        count(&tally.admitted),
        count(&tally.refused),
        count(&tally.other),
        ms(&tally.refusals, 50),
        ms(&tally.refusals, 99),
        ms(&tally.singles, 50),
        ms(&tally.singles, 99),
        ms(&calm.singles, 50),
        ms(&calm.singles, 99),
        count(&tally.singles_refused),
        late / early,
    ))
}

/// Counts are far below what a float holds exactly.
#[expect(clippy::as_conversions, reason = "rounding is as good as it gets")]
fn float(count: u64) -> f64 {
    count as f64
}
