//! A service as in production, over a sandbox, with a journal in a temporary directory.

pub(super) mod asking;
pub(super) mod failing;
pub(super) mod identities;
pub(super) mod pki;
pub(super) mod process;
pub(super) mod scripted;
pub(super) mod slow;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use cancelot::{
    app::{self, App, Reloaded},
    config::{self, Env, Sources},
    engine::Clock,
    journal::{FreeSpace, Journal},
    rpc::proto::{
        self, CancelEnrollmentsRequest, CancelSubscriptionRequest, EnrollmentResult, Outcome,
        Progress, SubscriptionCancellation, SubscriptionResult, When,
        cancellation_service_client::CancellationServiceClient, when::When as Choice,
    },
    sandbox::{Control, Provider, Sandbox},
};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

/// A client of the gateway's.
pub(crate) type Client = CancellationServiceClient<Channel>;

/// How a gateway is set up; what a test sets matters to it.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    text: String,
    engine: String,
    journal: String,
    accounts: [String; 5],
    options: cancelot::sandbox::Options,
    inside: Inside,
}

/// What no configuration has.
#[derive(Debug, Default, Clone)]
struct Inside {
    free_space: Option<FreeSpace>,
    results_held_max: Option<usize>,
    over_journal: Option<OverJournal>,
    /// How long a clock that is ahead at the start is not believed.
    clock_hold: Duration,
}

/// Puts a journal in front of the real one, at each start.
#[derive(Clone)]
struct OverJournal(Arc<dyn Fn(Arc<dyn Journal>) -> Arc<dyn Journal> + Send + Sync>);

impl fmt::Debug for OverJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OverJournal")
    }
}

/// A gateway to set up.
pub(crate) fn gateway() -> Builder {
    Builder::default()
}

impl Builder {
    /// Adds lines to the configuration, such as a `[callers.…]` table. `{rebilly}` and the like
    /// stand for the sandbox's base URLs.
    pub(crate) fn config(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self.text.push('\n');
        self
    }

    /// Adds settings of the journal.
    pub(crate) fn journal(mut self, lines: &str) -> Self {
        self.journal.push_str(lines);
        self.journal.push('\n');
        self
    }

    /// Adds settings of the engine.
    pub(crate) fn engine(mut self, lines: &str) -> Self {
        self.engine.push_str(lines);
        self.engine.push('\n');
        self
    }

    /// Adds settings to one provider's account.
    pub(crate) fn account(mut self, provider: Provider, lines: &str) -> Self {
        let at = Provider::ALL.iter().position(|p| *p == provider).unwrap();
        self.accounts[at].push_str(lines);
        self.accounts[at].push('\n');
        self
    }

    /// Sets the sandbox up differently.
    pub(crate) fn sandbox(mut self, change: impl FnOnce(&mut cancelot::sandbox::Options)) -> Self {
        change(&mut self.options);
        self
    }

    /// Says how much room the journal's disk has.
    pub(crate) fn free_space(mut self, free_space: FreeSpace) -> Self {
        self.inside.free_space = Some(free_space);
        self
    }

    /// Puts a journal in front of the real one, at each start.
    pub(crate) fn over_journal(
        mut self,
        over: impl Fn(Arc<dyn Journal>) -> Arc<dyn Journal> + Send + Sync + 'static,
    ) -> Self {
        self.inside.over_journal = Some(OverJournal(Arc::new(over)));
        self
    }

    /// Has a clock that is ahead at the start hold its course for so long before it is believed.
    pub(crate) fn clock_hold(mut self, clock_hold: Duration) -> Self {
        self.inside.clock_hold = clock_hold;
        self
    }

    /// Lets streams hold so many results, and takes no patience with readers that do not read.
    pub(crate) fn results_held_max(mut self, results_held_max: usize) -> Self {
        self.inside.results_held_max = Some(results_held_max);
        self
    }

