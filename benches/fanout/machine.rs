//! What was measured on: facts that decide how the numbers read.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

/// Where journals are: below the target directory, whose file system the report names.
pub(crate) const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

/// Bytes of a durable write for comparison: roughly what is recorded of one item.
pub(crate) const WRITE_BYTES: usize = 2_048;

/// One line about the machine.
pub(crate) fn facts() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = read("/proc/cpuinfo");
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |line| {
            line.trim_start_matches([' ', '\t', ':'])
        });
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{cores} cores ({model}), Linux {}, journal on {}, load before {}",
        kernel.trim(),
        file_system(Path::new(SCRATCH), &read("/proc/self/mounts")),
        load.split_whitespace().next().unwrap_or("unknown"),
    )
}

/// The file system that a path is on. In memory a durable write costs nothing, so say that.
fn file_system(path: &Path, mounts: &str) -> String {
    let of_path = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        path.starts_with(at).then_some((at.len(), kind))
    });
    // The later of two mounts at the same place hides the earlier one.
    match of_path.max_by_key(|(len, _)| *len) {
        Some((_, "tmpfs")) => "tmpfs: NOT A DISK, nothing durable is measured".to_owned(),
        Some((_, kind)) => kind.to_owned(),
        None => "an unknown file system".to_owned(),
    }
}

/// A file that grows by durable writes.
pub(crate) struct Probe {
    file: File,
}

impl Probe {
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let file = File::create(dir.join("probe"))?;
        Ok(Self { file })
    }

    /// How long one more takes.
    pub(crate) fn write(&mut self) -> io::Result<Duration> {
        let begun = Instant::now();
        self.file.write_all(&[0x5a; WRITE_BYTES])?;
        self.file.sync_data()?;
        Ok(begun.elapsed())
    }
}
