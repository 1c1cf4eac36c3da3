//! Starts engine and worker, each with a connection of its own, and stops them: first nothing new is started, then the
//! sessions of the worker end, then the engine.

use std::time::Duration;

use lagan_bus::sync::{Sync, sync_always};
use lagan_bus::{Auth, Bus, Connect, ReadScope};
use lagan_engine::{EngineOptions, Timing};
use lagan_schemas::consent::CrossNamespace;
use lagan_schemas::plan::Resolve;
use lagan_sources::Source;
use lagan_sources::kubernetes::ApiServer;
use lagan_workers::process::{Sandbox, is_sandbox_available};
use lagan_workers::{Outbound, ProtectedServer, Spawner, WorkerOptions};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{http, programs, signals};
use crate::args::{EngineFlags, PartArgs, WorkerFlags};
use crate::error::{Exit, Problem};

/// The owner of the NATS server. The server that `lagan up` starts syncs every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Lagan,
    Other,
}

pub(super) struct EnginePart<'a> {
    pub flags: &'a EngineFlags,
    pub pools: Vec<String>,
}

pub(super) struct WorkerPart<'a> {
    pub flags: &'a WorkerFlags,
    pub pool: String,
}

/// The parts of one process, with what they share.
pub(super) struct ProcessParts<'a> {
    pub operator: Operator,
    pub args: &'a PartArgs,
    pub engine: Option<EnginePart<'a>>,
    pub worker: Option<WorkerPart<'a>>,
    pub source: Source,
    pub url: &'a str,
    pub auth: Auth,
}

/// The result of a part that has ended.
type PartResult = Result<(), Problem>;

impl ProcessParts<'_> {
    /// Runs until a signal, or until a part fails.
    pub async fn run(self, ready: Box<dyn FnOnce() + Send>) -> Result<Exit, Problem> {
        let listener = match self.args.listen {
            Some(address) => Some(http::bind(address).await?),
            None => None,
        };
        let (mut registry, mut health) = (http::registry(), http::Health::default());
        self.check_sync().await;
        let (drain, stop_now) = signals()?;
        let engine_stop = CancellationToken::new();
        let mut engine = self.start_engine(&mut registry, &mut health, engine_stop.clone(), ready).await?;
        let mut worker = self.start_worker(&mut registry, &mut health, (drain.clone(), stop_now.clone())).await?;
        let ended = health.ended.clone();
        let _served = listener.map(|listener| http::serve(listener, registry, health));
        let mut result = Ok(Exit::Ok);
        tokio::select! {
            () = drain.cancelled() => {
                tracing::info!("stopping: nothing new is started, running backups are handed on");
            }
            Some(part) = engine.join_next() => result = ended_early("engine", part),
            Some(part) = worker.join_next() => result = ended_early("worker", part),
        }
        if !drain.is_cancelled() {
            ended.cancel();
        }
        drain.cancel();
        let grace = self.worker.as_ref().and_then(|part| part.flags.grace_period);
        let _limit = grace.map(|grace| AbortOnDropHandle::new(tokio::spawn(limit(grace, stop_now))));
        while worker.join_next().await.is_some() {}
        engine_stop.cancel();
        while engine.join_next().await.is_some() {}
        result
    }

    /// Starts the engine, if this process has one. Only the engine calls `ready`.
    async fn start_engine(
        &self,
        registry: &mut Registry,
        health: &mut http::Health,
        stop: CancellationToken,
        ready: Box<dyn FnOnce() + Send>,
    ) -> Result<JoinSet<PartResult>, Problem> {
        let mut tasks = JoinSet::new();
        let Some(part) = &self.engine else { return Ok(tasks) };
        let bus = self.connect("engine", ReadScope::Everything).await?;
        let options = self.engine_options(part, registry);
        let is_ready = health.part(&bus);
        let ready = move || {
            is_ready.cancel();
            ready();
        };
        tasks.spawn(async move {
            lagan_engine::run(bus, options, stop, ready).await.map_err(|e| Problem::from_error(Exit::Failed, &e))
        });
        Ok(tasks)
    }

    async fn start_worker(
        &self,
        registry: &mut Registry,
        health: &mut http::Health,
        (drain, stop_now): (CancellationToken, CancellationToken),
    ) -> Result<JoinSet<PartResult>, Problem> {
        let mut tasks = JoinSet::new();
        let Some(part) = &self.worker else { return Ok(tasks) };
        let bus = self.connect("worker", ReadScope::Pool(part.pool.clone())).await?;
        let options = self.worker_options(part, registry)?;
        let is_ready = health.part(&bus);
        tasks.spawn(async move {
            lagan_workers::run(bus, options, drain, stop_now, move || is_ready.cancel())
                .await
                .map_err(|e| Problem::from_error(Exit::Failed, &e))
        });
        Ok(tasks)
    }

    async fn connect(&self, role: &str, reach: ReadScope) -> Result<Bus, Problem> {
        let (auth, ca) = (self.auth.clone(), self.args.login.nats_ca.clone());
        let domain = self.args.login.nats_domain.clone();
        let connect = Connect { auth, ca, domain, reach, ..Connect::new(self.url, role) };
        Bus::connect(connect).await.map_err(|error| {
            Problem::from_error(Exit::Unreachable, &error)
                .help("check --nats-url and that the server runs; it needs JetStream and version 2.12 or newer")
        })
    }

    /// Warns if the server may lose acknowledged writes when the power goes: by default it syncs every two minutes.
    async fn check_sync(&self) {
        if self.operator == Operator::Lagan {
            return;
        }
        match sync_always(self.args.nats_monitoring_url.as_ref().map(url::Url::as_str)).await {
            Sync::Always => {}
            Sync::Interval(interval) => tracing::warn!(
                interval_s = interval.as_secs(),
                "NATS server does not sync each write: set `sync_interval: always` in its jetstream block, or a power cut loses sessions"
            ),
            Sync::Unknown(why) => {
                tracing::warn!(
                    why,
                    "sync_interval of the NATS server is unknown; --nats-monitoring-url lets Lagan check it"
                );
            }
        }
    }

    fn cross_namespace(&self) -> CrossNamespace {
        if self.args.allow_cross_namespace { CrossNamespace::Allowed } else { CrossNamespace::NeedsConsent }
    }

    fn resolve(&self) -> Resolve {
        let flags = &self.args.resolve;
        Resolve(flags.iter().map(|r| ((r.from_host.clone(), r.from_port), (r.to_host.clone(), r.to_port))).collect())
    }

    fn engine_options(&self, part: &EnginePart<'_>, registry: &mut Registry) -> EngineOptions {
        let flags = part.flags;
        EngineOptions {
            cluster: self.args.cluster.clone(),
            source: self.source.clone(),
            pools: part.pools.clone(),
            pushgateway: flags.pushgateway.clone(),
            replicas: self.args.nats_replicas.into(),
            streams: flags.streams.limits(),
            resolve: self.resolve(),
            metrics: lagan_engine::EngineMetrics::register(registry),
            wipe_within: flags.wipe_within,
            stall: flags.stall,
            cross_namespace: self.cross_namespace(),
            limits: flags.limits.limits(),
            timing: Timing { failover: self.args.failover },
        }
    }

    fn worker_options(&self, part: &WorkerPart<'_>, registry: &mut Registry) -> Result<WorkerOptions, Problem> {
        let flags = part.flags;
        Ok(WorkerOptions {
            cluster: self.args.cluster.clone(),
            pool: part.pool.clone(),
            slots: usize::from(flags.slots),
            source: self.source.clone(),
            replicas: self.args.nats_replicas.into(),
            failover: self.args.failover,
            programs: programs::allowed(&flags.allow_program)?,
            outbound: outbound(flags, &self.source),
            resolve: self.resolve(),
            cross_namespace: self.cross_namespace(),
            spawner: spawner(flags)?,
            host: nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            metrics: lagan_workers::WorkerMetrics::register(registry),
        })
    }
}

