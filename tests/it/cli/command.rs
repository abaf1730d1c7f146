//! The binary's command line: a client over TLS, a server that warns of open access, and reloading
//! by signal.

use std::process::{Command, Output};

use cancelot::sandbox::Sandbox;

use crate::support::{
    BILLING_TOKEN, gateway,
    identities::{called_as, refused_as},
    in_time,
    pki::{Authority, Files, SERVER_NAME},
    process::{Place, try_connect},
};

/// Runs the binary to its end.
async fn cancelot(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cancelot"));
    command.args(arguments).envs(variables.iter().copied());
    let run = tokio::task::spawn_blocking(move || command.output());
    let Output {
        status,
        stdout,
        stderr,
    } = in_time(run).await.unwrap().unwrap();
    let text = String::from_utf8([stdout, stderr].concat()).unwrap();
    (status.code().unwrap(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_believes_and_shows_what_it_is_given() {
    let (server_ca, client_ca, files) = (
        Authority::new("server"),
        Authority::new("client"),
        Files::new(),
    );
    let server = files.server(&server_ca.server());
    let ca = files.write("client-ca.pem", &client_ca.pem);
    let gateway = gateway()
        .config(&format!("[server]\n{server}tls_client_ca_file = {ca}"))
        .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"")
        .config("tls_sans = \"dns:billing.internal\"")
        .start()
        .await;
    let plain = gateway.url();
    let endpoint = plain.replace("http://", "https://");
    let own = client_ca.client(&["dns:billing.internal"]);
    for (name, text) in [
        ("ca", &*server_ca.pem),
        ("cert", &*own.cert),
        ("key", &*own.key),
        ("token", BILLING_TOKEN),
        ("wrong", "not-the-token-of-anyone"),
        ("empty", ""),
    ] {
        files.write(name, text);
    }
    let path = |name: &str| files.path(name).display().to_string();
    let [ca, cert, key, token] = ["ca", "cert", "key", "token"].map(path);
    let (wrong, empty, missing) = (path("wrong"), path("empty"), path("missing"));
    let believes = ["--tls-ca-file", &ca, "--tls-server-name", SERVER_NAME];
    let run = async |endpoint: &str, more: &[&str]| {
        let mut arguments = vec!["accounts", "--endpoint", endpoint];
        arguments.extend(more);
        cancelot(&arguments, &[]).await
    };
    let with = |more: &[&'static str]| [&believes[..], more].concat();

    let identity = [
        &believes[..],
        &["--tls-cert-file", &cert, "--tls-key-file", &key],
    ]
    .concat();
    let by_file = [&believes[..], &["--token-file", &token]].concat();
    for good in [identity, by_file, with(&["--token", BILLING_TOKEN])] {
        let (code, text) = run(&endpoint, &good).await;
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("rebilly"), "{text}");
    }
    let variables = [
        ("CANCELOT_ENDPOINT", &*endpoint),
        ("CANCELOT_TLS_CA_FILE", &ca),
        ("CANCELOT_TLS_SERVER_NAME", SERVER_NAME),
        ("CANCELOT_TOKEN_FILE", &token),
    ];
    assert_eq!(cancelot(&["accounts"], &variables).await.0, 0);

    let wrong_file = [&believes[..], &["--token-file", &wrong]].concat();
    let name_only = ["--tls-ca-file", &ca];
    for (arguments, expected) in [
        (&believes[..], "Unauthenticated"),
        (&wrong_file, "Unauthenticated"),
        // Neither the system's authorities nor a name that the certificate does not have.
        (&["--token-file", &token], ""),
        (&[&name_only[..], &["--token-file", &token]].concat(), ""),
    ] {
        let (code, text) = run(&endpoint, arguments).await;
        let expected_code = if expected.is_empty() { 69 } else { 77 };
        assert_eq!(code, expected_code, "{arguments:?}: {text}");
        assert!(text.contains(expected), "{text}");
    }
    for usage in [
        &["--token-file", &*missing][..],
        &["--token-file", &empty],
        &["--tls-ca-file", &missing],
        &["--tls-ca-file", &token],
        &["--tls-cert-file", &cert],
        &["--token-file", &token, "--token", "x"],
    ] {
        let (code, text) = run(&endpoint, usage).await;
        assert!(matches!(code, 2 | 64), "{usage:?}: {code} {text}");
        assert!(!text.contains(BILLING_TOKEN), "{text}");
    }
    let (code, text) = run(&plain, &believes).await;
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("begin it with https://"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_not_leave_this_machine_in_the_clear_unless_that_is_said() {
    let files = Files::new();
    files.write("token", BILLING_TOKEN);
    let file = files.path("token").display().to_string();
    // Reserved for documentation (RFC 5737, RFC 3849, RFC 6761): requests to them get no answer.
    let away = [
        "http://192.0.2.1:50051",
        "192.0.2.1:50051",
        "http://[2001:db8::1]:50051",
        "http://cancelot.invalid:50051",
        "http://0.0.0.0:50051",
        "http://localhost.invalid:50051",
    ];
    let refused = "--allow-plaintext-token";
    for endpoint in away {
        for token in [["--token", BILLING_TOKEN], ["--token-file", &file]] {
            let arguments = [&["accounts", "--endpoint", endpoint][..], &token].concat();
            let (code, text) = cancelot(&arguments, &[]).await;
            assert_eq!(code, 64, "{endpoint}: {text}");
            assert!(text.contains(refused), "{endpoint}: {text}");
            assert!(text.contains("https://"), "{endpoint}: {text}");
            assert!(!text.contains(BILLING_TOKEN), "{text}");
        }
    }
    // The environment is no way around it, and neither is another command.
    for command in [
        "accounts",
        "stop b000000000042",
        "cancel subscriptions --yes --account rebilly --subscription-id 1 --when now",
    ] {
        let arguments: Vec<_> = command.split(' ').collect();
        let variables = [
            ("CANCELOT_ENDPOINT", away[0]),
            ("CANCELOT_TOKEN", BILLING_TOKEN),
        ];
        let (code, text) = cancelot(&arguments, &variables).await;
        assert_eq!(code, 64, "{command}: {text}");
        assert!(text.contains(refused), "{command}: {text}");
    }
    // With the word it is tried, as it is without a token.
    let endpoint = ["accounts", "--connect-timeout", "1", "--endpoint", away[3]];
    let allowed = ["--token", BILLING_TOKEN, "--allow-plaintext-token"];
    let (code, text) = cancelot(&[&endpoint[..], &allowed].concat(), &[]).await;
    assert_eq!(code, 69, "{text}");
    let (code, text) = cancelot(&endpoint, &[]).await;
    assert_eq!(code, 69, "{text}");
    let variables = [
        ("CANCELOT_TOKEN", BILLING_TOKEN),
        ("CANCELOT_ALLOW_PLAINTEXT_TOKEN", "true"),
    ];
    let (code, text) = cancelot(&endpoint, &variables).await;
    assert_eq!(code, 69, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_may_have_a_token_in_the_clear() {
    let gateway = gateway()
        .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"")
        .start()
        .await;
    let numbers = gateway.url();
    let name = numbers.replace("127.0.0.1", "localhost");
    for endpoint in [numbers, name] {
        let arguments = [
            "accounts",
            "--endpoint",
            &endpoint,
            "--token",
            BILLING_TOKEN,
        ];
        let (code, text) = cancelot(&arguments, &[]).await;
        assert_eq!(code, 0, "{endpoint}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_certificate_where_one_is_asked_for_is_told_so() {
    let (server_ca, client_ca, files) = (
        Authority::new("server"),
        Authority::new("client"),
        Files::new(),
    );
    let server = files.server(&server_ca.server());
    let client = files.write("client-ca.pem", &client_ca.pem);
    let gateway = gateway()
        .config(&format!(
            "[server]\n{server}tls_client_ca_file = {client}\ntls_client_auth = \"required\""
        ))
        .config("[callers.billing]\ntls_sans = \"dns:billing.internal\"")
        .start()
        .await;
    files.write("ca", &server_ca.pem);
    let ca = files.path("ca").display().to_string();
    let endpoint = gateway.url().replace("http://", "");
    let (code, text) = cancelot(
        &[
            "accounts",
            "--endpoint",
            &endpoint,
            "--tls-ca-file",
            &ca,
            "--tls-server-name",
            SERVER_NAME,
        ],
        &[],
    )
    .await;
    // The service's alert may be lost with the connection.
    assert!(matches!(code, 69 | 77), "{code} {text}");
    assert!(text.contains("--tls-cert-file"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_open_only_if_it_is_told_to_be_and_says_so() {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let place = Place::new(&sandbox, "[log]\nfilter = \"error\"");
    let everywhere = ["--set", "server.listen=0.0.0.0:0"];

    let mut refused = place.start_with(&everywhere);
    assert_eq!(refused.url().await, None);
    assert_eq!(refused.ended().await.code(), Some(64));
    let told = place.stderr();
    assert!(told.contains("no caller is configured"), "{told}");
    assert!(told.contains("--insecure"), "{told}");

    let mut open = place.start_with(&[&everywhere[..], &["--insecure"]].concat());
    assert!(open.url().await.is_some());
    open.terminate();
    assert!(open.ended().await.success());
    let told = place.stderr();
    assert!(told.contains("INSECURE: no caller is configured"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_contradicts_itself_is_refused_by_the_check_and_by_the_start_alike() {
    let (ca, files) = (Authority::new("server"), Files::new());
    let server = files.server(&ca.server());
    let client_ca = files.write("ca", &ca.pem);
    files.write(
        "cancelot.toml",
        &format!(
            "[server]\n{server}tls_client_ca_file = {client_ca}\ntls_client_auth = \"none\"\n\
             [callers.crm]\ntls_sans = \"dns:crm.internal\""
        ),
    );
    let config = files.path("cancelot.toml").display().to_string();
    for command in [&["config", "check"][..], &["serve"]] {
        let (code, text) = cancelot(&[command, &["--config", &config]].concat(), &[]).await;
        assert_eq!(code, 64, "{text}");
        let remedy = "callers.crm.tls_sans names certificates that nobody is asked for, as \
                      server.tls_client_auth is none; set that to optional or required";
        assert!(text.contains(remedy), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_does_nothing_is_told_and_lets_the_service_start() {
    const IDLE: &str = "[telemetry]\npropagate_to_providers = true";
    let files = Files::new();
    files.write("cancelot.toml", IDLE);
    let config = files.path("cancelot.toml").display().to_string();
    let (code, text) = cancelot(&["config", "check", "--config", &config], &[]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("the configuration is right"), "{text}");
    let setting = "telemetry.propagate_to_providers does nothing";
    assert!(
        text.contains("warning: ") && text.contains(setting),
        "{text}"
    );

    let sandbox = Sandbox::start(Default::default()).unwrap();
    let place = Place::new(&sandbox, IDLE);
    let (process, _) = place.serve().await;
    in_time(place.says(setting)).await;
    process.terminate();
    assert!(process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_ended_is_told_and_keeps_no_work_from_going_on() {
    let (ca, files) = (Authority::new("server"), Files::new());
    let server = files.server(&ca.server_of_years(2020, 2021));
    let no_ca = files.write("no-ca", "no certificate");
    let text = format!(
        "[server]\n{server}[issuers.cluster]\nissuer = \"i\"\naudiences = \"a\"\n\
         jwks_url = \"https://127.0.0.1:9/jwks\"\njwks_ca_file = {no_ca}\n\
         [callers.a]\njwt_issuer = \"cluster\"\njwt_subjects = \"s\"\n"
    );
    files.write("cancelot.toml", &text);
    let config = files.path("cancelot.toml").display().to_string();
    let (code, told) = cancelot(&["config", "check", "--config", &config], &[]).await;
    assert_eq!(code, 0, "{told}");
    let ended = "server.tls_cert_file has a certificate that ended at 2021-01-01T00:00:00Z";
    assert!(told.contains(&format!("warning: {ended}")), "{told}");
    let keys = "warning: issuers.cluster.jwks_ca_file: the authorities' file holds no certificates";
    assert!(told.contains(keys), "{told}");

    let sandbox = Sandbox::start(Default::default()).unwrap();
    let place = Place::new(&sandbox, &text);
    let (process, _) = place.serve().await;
    in_time(place.says(ended)).await;
    process.terminate();
    assert!(process.ended().await.success());
}

const NEW: &str = "new-0123456789abcdef";

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_is_noticed_without_a_signal() {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let files = Files::new();
    let file = files.write("token", BILLING_TOKEN);
    let config = format!("[server]\nreload_ms = 100\n[callers.billing]\ntoken_file = {file}");
    let place = Place::new(&sandbox, &config);
    let (_process, url) = place.serve().await;
    let client = try_connect(&url).await.unwrap();

    files.write("token", "short");
    in_time(place.says("cannot be reloaded; what was there before stays in use")).await;
    let called = called_as(&client, Some(BILLING_TOKEN), "a").await;
    assert_eq!(called.unwrap(), "billing");
    files.write("token", NEW);
    in_time(place.says("reloaded what=")).await;
    assert_eq!(called_as(&client, Some(NEW), "b").await.unwrap(), "billing");
    assert_eq!(
        refused_as(&client, Some(BILLING_TOKEN)).await,
        "UNAUTHENTICATED"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_signal_reloads_at_once() {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let files = Files::new();
    let file = files.write("token", BILLING_TOKEN);
    let config = format!("[server]\nreload_ms = 3600000\n[callers.billing]\ntoken_file = {file}");
    let place = Place::new(&sandbox, &config);
    let (process, url) = place.serve().await;
    let client = try_connect(&url).await.unwrap();
    assert_eq!(refused_as(&client, Some(NEW)).await, "UNAUTHENTICATED");

    files.write("token", NEW);
    process.signal("HUP");
    in_time(place.says("looked at all files and keys again")).await;
    assert_eq!(called_as(&client, Some(NEW), "a").await.unwrap(), "billing");
    assert_eq!(
        refused_as(&client, Some(BILLING_TOKEN)).await,
        "UNAUTHENTICATED"
    );
    process.terminate();
    assert!(process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_changes_is_noticed_and_tells_what_takes_a_restart() {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let files = Files::new();
    let file = files.write("token", BILLING_TOKEN);
    let config = format!(
        "[server]\nreload_ms = 100\n[log]\nformat = \"json\"\n[callers.billing]\ntoken_file = {file}"
    );
    let place = Place::new(&sandbox, &config);
    let (_process, url) = place.serve().await;
    let client = try_connect(&url).await.unwrap();
    let change = |from: &str, to: &str| {
        let text = std::fs::read_to_string(place.config()).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(place.config(), text.replace(from, to)).unwrap();
    };

    change("[callers.billing]", "[callers.billing]\nmethods = \"all\"");
    in_time(place.says("callers.billing.methods")).await;
    assert!(place.stderr().contains("cannot be reloaded"));
    called_as(&client, Some(BILLING_TOKEN), "a").await.unwrap();

    change("methods = \"all\"", "methods = [\"StopBatch\"]");
    change("[engine]", "[engine]\nretry_window_ms = 70000");
    let waiting = "\"settings\":\"engine.retry_window_ms\"";
    in_time(place.says(waiting)).await;
    let refused = called_as(&client, Some(BILLING_TOKEN), "b").await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::PermissionDenied);
    assert!(!place.stderr().contains(BILLING_TOKEN));
}
