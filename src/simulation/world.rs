//! What outlives a crash: the seed's random choices, the time, the providers, and everything that
//! was seen, with the broken promises among it.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::{sync::Notify, time::Instant};

use super::{arrival::Straggler, model::Model, plan::Plan, watch::Watch};
use crate::sandbox::{Control, Options};

/// The time when a simulation begins, for the service and for the providers.
pub(super) const EPOCH: Timestamp = Timestamp::constant(1_790_000_000, 0);

/// See the module docs.
#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) providers: Control,
    /// Woken when the process dies.
    pub(super) death: Notify,
    state: Mutex<State>,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) rng: fastrand::Rng,
    /// Time before this life of the service.
    before: Duration,
    born: Option<Instant>,
    providers_at: Duration,
    /// How far the service's wall clock is off.
    pub(super) jump: SignedDuration,
    /// Steps of this life, and the one that it dies at.
    steps: u64,
    dies_at: Option<u64>,
    is_dead: bool,
    /// Nothing goes wrong any more.
    pub(super) calm: bool,
    pub(super) trace: Vec<String>,
    /// How often what was met.
    pub(super) met: BTreeMap<&'static str, u64>,
    pub(super) violations: Vec<String>,
    pub(super) model: Model,
    pub(super) watch: Watch,
    /// What is still to arrive, soonest first.
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
        let state = State {
            rng,
            before: Duration::ZERO,
            born: None,
            providers_at: Duration::ZERO,
            jump: SignedDuration::ZERO,
            steps: 0,
            dies_at: None,
            is_dead: false,
            calm: false,
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

    /// The service starts, to die at this step if at any.
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
        state.model.restarted(now);
    }

    /// It dies now.
    pub(super) fn die(&self) {
        self.state().is_dead = true;
    }

    /// An await point at which the process may die: then nothing follows.
    pub(super) async fn step(&self) {
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

    /// The service's wall clock.
    pub(super) fn wall(&self) -> Timestamp {
        self.state().wall()
    }

    /// Brings the providers' clock to now.
    pub(super) fn set_providers_clock(&self, state: &mut State) {
        let now = state.now();
        let by = now.saturating_sub(state.providers_at);
        state.providers_at = now;
        self.providers
            .advance(i64::try_from(by.as_millis()).unwrap());
    }
}

impl State {
    /// The time since the simulation began.
    pub(super) fn now(&self) -> Duration {
        self.before + self.born.map_or(Duration::ZERO, |born| born.elapsed())
    }

    /// How long the service has lived.
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

    /// A promise is broken.
    pub(super) fn broken(&mut self, promise: &'static str, how: impl Display) {
        self.trace(format_args!("BROKEN {promise}: {how}"));
        self.violations.push(format!("{promise}: {how}"));
    }

    pub(super) fn ms(&mut self, range: std::ops::RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }
}
