//! The files of one repository by path: read, list, write a whole file and compare its length afterwards. An error in
//! the middle of a listing is an error of the listing. It must not know the meaning of the files.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::TryStreamExt;
use opendal::{Buffer, EntryMode, Operator, services};
use rustic_core::{FileType, Id};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;

use super::limits;
use super::local::Local;
use super::object;
use super::storage::Storage;
use super::storage_access::StorageAccess;
use super::store_error::{Redactor, StoreError, StoreErrorKind, is_wordless};

pub(super) const CONFIG: &str = "config";

/// How to treat a folder that does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AbsentFolder {
    Report,
    Create,
}

pub(super) struct Store {
    location: String,
    operator: Operator,
    local: Option<Local>,
    access: StorageAccess,
    redactor: Redactor,
}

impl Store {
    /// Connects to a storage; `None` for a folder that does not exist. Nothing is created only to be read.
    pub(super) fn connect(
        storage: &Storage,
        access: &StorageAccess,
        absent: AbsentFolder,
    ) -> Result<Option<Arc<Self>>, StoreError> {
        let redactor = Redactor::new(secrets(storage));
        let (operator, local) = match storage {
            Storage::Fs(fs) => match folder(&fs.root, absent, &redactor)? {
                Some(operator) => (operator, Some(Local::new(&fs.root))),
                None => return Ok(None),
            },
            Storage::S3(s3) => (object::operator(s3, access, &redactor)?, None),
        };
        Ok(Some(Arc::new(Self { location: storage.location(), operator, local, access: access.clone(), redactor })))
    }

    pub(super) fn location(&self) -> &str {
        &self.location
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.access.handle
    }

    /// Fails once the session was stopped. Work without requests asks this between its steps.
    pub(super) fn check_stopped(&self, action: &'static str, path: &str) -> Result<(), StoreError> {
        if self.access.stop.is_cancelled() { Err(stopped(action, path)) } else { Ok(()) }
    }

    /// Waits for a request, or for the stop of the session, which breaks the request off.
    fn wait<T>(
        &self,
        action: &'static str,
        path: &str,
        request: impl Future<Output = Result<T, RequestError>>,
    ) -> Result<T, StoreError> {
        let done = self.access.handle.block_on(async {
            tokio::select! {
                biased;
                () = self.access.stop.cancelled() => None,
                done = request => Some(done),
            }
        });
        match done {
            None => Err(stopped(action, path)),
            Some(Ok(done)) => Ok(done),
            Some(Err(RequestError::Storage(error))) => Err(self.redactor.store_error(action, path, &error)),
            Some(Err(RequestError::Ours(error))) => Err(error),
        }
    }

    /// Returns the length of a file; `None` if there is no such file.
    pub(super) fn length(&self, path: &str) -> Result<Option<u64>, StoreError> {
        self.wait("look at", path, async {
            match self.operator.stat(path).await {
                Ok(metadata) => Ok(Some(metadata.content_length())),
                Err(error) if error.kind() == opendal::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(self.in_words(path, error).await.into()),
            }
        })
    }

    /// Returns the reason why a look at a file was refused. The answer to a `HEAD` request has no words, also if the credentials have
    /// expired, and the answer to a `GET` request has some.
    async fn in_words(&self, path: &str, refused: opendal::Error) -> opendal::Error {
        if !is_wordless(&refused) {
            return refused;
        }
        match self.operator.read_with(path).range(0..1).await {
            Err(error) if error.kind() == opendal::ErrorKind::PermissionDenied => error,
            _ => refused,
        }
    }

    /// Reads a file that has at most `limit` bytes.
    pub(super) fn read(&self, path: &str, limit: usize) -> Result<Bytes, StoreError> {
        let mut parts = Vec::new();
        self.stream(path, limit, |part| parts.extend(part))?;
        Ok(Buffer::from(parts).to_bytes())
    }

