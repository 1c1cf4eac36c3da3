//! Creates a repository: first its key, then `config` by a conditional write. The caller holds the exclusive lease. Even
//! without it, two processes that race end with one repository that opens. This file must not remove a key whose
//! `config` may have been written.

use std::sync::Arc;

use rustic_core::repofile::MasterKey;
use rustic_core::{ConfigOptions, Credentials, FileType, Id, KeyOptions};
use secrecy::SecretString;

use super::backend::Files;
use super::cipher::Cipher;
use super::error::Error;
use super::key::new_key;
use super::limits;
use super::open::{Presence, Repository, connect, presence};
use super::storage::Storage;
use super::storage_access::StorageAccess;
use super::store::{AbsentFolder, CONFIG, Store, path_of};

/// zstd level of new repositories: compared with level 3, a backup takes a fifth less time and stores 8 % more.
const COMPRESSION: i32 = 1;
/// restic's own pack size. Several packs are in memory at a time, so it bounds the memory of a worker.
const PACK_SIZE: u64 = 16 << 20;
const PACK_SIZE_LIMIT: u64 = 32 << 20;

impl Repository {
    /// Creates and opens a repository; `Exists` if another process was faster.
    pub fn init(storage: &Storage, password: &SecretString, access: &StorageAccess) -> Result<Self, Error> {
        let absent = || Error::Absent { location: storage.location() };
        let store = Store::connect(storage, access, AbsentFolder::Create)?.ok_or_else(absent)?;
        if presence(&store)? == Presence::Present {
            return Err(Error::Exists { location: storage.location() });
        }
        let no_key = || Error::Core { action: "make a key", detail: "the system gives no random bytes".to_owned() };
        let master = MasterKey::new();
        let cipher = Cipher::from_master(&master).ok_or_else(no_key)?;
        let (key, content) = new_key(&master, password).ok_or_else(no_key)?;
        store.write(&path_of(FileType::Key, &key), vec![content.into()])?;
        let written = write_config(&store, &cipher, master);
        settle(&store, &cipher, key, written)?;
        remove_other_keys(&store, key)?;
        tracing::info!(location = store.location(), "repository created");
        Self::open(storage, password, access)
    }
}

fn write_config(store: &Arc<Store>, cipher: &Cipher, master: MasterKey) -> Result<(), Error> {
    let options = ConfigOptions::default()
        .set_version(2)
        .set_compression(COMPRESSION)
        .set_datapack_size(bytesize::ByteSize(PACK_SIZE))
        .set_datapack_size_limit(bytesize::ByteSize(PACK_SIZE_LIMIT))
        .set_treepack_size_limit(bytesize::ByteSize(PACK_SIZE_LIMIT));
    connect(Arc::new(Files::new(store.clone(), cipher.clone())))?
        .init(&Credentials::Masterkey(master), &KeyOptions::default(), &options)
        .map(drop)
        .map_err(|error| Error::from_core("create the repository", &error))
}

/// Reads `config` back to see who wrote it. The answer to the write does not tell: a repeated request may have met its
/// own first write.
fn settle(store: &Store, cipher: &Cipher, key: Id, written: Result<(), Error>) -> Result<(), Error> {
    let config = match store.read(CONFIG, limits::file_bytes(FileType::Config)).map_err(Error::from) {
        Ok(config) => config,
        Err(error) if error.is_missing_file() => {
            store.remove(&path_of(FileType::Key, &key))?;
            return written.and(Err(error));
        }
        Err(error) => return Err(error),
    };
    if cipher.open_file(FileType::Config, &config).is_ok() {
        return Ok(());
    }
    store.remove(&path_of(FileType::Key, &key))?;
    Err(Error::Exists { location: store.location().to_owned() })
}

/// Removes keys of other masters, left by an init that was killed or that lost the race. Stock restic would try them
/// first and fail.
fn remove_other_keys(store: &Store, own: Id) -> Result<(), Error> {
    for (id, _) in store.list(FileType::Key)? {
        if id != own {
            tracing::warn!(key = %id, "key without a repository is removed");
            store.remove(&path_of(FileType::Key, &id))?;
        }
    }
    Ok(())
}
