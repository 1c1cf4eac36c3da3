//! The source of intent as a worker sees it: secrets by name, and whether an object still asks for its session.
//! A question that the source can't answer now is a transient failure, never an answer.

use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::plan::{Database, PlanRepository};
use lagan_schemas::resource::secret::{Secret, SecretError};
use lagan_schemas::resource::{ObjectRef, Spec};
use lagan_sources::secrets::{self, Login, LoginError};
use lagan_sources::{Source, SourceError};

use crate::place::Volumes;

#[derive(Clone)]
pub struct Intent {
    pub source: Source,
}

impl Intent {
    #[must_use]
    pub fn volumes(&self) -> Volumes {
        match self.source {
            Source::Folder(_) => Volumes::Host,
            Source::Kubernetes(_) => Volumes::Mounted,
        }
    }

    /// A restore is never started by a message alone: the object must still be there, with this very uid (P5).
    pub async fn confirm(&self, object: &ObjectRef) -> Result<(), Failure> {
        let key = object.key();
        let not_confirmed = |why: &str| Failure::new(Code::IntentNotConfirmed, format!("{key}: {why}"));
        match self.source.object(&key).await.map_err(|error| unanswered(&error))? {
            None => Err(not_confirmed("it is not there any more")),
            Some(found) if object.uid.is_some() && found.metadata.uid == object.uid => Ok(()),
            Some(_) => Err(not_confirmed("another object has its name now")),
        }
    }

    /// Data is never deleted by a message alone: the very Repository must still be held back and ask for it (P5).
    pub async fn confirm_wipe(&self, repository: &PlanRepository) -> Result<(), Failure> {
        let key = repository.reference.key();
        let not_confirmed = |why: &str| Failure::new(Code::IntentNotConfirmed, format!("{key}: {why}"));
        let found = self.source.object(&key).await.map_err(|error| unanswered(&error))?;
        let found = found.ok_or_else(|| not_confirmed("it is not there any more"))?;
        if found.metadata.uid.is_none() || found.metadata.uid != repository.reference.uid {
            return Err(not_confirmed("another object has its name now"));
        }
        if !found.wants_wipe() {
            return Err(not_confirmed("it does not ask for its data to be deleted any more"));
        }
        match &found.spec {
            Spec::Repository(spec) if spec.backend == repository.backend => Ok(()),
            _ => Err(not_confirmed("its backend was changed meanwhile")),
        }
    }

    /// Nothing is written for a Repository that is gone or going: its data may be deleted already.
    pub async fn confirm_repository(&self, repository: &ObjectRef) -> Result<(), Failure> {
        let key = repository.key();
        match self.source.object(&key).await.map_err(|error| unanswered(&error))? {
            Some(found) if found.metadata.deletion_timestamp.is_some() => {
                Err(Failure::new(Code::RepositoryBeingDeleted, format!("{key} is being deleted")))
            }
            Some(found) if repository.uid.is_none() || found.metadata.uid == repository.uid => Ok(()),
            Some(_) => Err(Failure::new(Code::IntentNotConfirmed, format!("{key}: another object has its name now"))),
            None => Err(Failure::new(Code::ReferenceNotFound, format!("{key} is not there any more"))),
        }
    }

    pub async fn login(&self, database: &Database) -> Result<Login, Failure> {
        let credentials = &database.credentials;
        secrets::login(&self.source, &credentials.namespace, &credentials.app_binding).await.map_err(|error| {
            let code = match &error {
                LoginError::AppBindingGone(_) | LoginError::SecretGone(_) => Code::ReferenceNotFound,
                LoginError::NoCredentials(_) | LoginError::Secret(_) => Code::SecretInvalid,
                LoginError::Source(error) => return unanswered(error),
            };
            Failure::new(code, chain(&error))
        })
    }

    pub async fn storage_secret(&self, repository: &PlanRepository) -> Result<Secret, Failure> {
        let namespace = repository.reference.namespace.as_deref().unwrap_or_default();
        self.secret(namespace, &repository.secret).await
    }

    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Secret, Failure> {
        let found = self.source.secret(namespace, name).await.map_err(|error| unanswered(&error))?;
        found.ok_or_else(|| Failure::new(Code::ReferenceNotFound, format!("Secret {namespace}/{name} is not there")))
    }
}

fn unanswered(error: &SourceError) -> Failure {
    Failure::new(Code::SourceUnreachable, chain(error))
}

#[must_use]
pub fn secret_failure(error: &SecretError) -> Failure {
    Failure::new(Code::SecretInvalid, error.to_string())
}
