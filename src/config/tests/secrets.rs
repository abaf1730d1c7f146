//! Secrets: where they come from, and that nothing shows them. And who may call without one.

use secrecy::ExposeSecret;

use crate::identity::TokenDigest;

use super::{PLANTED, accepted, env, read, refused};
use crate::config::{
    print,
    schema::{
        setting::{NAME, variable},
        settings::ALL,
    },
};

#[test]
fn listening_beyond_this_machine_takes_a_caller_or_the_word_that_it_is_meant() {
    let open = "[server]\nlisten = \"0.0.0.0:1\"\n";
    refused(
        open,
        &[],
        &[
            "cancelot.toml:2: server.listen would let everybody who reaches it cancel, as no \
             caller is configured; add a [callers.some-name] with a token, listen on 127.0.0.1, \
             or set server.insecure = true (or --insecure) if something in front of it decides who \
             may call",
        ],
    );
    accepted(&format!("{open}insecure = true"), &[]);
    accepted("[server]\nlisten = \"[::1]:0\"", &[]);
    let config = accepted(
        open,
        &[("CANCELOT_CALLERS_BILLING_TOKEN", "0123456789abcdef")],
    );
    assert_eq!(config.callers.len(), 1);
    assert_eq!(config.callers[0].settings.id.as_str(), "billing");
}

#[test]
fn a_token_of_few_characters_over_and_over_is_refused() {
    for token in [
        "xxxxxxxxxxxxxxxxxxxxxxxx",
        "abababababababab",
        "1234123412341234",
    ] {
        refused(
            "[callers.a]\ntoken_env = \"A\"",
            &[("A", token)],
            &[
                "cancelot.toml:2: callers.a.token_env leads to a token of fewer than 5 different \
                 characters; make one that cannot be guessed, such as by `openssl rand -hex 32`",
            ],
        );
    }
}

#[test]
fn a_caller_may_have_two_tokens_and_no_other_caller_may_have_either() {
    let old = "old-token-old-token";
    let new = "new-token-new-token";
    let config = accepted(
        "[callers.a]\ntoken_env = \"A\"",
        &[("A", &format!("{old}\n{new}\n"))],
    );
    let tokens = &config.callers[0].settings.tokens;
    assert_eq!(*tokens, [old, new].map(TokenDigest::of));
    refused(
        "[callers.a]\ntoken_env = \"A\"\n[callers.b]\ntoken_env = \"A\"\n\
         [callers.c]\ntoken_env = \"C\"\n[callers.anonymous]\n[callers.d]\ntoken = \"x\"",
        &[("A", old), ("C", "short")],
        &[
            "callers.b has a token that callers.a has too; give each caller a token of its own",
            "cancelot.toml:6: callers.c.token_env leads to a token of fewer than 16 characters; \
             make one that cannot be guessed, such as by `openssl rand -hex 32`",
            "cancelot.toml:7: callers.anonymous is what those are called who show no token; \
             choose another name",
            "cancelot.toml:8: callers.d has nothing that proves it; set token_file, token_env, the \
             variable CANCELOT_CALLERS_D_TOKEN, jwt_issuer with jwt_subjects, or tls_sans",
            "cancelot.toml:9: callers.d.token would be a secret in plain sight; name where it is \
             kept: token_file = \"a path\" or token_env = \"A_VARIABLE\"",
        ],
    );
}

#[test]
fn a_credential_comes_from_a_file_a_variable_or_our_own_variable() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, format!("  {PLANTED}\n")).unwrap();
    let path = file.path().display().to_string();
    for (lines, variables) in [
        (format!("credential_file = {path:?}"), vec![]),
        ("credential_env = \"S\"".to_owned(), vec![("S", PLANTED)]),
        (
            String::new(),
            vec![("CANCELOT_ACCOUNTS_A_B_CREDENTIAL", PLANTED)],
        ),
        // The environment wins over the file.
        (
            "credential_file = \"missing\"".to_owned(),
            vec![("CANCELOT_ACCOUNTS_A_B_CREDENTIAL", PLANTED)],
        ),
    ] {
        let text = format!("[accounts.a-b]\nprovider = \"rebilly\"\n{lines}");
        let config = accepted(&text, &variables);
        assert_eq!(config.accounts[0].credential.expose_secret(), PLANTED);
        let printed = print(&config);
        let debugged = format!("{config:?} {:?}", env(&variables));
        assert!(!printed.contains(PLANTED), "{printed}");
        assert!(!debugged.contains(PLANTED), "{debugged}");
    }
}