    /// Hashes a file without holding it in memory.
    pub(super) fn hash(&self, path: &str) -> Result<Id, StoreError> {
        let mut hash = Sha256::new();
        self.stream(path, limits::file_bytes(FileType::Pack), |part| {
            for bytes in part {
                hash.update(&bytes);
            }
        })?;
        Ok(Id::new(hash.finalize().into()))
    }

    fn stream(&self, path: &str, limit: usize, mut visit: impl FnMut(Buffer)) -> Result<(), StoreError> {
        self.wait("read", path, async {
            let mut stream = self.operator.reader(path).await?.into_stream(..).await?;
            let mut length = 0;
            while let Some(part) = stream.try_next().await? {
                length += part.len();
                if length > limit {
                    return Err(too_large("read", path, &format!("more than {limit} bytes")).into());
                }
                visit(part);
            }
            Ok(())
        })
    }

    pub(super) fn read_range(&self, path: &str, offset: u32, length: u32) -> Result<Bytes, StoreError> {
        let (start, end) = (u64::from(offset), u64::from(offset) + u64::from(length));
        let read = async { Ok(self.operator.read_with(path).range(start..end).await?.to_bytes()) };
        let bytes = self.wait("read", path, read)?;
        if bytes.len() as u64 == end - start {
            Ok(bytes)
        } else {
            Err(wrong_length("read", path, end - start, bytes.len() as u64))
        }
    }

