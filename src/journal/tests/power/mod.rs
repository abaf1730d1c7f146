//! Power cuts: everything that a process did to its files is recorded, in order, with what it
//! acknowledged. At a cut, what was synced is there, and of what was not any part. Whatever was
//! acknowledged before the cut has to be there when the journal is opened again.
//!
//! `CUTS` sets how many there are (12 if unset), `SEED` what is drawn:
//! `CUTS=240 SEED=7 cargo test --lib journal::tests::power -- --nocapture`. Needs no privileges,
//! and the C compiler that the build needs too. What is drawn follows from the seed; what the
//! process did meanwhile also depends on the machine.

#![expect(
    clippy::print_stdout,
    reason = "figures and seeds are what it is run for"
)]

mod disk;
mod record;

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command as Process, Stdio},
};

use self::{disk::Disk, record::Op};
use super::{
    audited::{Told, check_chain},
    compaction::stores,
    crash::{self, Acknowledged, hear},
    *,
};

const DIR: &str = "RECORD_DIR";
const LOG: &str = "RECORD_LOG";
const RUN: &str = "RECORD_RUN";
const NAME: &str = "journal::tests::power::whatever_was_acknowledged_survives_a_power_cut";
/// Cuts of one recorded run.
const CUTS_PER_RUN: u64 = 12;
/// Runs on one journal, each going on with what the last cut left.
const RUNS_PER_JOURNAL: u64 = 3;

/// This test starts itself as the process that is recorded.
#[test]
fn whatever_was_acknowledged_survives_a_power_cut() {
    if let (Some(dir), Some(run)) = (variable(DIR), variable(RUN)) {
        crash::work(Path::new(&dir), &run);
    }
    let seed = number("SEED", fastrand::u64(..));
    let cuts = number("CUTS", CUTS_PER_RUN);
    println!("seed {seed}: CUTS={cuts} SEED={seed} cargo test --lib journal::tests::power");
    let mut random = fastrand::Rng::with_seed(seed);
    let recorder = build_recorder();
    let mut base = TempDir::new().unwrap();
    let mut acknowledged = Acknowledged::new();
    let mut told = Told::default();
    let mut sum = Sum::default();
    for run in 0..cuts.div_ceil(CUTS_PER_RUN) {
        if run % RUNS_PER_JOURNAL == 0 {
            base = TempDir::new().unwrap();
            acknowledged.clear();
            told = Told::default();
        }
        let ops = recorded(&recorder, base.path(), run, &mut random);
        let places = places(&ops, &mut random);
        let mut after = acknowledged.clone();
        let mut told_after = told.clone();
        let mut done = 0;
        let mut disk = ops.disk;
        for place in places {
            for op in &ops.list[done..place] {
                disk.apply(op);
                if let Op::Said(said) = op {
                    for line in said.lines() {
                        hear(line, &mut after);
                    }
                }
            }
            done = place;
            base = TempDir::new().unwrap();
            disk.cut(base.path(), &mut random);
            sum.add(base.path(), after.len());
            println!("run {run}, cut at {place} of {}", ops.list.len());
            told_after = told.clone();
            crash::check(base.path(), &after, &mut told_after, seed);
        }
        acknowledged = after;
        told = told_after;
        check_chain(base.path(), seed);
    }
    println!("{sum:?}");
    assert!(sum.acknowledged > 10 * sum.cuts, "{sum:?}, seed {seed}");
}

/// What was seen.
#[derive(Debug, Default)]
struct Sum {
    cuts: usize,
    /// Requests that were looked for, over all cuts.
    acknowledged: usize,
    /// Cuts that left two databases.
    while_compacting: usize,
}

impl Sum {
    fn add(&mut self, dir: &Path, acknowledged: usize) {
        self.cuts += 1;
        self.acknowledged += acknowledged;
        self.while_compacting += usize::from(stores(dir).len() > 1);
    }
}

/// The library that records.
fn build_recorder() -> tempfile::TempPath {
    let library = tempfile::Builder::new().suffix(".so").tempfile().unwrap();
    let library = library.into_temp_path();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/journal/tests/power/recorder.c");
    let built = Process::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&*library, &source])
        .args(["-ldl", "-lpthread"])
        .status()
        .expect("there is a C compiler");
    assert!(built.success(), "{built}");
    library
}

/// What a process did, and the disk that it did it to.
struct Recorded {
    list: Vec<Op>,
    disk: Disk,
}

/// Runs the child on a directory until it has acknowledged so much.
fn recorded(recorder: &Path, base: &Path, run: u64, random: &mut fastrand::Rng) -> Recorded {
    let disk = Disk::with(base);
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env("LD_PRELOAD", recorder)
        .env(DIR, base)
        .env(LOG, log.path())
        .env(RUN, run.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..random.usize(200..1_000) {
        lines.next().expect("the child lives").unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let list = record::read(&fs::read(log.path()).unwrap());
    assert!(list.len() > 500, "it was recorded: {}", list.len());
    Recorded { list, disk }
}

/// Where to cut, in order: anywhere, and often close to a change of names.
fn places(ops: &Recorded, random: &mut fastrand::Rng) -> Vec<usize> {
    let ops = &ops.list;
    let is_name = |op: &Op| {
        matches!(
            op,
            Op::MakeDir { .. } | Op::Rename { .. } | Op::Remove { .. }
        )
    };
    let names: Vec<_> = (0..ops.len()).filter(|at| is_name(&ops[*at])).collect();
    let mut places: Vec<_> = (0..CUTS_PER_RUN)
        .map(|n| match random.choice(&names) {
            Some(at) if n % 2 == 0 => (at + random.usize(..30)).min(ops.len()),
            _ => random.usize(..=ops.len()),
        })
        .collect();
    places.sort_unstable();
    places
}
