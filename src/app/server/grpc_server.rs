//! The gRPC server with every bound of a connection spelled out, whatever its default is today.

use std::{sync::Arc, time::Duration};

use tonic::transport::{Server, server::Router};
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::layer::util::{Identity, Stack};

use super::connection_limit::CallsLayer;
use crate::{
    app::StartError,
    engine::Engine,
    limits,
    observe::MethodLabel,
    rpc::{
        self, Access, Brief, Layered, ObserveCallsLayer, RequestReceiver, Service, StartupGate,
        Visit,
        proto::{self, cancellation_service_server::CancellationServiceServer},
    },
};

/// The bounds of connections and requests.
#[derive(Debug, Clone, Copy)]
pub struct GrpcServerOptions {
    /// HTTP/2 streams that one connection may have open.
    pub streams_max: u32,
    /// Connections that may be open at a time.
    pub connections_max: usize,
    /// Time that a connection gets for its preface and first settings.
    pub handshake_timeout: Duration,
    /// Age at which a connection is asked to end once its calls have.
    pub connection_age: Duration,
    /// Memory for requests that are being received.
    pub request_bytes_max: usize,
    /// How long a stream with nothing new is silent.
    pub progress_interval: Duration,
}

/// Bytes of a message to the services that everybody brings along: they are sent names.
pub(in crate::app) const SMALL_BYTES_MAX: usize = 16 * 1024;

/// The service behind what bounds its memory.
pub(in crate::app) type Bounded = Layered<RequestReceiver, CancellationServiceServer<Service>>;

/// The service over an engine.
pub(in crate::app) fn service(engine: &Arc<Engine>, edge: &GrpcServerOptions) -> Bounded {
    let service = Service::new(Arc::clone(engine), edge.progress_interval);
    let service = CancellationServiceServer::new(service)
        .max_decoding_message_size(limits::REQUEST_BYTES_MAX)
        .max_encoding_message_size(2 * limits::RESPONSE_BYTES_MAX);
    let refusals = Arc::clone(engine.refusals());
    let bytes = engine.shared_by_callers(edge.request_bytes_max);
    let questions = engine.shared_by_callers(limits::QUESTIONS_BYTES_MAX);
    let intake = RequestReceiver::new(bytes, questions, refusals);
    Layered::new(intake, service)
}

/// The methods of all services.
pub(in crate::app) fn methods() -> Result<Vec<MethodLabel>, StartError> {
    Ok(rpc::methods(&[
        proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ])?)
}

/// The layers around all services.
type Layers = Stack<CallsLayer, Stack<ObserveCallsLayer, Identity>>;

/// The gRPC services behind their bounds.
pub(in crate::app) fn router<H: Health>(
    opening: StartupGate<Bounded>,
    health: HealthServer<H>,
    access: Access,
    observe: ObserveCallsLayer,
    edge: &GrpcServerOptions,
) -> Result<Router<Layers>, StartError> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // What error details are made of: grpcurl shows those whose types it can look up.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1()?;
    let v1alpha = reflection().build_v1alpha()?;
    Ok(Server::builder()
        .layer(observe)
        .layer(CallsLayer(access.refusals.clone()))
        // tonic passes "no limit" on unless told otherwise.
        .max_concurrent_streams(edge.streams_max)
        // Who does not answer a ping, or reads so slowly that the ping waits behind the results,
        // loses the connection; the work goes on.
        .http2_keepalive_interval(Some(Duration::from_secs(60)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        // Alone: with a grace tonic says nothing at the age and cuts streams off after it.
        .max_connection_age(edge.connection_age)
        // Of all headers of a call. A CONTINUATION flood ends the connection at four times this.
        .http2_max_header_list_size(16 * 1024)
        // One frame: what a reader may make us hold at least.
        .max_frame_size(16 * 1024)
        // Rapid reset: streams that were reset before anybody looked at them.
        .http2_max_pending_accept_reset_streams(Some(20))
        // Streams that we reset because of the peer's mistakes.
        .http2_max_local_error_reset_streams(Some(1024))
        // What may arrive unread, of a call and of a connection.
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .add_service(Layered::new(access.clone(), opening))
        // Probes and balancers have no credentials.
        .add_service(Layered::new(Visit::Health, Layered::new(Brief, health)))
        // grpcurl and others still ask for the older version.
        .add_service(Layered::new(
            access.clone(),
            Layered::new(
                Visit::Reflection,
                v1.max_decoding_message_size(SMALL_BYTES_MAX),
            ),
        ))
        .add_service(Layered::new(
            access,
            Layered::new(
                Visit::Reflection,
                v1alpha.max_decoding_message_size(SMALL_BYTES_MAX),
            ),
        )))
}
