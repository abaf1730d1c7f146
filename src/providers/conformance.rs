//! Runs every fixture under `tests/fixtures/<provider>/`: one conversation with a provider each,
//! and what has to come next. A fixture asserts something or is refused, and its history has to
//! be one that the provider's own steps lead to.
//!
//! In strings, `{effect}` and `{effect.uuid}` stand for the item's effect id. In `done`, a string
//! that begins with `~` has to be contained, and `null` means that the member is not there.

mod accounts;

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{EffectId, Mode, Step, Task, check, of};
use crate::domain::{
    account::{Account, ProviderId},
    command::Command,
    exchange::{
        Exchange, Fault, FaultKind, Method, Operation, Reply, Request, Response, Safety, Throttle,
    },
    ids::{CallerId, Key, Kind, Scope},
};

pub(super) use accounts::account;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    about: String,
    #[serde(default)]
    account: AccountPart,
    #[serde(default)]
    mode: ModePart,
    command: Value,
    #[serde(default)]
    history: Vec<ExchangePart>,
    expect: Expect,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountPart {
    #[serde(default)]
    settings: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModePart {
    #[default]
    Cancel,
    DryRun,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExchangePart {
    operation: Option<String>,
    answered: Option<ResponsePart>,
    in_doubt: Option<FaultPart>,
    not_sent: Option<FaultPart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponsePart {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FaultPart {
    Connect,
    Timeout,
    Broken,
    TooLong,
    Restart,
    WindowEnded,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    send: Option<SendPart>,
    done: Option<Value>,
    violations: Option<BTreeMap<String, String>>,
    /// `{"after": 5}`, `{"until": "2024-04-15T12:58:20Z"}`, `"unsaid"` or `"none"`.
    throttle: Option<Value>,
    /// A part of the progress's JSON, or `"none"`.
    progress: Option<Value>,
    /// The header and the prefix.
    auth: Option<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendPart {
    operation: String,
    safety: String,
    method: String,
    path: String,
    #[serde(default)]
    query: BTreeMap<String, String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
    #[serde(default = "json_media_type")]
    content_type: String,
}

fn json_media_type() -> String {
    "application/json".to_owned()
}

#[test]
fn every_fixture_holds() {
    let mut failures = Vec::new();
    for provider in ProviderId::ALL {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(provider.name());
        let entries = fs::read_dir(&folder);
        let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{} has no fixtures", folder.display());
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            if let Err(failure) = run(provider, &text) {
                failures.push(format!("{}:\n  {failure}", file.display()));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} fixtures fail\n\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

fn run(provider: ProviderId, text: &str) -> Result<(), String> {
    let fixture: Fixture = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let account = account(provider, &fixture.account.settings)?;
    let command = command(&account, fixture.command)?;
    let effect_id = EffectId::derive(&scope(&command), &Key::try_from("k").unwrap(), &command);
    let text = text
        .replace("{effect}", &effect_id.hex())
        .replace("{effect.uuid}", &effect_id.uuid());
    let fixture: Fixture = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    ensure(!fixture.about.is_empty(), || "about is empty".to_owned())?;

    let task = Task {
        account: &account,
        command: &command,
        effect_id: &effect_id,
        mode: match fixture.mode {
            ModePart::Cancel => Mode::Cancel,
            ModePart::DryRun => Mode::DryRun,
        },
    };
    let history = fixture.history.into_iter().map(exchange);
    let history: Vec<_> = history.collect::<Result<_, _>>()?;
    reachable(&task, &history)?;
    holds(&task, &history, fixture.expect)
}

fn holds(task: &Task<'_>, history: &[Exchange], expect: Expect) -> Result<(), String> {
    let mut asserted = 0;
    let mut count = || asserted += 1;
    let provider = of(task.account.provider());
    if let Some(expected) = expect.violations {
        count();
        let found: BTreeMap<_, _> = check(task.account, task.command)
            .into_iter()
            .map(|violation| (violation.field, violation.description))
            .collect();
        ensure(found.keys().eq(expected.keys()), || {
            format!("violations are {found:?}")
        })?;
        for (field, part) in &expected {
            ensure(found[field].contains(part), || found[field].clone())?;
        }
    } else {
        let violations = check(task.account, task.command);
        ensure(violations.is_empty(), || format!("{violations:?}"))?;
    }
    if let Some(expected) = expect.send {
        count();
        match provider.next(task, history) {
            Step::Send(request) => same_request(&expected, &request)?,
            Step::Done(conclusion) => return Err(format!("done instead: {conclusion:?}")),
        }
    } else if let Some(expected) = expect.done {
        count();
        ensure(expected.get("outcome").is_some(), || {
            "done needs an outcome".to_owned()
        })?;
        match provider.next(task, history) {
            Step::Done(conclusion) => {
                contains("", &serde_json::to_value(&conclusion).unwrap(), &expected)?;
            }
            Step::Send(request) => return Err(format!("sends instead: {request:?}")),
        }
    }
    if let Some(expected) = expect.throttle {
        count();
        let Some(Reply::Answered(response)) = history.last().map(|exchange| &exchange.reply) else {
            return Err("throttle needs a last answer".to_owned());
        };
        let found = match provider.throttle(response) {
            None => json!("none"),
            Some(Throttle::Unsaid) => json!("unsaid"),
            Some(Throttle::After(seconds)) => json!({"after": seconds}),
            Some(Throttle::Until(time)) => json!({"until": time}),
        };
        contains("throttle", &found, &expected)?;
    }
    if let Some(expected) = expect.progress {
        count();
        let found = match provider.progress(task, history) {
            Some(progress) => {
                let mut found = serde_json::to_value(progress.detail).unwrap();
                found["lost"] = progress.lost.into();
                found
            }
            None => json!("none"),
        };
        contains("progress", &found, &expected)?;
    }
    if let Some((header, prefix)) = expect.auth {
        count();
        let auth = provider.auth(task.account);
        ensure((auth.header, auth.prefix) == (&header, &prefix), || {
            format!("{auth:?}")
        })?;
    }
    ensure(asserted > 0, || "expects nothing".to_owned())
}

/// Checks that the provider itself would have sent what the history says was sent.
fn reachable(task: &Task<'_>, history: &[Exchange]) -> Result<(), String> {
    for (index, exchange) in history.iter().enumerate() {
        let Some(operation) = exchange.operation else {
            ensure(index == 0, || format!("history[{index}] has no operation"))?;
            continue;
        };
        match of(task.account.provider()).next(task, &history[..index]) {
            Step::Send(request) if request.operation == operation => {}
            other => return Err(format!("history[{index}] cannot be, there came {other:?}")),
        }
    }
    Ok(())
}

fn same_request(expected: &SendPart, request: &Request) -> Result<(), String> {
    let pairs = |list: &[(&'static str, String)]| -> BTreeMap<String, String> {
        let owned = list
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        owned.collect()
    };
    let safety = match request.safety {
        Safety::Look => "look",
        Safety::Repeatable => "repeatable",
        Safety::Once => "once",
    };
    let method = match request.method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    };
    let body = request.body.as_ref();
    let sent = body.map_or(Value::Null, |body| {
        serde_json::from_str(&body.text).unwrap_or_else(|_| json!(body.text))
    });
    let same = request.operation.0 == expected.operation
        && safety == expected.safety
        && method == expected.method
        && request.path.as_str() == expected.path
        && pairs(&request.query) == expected.query
        && pairs(&request.headers) == expected.headers
        && sent == expected.body
        && body.is_none_or(|body| body.content_type == expected.content_type);
    ensure(same, || format!("sends {request:?}"))
}

fn contains(place: &str, found: &Value, expected: &Value) -> Result<(), String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            for (name, expected) in expected {
                let place = format!("{place}.{name}");
                contains(&place, found.get(name).unwrap_or(&Value::Null), expected)?;
            }
            Ok(())
        }
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                contains(&format!("{place}[{index}]"), found, expected)?;
            }
            Ok(())
        }
        (Value::String(found), Value::String(expected)) if expected.starts_with('~') => {
            ensure(found.contains(&expected[1..]), || {
                format!("{place} is {found:?}")
            })
        }
        _ => ensure(found == expected, || format!("{place} is {found}")),
    }
}

fn exchange(part: ExchangePart) -> Result<Exchange, String> {
    let reply = match (part.answered, part.in_doubt, part.not_sent) {
        (Some(response), None, None) => {
            let text = match response.body {
                Value::Null => String::new(),
                Value::String(text) => text,
                json => json.to_string(),
            };
            let headers = response.headers.into_iter().collect();
            Reply::Answered(Arc::new(Response::new(response.status, headers, text)))
        }
        (None, Some(kind), None) => Reply::InDoubt(fault(kind)),
        (None, None, Some(kind)) => Reply::NotSent(fault(kind)),
        _ => return Err("an exchange needs exactly one of answered, in_doubt, not_sent".into()),
    };
    // The names of operations are static everywhere but here.
    let operation = part
        .operation
        .map(|name| Operation(Box::leak(name.into_boxed_str())));
    Ok(Exchange { operation, reply })
}

fn fault(part: FaultPart) -> Fault {
    let (kind, message) = match part {
        FaultPart::Connect => (FaultKind::Connect, "connection refused"),
        FaultPart::Timeout => (FaultKind::Timeout, "no answer in time"),
        FaultPart::Broken => (FaultKind::Broken, "connection reset"),
        FaultPart::TooLong => (FaultKind::TooLong, "the answer is too long"),
        FaultPart::Restart => (FaultKind::Restart, "the service restarted"),
        FaultPart::WindowEnded => (FaultKind::WindowEnded, "the retry window ended"),
    };
    let message = message.to_owned();
    Fault { kind, message }
}

/// The command, which has to be in the very form that the journal keeps. Only the account's name
/// may be left out.
fn command(account: &Account, mut json: Value) -> Result<Command, String> {
    let members = json.as_object_mut().ok_or("command is no object")?;
    members
        .entry("account")
        .or_insert_with(|| json!(account.name));
    let (command, back) = if account.provider() == ProviderId::Sequenzy {
        let command = strict(&json)?;
        (Command::Enrollments(command), "enrollments")
    } else {
        let command = strict(&json)?;
        (Command::Subscription(command), "subscription")
    };
    let back = serde_json::to_value(&command).unwrap()[back].clone();
    ensure(back == json, || format!("the command reads back as {back}"))?;
    Ok(command)
}

fn strict<T: DeserializeOwned>(json: &Value) -> Result<T, String> {
    T::deserialize(json).map_err(|error| error.to_string())
}

fn scope(command: &Command) -> Scope {
    let kind: Kind = command.kind();
    let caller = CallerId::anonymous();
    Scope { caller, kind }
}

fn ensure(holds: bool, failure: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(failure()) }
}
