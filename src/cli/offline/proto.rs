//! `cancelot proto`: prints the published API, for clients without access to reflection.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use prost::{DecodeError, Message as _};
use prost_types::FileDescriptorSet;

use crate::{
    cli::{Exit, terminal::say},
    rpc::proto,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Write the compiled descriptors instead, for `grpcurl -protoset` and code generators. The
    /// health service, error details and all imports are with them.
    #[arg(long, conflicts_with = "service_config")]
    descriptor_set: bool,
    /// Write a gRPC service config (JSON) instead: what a client may send again by itself, how it
    /// spreads over addresses, and which health it goes by.
    #[arg(long)]
    service_config: bool,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Exit {
    let mut stdout = io::stdout().lock();
    let data = if arguments.descriptor_set {
        if stdout.is_terminal() {
            say(
                "cancelot: a descriptor set is binary: give it a file, such as > cancelot.protoset",
            );
            return Exit::Usage;
        }
        descriptor_set().map_err(io::Error::other)
    } else if arguments.service_config {
        Ok(proto::SERVICE_CONFIG.as_bytes().to_vec())
    } else {
        Ok(proto::TEXT.as_bytes().to_vec())
    };
    let written = data.and_then(|data| stdout.write_all(&data).and_then(|()| stdout.flush()));
    match written {
        Ok(()) => Exit::Success,
        // With `cancelot proto | head` the reader ends first.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(error) => {
            say(format!("cancelot: {error}"));
            Exit::Failure
        }
    }
}

/// All descriptors that reflection serves, as one set. The sets share imports, and readers such as
/// buf accept no file twice.
fn descriptor_set() -> Result<Vec<u8>, DecodeError> {
    let mut all = FileDescriptorSet::default();
    for set in [
        proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_types::pb::FILE_DESCRIPTOR_SET,
    ] {
        for file in FileDescriptorSet::decode(set)?.file {
            if all.file.iter().all(|known| known.name != file.name) {
                all.file.push(file);
            }
        }
    }
    Ok(all.encode_to_vec())
}
