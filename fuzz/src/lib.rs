//! The fuzz targets, each a function of any bytes. libFuzzer calls them in `fuzz_targets`; the tests
//! of Cancelot itself include this file and play the corpus.

pub mod config;
#[cfg(test)]
mod corpus;
pub mod identity;
pub mod journal_record;
pub mod reply;
pub mod request;

use cancelot::config::{Config, Env, parse};

/// A target: it takes any bytes, and panics if they break a rule.
pub type Target = fn(&[u8]);

/// Every target, by the name of its file and of its corpus.
pub const TARGETS: [(&str, Target); 5] = [
    ("config", config::run),
    ("identity", identity::run),
    ("journal_record", journal_record::run),
    ("reply", reply::run),
    ("request", request::run),
];

/// A configuration with one account at each provider, and a journal in this directory.
fn accounts(journal: &str) -> Config {
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
    parse("fuzz", &text, &env, &[]).expect("the configuration is right")
}
