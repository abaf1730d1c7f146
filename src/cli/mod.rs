//! The command line: one binary with the service, a client, the sandbox and operator tools. Each
//! subcommand is a file; this one lists them.

mod accounts;
mod cancel;
mod client;
#[cfg(feature = "sandbox")]
mod demo;
mod guard;
pub mod input;
mod offline;
#[cfg(feature = "sandbox")]
mod sandbox;
mod serve;
mod stop;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Ends subscriptions and marketing-sequence enrollments at other companies' APIs: durably, once,
/// and with every doubt settled.
#[derive(Debug, Parser)]
#[command(name = "cancelot", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Serve(serve::Arguments),
    /// See it work: a sandbox, a gateway and 1,000 cancellations with faults, in one process.
    #[cfg(feature = "sandbox")]
    Demo(demo::Arguments),
    /// Run the simulator of the five providers' APIs.
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::Arguments),
    /// Cancel subscriptions or enrollments at a running service.
    Cancel(cancel::Arguments),
    /// Stop a batch at a running service: what is not sent yet is not sent any more.
    Stop(stop::Arguments),
    /// List a running service's accounts and what each can do.
    Accounts(accounts::Arguments),
    /// Look into a journal: inspect, export, verify. The service must not be running on it.
    Journal(offline::journal::Arguments),
    /// Write the audit as JSON lines, or verify it. The service may be running.
    Audit(offline::audit::Arguments),
    /// Check or print the configuration.
    Config(offline::config::Arguments),
    /// Print the published API: the proto, its descriptor set, or a service config for clients.
    Proto(offline::proto::Arguments),
    /// Write what a shell completes this program's words by, to be sourced by it.
    Completions(offline::shell::Completions),
    /// Write the manual as man pages.
    Man(offline::shell::Man),
}

impl Command {
    /// Whether it creates private files: those of a journal and an audit. Output files follow the
    /// user's umask.
    fn keeps_files(&self) -> bool {
        match self {
            #[cfg(feature = "sandbox")]
            Self::Demo(_) => true,
            Self::Serve(_) | Self::Journal(_) => true,
            _ => false,
        }
    }
}

/// How a command ended. docs/cli.md publishes the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Success,
    /// It ran and found a failure: a cancellation failed for good, a promise did not hold, a store
    /// is damaged.
    Failure,
    /// Some cancellations have no final outcome. The same command may be repeated.
    Unfinished,
    /// The command line, the input or the configuration is wrong. Nothing was done.
    Usage,
    /// The service cannot be reached, or cannot start.
    Unavailable,
    /// The service does not permit it to this caller.
    Forbidden,
    /// The user left before it ended.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Unfinished => 3,
            Exit::Usage => 64,
            Exit::Unavailable => 69,
            Exit::Forbidden => 77,
            Exit::Interrupted => 130,
        })
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // clap writes help to standard output and errors to standard error.
            let _ = error.print();
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Success
            };
            return exit.into();
        }
    };
    if arguments.command.keeps_files() {
        guard::close_files();
    }
    // Reported by long-running commands; no reason for the others to stop.
    let guarded = guard::refuse_core_dumps();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal::say(format!("cancelot: the runtime cannot start: {error}"));
            return Exit::Unavailable.into();
        }
    };
    let exit = match arguments.command {
        Command::Serve(arguments) => runtime.block_on(serve::run(arguments, guarded)),
        #[cfg(feature = "sandbox")]
        Command::Demo(arguments) => runtime.block_on(demo::run(arguments)),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(arguments) => runtime.block_on(sandbox::run(arguments)),
        Command::Cancel(arguments) => runtime.block_on(cancel::run(arguments)),
        Command::Stop(arguments) => runtime.block_on(stop::run(arguments)),
        Command::Accounts(arguments) => runtime.block_on(accounts::run(arguments)),
        Command::Journal(arguments) => offline::journal::run(arguments),
        Command::Audit(arguments) => offline::audit::run(arguments),
        Command::Config(arguments) => offline::config::run(arguments),
        Command::Proto(arguments) => offline::proto::run(&arguments),
        Command::Completions(which) => offline::shell::completions(&which, Arguments::command()),
        Command::Man(which) => offline::shell::man(&which, Arguments::command()),
    };
    // Threads that still read a disk are not awaited; everything to be written was awaited before.
    runtime.shutdown_background();
    exit.into()
}
