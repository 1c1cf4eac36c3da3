//! Reads secrets from their source when they are needed.
//! They must not be published, logged or put into argv.

use std::collections::BTreeMap;

use lagan_schemas::resource::app_binding::{AppBindingSpec, DatabaseUrl, SecretTransform};
use lagan_schemas::resource::secret::{Secret, SecretError};
use lagan_schemas::resource::{Kind, Object, Spec, kind};
use lagan_schemas::subject::ObjectKey;
use secrecy::SecretString;

use crate::source::{Source, SourceError};

/// User and password of a database.
#[derive(Debug, Clone)]
pub struct BasicAuth {
    pub user: String,
    pub password: SecretString,
}

#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("AppBinding `{0}` does not exist any more")]
    AppBindingGone(String),
    #[error("Secret `{0}` does not exist")]
    SecretGone(String),
    #[error("AppBinding `{0}` names no Secret and its URL holds no user and password")]
    NoCredentials(String),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Reads an AppBinding's credentials from its Secret, with the transforms applied, or from its URL.
pub async fn login(source: &Source, namespace: &str, app_binding: &str) -> Result<BasicAuth, LoginError> {
    let path = format!("{namespace}/{app_binding}");
    let key = ObjectKey {
        group: kind::APP_CATALOG.to_owned(),
        kind: Kind::AppBinding,
        namespace: Some(namespace.to_owned()),
        name: app_binding.to_owned(),
    };
    let Some(Object { spec: Spec::AppBinding(spec), .. }) = source.object(&key).await? else {
        return Err(LoginError::AppBindingGone(path));
    };
    let Some(reference) = &spec.secret else { return from_url(&spec).ok_or(LoginError::NoCredentials(path)) };
    let secret = find(source, namespace, &reference.name).await?;
    let mut others = BTreeMap::new();
    for transform in &spec.secret_transforms {
        if let SecretTransform::AddKeysFrom { secret_ref } = transform {
            others.insert(secret_ref.name.clone(), find(source, namespace, &secret_ref.name).await?);
        }
    }
    from_secret(&secret.transform(&spec.secret_transforms, |name| others.get(name).cloned())?)
}

async fn find(source: &Source, namespace: &str, name: &str) -> Result<Secret, LoginError> {
    let found = source.secret(namespace, name).await?;
    found.ok_or_else(|| LoginError::SecretGone(format!("{namespace}/{name}")))
}

fn from_secret(secret: &Secret) -> Result<BasicAuth, LoginError> {
    // The password may be empty, as that of a fresh root account, but the key must exist.
    let password = secret
        .find_text("password")?
        .ok_or_else(|| SecretError::KeyMissing { secret: secret.metadata.name.clone(), key: "password".to_owned() })?;
    Ok(BasicAuth { user: secret.text("username")?, password: password.into() })
}

fn from_url(spec: &AppBindingSpec) -> Option<BasicAuth> {
    let url = DatabaseUrl::parse(spec.client_config.url.as_deref()?).ok()?;
    Some(BasicAuth { user: url.user?, password: url.password.unwrap_or_default().into() })
}
