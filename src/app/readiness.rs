//! Whether the service takes calls, told in two ways: by gRPC health, and to probes over HTTP.
//!
//! `""` is the process as a whole: it is alive, whatever it is doing, until it stops. The named
//! service is ready once everything open has been taken up, and until the drain. Neither depends on
//! providers, nor on room on the disk: a full service still answers what it knows.

use std::sync::{Mutex, PoisonError};

use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::HealthReporter,
};

use crate::rpc::{Service, proto::cancellation_service_server::CancellationServiceServer};

/// What the service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadinessState {
    /// It takes up what was open.
    Starting,
    /// It serves.
    Serving,
    /// It stops.
    Draining,
    /// Its journal failed, and it ends.
    Failed,
    /// A part of it is gone, and it ends.
    Panicked,
}

impl ReadinessState {
    /// In a word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "ready",
            Self::Draining => "draining",
            Self::Failed => "the journal failed",
            Self::Panicked => "a task panicked",
        }
    }
}

/// Whether the service takes calls.
#[derive(Debug)]
pub(super) struct Readiness {
    state: Mutex<ReadinessState>,
    health: HealthReporter,
}

impl Readiness {
    /// Starting, with the gRPC service that tells so.
    pub(super) async fn new() -> (Self, HealthServer<impl Health>) {
        let (health, service) = tonic_health::server::health_reporter();
        let readiness = Self {
            state: Mutex::new(ReadinessState::Starting),
            health,
        };
        readiness.tell(ReadinessState::Starting).await;
        (readiness, service)
    }

    pub(super) fn state(&self) -> ReadinessState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.state() == ReadinessState::Serving
    }

    /// From now on this is so.
    pub(super) async fn tell(&self, state: ReadinessState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        if state == ReadinessState::Serving {
            self.health
                .set_serving::<CancellationServiceServer<Service>>()
                .await;
        } else {
            self.health
                .set_not_serving::<CancellationServiceServer<Service>>()
                .await;
        }
        if matches!(state, ReadinessState::Draining | ReadinessState::Failed) {
            let stops = ServingStatus::NotServing;
            self.health.set_service_status("", stops).await;
        }
    }
}
