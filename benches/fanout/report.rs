//! The whole measurement, and the page that tells of it.

use std::{fmt::Write as _, time::Instant};

use crate::{
    Failure,
    floors::Floors,
    latency::{Busy, Idle, Rig, Times},
    machine,
    process::Process,
    settings,
    throughput::{self, Role, Round, Sample, Stubs, median},
    write_out,
};

/// How much is measured.
pub(crate) struct Plan {
    pub(crate) batch_items: usize,
    pub(crate) warm_up_items: usize,
    /// Requests at a time.
    pub(crate) streams: usize,
    instant_batches: usize,
    instant_rounds: usize,
    slow_batches: usize,
    slow_rounds: usize,
    singles: usize,
    slow_singles: usize,
    busy_singles: usize,
}

/// All of it.
pub(crate) const FULL: Plan = Plan {
    batch_items: 10_000,
    warm_up_items: 2_000,
    streams: 2,
    instant_batches: 10,
    instant_rounds: 5,
    slow_batches: 10,
    slow_rounds: 3,
    singles: 500,
    slow_singles: 100,
    busy_singles: 150,
};

/// Enough to see whether something broke.
pub(crate) const QUICK: Plan = Plan {
    instant_rounds: 1,
    slow_batches: 2,
    slow_rounds: 1,
    singles: 200,
    slow_singles: 20,
    busy_singles: 30,
    ..FULL
};

/// The provider that takes its time takes so long.
const SLOW_MS: &str = "20";

/// Measures these parts and tells, one after the other.
pub(crate) async fn measure(plan: &Plan, parts: &[&str]) -> Result<(), Failure> {
    let begun = Instant::now();
    write_out(&format!("{}\n", machine::facts()))?;
    let dir = tempfile::tempdir_in(machine::SCRATCH)?;
    let stub = |name: &str, ms: &str| Process::start("stub", ms, &dir.path().join(name));
    let stubs = Stubs {
        instant: stub("stub-instant", "0")?,
        slow: stub("stub-slow", SLOW_MS)?,
    };
    let mut floors = Floors::default();
    for part in parts {
        match *part {
            settings::INSTANT => {
                let rounds = rounds(settings::INSTANT, plan, &stubs).await?;
                write_out(&rounds_text(
                    "a provider that answers at once",
                    plan,
                    &rounds,
                )?)?;
                floors.instant(&rounds);
            }
            settings::SLOW => {
                let rounds = rounds(settings::SLOW, plan, &stubs).await?;
                let title = format!("a provider that takes {SLOW_MS} ms");
                write_out(&rounds_text(&title, plan, &rounds)?)?;
                floors.slow(&rounds);
            }
            _ => {
                let mut rig = Rig::start(&stubs, dir.path()).await?;
                let text = latency(&mut rig, plan, &mut floors).await;
                rig.stop().await?;
                write_out(&text?)?;
            }
        }
    }
    write_out(&floors.text())?;
    stubs.instant.stop().await?;
    stubs.slow.stop().await?;
    write_out(&format!("\nmeasured in {} s\n", begun.elapsed().as_secs()))
}

async fn latency(rig: &mut Rig, plan: &Plan, floors: &mut Floors) -> Result<String, Failure> {
    let mut text = String::from(
        "\none cancellation, in ms                              p50     p90     p99  adds at p50\n",
    );
    for (account, provider, singles) in [
        (settings::INSTANT, "at once", plan.singles),
        (settings::SLOW, "20 ms", plan.slow_singles),
    ] {
        let idle = rig.idle(account, singles).await?;
        idle_text(&mut text, provider, &idle)?;
        if account == settings::INSTANT {
            floors.latency(&idle);
        }
        for role in Role::BOTH {
            let busy = rig.busy(role, account, plan.batch_items, plan.busy_singles);
            busy_text(&mut text, provider, role, &busy.await?)?;
        }
    }
    Ok(text)
}

