//! What several targets need: one account at each provider.

use cancelot::config::{self, Config, Env};

/// A configuration with one account at each provider, and a journal in this directory.
pub fn config(journal: &str) -> Config {
    let mut text = format!("[journal]\ndir = {journal:?}\n");
    for provider in ["rebilly", "solidgate", "funnelfox", "revolv3", "sequenzy"] {
        let more = match provider {
            "rebilly" => "organization = \"org\"\n",
            "revolv3" => "set_timing = true\n",
            _ => "",
        };
        text.push_str(&format!(
            "[accounts.{provider}]\nprovider = {provider:?}\ncredential_env = \"C\"\n{more}"
        ));
    }
    let env: Env = [("C", "credential")].into_iter().collect();
    config::parse("fuzz", &text, &env, &[]).expect("the configuration is right")
}
