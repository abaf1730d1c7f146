//! Command-line texts: commands in messages exist, times, completions, man pages, and the
//! configuration in effect.

use std::process::{Command, Output, Stdio};

use cancelot::sandbox::Sandbox;

use crate::support::{gateway, in_time, process::Place};

const BINARY: &str = env!("CARGO_BIN_EXE_cancelot");

async fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(BINARY);
    command.args(arguments).stdin(Stdio::null());
    let ran = tokio::task::spawn_blocking(move || command.output());
    let Output {
        status,
        stdout,
        stderr,
    } = in_time(ran).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_asked_with_words_and_times_that_exist() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().display().to_string();
    let audit = async |flag: &str, value: &str| run(&["audit", "--dir", &dir, flag, value]).await;
    for (flag, value) in [
        ("--outcome", "cancelled"),
        ("--outcome", "ALREADY_CANCELED"),
        ("--event", "settled,refused"),
        ("--since", "24h"),
        ("--since", "7d"),
        ("--since", "2026-11-28"),
        ("--until", "2026-11-28T08:00:00Z"),
    ] {
        let (code, _, told) = audit(flag, value).await;
        assert_eq!(code, 0, "{flag} {value}: {told}");
    }
    for (flag, value, saying) in [
        ("--outcome", "canceld", "did you mean CANCELED?"),
        ("--event", "setled", "did you mean settled?"),
        ("--event", "cancelled", "known are admitted"),
        ("--since", "yesterdayish", "such as 24h"),
        ("--since", "2026-02-30", "such as 24h"),
        ("--until", "1 month", "such as 24h"),
    ] {
        let (code, _, told) = audit(flag, value).await;
        assert_eq!(code, 64, "{flag} {value}: {told}");
        assert!(told.contains(saying), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shell_and_every_command_has_its_words() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, _) = run(&["completions", shell]).await;
        assert_eq!(code, 0);
        assert!(out.contains("ignore-columns"), "{shell}");
    }
    assert_eq!(run(&["completions", "tcsh"]).await.0, 64);
    assert!(run(&["man"]).await.1.contains(".TH cancelot 1"));
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1").display().to_string();
    assert_eq!(run(&["man", "--dir", &pages]).await.0, 0);
    for page in [
        "cancelot.1",
        "cancelot-cancel-subscriptions.1",
        "cancelot-stop.1",
    ] {
        let page = std::fs::read_to_string(dir.path().join("man1").join(page)).unwrap();
        assert!(page.contains(".TH"), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_lines_of_json_for_programs() {
    let gateway = gateway().start().await;
    let url = gateway.url();
    let (code, out, _) = run(&["accounts", "--endpoint", &url, "--output", "jsonl"]).await;
    assert_eq!(code, 0);
    let names: Vec<String> = out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|account| account["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        ["funnelfox", "rebilly", "revolv3", "sequenzy", "solidgate"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults_that_follow_from_others_are_printed_as_they_are_in_effect() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cancelot.toml").display().to_string();
    std::fs::write(&file, "[journal]\ndir = \"/data\"\nretention_days = 500\n").unwrap();
    let (code, out, _) = run(&["config", "print", "--config", &file]).await;
    assert_eq!(code, 0);
    for line in [
        "answers_retention_days = 500",
        "emails_retention_days = 500",
        "dir = \"/data/audit\"",
        "retention_days = 500",
    ] {
        assert!(
            out.lines().any(|printed| printed == line),
            "{line} in {out}"
        );
    }
    // What is printed means the same when it is read.
    std::fs::write(&file, &out).unwrap();
    let again = run(&["config", "print", "--config", &file]).await;
    assert_eq!(again.0, 0, "{}", again.2);
    let (code, out, told) = run(&["config", "check", "--config", &file]).await;
    assert_eq!(code, 0, "{told}");
    assert!(out.contains("0 accounts, 0 callers"), "{out}");
    assert!(told.contains("warning: no account is configured"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_accounts_says_so() {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let place = Place::new(&sandbox, "");
    let config = std::fs::read_to_string(place.config()).unwrap();
    let end = config.find("[accounts.").unwrap();
    std::fs::write(place.config(), &config[..end]).unwrap();
    let (process, _) = place.serve().await;
    in_time(place.says("no account is configured, so every cancellation is refused")).await;
    process.terminate();
    assert!(process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_serves_the_accounts_of_a_file_without_their_credentials() {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let place = Place::new(&sandbox, "");
    let before = place.journal();
    std::fs::write(
        place.config(),
        format!(
            "[journal]\ndir = {before:?}\n[accounts.rebilly-eu]\nprovider = \"rebilly\"\n\
             credential_file = \"/nowhere\"\nproxy_url = \"http://127.0.0.1:9\"\n"
        ),
    )
    .unwrap();
    let mut process = place.start_with(&["--sandbox"]);
    let url = process.url().await.unwrap();
    let cancel = [
        "cancel",
        "subscriptions",
        "--yes",
        "--endpoint",
        &url,
        "--account",
        "rebilly-eu",
        "--subscription-id",
        "sub_1",
        "--when",
        "2999-01-31",
    ];
    let (code, out, told) = run(&cancel).await;
    assert_eq!(code, 0, "{told}");
    assert!(out.contains("SCHEDULED"), "{out}");
    assert!(!before.exists(), "the file's journal is left alone");
    process.terminate();
    assert!(process.ended().await.success());

    // An error names the line of the file.
    let text = "[accounts.eu]\nprovider = \"rebilly\"\ncredential_env = \"X\"\nrate_brst = 1\n";
    std::fs::write(place.config(), text).unwrap();
    let process = place.start_with(&["--sandbox"]);
    assert_eq!(process.ended().await.code(), Some(64));
    let told = place.stderr();
    assert!(
        told.contains(":4: ") && told.contains("rate_burst"),
        "{told}"
    );
}
