//! Streams a file of a snapshot. A few threads read runs of neighbouring blobs ahead, each blob is decrypted and
//! compared with its name, and the content comes out in order. Memory is bounded. A damaged blob is an error of `read`,
//! and so is an end before the last byte.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rustic_core::repofile::BlobType;
use rustic_core::{FileType, Id};

use super::cipher::Cipher;
use super::error::Error;
use super::locate::BlobLocation;
use super::open::Repository;
use super::store::{Store, path_of};

const READERS: usize = 4;
/// Largest content of one run: blobs that are neighbours in a pack are read by one request.
const RUN: u64 = 4 << 20;

/// The content of a file of a snapshot.
pub struct SnapshotReader {
    /// One per reader thread; run `n` comes from thread `n % READERS`.
    runs: Vec<Receiver<io::Result<Vec<u8>>>>,
    next: usize,
    left: usize,
    current: Vec<u8>,
    position: usize,
    remaining_bytes: u64,
}

impl Repository {
    /// Opens the file at `path`; returns its length and content.
    pub fn read(&self, snapshot_id: &str, path: &str) -> Result<(u64, SnapshotReader), Error> {
        let snapshot = self.snapshot_file(snapshot_id)?;
        let node = self
            .node(*snapshot.tree, path)?
            .ok_or_else(|| Error::PathNotFound { id: snapshot_id.to_owned(), path: path.to_owned() })?;
        let content: Vec<Id> = node.content.iter().flatten().map(|id| **id).collect();
        let found = self.find(BlobType::Data, &content.iter().copied().collect::<HashSet<_>>())?;
        let missing = |id: &Id| Error::Damaged { detail: format!("blob `{id}` is not in the index") };
        let locations = content
            .iter()
            .map(|id| found.blobs.get(id).copied().ok_or_else(|| missing(id)))
            .collect::<Result<Vec<_>, _>>()?;
        let length = locations.iter().map(BlobLocation::content_length).sum();
        let runs = Arc::new(runs_of(locations));
        let reader = SnapshotReader::start(&self.store, &self.cipher, &runs, length);
        Ok((length, reader.map_err(|error| Error::Core { action: "start a reader", detail: error.to_string() })?))
    }
}

impl SnapshotReader {
    fn start(store: &Arc<Store>, cipher: &Cipher, runs: &Arc<Vec<Vec<BlobLocation>>>, length: u64) -> io::Result<Self> {
        let mut receivers = Vec::new();
        for first in 0..READERS.min(runs.len()) {
            let (sender, receiver) = sync_channel(1);
            let (store, cipher, runs) = (store.clone(), cipher.clone(), runs.clone());
            thread::Builder::new()
                .name("restore".to_owned())
                .spawn(move || read_runs(&store, &cipher, runs.iter().skip(first).step_by(READERS), &sender))?;
            receivers.push(receiver);
        }
        Ok(Self {
            left: runs.len(),
            runs: receivers,
            next: 0,
            current: Vec::new(),
            position: 0,
            remaining_bytes: length,
        })
    }

    fn next_run(&mut self) -> io::Result<()> {
        let Some(receiver) = self.runs.get(self.next) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let run = receiver.recv().unwrap_or_else(|_| Err(io::Error::other("a reader of the repository died")));
        self.current = run.inspect_err(|_| self.runs.clear())?;
        self.position = 0;
        self.next = (self.next + 1) % self.runs.len();
        self.left -= 1;
        Ok(())
    }
}

impl Read for SnapshotReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.current.len() {
            if self.left == 0 {
                return match self.remaining_bytes {
                    0 => Ok(0),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
            if buffer.is_empty() {
                return Ok(0);
            }
            self.next_run()?;
        }
        let count = buffer.len().min(self.current.len() - self.position);
        buffer[..count].copy_from_slice(&self.current[self.position..self.position + count]);
        self.position += count;
        self.remaining_bytes = self.remaining_bytes.saturating_sub(count as u64);
        Ok(count)
    }
}

fn runs_of(locations: Vec<BlobLocation>) -> Vec<Vec<BlobLocation>> {
    let mut runs: Vec<Vec<BlobLocation>> = Vec::new();
    let mut content = 0;
    for blob in locations {
        match runs.last_mut() {
            Some(run)
                if content + blob.content_length() <= RUN && run.last().is_some_and(|last| follows(last, &blob)) =>
            {
                content += blob.content_length();
                run.push(blob);
            }
            _ => {
                content = blob.content_length();
                runs.push(vec![blob]);
            }
        }
    }
    runs
}

fn follows(last: &BlobLocation, next: &BlobLocation) -> bool {
    last.pack == next.pack && last.offset.checked_add(last.length) == Some(next.offset)
}

fn read_runs<'r>(
    store: &Store,
    cipher: &Cipher,
    runs: impl Iterator<Item = &'r Vec<BlobLocation>>,
    sender: &SyncSender<io::Result<Vec<u8>>>,
) {
    for run in runs {
        let read = read_run(store, cipher, run);
        let last = read.is_err();
        // A closed channel means that the reader was dropped.
        if sender.send(read).is_err() || last {
            return;
        }
    }
}

fn read_run(store: &Store, cipher: &Cipher, run: &[BlobLocation]) -> io::Result<Vec<u8>> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(Vec::new()) };
    let length = last.offset + last.length - first.offset;
    let data =
        store.read_range(&path_of(FileType::Pack, &first.pack), first.offset, length).map_err(io::Error::other)?;
    let content_length: u64 = run.iter().map(BlobLocation::content_length).sum();
    let mut content = Vec::with_capacity(usize::try_from(content_length).unwrap_or(0));
    for location in run {
        let start = (location.offset - first.offset) as usize;
        let blob = data
            .get(start..start + location.length as usize)
            .and_then(|blob| cipher.open_blob(&location.blob, blob, location.uncompressed))
            .ok_or_else(|| damaged(location))?;
        content.extend_from_slice(&blob);
    }
    Ok(content)
}

fn damaged(location: &BlobLocation) -> io::Error {
    let detail = format!("blob `{}` in pack `{}`", location.blob, &*location.pack.to_hex());
    io::Error::new(io::ErrorKind::InvalidData, Error::Damaged { detail })
}
