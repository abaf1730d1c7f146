//! What durability costs: Cancelot beside a bare fan-out that makes the same HTTP calls for the
//! same gRPC streams and keeps no journal, both against the same stub of a provider.
//!
//! `cargo bench` runs everything and `cargo bench -- --quick` less of everything; the words
//! `instant`, `slow` and `latency` choose parts, for profiles. The binary starts itself again for
//! each role, so that CPU time and memory are those of one role. `cargo bench --bench fanout --
//! overload --seconds 60` and `-- lossy [--quick]` are experiments of their own.

#![allow(
    clippy::indexing_slicing,
    reason = "two roles, two places: a bench that is wrong may end"
)]

mod bare;
mod child;
mod floors;
mod gateway;
mod latency;
mod load;
mod lossy;
mod machine;
mod memory;
mod overload;
mod process;
mod report;
mod settings;
mod stub;
mod throughput;

use std::{error::Error, io::Write as _, process::ExitCode};

/// The allocator that the service ships with, for every role alike.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Failure = Box<dyn Error + Send + Sync>;

const USAGE: &str =
    "fanout: measures under `cargo bench` alone (`cargo bench -- --quick` for a part)\n";

const PARTS: [&str; 3] = [settings::INSTANT, settings::SLOW, "latency"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match *words {
        ["--role", "stub", how] => stub::main(how),
        ["--role", "bare", settings] => bare::main(settings),
        ["--role", "cancelot", settings] => gateway::main(settings),
        // `cargo bench` says --bench; `cargo test --benches` does not.
        _ if words.contains(&"--bench") && !words.contains(&"--test") => measure(&words),
        _ => write_out(USAGE),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "fanout: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure(words: &[&str]) -> Result<(), Failure> {
    let quick = words.contains(&"--quick");
    let plan = if quick { report::QUICK } else { report::FULL };
    let chosen: Vec<_> = PARTS
        .into_iter()
        .filter(|part| words.contains(part))
        .collect();
    let parts = if chosen.is_empty() { &PARTS } else { &*chosen };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if words.contains(&"overload") {
        return runtime.block_on(overload::measure(words));
    }
    if words.contains(&"lossy") {
        return runtime.block_on(lossy::measure(quick));
    }
    runtime.block_on(report::measure(&plan, parts))
}

fn write_out(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
