//! The backend under one run of `rustic_core`'s archiver. Data packs are uploaded in the background. Tree packs, the
//! last index and the snapshot are withheld for `seal`: the archiver cannot know the length of a stream and would
//! commit a file of size 0, which stock `restic restore` brings back empty. This backend never writes a snapshot.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rustic_core::{BytesList, FileType, Id, ReadBackend, RusticResult, WriteBackend};

use super::backend::{Files, core_error, forbidden};
use super::store::path_of;
use super::store_error::StoreError;
use super::upload::Uploads;

pub(super) struct Archive {
    files: Files,
    uploads: Uploads,
    withheld: Mutex<Withheld>,
}

/// Files that the archiver has written and the storage has not received yet.
#[derive(Default)]
pub(super) struct Withheld {
    pub(super) tree_packs: Vec<(Id, Bytes)>,
    /// Only the last index names the tree pack, because the archiver adds that pack after all data packs.
    pub(super) index: Option<(Id, Bytes)>,
}

impl Archive {
    pub(super) fn new(files: Files) -> Self {
        let uploads = Uploads::new(files.store().clone());
        Self { files, uploads, withheld: Mutex::default() }
    }

    pub(super) fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    pub(super) fn take_withheld(&self) -> Withheld {
        std::mem::take(&mut *self.withheld.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Withholds this index and uploads the one before it.
    fn withhold_index(&self, id: Id, content: Bytes) -> Result<(), StoreError> {
        let before = self.withheld.lock().unwrap_or_else(PoisonError::into_inner).index.replace((id, content));
        match before {
            Some((id, content)) => self.uploads.write_after_all(&path_of(FileType::Index, &id), vec![content]),
            None => Ok(()),
        }
    }
}

impl ReadBackend for Archive {
    fn location(&self) -> String {
        self.files.location()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        self.files.list_with_size(kind)
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        self.files.read_full(kind, id)
    }

    fn read_partial(&self, kind: FileType, id: &Id, cacheable: bool, offset: u32, length: u32) -> RusticResult<Bytes> {
        self.files.read_partial(kind, id, cacheable, offset, length)
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.files.warmup_path(kind, id)
    }
}

impl WriteBackend for Archive {
    /// Tree packs are the ones that `rustic_core` marks as `cacheable`.
    fn write_bytes(&self, kind: FileType, id: &Id, cacheable: bool, content: BytesList) -> RusticResult<()> {
        match kind {
            FileType::Pack if cacheable => {
                let content = content.into_vec().concat().into();
                self.withheld.lock().unwrap_or_else(PoisonError::into_inner).tree_packs.push((*id, content));
                Ok(())
            }
            FileType::Pack => self.uploads.start(path_of(kind, id), content.into_vec()).map_err(core_error),
            FileType::Index => self.withhold_index(*id, content.into_vec().concat().into()).map_err(core_error),
            FileType::Snapshot => Ok(()),
            FileType::Config | FileType::Key => Err(forbidden("write", kind)),
        }
    }

    fn remove(&self, kind: FileType, _id: &Id, _cacheable: bool) -> RusticResult<()> {
        Err(forbidden("remove", kind))
    }
}
