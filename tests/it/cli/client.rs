//! The command-line client as people use it: exported files, unreachable services, and Ctrl-C.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use cancelot::sandbox::{Fault, FaultRates, Provider};
use tempfile::TempDir;

use crate::support::{Gateway, gateway, in_time};

const BINARY: &str = env!("CARGO_BIN_EXE_cancelot");

/// How a command ended, and what it wrote.
struct Ended {
    code: i32,
    out: String,
    told: String,
}

/// Runs the binary to its end.
async fn run(arguments: &[&str]) -> Ended {
    let mut command = Command::new(BINARY);
    command.args(arguments).stdin(Stdio::null());
    let ran = tokio::task::spawn_blocking(move || command.output());
    let Output {
        status,
        stdout,
        stderr,
    } = in_time(ran).await.unwrap().unwrap();
    Ended {
        code: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        told: String::from_utf8(stderr).unwrap(),
    }
}

/// Files that commands read.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

async fn cancel(gateway: &Gateway, file: &str, more: &[&str]) -> Ended {
    let url = gateway.url();
    let command = ["cancel", "subscriptions", "--yes", "--endpoint", &url];
    run(&[&command, &["--file", file][..], more].concat()).await
}

fn requests(gateway: &Gateway) -> u64 {
    let providers = Provider::ALL.iter();
    providers
        .map(|provider| gateway.control.counts(*provider).requests)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_swallows_rows_is_refused_and_nothing_of_it_is_sent() {
    let (gateway, files) = (gateway().start().await, Files::new());
    let file = files.write(
        "leavers.csv",
        "account,subscription_id,when,comment\n\
         rebilly,sub_1,now,asked\n\
         rebilly,sub_2,now,\"asked\n\
         rebilly,sub_3,now,asked\n\
         rebilly,sub_4,now,asked\n\
         rebilly,sub_5,now,asked\"\n\
         rebilly,sub_6,now,asked\n",
    );
    let ended = cancel(&gateway, &file, &[]).await;
    assert_eq!(ended.code, 64, "{}", ended.told);
    assert!(ended.told.contains("nothing was sent"), "{}", ended.told);
    assert!(
        ended.told.contains("line 3: opens a quote"),
        "{}",
        ended.told
    );
    assert_eq!(requests(&gateway), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_as_it_is_exported_is_sent_once_its_columns_are_known() {
    let (gateway, files) = (gateway().start().await, Files::new());
    let file = files.write(
        "export.csv",
        "sep=;\r\n\"Ref\";Account;Plan;When;\r\nsub_1;rebilly;gold;2999-01-31;\r\n;;;;\r\n",
    );
    let ended = cancel(&gateway, &file, &[]).await;
    assert_eq!(ended.code, 64, "{}", ended.told);
    assert!(
        ended.told.contains("line 2: Ref: is no column"),
        "{}",
        ended.told
    );
    let more = [
        "--columns",
        "subscription_id=Ref",
        "--ignore-columns",
        "Plan",
    ];
    let ended = cancel(&gateway, &file, &more).await;
    assert_eq!(ended.code, 0, "{}{}", ended.told, ended.out);
    assert!(ended.out.contains("SCHEDULED"), "{}", ended.out);
    assert!(ended.told.contains("(1 subscription)"), "{}", ended.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_refuses_is_told_by_the_lines_of_the_file() {
    let (gateway, files) = (gateway().start().await, Files::new());
    let file = files.write(
        "leavers.csv",
        "account,subscription_id,when\n\nrebilly,sub_1,now\nrebily,sub_2,now\n\
         solidgate,subs_3,2999-01-31\n",
    );
    let ended = cancel(&gateway, &file, &[]).await;
    assert_eq!(ended.code, 64, "{}", ended.told);
    let told: Vec<&str> = ended.told.lines().collect();
    let line = |begin: &str| told.iter().filter(|line| line.starts_with(begin)).count();
    assert_eq!((line("line 4: account: "), line("line 5: when: ")), (1, 1));
    assert!(
        ended.told.contains("did you mean rebilly?"),
        "{}",
        ended.told
    );
    assert!(!ended.told.contains("cancellations["), "{}", ended.told);
    assert_eq!(requests(&gateway), 0);

    // A key that was used for something else.
    let good = files.write(
        "good.csv",
        "account,subscription_id,when\nrebilly,sub_1,now\n",
    );
    let changed = files.write(
        "changed.csv",
        "account,subscription_id,when\n\nrebilly,sub_1,period_end\n",
    );
    assert_eq!(cancel(&gateway, &good, &["--key", "K"]).await.code, 0);
    let ended = cancel(&gateway, &changed, &["--key", "K"]).await;
    assert_eq!(ended.code, 64);
    assert!(
        ended.told.contains("\nline 3: key K/0 was used before"),
        "{}",
        ended.told
    );
    assert!(ended.told.contains("line 3 when"), "{}", ended.told);

    // Without a file there are no lines.
    let url = gateway.url();
    let flags = [
        "--account",
        "rebily",
        "--subscription-id",
        "x",
        "--when",
        "now",
    ];
    let command = ["cancel", "subscriptions", "--yes", "--endpoint", &url];
    let ended = run(&[&command[..], &flags].concat()).await;
    assert!(
        ended.told.contains("\naccount: rebily is not configured"),
        "{}",
        ended.told
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_in_a_file_that_can_be_sent_again() {
    let (gateway, files) = (gateway().start().await, Files::new());
    let mut text = "account,subscription_id,when,comment\n".to_owned();
    for i in 0..120 {
        let missing = if i % 2 == 0 { "missing_" } else { "" };
        text.push_str(&format!("rebilly,sub_{missing}{i},now,\"a, b\"\n"));
    }
    let file = files.write("many.csv", &text);
    let again = files.path("again.csv");
    let ended = cancel(&gateway, &file, &["--key", "K", "--failed-to", &again]).await;
    assert_eq!(ended.code, 1, "{}", ended.told);
    // In the file's order, with its lines, the first fifty of sixty.
    let lines: Vec<u64> = ended
        .out
        .lines()
        .filter(|line| line.contains("NOT_FOUND ") && line.contains("sub_"))
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(lines, (0..50).map(|i| 2 + 2 * i).collect::<Vec<u64>>());
    assert!(ended.out.contains("and 10 more"), "{}", ended.out);
    assert!(
        ended.told.contains("60 rows without success"),
        "{}",
        ended.told
    );

    let written = std::fs::read_to_string(&again).unwrap();
    assert_eq!(written.lines().count(), 61);
    let ended = cancel(&gateway, &again, &[]).await;
    assert_eq!(ended.code, 1, "{}", ended.told);
    assert!(ended.out.contains("sub_missing_98"), "{}", ended.out);

    // What is read is not written over, and what is refused as a whole leaves no file.
    let ended = cancel(&gateway, &again, &["--failed-to", &again]).await;
    assert_eq!(ended.code, 64, "{}", ended.told);
    assert_eq!(std::fs::read_to_string(&again).unwrap(), written);
    let header = "account,subscription_id,when\n";
    let wrong = files.write("wrong.csv", &format!("{header}nobody,1,now\n"));
    let none = files.path("none.csv");
    let ended = cancel(&gateway, &wrong, &["--failed-to", &none]).await;
    assert_eq!(ended.code, 64, "{}", ended.told);
    assert!(!std::path::Path::new(&none).exists());

    // Without the flag it is said how to get at them.
    let ended = cancel(&gateway, &file, &["--key", "K"]).await;
    assert!(
        ended.out.contains("and 10 more; --failed-to FILE"),
        "{}",
        ended.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_final_outcome_is_continued_under_its_key() {
    let (gateway, files) = (gateway().start().await, Files::new());
    let away = FaultRates {
        error_before: 1.0,
        ..Default::default()
    };
    gateway.control.set_fault_rates(Provider::Rebilly, away);
    let header = "account,subscription_id,when\n";
    let file = files.write("one.csv", &format!("{header}rebilly,sub_1,now\n"));
    let again = files.path("again.jsonl");
    let more = ["--key", "K", "--retry-window", "1", "--failed-to", &again];
    let ended = cancel(&gateway, &file, &more).await;
    assert_eq!(ended.code, 3, "{}{}", ended.told, ended.out);
    let written = std::fs::read_to_string(&again).unwrap();
    assert!(written.contains("\"idempotency_key\":\"K/0\""), "{written}");
    gateway
        .control
        .set_fault_rates(Provider::Rebilly, FaultRates::default());
    let ended = cancel(&gateway, &again, &["--key", "other"]).await;
    assert_eq!(ended.code, 0, "{}{}", ended.told, ended.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_says_does_not_act_on_a_terminal() {
    const SHOWS: &str = "gone\u{1b}[2J\u{7}\r\nfake\u{202e}line\u{200b}\u{9b}1m\u{7f}";
    let (gateway, files) = (gateway().start().await, Files::new());
    let body = serde_json::json!({"status": 422, "title": SHOWS, "error": SHOWS, "message": SHOWS,
        "detail": SHOWS, "details": [SHOWS], "type": SHOWS});
    for provider in [Provider::Rebilly, Provider::FunnelFox] {
        gateway.control.script(
            provider,
            Fault::Reply {
                status: 422,
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: body.to_string(),
            },
        );
    }
    let file = files.write(
        "two.csv",
        "account,subscription_id,when\nrebilly,sub_1,now\nfunnelfox,ff_1,period_end\n",
    );
    for output in ["table", "jsonl"] {
        let ended = cancel(&gateway, &file, &["--key", "K", "--output", output]).await;
        let all = format!("{}{}", ended.out, ended.told);
        let raw: Vec<char> = all
            .chars()
            .filter(|c| (c.is_control() && *c != '\n') || "\u{202e}\u{200b}".contains(*c))
            .collect();
        assert!(raw.is_empty(), "{raw:?} in {all}");
        assert!(ended.out.contains("gone"), "{all}");
        if output == "jsonl" {
            let result: serde_json::Value =
                serde_json::from_str(ended.out.lines().next().unwrap()).unwrap();
            assert!(
                result["failure"]["provider_message"]
                    .as_str()
                    .unwrap()
                    .contains('\u{202e}')
            );
            assert!(result["line"].is_u64());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_there_is_told_at_once_with_its_cause() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = taken.local_addr().unwrap().to_string();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = free.local_addr().unwrap().to_string();
    drop(free);
    let commands: [&[&str]; 3] = [
        &["accounts"],
        &["stop", "b000000000001"],
        &[
            "cancel",
            "subscriptions",
            "--yes",
            "--account",
            "a",
            "--subscription-id",
            "1",
            "--when",
            "now",
        ],
    ];
    for command in commands {
        for (endpoint, cause) in [
            (&refused, "refused"),
            (&silent, "does not answer within 0.3 s"),
        ] {
            let more = ["--endpoint", endpoint, "--connect-timeout", "0.3"];
            let ended = run(&[command, &more].concat()).await;
            assert_eq!(ended.code, 69, "{}", ended.told);
            assert!(ended.told.contains(endpoint.as_str()), "{}", ended.told);
            assert!(ended.told.contains(cause), "{}", ended.told);
        }
        let ended = run(&[command, &["--endpoint", "grpc://127.0.0.1:1"]].concat()).await;
        assert_eq!(ended.code, 64, "{}", ended.told);
        assert!(ended.told.contains("write host:port"), "{}", ended.told);
    }
    let gateway = gateway().start().await;
    let endpoint = gateway.url().replace("http://", "");
    assert_eq!(run(&["accounts", "--endpoint", &endpoint]).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_ends_with_77() {
    let gateway = gateway()
        .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"\naccounts = \"solidgate\"")
        .start()
        .await;
    let url = gateway.url();
    let ended = run(&["accounts", "--endpoint", &url]).await;
    assert_eq!(ended.code, 77, "{}", ended.told);
    let ended = run(&[
        "cancel",
        "subscriptions",
        "--yes",
        "--endpoint",
        &url,
        "--token",
        crate::support::BILLING_TOKEN,
        "--account",
        "rebilly",
        "--subscription-id",
        "1",
        "--when",
        "now",
    ])
    .await;
    assert_eq!(ended.code, 77, "{}", ended.told);
    assert!(ended.told.contains("account: "), "{}", ended.told);
}

/// A command under way, and the lines that it says.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sent, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sent.send(line);
            }
        });
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Waits for a line with this in it.
    fn says(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(Duration::from_secs(60)) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("no {text:?} in {:?}", self.seen),
            }
        }
    }

    fn interrupt(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -INT \"$0\"", &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    fn ended(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap();
        let mut out = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        stdout.read_to_string(&mut out).unwrap();
        (code, out)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_says_what_goes_on_and_how_to_stop_it_and_leaves_when_pressed_again() {
    let (gateway, files) = (gateway().start().await, Files::new());
    for _ in 0..2 {
        gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    }
    let file = files.write(
        "leavers.csv",
        "account,subscription_id,when\nrebilly,sub_1,now\nrebilly,sub_2,now\nsolidgate,subs_3,now\n",
    );
    let endpoint = gateway.url().replace("http://", "");
    let command = [
        "cancel",
        "subscriptions",
        "--yes",
        "--key",
        "K",
        "--file",
        &file,
    ];
    let start = || Running::start(&[&command[..], &["--endpoint", &endpoint]].concat());
    let mut leaving = start();
    let batch = leaving.says("batch: ");
    let batch = batch.split_whitespace().nth(1).unwrap().to_owned();
    gateway.control.held_reached(Provider::Rebilly, 2).await;
    leaving.interrupt();
    let told = leaving.says("still being cancelled");
    assert!(
        told.contains("subscriptions are still being cancelled"),
        "{told}"
    );
    leaving.says(&batch);
    let stop = leaving.says("cancelot stop ");
    leaving.says("--key K");
    leaving.says("Ctrl-C once more leaves");
    leaving.interrupt();
    assert_eq!(leaving.ended().0, 130);

    // The very command that was said.
    let stop: Vec<&str> = stop
        .split_whitespace()
        .skip_while(|word| *word != "cancelot")
        .collect();
    let ended = run(&stop[1..]).await;
    assert_eq!(ended.code, 0, "{}", ended.told);
    assert!(ended.out.contains(&batch), "{}", ended.out);

    // Who does not press it again sees the end.
    let mut staying = start();
    staying.says("batch: ");
    staying.interrupt();
    staying.says("Ctrl-C once more leaves");
    gateway.control.release(Provider::Rebilly);
    let (code, out) = staying.ended();
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("sub_1") && out.contains("subs_3"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_is_told_and_taken_up_again() {
    let drained = "[server]\ndrain_ms = 300";
    let (mut gateway, files) = (gateway().config(drained).start().await, Files::new());
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let file = files.write(
        "one.csv",
        "account,subscription_id,when\nrebilly,sub_1,now\n",
    );
    // The service listens on another port after its restart, and this one stays.
    let inner = std::sync::Arc::new(std::sync::Mutex::new(gateway.url().replace("http://", "")));
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = relay.local_addr().unwrap().to_string();
    let target = std::sync::Arc::clone(&inner);
    std::thread::spawn(move || {
        for near in relay.incoming().map_while(Result::ok) {
            let Ok(far) = std::net::TcpStream::connect(&*target.lock().unwrap()) else {
                continue;
            };
            for (mut from, mut to) in [
                (near.try_clone().unwrap(), far.try_clone().unwrap()),
                (far, near),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    let command = [
        "cancel",
        "subscriptions",
        "--yes",
        "--key",
        "K",
        "--file",
        &file,
    ];
    let mut running = Running::start(&[&command[..], &["--endpoint", &endpoint]].concat());
    running.says("batch: ");
    gateway.control.held_reached(Provider::Rebilly, 1).await;
    let app = gateway.take_app();
    let stopping = tokio::spawn(app.stop());
    let told = running.says("trying again");
    assert!(told.starts_with("cancelot: "), "{told}");
    gateway.control.release(Provider::Rebilly);
    in_time(stopping).await.unwrap();
    gateway.start_again().await;
    *inner.lock().unwrap() = gateway.url().replace("http://", "");
    running.says("the service answers again");
    let (code, out) = running.ended();
    assert_eq!(code, 0, "{out}");
}
