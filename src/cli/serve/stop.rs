//! Being asked to stop: once for an orderly end, then by Ctrl-C for an end at once.

use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::cli::terminal::{
    interrupt::{Asked, Interrupts},
    say,
};

/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Hears SIGTERM and Ctrl-C from its making on, also while nobody waits for it: a signal in the
/// middle of a start counts too.
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
            // Whoever supervises processes may repeat SIGTERM and mean no more by it.
            while signals.next().await != Asked::Interrupt {}
            say(
                "cancelot: interrupted while it stops, so it ends at once; what was at work is \
                 looked up after the next start",
            );
            // Without the ends of anything: whatever would be waited for may be what hangs.
            std::process::exit(INTERRUPTED);
        });
        Self {
            asked,
            _listening: AbortOnDropHandle::new(listening),
        }
    }

    /// Resolves when somebody has asked for an orderly end.
    pub(in super::super) async fn asked(&self) {
        self.asked.cancelled().await;
    }
}
