//! Reads the files that hold a login for a NATS server. It must not connect.

use std::fs;
use std::path::Path;

use lagan_bus::Auth;

use crate::args::NatsLogin;
use crate::error::{Exit, Problem};

/// The login that the options name; `Auth::None` if they name none.
pub fn auth(login: &NatsLogin) -> Result<Auth, Problem> {
    if let Some(file) = &login.nats_creds {
        return Ok(Auth::Credentials(file.clone()));
    }
    if let Some(file) = &login.nats_user_file {
        let text = read("--nats-user-file", file)?;
        let (user, password) = text.split_once(':').ok_or_else(|| {
            Problem::new(Exit::Usage, format!("--nats-user-file `{}` does not hold `user:password`", file.display()))
        })?;
        return Ok(Auth::User { user: user.to_owned(), password: password.to_owned().into() });
    }
    match &login.nats_token_file {
        Some(file) => Ok(Auth::Token(read("--nats-token-file", file)?.into())),
        None => Ok(Auth::None),
    }
}

/// The only line of a file; editors and `echo` end it with a line break that is no part of the secret.
fn read(option: &str, file: &Path) -> Result<String, Problem> {
    let failed = |why: &dyn std::fmt::Display| {
        Problem::new(Exit::Failed, format!("{option} `{}` can't be read: {why}", file.display()))
    };
    let text = fs::read_to_string(file).map_err(|error| failed(&error))?;
    let line = text.trim_matches(['\r', '\n']);
    if line.is_empty() {
        return Err(failed(&"it is empty"));
    }
    if line.contains(['\r', '\n']) {
        return Err(failed(&"it holds several lines, and a login is one line"));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn login(text: &str) -> Result<Auth, Problem> {
        let file = std::env::temp_dir().join(format!("lagan-cli-{}", uuid::Uuid::new_v4()));
        fs::write(&file, text).unwrap();
        let login = NatsLogin {
            nats_token_file: None,
            nats_creds: None,
            nats_user_file: Some(file.clone()),
            nats_ca: None,
            nats_domain: None,
        };
        let auth = auth(&login);
        fs::remove_file(file).unwrap();
        auth
    }

    #[test]
    fn line_breaks_around_a_login_are_no_part_of_it() {
        for text in ["lagan:a:b", "lagan:a:b\n", "\r\nlagan:a:b\r\n"] {
            let Ok(Auth::User { user, password }) = login(text) else { panic!("{text:?}") };
            assert_eq!((user.as_str(), secrecy::ExposeSecret::expose_secret(&password)), ("lagan", "a:b"));
        }
    }

    #[test]
    fn a_login_that_is_not_one_line_is_refused_with_the_file() {
        for (text, why) in
            [("", "is empty"), ("\n", "is empty"), ("a:b\nc:d\n", "several lines"), ("abc", "user:password")]
        {
            let told = login(text).unwrap_err().to_string();
            assert!(told.contains("--nats-user-file `") && told.contains(why), "{told}");
        }
    }
}
