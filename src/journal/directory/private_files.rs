//! Files and directories that belong to this process's user alone, whatever the umask: 0600 and
//! 0700. What is made is made anew, and no link is followed to it: whoever may write to a directory
//! above cannot have us write somewhere else.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown,
    },
    path::Path,
};

/// The mode of a file.
const FILE_MODE: u32 = 0o600;
/// The mode of a directory.
const DIR_MODE: u32 = 0o700;
/// What a mode grants to anybody but the owner.
const OTHERS: u32 = 0o077;

/// Makes a directory, with those above it that are missing.
///
/// # Errors
/// As [`fs::create_dir_all`].
pub(crate) fn make_dirs(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
}

/// Makes a directory that is not there.
///
/// # Errors
/// As [`fs::create_dir`].
pub(in crate::journal) fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(DIR_MODE).create(dir)
}

/// Makes a file that is not there, to be written.
///
/// # Errors
/// Something is there already, a link that leads nowhere included; or it cannot be made.
pub(crate) fn make(path: &Path) -> io::Result<File> {
    make_new(path, OpenOptions::new().write(true))
}

/// As [`make`], to be written at its end alone.
///
/// # Errors
/// As [`make`].
pub(crate) fn make_to_append(path: &Path) -> io::Result<File> {
    make_new(path, OpenOptions::new().append(true))
}

fn make_new(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let options = options.create_new(true).mode(FILE_MODE);
    options.custom_flags(no_follow()).open(path)
}

/// Opens a file of ours by these options; what has its mode from an earlier version is given ours.
///
/// # Errors
/// It is a link or no file, or it cannot be opened.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let file = options.clone().custom_flags(no_follow()).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if is_loose(&found) && is_own(&found) {
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    }
    Ok(file)
}

/// Opens a file of ours to be read and written; makes it if there is none.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_or_make(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    open(path, options.mode(FILE_MODE))
}

/// Takes from all others what an earlier version, under a common umask, let them read: the
/// directory itself if everything in it has a name of ours, so that one which is shared is never
/// closed to those it is shared with; then every file and directory below a name of ours.
///
/// # Errors
/// The directory cannot be listed. What belongs to another user is left as it is.
pub(crate) fn tighten(dir: &Path, is_ours: impl Fn(&str) -> bool) -> io::Result<()> {
    let mut has_others = false;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if is_ours(&entry.file_name().to_string_lossy()) {
            tighten_all(&entry.path())?;
        } else {
            has_others = true;
        }
    }
    if has_others {
        return Ok(());
    }
    close(dir, &fs::metadata(dir)?);
    Ok(())
}

fn tighten_all(path: &Path) -> io::Result<()> {
    // Not what a link leads to.
    let found = fs::symlink_metadata(path)?;
    if !is_own(&found) {
        return Ok(());
    }
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            tighten_all(&entry?.path())?;
        }
    }
    close(path, &found);
    Ok(())
}

/// Closes a file or directory to others. That it cannot be done is told, and no reason to stop: it
/// was so before.
fn close(path: &Path, found: &Metadata) {
    let mode = if found.is_dir() {
        DIR_MODE
    } else if found.is_file() {
        FILE_MODE
    } else {
        return;
    };
    if !is_loose(found) || !is_own(found) {
        return;
    }
    // The bit by which a directory hands on its group stays: a volume's driver has set it.
    let mode = mode | (found.mode() & 0o2000);
    let was = format!("{:04o}", found.mode() & 0o7777);
    match fs::set_permissions(path, Permissions::from_mode(mode)) {
        Ok(()) => tracing::info!(path = %path.display(), was, "closed to other users"),
        Err(error) => {
            tracing::warn!(path = %path.display(), was, %error, "cannot be closed to other users");
        }
    }
}

