//! Any replies of any provider, in any order: a conversation never fails, and what it comes to
//! can be told and recorded.
//!
//! The first byte chooses provider and command, the second the mode and whether a restart came
//! before. The rest are replies, apart by NUL: a status of three digits, headers until the end of
//! the line (`name: value`, apart by `;`), then the body. Without a status there was no answer:
//! `n` did not arrive, all else is doubt.

use std::sync::{Arc, LazyLock};

use cancelot::{
    config::Config,
    domain::{
        command::Command,
        http_exchange::{Exchange, Fault, FaultKind, Reply, Response, Seen},
        ids::{CallerId, Key, Kind, Scope},
        outcome::Conclusion,
    },
    limits,
    providers::{self, EffectId, Facts, Mode, Step, Task},
};

static CONFIG: LazyLock<Config> = LazyLock::new(|| super::accounts("unused"));

/// Reads one input.
pub fn run(bytes: &[u8]) {
    let [choice, mode, replies @ ..] = bytes else {
        return;
    };
    let accounts = &CONFIG.accounts;
    let account = &accounts[usize::from(*choice) % accounts.len()].account;
    let command = command(account.name.as_str(), usize::from(*choice) / accounts.len());
    let key = Key::try_from("K").expect("a key");
    let scope = Scope {
        caller: CallerId::anonymous(),
        kind: Kind::Subscription,
    };
    let effect_id = EffectId::derive(&scope, &key, &command);
    let mode_word = if mode & 1 == 0 {
        Mode::Cancel
    } else {
        Mode::DryRun
    };
    let task = Task {
        account,
        command: &command,
        effect_id: &effect_id,
        mode: mode_word,
        doubt: None,
        facts: Facts::default(),
    };
    let provider = providers::of(account.provider());
    let mut history = Vec::new();
    if mode & 2 != 0 {
        history.push(Exchange::recovered());
    }
    for text in replies.split(|byte| *byte == 0).take(64) {
        let request = match provider.next(&task, &history) {
            Step::Send(request) => request,
            Step::Done(conclusion) => return check(&conclusion),
        };
        assert!(request.path.as_str().starts_with('/'));
        let reply = reply(text);
        if let Reply::Answered(response) = &reply {
            let _ = provider.throttle(response);
        }
        history.push(Exchange {
            operation: Some(request.operation),
            class: provider.classify(&task, &request, &reply),
            reply,
            seen: Seen::default(),
        });
        let _ = provider.progress(&task, &history);
    }
    if let Step::Done(conclusion) = provider.next(&task, &history) {
        check(&conclusion);
    }
}

fn check(conclusion: &Conclusion) {
    assert_eq!(
        conclusion.failure.is_some(),
        !conclusion.outcome.is_success()
    );
    let said = conclusion
        .failure
        .as_ref()
        .and_then(|f| f.provider.as_ref());
    let said = said.and_then(|p| p.message.as_ref());
    assert!(said.is_none_or(|said| said.chars().count() <= limits::MESSAGE_CHARS_MAX));
    let stored = serde_json::to_string(conclusion).expect("it is recorded");
    let read: Conclusion = serde_json::from_str(&stored).expect("it is read again");
    assert_eq!(&read, conclusion);
}

fn command(account: &str, choice: usize) -> Command {
    let id = if account == "revolv3" { "17" } else { "sub_1" };
    let subscription = |when: &str| {
        format!(
            r#"{{"subscription":{{"account":"{account}","subscription_id":"{id}","when":{when}}}}}"#
        )
    };
    let enrollments = |target: &str| {
        format!(
            r#"{{"enrollments":{{"account":"{account}","sequence_id":"seq","target":{target},"matches_max":10}}}}"#
        )
    };
    let text = match (account, choice % 4) {
        ("sequenzy", 0) => enrollments(r#"{"subscriber":"s"}"#),
        ("sequenzy", 1) => enrollments(r#"{"subscribers":["a","b"]}"#),
        ("sequenzy", 2) => enrollments(r#"{"field":{"path":"p","values":["v"]}}"#),
        ("sequenzy", _) => enrollments(r#""all""#),
        (_, 0) => subscription(r#""now""#),
        (_, 1) => subscription(r#""period_end""#),
        (_, 2) => subscription(r#""provider_default""#),
        (_, _) => subscription(r#"{"at":"2031-01-01T00:00:00Z"}"#),
    };
    serde_json::from_str(&text).expect("a command")
}

fn reply(text: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(text);
    let status = text.get(..3).and_then(|digits| digits.parse::<u16>().ok());
    let (Some(status), Some(rest)) = (status, text.get(3..)) else {
        let fault = |kind| Fault {
            kind,
            message: "fuzz".to_owned(),
        };
        return match text.chars().next() {
            Some('n') => Reply::NotSent(fault(FaultKind::Connect)),
            _ => Reply::InDoubt(fault(FaultKind::Broken)),
        };
    };
    let (head, body) = rest.split_once('\n').unwrap_or(("", rest));
    let headers = head.split(';').filter_map(|header| {
        let (name, value) = header.split_once(':')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    });
    let response = Response::new(status, headers.collect(), body.to_owned());
    Reply::Answered(Arc::new(response))
}
