//! The real binary, started, watched and killed.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use cancelot::sandbox::{Provider, Sandbox};
use tokio::sync::oneshot;
use tonic::transport::Endpoint;

use crate::support::Client;

/// A directory with a configuration and a journal, for one process after the other.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A place whose accounts are at a sandbox.
    pub(crate) fn new(sandbox: &Sandbox, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self { dir };
        let mut text = format!(
            "{more}\n[journal]\ndir = {:?}\n[engine]\nbackoff_base_ms = 5\nbackoff_max_ms = 50\n",
            place.journal().display().to_string()
        );
        for provider in Provider::ALL {
            let name = provider.name();
            text.push_str(&format!(
                "[accounts.{name}]\nprovider = {name:?}\nbase_url = {:?}\ncredential_env = \
                 \"CREDENTIAL\"\nrate_per_second = 10000.0\nrate_burst = 1000\n\
                 concurrency_max = 32\ntimeout_ms = 2000\nconnect_timeout_ms = 1000\n\
                 settling_ms = 1000\n{}",
                sandbox.base_url(provider),
                match provider {
                    Provider::Revolv3 => "set_timing = true\n",
                    Provider::Rebilly => "organization = \"org\"\n",
                    Provider::Solidgate | Provider::FunnelFox | Provider::Sequenzy => "",
                }
            ));
        }
        std::fs::write(place.config(), text).unwrap();
        place
    }

    /// The journal's directory.
    pub(crate) fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("cancelot.toml")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("stderr")
    }

    /// What all processes here have written to standard error.
    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Lets processes here log into a pipe without a reader, until the returned file is dropped.
    pub(crate) fn unread_log(&self) -> File {
        let made = Command::new("mkfifo").arg(self.log()).status().unwrap();
        assert!(made.success());
        // Open for both, so that opening it does not wait for a reader.
        let both = File::options().read(true).write(true).open(self.log());
        both.unwrap()
    }

    /// Starts a process.
    pub(crate) fn start(&self) -> Process {
        Process::start(Command::new(BINARY), &self.config(), &self.log(), &[])
    }

    /// Starts a process that may have so many files open at a time, sockets included.
    pub(crate) fn start_with_files(&self, files_max: usize) -> Process {
        self.start_after(&format!("ulimit -n {files_max}"), &[])
    }

    /// Starts a process as a shell does that has run this before, such as `umask 0`.
    pub(crate) fn start_after(&self, script: &str, more: &[&str]) -> Process {
        let mut shell = Command::new("sh");
        let script = format!("{script} && exec \"$0\" \"$@\"");
        shell.args(["-c", &script, BINARY]);
        Process::start(shell, &self.config(), &self.log(), more)
    }

    /// Waits until a process has written this to standard error.
    pub(crate) async fn says(&self, text: &str) {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        let said = async {
            while !self.stderr().contains(text) {
                looks.tick().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), said).await;
        waited.unwrap_or_else(|_| panic!("no {text:?} in\n{}", self.stderr()));
    }

    /// Starts a process with more arguments.
    pub(crate) fn start_with(&self, more: &[&str]) -> Process {
        Process::start(Command::new(BINARY), &self.config(), &self.log(), more)
    }

    /// Starts a process that believes the authorities of a file in place of the system's.
    pub(crate) fn start_believing(&self, authorities: &Path) -> Process {
        let mut binary = Command::new(BINARY);
        binary.env("SSL_CERT_FILE", authorities);
        Process::start(binary, &self.config(), &self.log(), &[])
    }

    /// Starts a process and waits until it serves.
    pub(crate) async fn serve(&self) -> (Process, String) {
        let mut process = self.start();
        match process.url().await {
            Some(url) => (process, url),
            None => panic!("it ended before it served:\n{}", self.stderr()),
        }
    }

    /// Starts a process that is not going to serve: its exit code and its last words.
    pub(crate) async fn refused(&self) -> (i32, String) {
        let before = self.stderr().len();
        let mut process = self.start();
        let url = process.url().await;
        assert_eq!(url, None, "it serves:\n{}", self.stderr());
        let status = process.ended().await;
        (status.code().unwrap(), self.stderr().split_off(before))
    }
}

const BINARY: &str = env!("CARGO_BIN_EXE_cancelot");

/// A process of the service. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    listening: Option<oneshot::Receiver<String>>,
}

impl Process {
    fn start(mut binary: Command, config: &Path, log: &Path, more: &[&str]) -> Self {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut child = binary
            .args(["serve", "--set", "server.listen=127.0.0.1:0", "--config"])
            .arg(config)
            .args(more)
            .env("CREDENTIAL", "good-credential")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (found, listening) = oneshot::channel();
        std::thread::spawn(move || {
            let mut lines = stdout.lines().map_while(Result::ok);
            let addr = lines.find_map(|line| Some(line.strip_prefix("listening on ")?.to_owned()));
            if let Some(addr) = addr {
                let _ = found.send(format!("http://{addr}"));
            }
            // It must never find its pipe closed.
            lines.for_each(drop);
        });
        Self {
            child,
            listening: Some(listening),
        }
    }

    /// Waits until it listens and says where; `None` if it ended before.
    pub(crate) async fn url(&mut self) -> Option<String> {
        let listening = self.listening.take().unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(60), listening).await;
        waited.expect("serves or ends within a minute").ok()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The memory that it has in use (Linux).
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib: u64 = line
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        kib * 1024
    }

    /// SIGKILL, and gone.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// A signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -\"$1\" \"$0\"", &pid, name])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        let end = async {
            loop {
                looks.tick().await;
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), end).await;
        waited.expect("ends within a minute")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client of a process that may be gone at any time.
pub(crate) async fn try_connect(url: &str) -> Option<Client> {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
    Some(Client::new(endpoint.connect().await.ok()?))
}
