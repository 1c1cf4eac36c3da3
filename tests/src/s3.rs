//! A private S3 server (SeaweedFS) with one identity whose keys are canaries.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::http;
use crate::ports::ReservedPort;
use crate::process::{Process, guarded};
use crate::scratch::Scratch;
use crate::{canary_secret, tools};

const START: Duration = Duration::from_secs(60);
const PORTS: [&str; 10] = [
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
    "admin.port",
    "admin.port.grpc",
];
const MASTER: usize = 0;
const VOLUME: usize = 2;
const FILER: usize = 4;
const S3: usize = 6;

pub struct S3Server {
    // Dropped first: a server must not write into a folder that is being removed.
    process: Process,
    ports: Vec<ReservedPort>,
    access_key: String,
    secret_key: String,
    scratch: Scratch,
}

impl S3Server {
    pub fn start() -> Result<Self> {
        let scratch = Scratch::new("s3")?;
        let ports = reserve_ports()?;
        // An access key can't have the characters that canaries use.
        let access_key = format!("AK{}", uuid::Uuid::new_v4().simple());
        let secret_key = canary_secret("s3-secret");
        let identities = serde_json::json!({"identities": [{
            "name": "lagan-tests",
            "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]});
        scratch.private_file("identities.json", &identities.to_string())?;
        fs::create_dir(scratch.join("data"))?;
        let process = launch(&scratch, &ports).inspect_err(|_| remove_sockets(&ports))?;
        Ok(Self { process, ports, access_key, secret_key, scratch })
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[S3].number())
    }

    /// The port of the S3 API, which speaks plain HTTP.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports[S3].number()
    }

    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    #[must_use]
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// Creates a bucket, which is a folder of the filer; the filer's own port needs no signature.
    pub fn create_bucket(&self, bucket: &str) -> Result<()> {
        self.filer("POST", &format!("/buckets/{bucket}/"))
            .map(drop)
            .with_context(|| format!("creating bucket `{bucket}`"))
    }

    /// Writes an object with this content.
    pub fn put(&self, bucket: &str, key: &str, content: &str) -> Result<()> {
        let answer = http::put(self.ports[FILER].number(), &format!("/buckets/{bucket}/{key}"), content)?;
        ensure!((200..300).contains(&answer.status), "PUT {key}: {} {}", answer.status, answer.body);
        Ok(())
    }

    /// Deletes an object; if `key` ends with a slash, the folder with everything in it.
    pub fn delete(&self, bucket: &str, key: &str) -> Result<()> {
        let path = format!("/buckets/{bucket}/{key}?recursive=true");
        self.filer("DELETE", &path).map(drop)
    }

    /// Lists the names directly below a prefix that ends with a slash; none if the prefix does not exist.
    pub fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<String>> {
        let path = format!("/buckets/{bucket}/{prefix}?limit=100000&pretty=n");
        let answer = http::request_json(self.ports[FILER].number(), &path)?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        let listing: serde_json::Value = serde_json::from_str(&answer.body)?;
        let entries = listing["Entries"].as_array().cloned().unwrap_or_default();
        let paths = entries.iter().filter_map(|entry| entry["FullPath"].as_str());
        Ok(paths.filter_map(|path| path.rsplit('/').next()).map(str::to_owned).collect())
    }

    /// The process, for signals and log lines.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9().map(drop)
    }

    /// Starts the server again with the same ports and data; kills it first if it still runs.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.exit_status().is_none() {
            self.kill9()?;
        }
        self.process = launch(&self.scratch, &self.ports)?;
        Ok(())
    }

    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.scratch.join("s3.log")
    }

    fn filer(&self, method: &str, path: &str) -> Result<http::Response> {
        let answer = http::request(method, self.ports[FILER].number(), path)?;
        let (status, body) = (answer.status, &answer.body);
        ensure!((200..300).contains(&status), "{method} {path}: {status} {body}");
        Ok(answer)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.process.kill9();
        remove_sockets(&self.ports);
    }
}

fn reserve_ports() -> Result<Vec<ReservedPort>> {
    let last = PORTS.len() - 2;
    let mut ports = PORTS[..last].iter().map(|_| ReservedPort::reserve()).collect::<Result<Vec<_>>>()?;
    // weed's maintenance worker always connects to the admin port + 10000.
    loop {
        let admin = ReservedPort::reserve()?;
        if let Some(grpc) = ReservedPort::reserve_number(admin.number() + 10_000)? {
            ports.extend([admin, grpc]);
            return Ok(ports);
        }
    }
}

/// Removes the sockets that weed puts into /tmp, whatever TMPDIR is, and leaves behind when killed.
fn remove_sockets(ports: &[ReservedPort]) {
    for (option, port) in PORTS.iter().zip(ports) {
        let part = option.split('.').next().unwrap_or_default();
        let grpc = if option.ends_with("grpc") { "-grpc" } else { "" };
        let socket = format!("/tmp/seaweedfs-{part}{grpc}-{}.sock", port.number());
        let _ = fs::remove_file(socket);
    }
}

/// Starts `weed mini`, which accepts writes after half a second; `weed server` waits three seconds for an election.
fn launch(scratch: &Scratch, ports: &[ReservedPort]) -> Result<Process> {
    remove_sockets(ports);
    let mut command = guarded(&tools::find("weed")?);
    let (data, identities) = (scratch.join("data"), scratch.join("identities.json"));
    command
        .args(["mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false"])
        .args(["-admin.ui=false", "-master.telemetry=false"])
        .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
        .arg(format!("-dir={}", data.display()))
        .arg(format!("-s3.config={}", identities.display()))
        .current_dir(scratch.path());
    for (option, port) in PORTS.iter().zip(ports) {
        command.arg(format!("-{option}={}", port.number()));
    }
    let mut process = Process::spawn("weed", command, &scratch.join("s3.log"))?;
    let (master, s3) = (ports[MASTER].number(), ports[S3].number());
    let volume_server = format!("127.0.0.1:{}", ports[VOLUME].number());
    process.until("S3 is healthy and has its volume server", START, || {
        let get = |port, path| {
            let answer = http::request("GET", port, path).ok()?;
            (answer.status == 200).then_some(answer.body)
        };
        get(s3, "/healthz")?;
        let topology = get(master, "/dir/status")?;
        topology.contains(&volume_server).then_some(())
    })?;
    Ok(process)
}
