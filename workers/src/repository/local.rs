//! Writing into a folder so that a file is either whole under its name or not there: temporary file, fsync, rename,
//! fsync of the folder. `OpenDAL`'s own atomic write leaves temporaries behind on a full disk, cannot create a file
//! conditionally without a race, and does not sync the folder; hence this.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::NamedTempFile;

/// Inside the repository, hence on its file system; restic looks only at names it knows.
const TEMPORARY: &str = ".lagan-tmp";
const STALE: Duration = Duration::from_hours(24);

pub(super) struct Local {
    root: PathBuf,
}

impl Local {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn create_root(root: &Path) -> io::Result<()> {
        create_dir(root)
    }

    pub(super) fn write(&self, path: &str, content: &[Bytes]) -> io::Result<()> {
        let file = self.temporary(content)?;
        let target = self.target(path)?;
        file.persist(&target).map_err(|error| error.error)?;
        sync_parent(&target)
    }

    /// `AlreadyExists` if there is one: the link or no-replace rename behind it is atomic.
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

    /// What a killed writer left behind. A failure here harms nobody.
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
        create_dir(&folder)?;
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
            create_dir(parent)?;
        }
        Ok(target)
    }
}

/// With restic's mode: nobody else reads a repository.
fn create_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
    use super::*;

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
