//! Runs seeds, and prints how to repeat a failed one.

use std::{
    collections::BTreeMap,
    panic::catch_unwind,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use super::runner;

/// The default number of seeds.
const SEEDS: u64 = 1_000;

#[expect(
    clippy::disallowed_methods,
    reason = "how a developer asks for more seeds"
)]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Situations that a thousand seeds have to cover, or they are no test of them.
const SITUATIONS: [&str; 68] = [
    "408",
    "5xx after the effect",
    "5xx before the effect",
    "ALREADY_CANCELED",
    "ALREADY_SCHEDULED",
    "CANCELED",
    "IN_DOUBT",
    "NOT_FOUND",
    "REJECTED",
    "SCHEDULED",
    "STOPPED",
    "UNAVAILABLE",
    "a batch is stopped",
    "a body cut off",
    "a client hangs up",
    "a conflict",
    "a crash at a step",
    "a crash at a time",
    "a drain",
    "a dry run",
    "a page in place of an answer",
    "a wrong body",
    "admitted",
    "an effect",
    "an effect of a straggler",
    "answered",
    "connection refused",
    "draining",
    "full",
    "looks alone are answered",
    "progress",
    "replayed",
    "reply after the timeout",
    "reply lost",
    "request arrives after the timeout",
    "request arrives twice",
    "request lost",
    "resends use up the retry budget",
    "reset after the effect",
    "reset before the effect",
    "sent again",
    "taken up again",
    "the clock jumps ahead",
    "the clock jumps back",
    "the store fails, and has not written",
    "the store fails, and has written",
    "throttled",
    "5xx, and the effect later",
    "a request arrives without its sender",
    "a stop leaves a doubt",
    "a stop withdraws a clearance",
    "a success without a body",
    "a wrong address",
    "accepted, and no effect",
    "accepted, and the effect later",
    "an address is put right",
    "an answer about another",
    "an answer from a cache",
    "another answers after the effect",
    "another answers before the effect",
    "another request in progress",
    "reset, and the effect later",
    "a provider whose clock is off",
    "a restart while a doubt settles",
    "an answer without a date",
    "several keys on a target",
    "what had ended before is cancelled",
    "what nobody knows is cancelled",
];

/// The command that repeats a seed.
fn again(seed: u64) -> String {
    format!("SEED={seed} SEEDS=1 cargo test --lib simulation::tests::promises -- --nocapture")
}

#[test]
#[expect(clippy::print_stdout, reason = "what a developer asked for")]
fn promises_hold_whatever_goes_wrong() {
    let first = variable("SEED").unwrap_or(1);
    let seeds = variable("SEEDS").unwrap_or(SEEDS);
    let failures_max = variable("FAILURES").and_then(|n| usize::try_from(n).ok());
    let failures_max = failures_max.unwrap_or(5);
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    let met = Mutex::new(BTreeMap::<&str, u64>::new());
    let begun = Instant::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds || failed.lock().unwrap().len() >= failures_max {
                return;
            }
            let Ok(world) = catch_unwind(|| runner::run(seed)) else {
                failed.lock().unwrap().push((seed, "it panics".to_owned()));
                continue;
            };
            let state = world.state();
            for (what, times) in &state.met {
                *met.lock().unwrap().entry(what).or_default() += times;
            }
            if seeds == 1 {
                println!("{:#?}\n{}", world.plan, state.trace.join("\n"));
            }
            if let Some(violation) = state.violations.first() {
                failed.lock().unwrap().push((seed, violation.clone()));
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let met = met.into_inner().unwrap();
    println!(
        "{seeds} seeds from {first} in {:?}: {met:#?}",
        begun.elapsed()
    );
    if seeds >= SEEDS && failed.lock().unwrap().is_empty() {
        let never: Vec<_> = SITUATIONS
            .iter()
            .filter(|what| !met.contains_key(*what))
            .collect();
        assert!(never.is_empty(), "these never happened: {never:?}");
    }
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    let lines: Vec<_> = failed
        .iter()
        .map(|(seed, violation)| format!("seed {seed}: {violation}\n  {}", again(*seed)))
        .collect();
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}

#[test]
fn a_seed_repeats_its_run() {
    for seed in 1..=40 {
        let (first, second) = (runner::run(seed), runner::run(seed));
        let (first, second) = (&first.state().trace, &second.state().trace);
        let differs = first.iter().zip(second).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
}
