//! `cancelot completions` and `cancelot man`: shell completions and man pages.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::{
    Exit,
    terminal::{out, say},
};

const NAME: &str = "cancelot";

#[derive(Debug, Args)]
pub(in crate::cli) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Man {
    /// Write the pages of all commands into this directory, which is made if it is missing.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Writes the completion script of a shell.
pub(in crate::cli) fn completions(arguments: &Completions, mut command: Command) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, NAME, &mut script);
    written(io::stdout().lock().write_all(&script))
}

/// Writes the man pages: the first one, or all.
pub(in crate::cli) fn man(arguments: &Man, command: Command) -> Exit {
    match &arguments.dir {
        Some(dir) => {
            let made =
                std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir));
            if made.is_ok() {
                out(format!("man pages: {}", dir.display()));
            }
            written(made)
        }
        None => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(command).render(&mut page);
            written(rendered.and_then(|()| io::stdout().lock().write_all(&page)))
        }
    }
}

fn written(done: io::Result<()>) -> Exit {
    match done {
        Ok(()) => Exit::Success,
        // With `cancelot man | head` the reader ends first.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(error) => {
            say(format!("cancelot: {error}"));
            Exit::Failure
        }
    }
}
