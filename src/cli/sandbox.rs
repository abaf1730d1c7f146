//! `cancelot sandbox`: runs the simulator on its own, for services in other processes.

use clap::Args;

use super::{
    Exit,
    terminal::{out, say},
};
use crate::sandbox::{Options, Provider, Sandbox};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The port on 127.0.0.1; 0 lets the system choose.
    #[arg(long, default_value_t = 8_600)]
    port: u16,
    /// Seeds every random choice.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) async fn run(arguments: Arguments) -> Exit {
    let options = Options {
        port: arguments.port,
        seed: arguments.seed,
        ..Options::default()
    };
    let sandbox = match Sandbox::start(options) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            say(format!(
                "cancelot: port {} cannot be used: {error}",
                arguments.port
            ));
            return Exit::Unavailable;
        }
    };
    for provider in Provider::ALL {
        out(format!(
            "{:<10} {}",
            provider.name(),
            sandbox.base_url(provider)
        ));
    }
    say(format!(
        "what it can do is described at http://{}/_sandbox",
        sandbox.addr()
    ));
    let stop = super::serve::stop::Stop::listen();
    tokio::select! {
        () = sandbox.serve() => {}
        () = stop.asked() => {}
    }
    Exit::Success
}