    pub(super) fn list(&self, kind: FileType) -> Result<Vec<(Id, u32)>, StoreError> {
        if kind == FileType::Config {
            let length = self.length(CONFIG)?;
            return length.map(|length| Ok((Id::default(), size(CONFIG, length)?))).into_iter().collect();
        }
        let limit = if kind == FileType::Snapshot { limits::SNAPSHOTS } else { limits::FILES };
        let mut found = Vec::new();
        self.each(kind, |id, length| {
            found.push((id, length));
            if found.len() > limit {
                return Err(too_large("list", kind.dirname(), &format!("more than {limit} files")));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Lists files of a kind, one page of the storage at a time.
    pub(super) fn each(
        &self,
        kind: FileType,
        mut visit: impl FnMut(Id, u32) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.each_file(kind.dirname(), |path, length| {
            match id_of(kind, path) {
                Some(id) => visit(id, size(path, length)?)?,
                None => tracing::debug!(path, "file without an id as its name is ignored"),
            }
            Ok(Next::GoOn)
        })
    }

    /// Finds any file in a folder of the repository.
    pub(super) fn first_under(&self, folder: &str) -> Result<Option<String>, StoreError> {
        let mut first = None;
        self.each_file(folder, |path, _| {
            first = Some(path.to_owned());
            Ok(Next::Stop)
        })?;
        Ok(first)
    }

    pub(super) fn write(&self, path: &str, content: Vec<Bytes>) -> Result<(), StoreError> {
        self.check_stopped("write", path)?;
        let length: u64 = content.iter().map(|part| part.len() as u64).sum();
        let stored = match &self.local {
            Some(local) => local
                .write(path, &content)
                .and_then(|()| local.length(path))
                .map_err(|error| StoreError::from_io("write", path, &error))?,
            None => {
                self.wait("write", path, async { Ok(self.operator.write(path, Buffer::from(content)).await?) })?;
                self.length(path)?.unwrap_or(0)
            }
        };
        if stored == length { Ok(()) } else { Err(wrong_length("write", path, length, stored)) }
    }

    /// Writes a file only if there is none, else fails with kind `Exists`. The caller must read the file to decide who
    /// wrote it, because a repeated request may have met its own first write.
    pub(super) fn write_new(&self, path: &str, content: &Bytes) -> Result<(), StoreError> {
        if let Some(local) = &self.local {
            return local
                .write_new(path, std::slice::from_ref(content))
                .map_err(|error| StoreError::from_io("create", path, &error));
        }
        if self.length(path)?.is_some() {
            return Err(StoreError::new(StoreErrorKind::Exists, "create", path, "there is one"));
        }
        self.wait("create", path, async {
            self.operator.write_with(path, content.clone()).if_not_exists(true).await?;
            Ok(())
        })
    }

    pub(super) fn remove(&self, path: &str) -> Result<(), StoreError> {
        match &self.local {
            Some(local) => local.remove(path).map_err(|error| StoreError::from_io("remove", path, &error)),
            None => self.wait("remove", path, async { Ok(self.operator.delete(path).await?) }),
        }
    }

    pub(super) fn remove_stale_temporaries(&self) {
        if let Some(local) = &self.local {
            local.remove_stale(SystemTime::now());
        }
    }

    fn each_file(
        &self,
        folder: &str,
        mut visit: impl FnMut(&str, u64) -> Result<Next, StoreError>,
    ) -> Result<(), StoreError> {
        let folder = format!("{folder}/");
        self.wait("list", &folder, async {
            let mut lister = self.operator.lister_with(&folder).recursive(true).await?;
            while let Some(entry) = lister.try_next().await? {
                if entry.metadata().mode() == EntryMode::FILE
                    && visit(entry.path(), entry.metadata().content_length())? == Next::Stop
                {
                    break;
                }
            }
            Ok(())
        })
    }
}

/// The failure of a request: the storage's, or one of our own rules.
enum RequestError {
    Storage(opendal::Error),
    Ours(StoreError),
}

impl From<opendal::Error> for RequestError {
    fn from(error: opendal::Error) -> Self {
        Self::Storage(error)
    }
}

impl From<StoreError> for RequestError {
    fn from(error: StoreError) -> Self {
        Self::Ours(error)
    }
}

#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    Stop,
}

/// Returns the path of a file in restic's layout.
pub(super) fn path_of(kind: FileType, id: &Id) -> String {
    let hex = id.to_hex();
    match kind {
        FileType::Config => CONFIG.to_owned(),
        FileType::Pack => format!("data/{}/{}", &hex[..2], &*hex),
        _ => format!("{}/{}", kind.dirname(), &*hex),
    }
}

/// Returns the id in a path of restic's layout; `None` for any other path.
pub(super) fn id_of(kind: FileType, path: &str) -> Option<Id> {
    let name = path.rsplit('/').next()?;
    let id = (name.len() == 64).then(|| name.parse::<Id>().ok()).flatten()?;
    (path_of(kind, &id) == path).then_some(id)
}

fn size(path: &str, length: u64) -> Result<u32, StoreError> {
    u32::try_from(length)
        .map_err(|_| StoreError::new(StoreErrorKind::WrongLength, "list", path, format!("{length} bytes")))
}

fn stopped(action: &'static str, path: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Stopped, action, path, "the session was stopped")
}

fn too_large(action: &'static str, path: &str, detail: &str) -> StoreError {
    StoreError::new(StoreErrorKind::TooLarge, action, path, detail)
}

fn wrong_length(action: &'static str, path: &str, expected: u64, found: u64) -> StoreError {
    StoreError::new(StoreErrorKind::WrongLength, action, path, format!("expected {expected} bytes, found {found}"))
}

/// Opens a folder. `OpenDAL` itself would create a missing root, which hides a volume that is not mounted.
fn folder(root: &Path, absent: AbsentFolder, redactor: &Redactor) -> Result<Option<Operator>, StoreError> {
    let name = root.display().to_string();
    if !root.is_absolute() {
        return Err(StoreError::new(StoreErrorKind::Misconfigured, "use", &name, "the path is not absolute"));
    }
    match std::fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(StoreError::new(StoreErrorKind::Misconfigured, "use", &name, "it is not a folder")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match absent {
            AbsentFolder::Report => return Ok(None),
            AbsentFolder::Create => {
                Local::create_root(root).map_err(|error| StoreError::from_io("create", &name, &error))?;
            }
        },
        Err(error) => return Err(StoreError::from_io("look at", &name, &error)),
    }
    Operator::new(services::Fs::default().root(&name))
        .map(Some)
        .map_err(|error| redactor.store_error("use", &name, &error))
}

fn secrets(storage: &Storage) -> Vec<SecretString> {
    match storage {
        Storage::Fs(_) => Vec::new(),
        Storage::S3(s3) => s3.secrets(),
    }
}
