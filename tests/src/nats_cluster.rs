//! Three nats-servers with JetStream that form a cluster. Each direction of each route goes through a proxy of its own, so
//! that a test can part the servers without any privilege. It must not create streams: Lagan does.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::http;
use crate::ports::ReservedPort;
use crate::process::{Process, guarded};
use crate::proxy::Proxy;
use crate::scratch::Scratch;
use crate::tools;
use crate::wait::eventually;

/// Number of servers, of which one may fail.
pub const NODES: usize = 3;
/// An election takes 4 to 9 s, and may be repeated.
const START: Duration = Duration::from_secs(60);

/// One server of a cluster, with stable ports and a store of its own.
struct Node {
    process: Process,
    ports: Ports,
}

struct Ports {
    client: ReservedPort,
    monitor: ReservedPort,
    cluster: ReservedPort,
}

/// The way on which one server dials another.
struct Route {
    from: usize,
    to: usize,
    proxy: Proxy,
}

pub struct NatsCluster {
    // Dropped first: a server must not write into a folder that is being removed.
    nodes: Vec<Node>,
    routes: Vec<Route>,
    scratch: Scratch,
    _nowhere: ReservedPort,
}

impl NatsCluster {
    /// Starts three servers, and waits until they have elected a leader.
    pub fn start() -> Result<Self> {
        let scratch = Scratch::new("nats-cluster")?;
        // Servers tell each other where they can be reached. Nothing listens there, so that no route avoids its proxy.
        let nowhere = ReservedPort::reserve()?;
        let ports = (0..NODES).map(|_| Ports::reserve()).collect::<Result<Vec<_>>>()?;
        let mut routes = Vec::new();
        for from in 0..NODES {
            for to in (0..NODES).filter(|to| *to != from) {
                routes.push(Route { from, to, proxy: Proxy::start(ports[to].cluster.number())? });
            }
        }
        let mut nodes = Vec::new();
        for (number, ports) in ports.into_iter().enumerate() {
            let dialled = routes.iter().filter(|route| route.from == number).map(|route| route.proxy.port());
            write_config(&scratch, number, &ports, nowhere.number(), &dialled.collect::<Vec<_>>())?;
            nodes.push(Node { process: launch(&scratch, number)?, ports });
        }
        let mut cluster = Self { nodes, routes, scratch, _nowhere: nowhere };
        cluster.wait_until_healthy()?;
        Ok(cluster)
    }

    /// The addresses of all servers, as Lagan takes them.
    #[must_use]
    pub fn urls(&self) -> String {
        (0..NODES).map(|node| self.url(node)).collect::<Vec<_>>().join(",")
    }

    /// The address of one server.
    #[must_use]
    pub fn url(&self, node: usize) -> String {
        format!("nats://127.0.0.1:{}", self.nodes[node].ports.client.number())
    }

    /// A way to each server that a test can close, in the order of the servers.
    pub fn client_proxies(&self) -> Result<Vec<Proxy>> {
        self.nodes.iter().map(|node| Proxy::start(node.ports.client.number())).collect()
    }

    /// The process of a server, for signals and log lines.
    pub fn process(&mut self, node: usize) -> &mut Process {
        &mut self.nodes[node].process
    }

    /// The number of the server that leads a stream, as a server itself says.
    pub fn leader(&self, stream: &str) -> Result<usize> {
        eventually(&format!("a leader of {stream}"), START, || {
            (0..NODES).find_map(|asked| self.leader_seen_by(asked, stream))
        })
    }

    fn leader_seen_by(&self, asked: usize, stream: &str) -> Option<usize> {
        let port = self.nodes[asked].ports.monitor.number();
        let answer = http::request("GET", port, "/jsz?accounts=true&streams=true").ok()?;
        let page: Value = serde_json::from_str(&answer.body).ok()?;
        let accounts = page["account_details"].as_array()?;
        let streams = accounts.iter().filter_map(|account| account["stream_detail"].as_array()).flatten();
        let found = streams.into_iter().find(|found| found["name"] == stream)?;
        let leader = found["cluster"]["leader"].as_str()?;
        (0..NODES).find(|node| name(*node) == leader)
    }

    pub fn kill9(&mut self, node: usize) -> Result<()> {
        self.nodes[node].process.kill9().map(drop)
    }

    /// Asks a server to stop, as a rolling update does, and waits for its end.
    pub fn stop(&mut self, node: usize) -> Result<()> {
        let ended = self.nodes[node].process.terminate(START)?;
        ensure!(ended.code().is_some(), "{} ended with {ended}", name(node));
        Ok(())
    }

    /// Starts a server that has ended, with the same ports and store.
    pub fn start_again(&mut self, node: usize) -> Result<()> {
        self.nodes[node].process = launch(&self.scratch, node)?;
        Ok(())
    }

    /// Deletes all data of a server that has ended.
    pub fn lose_disk(&self, node: usize) -> Result<()> {
        fs::remove_dir_all(self.scratch.join(&store(node))).context("deleting the store of a server")
    }

    /// Cuts one server off from the others, but not from its clients.
    pub fn isolate(&self, node: usize) {
        self.routes.iter().filter(|route| route.from == node || route.to == node).for_each(|route| route.proxy.close());
    }

    /// Cuts every server off from every other.
    pub fn part_all(&self) {
        self.routes.iter().for_each(|route| route.proxy.close());
    }

    /// Lets all servers reach each other again.
    pub fn heal(&self) {
        self.routes.iter().for_each(|route| route.proxy.open());
    }

    /// Waits until every server says that it serves, with all its streams.
    pub fn wait_until_healthy(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            let port = node.ports.monitor.number();
            node.process.until("a server of the cluster is healthy", START, || {
                let answer = http::request("GET", port, "/healthz").ok()?;
                (answer.status == 200).then_some(())
            })?;
        }
        Ok(())
    }
}

impl Ports {
    fn reserve() -> Result<Self> {
        let reserve = ReservedPort::reserve;
        Ok(Self { client: reserve()?, monitor: reserve()?, cluster: reserve()? })
    }
}

fn name(node: usize) -> String {
    format!("node-{node}")
}

fn store(node: usize) -> String {
    format!("store-{node}")
}

fn write_config(scratch: &Scratch, node: usize, ports: &Ports, nowhere: u16, dialled: &[u16]) -> Result<()> {
    let routes: Vec<String> = dialled.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
    let config = format!(
        "server_name: {}\nlisten: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\n\
         jetstream {{ store_dir: \"{}\"\n sync_interval: always }}\n\
         cluster {{ name: lagan-tests\n listen: \"127.0.0.1:{}\"\n advertise: \"127.0.0.1:{nowhere}\"\n \
         no_advertise: true\n routes: [{}] }}\n",
        name(node),
        ports.client.number(),
        ports.monitor.number(),
        scratch.join(&store(node)).display(),
        ports.cluster.number(),
        routes.join(", ")
    );
    scratch.private_file(&format!("{}.conf", name(node)), &config).map(drop)
}

fn launch(scratch: &Scratch, node: usize) -> Result<Process> {
    let mut command = guarded(&tools::find("nats-server")?);
    command.arg("-c").arg(scratch.join(&format!("{}.conf", name(node))));
    Process::spawn(&format!("nats-server {}", name(node)), command, &scratch.join(&format!("{}.log", name(node))))
}
