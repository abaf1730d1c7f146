//! Cancelot, wired as `cancelot serve` wires it.

use cancelot::app::{self, App, observability::logging};
use tokio::net::TcpListener;

use crate::{Failure, child, settings};

/// The role.
pub(crate) fn main(text: &str) -> Result<(), Failure> {
    let config = settings::parse(text)?;
    let _log = logging::init(config.log.format, &config.log.filter)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(config.server.listen).await?;
        let (journal, options) = app::assemble(&config)?;
        let app = App::start(listener, journal, options).await?;
        child::ready(app.addr())?;
        Ok(app.run(child::told_to_end()).await?)
    })
}
