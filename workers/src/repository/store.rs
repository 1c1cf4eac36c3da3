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
use tokio::runtime::Handle;

use super::local::Local;
use super::object;
use super::storage::Storage;
use super::store_error::{Redactor, StoreError, StoreErrorKind};

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
    handle: Handle,
    redactor: Redactor,
}

impl Store {
    /// Connects to a storage; `None` for a folder that does not exist. Nothing is created only to be read.
    pub(super) fn connect(
        storage: &Storage,
        handle: &Handle,
        absent: AbsentFolder,
    ) -> Result<Option<Arc<Self>>, StoreError> {
        let redactor = Redactor::new(secrets(storage));
        let (operator, local) = match storage {
            Storage::Fs(fs) => match folder(&fs.root, absent, &redactor)? {
                Some(operator) => (operator, Some(Local::new(&fs.root))),
                None => return Ok(None),
            },
            Storage::S3(s3) => (object::operator(s3, &redactor)?, None),
        };
        Ok(Some(Arc::new(Self { location: storage.location(), operator, local, handle: handle.clone(), redactor })))
    }

    pub(super) fn location(&self) -> &str {
        &self.location
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Returns the length of a file; `None` if there is no such file.
    pub(super) fn length(&self, path: &str) -> Result<Option<u64>, StoreError> {
        match self.handle.block_on(self.operator.stat(path)) {
            Ok(metadata) => Ok(Some(metadata.content_length())),
            Err(error) if error.kind() == opendal::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.redactor.store_error("look at", path, &error)),
        }
    }

    pub(super) fn read(&self, path: &str) -> Result<Bytes, StoreError> {
        self.handle
            .block_on(self.operator.read(path))
            .map(|buffer| buffer.to_bytes())
            .map_err(|error| self.redactor.store_error("read", path, &error))
    }

    pub(super) fn read_range(&self, path: &str, offset: u32, length: u32) -> Result<Bytes, StoreError> {
        let (start, end) = (u64::from(offset), u64::from(offset) + u64::from(length));
        let bytes = self
            .handle
            .block_on(async { self.operator.read_with(path).range(start..end).await })
            .map_err(|error| self.redactor.store_error("read", path, &error))?
            .to_bytes();
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
        let mut found = Vec::new();
        self.each_file(kind.dirname(), |path, length| {
            match id_of(kind, path) {
                Some(id) => found.push((id, size(path, length)?)),
                None => tracing::debug!(path, "file without an id as its name is ignored"),
            }
            Ok(Next::GoOn)
        })?;
        Ok(found)
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
        let length: u64 = content.iter().map(|part| part.len() as u64).sum();
        let stored = match &self.local {
            Some(local) => local
                .write(path, &content)
                .and_then(|()| local.length(path))
                .map_err(|error| StoreError::from_io("write", path, &error))?,
            None => {
                self.handle
                    .block_on(self.operator.write(path, Buffer::from(content)))
                    .map_err(|error| self.redactor.store_error("write", path, &error))?;
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
        self.handle
            .block_on(async { self.operator.write_with(path, content.clone()).if_not_exists(true).await })
            .map(|_| ())
            .map_err(|error| self.redactor.store_error("create", path, &error))
    }

    pub(super) fn remove(&self, path: &str) -> Result<(), StoreError> {
        match &self.local {
            Some(local) => local.remove(path).map_err(|error| StoreError::from_io("remove", path, &error)),
            None => self
                .handle
                .block_on(self.operator.delete(path))
                .map_err(|error| self.redactor.store_error("remove", path, &error)),
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
        let failed = |error: opendal::Error| self.redactor.store_error("list", &folder, &error);
        self.handle.block_on(async {
            let mut lister = self.operator.lister_with(&folder).recursive(true).await.map_err(failed)?;
            while let Some(entry) = lister.try_next().await.map_err(failed)? {
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

fn id_of(kind: FileType, path: &str) -> Option<Id> {
    let name = path.rsplit('/').next()?;
    let id = (name.len() == 64).then(|| name.parse::<Id>().ok()).flatten()?;
    (path_of(kind, &id) == path).then_some(id)
}

fn size(path: &str, length: u64) -> Result<u32, StoreError> {
    u32::try_from(length)
        .map_err(|_| StoreError::new(StoreErrorKind::WrongLength, "list", path, format!("{length} bytes")))
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
        Storage::S3(s3) => s3.access_key_id.iter().chain(&s3.secret_access_key).cloned().collect(),
    }
}
