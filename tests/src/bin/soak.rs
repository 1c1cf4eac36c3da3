//! `./just soak MINUTES [SEED]`: sessions run while processes are killed, suspended and cut off at random, their network
//! loses one direction or is slow, and an object store refuses, forgets or is gone. At the end everything is audited, and every
//! database is restored and compared. It prints the faults, the sessions, and how long it took until a session succeeded
//! again; it fails if anything was lost, doubled or did not end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lagan_tests::audit::{LogRecorder, SessionEnds};
use lagan_tests::fleet::Fleet;
use lagan_tests::http_proxy::{HttpFate, HttpProxy};
use lagan_tests::mariadb::MariaDbServer;
use lagan_tests::nats::NatsServer;
use lagan_tests::proxy::{Proxy, Way};
use lagan_tests::s3::S3Server;
use lagan_tests::sample::Random;
use lagan_tests::wait::eventually;
use nix::sys::signal::Signal;

const ENGINES: usize = 2;
const WORKERS: usize = 3;
/// Databases that are backed up. The first one is for the sessions that measure, the last one is stored in S3.
const TARGETS: usize = 4;
const IN_S3: usize = TARGETS - 1;
const OPTIONS: [&str; 2] = ["--failover", "10"];
/// After a fault a session must have ended by then.
const RECOVERED_WITHIN: Duration = Duration::from_secs(120);
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

const SLOW_DOWN: &str =
    "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";

/// What is done to the processes. Members are numbers of engines and workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill(usize),
    Suspend(usize),
    CutOff(usize),
    CutAll,
    /// Nothing that a process sends arrives, or nothing that is sent to it, while its connection stays.
    LoseWay(usize, Way),
    Delay(usize),
    KillNats,
    SuspendNats,
    KillDatabase,
    KillStorage,
    /// The storage refuses with 503, or its answers are lost, for two of three requests.
    StorageRefuses,
    StorageForgets,
}

impl Fault {
    fn choose(random: &mut Random) -> Result<Self> {
        let member = usize::try_from(random.below((ENGINES + WORKERS).try_into()?))?;
        Ok(match random.below(18) {
            0..=3 => Self::Kill(member),
            4 | 5 => Self::Suspend(member),
            6 | 7 => Self::CutOff(member),
            8 => Self::CutAll,
            9 => Self::LoseWay(member, Way::ToServer),
            10 => Self::LoseWay(member, Way::ToClient),
            11 => Self::Delay(member),
            12 => Self::KillNats,
            13 => Self::SuspendNats,
            14 => Self::KillDatabase,
            15 => Self::KillStorage,
            16 => Self::StorageRefuses,
            _ => Self::StorageForgets,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kill(member) if member < ENGINES => "engine killed",
            Self::Kill(_) => "worker killed",
            Self::Suspend(member) if member < ENGINES => "engine suspended",
            Self::Suspend(_) => "worker suspended",
            Self::CutOff(member) if member < ENGINES => "engine cut off",
            Self::CutOff(_) => "worker cut off",
            Self::CutAll => "all connections cut",
            Self::LoseWay(_, Way::ToServer) => "nothing arrives at NATS",
            Self::LoseWay(_, Way::ToClient) => "nothing arrives from NATS",
            Self::Delay(_) => "slow connection",
            Self::KillNats => "NATS killed",
            Self::SuspendNats => "NATS suspended",
            Self::KillDatabase => "database killed",
            Self::KillStorage => "storage killed",
            Self::StorageRefuses => "storage refuses",
            Self::StorageForgets => "answers of the storage lost",
        }
    }
}

struct Soak {
    fleet: Fleet,
    recorder: LogRecorder,
    nats: NatsServer,
    copy: MariaDbServer,
    s3: S3Server,
    storage: HttpProxy,
    random: Random,
    faults: BTreeMap<&'static str, usize>,
    recoveries: Vec<Duration>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number =
        |what: &str| arguments.next().map(|text| text.parse::<u64>().with_context(|| format!("{what} `{text}`")));
    let minutes = number("minutes").unwrap_or(Ok(3))?;
    let seed = number("seed").unwrap_or_else(|| Ok(std::process::id().into()))?;
    println!("seed {seed}: `./just soak {minutes} {seed}` chooses the same faults again");
    let mut soak = Soak::begin(seed)?;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(minutes * 60) {
        soak.round()?;
    }
    let tally = soak.settle()?;
    soak.report(&tally, began.elapsed());
    Ok(())
}

impl Soak {
    fn begin(seed: u64) -> Result<Self> {
        let nats = NatsServer::start()?;
        let mut fleet = Fleet::prepare(&nats.url(), &OPTIONS, TARGETS)?;
        let copy = fleet.world.second_database("copy")?;
        let s3 = S3Server::start()?;
        let storage = HttpProxy::start(s3.port())?;
        fleet.store_in(IN_S3, &s3, storage.port())?;
        fleet.start_behind_proxies(ENGINES, WORKERS, nats.port())?;
        let recorder = LogRecorder::start(&nats.url())?;
        let (faults, recoveries, random) = (BTreeMap::new(), Vec::new(), Random::new(seed));
        let mut soak = Self { fleet, recorder, nats, copy, s3, storage, random, faults, recoveries };
        // A restore needs a snapshot.
        soak.probe()?;
        soak.recoveries.clear();
        Ok(soak)
    }

