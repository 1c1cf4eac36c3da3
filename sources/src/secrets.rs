//! Secrets at their source, by name, at the time they are needed.
//! What comes from here is never published, logged or put in argv.

use lagan_schemas::resource::app_binding::{AppBindingSpec, DatabaseUrl};
use lagan_schemas::resource::secret::{Secret, SecretError};
use lagan_schemas::resource::{Kind, Object, Spec, kind};
use lagan_schemas::subject::ObjectKey;
use secrecy::SecretString;

use crate::folder::Folder;

/// User and password of a database.
#[derive(Debug, Clone)]
pub struct Login {
    pub user: String,
    pub password: SecretString,
}

#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("AppBinding `{0}` is not there any more")]
    AppBindingGone(String),
    #[error("secret `{0}` is not there")]
    SecretGone(String),
    #[error("AppBinding `{0}` names no Secret and its URL holds no user and password")]
    NoCredentials(String),
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Reads an AppBinding's credentials: its Secret with the transforms applied, else its own URL.
pub fn login(folder: &Folder, namespace: &str, app_binding: &str) -> Result<Login, LoginError> {
    let path = format!("{namespace}/{app_binding}");
    let key = ObjectKey {
        group: kind::APP_CATALOG.to_owned(),
        kind: Kind::AppBinding,
        namespace: Some(namespace.to_owned()),
        name: app_binding.to_owned(),
    };
    let Some(Object { spec: Spec::AppBinding(spec), .. }) = folder.object(&key) else {
        return Err(LoginError::AppBindingGone(path));
    };
    match &spec.secret {
        Some(reference) => {
            let find = |name: &str| folder.secret(namespace, name);
            let secret = find(&reference.name)
                .ok_or_else(|| LoginError::SecretGone(format!("{namespace}/{}", reference.name)))?;
            from_secret(&secret.transform(&spec.secret_transforms, find)?)
        }
        None => from_url(&spec).ok_or(LoginError::NoCredentials(path)),
    }
}

fn from_secret(secret: &Secret) -> Result<Login, LoginError> {
    // The password may be empty, as it is for a fresh root account; it must be said, though.
    let password = secret
        .find_text("password")?
        .ok_or_else(|| SecretError::KeyMissing { secret: secret.metadata.name.clone(), key: "password".to_owned() })?;
    Ok(Login { user: secret.text("username")?, password: password.into() })
}

fn from_url(spec: &AppBindingSpec) -> Option<Login> {
    let url = DatabaseUrl::parse(spec.client_config.url.as_deref()?).ok()?;
    Some(Login { user: url.user?, password: url.password.unwrap_or_default().into() })
}
