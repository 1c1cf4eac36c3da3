//! The way of a client to its server, as the text of a defaults-file that exists only in memory. Nothing of it stands in
//! argv or environment.

use secrecy::{ExposeSecret, SecretString};

use super::version::ClientVersion;
use crate::process::{Program, secret_path};

/// The option file parser of the clients cuts lines at 4096 bytes, silently.
const VALUE_BYTES: usize = 1500;

#[derive(Debug, Clone)]
pub struct Connection {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: SecretString,
    pub tls: Tls,
}

#[derive(Debug, Clone, Default)]
pub struct Tls {
    pub mode: TlsMode,
    pub ca_pem: Option<String>,
    pub client: Option<ClientCertificate>,
    /// The name in the server's certificate, where it is not the host's. The clients cannot check another name.
    pub server_name: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    Disabled,
    /// TLS if the server offers it; nothing is verified.
    #[default]
    Preferred,
    /// Refused if the connection is not encrypted. No client option says this, so preflights look at the cipher
    /// of their own connection; somebody in the network's path who changes later connections is not noticed.
    Required,
    /// Required, and the server's certificate is signed by the CA.
    VerifyCa,
    /// The certificate is verified and bears the host's name; the client itself refuses anything else.
    VerifyIdentity,
}

impl TlsMode {
    pub(super) const fn needs_encryption(self) -> bool {
        !matches!(self, Self::Disabled | Self::Preferred)
    }
}

#[derive(Debug, Clone)]
pub struct ClientCertificate {
    pub cert_pem: String,
    pub key_pem: SecretString,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    #[error("host `{0}` is not a host name or an address")]
    Host(String),
    #[error("port must be 1-65535")]
    Port,
    #[error("{0} must not be empty")]
    Empty(&'static str),
    #[error("{0} contains a line break or a NUL byte, which an option file cannot hold")]
    LineBreak(&'static str),
    #[error("{field} is longer than {VALUE_BYTES} bytes")]
    TooLong { field: &'static str },
    #[error("TLS mode `VerifyCa` needs a CA certificate")]
    NoCa,
    #[error(
        "TLS mode `VerifyIdentity` cannot check the name `{server_name}`: the client only checks the host it connects to, `{host}`"
    )]
    ServerName { server_name: String, host: String },
}

impl Connection {
    pub fn check(&self) -> Result<(), ConnectionError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if self.host.is_empty() || self.host.starts_with('-') || !self.host.chars().all(plain) {
            return Err(ConnectionError::Host(self.host.clone()));
        }
        if self.port == 0 {
            return Err(ConnectionError::Port);
        }
        if self.user.is_empty() {
            return Err(ConnectionError::Empty("user name"));
        }
        for (field, value) in [("user name", self.user.as_str()), ("password", self.password.expose_secret())] {
            if value.contains(['\n', '\r', '\0']) {
                return Err(ConnectionError::LineBreak(field));
            }
            if value.len() > VALUE_BYTES {
                return Err(ConnectionError::TooLong { field });
            }
        }
        match (&self.tls.mode, &self.tls.server_name) {
            (TlsMode::VerifyCa, _) if self.tls.ca_pem.is_none() => Err(ConnectionError::NoCa),
            (TlsMode::VerifyIdentity, Some(server_name)) if *server_name != self.host => {
                let (server_name, host) = (server_name.clone(), self.host.clone());
                Err(ConnectionError::ServerName { server_name, host })
            }
            _ => Ok(()),
        }
    }

    /// Makes a client program use this connection: the defaults-file becomes its first argument, as it must.
    ///
    /// Certificates go the same way as the password, each in a memory file of its own, so that nothing is left
    /// in a directory when this process is killed.
    pub fn attach(&self, program: &mut Program, client: &ClientVersion) -> Result<(), ConnectionError> {
        self.check()?;
        let first = program.secret_files.len();
        program.args.insert(0, format!("--defaults-file={}", secret_path(first)));
        let mut files = vec![SecretString::default()];
        let mut add = |content: SecretString| {
            files.push(content);
            secret_path(first + files.len() - 1)
        };
        let ca = self.tls.ca_pem.as_ref().map(|pem| add(pem.as_str().into()));
        let certificate = self.tls.client.as_ref().map(|client| {
            let certificate = add(client.cert_pem.as_str().into());
            (certificate, add(client.key_pem.clone()))
        });
        files[0] = self.defaults(client, ca.as_deref(), certificate.as_ref()).into();
        program.secret_files.append(&mut files);
        program.redact.push(self.password.clone());
        Ok(())
    }

