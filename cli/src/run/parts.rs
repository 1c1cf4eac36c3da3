//! Engine and worker, each with a connection of its own, and how they stop: first nothing new, then the worker's
//! sessions, then the engine.

use lagan_bus::sync::{Sync, sync_always};
use lagan_bus::{Auth, Bus, Connect};
use lagan_engine::{Options as EngineOptions, Resolve, Timing};
use lagan_sources::Source;
use lagan_workers::{Options as WorkerOptions, Spawner};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{http, programs, signals};
use crate::args::RunArgs;
use crate::error::{Exit, Problem};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    Engine { pools: Vec<String> },
    Worker { pool: String },
    Both { pool: String, pools: Vec<String> },
}

impl Which {
    fn pools(&self) -> Option<Vec<String>> {
        match self {
            Self::Engine { pools } | Self::Both { pools, .. } => Some(pools.clone()),
            Self::Worker { .. } => None,
        }
    }

    fn pool(&self) -> Option<String> {
        match self {
            Self::Worker { pool } | Self::Both { pool, .. } => Some(pool.clone()),
            Self::Engine { .. } => None,
        }
    }
}

/// Whose NATS server it is. Ours syncs every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Ours,
    External,
}

pub(super) struct Parts<'a> {
    pub server: Server,
    pub args: &'a RunArgs,
    pub source: Source,
    pub url: &'a str,
    pub auth: Auth,
}

pub(super) fn auth(args: &RunArgs) -> Result<Auth, Problem> {
    if let Some(file) = &args.nats_creds {
        return Ok(Auth::Credentials(file.clone()));
    }
    let read = |file: &std::path::Path| {
        let text = std::fs::read_to_string(file);
        text.map(|text| text.trim_end_matches(['\n', '\r']).to_owned())
            .map_err(|error| Problem::new(Exit::Failed, format!("NATS credentials file `{}`: {error}", file.display())))
    };
    if let Some(file) = &args.nats_user_file {
        let text = read(file)?;
        let (user, password) = text.split_once(':').ok_or_else(|| {
            Problem::new(Exit::Usage, format!("NATS credentials file `{}` is not `user:password`", file.display()))
        })?;
        return Ok(Auth::User { user: user.to_owned(), password: password.to_owned().into() });
    }
    args.nats_token_file.as_deref().map_or(Ok(Auth::None), |file| Ok(Auth::Token(read(file)?.into())))
}

impl Parts<'_> {
    /// Runs until a signal, or until a part fails.
    pub async fn run(self, which: Which, ready: Box<dyn FnOnce() + Send>) -> Result<Exit, Problem> {
        let listener = match self.args.listen {
            Some(address) => Some(http::bind(address).await?),
            None => None,
        };
        let (mut registry, mut health) = (http::registry(), http::Health::default());
        self.check_sync().await;
        let (drain, stop_now) = signals()?;
        let engine_stop = CancellationToken::new();
        let mut engine = JoinSet::new();
        let mut worker = JoinSet::new();
        if let Some(pools) = which.pools() {
            let bus = self.connect("engine").await?;
            let options = self.engine_options(pools, &mut registry);
            let (stop, is_ready) = (engine_stop.clone(), health.part(&bus));
            let ready = move || {
                is_ready.cancel();
                ready();
            };
            engine.spawn(async move {
                lagan_engine::run(bus, options, stop, ready).await.map_err(|e| Problem::from_error(Exit::Failed, &e))
            });
        }
        if let Some(pool) = which.pool() {
            let bus = self.connect("worker").await?;
            let options = self.worker_options(pool, &mut registry)?;
            let (drain, stop_now, is_ready) = (drain.clone(), stop_now.clone(), health.part(&bus));
            worker.spawn(async move {
                lagan_workers::run(bus, options, drain, stop_now, move || is_ready.cancel())
                    .await
                    .map_err(|e| Problem::from_error(Exit::Failed, &e))
            });
        }
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
        while worker.join_next().await.is_some() {}
        engine_stop.cancel();
        while engine.join_next().await.is_some() {}
        result
    }

    async fn connect(&self, role: &str) -> Result<Bus, Problem> {
        let (auth, ca) = (self.auth.clone(), self.args.nats_ca.clone());
        let connect = Connect { auth, ca, ..Connect::new(self.url, role) };
        Bus::connect(connect).await.map_err(|error| {
            Problem::from_error(Exit::Unreachable, &error)
                .help("check --nats-url and that the server runs; it needs JetStream and version 2.12 or newer")
        })
    }

    /// A server that syncs every two minutes loses what it acknowledged when the power goes.
    async fn check_sync(&self) {
        if self.server == Server::Ours {
            return;
        }
        match sync_always(self.args.nats_monitoring_url.as_deref()).await {
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

    fn engine_options(&self, pools: Vec<String>, registry: &mut Registry) -> EngineOptions {
        let resolve =
            self.args.resolve.iter().map(|r| ((r.from_host.clone(), r.from_port), (r.to_host.clone(), r.to_port)));
        EngineOptions {
            cluster: self.args.cluster.clone(),
            source: self.source.clone(),
            pools,
            pushgateway: self.args.pushgateway.clone(),
            replicas: self.args.nats_replicas.into(),
            resolve: Resolve(resolve.collect()),
            metrics: lagan_engine::Metrics::register(registry),
            timing: Timing { failover: self.args.failover },
        }
    }

    fn worker_options(&self, pool: String, registry: &mut Registry) -> Result<WorkerOptions, Problem> {
        Ok(WorkerOptions {
            cluster: self.args.cluster.clone(),
            pool,
            slots: usize::from(self.args.slots),
            source: self.source.clone(),
            replicas: self.args.nats_replicas.into(),
            failover: self.args.failover,
            programs: programs::allowed(&self.args.allow_program)?,
            hook_hosts: self.args.allow_hook_host.clone(),
            spawner: Spawner::with_own_guard().map_err(|error| Problem::from_error(Exit::Failed, &error))?,
            host: nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            metrics: lagan_workers::Metrics::register(registry),
        })
    }
}

fn ended_early(part: &str, ended: Result<Result<(), Problem>, tokio::task::JoinError>) -> Result<Exit, Problem> {
    match ended {
        Ok(Ok(())) => Ok(Exit::Ok),
        Ok(Err(problem)) => Err(problem),
        Err(panic) => {
            Err(Problem::new(Exit::Failed, format!("the {part} panicked: {panic}; this is a defect of Lagan")))
        }
    }
}