fn outbound(flags: &WorkerFlags, source: &Source) -> Outbound {
    let servers = pod_api_server().into_iter().chain(source.services().map(|api| api.server.clone()));
    let name = "the Kubernetes API server";
    Outbound {
        hook_hosts: flags.allow_hook_host.clone(),
        storage_hosts: flags.storage.allow_storage_host.clone(),
        storage_proxy: flags.storage.storage_proxy.clone(),
        protected: servers.map(|ApiServer { host, port }| ProtectedServer { name, host, port }).collect(),
    }
}

/// The API server of the pod's cluster. A kubeconfig may lead to another one, or to this one by another address.
fn pod_api_server() -> Option<ApiServer> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST").ok()?;
    let port = std::env::var("KUBERNETES_SERVICE_PORT").ok().and_then(|port| port.parse().ok());
    Some(ApiServer { host, port: port.unwrap_or(443) })
}

/// Stops restores that still write after the grace period.
async fn limit(grace: Duration, stop_now: CancellationToken) {
    tokio::time::sleep(grace).await;
    tracing::error!(grace_s = grace.as_secs(), "the grace period is over: running restores are stopped");
    stop_now.cancel();
}

fn spawner(flags: &WorkerFlags) -> Result<Spawner, Problem> {
    let spawner = Spawner::with_own_guard().map_err(|error| Problem::from_error(Exit::Failed, &error))?;
    if flags.no_sandbox {
        return Ok(Spawner { sandbox: Sandbox::Off, ..spawner });
    }
    if !flags.require_sandbox {
        return Ok(spawner);
    }
    if !is_sandbox_available() {
        return Err(Problem::new(Exit::Failed, "--require-sandbox: Landlock cannot be used here").help(
            "it needs Linux 5.13 with `landlock` in the kernel's `lsm=` list, and a seccomp profile that allows it",
        ));
    }
    Ok(Spawner { sandbox: Sandbox::Required, ..spawner })
}

fn ended_early(part: &str, ended: Result<PartResult, tokio::task::JoinError>) -> Result<Exit, Problem> {
    match ended {
        Ok(Ok(())) => Ok(Exit::Ok),
        Ok(Err(problem)) => Err(problem),
        Err(panic) => {
            Err(Problem::new(Exit::Failed, format!("the {part} panicked: {panic}; this is a defect of Lagan")))
        }
    }
}
