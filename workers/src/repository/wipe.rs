//! Deletes everything below a repository's prefix, page by page: each page is the beginning of a new listing, so that
//! nothing is skipped, and the last listing proves that nothing is left. An error of a listing is an error, never a
//! shorter list. It must not delete before all was looked at, and nothing outside of the prefix.

use std::collections::HashSet;

use futures::TryStreamExt as _;
use lagan_schemas::error::Code;
use opendal::{EntryMode, Operator};

use super::object;
use super::storage::S3;
use super::store_error::{Redactor, StoreError, StoreErrorKind};

/// As many as S3 deletes with one request.
const PAGE: usize = 1000;
/// restic's folders; beside them is the file `config`.
const FOLDERS: [&str; 5] = ["data", "index", "keys", "locks", "snapshots"];
const CONFIG: &str = "config";

#[derive(Debug, thiserror::Error)]
pub enum WipeError {
    #[error(transparent)]
    Storage(#[from] StoreError),
    #[error("the repository has no prefix, so the whole bucket would go, and it holds `{path}`, which is not restic's")]
    NotOnlyARepository { path: String },
    #[error("below the prefix is `{path}`, another repository's")]
    AnotherRepository { path: String },
}

impl WipeError {
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            // There is nothing to repair about it.
            Self::Storage(StoreError { kind: StoreErrorKind::NotFound, .. }) => Code::RepositoryAbsent,
            Self::Storage(error) => error.code(),
            Self::NotOnlyARepository { .. } | Self::AnotherRepository { .. } => Code::NotARepository,
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

/// How much of the bucket is below the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    WholeBucket,
    Prefix,
}

pub struct Wipe {
    operator: Operator,
    redactor: Redactor,
    reach: Reach,
    /// What the last page held: it must not be listed again.
    deleted: HashSet<String>,
}

impl Wipe {
    pub fn new(s3: &S3) -> Result<Self, StoreError> {
        let redactor = Redactor::new(s3.access_key_id.iter().chain(&s3.secret_access_key).cloned().collect());
        let reach = if s3.root().is_empty() { Reach::WholeBucket } else { Reach::Prefix };
        Ok(Self::over(object::operator(s3, &redactor)?, redactor, reach))
    }

    pub(super) fn over(operator: Operator, redactor: Redactor, reach: Reach) -> Self {
        Self { operator, redactor, reach, deleted: HashSet::new() }
    }

    /// Looks at all of it, and refuses what holds somebody else's data.
    pub async fn survey(&self) -> Result<Content, WipeError> {
        let mut content = Content::default();
        let mut lister = self.list().await?;
        while let Some(entry) = lister.try_next().await.map_err(|error| self.failed("list", "/", &error))? {
            check(self.reach, entry.path())?;
            if entry.metadata().mode() != EntryMode::DIR {
                content += Content { objects: 1, bytes: entry.metadata().content_length() };
            }
        }
        Ok(content)
    }

    /// Deletes the first page of what is there now. Zero objects: nothing is left.
    pub async fn delete_page(&mut self) -> Result<Content, WipeError> {
        let (mut files, mut folders, mut content) = (Vec::new(), Vec::new(), Content::default());
        let mut lister = self.list().await?;
        while files.len() < PAGE
            && let Some(entry) = lister.try_next().await.map_err(|error| self.failed("list", "/", &error))?
        {
            let path = entry.path();
            check(self.reach, path)?;
            match entry.metadata().mode() {
                // Markers that some servers and consoles make. The one of the prefix itself can't be named.
                EntryMode::DIR if path.trim_matches('/').is_empty() => {}
                EntryMode::DIR => folders.push(path.to_owned()),
                _ => {
                    content += Content { objects: 1, bytes: entry.metadata().content_length() };
                    files.push(path.to_owned());
                }
            }
        }
        if let Some(path) = files.iter().find(|path| self.deleted.contains(*path)) {
            let detail = "it is listed although it was deleted";
            return Err(StoreError::new(StoreErrorKind::Unreachable, "remove", path, detail).into());
        }
        folders.reverse();
        self.delete(files.iter().chain(&folders)).await?;
        self.deleted = files.into_iter().collect();
        Ok(content)
    }

    async fn delete(&self, paths: impl Iterator<Item = &String> + Clone + Send) -> Result<(), StoreError> {
        let Some(first) = paths.clone().next() else { return Ok(()) };
        let batch = async {
            let mut deleter = self.operator.deleter().await?;
            for path in paths {
                deleter.delete(path.as_str()).await?;
            }
            deleter.close().await
        };
        let Err(error) = batch.await else { return Ok(()) };
        // A batch that fails as a whole does not say why; one request does.
        match self.operator.delete(first).await {
            Ok(()) => Err(self.failed("remove", first, &error)),
            Err(why) => Err(self.failed("remove", first, &why)),
        }
    }

    async fn list(&self) -> Result<opendal::Lister, StoreError> {
        let lister = self.operator.lister_with("").recursive(true).await;
        lister.map_err(|error| self.failed("list", "/", &error))
    }

    fn failed(&self, action: &'static str, path: &str, error: &opendal::Error) -> StoreError {
        self.redactor.store_error(action, path, error)
    }
}

/// A bucket without a prefix may hold a repository and nothing else; a prefix anything but another repository.
fn check(reach: Reach, path: &str) -> Result<(), WipeError> {
    let path = path.trim_start_matches('/');
    let (first, below) = path.split_once('/').map_or((path, None), |(first, below)| (first, Some(below)));
    let is_restic = first.is_empty() || path == CONFIG || (below.is_some() && FOLDERS.contains(&first));
    match (reach, is_restic) {
        (_, true) => Ok(()),
        (Reach::WholeBucket, false) => Err(WipeError::NotOnlyARepository { path: path.to_owned() }),
        (Reach::Prefix, false) if path.ends_with("/config") => {
            Err(WipeError::AnotherRepository { path: path.to_owned() })
        }
        (Reach::Prefix, false) => Ok(()),
    }
}
