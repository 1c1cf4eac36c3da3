//! Everything that is needed to run a step's program against its server: programs from the allow-list, address, login.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use lagan_schemas::error::{Code, Failure};
use lagan_schemas::plan::{Database, Step};
use tokio_util::sync::CancellationToken;

use crate::connection::{ClientCertificate, Connection, ConnectionTls};
use crate::intent::{Intent, secret_failure};
use crate::process::Spawner;
use crate::session::verdict::MOMENT;

/// A step and the server that it talks to.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub spawner: Spawner,
    pub programs: AllowedPrograms,
    /// Name of the Function, for messages.
    pub function: String,
    pub executable: PathBuf,
    /// The Function's arguments and the user's. The engine judges them together.
    pub arguments: Vec<String>,
    pub connection: Connection,
    /// How long the server is waited for in the slot of the worker.
    pub wait: Duration,
    pub cancel: CancellationToken,
}

/// The programs that plans may name, by name. Only these are run, whatever a plan says.
#[derive(Debug, Clone)]
pub(crate) struct AllowedPrograms(Arc<BTreeMap<String, PathBuf>>);

impl AllowedPrograms {
    pub fn new(programs: BTreeMap<String, PathBuf>) -> Self {
        Self(Arc::new(programs))
    }

    pub fn find(&self, name: &str) -> Result<PathBuf, Failure> {
        let by_path = || self.0.values().find(|path| path.as_os_str() == name);
        self.0.get(name).or_else(by_path).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            let known = known.join(", ");
            let message = format!("program `{name}` is not on this worker's allow-list, which has: {known}");
            Failure::new(Code::ProgramNotAllowed, message)
        })
    }
}

impl Access {
    /// Reads the login at its source.
    pub async fn resolve(
        (spawner, programs, intent): (&Spawner, &AllowedPrograms, &Intent),
        database: &Database,
        step: &Step,
        cancel: &CancellationToken,
    ) -> Result<Self, Failure> {
        Ok(Self {
            spawner: spawner.clone(),
            programs: programs.clone(),
            function: step.function.clone(),
            executable: programs.find(&step.program)?,
            arguments: step.args.iter().chain(&step.user_args).cloned().collect(),
            connection: connection(intent, database).await?,
            wait: Duration::from_secs(database.wait_seconds.into()).min(MOMENT),
            cancel: cancel.clone(),
        })
    }
}

/// Reads the login of a database, and its client certificate, at their source.
async fn connection(intent: &Intent, database: &Database) -> Result<Connection, Failure> {
    let login = intent.login(database).await?;
    let tls = &database.tls;
    let client = match &tls.client_secret {
        None => None,
        Some(name) => {
            let secret = intent.secret(&database.credentials.namespace, name).await?;
            let text = |key: &str| secret.text(key).map_err(|error| secret_failure(&error));
            Some(ClientCertificate { cert_pem: text("tls.crt")?, key_pem: text("tls.key")?.into() })
        }
    };
    let tls = ConnectionTls { mode: tls.mode, ca_pem: ca_pem(database)?, client, server_name: tls.server_name.clone() };
    let (host, port) = (database.host.clone(), database.port);
    Ok(Connection { host, port, user: login.user, password: login.password, tls })
}

/// The certificate authorities that the AppBinding trusts.
pub(crate) fn ca_pem(database: &Database) -> Result<Option<String>, Failure> {
    let invalid =
        |why: &str| Failure::new(Code::InvalidSpec, format!("AppBinding {}: {why}", database.credentials.app_binding));
    let Some(bundle) = &database.tls.ca_bundle else { return Ok(None) };
    let compact: String = bundle.split_ascii_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(compact);
    let bytes = bytes.map_err(|_| invalid("clientConfig.caBundle is not base64"))?;
    String::from_utf8(bytes).map(Some).map_err(|_| invalid("clientConfig.caBundle is not PEM text"))
}
