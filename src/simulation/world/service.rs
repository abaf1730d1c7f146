//! The service under test: the real code over simulated parts.

use std::{sync::Arc, time::Duration};

use super::{World, network::Network};
use crate::{
    egress::{
        Egress,
        flow::{self, adaptive_concurrency::Bounds, backoff::Backoff, circuit_breaker::Pauses},
    },
    engine::{Clock, EngineOptions, LaneOptions},
    shared_budget::Members,
    simulation::plan::{AccountPlan, TIMEOUT, provider_id},
};

/// The base of the backoff.
pub(in crate::simulation) const BACKOFF_BASE: Duration = Duration::from_millis(100);

/// How long a request may still take effect after its reply was lost.
pub(in crate::simulation) const SETTLING: Duration = Duration::from_secs(1);

/// The options of the engine, the only place that sets them.
pub(in crate::simulation) fn options(world: &Arc<World>) -> EngineOptions {
    let clock = Arc::clone(world);
    let lane = |(place, of): (usize, &AccountPlan)| {
        debug_assert_eq!(of.account.provider(), provider_id(of.provider));
        let network = Network {
            world: Arc::clone(world),
            account: place,
        };
        let account = world.account_now(place);
        LaneOptions {
            place: account.place(None),
            account,
            egress: Egress::simulated(&of.account, TIMEOUT, network),
            gate: flow::FlowOptions {
                concurrency: Bounds {
                    floor: 1,
                    ceiling: of.concurrency_max,
                },
                rate_per_second: f64::from(of.rate),
                rate_burst: of.burst,
                retries: of.retries,
                pauses: Pauses {
                    base: Duration::from_millis(500),
                    max: Duration::from_secs(20),
                },
            },
            backoff: Backoff {
                base: BACKOFF_BASE,
                max: Duration::from_secs(5),
            },
            timeout: TIMEOUT,
            settling: SETTLING,
        }
    };
    EngineOptions {
        lanes: world.plan.accounts.iter().enumerate().map(lane).collect(),
        open_items_max: world.plan.open_items_max,
        members: ["ann", "bob"]
            .map(|name| (name.try_into().unwrap(), None))
            .into_iter()
            .collect(),
        scanners: Members::default(),
        open_bytes_max: usize::MAX / 2,
        audit: crate::audit::Usage::default(),
        results_held_max: crate::limits::RESULTS_HELD_MAX,
        reader_patience: Duration::from_secs(30),
        retry_window: Duration::from_secs(60),
        clock: Clock::from_moments(move || clock.moment()),
        seed: world.state().rng.u64(..),
    }
}
