//! What outlives a crash: the seed's random choices, the time, the providers, and all that was
//! seen, including broken promises.

pub(super) mod arrival;
pub(super) mod network;
pub(super) mod service;
pub(super) mod storage;
pub(super) mod wire;

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::{sync::Notify, time::Instant};

use self::arrival::Straggler;
use super::{
    model::{Model, Recorded},
    oracle::watch::Watch,
    plan::{AccountPlan, Plan, conditions::Boots},
};
use crate::{
    domain::{
        account::Account,
        doubt::{Boot, Moment},
    },
    sandbox::{CancelType, Control, FaultRates, Options, Provider, Seed, Standing},
};

/// The start of a simulation, for the service and for the providers.
pub(super) const EPOCH: Timestamp = Timestamp::constant(1_790_000_000, 0);

/// See the module docs.
#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) providers: Control,
    /// Notified when the process dies.
    pub(super) death: Notify,
    state: Mutex<State>,
}

/// The mutable state.
#[derive(Debug)]
pub(super) struct State {
    pub(super) rng: fastrand::Rng,
    /// Time before this life of the service.
    before: Duration,
    born: Option<Instant>,
    providers_at: Duration,
    /// The offset of the service's wall clock.
    pub(super) jump: SignedDuration,
    /// Steps of this life, and the step at which it dies.
    steps: u64,
    /// The number of this life.
    pub(super) life: usize,
    dies_at: Option<u64>,
    is_dead: bool,
    /// No faults happen any more.
    pub(super) calm: bool,
    /// Every account has its correct address from now on.
    pub(super) is_put_right: bool,
    pub(super) trace: Vec<String>,
    /// How often each situation was met.
    pub(super) met: BTreeMap<&'static str, u64>,
    pub(super) violations: Vec<String>,
    pub(super) model: Model,
    pub(super) watch: Watch,
    /// Requests still to arrive, soonest first.
    pub(super) stragglers: Vec<Straggler>,
}

