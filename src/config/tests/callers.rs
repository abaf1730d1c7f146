//! Callers beyond static tokens: issuers, certificates, policies, and TLS of the listener.

use std::time::Duration;

use super::{super::KeysFrom, accepted, print, read, refused};
use crate::identity::{Algorithm, Authority, Method};

/// A public key; whose does not matter.
const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// A directory with files that settings name.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        for (name, text) in [("jwks", JWKS), ("pem", "any"), ("no-jwks", "{}")] {
            std::fs::write(files.0.path().join(name), text).unwrap();
        }
        files
    }

    /// Puts paths in place of `{name}`.
    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for name in ["jwks", "pem", "no-jwks", "missing"] {
            let path = self.0.path().join(name).display().to_string();
            text = text.replace(&format!("{{{name}}}"), &format!("{path:?}"));
        }
        text
    }
}

#[test]
fn issuers_certificates_and_policies_are_read_and_printed_as_they_are() {
    let files = Files::new();
    let text = files.fill(
        "[server]\ntls_cert_file = {pem}\ntls_key_file = {pem}\ntls_client_ca_file = {pem}\n\
         [issuers.cluster]\nissuer = \"https://k\"\naudiences = [\"a\", \"b\"]\njwks_file = {jwks}\n\
         [issuers.web]\nissuer = \"https://w\"\naudiences = \"a\"\nalgorithms = [\"ES384\"]\n\
         jwks_url = \"https://w/jwks\"\njwks_refresh_ms = 1000\n\
         [callers.billing]\njwt_issuer = \"cluster\"\njwt_subjects = [\"s1\", \"s2\"]\n\
         jwt_claims = [\"azp=x=y\"]\ntls_sans = [\"dns:Billing.Internal\", \"spiffe://prod/b\"]\n\
         methods = [\"ListAccounts\", \"GetCancellation\"]\naccounts = [\"rebilly-*\", \"solidgate\"]\n\
         batch_items_max = 5\nhourly_items_max = 6\nscans_max = 7\nmany_matching = false\nauditor = true\n",
    );
    let config = accepted(&text, &[]);
    let tls = config.server.tls.as_ref().unwrap();
    assert!(!tls.clients.as_ref().unwrap().required);
    let [cluster, web] = config.issuers.as_slice() else {
        panic!("{:?}", config.issuers);
    };
    assert!(matches!(cluster.keys, KeysFrom::File { .. }));
    let usual = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
    assert_eq!(cluster.settings.algorithms, usual);
    assert_eq!(web.settings.audiences, ["a"]);
    let KeysFrom::Url { refresh, .. } = &web.keys else {
        panic!("{:?}", web.keys);
    };
    assert_eq!(*refresh, Duration::from_secs(1));
    let billing = &config.callers[0].settings;
    let subjects: Vec<_> = billing.subjects.iter().map(|s| &*s.subject).collect();
    assert_eq!(subjects, ["s1", "s2"]);
    assert_eq!(billing.claims, [("azp".to_owned(), "x=y".to_owned())]);
    let sans: Vec<_> = billing.sans.iter().map(ToString::to_string).collect();
    assert_eq!(sans, ["dns:billing.internal", "spiffe://prod/b"]);
    let policy = &billing.policy;
    assert!(policy.allows_method(Method::ListAccounts) && policy.auditor);
    assert!(!policy.allows_method(Method::StopBatch) && !policy.many_matching);
    assert!(policy.allows_account("rebilly-eu") && !policy.allows_account("rebilly"));
    assert_eq!(
        (policy.batch_items_max, policy.hourly_items_max),
        (5, Some(6))
    );
    assert_eq!(policy.scans_max, 7);

    let again = accepted(&print(&config), &[]);
    assert_eq!(again.callers[0].settings.policy, billing.policy);
    assert_eq!(again.callers[0].settings.sans, billing.sans);
    assert_eq!(again.issuers[1].settings, web.settings);
}

#[test]
fn the_example_of_the_callers_page_is_right() {
    let files = Files::new();
    let tokens = files.0.path().join("tokens");
    std::fs::write(&tokens, format!("sha256:{}\n", "0".repeat(64))).unwrap();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/callers.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("\n## An example\n").unwrap();
    let (_, example) = section.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let line = |line: &str| match line.split_once("_file = ") {
        Some(("token", _)) => format!("token_file = {:?}", tokens.display().to_string()),
        Some((word, _)) => files.fill(&format!("{word}_file = {{pem}}")),
        None => line.to_owned(),
    };
    let text: Vec<_> = example.lines().map(line).collect();
    let config = accepted(&text.join("\n"), &[]);
    assert_eq!(config.callers.len(), 3);
    assert!(config.callers[2].settings.policy.auditor);
}

