//! The gRPC edge: parses requests into the domain's types, once, and renders results. Knows no
//! provider by name and owns no task: what it starts belongs to the engine.

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod middleware;
mod parse;
pub(crate) mod render;
mod service;
mod status;

pub use self::{
    middleware::{
        Grpc, Handler, Layered,
        authentication::{Access, KeySource},
        observe::{ObserveCallsLayer, methods},
        receive::RequestReceiver,
        rejection_log::{HANDSHAKE, LoggedRejection, RejectionLog, RequestSummary},
        side_room::{RoomStanding, SideRooms, Visitor},
        small_request::Brief,
        startup_gate::StartupGate,
        visit::Visit,
    },
    service::Service,
};

/// The published API as generated code.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    clippy::as_conversions,
    clippy::large_enum_variant,
    clippy::too_many_lines,
    clippy::use_self,
    reason = "generated code; the proto has the documentation"
)]
pub mod proto {
    tonic::include_proto!("cancelot.v1");

    /// The descriptors that the code was generated from, for reflection and for clients without
    /// it.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cancelot.protoset"));

    /// The proto itself.
    pub const TEXT: &str = include_str!("../../proto/cancelot/v1/cancelot.proto");

    /// A gRPC service config for clients, as they are given it: JSON.
    pub const SERVICE_CONFIG: &str = include_str!("../../proto/cancelot/v1/service-config.json");
}
