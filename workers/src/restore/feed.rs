//! Feeds a client from a blocking thread: first the prelude, then the part of the snapshot that is wanted.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lagan_schemas::error::chain;

use crate::databases::StreamFilter;
use crate::process::{FeedError, FeedReport, Feeder};
use crate::repository::SnapshotReader;

const BLOCK_BYTES: usize = 1024 * 1024;

/// The bytes that a client is fed.
pub(super) struct Feed {
    pub reader: SnapshotReader,
    pub prelude: Vec<u8>,
    pub filter: Option<Box<dyn StreamFilter>>,
    /// Bytes of the snapshot that have been read, for progress.
    pub bytes: Arc<AtomicU64>,
}

/// The end of a feed; the client has ended.
pub(super) struct Fed {
    pub report: FeedReport,
    /// Bytes that were to be fed.
    pub expected_bytes: u64,
    /// Why the feed ended before its input did.
    pub stopped: Option<String>,
}

pub(super) fn feed(mut feeder: Feeder, mut feed: Feed) -> Fed {
    let mut expected_bytes = 0;
    match feed_all(&mut feeder, &mut feed, &mut expected_bytes) {
        Ok(()) => match feeder.finish() {
            Ok(report) => Fed { report, expected_bytes, stopped: None },
            Err(error) => ended_early(&error, expected_bytes),
        },
        Err(Stopped::Client(error)) => ended_early(&error, expected_bytes),
        // The client is killed before its input ends, or it would take the part for the whole.
        Err(Stopped::Input(why)) => Fed { report: feeder.abort(), expected_bytes, stopped: Some(why) },
    }
}

fn ended_early(error: &FeedError, expected_bytes: u64) -> Fed {
    Fed { report: error.report().clone(), expected_bytes, stopped: Some(chain(error)) }
}

enum Stopped {
    Client(FeedError),
    Input(String),
}

fn feed_all(feeder: &mut Feeder, feed: &mut Feed, expected_bytes: &mut u64) -> Result<(), Stopped> {
    let mut give = |bytes: &[u8]| {
        *expected_bytes += bytes.len() as u64;
        feeder.feed(bytes).map_err(Stopped::Client)
    };
    give(&feed.prelude)?;
    let (mut block, mut kept) = (vec![0; BLOCK_BYTES], Vec::new());
    loop {
        let read = feed.reader.read(&mut block);
        let count = read.map_err(|error| Stopped::Input(format!("the repository can't be read: {}", chain(&error))))?;
        kept.clear();
        match (&mut feed.filter, count) {
            (None, 0) => return Ok(()),
            (None, count) => give(&block[..count])?,
            (Some(filter), count) if count > 0 => {
                filter.block(&block[..count], &mut kept).map_err(Stopped::Input)?;
                give(&kept)?;
            }
            (Some(_), _) => break,
        }
        feed.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
    if let Some(filter) = feed.filter.take() {
        filter.finish(&mut kept).map_err(Stopped::Input)?;
        give(&kept)?;
    }
    Ok(())
}
