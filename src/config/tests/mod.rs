//! The configuration as its users meet it: texts and variables in, settings or mistakes out.

mod accounts;
mod callers;
mod conflicts;
mod permissions;
mod properties;
mod secrets;

use std::{net::SocketAddr, path::Path, time::Duration};

use super::{
    Config, Env, Format, Mistakes, Sources, load, parse, print, reference_markdown,
    schema::{setting::variable, settings::ALL},
};

/// Appears in no message, print or debug output, wherever it was written.
const PLANTED: &str = "planted-7c1f0e5b";

fn env(variables: &[(&str, &str)]) -> Env {
    variables.iter().copied().collect()
}

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, Mistakes> {
    parse("cancelot.toml", text, &env(variables), &[])
}

#[track_caller]
fn accepted(text: &str, variables: &[(&str, &str)]) -> Config {
    read(text, variables).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// The mistakes are these and no others.
#[track_caller]
fn refused(text: &str, variables: &[(&str, &str)], expected: &[&str]) {
    let mistakes = read(text, variables).expect_err("was accepted");
    let shown: Vec<_> = mistakes.all().iter().map(ToString::to_string).collect();
    assert_eq!(shown, expected);
}

#[test]
fn without_any_source_every_setting_has_its_default() {
    let config = accepted("", &[]);
    assert_eq!(
        config.server.listen,
        SocketAddr::from(([127, 0, 0, 1], 50_051))
    );
    assert_eq!(config.server.drain, Duration::from_secs(30));
    assert_eq!(config.journal.dir, Path::new("cancelot-data"));
    assert_eq!(config.journal.retention, Duration::from_hours(30 * 24));
    assert_eq!(config.engine.retry_window, Duration::from_hours(1));
    assert_eq!(config.engine.open_items_max, 100_000);
    assert_eq!(config.log.format, Format::Text);
    assert!(config.accounts.is_empty() && config.callers.is_empty());
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let text = "[server]\ndrain_ms = 1\nstreams_max = 1\n[log]\nfilter = \"warn\"";
    let variables = env(&[
        ("CANCELOT_SERVER_DRAIN_MS", "2"),
        ("CANCELOT_SERVER_STREAMS_MAX", "2"),
    ]);
    let overrides = [("server.drain_ms".to_owned(), "3".to_owned())];
    let config = parse("f", text, &variables, &overrides).unwrap();
    assert_eq!(config.server.drain, Duration::from_millis(3));
    assert_eq!(config.server.streams_max, 2);
    assert_eq!(config.log.filter, "warn");
}

#[test]
fn all_mistakes_are_reported_at_once_with_place_and_remedy() {
    refused(
        "[server]\nlisten = \"localhost:1\"\nstreams = 5\ndrain_ms = -1\n\
         [servre]\n[engine]\nopen_items_max = \"many\"\nbackoff_base_ms = 50_000\n\
         [log]\nformat = \"jsno\"\nfilter = [1]\n[accounts.EU_1]\n[accounts]\nprovider = \"x\"",
        &[
            ("CANCELOT_SERVER_LISTN", "x"),
            ("CANCELOT_JOURNAL_RETENTION_DAYS", ""),
        ],
        &[
            "cancelot.toml:2: server.listen is no address with a port; give one such as \
             127.0.0.1:50051, 0.0.0.0:50051 or [::]:50051 (a number, not a host's name)",
            "cancelot.toml:3: server.streams is no setting; did you mean streams_max?",
            "cancelot.toml:4: server.drain_ms = -1 is out of bounds; give a whole number from 0 \
             to 600000",
            "cancelot.toml:5: servre is no setting; did you mean server?",
            "cancelot.toml:7: engine.open_items_max is no whole number; give a whole number from \
             10000 to 10000000",
            "cancelot.toml:8: engine.backoff_base_ms makes backoff_base_ms = 50000 more than \
             backoff_max_ms = 30000; lower the first or raise the second",
            "cancelot.toml:10: log.format is not one of the choices; did you mean json?",
            "cancelot.toml:11: log.filter is no text; give this in quotes: filter directives",
            "cancelot.toml:12: accounts.EU_1 is not a legal name; call it eu-1: lower-case \
             letters, digits and dashes",
            "cancelot.toml:14: accounts.provider stands outside of any name; write \
             [accounts.some-name] above its settings",
            "environment CANCELOT_JOURNAL_RETENTION_DAYS: journal.retention_days is no whole \
             number; give a whole number from 1 to 3650",
            "environment CANCELOT_SERVER_LISTN: is no setting; did you mean \
             CANCELOT_SERVER_LISTEN?",
        ],
    );
}

#[test]
fn what_is_no_toml_is_refused_with_its_line_and_without_its_text() {
    let text = format!("[server]\nlisten = {PLANTED}\n");
    let mistakes = read(&text, &[]).unwrap_err();
    let shown = mistakes.to_string();
    assert!(shown.contains("cancelot.toml:2: "), "{shown}");
    assert!(!shown.contains(PLANTED), "{shown}");
}

#[test]
fn a_setting_in_the_wrong_section_is_pointed_to_the_right_one() {
    refused(
        "retention_days = 3\n[server]\nbackoff_max_ms = 3",
        &[],
        &[
            "cancelot.toml:1: retention_days is no setting; did you mean journal.retention_days?",
            "cancelot.toml:3: server.backoff_max_ms is no setting; did you mean \
             engine.backoff_max_ms?",
        ],
    );
}

#[test]
fn the_command_line_takes_settings_of_accounts_and_no_secrets() {
    let overrides = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |(key, text): &(&str, &str)| ((*key).to_owned(), (*text).to_owned());
        pairs.iter().map(owned).collect()
    };
    let env = env(&[("S", "s")]);
    let right = overrides(&[
        ("accounts.a.provider", "rebilly"),
        ("accounts.a.credential_env", "S"),
        ("engine.retry_window_ms", "60000"),
    ]);
    let config = parse("", "", &env, &right).unwrap();
    assert_eq!(config.accounts.len(), 1);
    let wrong = overrides(&[
        ("accounts.a.credential", PLANTED),
        ("accounts.A.provider", "rebilly"),
        ("listen", "127.0.0.1:1"),
        ("server.listn", "127.0.0.1:1"),
    ]);
    let mistakes = parse("", "", &env, &wrong).unwrap_err();
    let shown: Vec<_> = mistakes.all().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "command line: accounts.A.provider is not a legal name; call it a: lower-case \
             letters, digits and dashes",
            "command line: accounts.a.credential would be a secret in plain sight; name where it \
             is kept: credential_file = \"a path\" or credential_env = \"A_VARIABLE\"",
            "command line: listen is no setting; did you mean server.listen?",
            "command line: server.listn is no setting; did you mean listen?",
        ]
    );
}