    /// Starts sandbox and gateway.
    pub(crate) async fn start(self) -> Gateway {
        let sandbox = Sandbox::start(self.options).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut text = format!(
            "{}\n[journal]\ndir = {:?}\n{}[engine]\nbackoff_base_ms = 5\nbackoff_max_ms = 50\n{}\n",
            self.text,
            dir.path().join("journal").display().to_string(),
            self.journal,
            self.engine,
        );
        for provider in Provider::ALL {
            let place = format!("{{{}}}", provider.name());
            text = text.replace(&place, &sandbox.base_url(provider));
        }
        for (provider, lines) in Provider::ALL.into_iter().zip(&self.accounts) {
            let name = provider.name();
            text.push_str(&format!(
                "[accounts.{name}]\nprovider = {name:?}\nbase_url = {:?}\n{}{lines}",
                sandbox.base_url(provider),
                defaults(lines, provider),
            ));
        }
        let control = sandbox.control();
        let ahead = Arc::default();
        let (app, client) = serve((&text, &dir), &ahead, &self.inside).await;
        Gateway {
            client,
            control,
            app: Some(app),
            sandbox: Some(sandbox),
            text,
            dir,
            ahead,
            inside: self.inside,
        }
    }
}

/// Settings that a test did not make itself.
fn defaults(lines: &str, provider: Provider) -> String {
    let organization = match provider {
        Provider::Rebilly => "\"org\"",
        _ => "",
    };
    [
        ("credential_env", "\"CREDENTIAL\""),
        ("rate_per_second", "10000.0"),
        ("rate_burst", "1000"),
        ("timeout_ms", "120000"),
        ("connect_timeout_ms", "10000"),
        ("settling_ms", "1000"),
        ("organization", organization),
    ]
    .iter()
    .filter(|(key, value)| !value.is_empty() && !lines.contains(key))
    .filter(|(key, _)| *key != "credential_env" || !lines.contains("credential_file"))
    .map(|(key, value)| format!("{key} = {value}\n"))
    .collect()
}

/// The token of the caller `billing`, in the variable `BILLING_TOKEN`.
pub(crate) const BILLING_TOKEN: &str = "billing-0123456789abcdef";
/// The token of the caller `support`, in the variable `SUPPORT_TOKEN`.
pub(crate) const SUPPORT_TOKEN: &str = "support-0123456789abcdef";

fn env() -> Env {
    [
        ("CREDENTIAL", "good-credential"),
        ("INVALID_CREDENTIAL", "invalid-credential"),
        ("BILLING_TOKEN", BILLING_TOKEN),
        ("SUPPORT_TOKEN", SUPPORT_TOKEN),
    ]
    .into_iter()
    .collect()
}

/// What is reloaded is reloaded when a test says so.
fn overrides() -> [(String, String); 1] {
    [("server.reload_ms".to_owned(), "3600000".to_owned())]
}

pub(crate) fn configured(text: &str) -> config::Config {
    config::parse("test", text, &env(), &overrides()).unwrap_or_else(|e| panic!("{e}"))
}

/// The same from a file, which is read again when files are looked at.
fn configured_by(file: &Path) -> config::Config {
    let sources = Sources {
        file: Some(file.to_owned()),
        env: &env(),
        overrides: &overrides(),
    };
    config::load(&sources).unwrap_or_else(|e| panic!("{e}"))
}

/// Where a gateway's configuration file is.
fn config_file(dir: &TempDir) -> PathBuf {
    dir.path().join("cancelot.toml")
}

/// How long a lost request may still act in tests.
pub(crate) const SETTLING: Duration = Duration::from_millis(300);

