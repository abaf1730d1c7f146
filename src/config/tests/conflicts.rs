//! Settings that are right by themselves and not beside each other.

use std::os::unix::fs::PermissionsExt as _;

use super::{accepted, refused};

const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// Puts paths of files that there are in place of `{pem}` and `{jwks}`.
fn with_files(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut text = text.to_owned();
    for (name, content) in [("pem", "any"), ("jwks", JWKS)] {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let shown = format!("{:?}", path.display().to_string());
        text = text.replace(&format!("{{{name}}}"), &shown);
    }
    (dir, text)
}

const VARIABLES: &[(&str, &str)] = &[
    ("CANCELOT_CALLERS_A_TOKEN", "0123456789abcdef"),
    ("CREDENTIAL", "x"),
];

#[track_caller]
fn contradicts(text: &str, expected: &[&str]) {
    let (_dir, text) = with_files(text);
    refused(&text, VARIABLES, expected);
}

/// It is accepted with these warnings and no others.
#[track_caller]
fn warns(text: &str, expected: &[&str]) {
    let (_dir, text) = with_files(text);
    let config = accepted(&text, VARIABLES);
    let shown: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(shown, expected);
}

const TLS: &str = "[server]\ntls_cert_file = {pem}\ntls_key_file = {pem}\n\
     tls_client_ca_file = {pem}\n";

#[test]
fn who_is_not_asked_for_a_certificate_cannot_be_known_by_one() {
    contradicts(
        &format!(
            "{TLS}tls_client_auth = \"none\"\n[callers.a]\ntls_sans = [\"dns:a\"]\n\
             [callers.b]\ntls_sans = [\"dns:b\"]"
        ),
        &[
            "cancelot.toml:7: callers.a.tls_sans names certificates that nobody is asked for, as \
             server.tls_client_auth is none; set that to optional or required",
            "cancelot.toml:9: callers.b.tls_sans names certificates that nobody is asked for, as \
             server.tls_client_auth is none; set that to optional or required",
        ],
    );
    warns(
        &format!("{TLS}tls_client_auth = \"none\""),
        &[
            "cancelot.toml:4: server.tls_client_ca_file does nothing, as server.tls_client_auth \
             is none and no certificate is asked for; set that to optional or required, or leave \
             both away",
        ],
    );
    warns(&format!("{TLS}[callers.a]\ntls_sans = [\"dns:a\"]"), &[]);
}

#[test]
fn two_listeners_have_two_ports() {
    let wrong = |line| {
        format!(
            "cancelot.toml:{line}: server.admin_listen has the port of server.listen, which only \
             one of them can have; give it another one, such as 8081"
        )
    };
    for admin in ["127.0.0.1:7000", "0.0.0.0:7000", "[::]:7000"] {
        let text = format!("[server]\nlisten = \"127.0.0.1:7000\"\nadmin_listen = {admin:?}");
        contradicts(&text, &[&wrong(3)]);
    }
    contradicts("[server]\nadmin_listen = \"127.0.0.1:50051\"", &[&wrong(2)]);
    for (listen, admin) in [
        ("127.0.0.1:7000", "127.0.0.2:7000"),
        ("127.0.0.1:7000", "127.0.0.1:7001"),
        ("127.0.0.1:0", "127.0.0.1:0"),
    ] {
        let text = format!("[server]\nlisten = {listen:?}\nadmin_listen = {admin:?}");
        warns(&text, &[]);
    }
}

#[test]
fn a_part_of_a_batch_is_not_kept_longer_than_the_batch() {
    let more = "is more than journal.retention_days, after which nothing of a batch is kept; give \
                as much or less, or leave it away";
    contradicts(
        "[journal]\nretention_days = 10\nanswers_retention_days = 11\nemails_retention_days = 20",
        &[
            &format!("cancelot.toml:3: journal.answers_retention_days {more}"),
            &format!("cancelot.toml:4: journal.emails_retention_days {more}"),
        ],
    );
    warns(
        "[journal]\nanswers_retention_days = 30\nemails_retention_days = 0",
        &[],
    );
}

