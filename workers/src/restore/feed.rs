//! Feeds a snapshot's stream to the client, all of it or the part that is wanted.

use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering};

use lagan_schemas::error::chain;

use crate::mariadb::dump::Filter;
use crate::process::{FeedError, FeedReport, Feeder};
use crate::repository::SnapshotReader;

const BLOCK_BYTES: usize = 1024 * 1024;

/// A stream that was fed to its end.
pub(super) struct Fed {
    pub report: FeedReport,
    /// Bytes that the client should have been given.
    pub expected_bytes: u64,
}

/// The feed ended before its input did; the client is dead.
pub(super) struct Stopped {
    pub report: Box<FeedReport>,
    pub why: String,
}

/// The part of the stream that the client is given.
pub(super) struct Passage {
    /// Statements that run before those of the stream.
    pub first: String,
    pub filter: Option<Filter>,
}

pub(super) fn feed(
    mut feeder: Feeder,
    mut reader: SnapshotReader,
    passage: Passage,
    bytes: &AtomicU64,
) -> Result<Fed, Stopped> {
    let stopped = |error: FeedError| Stopped { why: chain(&error), report: Box::new(error.report().clone()) };
    let mut block = vec![0; BLOCK_BYTES];
    let mut filtered = Vec::new();
    let mut filter = passage.filter;
    let mut expected_bytes = passage.first.len() as u64;
    if !passage.first.is_empty() {
        feeder.feed(passage.first.as_bytes()).map_err(stopped)?;
    }
    loop {
        let count = match reader.read(&mut block) {
            Ok(count) => count,
            // The client is killed before its input ends, or it would take the half for the whole.
            Err(error) => {
                let report = Box::new(feeder.abort());
                return Err(Stopped { report, why: format!("the repository can't be read: {}", chain(&error)) });
            }
        };
        let part = match filter.take() {
            None => &block[..count],
            Some(mut passing) => {
                filtered.clear();
                let done = if count > 0 {
                    passing.feed(&block[..count], &mut filtered).map(|()| Some(passing))
                } else {
                    passing.finish(&mut filtered).map(|()| None)
                };
                match done {
                    Ok(rest) => filter = rest,
                    Err(error) => return Err(Stopped { report: Box::new(feeder.abort()), why: error.to_string() }),
                }
                &filtered[..]
            }
        };
        expected_bytes += part.len() as u64;
        feeder.feed(part).map_err(stopped)?;
        bytes.fetch_add(count as u64, Ordering::Relaxed);
        if count == 0 {
            let report = feeder.finish().map_err(stopped)?;
            return Ok(Fed { report, expected_bytes });
        }
    }
}
