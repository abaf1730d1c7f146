//! `cancelot config`: checks and prints the configuration.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{
    app,
    cli::{
        Exit,
        serve::{NO_ACCOUNT, key_value},
        terminal::{out, say, words::plural},
    },
    config::{self, Config, Env, Sources},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Report every mistake in the configuration, with its remedy.
    Check(Which),
    /// Print what is in force, with where each setting comes from; secrets are left out.
    Print(Which),
    /// Print the reference of all settings as a table in Markdown.
    Reference,
}

#[derive(Debug, Args)]
struct Which {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one setting, such as `server.listen=127.0.0.1:7000`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
}

/// Also checks the files that it names.
fn check(config: &Config) -> Exit {
    let of_files = match app::check(config) {
        Ok(warnings) => warnings,
        Err(problem) => {
            say(format!("cancelot: {problem}"));
            return Exit::Usage;
        }
    };
    let warnings = config.warnings.iter().map(ToString::to_string);
    for warning in warnings.chain(of_files) {
        say(format!("warning: {warning}"));
    }
    if config.accounts.is_empty() {
        say(format!("warning: {NO_ACCOUNT}"));
    }
    out(format!(
        "the configuration is right: {}, {}",
        plural(config.accounts.len(), "account"),
        plural(config.callers.len(), "caller")
    ));
    Exit::Success
}

pub(in crate::cli) fn run(arguments: Arguments) -> Exit {
    let (which, print) = match arguments.action {
        Action::Check(which) => (which, false),
        Action::Print(which) => (which, true),
        Action::Reference => {
            out(config::reference_markdown());
            return Exit::Success;
        }
    };
    let env = Env::of_process();
    match config::load(&Sources {
        file: which.config,
        env: &env,
        overrides: &which.overrides,
    }) {
        Ok(config) if print => out(config::print(&config)),
        Ok(config) => return check(&config),
        Err(mistakes) => {
            say(mistakes.to_string());
            return Exit::Usage;
        }
    }
    Exit::Success
}
