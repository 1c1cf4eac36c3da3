//! Options of `up`, `engine` and `worker`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use lagan_schemas::subject::Cluster;

use super::limits::LimitFlags;
use super::nats::NatsLogin;
use super::storage::StorageFlags;
use super::streams::StreamFlags;
use super::values;
use crate::human::parse_duration;

/// Options that `up`, `engine` and `worker` share. Each of them acts on both parts.
#[derive(Debug, Clone, Args)]
pub struct PartArgs {
    #[command(flatten)]
    pub login: NatsLogin,
    /// Monitoring address of the NATS server, to check that it syncs what it stores
    #[arg(long, value_name = "URL", value_parser = values::http_url, help_heading = "NATS")]
    pub nats_monitoring_url: Option<url::Url>,
    /// Number of servers that keep a copy of each stream; the same for the engine and all workers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5), help_heading = "NATS")]
    pub nats_replicas: u8,
    /// Name of this cluster in subjects and events
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub cluster: Cluster,
    /// Time of silence after which a worker is presumed dead
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub failover: Duration,
    /// Let objects name objects of other namespaces without their consent, for the time of a migration. Their sessions show
    /// the condition ConsentMissing. Give it to the engine and to the workers
    #[arg(long)]
    pub allow_cross_namespace: bool,
    /// Connect to another address where an AppBinding names this one, as with curl (repeatable). Give it to the engine and to
    /// the workers, which compare the addresses of plans with it
    #[arg(long, value_name = "HOST:PORT=HOST:PORT")]
    pub resolve: Vec<ResolveArg>,
    /// Serve /metrics, /healthz and /readyz over HTTP on this address
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = values::listen)]
    pub listen: Option<SocketAddr>,
}

/// Options of the engine.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Engine")]
pub struct EngineFlags {
    /// Prometheus Pushgateway that gets the metrics of ended sessions, under the names that Stash uses
    #[arg(long, value_name = "URL", value_parser = values::http_url)]
    pub pushgateway: Option<url::Url>,
    #[command(flatten)]
    pub limits: LimitFlags,
    #[command(flatten)]
    pub streams: StreamFlags,
    /// How long a deleted Repository with `wipeOut` waits for its data to be deleted
    #[arg(long, hide = true, value_name = "DURATION", default_value = "600s", value_parser = parse_duration)]
    pub wipe_within: Duration,
    /// How long a dump or a restore may get no further
    #[arg(long, hide = true, value_name = "DURATION", default_value = "300s", value_parser = parse_duration)]
    pub stall: Duration,
}

/// Options of a worker.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Worker")]
pub struct WorkerFlags {
    /// Number of scheduled sessions to run at the same time; one more slot is kept for what people ask for
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub slots: u16,
    /// Absolute path of a program that Functions may run beside the built-in ones (repeatable)
    #[arg(long, value_name = "PATH")]
    pub allow_program: Vec<PathBuf>,
    /// Host that hooks may connect to although its address is loopback, link-local or the like; a server of the cluster
    /// is allowed only with its port (repeatable)
    #[arg(long, value_name = "HOST[:PORT]")]
    pub allow_hook_host: Vec<String>,
    #[command(flatten)]
    pub storage: StorageFlags,
    /// Start only if database programs can be confined by Landlock
    #[arg(long, conflicts_with = "no_sandbox")]
    pub require_sandbox: bool,
    /// Run database programs without the sandbox, for programs that read files outside their own folder; sessions show it in
    /// condition ProgramsNotSandboxed
    #[arg(long, env = "LAGAN_NO_SANDBOX")]
    pub no_sandbox: bool,
    /// How long restores that write may go on after a stop signal [default: until they end or a second signal comes]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub grace_period: Option<Duration>,
}

/// The place where people declare what they want: a folder, or the API server of a cluster.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Source of intent")]
pub struct SourceArgs {
    /// Folder of manifests
    #[arg(long, value_name = "DIR", required_unless_present = "kube", conflicts_with = "kube")]
    pub manifests: Option<PathBuf>,
    /// Kubernetes API server: that of --kubeconfig and --context, else that of this pod
    #[arg(long)]
    pub kube: bool,
    /// Namespaces to watch [default: all]
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', value_parser = values::name, requires = "kube")]
    pub namespaces: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// Folder of manifests
    #[arg(long, value_name = "DIR")]
    pub manifests: PathBuf,
    /// NATS server to use instead of starting one; several of one cluster are separated by commas
    #[arg(long, value_name = "URL", env = "LAGAN_NATS_URL", help_heading = "NATS")]
    pub nats_url: Option<String>,
    /// Program to start as the NATS server [default: nats-server on PATH]
    #[arg(long, value_name = "PATH", env = "LAGAN_NATS_SERVER", conflicts_with = "nats_url", help_heading = "NATS")]
    pub nats_server: Option<PathBuf>,
    /// Port of the NATS server that is started [default: a free one]
    #[arg(long, value_name = "PORT", conflicts_with = "nats_url", help_heading = "NATS")]
    pub nats_port: Option<u16>,
    #[command(flatten)]
    pub part: PartArgs,
    #[command(flatten)]
    pub engine: EngineFlags,
    #[command(flatten)]
    pub worker: WorkerFlags,
}

#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// Address of the NATS server; several of one cluster are separated by commas
    #[arg(long, value_name = "URL", env = "LAGAN_NATS_URL", help_heading = "NATS")]
    pub nats_url: String,
    #[command(flatten)]
    pub part: PartArgs,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub engine: EngineFlags,
    /// Handle the objects of group stash.appscode.com too, unless a Stash operator runs
    #[arg(long, requires = "kube")]
    pub stash_compat: bool,
    /// Pools of workers; the annotation `lagan.dev/pool` of a Repository names one, the first is for all others
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', value_parser = values::name, default_value = "default")]
    pub pools: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// Address of the NATS server; several of one cluster are separated by commas
    #[arg(long, value_name = "URL", env = "LAGAN_NATS_URL", help_heading = "NATS")]
    pub nats_url: String,
    #[command(flatten)]
    pub part: PartArgs,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub worker: WorkerFlags,
    /// Pool of workers to belong to
    #[arg(long, value_name = "NAME", value_parser = values::name, default_value = "default")]
    pub pool: String,
}

/// A replacement of one address by another, like curl's `--connect-to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveArg {
    pub from_host: String,
    pub from_port: u16,
    pub to_host: String,
    pub to_port: u16,
}

impl FromStr for ResolveArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || "write it as HOST:PORT=HOST:PORT, such as db.prod.svc:3306=127.0.0.1:3306".to_owned();
        let address = |text: &str| {
            let (host, port) = text.trim().rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            (!host.is_empty()).then_some(())?;
            Some((host.to_owned(), port.parse::<u16>().ok()?))
        };
        let (from, to) = text.split_once('=').ok_or_else(shape)?;
        let (from_host, from_port) = address(from).ok_or_else(shape)?;
        let (to_host, to_port) = address(to).ok_or_else(shape)?;
        Ok(Self { from_host, from_port, to_host, to_port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_replaced_as_with_curl() {
        let expected = ResolveArg {
            from_host: "shop-db.default.svc".into(),
            from_port: 3306,
            to_host: "::1".into(),
            to_port: 13306,
        };
        assert_eq!("shop-db.default.svc:3306=[::1]:13306".parse(), Ok(expected));
        for bad in ["a:1", "a:1=b", "a=b:1", ":1=b:1", "a:x=b:1", ""] {
            assert!(bad.parse::<ResolveArg>().is_err(), "{bad}");
        }
    }
}
