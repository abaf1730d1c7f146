//! The `cancelot` binary.

use std::process::ExitCode;

/// The default allocator costs a journalled fan-out a third of its speed.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cancelot::cli::run()
}
