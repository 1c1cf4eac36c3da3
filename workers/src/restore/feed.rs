//! Feeds a client from a blocking thread: first the prelude, then the part of the snapshot that is wanted.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lagan_schemas::error::{Code, Failure, chain};

use super::survey::of_read;
use crate::databases::{FirstChange, FirstEffect, StreamFilter};
use crate::process::{FeedError, FeedReport, Feeder, Pulse};
use crate::repository::SnapshotReader;

const BLOCK_BYTES: usize = 1024 * 1024;

/// The bytes that a client is fed.
pub(super) struct Feed {
    pub reader: SnapshotReader,
    pub prelude: Vec<u8>,
    pub filter: Option<Box<dyn StreamFilter>>,
    pub first: Box<dyn FirstChange>,
    /// Bytes of the snapshot that have been read, for progress.
    pub bytes: Arc<AtomicU64>,
}

/// The end of a feed; the client has ended.
pub(super) struct Fed {
    pub report: FeedReport,
    /// Bytes that were to be fed.
    pub expected_bytes: u64,
    /// The first statement among them that changes something.
    pub first: Option<FirstEffect>,
    /// Why the feed ended before its input did. The code is that of a restore that has written nothing.
    pub stopped: Option<Failure>,
}

/// Tells in the log when a restore pauses and goes on.
#[derive(Default)]
pub(super) struct Pauses {
    since: Option<Instant>,
}

impl Pauses {
    /// `idle_limit` is the time after which the server closes a connection that sends no statement.
    pub fn note(&mut self, pulse: Pulse, idle_limit: Option<Duration>) {
        match (pulse, self.since) {
            (Pulse::Paused, None) => {
                self.since = Some(Instant::now());
                let limit =
                    idle_limit.map_or_else(|| "an unknown time".to_owned(), |limit| format!("{} s", limit.as_secs()));
                tracing::warn!(
                    connection_lives_for = limit,
                    "NATS confirms no sign of life: the restore is paused, with an idle connection, and goes on when NATS is back"
                );
            }
            (Pulse::Alive, Some(since)) => {
                self.since = None;
                tracing::info!(
                    paused_s = since.elapsed().as_secs(),
                    "restore goes on: this worker still holds the session"
                );
            }
            _ => {}
        }
    }
}

pub(super) fn feed(mut feeder: Feeder, mut feed: Feed) -> Fed {
    let mut expected_bytes = 0;
    let (report, stopped) = match feed_all(&mut feeder, &mut feed, &mut expected_bytes) {
        Ok(()) => match feeder.finish() {
            Ok(report) => (report, None),
            Err(error) => ended_early(&error),
        },
        Err(Stopped::Client(error)) => ended_early(&error),
        // The client is killed before its input ends, or it would take the part for the whole.
        Err(Stopped::Input(why)) => (feeder.abort(), Some(why)),
    };
    Fed { report, expected_bytes, first: feed.first.found(), stopped }
}

fn ended_early(error: &FeedError) -> (FeedReport, Option<Failure>) {
    (error.report().clone(), Some(Failure::new(Code::RestoreFailed, chain(error))))
}

enum Stopped {
    Client(FeedError),
    Input(Failure),
}

fn refused(why: String) -> Stopped {
    Stopped::Input(Failure::new(Code::RestoreFailed, why))
}

fn feed_all(feeder: &mut Feeder, feed: &mut Feed, expected_bytes: &mut u64) -> Result<(), Stopped> {
    let mut give = |bytes: &[u8]| {
        *expected_bytes += bytes.len() as u64;
        feed.first.feed(bytes);
        feeder.feed(bytes).map_err(Stopped::Client)
    };
    give(&feed.prelude)?;
    let (mut block, mut kept) = (vec![0; BLOCK_BYTES], Vec::new());
    loop {
        let read = feed.reader.read(&mut block);
        let count = read.map_err(|error| Stopped::Input(of_read(&error)))?;
        kept.clear();
        match (&mut feed.filter, count) {
            (None, 0) => return Ok(()),
            (None, count) => give(&block[..count])?,
            (Some(filter), count) if count > 0 => {
                filter.block(&block[..count], &mut kept).map_err(refused)?;
                give(&kept)?;
            }
            (Some(_), _) => break,
        }
        feed.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
    if let Some(filter) = feed.filter.take() {
        filter.finish(&mut kept).map_err(refused)?;
        give(&kept)?;
    }
    Ok(())
}
