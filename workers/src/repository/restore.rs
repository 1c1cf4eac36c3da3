//! A file of a snapshot as a stream: a few threads read runs of neighbouring blobs ahead, each blob is decrypted and
//! checked against its name, and everything comes out in order. Memory is bounded; a damaged blob is an error of
//! `read`, and so is an end before the last byte.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rustic_core::repofile::BlobType;
use rustic_core::{FileType, Id};

use super::cipher::Cipher;
use super::error::Error;
use super::locate::{Place, find};
use super::open::Repository;
use super::snapshot::snapshot_file;
use super::store::{Store, path_of};

const READERS: usize = 4;
/// A run of blobs that lie side by side in a pack is one request, up to this much content.
const RUN: u64 = 4 << 20;

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
    /// Length and content of the file at `path`.
    pub fn read(&self, snapshot_id: &str, path: &str) -> Result<(u64, SnapshotReader), Error> {
        let core = self.core()?;
        let snapshot = snapshot_file(&core, snapshot_id)?;
        let node = self
            .node(&core, *snapshot.tree, path)?
            .ok_or_else(|| Error::PathNotFound { id: snapshot_id.to_owned(), path: path.to_owned() })?;
        let content: Vec<Id> = node.content.iter().flatten().map(|id| **id).collect();
        let found = find(&core, BlobType::Data, &content.iter().copied().collect::<HashSet<_>>())?;
        let missing = |id: &Id| Error::Damaged { detail: format!("blob `{id}` is not in the index") };
        let places = content
            .iter()
            .map(|id| found.places.get(id).copied().ok_or_else(|| missing(id)))
            .collect::<Result<Vec<_>, _>>()?;
        let length = places.iter().map(Place::content_length).sum();
        let runs = Arc::new(runs_of(places));
        let reader = SnapshotReader::start(&self.store, &self.cipher, &runs, length);
        Ok((length, reader.map_err(|error| Error::Core { action: "start a reader", detail: error.to_string() })?))
    }
}

impl SnapshotReader {
    fn start(store: &Arc<Store>, cipher: &Cipher, runs: &Arc<Vec<Vec<Place>>>, length: u64) -> io::Result<Self> {
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

fn runs_of(places: Vec<Place>) -> Vec<Vec<Place>> {
    let mut runs: Vec<Vec<Place>> = Vec::new();
    let mut content = 0;
    for place in places {
        match runs.last_mut() {
            Some(run)
                if content + place.content_length() <= RUN && run.last().is_some_and(|last| follows(last, &place)) =>
            {
                content += place.content_length();
                run.push(place);
            }
            _ => {
                content = place.content_length();
                runs.push(vec![place]);
            }
        }
    }
    runs
}

fn follows(last: &Place, next: &Place) -> bool {
    last.pack == next.pack && last.offset.checked_add(last.length) == Some(next.offset)
}

fn read_runs<'r>(
    store: &Store,
    cipher: &Cipher,
    runs: impl Iterator<Item = &'r Vec<Place>>,
    sender: &SyncSender<io::Result<Vec<u8>>>,
) {
    for run in runs {
        let read = read_run(store, cipher, run);
        let last = read.is_err();
        // Nobody listens any more when the reader was dropped.
        if sender.send(read).is_err() || last {
            return;
        }
    }
}

fn read_run(store: &Store, cipher: &Cipher, run: &[Place]) -> io::Result<Vec<u8>> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(Vec::new()) };
    let length = last.offset + last.length - first.offset;
    let data =
        store.read_range(&path_of(FileType::Pack, &first.pack), first.offset, length).map_err(io::Error::other)?;
    let content_length: u64 = run.iter().map(Place::content_length).sum();
    let mut content = Vec::with_capacity(usize::try_from(content_length).unwrap_or(0));
    for place in run {
        let start = (place.offset - first.offset) as usize;
        let blob = data
            .get(start..start + place.length as usize)
            .and_then(|blob| cipher.open_blob(&place.blob, blob, place.uncompressed))
            .ok_or_else(|| damaged(place))?;
        content.extend_from_slice(&blob);
    }
    Ok(content)
}

fn damaged(place: &Place) -> io::Error {
    let detail = format!("blob `{}` in pack `{}`", place.blob, &*place.pack.to_hex());
    io::Error::new(io::ErrorKind::InvalidData, Error::Damaged { detail })
}
