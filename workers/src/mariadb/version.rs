//! Asks client programs for their version, once for each file, and refuses those that lack what Lagan relies on.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use tokio_util::sync::CancellationToken;

use crate::process::{Capture, CaptureError, Program, Spawner, capture};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientVersion {
    major: u16,
    minor: u16,
    patch: u16,
}

#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    #[error("cannot ask `{}` for its version", path.display())]
    Ask {
        path: PathBuf,
        #[source]
        source: CaptureError,
    },
    #[error("`{}` is not a client of MariaDB: it says `{said}`", path.display())]
    Foreign { path: PathBuf, said: String },
    #[error("`{}` is MariaDB {version}, which has no sandbox mode; 10.5.25, 10.6.18, 10.11.8, 11.4.2 and later have", path.display())]
    NoSandbox { path: PathBuf, version: ClientVersion },
}

/// Versions that the programs of a worker told. A program that was replaced, as by an upgrade, is asked again.
#[derive(Debug, Default)]
pub struct Versions(Mutex<HashMap<File, ClientVersion>>);

/// A program as it stood in the file system when it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct File {
    path: PathBuf,
    modified: SystemTime,
    bytes: u64,
}

impl Versions {
    /// As `probe`, and from memory where that is the same.
    pub async fn of(
        &self,
        spawner: &Spawner,
        path: PathBuf,
        cancel: &CancellationToken,
    ) -> Result<ClientVersion, VersionError> {
        let Some(file) = File::stat(&path) else { return probe(spawner, path, cancel).await };
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&file).cloned();
        if let Some(version) = known {
            return Ok(version);
        }
        let version = probe(spawner, path, cancel).await?;
        let mut versions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        versions.retain(|known, _| known.path != file.path);
        versions.insert(file, version.clone());
        Ok(version)
    }
}

impl File {
    fn stat(path: &Path) -> Option<Self> {
        let metadata = path.metadata().ok()?;
        Some(Self { path: path.to_owned(), modified: metadata.modified().ok()?, bytes: metadata.len() })
    }
}

/// Asks a client program who it is and refuses one that cannot protect the worker from a dump's commands.
pub async fn probe(
    spawner: &Spawner,
    path: PathBuf,
    cancel: &CancellationToken,
) -> Result<ClientVersion, VersionError> {
    let program = Program { args: vec!["--no-defaults".into(), "--version".into()], ..Program::new(&path) };
    let captured = match capture(spawner, program, Capture::default(), cancel).await {
        Ok(captured) => captured,
        Err(source) => return Err(VersionError::Ask { path, source }),
    };
    let said = String::from_utf8_lossy(&captured.stdout).trim().to_owned();
    match ClientVersion::parse(&said) {
        None => Err(VersionError::Foreign { path, said }),
        Some(version) if !version.has_sandbox() => Err(VersionError::NoSandbox { path, version }),
        Some(version) => Ok(version),
    }
}

impl ClientVersion {
    /// Reads `… Distrib 10.11.19-MariaDB, …` and `… from 11.4.5-MariaDB, …`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.split([' ', ',']).find_map(|word| word.split_once("-MariaDB").map(|(n, _)| n))?;
        let mut parts = number.split('.').map(|part| part.parse().ok());
        Some(Self { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? })
    }

    /// Major, minor and patch.
    #[must_use]
    pub fn numbers(&self) -> [u16; 3] {
        [self.major, self.minor, self.patch]
    }

    #[must_use]
    pub fn at_least(&self, major: u16, minor: u16, patch: u16) -> bool {
        *self >= Self { major, minor, patch }
    }

    /// The option came with fixes of every line that was alive then, so it is no simple comparison.
    #[must_use]
    pub fn has_sandbox(&self) -> bool {
        match (self.major, self.minor) {
            (..=9, _) | (10, ..=4 | 7..=10) => false,
            (10, 5) => self.patch >= 25,
            (10, 6) => self.patch >= 18,
            (10, 11) => self.patch >= 8,
            (11, 0) => self.patch >= 6,
            (11, 1) => self.patch >= 5,
            (11, 2) => self.patch >= 4,
            (11, 3) => false,
            (11, 4) => self.patch >= 2,
            _ => true,
        }
    }
}

impl std::fmt::Display for ClientVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_the_old_and_the_new_form() {
        let old = ClientVersion::parse("mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu");
        assert_eq!(old, Some(ClientVersion { major: 10, minor: 11, patch: 19 }));
        let new = ClientVersion::parse("mariadb from 11.4.5-MariaDB, client 15.2 for Linux");
        assert!(new.is_some_and(|version| version.at_least(11, 4, 0) && version.has_sandbox()));
        assert_eq!(ClientVersion::parse("mysqldump  Ver 8.0.36 for Linux on x86_64"), None);
    }

    #[test]
    fn only_fixed_clients_have_the_sandbox() {
        for (text, expected) in [("10.11.7", false), ("10.11.8", true), ("10.4.34", false), ("11.8.1", true)] {
            let version = ClientVersion::parse(&format!("x from {text}-MariaDB"));
            assert_eq!(version.map(|version| version.has_sandbox()), Some(expected), "{text}");
        }
    }
}