#[test]
fn the_file_is_the_one_of_the_command_line_or_else_of_its_variable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, "[log]\nfilter = \"error\"").unwrap();
    let empty = Env::default();
    let by_variable = env(&[("CANCELOT_CONFIG", path.to_str().unwrap())]);
    let sources = |file: Option<&Path>, env| {
        let file = file.map(Path::to_owned);
        load(&Sources {
            file,
            env,
            overrides: &[],
        })
    };
    assert_eq!(sources(None, &by_variable).unwrap().log.filter, "error");
    assert_eq!(sources(Some(&path), &empty).unwrap().log.filter, "error");
    assert_eq!(sources(None, &empty).unwrap().log.filter, "info");
    std::fs::write(&path, "#".repeat(4 * 1024 * 1024 + 1)).unwrap();
    let mistakes = sources(Some(&path), &empty).unwrap_err();
    assert!(mistakes.to_string().contains("has more than"), "{mistakes}");
    let missing = dir.path().join("missing.toml");
    let mistakes = sources(Some(&missing), &by_variable).unwrap_err();
    assert!(
        mistakes.to_string().contains("missing.toml cannot be read"),
        "{mistakes}"
    );
}

#[test]
fn what_is_printed_says_where_it_came_from_and_means_the_same() {
    let variables = [
        ("CANCELOT_SERVER_DRAIN_MS", "5"),
        ("CANCELOT_ACCOUNTS_B_CREDENTIAL", PLANTED),
        ("CANCELOT_ACCOUNTS_B_PROVIDER", "funnelfox"),
        ("S", "s"),
        ("T", "0123456789abcdef"),
    ];
    let text = "[journal]\ndir = \"a \\\"b\\\" \\\\ c\"\n[callers.x]\ntoken_env = \"T\"\n\
                [accounts.a]\nprovider = \"revolv3\"\ncredential_env = \"S\"\nrate_burst = 7";
    let config = accepted(text, &variables);
    let printed = print(&config);
    for line in [
        "drain_ms = 5 # environment CANCELOT_SERVER_DRAIN_MS",
        "streams_max = 200",
        "rate_burst = 7 # cancelot.toml:8",
        "rate_per_second = 15.0",
        "base_url = \"https://api.revolv3.com\"",
        "credential_env = \"CANCELOT_ACCOUNTS_B_CREDENTIAL\" # environment \
         CANCELOT_ACCOUNTS_B_CREDENTIAL",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line}\nin\n{printed}"
        );
    }
    let again = accepted(&printed, &variables);
    let values = |config: &Config| -> Vec<_> {
        let entries = config.entries.iter();
        entries
            .map(|entry| (entry.key.clone(), entry.toml.clone()))
            .collect()
    };
    assert_eq!(values(&again), values(&config));
    assert_eq!(again.journal.dir, Path::new("a \"b\" \\ c"));
}

#[test]
fn the_reference_has_a_row_for_every_setting() {
    let reference = reference_markdown();
    for setting in ALL {
        let name = variable(setting.key());
        let rows = reference
            .lines()
            .filter(|line| line.contains(&format!("`{name}`")));
        assert_eq!(rows.count(), 1, "{name}");
        assert!(
            setting.doc().ends_with('.'),
            "{}: {}",
            setting.key(),
            setting.doc()
        );
    }
    assert!(
        reference
            .lines()
            .all(|line| !line.starts_with('|') || line.matches('|').count() == 6)
    );
}

#[test]
fn no_two_settings_share_a_key_or_a_variable() {
    let mut names: Vec<_> = ALL.iter().map(|setting| variable(setting.key())).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
}
