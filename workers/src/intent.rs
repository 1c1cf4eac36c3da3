//! The source of intent as a worker sees it: secrets by name, and whether an object still asks for its session.
//! A question that the source can't answer now is a transient failure, never an answer; one that it refuses is permanent.

use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::origin::ClusterIdentity;
use lagan_schemas::plan::{Database, PlanRepository};
use lagan_schemas::resource::secret::{Secret, SecretError};
use lagan_schemas::resource::{Object, ObjectRef, Spec};
use lagan_sources::secrets::{self, BasicAuth, LoginError};
use lagan_sources::{Source, SourceError};

use crate::place::Volumes;

#[derive(Clone)]
pub struct Intent {
    pub source: Source,
}

impl Intent {
    #[must_use]
    pub fn volumes(&self) -> Volumes {
        self.source.volumes()
    }

    /// The identity under which this cluster's snapshots are written and found.
    pub async fn identity(&self) -> Result<ClusterIdentity, Failure> {
        self.source.identity().await.map_err(|error| unanswered(&error))
    }

    /// A restore is never started by a message alone: the object must still be there, with this very uid (P5).
    pub async fn confirm(&self, object: &ObjectRef) -> Result<(), Failure> {
        self.confirmed(object).await.map(drop)
    }

    /// The same, and the object as it stands there now, with everything that is not published.
    pub async fn confirmed(&self, object: &ObjectRef) -> Result<Object, Failure> {
        let key = object.key();
        let not_confirmed = |why: &str| Failure::new(Code::IntentNotConfirmed, format!("{key}: {why}"));
        match self.source.object(&key).await.map_err(|error| unanswered(&error))? {
            None => Err(not_confirmed("it is not there any more")),
            Some(found) if object.uid.is_some() && found.metadata.uid == object.uid => Ok(found),
            Some(_) => Err(not_confirmed("another object has its name now")),
        }
    }

    /// A restore never runs a second time, whatever its log says: that may be an older copy of itself (P5).
    pub async fn confirm_first_run(&self, restore: &ObjectRef) -> Result<(), Failure> {
        if !self.source.has_run(restore).await.map_err(|error| unanswered(&error))? {
            return Ok(());
        }
        let message = "it was begun before, and the log of sessions was set back since; this time nothing was written";
        Err(Failure::new(Code::NeedsConfirmation, format!("{}: {message}", restore.key())))
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
            Spec::Repository(spec)
                if spec.backend == repository.backend
                    && spec.backend.storage_secret_name.as_deref().unwrap_or_default() == repository.secret =>
            {
                Ok(())
            }
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

    pub async fn login(&self, database: &Database) -> Result<BasicAuth, Failure> {
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

/// The failure of a question to the source. A refusal stays one until a person changes something; no answer may pass.
pub(crate) fn unanswered(error: &SourceError) -> Failure {
    Failure::new(error.code(), chain(error))
}

#[must_use]
pub fn secret_failure(error: &SecretError) -> Failure {
    Failure::new(Code::SecretInvalid, error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::path::Path;

    use lagan_schemas::resource::Kind;
    use lagan_sources::folder::Folder;
    use lagan_sources::ledger::{Identity, Ledger, LedgerEntry};
    use lagan_sources::source::FolderSource;
    use uuid::Uuid;

    use super::*;

    const RESTORE: &str = "apiVersion: lagan.dev/v1alpha1\nkind: RestoreSession\nmetadata: {name: back, namespace: n}\nspec:\n  repository: {name: r}\n  target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}\n  hooks: {preRestore: {httpGet: {port: 1, path: /TOKEN}}}\n";

    fn asked(uid: Option<u128>) -> ObjectRef {
        ObjectRef {
            api_version: "lagan.dev/v1alpha1".to_owned(),
            kind: Kind::RestoreSession,
            namespace: Some("n".to_owned()),
            name: "back".to_owned(),
            uid: uid.map(Uuid::from_u128),
            generation: 1,
        }
    }

    fn intent(dir: &Path) -> Intent {
        let ledger = Ledger::open(dir).unwrap();
        let identity = Identity {
            uid: Uuid::from_u128(1),
            generation: 1,
            content: Uuid::nil(),
            created: jiff::Timestamp::UNIX_EPOCH,
            deleted: false,
        };
        ledger.update(|_| (vec![LedgerEntry::Object { key: asked(None).key(), identity }], ())).unwrap();
        let folder = Folder::new(vec![dir.to_owned()]).into();
        let (objects, data_dir) = (dir.to_owned(), dir.to_owned());
        Intent { source: FolderSource { folder, ledger: ledger.into(), objects, data_dir }.into() }
    }

    #[tokio::test]
    async fn an_object_counts_only_as_the_very_one_that_stands_at_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let (intent, file) = (intent(dir.path()), dir.path().join("back.yaml"));
        let code = async |uid| intent.confirmed(&asked(uid)).await.unwrap_err().code;
        assert_eq!(code(Some(1)).await, Code::IntentNotConfirmed, "it is not there");
        std::fs::write(&file, RESTORE).unwrap();
        let found = intent.confirmed(&asked(Some(1))).await.unwrap();
        assert!(found.to_json().to_string().contains("/TOKEN"), "with what is not published");
        for other in [Some(2), None] {
            assert_eq!(code(other).await, Code::IntentNotConfirmed);
        }
        // Somebody is writing it: no answer, which is not the answer that it is gone.
        std::fs::write(&file, RESTORE.replace("path", "pth")).unwrap();
        let failure = intent.confirmed(&asked(Some(1))).await.unwrap_err();
        assert_eq!(failure.code, Code::SourceUnreachable);
        assert!(failure.message.contains("back.yaml:7:") && !failure.message.contains("TOKEN"), "{}", failure.message);
    }
}
