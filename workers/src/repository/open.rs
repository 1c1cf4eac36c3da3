//! Finds and opens a repository, and hands it to `rustic_core`. `Absent` is reported only if the storage said so. A
//! refused or failed request is an error, because a new repository would be created over the old one otherwise.

use std::fmt;
use std::sync::Arc;

use rustic_core::repofile::{ConfigFile, MasterKey};
use rustic_core::{Credentials, FileType, OpenStatus, RepositoryBackends, RepositoryOptions, WriteBackend};
use secrecy::SecretString;

use super::backend::Files;
use super::cipher::Cipher;
use super::error::Error;
use super::key::unlock;
use super::storage::Storage;
use super::storage_access::StorageAccess;
use super::store::{AbsentFolder, CONFIG, Store};

pub(super) type Core = rustic_core::Repository<OpenStatus>;

/// Whether a storage holds a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Absent,
    Present,
}

/// The size of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes of all files.
    pub stored_bytes: u64,
    pub snapshots: u64,
}

/// An open repository. Every operation reads the index anew, so that it sees files that other processes have added.
pub struct Repository {
    pub(super) store: Arc<Store>,
    pub(super) cipher: Cipher,
    pub(super) config: ConfigFile,
    master: MasterKey,
}

impl Repository {
    /// Tells whether there is a repository; `NotARepository` if the storage holds packs, indexes or snapshots without a
    /// `config`.
    pub fn probe(storage: &Storage, access: &StorageAccess) -> Result<Presence, Error> {
        match Store::connect(storage, access, AbsentFolder::Report)? {
            Some(store) => presence(&store),
            None => Ok(Presence::Absent),
        }
    }

    pub fn open(storage: &Storage, password: &SecretString, access: &StorageAccess) -> Result<Self, Error> {
        let absent = || Error::Absent { location: storage.location() };
        let store = Store::connect(storage, access, AbsentFolder::Report)?.ok_or_else(absent)?;
        if presence(&store)? == Presence::Absent {
            return Err(absent());
        }
        store.remove_stale_temporaries();
        let unlocked = unlock(&store, password)?;
        Ok(Self { store, cipher: unlocked.cipher, config: unlocked.config, master: unlocked.master })
    }

    #[must_use]
    pub fn location(&self) -> &str {
        self.store.location()
    }

    pub fn statistics(&self) -> Result<Statistics, Error> {
        let mut stored_bytes = self.store.length(CONFIG)?.unwrap_or(0);
        let mut snapshots = 0;
        for kind in rustic_core::ALL_FILE_TYPES {
            self.store.each(kind, |_, length| {
                stored_bytes += u64::from(length);
                snapshots += u64::from(kind == FileType::Snapshot);
                Ok(())
            })?;
        }
        Ok(Statistics { stored_bytes, snapshots })
    }

    /// The storage as a backend of `rustic_core`.
    pub(super) fn files(&self) -> Files {
        Files::new(self.store.clone(), self.cipher.clone())
    }

    pub(super) fn core_over(&self, backend: Arc<dyn WriteBackend>) -> Result<Core, Error> {
        connect(backend)?
            .open(&Credentials::Masterkey(self.master.clone()))
            .map_err(|error| Error::from_core("open the repository", &error))
    }

    /// The zstd level of new files; `None` in a repository of version 1.
    pub(super) fn compression(&self) -> Result<Option<i32>, Error> {
        self.config.zstd().map_err(|error| Error::from_core("read the configuration", &error))
    }
}

/// Connects `rustic_core` without a cache: workers share no disk, and a poisoned cache would answer for the storage.
pub(super) fn connect(backend: Arc<dyn WriteBackend>) -> Result<rustic_core::Repository<()>, Error> {
    let options = RepositoryOptions::default().no_cache(true);
    rustic_core::Repository::new(&options, &RepositoryBackends::new(backend, None))
        .map_err(|error| Error::from_core("open the repository", &error))
}

/// Looks for `config`. Keys alone are not a repository: an init that was killed leaves them, and nothing depends on
/// them.
pub(super) fn presence(store: &Store) -> Result<Presence, Error> {
    if store.length(CONFIG)?.is_some() {
        return Ok(Presence::Present);
    }
    for kind in [FileType::Pack, FileType::Index, FileType::Snapshot] {
        if let Some(found) = store.first_under(kind.dirname())? {
            return Err(Error::NotARepository { location: store.location().to_owned(), found });
        }
    }
    Ok(Presence::Absent)
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("location", &self.store.location()).finish_non_exhaustive()
    }
}
