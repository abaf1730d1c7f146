//! What other users of the machine may read or change is told, or refused.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use super::{Config, Mistakes, PLANTED, Sources, env, load};

/// Files of a configuration, each with a mode.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.set("", 0o755);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn set(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn write(&self, name: &str, mode: u32, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.set(name, mode);
        format!("{:?}", self.path(name).display().to_string())
    }

    /// Reads `cancelot.toml`, with this beside an account whose credential is in `credential`.
    fn load(&self, mode: u32, more: &str) -> Result<Config, Mistakes> {
        let credential = format!("{:?}", self.path("credential").display().to_string());
        let journal = format!("{:?}", self.path("journal").display().to_string());
        let text = format!(
            "{more}\n[journal]\ndir = {journal}\n[accounts.rebilly-eu]\nprovider = \"rebilly\"\n\
             credential_file = {credential}\n"
        );
        self.write("cancelot.toml", mode, &text);
        load(&Sources {
            file: Some(self.path("cancelot.toml")),
            env: &env(&[]),
            overrides: &[],
        })
    }

    fn warnings(&self, mode: u32, more: &str) -> Vec<String> {
        let config = self.load(mode, more).unwrap();
        let dir = self.0.path().display().to_string();
        let shown = config.warnings.iter().map(ToString::to_string);
        shown.map(|line| line.replace(&dir, "DIR")).collect()
    }
}

#[test]
fn files_that_are_their_owner_s_and_a_group_s_are_no_matter() {
    let files = Files::new();
    for mode in [0o600, 0o400, 0o640, 0o440] {
        files.write("credential", mode, PLANTED);
        assert_eq!(files.warnings(mode, ""), [""; 0], "{mode:o}");
    }
}

#[test]
fn a_credential_or_a_configuration_that_others_read_or_change_is_told() {
    let files = Files::new();
    for (mode, what) in [
        (0o644, "can be read by every user of this machine"),
        (0o604, "can be read by every user of this machine"),
        (0o660, "can be changed by other users"),
        (0o602, "can be changed by other users"),
        (0o666, "can be changed by other users"),
    ] {
        files.write("credential", mode, PLANTED);
        let told = files.warnings(mode, "");
        let remedy = format!(
            "{what}; chmod 0600, or 0640 with a group that has to read it (it is {mode:04o})"
        );
        let expected = [
            format!(
                "DIR/cancelot.toml:6: accounts.rebilly-eu.credential_file names a file that {remedy}"
            ),
            format!("command line: the file DIR/cancelot.toml {remedy}"),
        ];
        assert_eq!(told, expected);
    }
}

#[test]
fn what_nobody_else_gets_to_is_no_matter() {
    let files = Files::new();
    files.write("credential", 0o644, PLANTED);
    assert_eq!(files.warnings(0o644, "").len(), 2);
    files.set("", 0o750);
    assert_eq!(files.warnings(0o644, ""), [""; 0]);
    // A group may get there.
    files.write("credential", 0o660, PLANTED);
    assert_eq!(files.warnings(0o644, "").len(), 1);
}

#[test]
fn what_counts_is_the_file_that_a_link_leads_to() {
    let files = Files::new();
    files.write("data", 0o600, PLANTED);
    symlink(files.path("data"), files.path("credential")).unwrap();
    assert_eq!(files.warnings(0o600, ""), [""; 0]);
    files.set("data", 0o644);
    assert_eq!(files.warnings(0o600, "").len(), 1);
}

#[test]
fn a_certificate_may_be_read_and_its_key_may_not() {
    let files = Files::new();
    files.write("credential", 0o600, PLANTED);
    let (cert, key) = (
        files.write("tls.crt", 0o644, "CERTIFICATE"),
        files.write("tls.key", 0o644, "KEY"),
    );
    let tls = format!("[server]\ntls_cert_file = {cert}\ntls_key_file = {key}");
    let told = files.warnings(0o600, &tls);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("server.tls_key_file names a file that can be read"),
        "{told:?}"
    );
    files.set("tls.key", 0o600);
    files.set("tls.crt", 0o664);
    let told = files.warnings(0o600, &tls);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("server.tls_cert_file names a file that can be changed"),
        "{told:?}"
    );
}

#[test]
fn a_directory_that_others_write_to_is_told_wherever_it_stands_above() {
    let files = Files::new();
    files.write("credential", 0o600, PLANTED);
    fs::create_dir(files.path("journal")).unwrap();
    for mode in [0o770, 0o702, 0o777] {
        files.set("journal", mode);
        let expected = format!(
            "DIR/cancelot.toml:3: journal.dir names a directory that can be written to by other \
             users; chmod 0700 (it is {mode:04o})"
        );
        assert_eq!(files.warnings(0o600, ""), [expected]);
    }
    // One that others may list, and one that is to be made.
    files.set("journal", 0o755);
    assert_eq!(files.warnings(0o600, ""), [""; 0]);
    fs::remove_dir(files.path("journal")).unwrap();
    assert_eq!(files.warnings(0o600, ""), [""; 0]);
    // All that is below it can be replaced: the journal, the credential, the configuration.
    files.set("", 0o707);
    let told = files.warnings(0o600, "");
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told.iter()
            .all(|line| line.contains("is below a directory that every user")),
        "{told:?}"
    );
    // With the sticky bit only their owners can.
    files.set("", 0o1777);
    assert_eq!(files.warnings(0o600, ""), [""; 0]);
}

#[test]
fn what_is_loose_is_refused_if_that_is_said() {
    let files = Files::new();
    files.write("credential", 0o644, PLANTED);
    let refuse = "[server]\nfile_permissions = \"refuse\"";
    let mistakes = files.load(0o600, refuse).unwrap_err();
    assert_eq!(mistakes.all().len(), 1, "{mistakes}");
    assert!(
        mistakes
            .to_string()
            .contains("credential_file names a file that can be read")
    );
    assert!(!mistakes.to_string().contains(PLANTED));
    files.set("credential", 0o600);
    assert!(files.load(0o600, refuse).unwrap().warnings.is_empty());
    assert!(files.load(0o644, refuse).is_err(), "the file itself");
    let nowhere = Path::new("/nowhere/at/all");
    assert!(!nowhere.exists());
    files
        .load(0o600, &format!("{refuse}\n[audit]\ndir = {nowhere:?}"))
        .unwrap();
}
