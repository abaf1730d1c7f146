//! The files of the audit: `<number of the first line>.jsonl`, in order.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    path::{Path, PathBuf},
};

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The number of its first line, as its name says.
    pub first: u64,
    /// Where it is.
    pub path: PathBuf,
}

const SUFFIX: &str = ".jsonl";

impl Segment {
    /// The one that begins with this line.
    #[must_use]
    pub fn new(dir: &Path, first: u64) -> Self {
        Self {
            first,
            path: dir.join(format!("{first:020}{SUFFIX}")),
        }
    }

    /// All of a directory, in order. Files of other names are none.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn list(dir: &Path) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if let Some(first) = first_of(&name) {
                found.push(Self {
                    first,
                    path: entry.path(),
                });
            }
        }
        found.sort();
        Ok(found)
    }

    /// Whether a file is one, by its name.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        first_of(name).is_some()
    }

    /// Its lines.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn lines(&self) -> io::Result<Lines> {
        Ok(Lines {
            file: BufReader::with_capacity(256 * 1024, File::open(&self.path)?),
            line: Vec::new(),
        })
    }

    /// Its first line, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn first_line(&self) -> io::Result<Option<Vec<u8>>> {
        let mut lines = self.lines()?;
        Ok(lines.next_line()?.map(<[u8]>::to_vec))
    }
}

/// The number of the first line of a file of this name.
fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

/// The lines of a file, with their ends.
#[derive(Debug)]
pub struct Lines {
    file: BufReader<File>,
    line: Vec<u8>,
}

impl Lines {
    /// The next one; the last may lack its end. Once there is none, what is appended comes next.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let read = self.file.read_until(b'\n', &mut self.line)?;
        Ok((read > 0).then_some(&*self.line))
    }

    /// As [`Self::next_line`], for one who follows: what is not yet a whole line is kept for later.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_whole(&mut self) -> io::Result<Option<&[u8]>> {
        if self.line.ends_with(b"\n") {
            self.line.clear();
        }
        self.file.read_until(b'\n', &mut self.line)?;
        Ok(self.line.ends_with(b"\n").then_some(&*self.line))
    }
}