/// Serves with a clock that is so many seconds ahead of the system's.
async fn serve(
    (text, dir): (&str, &TempDir),
    ahead: &Arc<AtomicI64>,
    inside: &Inside,
) -> (App, Client) {
    std::fs::write(config_file(dir), text).unwrap();
    let config = configured_by(&config_file(dir));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut journal = app::journal(&config);
    journal.ballast_bytes = 0;
    if let Some(free_space) = &inside.free_space {
        journal.free_space = free_space.clone();
    }
    let ahead = Arc::clone(ahead);
    let clock = Clock::from_fn(move || {
        Timestamp::now() + SignedDuration::from_secs(ahead.load(Ordering::SeqCst))
    });
    let (mut journal, mut options) = app::assemble_over(&config, &journal, &clock).unwrap();
    if let Some(OverJournal(over)) = &inside.over_journal {
        journal = over(journal);
    }
    // An answer may take as long as a test likes, and what is lost settles soon.
    for lane in &mut options.setup.options.lanes {
        lane.timeout = SETTLING;
        lane.settling = SETTLING;
    }
    // A test that moves the clock says itself whether that is to be believed.
    options.setup.clock_hold = inside.clock_hold;
    if let Some(results_held_max) = inside.results_held_max {
        options.setup.options.results_held_max = results_held_max;
        options.setup.options.reader_patience = Duration::ZERO;
    }
    if let Some(listen) = config.server.admin_listen {
        options.entrance.admin = Some(TcpListener::bind(listen).await.unwrap());
    }
    let app = App::start(listener, journal, options).await.unwrap();
    let url = format!("http://{}", app.addr());
    let client = if config.server.tls.is_some() {
        // Of no use: such tests bring clients of their own.
        Client::new(Endpoint::from_shared(url).unwrap().connect_lazy())
    } else {
        connect(&url).await
    };
    (app, client)
}

/// A client with a connection of its own.
pub(crate) async fn connect(url: &str) -> Client {
    let channel = Endpoint::from_shared(url.to_owned())
        .unwrap()
        .connect()
        .await
        .unwrap();
    Client::new(channel)
}

/// A running gateway.
pub(crate) struct Gateway {
    /// A client of it.
    pub(crate) client: Client,
    /// A look behind the providers' scenes.
    pub(crate) control: Control,
    app: Option<App>,
    sandbox: Option<Sandbox>,
    text: String,
    dir: TempDir,
    ahead: Arc<AtomicI64>,
    inside: Inside,
}

