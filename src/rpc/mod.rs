//! The gRPC edge: parses requests into the domain's types, once, and renders results. Knows no
//! provider by name and owns no task: what it starts belongs to dispatch.

mod auth;
mod behind;
mod brief;
mod deadline;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod intake;
mod observe;
mod opening;
mod parse;
mod policy;
pub mod protocol;
mod records;
mod refusal;
pub(crate) mod render;
mod service;
mod side;
mod status;
mod stream;
mod visit;
mod weigh;

pub use self::{
    auth::{Access, KeySource},
    behind::{Before, Behind, Grpc},
    brief::Brief,
    intake::Intake,
    observe::{ObserveLayer, methods},
    opening::Opening,
    refusal::{Asked, HANDSHAKE, Refusal, Refusals},
    service::Service,
    side::{RoomStanding, SideRooms, Visitor},
    visit::Visit,
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
