//! Writes one stream as one snapshot with one file. The gate is opened exactly once, when everything but the snapshot is
//! stored and was read back. There is no snapshot if the gate refuses, the stream breaks off, or what was stored does not
//! read back. This file must not use `rustic_core`'s own stdin commands, which commit before they look at the exit status.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lagan_schemas::tag;
use rustic_core::repofile::{Metadata, Node, NodeType, SnapshotFile};
use rustic_core::{BackupOptions, Id, ParentOptions, SnapshotOptions};

use super::archive::Archive;
use super::cores::on_few_cores;
use super::error::Error;
use super::open::Repository;
use super::prefetch::Prefetch;
use super::seal::{Gate, Seal};
use super::source::{StreamSource, Tally};
use super::verify::ReadBack;

/// Threads that read the index, one of which collects. Not more on a machine with more cores: each holds a file.
const INDEX_THREADS: usize = 5;

/// The description of a snapshot that is to be written.
pub struct NewSnapshot {
    pub host: String,
    /// A single name under the root, such as `/dumpfile.sql`, as Stash writes it.
    pub path: String,
    pub tags: Vec<String>,
    pub time: Timestamp,
}

/// A snapshot that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenSnapshot {
    pub snapshot_id: String,
    /// Length of the file in the snapshot.
    pub bytes: u64,
    /// Bytes that this backup added to the storage.
    pub added_bytes: u64,
    pub read_back: ReadBack,
    pub duration: Duration,
}

impl Repository {
    /// Stores `input` and returns once no write of this backup is in flight. After an error the owner of `input` must
    /// close it, because a thread may still be waiting for its next byte.
    pub fn backup(
        &self,
        backup: &NewSnapshot,
        input: Box<dyn Read + Send>,
        gate: &dyn Gate,
    ) -> Result<WrittenSnapshot, Error> {
        let began = Instant::now();
        let path = checked_path(&backup.path)?;
        let snapshot = new_snapshot(backup)?;
        let archive = Arc::new(Archive::new(self.files()));
        let result = self.run(&archive, &path, snapshot, (backup.time, input), gate);
        // Uploads that still run after a failure must not outlive it.
        let drained = archive.uploads().barrier();
        let (id, read_back) = result.map_err(|error| match drained {
            // The archiver reports only a closed channel; the failed upload has the reason.
            Err(storage) if matches!(error, Error::Core { .. } | Error::Incomplete { .. }) => Error::Storage(storage),
            _ => error,
        })?;
        Ok(WrittenSnapshot {
            snapshot_id: id.to_hex().to_string(),
            bytes: read_back.bytes,
            added_bytes: archive.uploads().bytes(),
            read_back,
            duration: began.elapsed(),
        })
    }

    fn run(
        &self,
        archive: &Arc<Archive>,
        path: &Path,
        snapshot: SnapshotFile,
        (time, input): (Timestamp, Box<dyn Read + Send>),
        gate: &dyn Gate,
    ) -> Result<(Id, ReadBack), Error> {
        let core = self.core_over(archive.clone())?;
        // In a pool of this call: in the pool that all calls share, a storage that does not answer would hold the others.
        let core = index_pool()?
            .install(|| core.to_indexed_ids())
            .map_err(|error| Error::from_core("read the index", &error))?;
        let tally = Arc::new(Tally::default());
        let input = Prefetch::new(input).map_err(Error::Input)?;
        let source = StreamSource::new(path.to_owned(), new_node(path, time), input, tally.clone());
        // Without `force` the archiver would reuse a file of the same name and length from the last snapshot, unread.
        let options = BackupOptions::default().no_scan(true).parent_opts(ParentOptions::default().force(true));
        let archived = on_few_cores(|| core.archive(&options, &source, snapshot, &[path.to_owned()]));
        let archived =
            archived.map_err(|error| Error::Core { action: "archive the input", detail: error.to_string() })?;
        if let Some(storage) = archive.uploads().failure() {
            return Err(Error::Storage(storage));
        }
        let bytes = match tally.finished() {
            // If the archiver stopped before the end of the input, its own error names the cause.
            Err(Error::Incomplete { detail }) => {
                return Err(archived.err().map_or(Error::Incomplete { detail }, |error| archive_failed(&error)));
            }
            finished => finished?,
        };
        let mut snapshot = archived.map_err(|error| archive_failed(&error))?;
        check_summary(&snapshot, bytes)?;
        let seal = Seal { uploads: archive.uploads(), cipher: &self.cipher, compression: self.compression()? };
        seal.store(archive.take_withheld(), &mut snapshot, bytes, gate)?;
        let read_back = self.verify_stored(&snapshot, bytes)?;
        Ok((seal.commit(&snapshot, gate)?, read_back))
    }
}

fn index_pool() -> Result<rayon::ThreadPool, Error> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(INDEX_THREADS).thread_name(|_| "index".to_owned()).build();
    pool.map_err(|error| Error::Core { action: "start the readers of the index", detail: error.to_string() })
}

fn archive_failed(error: &rustic_core::RusticError) -> Error {
    Error::from_core("archive the input", error)
}

/// Compares the summary with the input: the archiver skips what it cannot store and only logs it.
fn check_summary(snapshot: &SnapshotFile, bytes: u64) -> Result<(), Error> {
    let summary = snapshot.summary.as_ref();
    let found = summary.map(|summary| (summary.total_files_processed, summary.total_bytes_processed));
    if found == Some((1, bytes)) {
        Ok(())
    } else {
        Err(Error::Incomplete { detail: format!("read 1 file of {bytes} bytes, archived (files, bytes) {found:?}") })
    }
}

fn checked_path(path: &str) -> Result<PathBuf, Error> {
    let name = path.strip_prefix('/').unwrap_or_default();
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        Err(Error::Invalid { what: "the path of a backup (expected `/name`)", value: path.to_owned() })
    } else {
        Ok(PathBuf::from(path))
    }
}

fn new_snapshot(backup: &NewSnapshot) -> Result<SnapshotFile, Error> {
    let mut snapshot = SnapshotOptions::default()
        .host(backup.host.clone())
        // Without a command here, the whole command line of this process would be stored.
        .command("lagan".to_owned())
        .time(backup.time.to_zoned(TimeZone::UTC))
        .to_snapshot()
        .map_err(|error| Error::from_core("describe the snapshot", &error))?;
    concat!("lagan ", env!("CARGO_PKG_VERSION")).clone_into(&mut snapshot.program_version);
    for tag in &backup.tags {
        tag::check(tag)?;
        snapshot.tags.add(tag.clone());
    }
    Ok(snapshot)
}

fn new_node(path: &Path, time: Timestamp) -> Node {
    let meta = Metadata {
        mode: Some(0o644),
        mtime: Some(time),
        atime: Some(time),
        ctime: Some(time),
        links: 1,
        ..Metadata::default()
    };
    Node::new_node(path.file_name().unwrap_or_default(), NodeType::File, meta)
}
