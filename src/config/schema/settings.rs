//! Every setting, once. The file, the environment, the command line, `config print` and the
//! reference in docs/configuration.md all follow from these lines.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    setting::{Described, Setting},
    text_format,
    value_type::Text,
};
use crate::{
    config::{
        permissions::Loose,
        section::{
            account::{AuthWord, Environment},
            identity::{ClientAuth, Require},
            issuer,
            log::Format,
        },
    },
    domain::{
        access::pattern::AccountPattern,
        account::{FunnelFoxEnd, ProviderId},
    },
    identity::{Algorithm, Method, Policy, San},
    limits,
};

macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $type:ty = $key:literal
        $(, default $default:expr)?
        $(, otherwise $note:literal)?
        $(, within $bounds:expr)?
        $(, at $owner:ident $(+ $owners:ident)*)?
        ;
    )+) => {
        $(
            pub(in crate::config) static $name: Setting<$type> = Setting {
                key: $key,
                default: || or!($($default)?, None),
                default_note: or!($(Some($note))?, None),
                bounds: or!($($bounds)?, ()),
                owners: &[$(ProviderId::$owner $(, ProviderId::$owners)*)?],
                doc: concat!($($doc),+),
            };
        )+

        /// All of them, in the order of the reference.
        pub(in crate::config) static ALL: &[&dyn Described] = &[$(&$name),+];
    };
}

macro_rules! or {
    (, $otherwise:expr) => {
        $otherwise
    };
    ($given:expr, $otherwise:expr) => {
        $given
    };
}

