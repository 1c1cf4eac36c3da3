//! A private Kubernetes control plane: etcd and kube-apiserver with RBAC and Lagan's CRDs. There is no
//! controller-manager: no object is collected through owner references, and no ServiceAccount gets a token by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::http;
use crate::ports::ReservedPort;
use crate::process::{Output, Process, guarded, run};
use crate::scratch::Scratch;
use crate::tools;
use crate::wait::eventually;

const START: Duration = Duration::from_secs(90);
const COMMAND: Duration = Duration::from_secs(60);
const ADMIN: &str = "admin-token-of-the-tests";
/// An audit policy that logs the requests of ServiceAccounts and the status of the answers, without bodies.
const AUDIT: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, userGroups: ['system:serviceaccounts']}
- {level: None}
";

pub struct ControlPlane {
    // Dropped first: servers must not write into a folder that is being removed.
    api: Mutex<Option<Process>>,
    etcd: Mutex<Option<Process>>,
    port: ReservedPort,
    etcd_port: ReservedPort,
    peer_port: ReservedPort,
    scratch: Scratch,
}

impl ControlPlane {
    /// One control plane for all tests of a process that run at the same time; each test uses its own namespace.
    pub fn shared() -> Result<Arc<Self>> {
        static SHARED: Mutex<Weak<ControlPlane>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        let started = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&started);
        Ok(started)
    }

    /// A new control plane with the CRDs of both groups and AppBinding.
    pub fn start() -> Result<Self> {
        let plane = Self::bare()?;
        plane.install_crds(&["lagan", "stash", "appcatalog"])?;
        Ok(plane)
    }

    /// A new control plane without CRDs.
    pub fn bare() -> Result<Self> {
        let scratch = Scratch::new("kube")?;
        let (port, etcd_port, peer_port) =
            (ReservedPort::reserve()?, ReservedPort::reserve()?, ReservedPort::reserve()?);
        scratch.private_file("tokens.csv", &format!("{ADMIN},admin,admin,\"system:masters\"\n"))?;
        let mut key = guarded(&tools::find("openssl")?);
        key.args(["genrsa", "-out"]).arg(scratch.join("accounts.key")).arg("2048");
        run(key, COMMAND)?.success().context("making the key of ServiceAccounts")?;
        let plane = Self { api: Mutex::default(), etcd: Mutex::default(), port, etcd_port, peer_port, scratch };
        plane.start_etcd()?;
        plane.start_api()?;
        plane.write_kubeconfig("admin.kubeconfig", plane.port.number(), ADMIN)?;
        Ok(plane)
    }

    fn start_etcd(&self) -> Result<()> {
        let (client, peer) = (self.etcd_url(), format!("http://127.0.0.1:{}", self.peer_port.number()));
        let mut command = guarded(&tools::control_plane("etcd")?);
        command
            .arg("--unsafe-no-fsync")
            .arg("--data-dir")
            .arg(self.scratch.join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "warn"]);
        let process = Process::spawn("etcd", command, &self.scratch.join("etcd.log"))?;
        *self.etcd.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        Ok(())
    }

    fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_port.number())
    }

    /// Starts the API server, also after [`Self::stop_api`]: same port, same data.
    pub fn start_api(&self) -> Result<()> {
        let key = self.scratch.join("accounts.key");
        let policy = self.scratch.private_file("audit.yaml", AUDIT)?;
        let mut command = guarded(&tools::control_plane("kube-apiserver")?);
        command
            .args(["--etcd-servers", &self.etcd_url(), "--bind-address=127.0.0.1"])
            .arg(format!("--secure-port={}", self.port.number()))
            .arg("--cert-dir")
            .arg(self.scratch.join("certs"))
            .arg("--service-account-key-file")
            .arg(&key)
            .arg("--service-account-signing-key-file")
            .arg(&key)
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg("--token-auth-file")
            .arg(self.scratch.join("tokens.csv"))
            .arg("--audit-policy-file")
            .arg(policy)
            .arg("--audit-log-path")
            .arg(self.audit_log())
            .args(["--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/24"])
            .args(["--disable-admission-plugins=ServiceAccount", "--allow-privileged=true"]);
        let mut process = Process::spawn("kube-apiserver", command, &self.scratch.join("api.log"))?;
        let ready = || {
            let mut ask = self.kubectl_command("--request-timeout=2s");
            ask.args(["get", "--raw", "/readyz"]);
            run(ask, COMMAND).ok()?.status.success().then_some(())
        };
        self.write_kubeconfig("admin.kubeconfig", self.port.number(), ADMIN)?;
        process.until("kube-apiserver is ready", START, ready)?;
        *self.api.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        Ok(())
    }

    /// Copies everything that the API server has stored. etcd is stopped for it, and started again.
    pub fn copy_etcd(&self) -> Result<()> {
        self.stop_etcd()?;
        copy_folder(&self.scratch.join("etcd"), &self.scratch.join("etcd-copy"))?;
        self.start_etcd()
    }

    /// Stops the API server and starts it again on the copy.
    pub fn roll_etcd_back(&self) -> Result<()> {
        self.stop_api()?;
        self.stop_etcd()?;
        fs::remove_dir_all(self.scratch.join("etcd"))?;
        copy_folder(&self.scratch.join("etcd-copy"), &self.scratch.join("etcd"))?;
        self.start_etcd()?;
        self.start_api()
    }

    fn stop_etcd(&self) -> Result<()> {
        let process = self.etcd.lock().unwrap_or_else(PoisonError::into_inner).take();
        process.context("no etcd runs")?.kill9().map(drop)
    }

    fn audit_log(&self) -> PathBuf {
        self.scratch.join("audit.log")
    }

    /// Lists the requests of a ServiceAccount as `code verb path`. A watch is listed when it ends.
    pub fn requests_of(&self, namespace: &str, account: &str) -> Result<Vec<String>> {
        let user = format!("system:serviceaccount:{namespace}:{account}");
        let text = fs::read_to_string(self.audit_log()).context("the API server's audit log")?;
        // The last line may be incomplete.
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let own = events.filter(|event| event["user"]["username"] == user.as_str());
        let line = |event: Value| {
            let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", event["responseStatus"]["code"], part(&event["verb"]), part(&event["requestURI"]))
        };
        Ok(own.map(line).collect())
    }

    /// Kills the API server; etcd and its data stay.
    pub fn stop_api(&self) -> Result<()> {
        let process = self.api.lock().unwrap_or_else(PoisonError::into_inner).take();
        process.context("no kube-apiserver runs")?.kill9().map(drop)
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.scratch.join("admin.kubeconfig")
    }

    /// A kubeconfig for a token and a port, such as that of a proxy.
    pub fn write_kubeconfig(&self, name: &str, port: u16, token: &str) -> Result<PathBuf> {
        let text = format!(
            "apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: 'https://127.0.0.1:{port}', insecure-skip-tls-verify: true}}}}]
users: [{{name: test, user: {{token: '{token}'}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test, namespace: default}}}}]
current-context: test
"
        );
        self.scratch.private_file(name, &text)
    }

    /// A kubeconfig with the admin's rights for another port.
    pub fn admin_through(&self, port: u16) -> Result<PathBuf> {
        self.write_kubeconfig(&format!("admin-{port}.kubeconfig"), port, ADMIN)
    }

    /// Starts `kubectl proxy`, which serves the API without TLS on this port, with the admin's rights.
    pub fn plain(&self, port: &ReservedPort) -> Result<Process> {
        let mut command = self.kubectl_command("proxy");
        command.arg(format!("--port={}", port.number()));
        let mut process = Process::spawn("kubectl proxy", command, &self.scratch.join("kubectl-proxy.log"))?;
        process.wait_for_log("Starting to serve", START)?;
        Ok(process)
    }

    /// A kubeconfig without a login for an address without TLS.
    pub fn plain_kubeconfig(&self, port: u16) -> Result<PathBuf> {
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\n\
             users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
        );
        self.scratch.private_file(&format!("plain-{port}.kubeconfig"), &text)
    }

    /// Installs the committed CRDs.
    pub fn install_crds(&self, folders: &[&str]) -> Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests crate has no parent folder")?;
        for folder in folders {
            let dir = root.join("deploy/crds").join(folder);
            self.kubectl(&["apply", "--server-side", "-f", &dir.to_string_lossy()])?;
        }
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?;
        Ok(())
    }

    fn kubectl_command(&self, first: &str) -> Command {
        // If the program is missing, starting it says so.
        let program = tools::control_plane("kubectl").unwrap_or_else(|_| PathBuf::from("kubectl"));
        let mut command = guarded(&program);
        command.env_clear().env("HOME", self.scratch.path()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.arg("--kubeconfig").arg(self.kubeconfig()).arg(first);
        command
    }

    /// Runs kubectl to its end; the caller looks at the exit code.
    pub fn try_kubectl(&self, args: &[&str]) -> Result<Output> {
        let (first, rest) = args.split_first().context("kubectl needs arguments")?;
        let mut command = self.kubectl_command(first);
        command.args(rest);
        run(command, COMMAND)
    }

    /// The stdout of a kubectl command that must succeed.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        let done = self.try_kubectl(args)?.success();
        Ok(done.with_context(|| format!("kubectl {}", args.join(" ")))?.text())
    }

    pub fn kubectl_json(&self, args: &[&str]) -> Result<Value> {
        let mut args = args.to_vec();
        args.extend(["-o", "json"]);
        serde_json::from_str(&self.kubectl(&args)?).context("kubectl prints JSON")
    }

    /// Runs `kubectl VERB -n NAMESPACE -f` with a manifest.
    pub fn manifest(&self, verb: &str, namespace: &str, yaml: &str) -> Result<Output> {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile_in(self.scratch.path())?;
        fs::write(file.path(), yaml)?;
        self.try_kubectl(&[verb, "-n", namespace, "-f", &file.path().to_string_lossy()])
    }

    pub fn apply(&self, namespace: &str, yaml: &str) -> Result<String> {
        Ok(self.manifest("apply", namespace, yaml)?.success().with_context(|| format!("applying\n{yaml}"))?.text())
    }

    /// Creates a namespace that no other test has.
    pub fn namespace(&self, what: &str) -> Result<String> {
        let name = format!("{what}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        self.kubectl(&["create", "namespace", &name])?;
        Ok(name)
    }

    /// A token of a ServiceAccount, as its pods have it.
    pub fn token(&self, namespace: &str, account: &str) -> Result<String> {
        let token = self.kubectl(&["create", "token", account, "-n", namespace, "--duration=1h"])?;
        ensure!(!token.trim().is_empty(), "no token for {namespace}/{account}");
        Ok(token.trim().to_owned())
    }

    /// Compacts old revisions, so that a watch that continues from one of them is rejected as too old.
    pub fn compact(&self) -> Result<()> {
        let port = self.etcd_port.number();
        let state = http::post_json(port, "/v3/maintenance/status", "{}")?;
        let state: Value = serde_json::from_str(&state.body).context("etcd tells its state")?;
        let revision = state["header"]["revision"].as_str().context("etcd has a revision")?.to_owned();
        let body = format!("{{\"revision\":\"{revision}\",\"physical\":true}}");
        let answer = http::post_json(port, "/v3/kv/compaction", &body)?;
        ensure!(answer.status == 200, "etcd refuses to compact: {}", answer.body);
        Ok(())
    }

    /// Waits until an object meets the condition, and returns it.
    #[track_caller]
    pub fn until(
        &self,
        what: &str,
        patience: Duration,
        object: &[&str],
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let mut args = vec!["get"];
        args.extend(object);
        let mut last = Value::Null;
        let found = eventually(what, patience, || {
            let found = self.kubectl_json(&args).ok()?;
            last = found.clone();
            wanted(&found).then_some(found)
        });
        found.with_context(|| format!("{} is\n{last:#}", object.join(" ")))
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
