//! Where spans go: a collector, by OTLP over gRPC, in batches and from a thread of its own. What a
//! collector does not take in time is dropped, never waited for.

use std::time::Duration;

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithTonicConfig as _,
    tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};

use crate::{config::TelemetryConfig, limits, observe::Tracer};

/// How long a span waits for company.
const BATCH_INTERVAL: Duration = Duration::from_secs(2);
/// How long the last spans may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The way of spans to their collector.
#[derive(Debug, Default)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// As it is configured; none if no collector is. Needs a runtime around it.
    ///
    /// # Errors
    /// If the endpoint cannot be used.
    pub fn begin(config: &TelemetryConfig) -> Result<(Self, Tracer), ExporterBuildError> {
        let Some(endpoint) = &config.otlp_endpoint else {
            return Ok((Self::default(), Tracer::off()));
        };
        let mut exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
        if endpoint.starts_with("https:") {
            exporter = exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
        }
        let exporter = exporter.build()?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(limits::SPANS_WAITING_MAX)
            .with_scheduled_delay(BATCH_INTERVAL)
            .build();
        let processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(batches)
            .build();
        let root = Sampler::TraceIdRatioBased(config.sample_ratio);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Sampler::ParentBased(Box::new(root)))
            .with_resource(resource())
            .build();
        let tracer = Tracer::on(provider.tracer("cancelot"), config.propagate_to_providers);
        Ok((Self(Some(provider)), tracer))
    }

    /// Sends what is left, if the collector takes it soon.
    pub async fn end(self) {
        let Some(provider) = self.0 else { return };
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_WORDS));
        if let Ok(Err(error)) = ended.await {
            tracing::warn!(%error, "the last spans are lost");
        }
    }
}

/// Who we are. `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` add to it, as everywhere.
fn resource() -> Resource {
    Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}
