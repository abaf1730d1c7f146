//! The configuration of a service whose accounts are at the sandbox, whatever a file says about
//! them.

use std::path::Path;

use super::serve;
use crate::{
    cli::{
        Exit,
        terminal::{out, say},
    },
    config::{self, Config, Env},
    sandbox::{self, Provider, Sandbox},
};

/// Settings of an account that are replaced, so that nothing of it reaches a provider.
const REPLACED: [&str; 7] = [
    "credential",
    "credential_file",
    "credential_env",
    "base_url",
    "allow_http",
    "proxy_url",
    "environment",
];

/// Serves it, with a journal that is thrown away.
pub(super) async fn run(
    file: Option<&Path>,
    overrides: &[(String, String)],
    guarded: rustix::io::Result<()>,
) -> Exit {
    let (sandbox, dir) = match (
        Sandbox::start(sandbox::Options::default()),
        tempfile::tempdir(),
    ) {
        (Ok(sandbox), Ok(dir)) => (sandbox, dir),
        (Err(error), _) | (_, Err(error)) => {
            say(format!("cancelot: the sandbox cannot start: {error}"));
            return Exit::Unavailable;
        }
    };
    let config = match file {
        None => of_five(&sandbox, dir.path(), overrides),
        Some(file) => of_file(file, &sandbox, dir.path(), overrides),
    };
    let config = match config {
        Ok(config) => config,
        Err(problem) => {
            say(problem);
            return Exit::Usage;
        }
    };
    out(format!(
        "sandbox of the five providers: http://{}/_sandbox",
        sandbox.addr()
    ));
    let exit = serve(config, guarded).await;
    sandbox.stop().await;
    exit
}

/// A configuration with one account at each provider of the sandbox.
pub(in crate::cli) fn of_five(
    sandbox: &Sandbox,
    journal: &Path,
    overrides: &[(String, String)],
) -> Result<Config, String> {
    let text = format!(
        "[journal]\ndir = {:?}\n[engine]\nbackoff_base_ms = 50\nbackoff_max_ms = 1000\n{}",
        journal.display().to_string(),
        five(sandbox)
    );
    config::parse("sandbox", &text, &env(Env::default()), overrides)
        .map_err(|mistakes| mistakes.to_string())
}

/// The sandbox accepts any credential.
fn env(before: Env) -> Env {
    before.with("SANDBOX", "sandbox")
}

fn five(sandbox: &Sandbox) -> String {
    let mut text = String::new();
    for provider in Provider::ALL {
        let name = provider.name();
        text.push_str(&format!(
            "[accounts.{name}]\nprovider = {name:?}\nbase_url = {:?}\ncredential_env = \
             \"SANDBOX\"\nrate_per_second = 10000.0\nrate_burst = 1000\nconcurrency_max = 32\n\
             timeout_ms = 1000\nsettling_ms = 1000\n",
            sandbox.base_url(provider)
        ));
        text.push_str(match provider {
            Provider::Rebilly => "organization = \"sandbox\"\n",
            Provider::Revolv3 => "set_timing = true\n",
            Provider::Solidgate | Provider::FunnelFox | Provider::Sequenzy => "",
        });
    }
    text
}

/// A file's configuration with its accounts at the sandbox: the same names, no credentials, and a
/// temporary journal and audit. A file without accounts gets the five of the sandbox.
pub(super) fn of_file(
    file: &Path,
    sandbox: &Sandbox,
    journal: &Path,
    overrides: &[(String, String)],
) -> Result<Config, String> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
    let (text, accounts) = without_providers(&text);
    let journal = journal.display().to_string();
    let audit = format!("{journal}/audit");
    let mut given = vec![
        ("journal.dir".to_owned(), journal),
        ("audit.dir".to_owned(), audit),
    ];
    let text = if accounts.is_empty() {
        format!("{text}\n{}", five(sandbox))
    } else {
        text
    };
    for (name, provider) in accounts {
        let url = sandbox.base_url(provider);
        given.push((format!("accounts.{name}.base_url"), url));
        let credential = (
            format!("accounts.{name}.credential_env"),
            "SANDBOX".to_owned(),
        );
        given.push(credential);
    }
    given.extend(overrides.iter().cloned());
    let process = Env::of_process().without(|name| {
        let is_replaced = |word: &&str| name.ends_with(&word.to_ascii_uppercase());
        name.starts_with("CANCELOT_ACCOUNTS_") && REPLACED.iter().any(is_replaced)
    });
    let config = config::parse(&shown, &text, &env(process), &given)
        .map_err(|mistakes| mistakes.to_string())?;
    let place = format!("http://{}", sandbox.addr());
    match config
        .accounts
        .iter()
        .find(|account| !account.account.base_url.to_string().starts_with(&place))
    {
        None => Ok(config),
        Some(account) => Err(format!(
            "accounts.{} would not be at the sandbox; have it in {shown}, with its provider",
            account.account.name
        )),
    }
}

/// A file's text without its accounts' providers and credentials, on unchanged lines, and the
/// accounts.
fn without_providers(text: &str) -> (String, Vec<(String, Provider)>) {
    // Invalid TOML is reported by the next reader.
    let Ok(mut table) = text.parse::<toml::Table>() else {
        return (text.to_owned(), Vec::new());
    };
    let mut accounts = Vec::new();
    if let Some(toml::Value::Table(all)) = table.get_mut("accounts") {
        for (name, account) in all.iter_mut() {
            let provider = account.get("provider").and_then(toml::Value::as_str);
            let known = Provider::ALL.into_iter();
            let provider = known.clone().find(|known| Some(known.name()) == provider);
            accounts.extend(provider.map(|provider| (name.clone(), provider)));
            if let toml::Value::Table(account) = account {
                account.retain(|key, _| !REPLACED.contains(&key));
            }
        }
    }
    let blanked = blanked(text);
    if blanked.parse::<toml::Table>().as_ref() == Ok(&table) {
        return (blanked, accounts);
    }
    // The text has a form from which lines cannot be removed.
    (table.to_string(), accounts)
}

/// The text with the lines of replaced settings blanked.
fn blanked(text: &str) -> String {
    let mut of_account = false;
    let lines = text.lines().map(|line| {
        let trimmed = line.trim_start();
        if trimmed.starts_with('[') {
            of_account = trimmed
                .trim_start_matches(['[', ' '])
                .starts_with("accounts.");
        }
        let key = trimmed.split('=').next().unwrap_or_default().trim();
        if of_account && REPLACED.contains(&key) {
            ""
        } else {
            line
        }
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_of_providers_is_taken_out_and_its_lines_stay() {
        let plain = "[server]\nlisten = \"x\"\n[accounts.eu]\nprovider = \"rebilly\"\n\
                     credential_file = \"/x\"\nrate_burst = 3\nbase_url = \"https://api\"\n";
        let (text, accounts) = without_providers(plain);
        assert_eq!(accounts, [("eu".to_owned(), Provider::Rebilly)]);
        assert_eq!(
            text,
            "[server]\nlisten = \"x\"\n[accounts.eu]\nprovider = \"rebilly\"\n\nrate_burst = 3\n\n"
        );
        let inline = "accounts.eu = { provider = \"solidgate\", credential_env = \"X\" }\n";
        let (text, accounts) = without_providers(inline);
        assert_eq!(accounts, [("eu".to_owned(), Provider::Solidgate)]);
        assert!(
            text.contains("solidgate") && !text.contains("credential_env"),
            "{text}"
        );
        assert_eq!(without_providers("[a\n").0, "[a\n");
    }
}
