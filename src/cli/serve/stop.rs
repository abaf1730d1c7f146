//! Stop signals: the first one ends the service in order, a second Ctrl-C at once.

use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::cli::terminal::{
    interrupt::{Asked, Interrupts},
    say,
};

/// A shell's exit code of a program that was ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Receives SIGTERM and Ctrl-C from its creation on, so that a signal during start-up counts too.
pub(in super::super) struct Stop {
    asked: CancellationToken,
    _listening: AbortOnDropHandle<()>,
}

impl Stop {
    pub(in super::super) fn listen() -> Self {
        let mut signals = Interrupts::listen();
        let asked = CancellationToken::new();
        let ask = asked.clone();
        let listening = tokio::spawn(async move {
            signals.next().await;
            ask.cancel();
            // A supervisor may repeat SIGTERM without meaning more by it.
            while signals.next().await != Asked::Interrupt {}
            say(
                "cancelot: interrupted while it stops, so it ends at once; what was at work is \
                 looked up after the next start",
            );
            // Without any clean-up, since that may be what hangs.
            std::process::exit(INTERRUPTED);
        });
        Self {
            asked,
            _listening: AbortOnDropHandle::new(listening),
        }
    }

    /// Resolves when an orderly stop is asked for.
    pub(in super::super) async fn asked(&self) {
        self.asked.cancelled().await;
    }
}
