//! The plan of a run, decided by the seed before anything runs: accounts, targets, requests, the
//! clients' actions, and the faults.

pub(super) mod aims;
pub(super) mod conditions;
pub(super) mod fate;
pub(super) mod requests;

use std::{sync::Arc, time::Duration};

use self::{
    conditions::{Boots, Lag, Off, canceled_ms_ago},
    requests::{Asked, draw_requests},
};
use crate::{
    domain::{
        account::{Account, FunnelFoxEnd, ProviderId, ProviderSettings, RebillyAuth, Revolv3Auth},
        ids::Kind,
    },
    egress::flow::retry_budget::RetryBudgetOptions,
    sandbox::{Provider, Standing, Variants, variants::Revolv3Already},
};

/// The timeout of an exchange.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// See the module docs.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) variants: Variants,
    pub(super) accounts: Vec<AccountPlan>,
    pub(super) targets: Vec<Target>,
    pub(super) requests: Vec<Asked>,
    /// The actions of each client, in order.
    pub(super) clients: Vec<Vec<Act>>,
    pub(super) open_items_max: usize,
    /// The end of each life but the last ones.
    pub(super) ends: Vec<End>,
    /// When the wall clock jumps, and by how many seconds.
    pub(super) jumps: Vec<(Duration, i64)>,
    /// Share of requests with a fault.
    pub(super) fault_share: f64,
    /// Share of journal writes that break the store.
    pub(super) store_fault_share: f64,
    /// Whether requests may be duplicated.
    pub(super) stragglers: bool,
    /// How late an effect may come.
    pub(super) lag: Lag,
    pub(super) boots: Boots,
}

/// An account and its limits.
#[derive(Debug)]
pub(super) struct AccountPlan {
    pub(super) account: Arc<Account>,
    pub(super) provider: Provider,
    pub(super) concurrency_max: usize,
    pub(super) rate: u32,
    pub(super) burst: u32,
    pub(super) retries: RetryBudgetOptions,
    /// Periods without any reply.
    pub(super) outages: Vec<(Duration, Duration)>,
    /// A period in which requests with an effect fail without one, while lookups are answered.
    pub(super) read_only: Option<(Duration, Duration)>,
    pub(super) off: Off,
    /// Many items wait for it at once.
    pub(super) is_crowded: bool,
}

/// A subscription or a sequence.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The index of its account in the plan.
    pub(super) account: usize,
    pub(super) id: String,
    pub(super) born: Option<Standing>,
    /// How long before the run others cancelled it, if it starts cancelled.
    pub(super) canceled_ms_ago: i64,
}

/// An action of a client.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Wait(Duration),
    /// Sends a request and reads its results, to the end or for this long.
    Send {
        request: usize,
        leaves_after: Option<Duration>,
    },
    /// Stops the batch of a request.
    Stop(usize),
}

/// The end of a life.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// It dies at this step.
    Step(u64),
    /// It dies after this time.
    Crash(Duration),
    /// It drains after this time, with this patience.
    Drain(Duration, Duration),
}

/// The words that select a subscription's initial state, and the id ranges that do at Revolv3.
const BORN: [(&str, u64, Option<Standing>); 10] = [
    ("active", 71_000_000, Some(Standing::Active)),
    ("active", 71_000_000, Some(Standing::Active)),
    ("active", 71_000_000, Some(Standing::Active)),
    ("trialing", 100_000_000, Some(Standing::Trialing)),
    ("scheduled", 200_000_000, Some(Standing::Scheduled)),
    ("canceled", 300_000_000, Some(Standing::Canceled)),
    ("unpaid", 400_000_000, Some(Standing::Unpaid)),
    ("expired", 500_000_000, Some(Standing::Expired)),
    ("paused", 600_000_000, Some(Standing::Paused)),
    ("missing", 900_000_000, None),
];

impl Plan {
    pub(super) fn draw(rng: &mut fastrand::Rng) -> Self {
        let all = Variants::all();
        let variants = match rng.bool() {
            true => Variants::default(),
            false => all[rng.usize(0..all.len())].1,
        };
        let first = rng.usize(0..5);
        let accounts: Vec<_> = (0..rng.usize(1..=3))
            .map(|n| account(Provider::ALL[(first + n * 2) % 5], rng))
            .collect();
        let mut targets = Vec::new();
        for (place, of) in accounts.iter().enumerate() {
            let count = match of.read_only {
                // A few items send too few repeats to matter.
                Some(_) => 4..=8,
                // More than may be cleared ahead.
                None if of.is_crowded => 20..=40,
                None => 1..=4,
            };
            for _ in 0..rng.usize(count) {
                targets.push(target(place, of.provider, targets.len(), rng));
            }
        }
        let requests = draw_requests(&accounts, &targets, rng);
        let largest = requests.iter().map(|asked| asked.items.len()).max();
        let largest = largest.unwrap_or_default();
        let clients = draw_clients(requests.len(), rng);
        let ms = Duration::from_millis;
        let ends = (0..rng.usize(0..=3)).map(|_| match rng.u32(0..4) {
            0 | 1 => End::Step(rng.u64(1..=120)),
            2 => End::Crash(ms(rng.u64(0..20_000))),
            _ => End::Drain(ms(rng.u64(0..10_000)), ms(rng.u64(0..3_000))),
        });
        let ends = ends.collect();
        let jumps = match rng.u32(0..4) {
            0 => (0..rng.u64(1..=3))
                .map(|n| (ms(n * 4_000 + rng.u64(0..4_000)), rng.i64(-400..400)))
                .collect(),
            _ => Vec::new(),
        };
        let boots = Boots::draw(&jumps, rng);
        let lag = match rng.u32(0..5) {
            0 => Lag::Beyond,
            _ => Lag::Believed,
        };
        Self {
            variants,
            lag,
            boots,
            accounts,
            targets,
            requests,
            clients,
            // Any single request has room: a quarter is kept for the other caller.
            open_items_max: match rng.u32(0..8) {
                0 => 4 * rng.usize(8..=10).max(largest).div_ceil(3),
                _ => 1_000,
            },
            ends,
            jumps,
            fault_share: [0.0, 0.1, 0.3, 0.6][rng.usize(0..4)],
            store_fault_share: [0.0, 0.0, 0.0, 0.02][rng.usize(0..4)],
            // A duplicate that is executed again, invisibly to the client: no client can prevent
            // that.
            stragglers: variants.revolv3.already != Revolv3Already::OkAgain && rng.bool(),
        }
    }
}

