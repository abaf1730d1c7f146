//! Compiles the published protos with protox, so that no `protoc` has to be installed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PROTO: &str = "cancelot/v1/cancelot.proto";

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script by its environment"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = protox::compile([PROTO], ["proto"])?;
    // Reflection serves the very descriptors the code was generated from.
    fs::write(out.join("cancelot.protoset"), descriptors.encode_to_vec())?;
    tonic_prost_build::compile_fds(descriptors)?;
    Ok(())
}
