//! What listens: connections, TLS, gRPC, health, metrics.

pub(super) mod admin_server;
pub(super) mod connection_limit;
pub(super) mod grpc_server;
pub(super) mod listeners;
pub(super) mod tls;
