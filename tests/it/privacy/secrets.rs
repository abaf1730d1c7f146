//! Marked secrets, planted wherever a secret can be, and searched for in everything that the
//! process writes, logs and shows, at level trace, while providers fail in every way and echo what
//! they got.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cancelot::{
    rpc::proto::{
        CancelEnrollmentsRequest, EnrollmentCancellation, ListAccountsRequest,
        ListCancellationsRequest, SubscriptionCancellation, enrollment_cancellation::Target,
    },
    sandbox::Provider,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tonic::{Request, Status, Streaming};

use crate::support::{connect, in_time, now, provider_default, request, subscription};

/// In every secret, and in nothing else.
const MARK: &str = "MARKED-SECRET";

/// The ways in which a provider fails. All but the last two echo the whole request.
const FAILURES: [&str; 8] = ["401", "403", "422", "500", "200", "redirect", "hang", "cut"];

/// A provider that answers as the first segment of its path says.
struct Echo {
    url: String,
    /// Requests that came with a marked credential.
    marked: Arc<AtomicUsize>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let marked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&marked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&count)));
            }
        });
        Self { url, marked }
    }
}

async fn answer(mut stream: TcpStream, marked: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend(&bytes[..read]),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let mode = path
        .trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or_default();
    let credential = head
        .split([' ', '\r'])
        .find(|word| word.contains(MARK))
        .unwrap_or_default();
    if !credential.is_empty() {
        marked.fetch_add(1, Ordering::SeqCst);
    }
    if mode == "hang" {
        return std::future::pending().await;
    }
    let body = serde_json::json!({
        "message": format!("cannot do {head}"),
        "error": {"code": credential, "messages": [credential], "message": head},
        "details": [head],
    })
    .to_string();
    let (status, more) = match mode {
        "redirect" => (302, format!("location: /elsewhere?key={credential}\r\n")),
        "cut" => (200, String::new()),
        status => (status.parse().unwrap_or(500), String::new()),
    };
    let length = if mode == "cut" {
        body.len() * 2
    } else {
        body.len()
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         x-request-id: {credential}\r\nconnection: close\r\n{more}\r\n"
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
}

/// A configuration with an account for each provider and failure.
fn configuration(dir: &Path, echo: &Echo, format: &str) -> String {
    let token = dir.join("token");
    fs::write(&token, format!("{MARK}-token-file-0123456789abcdef\n")).unwrap();
    let credential = dir.join("credential");
    fs::write(&credential, format!("{MARK}-credential-file-0123456789\n")).unwrap();
    let mut text = format!(
        "[log]\nfilter = \"trace\"\nformat = {format:?}\n[journal]\ndir = {:?}\n\
         [engine]\nbackoff_base_ms = 5\nbackoff_max_ms = 50\n\
         [callers.filed]\ntoken_file = {:?}\n[callers.named]\ntoken_env = \"TOKEN\"\n",
        dir.join("journal"),
        token,
    );
    for provider in Provider::ALL {
        let name = provider.name();
        let urls = FAILURES.map(|failure| (failure, format!("{}/{failure}", echo.url)));
        // Port 9 has no listener, and no name ends in "invalid".
        let away = ("away", "http://127.0.0.1:9".to_owned());
        let unknown = ("unknown", "https://provider.invalid".to_owned());
        for (n, (failure, url)) in urls.into_iter().chain([away, unknown]).enumerate() {
            let place = match n % 2 {
                0 => format!("credential_file = {credential:?}"),
                _ => "credential_env = \"CREDENTIAL\"".to_owned(),
            };
            let more = match provider {
                Provider::Rebilly => "organization = \"org\"\n",
                _ => "",
            };
            write!(
                text,
                "[accounts.{name}-{failure}]\nprovider = {name:?}\nbase_url = {url:?}\n{place}\n\
                 timeout_ms = 300\nconnect_timeout_ms = 300\nsettling_ms = 1000\n{more}"
            )
            .unwrap();
        }
    }
    text
}

struct Serving {
    child: Child,
    url: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cancelot"));
    command
        .args(arguments)
        .env("CREDENTIAL", format!("{MARK}-credential-env-0123456789"))
        .env("TOKEN", format!("{MARK}-token-env-0123456789abcdef"))
        .env("CANCELOT_CONFIG", dir.join("cancelot.toml"))
        .stdin(Stdio::null());
    command
}

fn serve(dir: &Path) -> Serving {
    let (out, err) = (dir.join("stdout"), dir.join("stderr"));
    let mut child = command(dir, &["serve", "--set", "server.listen=127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(File::create(err).unwrap())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    let url = format!(
        "http://{}",
        first.trim().trim_start_matches("listening on ")
    );
    std::thread::spawn(move || {
        let mut rest = first.into_bytes();
        lines.read_to_end(&mut rest).unwrap();
        fs::write(out, rest).unwrap();
    });
    Serving { child, url }
}

fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

async fn all<T: std::fmt::Debug>(stream: Result<tonic::Response<Streaming<T>>, Status>) -> String {
    let mut said = String::new();
    match stream {
        Ok(stream) => {
            let mut stream = stream.into_inner();
            loop {
                match stream.message().await {
                    Ok(Some(message)) => write!(said, "{message:?}").unwrap(),
                    Ok(None) => return said,
                    Err(status) => write!(said, "{status:?}").unwrap(),
                }
            }
        }
        Err(status) => format!("{status:?}"),
    }
}

fn items() -> Vec<SubscriptionCancellation> {
    let mut items = Vec::new();
    for provider in Provider::ALL {
        let when = match provider {
            Provider::Rebilly | Provider::Solidgate => now(),
            Provider::FunnelFox | Provider::Revolv3 => provider_default(),
            Provider::Sequenzy => continue,
        };
        for failure in FAILURES.into_iter().chain(["away", "unknown"]) {
            let mut item = subscription(provider, 1, when);
            item.account = format!("{}-{failure}", provider.name());
            items.push(item);
        }
    }
    items
}

fn enrollments() -> CancelEnrollmentsRequest {
    let item = |failure| EnrollmentCancellation {
        account: format!("sequenzy-{failure}"),
        sequence_id: "seq".to_owned(),
        target: Some(Target::SubscriberId("ann".to_owned())),
        dry_run: Some(false),
        ..Default::default()
    };
    let window = prost_types::Duration {
        seconds: 1,
        nanos: 0,
    };
    CancelEnrollmentsRequest {
        idempotency_key: "enrollments".to_owned(),
        cancellations: FAILURES.map(item).to_vec(),
        include_provider_response: true,
        retry_window: Some(window),
        ..Default::default()
    }
}

/// Everything that the RPCs say.
async fn answers(url: &str) -> String {
    let token = format!("{MARK}-token-env-0123456789abcdef");
    let mut client = connect(url).await;
    let mut sent = request("subscriptions", items());
    sent.include_provider_response = true;
    sent.retry_window = enrollments().retry_window;
    let mut said = all(client
        .cancel_subscription(with_token(&token, sent.clone()))
        .await)
    .await;
    said += &all(client
        .cancel_enrollments(with_token(&token, enrollments()))
        .await)
    .await;
    sent.dry_run = true;
    sent.idempotency_key = "dry".to_owned();
    said += &all(client
        .cancel_subscription(with_token(&token, sent.clone()))
        .await)
    .await;
    sent.cancellations.truncate(1);
    let unknown = format!("{MARK}-token-of-nobody-0123456789");
    said += &all(client.cancel_subscription(with_token(&unknown, sent)).await).await;
    let list = ListCancellationsRequest {
        include_provider_response: true,
        ..Default::default()
    };
    let listed = client.list_cancellations(with_token(&token, list)).await;
    let accounts = client
        .list_accounts(with_token(&token, ListAccountsRequest {}))
        .await;
    said + &format!("{:?}{:?}", listed.unwrap(), accounts.unwrap())
}

/// All files below a directory, as text, with their names.
fn files(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            found.push((path.display().to_string(), text));
        }
    }
}

