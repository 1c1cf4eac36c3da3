//! Debian's Pushgateway on loopback, in memory. The harness must not push anything itself.

use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::http;
use crate::ports::ReservedPort;
use crate::process::{Process, guarded};
use crate::scratch::Scratch;
use crate::tools;

const START: Duration = Duration::from_secs(20);

pub struct Pushgateway {
    process: Process,
    port: ReservedPort,
    scratch: Scratch,
}

impl Pushgateway {
    pub fn start() -> Result<Self> {
        let (scratch, port) = (Scratch::new("pushgateway")?, ReservedPort::reserve()?);
        let process = serve(&scratch, &port)?;
        Ok(Self { process, port, scratch })
    }

    /// Starts it again after [`Self::kill9`], at the same address and empty.
    pub fn restart(&mut self) -> Result<()> {
        self.process = serve(&self.scratch, &self.port)?;
        Ok(())
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// The metrics that Prometheus would scrape.
    pub fn metrics(&self) -> Result<String> {
        Ok(http::request("GET", self.port.number(), "/metrics")?.body)
    }

    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9().map(drop)
    }
}

fn serve(scratch: &Scratch, port: &ReservedPort) -> Result<Process> {
    let mut command = guarded(&tools::find("prometheus-pushgateway")?);
    command.arg(format!("--web.listen-address=127.0.0.1:{}", port.number()));
    let mut process = Process::spawn("pushgateway", command, &scratch.join("pushgateway.log"))?;
    process
        .until("the Pushgateway is ready", START, || {
            let answer = http::request("GET", port.number(), "/-/ready").ok()?;
            (answer.status == 200).then_some(())
        })
        .map_err(|error| anyhow!(error).context("starting a private Pushgateway"))?;
    Ok(process)
}
