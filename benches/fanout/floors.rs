//! What was promised, and whether it holds.

use std::fmt::Write as _;

use crate::{
    latency::{Idle, Times},
    throughput::{Round, median},
};

/// b/a with a provider that answers at once.
const RATIO_INSTANT: f64 = 0.7;
/// b/a with one that takes 20 ms.
const RATIO_SLOW: f64 = 0.95;
const MEMORY_MIB: f64 = 250.0;
/// Replays of settled items, as a multiple of the bare fan-out.
const REPLAY: f64 = 5.0;
/// Latency beyond one durable write, idle, at p50.
const BEYOND_WRITE_MS: f64 = 1.0;

/// The floors, each with what was measured.
#[derive(Default)]
pub(crate) struct Floors(Vec<(bool, String)>);

impl Floors {
    pub(crate) fn instant(&mut self, rounds: &[Round]) {
        let ratio = median(rounds.iter().map(Round::ratio));
        self.add(
            ratio >= RATIO_INSTANT,
            format!("b/a {ratio:.2}, at least {RATIO_INSTANT}, provider at once"),
        );
        self.memory(rounds);
        let replay = median(rounds.iter().map(Round::replay_ratio));
        self.add(
            replay >= REPLAY,
            format!("replay {replay:.1} times bare, at least {REPLAY}, provider at once"),
        );
    }

    pub(crate) fn slow(&mut self, rounds: &[Round]) {
        let ratio = median(rounds.iter().map(Round::ratio));
        self.add(
            ratio >= RATIO_SLOW,
            format!("b/a {ratio:.2}, at least {RATIO_SLOW}, provider 20 ms"),
        );
        self.memory(rounds);
    }

    fn memory(&mut self, rounds: &[Round]) {
        let peaks = rounds.iter().map(|round| round.cancelot.memory_peak_mib());
        let (settled, replayed) = peaks.fold((0.0, 0.0), |(settled, replayed), peak| {
            (f64::max(settled, peak.0), f64::max(replayed, peak.1))
        });
        self.add(
            replayed < MEMORY_MIB,
            format!(
                "memory {replayed:.0} MiB at most ({settled:.0} before replays), below {MEMORY_MIB}"
            ),
        );
    }

    pub(crate) fn latency(&mut self, idle: &Idle) {
        let ms = |times: &Times| times.percentile(50).as_secs_f64() * 1_000.0;
        let (adds, write) = (ms(&idle.cancelot) - ms(&idle.direct), ms(&idle.write));
        let most = write + BEYOND_WRITE_MS;
        self.add(
            adds <= most,
            format!("adds {adds:.2} ms, at most {most:.2}: a write of {write:.2} + 1, p50, idle"),
        );
    }

    fn add(&mut self, met: bool, what: String) {
        self.0.push((met, what));
    }

    /// One line each.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("\nfloors\n");
        for (met, what) in &self.0 {
            let word = if *met { "met   " } else { "MISSED" };
            // Writing to a String does not fail.
            let _ = writeln!(text, "  {word}  {what}");
        }
        text
    }
}
