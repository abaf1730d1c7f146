//! `cancelot proto`: the published API, for clients of a service that has no reflection in reach.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;

use super::{Exit, terminal::say};
use crate::rpc::proto;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Write the compiled descriptors instead, for `grpcurl -protoset` and code generators. They
    /// have the health service and all imports with them.
    #[arg(long, conflicts_with = "service_config")]
    descriptor_set: bool,
    /// Write a gRPC service config (JSON) instead: what a client may send again by itself, how it
    /// spreads over addresses, and which health it goes by.
    #[arg(long)]
    service_config: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let mut stdout = io::stdout().lock();
    let written = if arguments.descriptor_set {
        if stdout.is_terminal() {
            say(
                "cancelot: a descriptor set is binary: send it to a file, such as > cancelot.protoset",
            );
            return Exit::Usage;
        }
        // Messages that follow each other are one message, with the lists of both.
        stdout
            .write_all(proto::DESCRIPTORS)
            .and_then(|()| stdout.write_all(tonic_health::pb::FILE_DESCRIPTOR_SET))
    } else if arguments.service_config {
        stdout.write_all(proto::SERVICE_CONFIG.as_bytes())
    } else {
        stdout.write_all(proto::TEXT.as_bytes())
    };
    match written.and_then(|()| stdout.flush()) {
        Ok(()) => Exit::Success,
        // `cancelot proto | head` ends before we do.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(error) => {
            say(format!("cancelot: {error}"));
            Exit::Failure
        }
    }
}
