//! What a status means for a command: its line, its exit code, and whether to repeat the request.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::reach;
use crate::cli::Exit;

/// A service that asks for a longer wait is not waited for.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(60);
/// How often a request is resumed without progress before the client gives up.
pub(in crate::cli) const RESUMES_MAX: u32 = 20;
/// The longest wait before resuming, unless the service asks for more.
const RESUME_WAIT_MAX: Duration = Duration::from_secs(5);

/// A status as a line: its code's name and message.
pub(in crate::cli) fn told(status: &Status) -> String {
    if reach::is_lost(status) {
        return format!("the connection was lost: {}", reach::lost_by(status));
    }
    // tonic's message for a reply that is not gRPC.
    if let Some((_, http)) = status
        .message()
        .split_once("grpc-status header missing, mapped from ")
    {
        return format!("what answers there is no gRPC service ({http}); check --endpoint");
    }
    let again = match retry_delay(status) {
        Some(delay) if delay > RETRY_DELAY_MAX => {
            format!("; come back in {} s", delay.as_secs())
        }
        _ => String::new(),
    };
    format!("{:?}: {}{again}", status.code(), status.message())
}

/// The exit code of a command that ends with this status.
pub(in crate::cli) fn exit(status: &Status) -> Exit {
    match status.code() {
        _ if reach::is_lost(status) => Exit::Unavailable,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::NotFound => {
            Exit::Usage
        }
        Code::Unauthenticated | Code::PermissionDenied => Exit::Forbidden,
        Code::DeadlineExceeded => Exit::Unfinished,
        _ => Exit::Unavailable,
    }
}

/// How long to wait before the same request is repeated after this many tries without progress;
/// `None` if a repeat is useless. The key makes it safe.
pub(in crate::cli) fn again(status: &Status, tries: u32) -> Option<Duration> {
    if tries > RESUMES_MAX {
        return None;
    }
    let backoff = Duration::from_millis(100 << tries.min(6)).min(RESUME_WAIT_MAX);
    let asked = retry_delay(status);
    if asked.is_some_and(|delay| delay > RETRY_DELAY_MAX) {
        return None;
    }
    match status.code() {
        Code::Unavailable | Code::Unknown => Some(asked.unwrap_or(backoff)),
        // Without a delay it is a size limit, ours or a proxy's, and stays.
        Code::ResourceExhausted => asked,
        _ if reach::is_lost(status) => Some(backoff),
        _ => None,
    }
}

fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn with_delay(code: Code, seconds: u64) -> Status {
        let delay = Some(Duration::from_secs(seconds));
        Status::with_error_details(code, "later", ErrorDetails::with_retry_info(delay))
    }

    #[test]
    fn a_full_service_is_asked_again_when_it_says_and_only_if_it_says_when() {
        let plain = |code| again(&Status::new(code, ""), 1);
        assert_eq!(plain(Code::ResourceExhausted), None);
        let full = with_delay(Code::ResourceExhausted, 7);
        assert_eq!(again(&full, 1), Some(Duration::from_secs(7)));
        assert_eq!(again(&full, RESUMES_MAX + 1), None);
        assert_eq!(again(&with_delay(Code::ResourceExhausted, 61), 1), None);
        let draining = with_delay(Code::Unavailable, 3);
        assert_eq!(again(&draining, 1), Some(Duration::from_secs(3)));
        assert_eq!(plain(Code::Unavailable), Some(Duration::from_millis(200)));
        for code in [
            Code::InvalidArgument,
            Code::PermissionDenied,
            Code::Internal,
            Code::DeadlineExceeded,
        ] {
            assert_eq!(plain(code), None, "{code:?}");
            // A delay does not make the request valid.
            assert_eq!(again(&with_delay(code, 1), 1), None, "{code:?}");
        }
        assert!(told(&with_delay(Code::ResourceExhausted, 1800)).contains("come back in 1800 s"));
    }

    #[test]
    fn what_is_forbidden_ends_otherwise_than_what_is_not_there() {
        let exit = |code| exit(&Status::new(code, ""));
        assert_eq!(exit(Code::PermissionDenied), Exit::Forbidden);
        assert_eq!(exit(Code::Unauthenticated), Exit::Forbidden);
        assert_eq!(exit(Code::Unavailable), Exit::Unavailable);
        assert_eq!(exit(Code::InvalidArgument), Exit::Usage);
    }
}
