//! The configuration file of the private nats-server. It holds the token, so only its owner may read it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::{ServerError, ServerOptions};

pub(super) struct Config {
    pub port: u16,
    /// The server's greeting must carry this name: another program may listen on the port.
    pub name: String,
    pub token: SecretString,
    pub path: PathBuf,
    pub log: PathBuf,
}

impl Config {
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

pub(super) fn write(options: &ServerOptions) -> Result<Config, ServerError> {
    let directory = &options.directory;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ServerError::Prepare { path, source }
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed(directory))?;
    let directory = directory.canonicalize().map_err(failed(directory))?;
    let port = match options.port {
        0 => free_port().map_err(ServerError::Port)?,
        port => port,
    };
    let config = Config {
        port,
        name: format!("lagan-{}", uuid::Uuid::new_v4().simple()),
        token: format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()).into(),
        path: directory.join("nats-server.conf"),
        log: directory.join("nats-server.log"),
    };
    let text = text(options, &config, &directory);
    write_private(&config.path, &text).map_err(failed(&config.path))?;
    Ok(config)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn text(options: &ServerOptions, config: &Config, directory: &Path) -> String {
    let monitoring = options.monitoring.map(|port| format!("http: \"127.0.0.1:{port}\"\n")).unwrap_or_default();
    format!(
        r#"# Written by Lagan at every start.
server_name: "{name}"
listen: "127.0.0.1:{port}"
{monitoring}authorization {{ token: "{token}" }}
log_file: {log}
logfile_size_limit: 10MB
logfile_max_num: 3
lame_duck_duration: "30s"
jetstream {{
  store_dir: {store}
  max_file_store: {file}
  max_memory_store: {memory}
  # The default syncs every two minutes, and a power cut would lose whole streams.
  sync_interval: always
}}
"#,
        name = config.name,
        port = config.port,
        token = config.token.expose_secret(),
        log = quoted(&config.log),
        store = quoted(&directory.join("jetstream")),
        file = options.max_file_bytes,
        memory = options.max_memory_bytes,
    )
}

fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // An existing file would keep its mode.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())
}
