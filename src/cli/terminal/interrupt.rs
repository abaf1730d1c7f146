//! Signals during an operation that they do not end by themselves.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Asked {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM: nobody is there to confirm.
    End,
}

/// Receives signals from its creation on.
pub(in crate::cli) struct Interrupts {
    interrupt: io::Result<Signal>,
    terminate: io::Result<Signal>,
}

impl Interrupts {
    pub(in crate::cli) fn listen() -> Self {
        Self {
            interrupt: signal(SignalKind::interrupt()),
            terminate: signal(SignalKind::terminate()),
        }
    }

    /// The next signal.
    pub(in crate::cli) async fn next(&mut self) -> Asked {
        tokio::select! {
            () = received(&mut self.interrupt) => Asked::Interrupt,
            () = received(&mut self.terminate) => Asked::End,
        }
    }
}

async fn received(signal: &mut io::Result<Signal>) {
    match signal {
        Ok(signal) => {
            signal.recv().await;
        }
        // Without a handler the system ends the process by itself.
        Err(_) => std::future::pending().await,
    }
}
