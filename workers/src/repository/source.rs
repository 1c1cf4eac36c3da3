//! The source that `rustic_core` archives: exactly one file, read from a stream. The archiver swallows an error of the
//! stream, so it is remembered here, and `Tally::finished` must be asked before a snapshot is written.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::repofile::Node;
use rustic_core::{ReadSource, ReadSourceEntry, RusticResult};

use super::error::Error;
use super::prefetch::Prefetch;

/// The progress and the end of the stream.
#[derive(Default)]
pub(super) struct Tally {
    bytes: AtomicU64,
    ended: AtomicBool,
    error: Mutex<Option<io::Error>>,
}

impl Tally {
    /// Returns the number of bytes if the stream was read to its end without an error.
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

pub(super) struct StreamSource {
    path: PathBuf,
    node: Node,
    input: Mutex<Option<CountedRead>>,
}

impl StreamSource {
    pub(super) fn new(path: PathBuf, node: Node, input: Prefetch, tally: Arc<Tally>) -> Self {
        Self { path, node, input: Mutex::new(Some(CountedRead { input, tally })) }
    }
}

impl ReadSource for StreamSource {
    type Open = CountedRead;
    type Iter = std::option::IntoIter<RusticResult<ReadSourceEntry<CountedRead>>>;

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

/// The stream, with every byte and its end noted in the tally.
pub(super) struct CountedRead {
    input: Prefetch,
    tally: Arc<Tally>,
}

impl Read for CountedRead {
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
