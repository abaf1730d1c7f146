//! Any bytes in place of a request message.

use std::sync::{Arc, LazyLock};

use cancelot::{app, engine::Engine, rpc::fuzzing};
use tokio::runtime::Runtime;

/// An engine that knows the accounts. Nothing is submitted to it.
static ENGINE: LazyLock<(Runtime, Arc<Engine>)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let config = super::accounts(&dir.path().display().to_string());
    let runtime = Runtime::new().expect("a runtime");
    let engine = runtime.block_on(async {
        let (journal, options) = app::assemble(&config).expect("a service");
        Engine::start(journal, options.setup.options)
            .await
            .expect("an engine")
    });
    (runtime, engine)
});

/// Reads one input.
pub fn run(bytes: &[u8]) {
    fuzzing::requests(bytes, &ENGINE.1);
}
