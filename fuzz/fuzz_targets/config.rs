//! Any text in place of a configuration: what is right prints as it was read, what is wrong says
//! so.
#![no_main]

use cancelot::config::{self, Env};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let env: Env = [("C", "credential"), ("T", "token-0123456789")]
        .into_iter()
        .collect();
    match config::parse("fuzz.toml", text, &env, &[]) {
        Ok(config) => drop(config::print(&config)),
        Err(mistakes) => assert!(!mistakes.to_string().is_empty()),
    }
});
