//! Any text in place of a configuration: what is right prints as it was read, what is wrong says
//! so.

use cancelot::config::{self, Env};

/// Reads one input; what is no text is none.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let env: Env = [("C", "credential"), ("T", "token-0123456789")]
        .into_iter()
        .collect();
    match config::parse("fuzz.toml", text, &env, &[]) {
        Ok(config) => drop(config::print(&config)),
        Err(mistakes) => assert!(!mistakes.to_string().is_empty()),
    }
}
