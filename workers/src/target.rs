//! A plan's target as something to talk to: programs from the allow-list, a connection with its credentials.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::plan::{Database, Step, TlsMode as PlanTls};
use tokio_util::sync::CancellationToken;

use crate::intent::secret_failure;
use crate::mariadb::{Client, ClientCertificate, Connection, Tls, TlsMode};
use crate::worker::Worker;

const CLIENT: &str = "mariadb";

/// One step, ready to be run.
pub(crate) struct Target<'a> {
    pub step: &'a Step,
    pub executable: PathBuf,
    pub client: Client,
    pub wait: Duration,
}

impl<'a> Target<'a> {
    pub async fn resolve(
        worker: &Worker,
        database: &Database,
        step: &'a Step,
        cancel: &CancellationToken,
    ) -> Result<Self, Failure> {
        let executable = program(worker, &step.program)?;
        let mariadb = program(worker, CLIENT)?;
        let version = worker.versions.of(&worker.spawner, mariadb.clone(), cancel).await;
        let version = version.map_err(|error| Failure::new(Code::ProgramNotAllowed, chain(&error)))?;
        let connection = connection(worker, database).await?;
        let client = Client { spawner: worker.spawner.clone(), mariadb, version, connection, cancel: cancel.clone() };
        Ok(Self { step, executable, client, wait: Duration::from_secs(database.wait_seconds.into()) })
    }

    /// The Function's arguments and the user's, which the database's own rules judge together.
    pub fn arguments(&self) -> Vec<String> {
        self.step.args.iter().chain(&self.step.user_args).cloned().collect()
    }
}

/// Only programs that the administrator allows are run, whatever a plan says.
fn program(worker: &Worker, name: &str) -> Result<PathBuf, Failure> {
    let by_name = worker.programs.get(name);
    let by_path = || worker.programs.values().find(|path| path.as_os_str() == name);
    by_name.or_else(by_path).cloned().ok_or_else(|| {
        let known: Vec<&str> = worker.programs.keys().map(String::as_str).collect();
        let message = format!("program `{name}` is not on this worker's allow-list, which has: {}", known.join(", "));
        Failure::new(Code::ProgramNotAllowed, message)
    })
}

async fn connection(worker: &Worker, database: &Database) -> Result<Connection, Failure> {
    let login = worker.intent.login(database).await?;
    let tls = &database.tls;
    let ca_pem = ca_pem(database)?;
    let client = match &tls.client_secret {
        None => None,
        Some(name) => {
            let secret = worker.intent.secret(&database.credentials.namespace, name).await?;
            let text = |key: &str| secret.text(key).map_err(|error| secret_failure(&error));
            Some(ClientCertificate { cert_pem: text("tls.crt")?, key_pem: text("tls.key")?.into() })
        }
    };
    let mode = match tls.mode {
        PlanTls::Disabled => TlsMode::Disabled,
        PlanTls::Preferred => TlsMode::Preferred,
        PlanTls::Required => TlsMode::Required,
        PlanTls::VerifyCa => TlsMode::VerifyCa,
        PlanTls::VerifyIdentity => TlsMode::VerifyIdentity,
    };
    Ok(Connection {
        host: database.host.clone(),
        port: database.port,
        user: login.user,
        password: login.password,
        tls: Tls { mode, ca_pem, client, server_name: tls.server_name.clone() },
    })
}

/// The authorities that the AppBinding trusts.
pub(crate) fn ca_pem(database: &Database) -> Result<Option<String>, Failure> {
    let invalid = |what: &str| {
        Failure::new(Code::InvalidSpec, format!("AppBinding {}: {what}", database.credentials.app_binding))
    };
    let Some(bundle) = &database.tls.ca_bundle else { return Ok(None) };
    let compact: String = bundle.split_ascii_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(compact);
    let bytes = bytes.map_err(|_| invalid("clientConfig.caBundle is not base64"))?;
    String::from_utf8(bytes).map(Some).map_err(|_| invalid("clientConfig.caBundle is not PEM text"))
}
