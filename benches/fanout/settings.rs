//! The one configuration of both roles: an account at each stub, with limits that do not bind.

use std::path::Path;

use cancelot::config::{self, Config, Env};

use crate::Failure;

/// The account at the stub that answers at once.
pub(crate) const INSTANT: &str = "instant";
/// The account at the stub that takes its time.
pub(crate) const SLOW: &str = "slow";
/// Requests at a time to one account.
pub(crate) const IN_FLIGHT: usize = 256;

/// The account at the stub whose answers all arrive.
pub(crate) const WHOLE: &str = "whole";
/// The account at the stub that loses some.
pub(crate) const LOSSY: &str = "lossy";

/// The configuration's text.
pub(crate) fn text(journal: &Path, instant_url: &str, slow_url: &str) -> String {
    [
        head(journal),
        account(INSTANT, instant_url),
        account(SLOW, slow_url),
    ]
    .concat()
}

/// The same for answers that are lost, which settle within seconds.
pub(crate) fn lossy_text(journal: &Path, whole_url: &str, lossy_url: &str) -> String {
    let account = |name, url| format!("{}timeout_ms = 1000\n", account(name, url));
    [
        head(journal),
        account(WHOLE, whole_url),
        account(LOSSY, lossy_url),
    ]
    .concat()
}

fn head(journal: &Path) -> String {
    let dir = journal.display().to_string();
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[journal]\ndir = {dir:?}\n")
}

fn account(name: &str, url: &str) -> String {
    format!(
        "[accounts.{name}]\nprovider = \"funnelfox\"\nbase_url = {url:?}\ncredential_env = \
         \"CREDENTIAL\"\nconcurrency_max = {IN_FLIGHT}\nrate_per_second = \
         100000.0\nrate_burst = 100000\nsettling_ms = 1000\n"
    )
}

/// Reads it as the service does.
pub(crate) fn parse(text: &str) -> Result<Config, Failure> {
    let env: Env = [("CREDENTIAL", "bench-credential")].into_iter().collect();
    Ok(config::parse("bench", text, &env, &[]).map_err(|mistakes| mistakes.to_string())?)
}
