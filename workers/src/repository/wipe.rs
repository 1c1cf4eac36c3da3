//! Deletes a repository that its password has opened, and nothing but its files: only names of restic's layout go, page by
//! page, and all others stay and are counted. Each page is the beginning of a new listing, so that nothing is skipped,
//! and the last listing proves that nothing is left. An error of a listing is an error, never a shorter list.
//!
//! `config` goes last but for the keys: a wipe that was interrupted can open the repository again, or at least its keys.

use std::collections::{BTreeSet, HashSet};

use futures::TryStreamExt as _;
use lagan_schemas::error::Code;
use lagan_schemas::origin::ClusterIdentity;
use opendal::{EntryMode, Operator};
use rustic_core::FileType;
use secrecy::SecretString;

use super::error::Error;
use super::key;
use super::limits;
use super::object;
use super::open::{Presence, Repository, presence};
use super::snapshot::{Snapshot, SnapshotList};
use super::storage::{S3, Storage};
use super::storage_access::StorageAccess;
use super::store::{AbsentFolder, CONFIG, Store, id_of, path_of};
use super::store_error::{Redactor, StoreError, StoreErrorKind, one_line};

/// Files of one page. S3 deletes as many with one request.
const PAGE: usize = 1000;
/// Prefixes of restic's layout, in the order in which their files are deleted.
const PHASES: [&str; 6] = ["snapshots/", "index/", "locks/", "data/", CONFIG, "keys/"];
/// Names of foreign objects that a message shows.
const EXAMPLES: usize = 3;

#[derive(Debug, thiserror::Error)]
pub enum WipeError {
    #[error(transparent)]
    Storage(#[from] StoreError),
    #[error("nothing was deleted, because the repository cannot be opened")]
    NotOpened(#[source] Error),
    #[error(
        "nothing was deleted, because the repository also holds snapshots of other clusters ({0}); delete it by hand if nobody needs them"
    )]
    OtherClusters(String),
    #[error(
        "nothing was deleted, because the repository also holds snapshots of namespaces that this installation does not watch ({0}); delete it by hand if nobody needs them"
    )]
    OtherNamespaces(String),
    #[error(
        "nothing was deleted, because {count} snapshots can't be read and may be of other clusters ({first}); remove them with `restic forget`, or delete the repository by hand if nobody needs it"
    )]
    Unreadable { count: usize, first: String },
}

impl WipeError {
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            // There is nothing to repair about it.
            Self::Storage(StoreError { kind: StoreErrorKind::NotFound, .. }) => Code::RepositoryAbsent,
            Self::Storage(error) => error.code(),
            Self::NotOpened(error) => error.code(),
            Self::OtherClusters(_) | Self::OtherNamespaces(_) => Code::LocationShared,
            Self::Unreadable { .. } => Code::RepositoryDamaged,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Content {
    pub objects: u64,
    pub bytes: u64,
}

impl std::ops::AddAssign for Content {
    fn add_assign(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
    }
}

/// The part of a repository that may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// The password opens the repository: every file of restic's layout.
    Repository,
    /// `config` is gone, as an interrupted wipe leaves it: these keys, which the password opens.
    Keys(HashSet<String>),
}

pub struct Wipe {
    operator: Operator,
    redactor: Redactor,
    proof: Proof,
    phase: usize,
    /// Files of the last page, which must not be listed again.
    deleted: HashSet<String>,
}

impl Wipe {
    /// Opens the repository, and with it the right to delete it: all of it, so that no other cluster may have snapshots
    /// there, and no namespace but these if any are given. It blocks.
    pub fn open(
        s3: &S3,
        password: &SecretString,
        access: &StorageAccess,
        (cluster, namespaces): (&ClusterIdentity, &[String]),
    ) -> Result<Self, WipeError> {
        let redactor = Redactor::new(s3.secrets());
        let operator = object::operator(s3, access, &redactor)?;
        let not_opened = |error| match error {
            Error::Storage(error) => WipeError::Storage(error),
            error => WipeError::NotOpened(error),
        };
        let (proof, repository) = prove(&Storage::S3(s3.clone()), password, access).map_err(not_opened)?;
        if let Some(repository) = repository {
            others(&repository.snapshots().map_err(not_opened)?, cluster, namespaces)?;
        }
        Ok(Self::over(operator, redactor, proof))
    }

    pub(super) fn over(operator: Operator, redactor: Redactor, proof: Proof) -> Self {
        Self { operator, redactor, proof, phase: 0, deleted: HashSet::new() }
    }

    /// Deletes the next page. Zero objects: no file of the repository is left.
    pub async fn delete_page(&mut self) -> Result<Content, WipeError> {
        while let Some(prefix) = PHASES.get(self.phase) {
            let (files, content) = self.page(prefix).await?;
            if content.objects > 0 {
                self.delete(&files).await?;
                self.deleted = files.into_iter().collect();
                return Ok(content);
            }
            self.phase += 1;
        }
        Ok(Content::default())
    }