impl Gateway {
    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.app.as_ref().unwrap().addr())
    }

    /// Looks at files and keys that may have changed, now.
    pub(crate) async fn reload(&self) -> Reloaded {
        self.app.as_ref().unwrap().reload().now().await
    }

    /// Where it serves metrics and probes.
    pub(crate) fn admin_addr(&self) -> SocketAddr {
        self.app.as_ref().unwrap().admin_addr().unwrap()
    }

    /// Moves the time of day of the service and of the providers. What waits does not notice.
    pub(crate) fn advance(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
        self.control.advance(seconds * 1_000);
    }

    /// Its journal's directory.
    pub(crate) fn journal_dir(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// The sandbox behind it.
    pub(crate) fn sandbox(&self) -> &Sandbox {
        self.sandbox.as_ref().unwrap()
    }

    /// Takes all providers off the net; gives the port that they were at.
    pub(crate) async fn stop_sandbox(&mut self) -> u16 {
        let sandbox = self.sandbox.take().unwrap();
        let port = sandbox.addr().port();
        sandbox.stop().await;
        port
    }

    /// Puts all providers back on the net, as they were.
    pub(crate) fn start_sandbox(&mut self, port: u16) {
        self.sandbox = Some(Sandbox::start_with(self.control.clone(), port).unwrap());
    }

    /// Why a second instance on the same journal does not start.
    pub(crate) fn second_instance(&self) -> app::AssembleError {
        app::assemble(&configured(&self.text)).unwrap_err()
    }

    /// Takes the service itself, to stop it beside the test.
    pub(crate) fn take_app(&mut self) -> App {
        self.app.take().unwrap()
    }

    /// Starts it again after it was stopped.
    pub(crate) async fn start_again(&mut self) {
        let (app, client) = serve((&self.text, &self.dir), &self.ahead, &self.inside).await;
        self.app = Some(app);
        self.client = client;
    }

    /// Puts other text into its configuration, for its next start.
    pub(crate) fn reconfigure(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "{}", self.text);
        self.text = self.text.replace(from, to);
    }

    /// Puts other text into its configuration file and has it look at that, as it runs.
    pub(crate) async fn change(&mut self, from: &str, to: &str) -> Reloaded {
        self.reconfigure(from, to);
        std::fs::write(self.config_file(), &self.text).unwrap();
        self.reload().await
    }

    /// Its configuration file.
    pub(crate) fn config_file(&self) -> PathBuf {
        config_file(&self.dir)
    }

    /// Stops it in order and starts it again on the same journal.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Stops it in order.
    pub(crate) async fn stop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop().await;
        }
    }

    /// Sends a request and waits for all results, by index.
    pub(crate) async fn cancel(
        &mut self,
        request: CancelSubscriptionRequest,
    ) -> Result<Vec<SubscriptionResult>, Status> {
        let stream = self.client.cancel_subscription(request).await?.into_inner();
        let (_, mut results) = subscription_results(stream).await?;
        results.sort_by_key(|result| result.index);
        Ok(results)
    }

    /// Cancels one subscription under this key.
    pub(crate) async fn cancel_one(
        &mut self,
        key: &str,
        item: SubscriptionCancellation,
    ) -> Result<SubscriptionResult, Status> {
        let mut results = self.cancel(request(key, [item])).await?;
        assert_eq!(results.len(), 1);
        Ok(results.remove(0))
    }

    /// Sends a request and waits for all settled results, by index.
    pub(crate) async fn cancel_enrollments(
        &mut self,
        request: CancelEnrollmentsRequest,
    ) -> Result<Vec<EnrollmentResult>, Status> {
        let mut stream = self.client.cancel_enrollments(request).await?.into_inner();
        let mut results = Vec::new();
        while let Some(message) = stream.message().await? {
            results.extend(message.results);
        }
        results.retain(|result: &EnrollmentResult| result.outcome() != Outcome::Unspecified);
        results.sort_by_key(|result| result.index);
        Ok(results)
    }
}

/// All results of a stream, with the last progress.
pub(crate) async fn subscription_results(
    mut stream: Streaming<proto::CancelSubscriptionResponse>,
) -> Result<(Progress, Vec<SubscriptionResult>), Status> {
    let (mut progress, mut results) = (Progress::default(), Vec::new());
    while let Some(message) = stream.message().await? {
        progress = message.progress.unwrap();
        results.extend(message.results);
    }
    Ok((progress, results))
}

/// A request of these items.
pub(crate) fn request(
    key: &str,
    items: impl IntoIterator<Item = SubscriptionCancellation>,
) -> CancelSubscriptionRequest {
    CancelSubscriptionRequest {
        idempotency_key: key.to_owned(),
        cancellations: items.into_iter().collect(),
        ..Default::default()
    }
}

/// A subscription to cancel at a provider's account.
pub(crate) fn subscription(
    provider: Provider,
    id: impl ToString,
    when: Choice,
) -> SubscriptionCancellation {
    SubscriptionCancellation {
        account: provider.name().to_owned(),
        subscription_id: id.to_string(),
        when: Some(When { when: Some(when) }),
        ..Default::default()
    }
}

/// At once.
pub(crate) fn now() -> Choice {
    Choice::Now(Default::default())
}

/// At the end of the period.
pub(crate) fn period_end() -> Choice {
    Choice::PeriodEnd(Default::default())
}

/// As the provider decides.
pub(crate) fn provider_default() -> Choice {
    Choice::ProviderDefault(Default::default())
}

/// Fails rather than hangs.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .expect("finished within a minute")
}
