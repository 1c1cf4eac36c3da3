//! Everything that is needed to run a step's program against its server: programs from the allow-list, address, login.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use lagan_schemas::error::{Code, Failure};
use lagan_schemas::plan::{Database, Step, TlsMode};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::intent::{Intent, secret_failure};
use crate::process::Spawner;

/// A step and the server that it talks to.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub spawner: Spawner,
    pub programs: Programs,
    /// Name of the Function, for messages.
    pub function: String,
    pub executable: PathBuf,
    /// The Function's arguments and the user's. The engine judges them together.
    pub arguments: Vec<String>,
    pub endpoint: Endpoint,
    /// How long the server is waited for.
    pub wait: Duration,
    pub cancel: CancellationToken,
}

/// Address and login of a server.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: SecretString,
    pub tls: Tls,
}

#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub mode: TlsMode,
    pub ca_pem: Option<String>,
    pub client: Option<ClientCertificate>,
    /// The name in the server's certificate, where it is not the host's.
    pub server_name: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct ClientCertificate {
    pub cert_pem: String,
    pub key_pem: SecretString,
}

/// The programs that plans may name, by name. Only these are run, whatever a plan says.
#[derive(Debug, Clone)]
pub(crate) struct Programs(Arc<BTreeMap<String, PathBuf>>);

impl Programs {
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
        (spawner, programs, intent): (&Spawner, &Programs, &Intent),
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
            endpoint: Endpoint::resolve(intent, database).await?,
            wait: Duration::from_secs(database.wait_seconds.into()),
            cancel: cancel.clone(),
        })
    }
}

impl Endpoint {
    async fn resolve(intent: &Intent, database: &Database) -> Result<Self, Failure> {
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
        Ok(Self {
            host: database.host.clone(),
            port: database.port,
            user: login.user,
            password: login.password,
            tls: Tls { mode: tls.mode, ca_pem: ca_pem(database)?, client, server_name: tls.server_name.clone() },
        })
    }
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
