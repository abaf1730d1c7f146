//! Settings of traces.

use crate::config::{
    schema::settings::{OTLP_ENDPOINT, PROPAGATE, SAMPLE_RATIO},
    source::reader::SettingsReader,
};

/// Where spans go, and which there are.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryConfig {
    /// The collector's OTLP endpoint over gRPC; `None` for no traces.
    pub otlp_endpoint: Option<String>,
    /// The share of traces that begin here and are recorded, from 0 to 1.
    pub sample_ratio: f64,
    /// Whether providers are told the trace's id.
    pub propagate_to_providers: bool,
}

pub(in crate::config) fn read(reader: &mut SettingsReader<'_>) -> TelemetryConfig {
    TelemetryConfig {
        otlp_endpoint: reader.get(&OTLP_ENDPOINT).map(|text| text.0),
        sample_ratio: reader.get(&SAMPLE_RATIO),
        propagate_to_providers: reader.get(&PROPAGATE),
    }
}
