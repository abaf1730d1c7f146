//! What a single cancellation costs in time, on top of the provider's answer: with nothing else
//! going on, and while a batch runs on the same account.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cancelot::{
    domain::{
        command::{Command, SubscriptionCommand, When},
        http_exchange::{Reply, Request},
        ids::{CallerId, Key, Kind, Scope, TargetId},
    },
    egress::Egress,
    providers::{self, EffectId, Facts, Mode, Step, Task},
};

use tokio::sync::watch;

use crate::{
    Failure, bare,
    load::{self, Client},
    machine::Probe,
    process::Process,
    settings,
    throughput::{Role, Stubs},
};

/// Sorted times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// The time that so many percent do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        let at = (self.0.len() * percent / 100).min(last);
        self.0.get(at).copied().unwrap_or_default()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn add(&mut self, time: Duration) {
        let at = self.0.partition_point(|other| *other <= time);
        self.0.insert(at, time);
    }
}

/// Single cancellations with nothing else going on, taken in turn.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    /// The provider's answer through the same HTTP client.
    pub(crate) direct: Times,
    pub(crate) bare: Times,
    pub(crate) cancelot: Times,
    /// A durable write next to the journal.
    pub(crate) write: Times,
}

/// Single cancellations while batches run, in turn with calls of the provider.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    pub(crate) direct: Times,
    pub(crate) service: Times,
}

/// A service, and a connection each for singles and for batches.
struct Side {
    process: Process,
    singles: Client,
    batches: Client,
}

impl Side {
    async fn start(role: Role, settings: &str, dir: &Path) -> Result<Self, Failure> {
        let process = Process::start(role.word(), settings, &dir.join(role.word()))?;
        Ok(Self {
            singles: load::connect(process.addr()).await?,
            batches: load::connect(process.addr()).await?,
            process,
        })
    }
}

/// Both services, each idle until it is asked.
pub(crate) struct Rig {
    bare: Side,
    cancelot: Side,
    instant: Direct,
    slow: Direct,
    probe: Probe,
    count: usize,
}

impl Rig {
    pub(crate) async fn start(stubs: &Stubs, dir: &Path) -> Result<Self, Failure> {
        let text = stubs.settings(dir);
        Ok(Self {
            bare: Side::start(Role::Bare, &text, dir).await?,
            cancelot: Side::start(Role::Cancelot, &text, dir).await?,
            instant: Direct::new(&text, settings::INSTANT)?,
            slow: Direct::new(&text, settings::SLOW)?,
            probe: Probe::new(dir)?,
            count: 0,
        })
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        for side in [self.bare, self.cancelot] {
            drop((side.singles, side.batches));
            side.process.stop().await?;
        }
        Ok(())
    }

    fn side(&self, role: Role) -> &Side {
        match role {
            Role::Bare => &self.bare,
            Role::Cancelot => &self.cancelot,
        }
    }

    fn direct(&self, account: &str) -> &Direct {
        if account == settings::SLOW {
            &self.slow
        } else {
            &self.instant
        }
    }

    /// One cancellation through a service.
    async fn single(&mut self, role: Role, account: &str) -> Result<Duration, Failure> {
        self.count += 1;
        let request = load::request(account, format!("single-{}", self.count), 1);
        let client = self.side(role).singles.clone();
        let begun = Instant::now();
        load::settle(client, request, false).await?;
        Ok(begun.elapsed())
    }

    pub(crate) async fn idle(&mut self, account: &str, count: usize) -> Result<Idle, Failure> {
        let mut idle = Idle::default();
        for round in 0..count + count / 10 {
            let direct = self.direct(account).cancel().await?;
            let bare = self.single(Role::Bare, account).await?;
            let cancelot = self.single(Role::Cancelot, account).await?;
            let write = self.probe.write()?;
            // The first ones open connections and fill caches.
            if round >= count / 10 {
                idle.direct.add(direct);
                idle.bare.add(bare);
                idle.cancelot.add(cancelot);
                idle.write.add(write);
            }
        }
        Ok(idle)
    }

    pub(crate) async fn busy(
        &mut self,
        role: Role,
        account: &str,
        batch_items: usize,
        count: usize,
    ) -> Result<Busy, Failure> {
        let enough = Arc::new(AtomicBool::new(false));
        let client = self.side(role).batches.clone();
        let (tell, mut at_work) = watch::channel(false);
        let account_name = account.to_owned();
        let batches = batches(client, account_name, batch_items, Arc::clone(&enough), tell);
        let batches = tokio::spawn(batches);
        let mut busy = Busy::default();
        for round in 0..count + count / 10 {
            // Between two batches nobody is in the way.
            at_work.wait_for(|at_work| *at_work).await?;
            let direct = self.direct(account).cancel().await?;
            let service = self.single(role, account).await?;
            if round >= count / 10 {
                busy.direct.add(direct);
                busy.service.add(service);
            }
        }
        enough.store(true, Ordering::Release);
        batches.await??;
        Ok(busy)
    }
}

/// One batch after the other, until it is enough.
async fn batches(
    client: Client,
    account: String,
    items: usize,
    enough: Arc<AtomicBool>,
    at_work: watch::Sender<bool>,
) -> Result<(), Failure> {
    let mut count = 0;
    while !enough.load(Ordering::Acquire) {
        count += 1;
        let request = load::request(&account, format!("busy-{account}-{count}"), items);
        load::settle_and_tell(client.clone(), request, false, &at_work).await?;
    }
    Ok(())
}

/// The provider, called without any service in between.
struct Direct {
    egress: Egress,
    request: Request,
}

impl Direct {
    fn new(text: &str, account: &str) -> Result<Self, Failure> {
        let config = settings::parse(text)?;
        let mut accounts = config.accounts.iter();
        let config = accounts
            .find(|config| config.account.name.as_str() == account)
            .ok_or("unknown account")?;
        let scope = Scope {
            caller: CallerId::anonymous(),
            kind: Kind::Subscription,
        };
        let command = Command::Subscription(SubscriptionCommand {
            account: config.account.name.clone(),
            subscription_id: TargetId::try_from("sub_direct")?,
            when: When::PeriodEnd,
            reason: None,
            comment: None,
            initiated_by: None,
            prorate: None,
            line_items: Vec::new(),
            options: None,
        });
        let task = Task {
            account: &config.account,
            command: &command,
            effect_id: &EffectId::derive(&scope, &Key::chosen("direct".to_owned())?, &command),
            mode: Mode::Cancel,
            doubt: None,
            facts: Facts::default(),
        };
        match providers::of(config.account.provider()).next(&task, &[]) {
            Step::Send(request) => Ok(Self {
                egress: bare::egress(config)?,
                request,
            }),
            Step::Done(conclusion) => Err(format!("nothing to send: {conclusion:?}").into()),
        }
    }

    async fn cancel(&self) -> Result<Duration, Failure> {
        let request = self.request.clone();
        let begun = Instant::now();
        match self.egress.call(request).await {
            Reply::Answered(_) => Ok(begun.elapsed()),
            reply => Err(format!("no answer: {reply:?}").into()),
        }
    }
}
