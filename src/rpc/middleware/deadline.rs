//! The caller's deadline (`grpc-timeout`), also for streams. tonic's own timer covers only the head
//! of a response and reports CANCELLED (tonic 0.14, `GrpcTimeout`).

use std::time::Duration;

use http::{Extensions, HeaderMap};
use tokio::time::Instant;
use tonic::{Request, Status};

/// Lead over tonic's own timer, which would report CANCELLED.
const MARGIN: Duration = Duration::from_millis(5);

/// When the headers of a call arrived.
#[derive(Debug, Clone, Copy)]
pub(in crate::rpc) struct Arrived(Instant);

impl Arrived {
    pub(in crate::rpc) fn now() -> Self {
        Self(Instant::now())
    }
}

/// The caller's deadline; `None` if it set none.
///
/// # Errors
/// INVALID_ARGUMENT if `grpc-timeout` is malformed.
pub(in crate::rpc) fn of<T>(request: &Request<T>) -> Result<Option<Instant>, Status> {
    let value = request.metadata().get("grpc-timeout");
    let arrived = request.extensions().get::<Arrived>();
    at(value.map(|value| value.to_str().ok()), arrived)
}

/// The caller's deadline, before the message is read.
pub(in crate::rpc) fn of_head(
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Option<Instant>, Status> {
    let value = headers.get("grpc-timeout");
    let arrived = extensions.get::<Arrived>();
    at(value.map(|value| value.to_str().ok()), arrived)
}

fn at(value: Option<Option<&str>>, arrived: Option<&Arrived>) -> Result<Option<Instant>, Status> {
    let Some(value) = value else {
        return Ok(None);
    };
    let timeout = value.and_then(parse).ok_or_else(|| {
        Status::invalid_argument(
            "grpc-timeout is not a whole number of at most 8 digits with a unit of H, M, S, m, u \
             or n",
        )
    })?;
    let Arrived(arrived) = arrived.copied().unwrap_or_else(Arrived::now);
    Ok(arrived.checked_add(timeout.saturating_sub(MARGIN)))
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.checked_mul(3_600)?)),
        "M" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// The status of a call whose deadline has passed.
pub(in crate::rpc) fn exceeded() -> Status {
    Status::deadline_exceeded(
        "the deadline passed; the work goes on: send the same request again for its results",
    )
}

/// Waits for the work up to the deadline.
pub(in crate::rpc) async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match deadline {
        None => work.await,
        Some(deadline) => tokio::time::timeout_at(deadline, work)
            .await
            .unwrap_or_else(|_| Err(exceeded())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("10S", Some(Duration::from_secs(10))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("123456789S", None),
            ("1ü", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