#[test]
fn a_credential_that_cannot_be_used_is_refused_with_what_to_do() {
    let text = "[accounts.a]\nprovider = \"rebilly\"\n";
    let missing = "credential_file = \"/no/such/file\"";
    let both = "credential_file = \"f\"\ncredential_env = \"S\"";
    let place = "cancelot.toml:3: accounts.a.credential_env";
    for (lines, value, expected) in [
        (
            "",
            "",
            "cancelot.toml:1: accounts.a has no credential; set credential_file, credential_env, \
             or the variable CANCELOT_ACCOUNTS_A_CREDENTIAL"
                .to_owned(),
        ),
        (
            missing,
            "",
            "cancelot.toml:3: accounts.a.credential_file names a file that cannot be read \
             (entity not found); give the path of a readable text file"
                .to_owned(),
        ),
        (
            both,
            "s",
            "cancelot.toml:3: accounts.a.credential_file is one of several places; keep exactly \
             one\ncancelot.toml:4: accounts.a.credential_env is one of several places; keep \
             exactly one"
                .to_owned(),
        ),
        (
            "credential_env = \"T\"",
            "s",
            format!(
                "{place} names a variable that is not set; set it, or give the name of one \
                     that is"
            ),
        ),
        (
            "credential_env = \"S\"",
            "  \n",
            format!("{place} leads to nothing: it is empty; put the secret there"),
        ),
        (
            "credential_env = \"S\"",
            "a\nb",
            format!("{place} leads to several lines; keep the secret alone on a single line"),
        ),
        (
            "credential_env = \"S\"",
            "schlüssel",
            format!(
                "{place} leads to characters that no header can have; keep the secret alone, \
                     in printable ASCII characters"
            ),
        ),
        (
            "credential_env = \"S\"",
            "Bearer x",
            format!(
                "{place} leads to a value that begins with \"Bearer \"; leave that word \
                     away: it is added where it belongs"
            ),
        ),
    ] {
        let expected: Vec<_> = expected.lines().collect();
        refused(&format!("{text}{lines}"), &[("S", value)], &expected);
    }
}

#[test]
fn a_secret_in_plain_sight_is_refused_whatever_it_is_called() {
    for word in [
        "credential",
        "api_key",
        "API-KEY",
        "token",
        "secret",
        "password",
    ] {
        let text = format!(
            "[accounts.a]\nprovider = \"rebilly\"\ncredential_env = \"S\"\n{word} = {PLANTED:?}"
        );
        let expected = format!(
            "cancelot.toml:4: accounts.a.{word} would be a secret in plain sight; name where it \
             is kept: credential_file = \"a path\" or credential_env = \"A_VARIABLE\""
        );
        refused(&text, &[("S", "s")], &[&expected]);
    }
}

/// Whatever setting somebody writes a secret into, the mistake does not repeat it.
#[test]
fn no_mistake_repeats_a_text_it_refuses() {
    let mut texts = Vec::new();
    for setting in ALL {
        let (section, word) = setting.key().rsplit_once('.').unwrap();
        let section = section.replace(NAME, "a");
        for value in [
            format!("{PLANTED:?}"),
            format!("\"https://user:{PLANTED}@host\""),
            format!("\"https://host?key={PLANTED}\""),
            format!("[{PLANTED:?}]"),
            format!("{{ x = {PLANTED:?} }}"),
            PLANTED.to_owned(),
        ] {
            texts.push(format!("[{section}]\n{word} = {value}\nx = {value}"));
        }
    }
    for text in texts {
        let mistakes = read(&text, &[]).expect_err(&text);
        let shown = format!("{mistakes} {mistakes:?}");
        assert!(!shown.contains(PLANTED), "{text}\n{shown}");
    }
    for setting in ALL {
        let name = variable(&setting.key().replace(NAME, "a"));
        let found = read("", &[(&name, PLANTED), ("CANCELOT_X", PLANTED)]);
        let shown = found.unwrap_err().to_string();
        assert!(!shown.contains(PLANTED), "{name}\n{shown}");
    }
}