/// Gives what root has made in a directory of another user to that user: who looks into a journal
/// as root, such as by `sudo cancelot journal verify`, would otherwise leave files that the service
/// cannot read when it starts.
///
/// # Errors
/// The directory cannot be listed, or a file cannot be given away.
pub(crate) fn give_to_owner(dir: &Path) -> io::Result<()> {
    let owner = fs::metadata(dir)?;
    if !rustix::process::geteuid().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        // Of a link itself, and not of what it leads to.
        let found = fs::symlink_metadata(&path)?;
        if found.uid() == 0 && (found.is_file() || found.is_dir()) {
            lchown(&path, Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    Ok(())
}

fn is_loose(found: &Metadata) -> bool {
    found.mode() & OTHERS != 0
}

fn is_own(found: &Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw()
}

fn no_follow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_made_is_its_owner_s_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        make_dirs(&path("a/b")).unwrap();
        make_dir(&path("c")).unwrap();
        make(&path("d")).unwrap();
        open_or_make(&path("e")).unwrap();
        for (name, expected) in [
            ("a", 0o700),
            ("a/b", 0o700),
            ("c", 0o700),
            ("d", 0o600),
            ("e", 0o600),
        ] {
            assert_eq!(mode(&path(name)), expected, "{name}");
        }
        make_dirs(&path("a/b")).unwrap();
    }

    #[test]
    fn what_is_there_is_never_made_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "kept").unwrap();
        symlink(path("file"), path("link")).unwrap();
        symlink(path("nowhere"), path("dangling")).unwrap();
        for name in ["file", "link", "dangling"] {
            let error = make(&path(name)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{name}");
        }
        let mut reading = OpenOptions::new();
        reading.read(true);
        for name in ["link", "dangling"] {
            assert!(open_or_make(&path(name)).is_err(), "{name}");
            assert!(open(&path(name), &reading).is_err(), "{name}");
        }
        assert!(open(dir.path(), &reading).is_err(), "a directory");
        assert_eq!(fs::read_to_string(path("file")).unwrap(), "kept");
        assert!(!path("nowhere").exists());
    }

    #[test]
    fn a_file_that_was_loose_is_closed_when_it_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "").unwrap();
        set(&path, 0o664);
        open_or_make(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn what_root_makes_in_a_directory_of_others_is_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("ours"), "").unwrap();
        symlink(path("nowhere"), path("link")).unwrap();
        let before = fs::metadata(path("ours")).unwrap().uid();
        give_to_owner(dir.path()).unwrap();
        assert_eq!(fs::metadata(path("ours")).unwrap().uid(), before);
        // Only root can make the case, and only for root is there one.
        if rustix::process::geteuid().is_root() {
            lchown(dir.path(), Some(65_532), Some(65_532)).unwrap();
            give_to_owner(dir.path()).unwrap();
            let given = fs::metadata(path("ours")).unwrap();
            assert_eq!((given.uid(), given.gid()), (65_532, 65_532));
            assert_eq!(fs::symlink_metadata(path("link")).unwrap().uid(), 0);
        }
    }

    #[test]
    fn what_is_ours_is_closed_and_what_is_shared_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("ours/blobs")).unwrap();
        let files = ["ours/db", "ours/blobs/1", "theirs"];
        for file in files {
            fs::write(path(file), "").unwrap();
            set(&path(file), 0o644);
        }
        symlink(path("theirs"), path("ours/link")).unwrap();
        for name in ["ours", "ours/blobs", "."] {
            set(&path(name), 0o755);
        }
        tighten(dir.path(), |name| name == "ours").unwrap();
        for (name, expected) in [
            ("ours", 0o700),
            ("ours/db", 0o600),
            ("ours/blobs", 0o700),
            ("ours/blobs/1", 0o600),
            ("theirs", 0o644),
            (".", 0o755),
        ] {
            assert_eq!(mode(&path(name)), expected, "{name}");
        }
        fs::remove_file(path("theirs")).unwrap();
        tighten(dir.path(), |name| name == "ours").unwrap();
        assert_eq!(mode(dir.path()), 0o700);
    }
}
