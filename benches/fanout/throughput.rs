//! Batches through one service: how fast, for how much CPU and memory.

use std::{path::Path, time::Duration};

use crate::{
    Failure, load,
    process::{Process, own_cpu_seconds},
    report::Plan,
    settings,
};

/// Which service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Bare,
    Cancelot,
}

impl Role {
    /// Both, in the order of the report.
    pub(crate) const BOTH: [Self; 2] = [Self::Bare, Self::Cancelot];

    /// Its word on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Cancelot => "cancelot",
        }
    }
}

/// The stubs that everything is measured against.
pub(crate) struct Stubs {
    pub(crate) instant: Process,
    pub(crate) slow: Process,
}

impl Stubs {
    /// The configuration of a service in this directory.
    pub(crate) fn settings(&self, dir: &Path) -> String {
        settings::text(&dir.join("journal"), &self.instant.url(), &self.slow.url())
    }

    fn of(&self, account: &str) -> &Process {
        if account == settings::SLOW {
            &self.slow
        } else {
            &self.instant
        }
    }
}

/// What one run showed.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) items: usize,
    pub(crate) elapsed: Duration,
    /// Of the service, of the stub, and of the client.
    pub(crate) cpu_seconds: [f64; 3],
    /// The most memory until the last item had settled, and until all were replayed.
    pub(crate) memory_peak_bytes: (u64, u64),
    pub(crate) written_bytes: u64,
    /// How long the same requests took when they had settled.
    pub(crate) replay: Option<Duration>,
}

impl Sample {
    pub(crate) fn items_per_second(&self) -> f64 {
        count(self.items) / self.elapsed.as_secs_f64()
    }

    /// CPU seconds of the service per 10,000 items.
    pub(crate) fn service_cpu(&self) -> f64 {
        let [service, _, _] = self.cpu_seconds;
        service / count(self.items) * 10_000.0
    }

    /// The same of service, stub and client, which share the cores.
    pub(crate) fn whole_cpu(&self) -> f64 {
        self.cpu_seconds.iter().sum::<f64>() / count(self.items) * 10_000.0
    }

    /// MiB at most until the last item had settled, and until all were replayed.
    pub(crate) fn memory_peak_mib(&self) -> (f64, f64) {
        let mib = |peak| bytes(peak) / 1024.0 / 1024.0;
        let (settled, replayed) = self.memory_peak_bytes;
        (mib(settled), mib(replayed))
    }

    pub(crate) fn written_per_item(&self) -> f64 {
        bytes(self.written_bytes) / count(self.items)
    }

    /// Replayed items a second; 0 where nothing was replayed.
    pub(crate) fn replays_per_second(&self) -> f64 {
        self.replay
            .map_or(0.0, |elapsed| count(self.items) / elapsed.as_secs_f64())
    }
}

/// Both services, one right after the other.
pub(crate) struct Round {
    pub(crate) bare: Sample,
    pub(crate) cancelot: Sample,
}

impl Round {
    pub(crate) fn of(&self, role: Role) -> &Sample {
        match role {
            Role::Bare => &self.bare,
            Role::Cancelot => &self.cancelot,
        }
    }

    /// Cancelot's speed as a share of the bare fan-out's.
    pub(crate) fn ratio(&self) -> f64 {
        self.cancelot.items_per_second() / self.bare.items_per_second()
    }

    /// The speed of replays as a multiple of the bare fan-out's.
    pub(crate) fn replay_ratio(&self) -> f64 {
        self.cancelot.replays_per_second() / self.bare.items_per_second()
    }
}

/// The one in the middle; of two, the mean.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2);
    let lower = values.get(values.len().saturating_sub(1) / 2);
    upper
        .zip(lower)
        .map_or(f64::NAN, |(upper, lower)| f64::midpoint(*upper, *lower))
}

fn count(items: usize) -> f64 {
    u32::try_from(items).map_or(f64::INFINITY, f64::from)
}

#[expect(
    clippy::as_conversions,
    reason = "no other way; the rounding does not show"
)]
fn bytes(bytes: u64) -> f64 {
    bytes as f64
}

/// Runs batches through a fresh service, and again if it can replay them.
pub(crate) async fn sample(
    role: Role,
    account: &str,
    batches: usize,
    stubs: &Stubs,
    plan: &Plan,
) -> Result<Sample, Failure> {
    let dir = tempfile::tempdir_in(crate::machine::SCRATCH)?;
    let text = stubs.settings(dir.path());
    let service = Process::start(role.word(), &text, &dir.path().join("log"))?;
    let stub = stubs.of(account);
    let client = load::connect(service.addr()).await?;
    // Connections, threads and caches come about before the clock starts.
    let warm_up = vec![load::request(
        account,
        "warm-up".to_owned(),
        plan.warm_up_items,
    )];
    load::run(&client, warm_up, 1, false).await?;

    let requests: Vec<_> = (0..batches)
        .map(|batch| load::request(account, format!("batch-{batch}"), plan.batch_items))
        .collect();
    let again = requests.clone();
    let cpu = || {
        Ok::<_, Failure>([
            service.cpu_seconds()?,
            stub.cpu_seconds()?,
            own_cpu_seconds()?,
        ])
    };
    let (before, written) = (cpu()?, service.written_bytes()?);
    let elapsed = load::run(&client, requests, plan.streams, false).await?;
    let mut cpu_seconds = cpu()?;
    for (after, before) in cpu_seconds.iter_mut().zip(before) {
        *after -= before;
    }
    let written_bytes = service.written_bytes()? - written;
    let settled_peak = service.memory_peak_bytes()?;
    drop(client);
    let replay = match role {
        Role::Bare => None,
        Role::Cancelot => {
            let client = load::connect(service.addr()).await?;
            Some(load::run(&client, again, plan.streams, true).await?)
        }
    };
    let memory_peak_bytes = (settled_peak, service.memory_peak_bytes()?);
    service.stop().await?;
    Ok(Sample {
        items: batches * plan.batch_items,
        elapsed,
        cpu_seconds,
        memory_peak_bytes,
        written_bytes,
        replay,
    })
}
