//! The way of a client to its server, as the text of a defaults-file that exists only in memory. Nothing of it stands in
//! argv or environment.

use lagan_schemas::plan::TlsMode;
use secrecy::ExposeSecret;

use super::engine;
use super::version::ClientVersion;
use crate::connection::Connection;
use crate::process::{Program, secret_path};

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
    #[error("{field} is longer than {longest} bytes")]
    TooLong { field: &'static str, longest: usize },
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

fn check(connection: &Connection, longest: usize) -> Result<(), ConnectionError> {
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
        if value.len() > longest {
            return Err(ConnectionError::TooLong { field, longest });
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

/// Makes a client program use a connection: the option file becomes its first argument, as it must.
///
/// Certificates go the same way as the password, each in a memory file of its own, so that nothing is left
/// in a directory when this process is killed.
pub fn attach(connection: &Connection, program: &mut Program, client: &ClientVersion) -> Result<(), ConnectionError> {
    let form = engine().option_file.as_ref().expect("the catalogue has one, and a test reads it");
    check(connection, form.longest_value)?;
    let first = program.secret_files.len();
    program.args.insert(0, format!("{}{}", form.argument, secret_path(first)));
    let mut lines = form.lines.clone();
    lines.extend([
        format!("{}={}", form.host, quoted(&connection.host)),
        format!("{}={}", form.port, connection.port),
        format!("{}={}", form.user, quoted(&connection.user)),
        format!("{}={}", form.password, quoted(connection.password.expose_secret())),
    ]);
    let tls = form.tls.form(connection.tls.mode, client.numbers()).expect("every mode has a form for every version");
    lines.extend(tls.lines.clone());
    let mut files = Vec::new();
    for (option, file) in &tls.files {
        if let Some(content) = connection.tls.file(*file) {
            files.push(content);
            lines.push(format!("{option}={}", secret_path(first + files.len())));
        }
    }
    lines.push(String::new());
    program.secret_files.push(lines.join("\n").into());
    program.secret_files.append(&mut files);
    program.redact.push(connection.password.clone());
    Ok(())
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
        let check = |connection: &Connection| check(connection, 1500);
        assert_eq!(check(&connection("a\nb")), Err(ConnectionError::LineBreak("password")));
        assert_eq!(
            check(&connection(&"x".repeat(2000))),
            Err(ConnectionError::TooLong { field: "password", longest: 1500 })
        );
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
