//! The metrics of the process, by their customary names. Only Linux tells them; what it does not
//! tell is left out.

use std::{fmt, fs, time::Duration};

use rustix::param::{clock_ticks_per_second, page_size};

use super::encoder::Encoder;

pub(super) fn encode(page: &mut Encoder<'_>) -> fmt::Result {
    let stat = Stat::read();
    page.gauge(
        "process_resident_memory_bytes",
        "Memory in use.",
        resident_bytes().map(|bytes| ([], bytes)),
    )?;
    page.gauge(
        "process_open_fds",
        "Open file descriptors.",
        open_fds().map(|count| ([], count)),
    )?;
    page.gauge(
        "process_max_fds",
        "File descriptors that may be open.",
        max_fds().map(|count| ([], count)),
    )?;
    let Some(stat) = stat else { return Ok(()) };
    page.counter(
        "process_cpu_seconds",
        "Processor time, user and system.",
        [([], stat.cpu.as_secs_f64())],
    )?;
    page.gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970.",
        stat.started.map(|at| ([], at.as_secs_f64())),
    )
}

struct Stat {
    cpu: Duration,
    started: Option<Duration>,
}

impl Stat {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The program's name may hold anything, so the fields are counted from after it.
        let (_, fields) = stat.rsplit_once(')')?;
        let field = |at: usize| fields.split_whitespace().nth(at)?.parse::<u64>().ok();
        let ticks = field(11)?.checked_add(field(12)?)?;
        let after_boot = ticked(field(19)?);
        Some(Self {
            cpu: ticked(ticks),
            started: booted().map(|booted| booted + after_boot),
        })
    }
}

fn ticked(ticks: u64) -> Duration {
    let ms = ticks.saturating_mul(1_000) / clock_ticks_per_second().max(1);
    Duration::from_millis(ms)
}

/// When the machine started, since 1970.
fn booted() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok().map(Duration::from_secs)
}

fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(page_size()).ok()?)
}

fn open_fds() -> Option<u64> {
    u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

fn max_fds() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}