#[test]
fn a_list_is_written_with_commas_in_a_variable() {
    let config = accepted(
        "",
        &[
            ("CANCELOT_CALLERS_A_TOKEN", "0123456789abcdef"),
            ("CANCELOT_CALLERS_A_ACCOUNTS", "rebilly-*, solidgate"),
            ("CANCELOT_CALLERS_A_METHODS", "StopBatch"),
        ],
    );
    let policy = &config.callers[0].settings.policy;
    assert_eq!(policy.accounts_told(), "rebilly-*, solidgate");
    assert_eq!(policy.methods_told(), "StopBatch");
}

#[test]
fn mistakes_in_proofs_and_policies_are_named_with_their_remedies() {
    let files = Files::new();
    let text = files.fill(
        "[issuers.a]\nissuer = \"i\"\naudiences = []\njwks_file = {no-jwks}\n\
         [issuers.b]\nissuer = \"i\"\naudiences = \"x\"\njwks_url = \"http://w/jwks\"\n\
         algorithms = [\"RS256\", \"HS256\", \"none\"]\n\
         [issuers.c]\n\
         [callers.a]\njwt_issuer = \"bb\"\njwt_subjects = \"s\"\nmethods = \"StopBatches\"\n\
         [callers.b]\njwt_subjects = \"s\"\naccounts = [\"ok\", \"Not_Ok\"]\n\
         [callers.c]\njwt_issuer = \"b\"\nhourly_items_max = 0\n\
         [callers.d]\ntls_sans = [\"*.internal\", \"dns:a\"]\n\
         [callers.e]\nauditor = true\n",
    );
    refused(
        &text,
        &[],
        &[
            "cancelot.toml:3: issuers.a.audiences is an empty list; give at least one, or leave \
             the setting away: 1-1,000 characters",
            "cancelot.toml:4: issuers.a.jwks_file names a file that cannot be used (is no JWKS (a \
             JSON object with keys) at line 1); give the path of a JWKS",
            "cancelot.toml:8: issuers.b.jwks_url would fetch keys in the clear, where anybody on \
             the way could put others; begin it with https://",
            "cancelot.toml:9: issuers.b.algorithms [2] is not one of the choices; did you mean \
             RS256?",
            "cancelot.toml:10: issuers.c has no keys; set jwks_file or jwks_url",
            "cancelot.toml:10: issuers.c.audiences is missing; set it to what its tokens have as \
             aud when they are meant for this service, so that those for other services are worth \
             nothing here",
            "cancelot.toml:10: issuers.c.issuer is missing; set it to what its tokens have as iss",
            "cancelot.toml:12: callers.a.jwt_issuer names no [issuers] that there is; did you \
             mean b?",
            "cancelot.toml:14: callers.a.methods is not one of the choices; did you mean \
             StopBatch?",
            "cancelot.toml:16: callers.b.jwt_subjects means nothing without an issuer; set \
             jwt_issuer",
            "cancelot.toml:17: callers.b.accounts [2] is no account's name, nor one with stars \
             such as rebilly-*; give one such as rebilly-eu or rebilly-*",
            "cancelot.toml:19: callers.c.jwt_issuer would let everybody in to whom it issues \
             tokens; set jwt_subjects to those of this caller",
            "cancelot.toml:20: callers.c.hourly_items_max = 0 is out of bounds; give a whole \
             number from 1 to 1000000000",
            "cancelot.toml:22: callers.d.tls_sans [1] has a wildcard, and names are compared \
             whole; give a name as certificates have it, such as dns:billing.internal or \
             spiffe://prod/ns/billing/sa/worker",
            "cancelot.toml:22: callers.d.tls_sans names certificates that nobody vouches for; set \
             server.tls_client_ca_file",
            "cancelot.toml:23: callers.e has nothing that proves it; set token_file, token_env, \
             the variable CANCELOT_CALLERS_E_TOKEN, jwt_issuer with jwt_subjects, or tls_sans",
        ],
    );
}

#[test]
fn no_proof_is_two_callers_and_no_issuer_has_two_rules() {
    let files = Files::new();
    let caller = "jwt_issuer = \"a\"\njwt_subjects = \"s\"\ntls_sans = \"dns:x\"\n";
    let text = files.fill(&format!(
        "[server]\ntls_cert_file = {{pem}}\ntls_key_file = {{pem}}\ntls_client_ca_file = {{pem}}\n\
         [issuers.a]\nissuer = \"i\"\naudiences = \"x\"\njwks_file = {{jwks}}\n\
         [issuers.b]\nissuer = \"i\"\naudiences = \"y\"\njwks_file = {{jwks}}\n\
         [callers.one]\n{caller}[callers.two]\n{caller}"
    ));
    refused(
        &text,
        &[],
        &[
            "callers.two has a certificate's name that callers.one has too; give each caller a \
             name of its own",
            "callers.two has a JWT's subject that callers.one has too; give each caller a subject \
             of its own",
            "cancelot.toml:10: issuers.b.issuer is that of issuers.a too; make one of the two, \
             with the audiences of both",
        ],
    );
}

