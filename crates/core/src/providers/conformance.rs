//! Runs every fixture under `tests/fixtures/<provider>/`: a history with a provider, and the step
//! that has to follow. A fixture that asserts nothing is rejected, and so is a history to which the
//! adapter's own steps do not lead.
//!
//! In strings, `{effect}` and `{effect.uuid}` stand for the item's effect id. In `done`, a string
//! that begins with `~` has to be contained, and `null` means that the member is absent.

mod accounts;
mod compare;
mod fixture;

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::{
    compare::{contains, ensure, same_request},
    fixture::{ExchangePart, Expect, Fixture, ModePart},
};
use super::{EffectId, Mode, Step, Task, check, of};
use crate::domain::{
    account::{Account, ProviderId},
    command::Command,
    http_exchange::{Class, Exchange, Reply, Throttle},
    ids::{CallerId, Key, Kind, Scope},
};

pub(super) use accounts::account;

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

    let doubt = fixture.doubt.as_ref().map(|doubt| doubt.doubt());
    let mut task = Task {
        account: &account,
        command: &command,
        effect_id: &effect_id,
        mode: match fixture.mode {
            ModePart::Cancel => Mode::Cancel,
            ModePart::DryRun => Mode::DryRun,
        },
        doubt: doubt.as_ref(),
        facts: fixture.facts.facts(),
    };
    let history = happened(&mut task, &fixture.history)?;
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
    if let Some(expected) = expect.class {
        count();
        let class = history.last().map(|exchange| exchange.class);
        ensure(class == Some(expected.class()), || {
            format!("it is {class:?}")
        })?;
    }
    if let Some(expected) = expect.evidence {
        count();
        let last = history.last().ok_or("evidence needs an exchange")?;
        let evidence = provider.evidence(task, last);
        let words = [("answered", evidence.answered), ("proven", evidence.proven)];
        let found = words
            .into_iter()
            .filter(|(_, is)| *is)
            .map(|(word, _)| word);
        ensure(found.eq(expected.iter().map(String::as_str)), || {
            format!("{evidence:?}")
        })?;
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

/// Builds the history: the adapter itself has to ask for each request, each reply is classified
/// when it comes, and what it proves about the account is known afterwards.
fn happened(task: &mut Task<'_>, parts: &[ExchangePart]) -> Result<Vec<Exchange>, String> {
    let provider = of(task.account.provider());
    let mut history = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let reply = fixture::reply(part)?;
        let given = part.class.map(fixture::ClassPart::class);
        let (operation, class) = match (&part.operation, provider.next(task, &history)) {
            (None, _) if index == 0 => (None, Class::Lost),
            (None, _) => return Err(format!("history[{index}] has no operation")),
            (Some(name), Step::Send(request)) if name == request.operation.0 => {
                let class = provider.classify(task, &request, &reply);
                (Some(request.operation), class)
            }
            (Some(_), other) => {
                return Err(format!("history[{index}] cannot be, there came {other:?}"));
            }
        };
        let exchange = Exchange {
            operation,
            reply,
            class: given.unwrap_or(class),
            seen: part.seen.seen(part.believed),
        };
        let evidence = provider.evidence(task, &exchange);
        task.facts.answered |= evidence.answered;
        task.facts.proven |= evidence.proven;
        history.push(exchange);
    }
    Ok(history)
}

/// The command, in exactly the form that the journal stores. Only the account's name may be left
/// out.
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