settings! {
    /// Where gRPC is served.
    LISTEN: SocketAddr = "server.listen", default SocketAddr::from(([127, 0, 0, 1], 50_051));
    /// Allows listening beyond this machine without any caller configured, so that everybody
    /// who reaches the port may cancel.
    INSECURE: bool = "server.insecure", default false;
    /// Time that running work gets to finish when the service is told to stop, after which what
    /// is open is left to the next start.
    DRAIN_MS: u64 = "server.drain_ms", default 30_000, within 0..=600_000;
    /// Calls that one connection may have open at a time.
    STREAMS_MAX: u32 = "server.streams_max", default 200, within 1..=100_000;
    /// Connections that may be open at a time. One more closes the one that has been without a
    /// call the longest, or is closed itself if all have calls open.
    CONNECTIONS_MAX: usize = "server.connections_max", default 1_000, within 1..=1_000_000;
    /// Time that a new connection gets for its HTTP/2 preface and first settings.
    HANDSHAKE_TIMEOUT_MS: u64 = "server.handshake_timeout_ms", default 10_000,
        within 10..=600_000;
    /// Age at which a connection is asked to end once its calls have, so that callers behind a load
    /// balancer spread again; up to a tenth more or less, chosen at random by each process.
    CONNECTION_AGE_MS: u64 = "server.connection_age_ms", default 30 * 60 * 1_000,
        within 100..=24 * 60 * 60 * 1_000;
    /// Memory for requests that are being received and read, all connections together; what
    /// does not fit is refused.
    REQUEST_BYTES_MAX: usize = "server.request_bytes_max", default 256 * 1024 * 1024,
        within 1024 * 1024..=1024 * 1024 * 1024 * 1024;
    /// How long a stream of results is idle while nothing settles: after that its progress is sent
    /// again, so that proxies and load balancers which cut off idle streams leave it open.
    PROGRESS_INTERVAL_MS: u64 = "server.progress_interval_ms", default 30_000,
        within 100..=24 * 60 * 60 * 1_000;
    /// Where metrics, probes and health are served, in the clear and to everybody who reaches it;
    /// not served if unset.
    ADMIN_LISTEN: Option<SocketAddr> = "server.admin_listen";

    /// Path of the PEM file with the listener's certificate, followed by those between it and its
    /// authority; with it, only TLS is spoken.
    TLS_CERT_FILE: Option<PathBuf> = "server.tls_cert_file";
    /// Path of the PEM file with the private key of that certificate.
    TLS_KEY_FILE: Option<PathBuf> = "server.tls_key_file";
    /// Path of the PEM file with the authorities of clients' certificates.
    TLS_CLIENT_CA_FILE: Option<PathBuf> = "server.tls_client_ca_file";
    /// Path of the PEM file with the revocation lists (CRLs) of those authorities. A certificate on
    /// one of them is refused, on connections that are open too; authorities without a list revoke
    /// nothing.
    TLS_CLIENT_CRL_FILE: Option<PathBuf> = "server.tls_client_crl_file";
    /// Whether clients have to show a certificate.
    TLS_CLIENT_AUTH: Option<ClientAuth> = "server.tls_client_auth",
        otherwise "`optional` with `tls_client_ca_file` or `[authorities]`, else `none`";
    /// Path of a file with revoked proofs, one on each line: `token:`, `jwt:` or `certificate:`
    /// with the digits that the audit has or the whole SHA-256, `jti:` or `sub:` with an issuer's
    /// name and the claim, `serial:` with a certificate's number in hexadecimal. Lines that begin
    /// with `#` are comments. While the file cannot be used, what was on it stays revoked.
    REVOKED_FILE: Option<PathBuf> = "server.revoked_file";
    /// How often files with certificates, keys, tokens, credentials and revoked proofs are read
    /// again, and the configuration file for `callers` and `issuers`; a SIGHUP does it at once.
    RELOAD_MS: u64 = "server.reload_ms", default 10_000, within 100..=3_600_000;
    /// How long the previous content stays valid when a file with tokens, keys, authorities or
    /// revocation lists is missing or cannot be used. After that nothing is accepted from it until
    /// it can be used again. An empty file revokes its previous content at once.
    RELOAD_GRACE_MS: u64 = "server.reload_grace_ms", default 15 * 60 * 1_000,
        within 0..=7 * 24 * 60 * 60 * 1_000;

    /// What is done about files with secrets, the configuration file and directories that other
    /// users of the machine may read or change: `warn` reports them in the log and in `config
    /// check`, `refuse` keeps the service from starting.
    FILE_PERMISSIONS: Loose = "server.file_permissions", default Loose::Warn;
    /// Allows core dumps, which hold credentials, tokens and private keys, and debuggers of the
    /// service's own user.
    CORE_DUMPS: bool = "server.core_dumps", default false;

    /// Directory of the journal, created if missing and used by one process at a time.
    JOURNAL_DIR: PathBuf = "journal.dir", default PathBuf::from("cancelot-data");
    /// Memory for the journal's page cache.
    CACHE_BYTES: u64 = "journal.cache_bytes",
        default 64 * 1024 * 1024, within 1024 * 1024..=1024 * 1024 * 1024 * 1024;
    /// Bytes of the journal's disk that are reserved for settling admitted items: while fewer are
    /// free, new requests are refused.
    FREE_BYTES_MIN: u64 = "journal.free_bytes_min",
        default 256 * 1024 * 1024, within 0..=1024 * 1024 * 1024 * 1024;
    /// Time that a batch and its keys are kept after its last item settled: a key that is sent
    /// again later is a new one.
    RETENTION_DAYS: u32 = "journal.retention_days", default 30, within 1..=3_650;

    /// Time that providers' answers are kept after a batch settled, at most
    /// `journal.retention_days`; 0 never writes them.
    ANSWERS_DAYS: Option<u32> = "journal.answers_retention_days",
        otherwise "`journal.retention_days`", within 0..=3_650;
    /// Time that e-mail addresses are kept after a batch settled, at most
    /// `journal.retention_days`, also as ids and keys; with 0 they are not written, but for those
    /// that an item needs until it has its final outcome, and are gone from the files some minutes
    /// after that. With 0 the audit has none either.
    EMAILS_DAYS: Option<u32> = "journal.emails_retention_days",
        otherwise "`journal.retention_days`", within 0..=3_650;

    /// Time that what callers wrote in their own words (comments, reasons, what line items are
    /// called) is kept after a batch settled, at most `journal.retention_days`; with 0 until an
    /// item has its final outcome. If it is set, the audit has no reasons in words.
    COMMENTS_DAYS: Option<u32> = "journal.comments_retention_days",
        otherwise "`journal.retention_days`", within 0..=3_650;

    /// Whether an audit is written: a line for each admission, settlement, refusal and stop.
    AUDIT_ENABLED: bool = "audit.enabled", default true;
    /// Directory of the audit's files, created if missing.
    AUDIT_DIR: Option<PathBuf> = "audit.dir", otherwise "`audit` in `journal.dir`";
    /// Time that lines of the audit are kept, at least `journal.retention_days`.
    AUDIT_RETENTION_DAYS: Option<u32> = "audit.retention_days",
        otherwise "400, or `journal.retention_days` if that is more", within 1..=36_500;
    /// Path of the PEM file with an Ed25519 private key (PKCS#8) that the end of the audit is
    /// signed with each hour; a change takes a restart.
    AUDIT_SIGN_KEY_FILE: Option<PathBuf> = "audit.sign_key_file", otherwise "it is not signed";
    /// Lines that may wait to be written to the audit, beyond which requests are refused until
    /// it has caught up.
    AUDIT_LAG_MAX: u64 = "audit.lag_max", default 1_000_000, within 1..=1_000_000_000;
    /// Size of the audit's files beyond which requests of callers that have more than their share
    /// of it are refused; 0 for no bound.
    AUDIT_BYTES_MAX: u64 = "audit.bytes_max", default 64 * 1024 * 1024 * 1024,
        within 0..=1024 * 1024 * 1024 * 1024 * 1024;

    /// Open items that are held at a time, beyond which requests are refused until some settle.
    OPEN_ITEMS_MAX: usize = "engine.open_items_max", default 100_000,
        within limits::BATCH_ITEMS_MAX..=10_000_000;
    /// Memory for open items, about, beyond which requests are refused until some settle.
    OPEN_BYTES_MAX: usize = "engine.open_bytes_max", default 256 * 1024 * 1024,
        within 1024 * 1024..=1024 * 1024 * 1024 * 1024;
    /// Time to keep trying an unavailable provider, for requests that set no `retry_window`.
    RETRY_WINDOW_MS: u64 = "engine.retry_window_ms", default 60 * 60 * 1_000,
        within limits::RETRY_WINDOW_MS_MIN..=limits::RETRY_WINDOW_MS_MAX;
    /// Wait before the first retry, doubled for each further one and spread at random.
    BACKOFF_BASE_MS: u64 = "engine.backoff_base_ms", default 200, within 1..=60_000;
    /// Longest wait between two tries, unless the provider itself asks for a longer one.
    BACKOFF_MAX_MS: u64 = "engine.backoff_max_ms", default 30_000, within 1..=3_600_000;

    /// Form of the log lines on standard error.
    LOG_FORMAT: Format = "log.format", default Format::Text;
    /// What is logged: a level, or directives such as `info,cancelot::egress=debug`.
    LOG_FILTER: Text = "log.filter", default Text("info".to_owned()), within text_format::LOG_FILTER;

    /// Path of the PEM file with the certificates of one authority, which vouches for the
    /// certificates of those callers alone that have its name as `authority`.
    AUTHORITY_CA_FILE: Option<PathBuf> = "authorities.<name>.ca_file", otherwise "required";
    /// What the issuer's tokens have as `iss`, exactly.
    ISSUER: Option<Text> = "issuers.<name>.issuer", otherwise "required", within text_format::CLAIM;
    /// What tokens may have as `aud` to be meant for this service; one of them suffices.
    AUDIENCES: Option<Vec<Text>> = "issuers.<name>.audiences", otherwise "required",
        within text_format::CLAIM;
    /// What tokens may be signed with.
    ALGORITHMS: Vec<Algorithm> = "issuers.<name>.algorithms", default issuer::algorithms();
    /// Values of `typ` that tokens may have in their header; a token without one is a `JWT`. Tokens
    /// for other purposes, such as `logout+jwt`, are refused.
    TYPES: Vec<Text> = "issuers.<name>.types", default issuer::types(), within text_format::CLAIM;
    /// How long tokens may be valid, from when they were issued (`iat`) and from now on.
    TOKEN_LIFE_MAX_MS: Option<u64> = "issuers.<name>.token_life_max_ms",
        otherwise "as long as they say", within 60_000..=10 * 366 * 24 * 60 * 60 * 1_000;
    /// Path of a file with the issuer's public keys (JWKS).
    JWKS_FILE: Option<PathBuf> = "issuers.<name>.jwks_file";
    /// Where the issuer's public keys (JWKS) are fetched from: at the start, in intervals, and when
    /// a token names an unknown key.
    JWKS_URL: Option<Text> = "issuers.<name>.jwks_url", within text_format::BASE_URL;
    /// Path of the PEM file with the authorities of the certificate of `jwks_url`.
    JWKS_CA_FILE: Option<PathBuf> = "issuers.<name>.jwks_ca_file", otherwise "the system's";
    /// Path of a file with the token to send to `jwks_url`, as Kubernetes requires it.
    JWKS_TOKEN_FILE: Option<PathBuf> = "issuers.<name>.jwks_token_file";
    /// How often the keys of `jwks_url` are fetched again.
    JWKS_REFRESH_MS: u64 = "issuers.<name>.jwks_refresh_ms", default 5 * 60 * 1_000,
        within 1_000..=24 * 60 * 60 * 1_000;
    /// How long keys of `jwks_url` are valid after they were fetched last. After that no token of
    /// the issuer is accepted until they can be fetched again.
    JWKS_AGE_MAX_MS: u64 = "issuers.<name>.jwks_age_max_ms",
        default 24 * 60 * 60 * 1_000, within 1_000..=30 * 24 * 60 * 60 * 1_000;
    /// Collector that spans are sent to by OTLP over gRPC, such as `http://127.0.0.1:4317`; unset,
    /// there are none.
    OTLP_ENDPOINT: Option<Text> = "telemetry.otlp_endpoint", within text_format::BASE_URL;
    /// Share of the traces that begin here and are recorded; a known caller's own choice wins.
    SAMPLE_RATIO: f64 = "telemetry.sample_ratio", default 1.0, within 0.0..=1.0;
    /// Sends the trace's id, and nothing else of it, to providers as `traceparent`.
    PROPAGATE: bool = "telemetry.propagate_to_providers", default false;

    /// Path of a file with the caller's token, or with several on lines of their own while
    /// they are rotated; each as it is, or as `sha256:` and its digest in hexadecimal.
    TOKEN_FILE: Option<PathBuf> = "callers.<name>.token_file";
    /// Name of the environment variable that holds the token.
    TOKEN_ENV: Option<Text> = "callers.<name>.token_env", within text_format::VARIABLE;
    /// The token itself, in the environment only.
    TOKEN: Option<Text> = "callers.<name>.token", within text_format::SECRET;
    /// The name of the `[issuers]` whose JWTs prove the caller.
    JWT_ISSUER: Option<Text> = "callers.<name>.jwt_issuer", within text_format::CLAIM;
    /// What the caller's JWTs have as `sub`, exactly, such as
    /// `system:serviceaccount:billing:worker`; one of them suffices.
    JWT_SUBJECTS: Option<Vec<Text>> = "callers.<name>.jwt_subjects", within text_format::CLAIM;
    /// Claims that the caller's JWTs have to have, all of them, as `name=value`.
    JWT_CLAIMS: Option<Vec<Text>> = "callers.<name>.jwt_claims", within text_format::NAMED_CLAIM;
    /// Names (SANs) of the caller's certificates, such as `spiffe://prod/ns/billing/sa/worker` or
    /// `dns:billing.internal`; one of them suffices.
    TLS_SANS: Option<Vec<San>> = "callers.<name>.tls_sans";
    /// The name of the `[authorities]` that has to vouch for the caller's certificates.
    /// Certificates with the same names of any other authority are not the caller's.
    CALLER_AUTHORITY: Option<Text> = "callers.<name>.authority",
        otherwise "those of `server.tls_client_ca_file`", within text_format::CLAIM;
    /// Whether a call has to show any one of the caller's proofs, or its certificate and one of its
    /// tokens (a JWT or a static one) together.
    REQUIRE: Require = "callers.<name>.require", default Require::Any;
    /// The RPCs that the caller may call.
    METHODS: Vec<Method> = "callers.<name>.methods", default Method::ALL.to_vec();
    /// The accounts that the caller may name.
    ACCOUNTS: Vec<AccountPattern> = "callers.<name>.accounts",
        default Policy::default().accounts;
    /// Items that one request of the caller may have.
    BATCH_ITEMS_MAX: usize = "callers.<name>.batch_items_max", default limits::BATCH_ITEMS_MAX,
        within 1..=limits::BATCH_ITEMS_MAX;
    /// How many people the caller's items may concern in any hour: an item counts as many as it
    /// names, or its `max_matches` if it names nobody. When it settles, the people it did not reach
    /// are given back, except one. An item that is opened again counts again.
    HOURLY_ITEMS_MAX: Option<u64> = "callers.<name>.hourly_items_max", otherwise "no limit",
        within 1..=1_000_000_000;
    /// Items of the caller that may be open at a time. Without it the caller may have all that is
    /// not reserved for others: half of `engine.open_items_max` is reserved, in equal parts for
    /// each caller.
    CALLER_OPEN_ITEMS_MAX: Option<usize> = "callers.<name>.open_items_max",
        otherwise "no limit of its own", within 1..=10_000_000;
    /// Calls of `ListCancellations` that the caller may have at a time; more are refused until one
    /// has been answered.
    SCANS_MAX: usize = "callers.<name>.scans_max", default limits::CALLER_SCANS_DEFAULT,
        within 1..=limits::SCANS_MAX;
    /// The longest `retry_window` that the caller may ask for, and the one that it gets if it asks
    /// for none and `engine.retry_window_ms` is longer.
    RETRY_WINDOW_MAX_MS: Option<u64> = "callers.<name>.retry_window_max_ms",
        otherwise "24 hours", within 1_000..=24 * 60 * 60 * 1_000;
    /// The largest `max_matches` that the caller may ask for, and the one that it gets if it asks
    /// for none.
    MATCHES_MAX: Option<u32> = "callers.<name>.matches_max", otherwise "no limit",
        within 1..=1_000_000_000;
    /// Whether the caller may name enrollment targets that can match many, dry runs included.
    MANY_MATCHING: Option<bool> = "callers.<name>.many_matching",
        otherwise "`true`, or `false` with `hourly_items_max`";
    /// Whether the caller may read the records of all callers, of the accounts that it may name.
    AUDITOR: bool = "callers.<name>.auditor", default false;
    /// Whether the caller, an `auditor`, may also read what providers answered in the records of
    /// others (`include_provider_response`), which can hold personal data.
    AUDITOR_ANSWERS: bool = "callers.<name>.auditor_answers", default false;

    /// The company whose API it is.
    PROVIDER: Option<ProviderId> = "accounts.<name>.provider", otherwise "required";
    /// Which of the provider's hosts is called; a sandbox exists at Rebilly and Revolv3.
    ENVIRONMENT: Environment = "accounts.<name>.environment", default Environment::Live;
    /// Where the API is, instead of the provider's own host.
    BASE_URL: Option<Text> = "accounts.<name>.base_url", otherwise "the provider's",
        within text_format::BASE_URL;
    /// Allows a `base_url` that begins with `http://` on another machine, so that the
    /// credential travels in the clear.
    ALLOW_HTTP: bool = "accounts.<name>.allow_http", default false;
    /// The HTTP proxy on the way to the provider; proxies that the environment names are not used.
    PROXY_URL: Option<Text> = "accounts.<name>.proxy_url", within text_format::BASE_URL;
    /// Path of a file that holds the credential.
    CREDENTIAL_FILE: Option<PathBuf> = "accounts.<name>.credential_file";
    /// Name of the environment variable that holds the credential.
    CREDENTIAL_ENV: Option<Text> = "accounts.<name>.credential_env", within text_format::VARIABLE;
    /// The credential itself, in the environment only.
    CREDENTIAL: Option<Text> = "accounts.<name>.credential", within text_format::SECRET;
    /// Most concurrent requests to the provider; the number in use adapts to how well the provider
    /// handles them.
    CONCURRENCY_MAX: u32 = "accounts.<name>.concurrency_max", default 16, within 1..=10_000;
    /// Concurrent requests that the provider always gets, however slow it is or throttles.
    CONCURRENCY_MIN: Option<u32> = "accounts.<name>.concurrency_min",
        otherwise "`2`, or `concurrency_max` if that is less", within 1..=10_000;
    /// Retries that may fail for each hundred first requests, so that a provider in trouble gets
    /// little extra load; a few each second may in any case.
    RETRY_BUDGET_PERCENT: u32 = "accounts.<name>.retry_budget_percent",
        default 20, within 0..=1_000;
    /// Requests per second in the long run; the defaults keep within what each provider
    /// documents.
    RATE_PER_SECOND: Option<f64> = "accounts.<name>.rate_per_second",
        otherwise "rebilly `10.0` (sandbox `4.8`), solidgate `8.0`, funnelfox `5.0`, revolv3 \
                   `15.0`, sequenzy `1.3`",
        within 0.001..=100_000.0;
    /// Requests that may go at once after a pause.
    RATE_BURST: Option<u32> = "accounts.<name>.rate_burst",
        otherwise "rebilly `20`, solidgate `8`, funnelfox `10`, revolv3 `4`, sequenzy `20`",
        within 1..=100_000;
    /// Time to connect to the provider, TLS included.
    CONNECT_TIMEOUT_MS: Option<u64> = "accounts.<name>.connect_timeout_ms",
        otherwise "`5000`, or `timeout_ms` if that is less", within 1..=600_000;
    /// Time for a whole request, after which its answer counts as lost.
    TIMEOUT_MS: Option<u64> = "accounts.<name>.timeout_ms",
        otherwise "`30000`; FunnelFox `120000`", within 1..=limits::TIMEOUT_MS_MAX;
    /// How long after an answer was lost its request may still take effect: before that, a lookup
    /// that finds nothing done proves nothing.
    SETTLING_MS: u64 = "accounts.<name>.settling_ms", default 30_000,
        within limits::SETTLING_MS_MIN..=limits::SETTLING_MS_MAX;
    /// The organization in every path; unset, the key's default one.
    ORGANIZATION: Option<Text> = "accounts.<name>.organization", within text_format::ID, at Rebilly;
    /// How the credential is sent: Rebilly takes `api_key` and `bearer`, Revolv3 `token`
    /// and `bearer`.
    AUTH: Option<AuthWord> = "accounts.<name>.auth", otherwise "`api_key` or `token`",
        at Rebilly + Revolv3;
    /// The channel of cancellations that name none, for API keys of several channels.
    CHANNEL_ID: Option<Text> = "accounts.<name>.channel_id", within text_format::ID, at Solidgate;
    /// Path of the lookup below the base URL, if Solidgate has it elsewhere.
    LOOKUP_PATH: Text = "accounts.<name>.lookup_path",
        default Text("v2/subscriptions/get".to_owned()), within text_format::PATH, at Solidgate;
    /// When a cancel ends a subscription, which depends on the payment company behind FunnelFox.
    CANCEL_ENDS: FunnelFoxEnd = "accounts.<name>.cancel_ends",
        default FunnelFoxEnd::PeriodEnd, at FunnelFox;
    /// Allows a PATCH of the subscription's cancel type before the cancel, without which the
    /// caller cannot choose when it ends.
    SET_TIMING: bool = "accounts.<name>.set_timing", default false, at Revolv3;
    /// The company, for personal keys that see several.
    COMPANY_ID: Option<Text> = "accounts.<name>.company_id", within text_format::HEADER, at Sequenzy;
}

/// Words that people write for `credential` where no secret belongs.
pub(in crate::config) const INLINE_SECRETS: [&str; 12] = [
    "access_token",
    "api_key",
    "apikey",
    "auth_token",
    "bearer_token",
    "credentials",
    "key",
    "password",
    "secret",
    "secret_key",
    "token",
    "tokens",
];
