//! A role from the inside: it says where it listens, and ends when its parent does.

use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    thread,
};

use tokio::sync::oneshot;

/// Tells the parent that the role serves, and where.
pub(crate) fn ready(addr: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{addr}")?;
    out.flush()
}

/// Resolves when the parent closes this process's standard input, if only by its own death.
pub(crate) async fn told_to_end() {
    let (end, ended) = oneshot::channel();
    thread::spawn(move || {
        // However reading ends, it means the same.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = end.send(());
    });
    let _ = ended.await;
}
