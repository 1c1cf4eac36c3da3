//! Options of `up`, `engine` and `worker`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use lagan_schemas::subject::Cluster;

use crate::human::parse_duration;

/// What `up`, `engine` and `worker` have in common.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// File that holds the token of the NATS server
    #[arg(long, value_name = "FILE", conflicts_with = "nats_creds")]
    pub nats_token_file: Option<PathBuf>,
    /// Credentials file (JWT and seed) for the NATS server
    #[arg(long, value_name = "FILE", env = "LAGAN_NATS_CREDS")]
    pub nats_creds: Option<PathBuf>,
    /// User and password for the NATS server: a file with `user:password`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nats_creds", "nats_token_file"])]
    pub nats_user_file: Option<PathBuf>,
    /// PEM file of the authority that signed the NATS server's certificate; TLS is required then
    #[arg(long, value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,
    /// Monitoring address of an external NATS server, to check that it syncs what it stores
    #[arg(long, value_name = "URL")]
    pub nats_monitoring_url: Option<String>,
    /// Copies of each stream that a NATS cluster keeps; the same for engine and workers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub nats_replicas: u8,
    /// Name of this cluster in subjects and events
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub cluster: Cluster,
    /// Sessions that a worker runs at the same time
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub slots: u16,
    /// A silent worker is presumed dead after this
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_duration)]
    pub failover: Duration,
    /// Where a service of an AppBinding answers, as curl's (repeatable)
    #[arg(long, value_name = "HOST:PORT=HOST:PORT")]
    pub resolve: Vec<Resolve>,
    /// A program that workers may run besides the built-in ones (repeatable)
    #[arg(long, value_name = "PATH")]
    pub allow_program: Vec<PathBuf>,
    /// A host that hooks may name although it is loopback, link-local or the like (repeatable)
    #[arg(long, value_name = "HOST[:PORT]")]
    pub allow_hook_host: Vec<String>,
    /// Serve /metrics, /healthz and /readyz over HTTP here
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Push the numbers of ended sessions to this Prometheus Pushgateway, under Stash's names
    #[arg(long, value_name = "URL")]
    pub pushgateway: Option<url::Url>,
}

/// Where intent is read from: a folder, or the API server of a cluster.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Source of intent")]
pub struct SourceArgs {
    /// The folder of manifests that people write
    #[arg(long, value_name = "DIR", required_unless_present = "kube", conflicts_with = "kube")]
    pub manifests: Option<PathBuf>,
    /// The Kubernetes API server: that of --kubeconfig and --context, else that of this pod
    #[arg(long)]
    pub kube: bool,
    /// Namespaces to look at [default: all]
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', requires = "kube")]
    pub namespaces: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// The folder of manifests that people write
    #[arg(long, value_name = "DIR")]
    pub manifests: PathBuf,
    /// Use this NATS server instead of starting one
    #[arg(long, value_name = "URL", env = "LAGAN_NATS_URL")]
    pub nats_url: Option<String>,
    /// The nats-server program to start [default: the one on PATH]
    #[arg(long, value_name = "PATH", env = "LAGAN_NATS_SERVER", conflicts_with = "nats_url")]
    pub nats_server: Option<PathBuf>,
    /// Port of the NATS server that is started [default: a free one]
    #[arg(long, value_name = "PORT", conflicts_with = "nats_url")]
    pub nats_port: Option<u16>,
}

#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub source: SourceArgs,
    /// Run the objects of group stash.appscode.com too, unless a Stash operator does
    #[arg(long, requires = "kube")]
    pub stash_compat: bool,
    /// Pools of workers; a Repository's annotation `lagan.dev/pool` names one, the first is for all others
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', default_value = "default")]
    pub pools: Vec<String>,
    /// The NATS server
    #[arg(long, value_name = "URL", env = "LAGAN_NATS_URL")]
    pub nats_url: String,
}

#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub source: SourceArgs,
    /// Pool that this worker belongs to
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub pool: String,
    /// The NATS server
    #[arg(long, value_name = "URL", env = "LAGAN_NATS_URL")]
    pub nats_url: String,
}

/// Where something that is asked for under one address answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    pub from_host: String,
    pub from_port: u16,
    pub to_host: String,
    pub to_port: u16,
}

impl FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("`{text}` is not HOST:PORT=HOST:PORT");
        let address = |text: &str| {
            let (host, port) = text.rsplit_once(':')?;
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
    fn an_address_is_resolved_as_curl_does() {
        let expected =
            Resolve { from_host: "shop-db.default.svc".into(), from_port: 3306, to_host: "::1".into(), to_port: 13306 };
        assert_eq!("shop-db.default.svc:3306=[::1]:13306".parse(), Ok(expected));
        for bad in ["a:1", "a:1=b", "a=b:1", ":1=b:1", "a:x=b:1", ""] {
            assert!(bad.parse::<Resolve>().is_err(), "{bad}");
        }
    }
}
