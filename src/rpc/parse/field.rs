//! Fields that more than one message has.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    domain::ids::{Malformed, TargetId},
    limits,
};

pub(in crate::rpc) fn window_of(window: prost_types::Duration) -> Result<Duration, Malformed> {
    let bounds = Duration::from_millis(limits::RETRY_WINDOW_MS_MIN)
        ..=Duration::from_millis(limits::RETRY_WINDOW_MS_MAX);
    // Not by the conversion of prost_types, which overflows on the way.
    let secs = u64::try_from(window.seconds).ok();
    let nanos = u32::try_from(window.nanos).ok();
    secs.zip(nanos.filter(|nanos| *nanos < 1_000_000_000))
        .map(|(secs, nanos)| Duration::new(secs, nanos))
        .filter(|window| bounds.contains(window))
        .ok_or_else(|| Malformed::new("is not between 1 second and 24 hours"))
}

/// A time of the proto's, which must lie in the years 0001 to 9999.
pub(in crate::rpc) fn time_of(time: prost_types::Timestamp) -> Result<Timestamp, Malformed> {
    // 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z, as google.protobuf.Timestamp bounds it.
    if !(-62_135_596_800..=253_402_300_799).contains(&time.seconds)
        || !(0..=999_999_999).contains(&time.nanos)
    {
        return Err(Malformed::new(
            "is not a time between the years 0001 and 9999",
        ));
    }
    Timestamp::new(time.seconds, time.nanos)
        .map_err(|_| Malformed::new("is not a time that can be kept"))
}

pub(super) fn text_of(text: String) -> Result<Option<String>, Malformed> {
    let chars = text.chars().count();
    if chars > limits::TEXT_CHARS_MAX {
        return Err(Malformed::new(format!(
            "has {chars} characters; at most 1,000"
        )));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// An id in place of one that was malformed and named.
pub(super) fn stand_in() -> Option<TargetId> {
    TargetId::try_from("1").ok()
}
