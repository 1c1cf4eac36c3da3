//! The source of intent as a worker sees it: secrets by name, and whether an object still asks for its session.
//! Folder mode today; the API server answers the same questions in a cluster.

use std::sync::Arc;

use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::plan::{Database, PlanRepository};
use lagan_schemas::resource::ObjectRef;
use lagan_schemas::resource::secret::{Secret, SecretError};
use lagan_sources::folder::Folder;
use lagan_sources::ledger::Ledger;
use lagan_sources::secrets::{self, Login, LoginError};

#[derive(Clone)]
pub struct Intent {
    pub folder: Arc<Folder>,
    pub ledger: Arc<Ledger>,
}

impl Intent {
    /// A restore is never started by a message alone: the object must still be there, with this very uid (P5).
    pub fn confirm(&self, object: &ObjectRef) -> Result<(), Failure> {
        let key = object.key();
        let not_confirmed = |why: String| Failure::new(Code::IntentNotConfirmed, format!("{key}: {why}"));
        if self.folder.object(&key).is_none() {
            return Err(not_confirmed("it is not in the folder any more".to_owned()));
        }
        let identity = self.ledger.read(|state| state.objects.get(&key).copied());
        match identity.map_err(|error| not_confirmed(chain(&error)))? {
            Some(identity) if Some(identity.uid) == object.uid && !identity.deleted => Ok(()),
            _ => Err(not_confirmed("another object has its name now".to_owned())),
        }
    }

    pub fn login(&self, database: &Database) -> Result<Login, Failure> {
        let credentials = &database.credentials;
        secrets::login(&self.folder, &credentials.namespace, &credentials.app_binding).map_err(|error| {
            let code = match error {
                LoginError::AppBindingGone(_) | LoginError::SecretGone(_) => Code::ReferenceNotFound,
                LoginError::NoCredentials(_) | LoginError::Secret(_) => Code::SecretInvalid,
            };
            Failure::new(code, chain(&error))
        })
    }

    pub fn storage_secret(&self, repository: &PlanRepository) -> Result<Secret, Failure> {
        let namespace = repository.reference.namespace.as_deref().unwrap_or_default();
        self.secret(namespace, &repository.secret)
    }

    pub fn secret(&self, namespace: &str, name: &str) -> Result<Secret, Failure> {
        let found = self.folder.secret(namespace, name);
        found.ok_or_else(|| Failure::new(Code::ReferenceNotFound, format!("Secret {namespace}/{name} is not there")))
    }
}

#[must_use]
pub fn secret_failure(error: &SecretError) -> Failure {
    Failure::new(Code::SecretInvalid, error.to_string())
}
