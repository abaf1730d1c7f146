//! Who else may read or change what the service reads, and write where it writes. What is loose is
//! told, or refused if `server.file_permissions` says so. Links are followed: what counts is the
//! file that is read.
//!
//! A file in a directory that others do not get into is not theirs to read, whatever its own mode.
//! The owner is not looked at: Kubernetes mounts Secrets as root's with the pod's group, so a group
//! may read. A directory that everybody may write to is no danger with the sticky bit, by which
//! only its owner can replace a file.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use super::{
    error::{Problem, SettingSource},
    schema::value_type::Choice,
    source::reader::SettingsReader,
};

/// What is done about loose permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loose {
    /// They are told.
    Warn,
    /// They keep the service from starting.
    Refuse,
}

impl Choice for Loose {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("warn", Self::Warn), ("refuse", Self::Refuse)];
}

const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_PASS: u32 = 0o001;
const GROUP_WRITES: u32 = 0o020;
const STICKY: u32 = 0o1000;

/// A file that holds a secret: others may neither read nor change it.
pub(super) fn private(reader: &mut SettingsReader<'_>, key: &str, path: &Path) {
    file(reader, key, path, OTHERS_READ | OTHERS_WRITE | GROUP_WRITES);
}

/// A file that says whom to believe: others may read it, and not change it.
pub(super) fn trusted(reader: &mut SettingsReader<'_>, key: &str, path: &Path) {
    file(reader, key, path, OTHERS_WRITE | GROUP_WRITES);
}

fn file(reader: &mut SettingsReader<'_>, key: &str, path: &Path, refused: u32) {
    let source = reader.source(key);
    for (what, remedy) in [of_file(path, refused), above(path)].into_iter().flatten() {
        let problem = Problem::new(format!("names a file that {what}"), remedy);
        reader.loose.push(source.clone(), key, problem);
    }
}

/// The configuration file, which was named at `source`.
pub(super) fn configuration(reader: &mut SettingsReader<'_>, path: &Path, source: &SettingSource) {
    let refused = OTHERS_READ | OTHERS_WRITE | GROUP_WRITES;
    for (what, remedy) in [of_file(path, refused), above(path)].into_iter().flatten() {
        let problem = Problem::new(format!("the file {} {what}", path.display()), remedy);
        reader.loose.push(Some(source.clone()), "", problem);
    }
}

/// A directory that the service writes to: nobody else may. One that is to be made is judged by
/// those above it.
pub(super) fn directory(reader: &mut SettingsReader<'_>, key: &str, dir: &Path) {
    let source = reader.source(key);
    let own = match fs::metadata(dir) {
        Ok(found) if found.mode() & (OTHERS_WRITE | GROUP_WRITES) & reach(dir) != 0 => Some((
            "can be written to by other users",
            format!("chmod 0700 (it is {:04o})", found.mode() & 0o7777),
        )),
        Ok(_) | Err(_) => None,
    };
    for (what, remedy) in [own, above(dir)].into_iter().flatten() {
        let problem = Problem::new(format!("names a directory that {what}"), remedy);
        reader.loose.push(source.clone(), key, problem);
    }
}

/// What is wrong with a file, and what to do; nothing if it is not there, which is said where it is
/// read.
fn of_file(path: &Path, refused: u32) -> Option<(&'static str, String)> {
    let mode = fs::metadata(path).ok()?.mode();
    let loose = mode & refused & reach(path);
    let what = if loose & (OTHERS_WRITE | GROUP_WRITES) != 0 {
        "can be changed by other users"
    } else if loose != 0 {
        "can be read by every user of this machine"
    } else {
        return None;
    };
    let remedy = format!(
        "chmod 0600, or 0640 with a group that has to read it (it is {:04o})",
        mode & 0o7777
    );
    Some((what, remedy))
}

/// The bits of a mode that count at a place: those of all others only if all others get there.
fn reach(path: &Path) -> u32 {
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let lets_pass =
        |dir: &Path| fs::metadata(dir).is_ok_and(|found| found.mode() & OTHERS_PASS != 0);
    if place.ancestors().skip(1).all(lets_pass) {
        u32::MAX
    } else {
        !(OTHERS_READ | OTHERS_WRITE)
    }
}

/// Whoever may write to a directory above can put another in the place of what is in it.
fn above(path: &Path) -> Option<(&'static str, String)> {
    let absolute = std::path::absolute(path).ok()?;
    let is_open = |dir: &Path| {
        let mode = fs::metadata(dir).map_or(0, |found| found.mode());
        mode & OTHERS_WRITE != 0 && mode & STICKY == 0
    };
    let is_below = absolute.ancestors().skip(1).any(is_open);
    is_below.then(|| {
        (
            "is below a directory that every user of this machine can write to",
            "chmod o-w that one, or choose another place".to_owned(),
        )
    })
}

/// Makes of all that was found what `server.file_permissions` says: mistakes or warnings.
pub(super) fn decide(reader: &mut SettingsReader<'_>, what: Loose) {
    let found = std::mem::take(&mut reader.loose);
    let into = match what {
        Loose::Warn => &mut reader.warnings,
        Loose::Refuse => &mut reader.mistakes,
    };
    into.add(found);
}