    /// Asks for sessions, injects a fault while they run, mends it, and waits until a new session has ended.
    fn round(&mut self) -> Result<()> {
        let names = self.ask()?;
        let fault = Fault::choose(&mut self.random)?;
        *self.faults.entry(fault.name()).or_default() += 1;
        self.wait(3000)?;
        println!("{} facts, {} sessions: {fault:?}", self.recorder.facts().len(), self.fleet.asked());
        self.inject(fault)?;
        if self.random.below(5) == 0 {
            // Whether it comes in time, and is answered, is part of what is tried.
            self.fleet.world.lagan.run(&["cancel", &names[0], "--nats-url", &self.nats.url()])?;
        }
        self.wait(15_000)?;
        self.mend(fault)?;
        self.probe()
    }

    /// Asks for one to three backups, and sometimes for a restore.
    fn ask(&mut self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for _ in 0..=self.random.below(3) {
            let target = 1 + self.random.below((TARGETS - 1).try_into()?);
            names.push(self.fleet.ask_of(target.try_into()?)?);
        }
        if self.random.below(4) == 0 {
            names.push(self.fleet.ask_restore(0, "local", "copy")?);
        }
        Ok(names)
    }

    /// Lets up to so many milliseconds pass.
    fn wait(&mut self, milliseconds: u64) -> Result<()> {
        let (began, length) = (Instant::now(), Duration::from_millis(self.random.below(milliseconds)));
        eventually("time to pass", length + RECOVERED_WITHIN, || (began.elapsed() >= length).then_some(()))
    }

    fn inject(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill(member) => self.fleet.process(member).kill9().map(drop),
            Fault::Suspend(member) => self.fleet.process(member).signal(Signal::SIGSTOP),
            Fault::CutOff(member) => {
                self.fleet.proxies().skip(member).take(1).for_each(Proxy::close);
                Ok(())
            }
            Fault::CutAll => {
                self.fleet.proxies().for_each(Proxy::cut);
                Ok(())
            }
            Fault::LoseWay(member, way) => {
                self.fleet.proxies().skip(member).take(1).for_each(|proxy| proxy.hold(way));
                Ok(())
            }
            Fault::Delay(member) => {
                self.fleet.proxies().skip(member).take(1).for_each(|proxy| proxy.delay(Duration::from_millis(200)));
                Ok(())
            }
            Fault::KillNats => self.nats.kill9(),
            Fault::SuspendNats => self.nats.process().signal(Signal::SIGSTOP),
            Fault::KillDatabase => self.fleet.world.db.kill9(),
            Fault::KillStorage => self.s3.kill9(),
            Fault::StorageRefuses => {
                self.two_of_three(HttpFate::Answer(503, SLOW_DOWN.to_owned()));
                Ok(())
            }
            Fault::StorageForgets => {
                self.two_of_three(HttpFate::LoseAnswer);
                Ok(())
            }
        }
    }

    /// Gives two of three requests to the storage this fate.
    fn two_of_three(&self, fate: HttpFate) {
        let mut number = 0_u64;
        self.storage.rule(move |_| {
            number += 1;
            if number.is_multiple_of(3) { HttpFate::Relay } else { fate.clone() }
        });
    }