#[test]
fn the_audit_is_not_among_the_journals_own_files() {
    for dir in ["/j", "/j/", "/j/store-1", "/j/store-12/x"] {
        contradicts(
            &format!("[journal]\ndir = \"/j\"\n[audit]\ndir = {dir:?}"),
            &[
                "cancelot.toml:4: audit.dir is where the journal has its own files; give a \
                 directory of its own, or leave it away for `audit` in journal.dir",
            ],
        );
    }
    for dir in ["/j/audit", "/j/kept/store-1", "/jj", "/"] {
        warns(
            &format!("[journal]\ndir = \"/j\"\n[audit]\ndir = {dir:?}"),
            &[],
        );
    }
}

#[test]
fn an_auditor_may_read() {
    contradicts(
        "[callers.a]\nmethods = [\"ListAccounts\", \"StopBatch\"]\nauditor = true",
        &[
            "cancelot.toml:3: callers.a.auditor means nothing to a caller that may not read \
             records; add GetCancellation and ListCancellations to its methods, or leave it away",
        ],
    );
    contradicts(
        "[callers.a]\nauditor_answers = true",
        &[
            "cancelot.toml:2: callers.a.auditor_answers means nothing to a caller that may not read \
             the records of others; add auditor = true, or leave it away",
        ],
    );
    warns(
        "[callers.a]\nmethods = [\"ListCancellations\"]\nauditor = true\nauditor_answers = true",
        &[],
    );
}

#[test]
fn an_issuer_has_keys_that_its_tokens_can_be_signed_with_and_somebody_who_shows_them() {
    let issuer = "[issuers.i]\nissuer = \"i\"\naudiences = \"a\"\njwks_file = {jwks}\n";
    let caller = "[callers.a]\njwt_issuer = \"i\"\njwt_subjects = \"s\"\n";
    contradicts(
        &format!("{issuer}algorithms = [\"RS256\", \"ES256\"]\n{caller}"),
        &[
            "cancelot.toml:4: issuers.i.jwks_file has no key for any of the issuer's algorithms, \
             so that no token of its is good; add what its keys sign with to algorithms, or give \
             its other keys",
        ],
    );
    warns(&format!("{issuer}{caller}"), &[]);
    warns(
        issuer,
        &[
            "cancelot.toml:2: issuers.i.issuer proves nobody, as no caller has it as jwt_issuer; \
             set jwt_issuer and jwt_subjects of a caller, or leave the issuer away",
        ],
    );
}

#[test]
fn what_is_on_its_way_in_or_out_is_told_and_lets_the_service_start() {
    let account =
        "[accounts.rebilly-eu]\nprovider = \"rebilly\"\ncredential_env = \"CREDENTIAL\"\n";
    let caller = "[callers.a]\naccounts = [\"rebilly-*\", \"rebily-eu\", \"solidgate\"]\n";
    warns(
        &format!("{account}{caller}[telemetry]\npropagate_to_providers = true"),
        &[
            "cancelot.toml:5: callers.a.accounts has 2 that no account is called by; compare them \
             with the names of [accounts]",
            "cancelot.toml:7: telemetry.propagate_to_providers does nothing, as there are no \
             traces without telemetry.otlp_endpoint; set that, or leave this away",
        ],
    );
    // Without any account there is nothing to compare with.
    warns(caller, &[]);
    warns(
        "[server]\ninsecure = true\n[callers.a]\n",
        &[
            "cancelot.toml:2: server.insecure does nothing, as there are callers, and nobody else \
             may call; leave it away",
        ],
    );
}

#[test]
fn a_window_that_ends_before_a_lost_request_may_go_again_is_told() {
    let text = |more: &str, window: u64| {
        format!(
            "[engine]\nretry_window_ms = {window}\n[accounts.a]\nprovider = \
             \"rebilly\"\ncredential_env = \"CREDENTIAL\"\n{more}"
        )
    };
    let problem = "accounts.a.settling_ms and timeout_ms together are no less than \
                   engine.retry_window_ms, so a request whose answer was lost at the end of its \
                   time is not sent again within that; give less, or a longer window";
    warns(&text("", 60_001), &[]);
    warns(&text("", 60_000), &[problem]);
    let set = format!("cancelot.toml:6: {problem}");
    warns(&text("settling_ms = 40000", 65_000), &[&set]);
    warns(&text("settling_ms = 1000\ntimeout_ms = 5000", 6_001), &[]);
}
