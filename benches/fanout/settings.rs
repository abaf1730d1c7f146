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

/// The configuration's text.
pub(crate) fn text(journal: &Path, instant_url: &str, slow_url: &str) -> String {
    let account = |name: &str, url: &str| {
        format!(
            "[accounts.{name}]\nprovider = \"funnelfox\"\nbase_url = {url:?}\ncredential_env = \
             \"CREDENTIAL\"\nconcurrency_max = {IN_FLIGHT}\nrate_per_second = \
             100000.0\nrate_burst = 100000\n"
        )
    };
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[journal]\ndir = {:?}\n{}{}",
        journal.display().to_string(),
        account(INSTANT, instant_url),
        account(SLOW, slow_url),
    )
}

/// Reads it as the service does.
pub(crate) fn parse(text: &str) -> Result<Config, Failure> {
    let env: Env = [("CREDENTIAL", "bench-credential")].into_iter().collect();
    Ok(config::parse("bench", text, &env, &[]).map_err(|mistakes| mistakes.to_string())?)
}