    fn defaults(&self, client: &ClientVersion, ca: Option<&str>, certificate: Option<&(String, String)>) -> String {
        let mut lines = vec![
            "[client]".to_owned(),
            // Without it `localhost` means a socket, which may be another server.
            "protocol=TCP".to_owned(),
            format!("host={}", quoted(&self.host)),
            format!("port={}", self.port),
            format!("user={}", quoted(&self.user)),
            format!("password={}", quoted(self.password.expose_secret())),
        ];
        // Clients before 11.4 neither use nor verify TLS unless told, later ones do both: always say it.
        let verify = match self.tls.mode {
            TlsMode::VerifyIdentity => true,
            // Before 11.4 a CA alone makes the client verify the chain; later ones verify all or nothing.
            TlsMode::VerifyCa => client.at_least(11, 4, 0),
            TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required => false,
        };
        let used = self.tls.mode != TlsMode::Disabled;
        lines.push(format!("ssl={}", u8::from(used)));
        lines.push(format!("ssl-verify-server-cert={}", u8::from(verify)));
        // A CA given with a weaker mode would make the client verify after all.
        if let (Some(ca), TlsMode::VerifyCa | TlsMode::VerifyIdentity) = (ca, self.tls.mode) {
            lines.push(format!("ssl-ca={ca}"));
        }
        if let (Some((cert, key)), true) = (certificate, used) {
            lines.push(format!("ssl-cert={cert}"));
            lines.push(format!("ssl-key={key}"));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn connection(password: &str) -> Connection {
        Connection {
            host: "db.example".into(),
            port: 3306,
            user: "backup".into(),
            password: password.into(),
            tls: Tls::default(),
        }
    }

    fn version() -> ClientVersion {
        ClientVersion::parse("mariadb  Ver 15.1 Distrib 10.11.19-MariaDB, for debian").unwrap()
    }

    #[test]
    fn the_defaults_file_is_the_first_argument_and_holds_the_quoted_password() {
        let mut program = Program { args: vec!["--batch".into()], ..Program::new("/usr/bin/mariadb") };
        connection("a\"b\\c#d'e").attach(&mut program, &version()).unwrap();
        assert_eq!(program.args, ["--defaults-file=/proc/self/fd/3", "--batch"]);
        let text = program.secret_files[0].expose_secret();
        assert!(text.contains("\npassword=\"a\\\"b\\\\c#d'e\"\n"), "{text}");
        assert!(text.contains("protocol=TCP\n") && text.contains("ssl=1\nssl-verify-server-cert=0\n"));
    }

    #[test]
    fn values_that_an_option_file_cannot_hold_are_refused() {
        assert_eq!(connection("a\nb").check(), Err(ConnectionError::LineBreak("password")));
        assert_eq!(connection(&"x".repeat(2000)).check(), Err(ConnectionError::TooLong { field: "password" }));
        for host in ["", "a b", "--help", "/run/mysqld.sock", "a;b", "a\nb"] {
            let refused = Connection { host: host.into(), ..connection("x") }.check();
            assert_eq!(refused, Err(ConnectionError::Host(host.into())));
        }
    }

    #[test]
    fn each_tls_mode_says_everything_explicitly() {
        let text = |mode| {
            let tls = Tls { mode, ca_pem: Some("PEM".into()), ..Tls::default() };
            let mut program = Program::new("/usr/bin/mariadb");
            Connection { tls, ..connection("x") }.attach(&mut program, &version()).unwrap();
            program.secret_files[0].expose_secret().lines().skip(6).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(TlsMode::Disabled), "ssl=0 ssl-verify-server-cert=0");
        assert_eq!(text(TlsMode::Required), "ssl=1 ssl-verify-server-cert=0");
        assert_eq!(text(TlsMode::VerifyCa), "ssl=1 ssl-verify-server-cert=0 ssl-ca=/proc/self/fd/4");
        assert_eq!(text(TlsMode::VerifyIdentity), "ssl=1 ssl-verify-server-cert=1 ssl-ca=/proc/self/fd/4");
    }

    #[test]
    fn the_password_is_not_in_the_debug_text() {
        assert!(!format!("{:?}", connection("canary-5150")).contains("canary"));
    }
}