async fn rounds(account: &str, plan: &Plan, stubs: &Stubs) -> Result<Vec<Round>, Failure> {
    let (batches, count) = if account == settings::SLOW {
        (plan.slow_batches, plan.slow_rounds)
    } else {
        (plan.instant_batches, plan.instant_rounds)
    };
    let mut rounds = Vec::with_capacity(count);
    for round in 0..count {
        let sample = |role| throughput::sample(role, account, batches, stubs, plan);
        // Whatever drifts, neither side always comes second.
        let (bare, cancelot) = if round % 2 == 0 {
            let bare = sample(Role::Bare).await?;
            (bare, sample(Role::Cancelot).await?)
        } else {
            let cancelot = sample(Role::Cancelot).await?;
            (sample(Role::Bare).await?, cancelot)
        };
        rounds.push(Round { bare, cancelot });
    }
    Ok(rounds)
}

fn rounds_text(title: &str, plan: &Plan, rounds: &[Round]) -> Result<String, Failure> {
    let mut text = String::new();
    let items = rounds.first().map_or(0, |round| round.bare.items);
    writeln!(
        text,
        "\n{title}: {items} items in batches of {}, {} streams and {} calls at a time, medians of \
         {}\n                    items/s   CPU s/10k   with stub and client   peak MiB   and replay   \
         disk B/item",
        plan.batch_items,
        plan.streams,
        settings::IN_FLIGHT,
        rounds.len(),
    )?;
    for role in Role::BOTH {
        let of = |value: &dyn Fn(&Sample) -> f64| median(rounds.iter().map(|r| value(r.of(role))));
        writeln!(
            text,
            "  {:<14} {:>10.0} {:>11.3} {:>22.3} {:>10.0} {:>12.0} {:>13.0}",
            role.word(),
            of(&Sample::items_per_second),
            of(&Sample::service_cpu),
            of(&Sample::whole_cpu),
            of(&|sample| sample.memory_peak_mib().0),
            of(&|sample| sample.memory_peak_mib().1),
            of(&Sample::written_per_item),
        )?;
    }
    let ratios = |value: &dyn Fn(&Sample) -> f64| {
        median(rounds.iter().map(|r| value(&r.cancelot) / value(&r.bare)))
    };
    writeln!(
        text,
        "  {:<14} {:>10.2} {:>11.2} {:>22.2}",
        "b/a by round",
        ratios(&Sample::items_per_second),
        ratios(&Sample::service_cpu),
        ratios(&Sample::whole_cpu),
    )?;
    let replay = median(
        rounds
            .iter()
            .map(|round| round.cancelot.replays_per_second()),
    );
    let times = median(rounds.iter().map(Round::replay_ratio));
    writeln!(
        text,
        "  {:<14} {replay:>10.0}   replayed, {times:.1} times bare",
        "settled items"
    )?;
    Ok(text)
}

fn idle_text(text: &mut String, provider: &str, idle: &Idle) -> Result<(), Failure> {
    let direct = &idle.direct;
    row(
        text,
        &format!("provider {provider}, idle: the call alone"),
        direct,
        None,
    )?;
    row(text, "  bare", &idle.bare, Some(direct))?;
    row(text, "  cancelot", &idle.cancelot, Some(direct))?;
    let write = format!("  a durable write of {} bytes", machine::WRITE_BYTES);
    row(text, &write, &idle.write, None)
}

fn busy_text(text: &mut String, provider: &str, role: Role, busy: &Busy) -> Result<(), Failure> {
    let title = format!("provider {provider}, during a batch: the call alone");
    row(text, &title, &busy.direct, None)?;
    row(
        text,
        &format!("  {}", role.word()),
        &busy.service,
        Some(&busy.direct),
    )
}

fn row(text: &mut String, name: &str, of: &Times, over: Option<&Times>) -> Result<(), Failure> {
    let [p50, p90, p99] = [50, 90, 99].map(|percent| ms(of, percent));
    write!(text, "{name:<50} {p50:>6.2} {p90:>7.2} {p99:>7.2}")?;
    match over {
        Some(over) => writeln!(text, " {:>13.2}", p50 - ms(over, 50))?,
        None => writeln!(text)?,
    }
    Ok(())
}

fn ms(times: &Times, percent: usize) -> f64 {
    times.percentile(percent).as_secs_f64() * 1_000.0
}
