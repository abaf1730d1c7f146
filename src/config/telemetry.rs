//! Settings of traces.

use super::{
    reader::Reader,
    table::{OTLP_ENDPOINT, PROPAGATE, SAMPLE_RATIO},
};

/// Where spans go, and which there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// The collector's OTLP endpoint over gRPC; `None` for no traces.
    pub otlp_endpoint: Option<String>,
    /// The share of traces that begin here and are recorded, from 0 to 1.
    pub sample_ratio: f64,
    /// Whether providers are told the trace's id.
    pub propagate_to_providers: bool,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Telemetry {
    Telemetry {
        otlp_endpoint: reader.get(&OTLP_ENDPOINT).map(|text| text.0),
        sample_ratio: reader.get(&SAMPLE_RATIO),
        propagate_to_providers: reader.get(&PROPAGATE),
    }
}