    /// Describes the objects that stay because they are not of the repository; `None` if there are none.
    pub async fn foreign(&self) -> Result<Option<String>, WipeError> {
        let (mut count, mut examples) = (0_u64, Vec::new());
        let mut lister = self.list("").await?;
        while let Some(entry) = lister.try_next().await.map_err(|error| self.failed("list", "/", &error))? {
            if entry.metadata().mode() == EntryMode::DIR {
                continue;
            }
            count += 1;
            if examples.len() < EXAMPLES {
                examples.push(format!("`{}`", one_line(entry.path())));
            }
        }
        let more = if count > examples.len() as u64 { " and others" } else { "" };
        Ok((count > 0).then(|| {
            format!("{count} objects stay, because they are not files of the repository: {}{more}", examples.join(", "))
        }))
    }

    async fn page(&self, prefix: &str) -> Result<(Vec<String>, Content), StoreError> {
        let (mut files, mut content) = (Vec::new(), Content::default());
        let mut lister = self.list(prefix).await?;
        while files.len() < PAGE
            && let Some(entry) = lister.try_next().await.map_err(|error| self.failed("list", prefix, &error))?
        {
            let path = entry.path();
            if entry.metadata().mode() == EntryMode::DIR || !self.is_ours(path) {
                continue;
            }
            if self.deleted.contains(path) {
                let detail = "it is listed although it was deleted";
                return Err(StoreError::new(StoreErrorKind::Unreachable, "remove", path, detail));
            }
            content += Content { objects: 1, bytes: entry.metadata().content_length() };
            files.push(path.to_owned());
        }
        Ok((files, content))
    }

    fn is_ours(&self, path: &str) -> bool {
        match &self.proof {
            Proof::Repository => is_restic(path),
            Proof::Keys(keys) => keys.contains(path),
        }
    }

    async fn delete(&self, paths: &[String]) -> Result<(), StoreError> {
        let Some(first) = paths.first() else { return Ok(()) };
        let batch = async {
            let mut deleter = self.operator.deleter().await?;
            for path in paths {
                deleter.delete(path.as_str()).await?;
            }
            deleter.close().await
        };
        let Err(error) = batch.await else { return Ok(()) };
        // A batch that fails as a whole gives no reason; one request does.
        match self.operator.delete(first).await {
            Ok(()) => Err(self.failed("remove", first, &error)),
            Err(why) => Err(self.failed("remove", first, &why)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<opendal::Lister, StoreError> {
        let lister = self.operator.lister_with(prefix).recursive(true).await;
        lister.map_err(|error| self.failed("list", prefix, &error))
    }

    fn failed(&self, action: &'static str, path: &str, error: &opendal::Error) -> StoreError {
        self.redactor.store_error(action, path, error)
    }
}

/// Refuses snapshots of clusters that are not ours, those of namespaces that are none of these, and those of which nobody knows.
pub(super) fn others(listed: &SnapshotList, cluster: &ClusterIdentity, namespaces: &[String]) -> Result<(), WipeError> {
    if let Some(first) = listed.damaged.first() {
        let first = format!("{}: {}", first.id, one_line(&first.why));
        return Err(WipeError::Unreadable { count: listed.damaged.len(), first });
    }
    let (ours, foreign): (Vec<_>, Vec<_>) =
        listed.snapshots.iter().filter_map(Snapshot::origin).partition(|origin| cluster.owns(origin.cluster));
    if let Some(names) = shown(foreign.iter().map(|origin| origin.cluster_name.as_str())) {
        return Err(WipeError::OtherClusters(names));
    }
    let unwatched = |namespace: &&str| !namespaces.is_empty() && !namespaces.iter().any(|watched| watched == namespace);
    let theirs = ours.iter().map(|origin| origin.configuration.namespace.as_str()).filter(unwatched);
    shown(theirs).map_or(Ok(()), |names| Err(WipeError::OtherNamespaces(names)))
}

/// The first names of a set; `None` if there are none.
fn shown<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: BTreeSet<String> = names.map(one_line).collect();
    let first: Vec<String> = names.into_iter().take(EXAMPLES).collect();
    (!first.is_empty()).then(|| first.join(", "))
}

/// The part of the repository that the password opens, and the repository if that is all of it.
fn prove(
    storage: &Storage,
    password: &SecretString,
    access: &StorageAccess,
) -> Result<(Proof, Option<Repository>), Error> {
    let absent = || Error::Absent { location: storage.location() };
    let store = Store::connect(storage, access, AbsentFolder::Report)?.ok_or_else(absent)?;
    if presence(&store)? == Presence::Present {
        return Ok((Proof::Repository, Some(Repository::open(storage, password, access)?)));
    }
    let mut keys = HashSet::new();
    for (id, _) in store.list(FileType::Key)?.into_iter().take(limits::KEYS) {
        if key::opens(&store, &id, password)? {
            keys.insert(path_of(FileType::Key, &id));
        }
    }
    Ok((Proof::Keys(keys), None))
}

/// Tells whether a path is one of restic's layout.
fn is_restic(path: &str) -> bool {
    let kinds = [FileType::Key, FileType::Snapshot, FileType::Index, FileType::Pack];
    let is_lock =
        path.strip_prefix("locks/").is_some_and(|name| id_of(FileType::Key, &format!("keys/{name}")).is_some());
    path == CONFIG || is_lock || kinds.into_iter().any(|kind| id_of(kind, path).is_some())
}