impl AccountPlan {
    pub(super) fn kind(&self) -> Kind {
        match self.provider {
            Provider::Sequenzy => Kind::Enrollments,
            _ => Kind::Subscription,
        }
    }
}

fn account(provider: Provider, rng: &mut fastrand::Rng) -> AccountPlan {
    let settings = match provider {
        Provider::Rebilly => ProviderSettings::Rebilly {
            organization: Some("org".to_owned()),
            auth: RebillyAuth::ApiKey,
        },
        Provider::Solidgate => ProviderSettings::Solidgate {
            channel_id: None,
            lookup_path: "v2/subscriptions/get".to_owned(),
        },
        Provider::FunnelFox => ProviderSettings::FunnelFox {
            cancel_ends: FunnelFoxEnd::PeriodEnd,
        },
        Provider::Revolv3 => ProviderSettings::Revolv3 {
            auth: Revolv3Auth::Token,
            set_timing: true,
        },
        Provider::Sequenzy => ProviderSettings::Sequenzy { company_id: None },
    };
    let account = Account {
        name: provider.name().try_into().unwrap(),
        base_url: format!("https://simulated{}", provider.base_path()),
        settings,
    };
    let ms = Duration::from_millis;
    let outages = (0..rng.u64(0..3)).map(|_| {
        let from = ms(rng.u64(0..30_000));
        (from, from + ms(rng.u64(100..40_000)))
    });
    let outages = outages.collect();
    // Early and long: the resends of an item grow apart, and use up a budget over many seconds.
    let read_only = (rng.u32(0..4) == 0).then(|| {
        let from = ms(rng.u64(0..2_000));
        (from, from + ms(rng.u64(20_000..120_000)))
    });
    AccountPlan {
        provider,
        outages,
        read_only,
        off: Off::draw(rng),
        is_crowded: rng.u32(0..12) == 0,
        concurrency_max: rng.usize(1..=4),
        rate: [2, 5, 10, 50, 1_000][rng.usize(0..5)],
        burst: rng.u32(1..=4),
        retries: RetryBudgetOptions {
            per_request: 0.2,
            per_second: [0.1, 0.5, 2.0][rng.usize(0..3)],
            saved_max: [1.0, 4.0, 10.0][rng.usize(0..3)],
        },
        account: Arc::new(account),
    }
}

fn target(account: usize, provider: Provider, n: usize, rng: &mut fastrand::Rng) -> Target {
    let (word, range, born) = BORN[rng.usize(0..BORN.len())];
    let (id, born) = match provider {
        // It has no trial; these ids are in the range of a stored end of cycle.
        Provider::Revolv3 => {
            let born = born.map(|born| match born {
                Standing::Trialing => Standing::Active,
                other => other,
            });
            (format!("{}", range + u64::try_from(n).unwrap()), born)
        }
        Provider::Sequenzy => {
            // Many calls, a few enrollments each.
            let more = match rng.u32(0..4) {
                0 => "drain_11_",
                _ => "",
            };
            let word = if rng.bool() { "active" } else { word };
            (format!("q_{more}{word}_{n:02}"), born)
        }
        _ => (format!("s_{word}_{n:02}"), born),
    };
    Target {
        account,
        id,
        born,
        canceled_ms_ago: canceled_ms_ago(rng),
    }
}

fn draw_clients(requests: usize, rng: &mut fastrand::Rng) -> Vec<Vec<Act>> {
    let clients = rng.usize(1..=4);
    let mut all = vec![Vec::new(); clients];
    let ms = Duration::from_millis;
    for request in 0..requests {
        // Several clients may send the same request at once.
        for _ in 0..rng.usize(1..=2) {
            let acts = &mut all[rng.usize(0..clients)];
            acts.push(Act::Wait(ms(rng.u64(0..2_000))));
            for _ in 0..rng.usize(1..=2) {
                let leaves_after = match rng.u32(0..3) {
                    0 => Some(ms(rng.u64(0..3_000))),
                    _ => None,
                };
                acts.push(Act::Send {
                    request,
                    leaves_after,
                });
                if leaves_after.is_some() && rng.u32(0..3) == 0 {
                    acts.push(Act::Stop(request));
                }
            }
        }
        if rng.u32(0..4) == 0 {
            let acts = &mut all[rng.usize(0..clients)];
            acts.push(Act::Wait(ms(rng.u64(0..4_000))));
            acts.push(Act::Stop(request));
        }
    }
    all
}

/// The service's id of a provider.
pub(super) fn provider_id(provider: Provider) -> ProviderId {
    match provider {
        Provider::Rebilly => ProviderId::Rebilly,
        Provider::Solidgate => ProviderId::Solidgate,
        Provider::FunnelFox => ProviderId::FunnelFox,
        Provider::Revolv3 => ProviderId::Revolv3,
        Provider::Sequenzy => ProviderId::Sequenzy,
    }
}
