//! Protection from other users of the machine: files that the service writes and reads, and its
//! memory.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        process::ExitStatusExt as _,
    },
    path::{Path, PathBuf},
};

use cancelot::sandbox::{Options, Provider, Sandbox};

use crate::support::{
    in_time, now,
    process::{Place, Process, try_connect},
    request, subscription,
};

/// Everything below a directory, itself included, with its mode.
fn modes(dir: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = vec![(dir.to_owned(), fs::metadata(dir).unwrap().mode() & 0o777)];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(modes(&path));
        } else {
            let mode = fs::metadata(&path).unwrap().mode() & 0o777;
            found.push((path, mode));
        }
    }
    found
}

#[track_caller]
fn all_private(dir: &Path) {
    let found = modes(dir);
    let name = |path: &Path| path.strip_prefix(dir).unwrap().display().to_string();
    let names: Vec<_> = found.iter().map(|(path, _)| name(path)).collect();
    for expected in ["CANCELOT", "commits", "lock", "store-1/db", "audit/lock"] {
        assert!(names.iter().any(|name| name == expected), "{names:?}");
    }
    assert!(
        names.iter().any(|name| name.ends_with(".jsonl")),
        "{names:?}"
    );
    for (path, mode) in found {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{} has {mode:o}", path.display());
    }
}

async fn cancel_one(url: &str, key: &str) {
    let mut client = try_connect(url).await.unwrap();
    let cancellation = subscription(Provider::Rebilly, key, now());
    let call = client.cancel_subscription(request(key, [cancellation]));
    let mut stream = in_time(call).await.unwrap().into_inner();
    while in_time(stream.message()).await.unwrap().is_some() {}
}

async fn stop(process: Process) {
    process.terminate();
    assert!(process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn journal_and_audit_are_the_service_s_alone_whatever_the_umask() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    for umask in ["0000", "0022", "0007"] {
        let place = Place::new(&sandbox, "");
        let mut process = place.start_after(&format!("umask {umask}"), &[]);
        let url = process.url().await.unwrap();
        cancel_one(&url, "K").await;
        all_private(&place.journal());
        stop(process).await;
        all_private(&place.journal());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_left_open_is_closed_and_what_is_others_is_left() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let place = Place::new(&sandbox, "");
    let (process, url) = place.serve().await;
    cancel_one(&url, "K").await;
    stop(process).await;
    let open = |mode_of_files: u32, mode_of_dirs: u32| {
        for (path, _) in modes(&place.journal()) {
            let mode = if path.is_dir() {
                mode_of_dirs
            } else {
                mode_of_files
            };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    open(0o644, 0o755);
    let (process, url) = place.serve().await;
    all_private(&place.journal());
    cancel_one(&url, "K").await;
    stop(process).await;
    assert!(place.stderr().contains("closed to other users"));

    open(0o644, 0o755);
    let notes = place.journal().join("notes.txt");
    fs::write(&notes, "of somebody").unwrap();
    fs::set_permissions(&notes, fs::Permissions::from_mode(0o644)).unwrap();
    let (process, _) = place.serve().await;
    for (path, mode) in modes(&place.journal()) {
        let expected = match (path == notes, path == place.journal()) {
            (true, _) => 0o644,
            (_, true) => 0o755,
            _ if path.is_dir() => 0o700,
            _ => 0o600,
        };
        assert_eq!(mode, expected, "{} has {mode:o}", path.display());
    }
    stop(process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_leads_the_service_to_write_somewhere_else() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let place = Place::new(&sandbox, "");
    let (process, url) = place.serve().await;
    cancel_one(&url, "K").await;
    stop(process).await;
    let target = place.config().with_file_name("target");
    for name in ["lock", "commits", "audit/lock"] {
        fs::write(&target, "kept").unwrap();
        let file = place.journal().join(name);
        let kept = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        symlink(&target, &file).unwrap();
        let (code, said) = place.refused().await;
        assert_eq!(code, 69, "{name}: {said}");
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept", "{name}");
        fs::remove_file(&file).unwrap();
        fs::write(&file, kept).unwrap();
    }
    // A leftover is replaced by a file of our own, never written through.
    fs::remove_dir_all(place.journal()).unwrap();
    fs::create_dir(place.journal()).unwrap();
    symlink(&target, place.journal().join("CANCELOT.fresh")).unwrap();
    let (process, _) = place.serve().await;
    assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
    assert!(place.journal().join("CANCELOT").is_file());
    stop(process).await;
}

/// The line of a process's limits about core files: soft and hard.
fn core_limits(process: &Process) -> [String; 2] {
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let mut words = line.unwrap().split_whitespace().map(str::to_owned);
    [words.next().unwrap(), words.next().unwrap()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_no_keys_on_the_disk_unless_dumps_are_asked_for() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let place = Place::new(&sandbox, "");
    let shell = "ulimit -S -c $(ulimit -H -c)";
    let mut process = place.start_after(shell, &[]);
    process.url().await.unwrap();
    assert_eq!(core_limits(&process)[0], "0");
    // What the system makes a dump of by itself.
    process.signal("QUIT");
    let status = process.ended().await;
    assert_eq!(status.signal(), Some(3));
    assert!(!status.core_dumped());

    let mut process = place.start_after(shell, &["--set", "server.core_dumps=true"]);
    process.url().await.unwrap();
    let [soft, hard] = core_limits(&process);
    assert_eq!(soft, hard);
    assert!(place.stderr().contains("core dumps are allowed"));
    stop(process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loose_configuration_is_told_and_refused_if_that_is_said() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let place = Place::new(&sandbox, "");
    let set = |mode| fs::set_permissions(place.config(), fs::Permissions::from_mode(mode)).unwrap();
    let dir = place.config().parent().unwrap().to_owned();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    set(0o644);
    let (process, _) = place.serve().await;
    place
        .says("can be read by every user of this machine")
        .await;
    stop(process).await;

    let refuse = ["--set", "server.file_permissions=refuse"];
    let before = place.stderr().len();
    let mut process = place.start_with(&refuse);
    assert_eq!(process.url().await, None);
    assert_eq!(process.ended().await.code(), Some(64));
    let said = place.stderr().split_off(before);
    assert!(said.contains("can be read by every user"), "{said}");
    assert!(said.contains("chmod 0600"), "{said}");

    set(0o600);
    let mut process = place.start_with(&refuse);
    process.url().await.unwrap();
    stop(process).await;
}
