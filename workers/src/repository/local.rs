//! Writes files into a folder so that each is either complete under its name or absent: temporary file, fsync, rename,
//! fsync of the folder. `OpenDAL`'s own atomic write is not enough: it leaves temporary files on a full disk, cannot
//! create a file conditionally without a race, and does not sync the folder.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::NamedTempFile;

/// Folder for temporary files. It is inside the repository, so that a rename stays on one file system; restic ignores
/// names that it does not know.
const TEMPORARY: &str = ".lagan-tmp";
const STALE: Duration = Duration::from_hours(24);

pub(super) struct Local {
    root: PathBuf,
    /// Folders whose entry in their parent is known to be on the disk. A folder that another process has just created
    /// is not among them.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Local {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), durable: Mutex::default() }
    }

    pub(super) fn create_root(root: &Path) -> io::Result<()> {
        create_folder(root)
    }

    pub(super) fn write(&self, path: &str, content: &[Bytes]) -> io::Result<()> {
        let file = self.temporary(content)?;
        let target = self.target(path)?;
        file.persist(&target).map_err(|error| error.error)?;
        sync_parent(&target)
    }

    /// Writes a file only if there is none under its name, else fails with `AlreadyExists`. The link or no-replace
    /// rename behind it is atomic.
    pub(super) fn write_new(&self, path: &str, content: &[Bytes]) -> io::Result<()> {
        let file = self.temporary(content)?;
        let target = self.target(path)?;
        file.persist_noclobber(&target).map_err(|error| error.error)?;
        sync_parent(&target)
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        let target = self.root.join(path);
        match fs::remove_file(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync_parent(&target),
        }
    }

    pub(super) fn length(&self, path: &str) -> io::Result<u64> {
        fs::metadata(self.root.join(path)).map(|metadata| metadata.len())
    }

    /// Removes temporary files that a killed writer has left. A failure is harmless and is only logged.
    pub(super) fn remove_stale(&self, now: SystemTime) {
        let Ok(entries) = fs::read_dir(self.root.join(TEMPORARY)) else { return };
        for entry in entries.flatten() {
            let age = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|at| now.duration_since(at).ok());
            if age.is_some_and(|age| age > STALE)
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::debug!(%error, "stale temporary file stays");
            }
        }
    }

    fn temporary(&self, content: &[Bytes]) -> io::Result<NamedTempFile> {
        let folder = self.root.join(TEMPORARY);
        self.make_folder(&folder)?;
        let mut file = NamedTempFile::new_in(&folder)?;
        for part in content {
            file.write_all(part)?;
        }
        file.as_file().sync_all()?;
        Ok(file)
    }

    fn target(&self, path: &str) -> io::Result<PathBuf> {
        let target = self.root.join(path);
        if let Some(parent) = target.parent() {
            self.make_folder(parent)?;
        }
        Ok(target)
    }

    /// Creates a folder below the root unless it exists, and makes its entry durable: without it, a crash of the
    /// machine would take the folder and the synced files in it.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let known = || self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if folder == self.root || known().contains(folder) {
            return Ok(());
        }
        create_folder(folder)?;
        sync_parent(folder)?;
        known().insert(folder.to_owned());
        Ok(())
    }
}

/// Creates a folder and the missing ones above it, and syncs the entry of each. Like restic, it lets only the owner in.
fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_folder(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    File::open(parent)?.sync_all()?;
    #[cfg(test)]
    tests::SYNCED.with_borrow_mut(|synced| synced.push(parent.to_owned()));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        /// Folders that were synced. The sync itself leaves no trace that a test could see.
        pub(super) static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
    }

    #[test]
    fn every_folder_above_a_new_file_is_synced_even_if_another_process_has_just_made_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("a/b");
        Local::create_root(&root).unwrap();
        let folder = root.parent().unwrap();
        assert_eq!(SYNCED.take(), [folder.parent().unwrap(), folder]);
        for made_by_another in [false, true] {
            let local = Local::new(&root);
            let path = format!("data/{made_by_another}/pack");
            if made_by_another {
                fs::create_dir(root.join("data/true")).unwrap();
            }
            SYNCED.take();
            local.write(&path, &[Bytes::from_static(b"x")]).unwrap();
            let synced = SYNCED.take();
            for folder in ["data", &format!("data/{made_by_another}")] {
                assert!(synced.contains(&root.join(folder)), "{folder} {synced:?}");
            }
            local.write(&path, &[Bytes::from_static(b"x")]).unwrap();
            assert_eq!(SYNCED.take(), [root.join(format!("data/{made_by_another}"))], "only the new entry");
        }
    }

    #[test]
    fn only_temporaries_older_than_a_day_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let local = Local::new(root.path());
        let folder = root.path().join(TEMPORARY);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("left"), b"x").unwrap();
        local.remove_stale(SystemTime::now() + Duration::from_hours(23));
        assert!(folder.join("left").exists());
        local.remove_stale(SystemTime::now() + Duration::from_hours(25));
        assert!(!folder.join("left").exists());
    }

    #[test]
    fn a_conditional_write_keeps_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        let local = Local::new(root.path());
        local.write_new("config", &[Bytes::from_static(b"first")]).unwrap();
        let error = local.write_new("config", &[Bytes::from_static(b"second")]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(root.path().join("config")).unwrap(), b"first");
        assert_eq!(fs::read_dir(root.path().join(TEMPORARY)).unwrap().count(), 0);
    }
}
