//! The storage as a backend of `rustic_core`. It reads every file and writes only a new `config`: files of a backup go
//! through `archive`, all other writes through `store`.

use std::sync::Arc;

use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};

use super::cipher::{Cipher, OpenError};
use super::limits;
use super::store::{CONFIG, Store, path_of};
use super::store_error::{StoreError, StoreErrorKind};

pub(super) struct Files {
    store: Arc<Store>,
    cipher: Cipher,
}

impl Files {
    pub(super) fn new(store: Arc<Store>, cipher: Cipher) -> Self {
        Self { store, cipher }
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

/// Wraps a storage error as a source, where `Error::from_core` finds it again with its kind.
pub(super) fn core_error(error: StoreError) -> Box<RusticError> {
    RusticError::with_source(ErrorKind::Backend, "storage request failed", error)
}

pub(super) fn forbidden(action: &'static str, kind: FileType) -> Box<RusticError> {
    core_error(StoreError::new(StoreErrorKind::Forbidden, action, kind.dirname(), "not through this backend"))
}

impl ReadBackend for Files {
    fn location(&self) -> String {
        self.store.location().to_owned()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        self.store.list(kind).map_err(core_error)
    }

    /// `rustic_core` decompresses a file without a limit, so its content is measured here first.
    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        let path = path_of(kind, id);
        let content = self.store.read(&path, limits::file_bytes(kind)).map_err(core_error)?;
        if kind != FileType::Key
            && let Err(error @ OpenError::TooLong { .. }) = self.cipher.open_file(kind, &content)
        {
            return Err(core_error(StoreError::new(StoreErrorKind::TooLarge, "read", &path, error.to_string())));
        }
        Ok(content)
    }

    fn read_partial(&self, kind: FileType, id: &Id, _cacheable: bool, offset: u32, length: u32) -> RusticResult<Bytes> {
        self.store.read_range(&path_of(kind, id), offset, length).map_err(core_error)
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        path_of(kind, id)
    }
}

impl WriteBackend for Files {
    fn write_bytes(&self, kind: FileType, _id: &Id, _cacheable: bool, content: BytesList) -> RusticResult<()> {
        match kind {
            FileType::Config => self.store.write_new(CONFIG, &content.into_vec().concat().into()).map_err(core_error),
            _ => Err(forbidden("write", kind)),
        }
    }

    fn remove(&self, kind: FileType, _id: &Id, _cacheable: bool) -> RusticResult<()> {
        Err(forbidden("remove", kind))
    }
}
