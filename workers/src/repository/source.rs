//! What `rustic_core` archives: exactly one entry, read from a stream. An error of the stream is swallowed by the
//! archiver, so it is remembered here, and whoever writes the snapshot must ask `Tally::finished` first.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::repofile::Node;
use rustic_core::{ReadSource, ReadSourceEntry, RusticResult};

use super::error::Error;
use super::prefetch::Prefetch;

/// What became of the stream.
#[derive(Default)]
pub(super) struct Tally {
    bytes: AtomicU64,
    ended: AtomicBool,
    error: Mutex<Option<io::Error>>,
}

impl Tally {
    /// The number of bytes, if the stream was read to its end without an error.
    pub(super) fn finished(&self) -> Result<u64, Error> {
        if let Some(error) = self.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Error::Input(error));
        }
        if self.ended.load(Ordering::Acquire) {
            Ok(self.bytes.load(Ordering::Acquire))
        } else {
            Err(Error::Incomplete { detail: "the input was not read to its end".to_owned() })
        }
    }
}

pub(super) struct Entry {
    path: PathBuf,
    node: Node,
    input: Mutex<Option<Counted>>,
}

impl Entry {
    pub(super) fn new(path: PathBuf, node: Node, input: Prefetch, tally: Arc<Tally>) -> Self {
        Self { path, node, input: Mutex::new(Some(Counted { input, tally })) }
    }
}

impl ReadSource for Entry {
    type Open = Counted;
    type Iter = std::option::IntoIter<RusticResult<ReadSourceEntry<Counted>>>;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Self::Iter {
        let input = self.input.lock().unwrap_or_else(PoisonError::into_inner).take();
        input
            .map(|input| Ok(ReadSourceEntry { path: self.path.clone(), node: self.node.clone(), open: Some(input) }))
            .into_iter()
    }
}

pub(super) struct Counted {
    input: Prefetch,
    tally: Arc<Tally>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buffer) {
            Ok(0) if !buffer.is_empty() => {
                self.tally.ended.store(true, Ordering::Release);
                Ok(0)
            }
            Ok(count) => {
                self.tally.bytes.fetch_add(count as u64, Ordering::AcqRel);
                Ok(count)
            }
            Err(error) => {
                let told = io::Error::from(error.kind());
                *self.tally.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(told)
            }
        }
    }
}