#[test]
fn tls_needs_both_of_its_files_and_an_authority_for_clients() {
    let files = Files::new();
    let check = |lines: &str, expected: &[&str]| {
        refused(&files.fill(&format!("[server]\n{lines}")), &[], expected);
    };
    check(
        "tls_cert_file = {pem}",
        &["cancelot.toml:2: server.tls_cert_file has no key; set server.tls_key_file"],
    );
    check(
        "tls_key_file = {missing}",
        &[
            "cancelot.toml:2: server.tls_key_file names a file that cannot be read (entity not \
             found); give the path of a readable PEM file",
            "cancelot.toml:2: server.tls_key_file has no certificate; set server.tls_cert_file",
        ],
    );
    check(
        "tls_client_ca_file = {pem}",
        &[
            "cancelot.toml:2: server.tls_client_ca_file does nothing without TLS; set \
             server.tls_cert_file and server.tls_key_file",
        ],
    );
    check(
        "tls_cert_file = {pem}\ntls_key_file = {pem}\ntls_client_auth = \"required\"",
        &[
            "cancelot.toml:4: server.tls_client_auth asks for certificates that nobody vouches \
             for; set server.tls_client_ca_file",
        ],
    );
}

#[test]
fn a_certificates_names_are_of_one_authority_that_is_said() {
    let files = Files::new();
    let tls = "[server]\ntls_cert_file = {pem}\ntls_key_file = {pem}\n";
    let named = "[authorities.ours]\nca_file = {pem}\n[authorities.theirs]\nca_file = {pem}\n";
    let name = "tls_sans = \"dns:x\"\n";
    let both = format!(
        "{tls}{named}[callers.a]\n{name}authority = \"ours\"\n[callers.b]\n{name}authority = \
         \"theirs\"\n"
    );
    // One name is two names where two authorities vouch for them.
    let config = accepted(&files.fill(&both), &[]);
    let authorities: Vec<_> = config
        .callers
        .iter()
        .map(|c| &c.settings.authority)
        .collect();
    let expected = ["ours", "theirs"].map(Authority::named);
    assert_eq!(authorities, expected.iter().collect::<Vec<_>>());
    let clients = config.server.tls.unwrap().clients.unwrap();
    assert!(!clients.required && clients.ca_file.is_none());
    assert_eq!(clients.authorities.len(), 2);

    let bundle = format!("{tls}tls_client_ca_file = {{pem}}\n{named}[callers.a]\n{name}");
    let config = accepted(&files.fill(&bundle), &[]);
    assert_eq!(config.callers[0].settings.authority, Authority::default());

    let text = format!(
        "{tls}[authorities.ours]\n{named_ours}[authorities.empty]\n\
         [callers.a]\n{name}\
         [callers.b]\ntls_sans = \"dns:y\"\nauthority = \"our\"\n\
         [callers.c]\nauthority = \"ours\"\ntoken_env = \"T\"\n",
        named_ours = "ca_file = {pem}\n",
    );
    refused(
        &files.fill(&text),
        &[("T", "0123456789abcdef")],
        &[
            "cancelot.toml:6: authorities.empty.ca_file is missing; set it to the path of a PEM \
             file with its certificates",
            "cancelot.toml:8: callers.a.tls_sans names certificates and not who vouches for them; \
             set authority in callers.a to the name of one of [authorities]",
            "cancelot.toml:11: callers.b.authority names no [authorities] that there is; did you \
             mean ours?",
            "cancelot.toml:13: callers.c.authority means nothing without names; set tls_sans",
        ],
    );
}

#[test]
fn a_list_of_revoked_proofs_is_read_and_a_mistake_in_it_keeps_the_service_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("revoked");
    let text = format!(
        "[server]\nrevoked_file = {:?}\n",
        list.display().to_string()
    );
    std::fs::write(&list, "# stolen\ntoken:3b7d77f1\nserial:0a:bc\n").unwrap();
    let config = accepted(&text, &[]);
    assert_eq!(config.server.revoked.unwrap().revoked.len(), 2);
    for wrong in ["", "secret-of-somebody\n"] {
        std::fs::write(&list, wrong).unwrap();
        let mistakes = read(&text, &[]).expect_err("was accepted").to_string();
        assert!(mistakes.contains("server.revoked_file"), "{mistakes}");
        assert!(!mistakes.contains("secret"), "{mistakes}");
    }
}

#[test]
fn what_is_taken_without_a_restart_is_told_from_what_is_not() {
    let before = accepted(
        "[callers.a]\ntoken_env = \"T\"\n",
        &[("T", "0123456789abcdef")],
    );
    let text = "[server]\ndrain_ms = 1\n[callers.a]\ntoken_env = \"T\"\nscans_max = 2\n";
    let after = accepted(text, &[("T", "0123456789abcdef")]);
    let changed = after.changed_since(&before);
    let (taken, waiting): (Vec<_>, Vec<_>) = changed
        .iter()
        .partition(|key| super::super::is_reloaded(key));
    assert_eq!(taken, ["callers.a.scans_max"]);
    assert_eq!(waiting, ["server.drain_ms"]);
    assert!(before.changed_since(&before).is_empty());
}