fn run(dir: &Path, arguments: &[&str]) -> (String, String) {
    let output = command(dir, arguments).output().unwrap();
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (arguments.join(" "), said)
}

async fn check(format: &str) {
    let echo = Echo::start().await;
    let dir = tempfile::tempdir().unwrap();
    let secrets = tempfile::tempdir().unwrap();
    let mut text = configuration(dir.path(), &echo, format);
    for secret in ["token", "credential"] {
        // Where it may be read, and is not searched.
        let (from, to) = (dir.path().join(secret), secrets.path().join(secret));
        fs::rename(&from, &to).unwrap();
        text = text.replace(from.to_str().unwrap(), to.to_str().unwrap());
    }
    fs::write(dir.path().join("cancelot.toml"), &text).unwrap();
    let mut serving = serve(dir.path());
    let answers = in_time(answers(&serving.url)).await;
    assert!(
        echo.marked.load(Ordering::SeqCst) > FAILURES.len(),
        "credentials are sent"
    );
    assert!(
        answers.contains("(credential removed)"),
        "they were echoed: {answers}"
    );
    let proc = format!("/proc/{}/cmdline", serving.child.id());
    let mut searched = vec![
        ("the RPCs".to_owned(), answers),
        ("cmdline".to_owned(), fs::read_to_string(proc).unwrap()),
    ];
    let pid = serving.child.id().to_string();
    let sent = Command::new("sh")
        .args(["-c", "kill -TERM \"$0\"", &pid])
        .status();
    assert!(sent.unwrap().success());
    in_time(async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while serving.child.try_wait().unwrap().is_none() || !dir.path().join("stdout").exists() {
            looks.tick().await;
        }
    })
    .await;
    let journal = dir.path().join("journal");
    let journal = journal.to_str().unwrap();
    searched.extend([
        run(dir.path(), &["journal", "export", "--dir", journal]),
        run(dir.path(), &["journal", "inspect", "--dir", journal]),
        run(dir.path(), &["audit", "--journal", journal]),
        run(dir.path(), &["config", "print"]),
        run(dir.path(), &["config", "check"]),
    ]);
    files(dir.path(), &mut searched);
    let has = |name: &str, part: &str| {
        let found = searched.iter().find(|(place, _)| place.ends_with(name));
        let (_, text) = found.unwrap_or_else(|| panic!("{name} is not searched"));
        assert!(text.contains(part), "{name} has no {part:?}: {text}");
    };
    has("stdout", "listening on");
    has("stderr", "TRACE");
    has("audit/00000000000000000001.jsonl", "CREDENTIALS_REFUSED");
    has(
        &format!("journal export --dir {journal}"),
        "(credential removed)",
    );
    has("config print", "rebilly-401");
    for (place, text) in &searched {
        if let Some(at) = text.find(MARK) {
            let begin = text.floor_char_boundary(at.saturating_sub(200));
            let around: String = text[begin..].chars().take(400).collect();
            panic!("{place} has a secret: ...{around}...");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_anything_that_is_written_as_text() {
    check("text").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_anything_that_is_written_as_json() {
    check("json").await;
}

#[test]
fn a_configuration_that_is_wrong_does_not_repeat_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let secret = format!("{MARK}-0123456789");
    for wrong in [
        format!("[accounts.a]\nprovider = \"rebilly\"\nbase_url = \"http://u:{secret}@x\"\n"),
        format!("[accounts.a]\nprovider = \"rebilly\"\ncredential = {secret:?}\n"),
        format!("[accounts.a]\nprovider = \"rebilly\"\nproxy_url = \"http://u:{secret}@x y\"\n"),
        format!("[callers.a]\ntoken = {secret:?}\n"),
        format!("[callers.a]\ntoken_env = {secret:?}\n"),
        format!("token = {secret:?}\n"),
    ] {
        fs::write(dir.path().join("cancelot.toml"), &wrong).unwrap();
        let (_, said) = run(dir.path(), &["serve"]);
        assert!(said.contains("cancelot.toml"), "{wrong}: {said}");
        assert!(!said.contains(MARK), "{wrong}: {said}");
    }
}
