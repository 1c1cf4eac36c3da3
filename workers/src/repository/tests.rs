//! Tests of the repository on real folders, judged by stock `restic`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backup;
mod choice;
mod faults;
mod init;
mod limits;
mod listing;
mod object;
mod server;
mod stops;
mod wipe;

use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use secrecy::SecretString;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{Error, Fs, Gate, GateRefused, NewSnapshot, Repository, Storage, StorageAccess, WrittenSnapshot};

const PASSWORD: &str = "correct horse";

/// An empty folder, a runtime for the storage, and a password.
struct Fixture {
    folder: TempDir,
    runtime: Runtime,
    stop: CancellationToken,
}

impl Fixture {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { folder: tempfile::tempdir().unwrap(), runtime, stop: CancellationToken::new() }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("repo")
    }

    fn storage(&self) -> Storage {
        Storage::Fs(Fs { root: self.root() })
    }

    fn access(&self) -> StorageAccess {
        StorageAccess::new(self.runtime.handle().clone(), self.stop.clone(), Arc::default())
    }

    fn init(&self) -> Repository {
        Repository::init(&self.storage(), &PASSWORD.into(), &self.access()).unwrap()
    }

    fn open(&self, password: &str) -> Result<Repository, Error> {
        Repository::open(&self.storage(), &SecretString::from(password), &self.access())
    }

    fn restic(&self, arguments: &[&str]) -> Output {
        Command::new("restic")
            .args(["--no-cache", "-r"])
            .arg(self.root())
            .args(arguments)
            .env("RESTIC_PASSWORD", PASSWORD)
            .output()
            .expect("restic must be installed")
    }

    /// Standard output of a call that must succeed.
    fn restic_says(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.restic(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.root().join(folder)];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for path in entries.map(|entry| entry.unwrap().path()) {
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found
    }
}

/// A gate that always opens and counts how often it was asked.
#[derive(Default)]
struct Willing(AtomicUsize);

impl Gate for Willing {
    fn open(&self) -> Result<(), GateRefused> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn request(path: &str) -> NewSnapshot {
    NewSnapshot {
        host: "host-0".to_owned(),
        path: path.to_owned(),
        tags: vec![
            "lagan-session=s1".to_owned(),
            "lagan-configuration=lagan.dev/shop/db".to_owned(),
            "lagan-cluster=local".to_owned(),
            format!("lagan-identity={}", uuid::Uuid::from_u128(1)),
        ],
        time: jiff::Timestamp::now(),
    }
}

fn store(repository: &Repository, content: &[u8]) -> WrittenSnapshot {
    let input = Box::new(Cursor::new(content.to_vec()));
    repository.backup(&request("/dumpfile.sql"), input, &Willing::default()).unwrap()
}

/// Bytes that neither compress nor repeat.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn read_all(repository: &Repository, id: &str) -> std::io::Result<Vec<u8>> {
    let (length, mut reader) = repository.read(id, "/dumpfile.sql").unwrap();
    let mut content = Vec::new();
    reader.read_to_end(&mut content)?;
    assert_eq!(content.len() as u64, length);
    Ok(content)
}
