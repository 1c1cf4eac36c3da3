//! Engine and worker, each with a connection of its own, and how they stop: first nothing new, then the worker's
//! sessions, then the engine.

use lagan_bus::sync::{Sync, sync_always};
use lagan_bus::{Auth, Bus, Connect};
use lagan_engine::{Options as EngineOptions, Resolve, Timing};
use lagan_workers::{Options as WorkerOptions, Spawner};
use secrecy::SecretString;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Place, programs, signals};
use crate::args::RunArgs;
use crate::error::{Exit, Problem};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Engine,
    Worker,
    Both,
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
    pub place: &'a Place,
    pub url: &'a str,
    pub token: Option<SecretString>,
}

pub(super) fn token(args: &RunArgs) -> Result<Option<SecretString>, Problem> {
    let Some(file) = &args.nats_token_file else { return Ok(None) };
    let text = std::fs::read_to_string(file)
        .map_err(|error| Problem::new(Exit::Failed, format!("NATS token file `{}`: {error}", file.display())))?;
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned().into()))
}

impl Parts<'_> {
    /// Runs until a signal, or until a part fails.
    pub async fn run(self, which: Which, ready: Box<dyn FnOnce() + Send>) -> Result<Exit, Problem> {
        self.check_sync().await;
        let (drain, stop_now) = signals()?;
        let engine_stop = CancellationToken::new();
        let mut engine = JoinSet::new();
        let mut worker = JoinSet::new();
        if which != Which::Worker {
            let bus = self.connect("engine").await?;
            let options = self.engine_options();
            let stop = engine_stop.clone();
            engine.spawn(async move {
                lagan_engine::run(bus, options, stop, ready).await.map_err(|e| Problem::from_error(Exit::Failed, &e))
            });
        }
        if which != Which::Engine {
            let bus = self.connect("worker").await?;
            let options = self.worker_options()?;
            let (drain, stop_now) = (drain.clone(), stop_now.clone());
            worker.spawn(async move {
                lagan_workers::run(bus, options, drain, stop_now)
                    .await
                    .map_err(|e| Problem::from_error(Exit::Failed, &e))
            });
        }
        let mut result = Ok(Exit::Ok);
        tokio::select! {
            () = drain.cancelled() => {
                tracing::info!("stopping: nothing new is started, running backups are handed on");
            }
            Some(ended) = engine.join_next() => result = ended_early("engine", ended),
            Some(ended) = worker.join_next() => result = ended_early("worker", ended),
        }
        drain.cancel();
        while worker.join_next().await.is_some() {}
        engine_stop.cancel();
        while engine.join_next().await.is_some() {}
        result
    }

    async fn connect(&self, role: &str) -> Result<Bus, Problem> {
        let auth = self.token.clone().map_or(Auth::None, Auth::Token);
        let connect = Connect { auth, ..Connect::new(self.url, role) };
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

    fn engine_options(&self) -> EngineOptions {
        let resolve =
            self.args.resolve.iter().map(|r| ((r.from_host.clone(), r.from_port), (r.to_host.clone(), r.to_port)));
        EngineOptions {
            cluster: self.args.cluster.clone(),
            manifests: self.place.manifests.clone(),
            objects: self.place.objects.clone(),
            data_dir: self.place.data_dir.clone(),
            pool: self.args.pool.clone(),
            resolve: Resolve(resolve.collect()),
            timing: Timing { failover: self.args.failover },
        }
    }

    fn worker_options(&self) -> Result<WorkerOptions, Problem> {
        Ok(WorkerOptions {
            cluster: self.args.cluster.clone(),
            pool: self.args.pool.clone(),
            slots: usize::from(self.args.slots),
            manifests: self.place.manifests.clone(),
            objects: self.place.objects.clone(),
            data_dir: self.place.data_dir.clone(),
            failover: self.args.failover,
            programs: programs::allowed(&self.args.allow_program)?,
            spawner: Spawner::with_own_guard().map_err(|error| Problem::from_error(Exit::Failed, &error))?,
            host: nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
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
