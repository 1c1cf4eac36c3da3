//! The backend under one run of `rustic_core`'s archiver. Data packs are uploaded in the background; tree packs, the
//! last index and the snapshot are held back for `seal`, because the archiver cannot know the length of a stream and
//! would commit a file of size 0, which stock `restic restore` brings back empty. No snapshot is ever written here.

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
    held: Mutex<Held>,
}

#[derive(Default)]
pub(super) struct Held {
    pub(super) tree_packs: Vec<(Id, Bytes)>,
    /// The archiver adds its tree pack after all data packs, so that only the last index names it.
    pub(super) index: Option<(Id, Bytes)>,
}

impl Archive {
    pub(super) fn new(files: Files) -> Self {
        let uploads = Uploads::new(files.store().clone());
        Self { files, uploads, held: Mutex::default() }
    }

    pub(super) fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    pub(super) fn take_held(&self) -> Held {
        std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hold_index(&self, id: Id, content: Bytes) -> Result<(), StoreError> {
        let before = self.held.lock().unwrap_or_else(PoisonError::into_inner).index.replace((id, content));
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
    /// `cacheable` tells tree packs from data packs.
    fn write_bytes(&self, kind: FileType, id: &Id, cacheable: bool, content: BytesList) -> RusticResult<()> {
        match kind {
            FileType::Pack if cacheable => {
                let content = content.into_vec().concat().into();
                self.held.lock().unwrap_or_else(PoisonError::into_inner).tree_packs.push((*id, content));
                Ok(())
            }
            FileType::Pack => self.uploads.start(path_of(kind, id), content.into_vec()).map_err(core_error),
            FileType::Index => self.hold_index(*id, content.into_vec().concat().into()).map_err(core_error),
            FileType::Snapshot => Ok(()),
            FileType::Config | FileType::Key => Err(forbidden("write", kind)),
        }
    }

    fn remove(&self, kind: FileType, _id: &Id, _cacheable: bool) -> RusticResult<()> {
        Err(forbidden("remove", kind))
    }
}
