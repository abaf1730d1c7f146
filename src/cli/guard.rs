//! Protects the process from other users of the machine: the files it creates, and its memory with
//! credentials, tokens and private keys.

use rustix::{
    fs::Mode,
    io,
    process::{
        DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
    },
};

/// Makes all files created from now on private, by any library. Only valid while there is one
/// thread.
pub(super) fn close_files() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Prevents core dumps of this process, and access to its memory by other processes of its user. A
/// limit of 0 prevents dumps to disk, but not to programs that the kernel pipes them to, so the
/// process is also marked as not dumpable.
///
/// # Errors
/// If the system refuses one of them; the other is tried all the same.
pub(super) fn refuse_core_dumps() -> io::Result<()> {
    let limited = limit_core_dumps(|_| Some(0));
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    limited
}

/// Allows core dumps again, up to the system's hard limit.
///
/// # Errors
/// If the system refuses it.
pub(super) fn allow_core_dumps() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    limit_core_dumps(|maximum| maximum)
}

fn limit_core_dumps(current: impl FnOnce(Option<u64>) -> Option<u64>) -> io::Result<()> {
    let maximum = getrlimit(Resource::Core).maximum;
    let current = current(maximum);
    setrlimit(Resource::Core, Rlimit { current, maximum })
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn core_dumps_are_refused_by_both_ways_and_allowed_by_both() {
        let maximum = getrlimit(Resource::Core).maximum;
        refuse_core_dumps().unwrap();
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
        let limits = getrlimit(Resource::Core);
        assert_eq!((limits.current, limits.maximum), (Some(0), maximum));
        allow_core_dumps().unwrap();
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::Dumpable));
        assert_eq!(getrlimit(Resource::Core).current, maximum);
    }
}
