//! A role from the outside: a child process, and what the kernel says of it.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::Failure;

/// The kernel counts CPU time in hundredths of a second wherever Linux runs.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running role.
pub(crate) struct Process {
    child: Child,
    addr: SocketAddr,
}

impl Process {
    /// Starts this very binary in a role; its log goes into a file.
    pub(crate) fn start(role: &str, argument: &str, log: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(env::current_exe()?)
            .args(["--role", role, argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log)?)
            .spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        match line.trim().parse() {
            Ok(addr) => Ok(Self { child, addr }),
            Err(_) => {
                let said = fs::read_to_string(log).unwrap_or_default();
                Err(format!("{role} did not start: {said}").into())
            }
        }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens, as a URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// CPU time so far, user and system.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, Failure> {
        cpu_seconds(&self.read("stat")?)
    }

    /// The most memory it ever had resident.
    pub(crate) fn memory_peak_bytes(&self) -> Result<u64, Failure> {
        let kib = field(&self.read("status")?, "VmHWM:")?;
        Ok(kib * 1024)
    }

    /// The memory it has resident now.
    pub(crate) fn memory_bytes(&self) -> Result<u64, Failure> {
        let kib = field(&self.read("status")?, "VmRSS:")?;
        Ok(kib * 1024)
    }

    /// Bytes it caused to be written to disks.
    pub(crate) fn written_bytes(&self) -> Result<u64, Failure> {
        field(&self.read("io")?, "write_bytes:")
    }

    fn read(&self, file: &str) -> Result<String, Failure> {
        Ok(fs::read_to_string(format!(
            "/proc/{}/{file}",
            self.child.id()
        ))?)
    }

    /// Ends it and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        let status = tokio::task::spawn_blocking(move || self.child.wait()).await??;
        if status.success() {
            Ok(())
        } else {
            Err(format!("a role ended with {status}").into())
        }
    }
}

/// CPU time of this process so far.
pub(crate) fn own_cpu_seconds() -> Result<f64, Failure> {
    cpu_seconds(&fs::read_to_string("/proc/self/stat")?)
}

fn cpu_seconds(stat: &str) -> Result<f64, Failure> {
    // The name, in brackets, may hold anything; the 12th and 13th fields after it are the times.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: Result<Vec<f64>, _> = ticks.map(str::parse).collect();
    Ok(ticks?.iter().sum::<f64>() / TICKS_PER_SECOND)
}

fn field(text: &str, name: &str) -> Result<u64, Failure> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    Ok(value.ok_or_else(|| format!("no {name}"))?.parse()?)
}
