//! The way of a client to its server, as the text of a defaults-file that exists only in memory. Nothing of it stands in
//! argv or environment.

use lagan_schemas::plan::TlsMode;
use secrecy::{ExposeSecret, SecretString};

use super::version::ClientVersion;
use crate::connection::Connection;
use crate::process::{Program, secret_path};

/// The option file parser of the clients cuts lines at 4096 bytes, silently.
const VALUE_BYTES: usize = 1500;

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

/// Whether a mode forbids a connection in clear text. No option of the clients says so, so preflights look at the cipher of
/// their own connection; an attacker on the network's path who changes later connections is not noticed.
pub(super) const fn needs_encryption(mode: TlsMode) -> bool {
    !matches!(mode, TlsMode::Disabled | TlsMode::Preferred)
}

fn check(connection: &Connection) -> Result<(), ConnectionError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if connection.host.is_empty() || connection.host.starts_with('-') || !connection.host.chars().all(plain) {
        return Err(ConnectionError::Host(connection.host.clone()));
    }
    if connection.port == 0 {
        return Err(ConnectionError::Port);
    }
    if connection.user.is_empty() {
        return Err(ConnectionError::Empty("user name"));
    }
    for (field, value) in [("user name", connection.user.as_str()), ("password", connection.password.expose_secret())] {
        if value.contains(['\n', '\r', '\0']) {
            return Err(ConnectionError::LineBreak(field));
        }
        if value.len() > VALUE_BYTES {
            return Err(ConnectionError::TooLong { field });
        }
    }
    match (&connection.tls.mode, &connection.tls.server_name) {
        (TlsMode::VerifyCa, _) if connection.tls.ca_pem.is_none() => Err(ConnectionError::NoCa),
        (TlsMode::VerifyIdentity, Some(server_name)) if *server_name != connection.host => {
            let (server_name, host) = (server_name.clone(), connection.host.clone());
            Err(ConnectionError::ServerName { server_name, host })
        }
        _ => Ok(()),
    }
}

/// Makes a client program use a connection: the defaults-file becomes its first argument, as it must.
///
/// Certificates go the same way as the password, each in a memory file of its own, so that nothing is left
/// in a directory when this process is killed.
pub fn attach(connection: &Connection, program: &mut Program, client: &ClientVersion) -> Result<(), ConnectionError> {
    check(connection)?;
    let first = program.secret_files.len();
    program.args.insert(0, format!("--defaults-file={}", secret_path(first)));
    let mut files = vec![SecretString::default()];
    let mut add = |content: SecretString| {
        files.push(content);
        secret_path(first + files.len() - 1)
    };
    let ca = connection.tls.ca_pem.as_ref().map(|pem| add(pem.as_str().into()));
    let certificate = connection.tls.client.as_ref().map(|client| {
        let certificate = add(client.cert_pem.as_str().into());
        (certificate, add(client.key_pem.clone()))
    });
    files[0] = defaults(connection, client, ca.as_deref(), certificate.as_ref()).into();
    program.secret_files.append(&mut files);
    program.redact.push(connection.password.clone());
    Ok(())
}

fn defaults(
    connection: &Connection,
    client: &ClientVersion,
    ca: Option<&str>,
    certificate: Option<&(String, String)>,
) -> String {
    let mut lines = vec![
        "[client]".to_owned(),
        // Without it `localhost` means a socket, which may be another server.
        "protocol=TCP".to_owned(),
        format!("host={}", quoted(&connection.host)),
        format!("port={}", connection.port),
        format!("user={}", quoted(&connection.user)),
        format!("password={}", quoted(connection.password.expose_secret())),
    ];
    // Clients before 11.4 neither use nor verify TLS unless told, later ones do both: always say it.
    let verify = match connection.tls.mode {
        TlsMode::VerifyIdentity => true,
        // Before 11.4 a CA alone makes the client verify the chain; later ones verify all or nothing.
        TlsMode::VerifyCa => client.at_least(11, 4, 0),
        TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required => false,
    };
    let used = connection.tls.mode != TlsMode::Disabled;
    lines.push(format!("ssl={}", u8::from(used)));
    lines.push(format!("ssl-verify-server-cert={}", u8::from(verify)));
    // A CA given with a weaker mode would make the client verify after all.
    if let (Some(ca), TlsMode::VerifyCa | TlsMode::VerifyIdentity) = (ca, connection.tls.mode) {
        lines.push(format!("ssl-ca={ca}"));
    }
    if let (Some((cert, key)), true) = (certificate, used) {
        lines.push(format!("ssl-cert={cert}"));
        lines.push(format!("ssl-key={key}"));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::connection::ConnectionTls;

    fn connection(password: &str) -> Connection {
        Connection {
            host: "db.example".into(),
            port: 3306,
            user: "backup".into(),
            password: password.into(),
            tls: ConnectionTls::of_mode(TlsMode::Preferred),
        }
    }

    fn version() -> ClientVersion {
        ClientVersion::parse("mariadb  Ver 15.1 Distrib 10.11.19-MariaDB, for debian").unwrap()
    }

    #[test]
    fn the_defaults_file_is_the_first_argument_and_holds_the_quoted_password() {
        let mut program = Program { args: vec!["--batch".into()], ..Program::new("/usr/bin/mariadb") };
        attach(&connection("a\"b\\c#d'e"), &mut program, &version()).unwrap();
        assert_eq!(program.args, ["--defaults-file=/proc/self/fd/3", "--batch"]);
        let text = program.secret_files[0].expose_secret();
        assert!(text.contains("\npassword=\"a\\\"b\\\\c#d'e\"\n"), "{text}");
        assert!(text.contains("protocol=TCP\n") && text.contains("ssl=1\nssl-verify-server-cert=0\n"));
    }

    #[test]
    fn values_that_an_option_file_cannot_hold_are_refused() {
        assert_eq!(check(&connection("a\nb")), Err(ConnectionError::LineBreak("password")));
        assert_eq!(check(&connection(&"x".repeat(2000))), Err(ConnectionError::TooLong { field: "password" }));
        for host in ["", "a b", "--help", "/run/mysqld.sock", "a;b", "a\nb"] {
            let refused = check(&Connection { host: host.into(), ..connection("x") });
            assert_eq!(refused, Err(ConnectionError::Host(host.into())));
        }
    }

    #[test]
    fn each_tls_mode_says_everything_explicitly() {
        let text = |mode| {
            let tls = ConnectionTls { ca_pem: Some("PEM".into()), ..ConnectionTls::of_mode(mode) };
            let mut program = Program::new("/usr/bin/mariadb");
            attach(&Connection { tls, ..connection("x") }, &mut program, &version()).unwrap();
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
