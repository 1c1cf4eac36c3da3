//! The address and login of a database server, for every engine. Engines decide how a program receives them.

use lagan_schemas::engine::TlsFile;
use lagan_schemas::plan::TlsMode;
use secrecy::SecretString;

/// Address and login of a server.
#[derive(Debug, Clone)]
pub struct Connection {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: SecretString,
    pub tls: ConnectionTls,
}

/// The TLS settings of a connection, with the certificates themselves in place of the names of their Secrets.
#[derive(Debug, Clone)]
pub struct ConnectionTls {
    pub mode: TlsMode,
    pub ca_pem: Option<String>,
    pub client: Option<ClientCertificate>,
    /// The name in the server's certificate, where it is not the host's.
    pub server_name: Option<String>,
}

/// A certificate by which a client logs in, and its key.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    pub cert_pem: String,
    pub key_pem: SecretString,
}

impl ConnectionTls {
    /// Settings without certificates.
    #[must_use]
    pub const fn of_mode(mode: TlsMode) -> Self {
        Self { mode, ca_pem: None, client: None, server_name: None }
    }

    /// The content of a file that a client reads for TLS, if there is any to give.
    #[must_use]
    pub fn file(&self, file: TlsFile) -> Option<SecretString> {
        let client = self.client.as_ref();
        match file {
            TlsFile::Authorities => self.ca_pem.as_deref().map(Into::into),
            TlsFile::Certificate => client.map(|client| client.cert_pem.as_str().into()),
            TlsFile::Key => client.map(|client| client.key_pem.clone()),
        }
    }
}