    fn mend(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill(member) => self.fleet.start_again(member),
            Fault::Suspend(member) => self.fleet.process(member).signal(Signal::SIGCONT),
            Fault::CutOff(_) | Fault::CutAll | Fault::LoseWay(..) | Fault::Delay(_) => {
                self.fleet.proxies().for_each(Proxy::open);
                Ok(())
            }
            Fault::KillNats => self.nats.restart(),
            Fault::SuspendNats => self.nats.process().signal(Signal::SIGCONT),
            Fault::KillDatabase => self.fleet.world.db.restart(),
            Fault::KillStorage => self.s3.restart(),
            Fault::StorageRefuses | Fault::StorageForgets => {
                self.storage.heal();
                Ok(())
            }
        }
    }

    /// Measures the time until a backup that is asked for now has succeeded.
    fn probe(&mut self) -> Result<()> {
        let began = Instant::now();
        let name = self.fleet.ask_of(0)?;
        self.succeeds(&name)?;
        self.recoveries.push(began.elapsed());
        Ok(())
    }

    /// Nothing fails any more, so nothing excuses a backup.
    fn succeeds(&self, name: &str) -> Result<()> {
        let end = eventually(&format!("the end of {name}"), RECOVERED_WITHIN, || self.recorder.end(name))?;
        ensure!(end.name == "succeeded", "{name} ended as {}: {}", end.name, end.event);
        Ok(())
    }

    /// Backs up each target once more, which also removes what a suspended worker wrote late, and audits everything.
    fn settle(&mut self) -> Result<SessionEnds> {
        let ended = || {
            let ends = self.recorder.facts().iter().filter(|fact| fact.is_end()).count();
            (ends >= self.fleet.asked()).then_some(())
        };
        eventually("the end of every session", SETTLED_WITHIN, ended)?;
        for target in 0..TARGETS {
            let name = self.fleet.ask_of(target)?;
            self.succeeds(&name)?;
        }
        (0..TARGETS).try_for_each(|target| self.compare(target))?;
        let tally = self.fleet.audit(SETTLED_WITHIN)?;
        let lost = self.recorder.lost(&self.fleet.facts()?);
        ensure!(lost.is_empty(), "facts were acknowledged, and the log lacks them: {lost:?}");
        self.audit_metrics()?;
        Ok(tally)
    }

    /// Restores the newest backup of a target, and lets both servers say what they hold.
    fn compare(&mut self, target: usize) -> Result<()> {
        let repository = if target == IN_S3 { "s3" } else { "local" };
        let name = self.fleet.ask_restore(target, repository, "copy")?;
        self.succeeds(&name)?;
        let database = format!("db-{target}");
        let (original, copy) = (self.fleet.world.db.checksums(&database)?, self.copy.checksums(&database)?);
        ensure!(!original.is_empty(), "{database} is empty");
        ensure!(original == copy, "{name} succeeded, and {database} differs: {original:?} {copy:?}");
        Ok(())
    }

    /// No engine says that a session waits, and one of them knows the last success of each target.
    fn audit_metrics(&self) -> Result<()> {
        let pages = self.fleet.metrics()?;
        let waiting =
            pages.iter().flat_map(|page| page.lines()).filter(|line| line.starts_with("lagan_waiting_sessions{"));
        let waiting: Vec<&str> = waiting.filter(|line| !line.ends_with(" 0.0") && !line.ends_with(" 0")).collect();
        ensure!(waiting.is_empty(), "everything has ended, and the metrics say {waiting:?}");
        for target in 0..TARGETS {
            let label = format!("configuration=\"db-{target}\"");
            let is_shown = pages
                .iter()
                .flat_map(|page| page.lines())
                .any(|line| line.starts_with("lagan_backup_last_success_timestamp_seconds{") && line.contains(&label));
            ensure!(is_shown, "no engine shows the last success of db-{target}");
        }
        Ok(())
    }

    fn report(&mut self, tally: &SessionEnds, took: Duration) {
        self.recoveries.sort_unstable();
        let at = |percent: usize| self.recoveries[(self.recoveries.len() - 1) * percent / 100].as_secs_f64();
        println!("\n{} faults in {:.0} s:", self.faults.values().sum::<usize>(), took.as_secs_f64());
        for (fault, count) in &self.faults {
            println!("  {count:>4} {fault}");
        }
        println!("{} sessions, each ended once: {:?}", tally.sessions(), tally.ends);
        for (code, count) in self.codes() {
            println!("  {count:>4} failed with {code}");
        }
        println!(
            "a backup that was asked for after a fault ended after {:.1} s (p50), {:.1} s (p99), {:.1} s (longest)",
            at(50),
            at(99),
            at(100)
        );
        println!(
            "nothing lost, nothing doubled: log, snapshots, statuses and metrics agree; each database came back as it was"
        );
    }

    fn codes(&self) -> BTreeMap<String, usize> {
        let mut codes = BTreeMap::new();
        for fact in self.recorder.facts().iter().filter(|fact| fact.name == "failed") {
            let code = fact.event["data"]["code"].as_str().unwrap_or_default();
            *codes.entry(code.to_owned()).or_default() += 1;
        }
        codes
    }
}
