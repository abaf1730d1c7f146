//! Sends an input's requests one after the other and follows them: reports lost connections,
//! repeats, and what goes on after Ctrl-C.

use std::{cell::RefCell, time::Duration};

use indicatif::ProgressBar;
use tokio::time::Instant;

use super::{Sending, refused::refused, report::Report, request::Sendable, send::same_again};
use crate::{
    cli::{
        Exit,
        client::{self, Client, News, status},
        terminal::{
            interrupt::{Asked, Interrupts},
            progress, say, words,
        },
    },
    limits,
    rpc::proto::{Outcome, Progress},
};

/// How often to report that the service is still unreachable.
const SAID_AGAIN: Duration = Duration::from_secs(10);

/// An input that is sent and followed.
pub(super) struct Followed<'a, R> {
    pub(super) key: &'a str,
    pub(super) rows: &'a [R],
    pub(super) sending: &'a Sending,
}

/// The state of the current request.
struct Under<'a> {
    report: &'a mut Report,
    batch: String,
    settled: usize,
    /// When it was last reported that the service is unreachable.
    away_said: Option<Instant>,
}

impl<R: Sendable> Followed<'_, R> {
    /// Follows all requests to their ends. Returns the exit code, unless the results decide it.
    pub(super) async fn to_the_end(
        &self,
        client: &mut Client,
        report: &mut Report,
    ) -> Option<Exit> {
        let bar = progress(u64::try_from(self.rows.len()).unwrap_or(u64::MAX));
        let ended = self.all(client, report, &bar).await;
        bar.finish_and_clear();
        ended
    }

    async fn all(
        &self,
        client: &mut Client,
        report: &mut Report,
        bar: &ProgressBar,
    ) -> Option<Exit> {
        let mut interrupts = Interrupts::listen();
        let until = self
            .sending
            .deadline
            .and_then(|deadline| Instant::now().checked_add(deadline));
        let mut done = 0;
        for (number, chunk) in self.rows.chunks(limits::BATCH_ITEMS_MAX).enumerate() {
            let key = chunk_key(self.key, self.rows.len(), number);
            let request = R::request(key.clone(), chunk, self.sending);
            let before = done;
            let under = RefCell::new(Under {
                report: &mut *report,
                batch: String::new(),
                settled: 0,
                away_said: None,
            });
            let following = client::follow(client, request, until, |news| {
                self.hear(&mut under.borrow_mut(), before, chunk.len(), bar, news);
            });
            tokio::pin!(following);
            let mut was_asked = false;
            let ended = loop {
                tokio::select! {
                    ended = &mut following => break ended,
                    asked = interrupts.next() => {
                        let leaves = was_asked || asked == Asked::End;
                        bar.suspend(|| self.tell_of_leaving(&under.borrow(), done, chunk.len(), leaves));
                        if leaves {
                            return Some(Exit::Interrupted);
                        }
                        was_asked = true;
                    }
                }
            };
            if let Err(status) = ended {
                bar.suspend(|| self.tell_of_end(&status, chunk, &key, done));
                return Some(status::exit(&status));
            }
            done += chunk.len();
            if was_asked && done < self.rows.len() {
                let rest = self.rows.len() - done;
                say(format!("cancelot: {} not sent", R::what(rest)));
                return Some(Exit::Interrupted);
            }
        }
        None
    }

    fn hear<T: crate::cli::terminal::output::Shown + client::Outcome>(
        &self,
        under: &mut Under<'_>,
        done: usize,
        items: usize,
        bar: &ProgressBar,
        news: News<'_, T>,
    ) {
        match news {
            News::Progress(progress) => self.hear_progress(under, progress, items, bar),
            News::Result(result) if result.outcome() == Outcome::Unspecified => {}
            News::Result(result) => {
                under.settled += 1;
                bar.inc(1);
                let at = usize::try_from(result.index()).unwrap_or(usize::MAX);
                bar.suspend(|| under.report.add(done.saturating_add(at), &result));
            }
            News::Again { why, wait } => {
                let now = Instant::now();
                let is_new = under
                    .away_said
                    .is_none_or(|said| now.duration_since(said) >= SAID_AGAIN);
                if is_new {
                    under.away_said = Some(now);
                    let wait = wait.as_secs_f64();
                    bar.suspend(|| {
                        say(format!("cancelot: {why}; trying again in {wait:.1} s"));
                    });
                }
            }
            News::Back => {
                if under.away_said.take().is_some() {
                    bar.suspend(|| say("cancelot: the service answers again"));
                }
            }
        }
    }

    fn hear_progress(
        &self,
        under: &mut Under<'_>,
        progress: &Progress,
        items: usize,
        bar: &ProgressBar,
    ) {
        if under.batch.is_empty() && !progress.batch_id.is_empty() {
            under.batch.clone_from(&progress.batch_id);
            let batch = &under.batch;
            bar.suspend(|| say(format!("batch: {batch} ({})", R::what(items))));
        }
        bar.set_message(match progress.settling {
            0 => String::new(),
            settling => format!("{settling} in doubt"),
        });
    }

    /// Reports what goes on without the client, and how to stop it.
    fn tell_of_leaving(&self, under: &Under<'_>, done: usize, items: usize, leaves: bool) {
        let open = items.saturating_sub(under.settled);
        let doing = if self.sending.dry_run {
            "looked at"
        } else {
            "cancelled"
        };
        let mut text = format!(
            "cancelot: {} {} still being {doing}",
            R::what(open),
            words::is(open)
        );
        match under.batch.as_str() {
            "" if self.sending.dry_run => {}
            "" => text.push_str(", if the service has taken them on"),
            batch => text.push_str(&format!(
                ", and the service goes on with that\n  batch:    {batch}\n  stop it:  cancelot stop \
                 {batch}{}",
                self.sending.service.flags()
            )),
        }
        if !self.sending.dry_run {
            text.push_str(&format!("\n  watch it: {}", same_again(self.key)));
        }
        let rest = self.rows.len().saturating_sub(done + items);
        if rest > 0 {
            text.push_str(&format!("\n  not sent: {}", R::what(rest)));
        }
        if !leaves {
            text.push_str("\nCtrl-C once more leaves.");
        }
        say(text);
    }

    fn tell_of_end(&self, status: &tonic::Status, chunk: &[R], key: &str, done: usize) {
        let of_file = self.sending.file.is_some();
        say(format!(
            "cancelot: {}",
            refused(status, chunk, of_file, key).unwrap_or_else(|| status::told(status))
        ));
        if done > 0 {
            say(format!("{} were sent before", R::what(done)));
        }
        if status::exit(status) != Exit::Usage && !self.sending.dry_run {
            say(format!("to go on: {}", same_again(self.key)));
        }
    }
}

/// The key of one of the requests that the rows are split into.
pub(super) fn chunk_key(key: &str, rows: usize, number: usize) -> String {
    if rows > limits::BATCH_ITEMS_MAX {
        format!("{key}.{number}")
    } else {
        key.to_owned()
    }
}
