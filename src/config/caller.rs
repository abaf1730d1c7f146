//! Who may call: names and the tokens that prove them.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    mistake::{Problem, Source},
    reader::Reader,
    secret::{self, Ways},
    table::{TOKEN, TOKEN_ENV, TOKEN_FILE},
    words::Group,
};
use crate::domain::ids::CallerId;

/// Shorter tokens could be guessed.
const TOKEN_CHARS_MIN: usize = 16;

const WAYS: Ways = Ways {
    inline: &TOKEN,
    file: &TOKEN_FILE,
    env: &TOKEN_ENV,
};

/// A client that may call.
#[derive(Debug, Clone)]
pub struct CallerConfig {
    /// Its name, which scopes its keys.
    pub id: CallerId,
    /// The tokens it may show, one or more; no other caller has any of them.
    pub tokens: Vec<SecretString>,
}

/// Reads all callers.
pub(super) fn read_all(reader: &mut Reader<'_>) -> Vec<CallerConfig> {
    let mut callers = Vec::new();
    for (name, named) in reader.layers.names(Group::Callers) {
        callers.extend(read(reader, &name, &named));
    }
    refuse_shared_tokens(reader, &callers);
    callers
}

fn read(reader: &mut Reader<'_>, name: &str, named: &Source) -> Option<CallerConfig> {
    let found = secret::find(reader, &WAYS, name, named)?;
    let mut tokens = Vec::new();
    let mut lines: Vec<_> = found.text.split_whitespace().collect();
    if lines.is_empty() {
        // For the mistake that an empty secret is.
        lines.push("");
    }
    for line in lines {
        let long_enough = line.is_empty() || line.len() >= TOKEN_CHARS_MIN;
        match secret::parse(line) {
            Ok(token) if long_enough => tokens.push(token),
            Ok(_) => {
                let problem = Problem::new(
                    format!("leads to a token of fewer than {TOKEN_CHARS_MIN} characters"),
                    "make one that cannot be guessed, such as by `openssl rand -hex 32`",
                );
                reader.refuse(&found.key, problem);
            }
            Err(problem) => reader.refuse(&found.key, problem),
        }
    }
    // The name has the form of an account's, which is narrower than a caller's.
    let id = CallerId::try_from(name).ok()?;
    Some(CallerConfig { id, tokens })
}

/// A token that two callers have proves neither.
fn refuse_shared_tokens(reader: &mut Reader<'_>, callers: &[CallerConfig]) {
    let mut owners: BTreeMap<&str, &CallerId> = BTreeMap::new();
    for caller in callers {
        for token in &caller.tokens {
            let owner = owners.entry(token.expose_secret()).or_insert(&caller.id);
            if *owner != &caller.id {
                let problem = Problem::new(
                    format!("has a token that callers.{owner} has too"),
                    "give each caller a token of its own",
                );
                let key = format!("callers.{}", caller.id);
                reader.mistakes.push(None, key, problem);
            }
        }
    }
}