impl World {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let providers = Control::unserved(Options {
            seed,
            recorded_requests_max: 0,
            variants: plan.variants,
            enrollments_per_call: 2,
            stands_at: Some(EPOCH),
            ..Options::default()
        });
        for (place, of) in plan.accounts.iter().enumerate() {
            set_off(&providers, &plan, place, of);
        }
        let state = State {
            rng,
            before: Duration::ZERO,
            born: None,
            providers_at: Duration::ZERO,
            jump: SignedDuration::ZERO,
            steps: 0,
            life: 0,
            dies_at: None,
            is_dead: false,
            calm: false,
            is_put_right: false,
            trace: Vec::new(),
            met: BTreeMap::new(),
            violations: Vec::new(),
            model: Model::new(&plan),
            watch: Watch::default(),
            stragglers: Vec::new(),
        };
        let state = Mutex::new(state);
        Arc::new(Self {
            plan,
            providers,
            death: Notify::new(),
            state,
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a life, to die at this step if any.
    pub(super) fn begin_life(&self, dies_at: Option<u64>) {
        let mut state = self.state();
        state.born = Some(Instant::now());
        (state.steps, state.dies_at, state.is_dead) = (0, dies_at, false);
        state.watch.begin_life();
    }

    /// The service is gone.
    pub(super) fn end_life(&self) {
        let mut state = self.state();
        let now = state.now();
        (state.before, state.born) = (now, None);
        state.life += 1;
        let settles = |item: &Recorded| item.open && item.doubt_since.is_some();
        if state.model.items.values().any(settles) {
            state.met("a restart while a doubt settles");
        }
        state.model.restarted(now);
    }

    /// The process dies now.
    pub(super) fn die(&self) {
        self.state().is_dead = true;
    }

    /// An await point at which the process may die; nothing follows then.
    pub(super) async fn step(&self) {
        self.deliver_stragglers();
        let is_dead = {
            let mut state = self.state();
            state.steps += 1;
            state.is_dead |= state.dies_at.is_some_and(|at| state.steps >= at);
            state.is_dead
        };
        if is_dead {
            self.death.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// The time as the service sees it.
    pub(super) fn moment(&self) -> Moment {
        let state = self.state();
        let id = match self.plan.boots {
            Boots::Unknown => return Moment::wall(state.wall()),
            Boots::One => 7,
            Boots::EachLife => 100 + u64::try_from(state.life).unwrap(),
        };
        // Another machine may have run for longer or shorter.
        let ran = if id % 2 == 0 { 1_000 } else { 100_000_000 };
        let ms = ran + u64::try_from(state.now().as_millis()).unwrap();
        Moment {
            at: state.wall(),
            boot: Some(Boot { id, ms }),
        }
    }

    /// Whether an account has a wrong address in this life.
    pub(super) fn is_elsewhere(&self, account: usize) -> bool {
        let off = &self.plan.accounts[account].off;
        let state = self.state();
        !state.is_put_right && off.elsewhere.contains(&state.life)
    }

    /// An account as it is configured in this life.
    pub(super) fn account_now(&self, place: usize) -> Arc<Account> {
        let account = &self.plan.accounts[place].account;
        if !self.is_elsewhere(place) {
            return Arc::clone(account);
        }
        let base_url = account.base_url.replace("simulated", "elsewhere");
        Arc::new(Account {
            base_url,
            ..(**account).clone()
        })
    }

    /// Advances the providers' clock to now.
    pub(super) fn set_providers_clock(&self, state: &mut State) {
        let now = state.now();
        self.set_providers_clock_to(state, now);
    }

    /// Advances the providers' clock to a time, unless it is later already.
    pub(super) fn set_providers_clock_to(&self, state: &mut State, at: Duration) {
        let by = at.saturating_sub(state.providers_at);
        state.providers_at = state.providers_at.max(at);
        self.providers
            .advance(i64::try_from(by.as_millis()).unwrap());
    }
}

impl State {
    /// The time since the start of the simulation.
    pub(super) fn now(&self) -> Duration {
        self.before + self.born.map_or(Duration::ZERO, |born| born.elapsed())
    }

    /// The age of this life.
    pub(super) fn life(&self) -> Duration {
        self.born.map_or(Duration::ZERO, |born| born.elapsed())
    }

    pub(super) fn wall(&self) -> Timestamp {
        EPOCH + SignedDuration::try_from(self.now()).unwrap() + self.jump
    }

    pub(super) fn trace(&mut self, line: impl Display) {
        let at = self.now().as_millis();
        self.trace.push(format!("{at:>9} {line}"));
    }

    /// Counts a situation.
    pub(super) fn met(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    /// Records a broken promise.
    pub(super) fn broken(&mut self, promise: &'static str, how: impl Display) {
        self.trace(format_args!("BROKEN {promise}: {how}"));
        self.violations.push(format!("{promise}: {how}"));
    }

    pub(super) fn ms(&mut self, range: std::ops::RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }
}

/// Sets a provider's faults as planned.
fn set_off(providers: &Control, plan: &Plan, place: usize, of: &AccountPlan) {
    providers.set_fault_rates(
        of.provider,
        FaultRates {
            looks_lag_ms: u64::try_from(of.off.looks_lag.as_millis()).unwrap(),
            clock_skew_ms: of.off.skew_ms,
            no_date: of.off.no_date,
            ..FaultRates::default()
        },
    );
    let targets = plan.targets.iter().filter(|target| target.account == place);
    for target in targets {
        let Some(standing @ (Standing::Canceled | Standing::Scheduled)) = target.born else {
            continue;
        };
        if of.provider == Provider::Sequenzy {
            continue;
        }
        let cancel_type = match standing {
            Standing::Scheduled => CancelType::EndOfCycle,
            _ => CancelType::Immediate,
        };
        let seed = Seed {
            standing,
            cancel_type,
            canceled_ms_ago: Some(target.canceled_ms_ago),
            ..Seed::default()
        };
        providers.create(of.provider, &target.id, &seed);
    }
}
