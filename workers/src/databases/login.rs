//! Gives a program the address and login of its server, as the document of its engine says: by variables of its
//! environment, and by files that exist in memory only.

use std::net::IpAddr;
use std::path::Path;

use lagan_schemas::engine::{Engine, LoginVariable, PasswordLine, TlsWords};
use lagan_schemas::error::{Code, Failure};
use lagan_schemas::plan::TlsMode;
use secrecy::{ExposeSecret as _, SecretString};

use super::Access;
use crate::connection::Connection;
use crate::process::{Program, secret_path};

impl Access {
    /// The program with its login for one database of the server.
    pub fn program(&self, executable: &Path, engine: &Engine, database: &str) -> Result<Program, Failure> {
        let connection = &self.connection;
        let login = engine.login.as_ref().ok_or_else(|| format!("{} has no login in the catalogue", engine.name));
        let login = login.and_then(|login| check(connection).map(|()| login));
        let login = login.map_err(|why| Failure::new(Code::InvalidSpec, why))?;
        let mut program = Program::new(executable);
        program.redact.push(connection.password.clone());
        program.env.extend(login.constants.clone());
        for (name, variable) in &login.variables {
            program
                .env
                .extend(variable_of(connection, *variable, &login.tls, database).map(|value| (name.clone(), value)));
        }
        let files = login.files.iter().filter_map(|(name, file)| Some((name, connection.tls.file(*file)?)));
        let password = password_file(connection, &login.password);
        for (name, content) in files.chain([(&login.password.variable, password)]) {
            program.env.push((name.clone(), secret_path(program.secret_files.len())));
            program.secret_files.push(content);
        }
        Ok(program)
    }
}

fn check(connection: &Connection) -> Result<(), String> {
    // A client could take a path for a socket, a comma for another host, and a `=` for a whole connection string.
    let host = &connection.host;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || host.starts_with('-') || !host.chars().all(plain) {
        return Err(format!("host `{host}` is not a host name or an address"));
    }
    for (field, value) in [("user name", connection.user.as_str()), ("password", connection.password.expose_secret())] {
        if value.contains(['\n', '\r', '\0']) {
            return Err(format!("the {field} contains a line break or a NUL byte, which a password file cannot hold"));
        }
    }
    match &connection.tls.server_name {
        Some(name) if name != host && host.parse::<IpAddr>().is_err() => Err(format!(
            "`serverName: {name}` cannot be checked: the client checks the host it connects to, `{host}`; give its address as host"
        )),
        _ => Ok(()),
    }
}

/// The value of a variable; `None` if it is not set.
fn variable_of(connection: &Connection, variable: LoginVariable, tls: &TlsWords, database: &str) -> Option<String> {
    let other_name = connection.tls.server_name.as_ref().filter(|name| **name != connection.host);
    Some(match variable {
        LoginVariable::Host => other_name.unwrap_or(&connection.host).clone(),
        LoginVariable::Address => other_name.map(|_| connection.host.clone())?,
        LoginVariable::Port => connection.port.to_string(),
        LoginVariable::User => connection.user.clone(),
        LoginVariable::Database => database.to_owned(),
        LoginVariable::Tls => match connection.tls.mode {
            TlsMode::Disabled => tls.disabled.clone(),
            TlsMode::Preferred => tls.preferred.clone(),
            TlsMode::Required => tls.required.clone(),
            TlsMode::VerifyCa => tls.verify_ca.clone(),
            TlsMode::VerifyIdentity => tls.verify_identity.clone(),
        },
    })
}

fn password_file(connection: &Connection, form: &PasswordLine) -> SecretString {
    let mut line = form.start.clone();
    for character in connection.password.expose_secret().chars() {
        line.extend(form.escaped.contains(character).then_some('\\').into_iter().chain([character]));
    }
    format!("{line}\n").into()
}
