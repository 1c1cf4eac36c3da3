//! Feeds a client from a blocking thread: first the prelude, then the part of the snapshot that is wanted.

use std::io::Read as _;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use lagan_schemas::error::{Code, Failure, chain};

use super::survey::of_read;
use crate::databases::{FirstChange, FirstEffect, StreamFilter};
use crate::process::{FeedError, FeedReport, Feeder, Pulse};
use crate::repository::SnapshotReader;

const BLOCK_BYTES: usize = 1024 * 1024;
/// Blocks that are read and filtered while the client is busy with those before. Its pipe holds little, so it would wait
/// for each otherwise.
const BLOCKS_AHEAD: usize = 2;

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
    /// Why this worker ended the client.
    pub stalled: Option<Failure>,
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

pub(super) fn feed(mut feeder: Feeder, feed: Feed) -> Fed {
    let Feed { reader, prelude, filter, mut first, bytes } = feed;
    let mut expected_bytes = 0;
    let mut give = |bytes: &[u8]| {
        expected_bytes += bytes.len() as u64;
        first.feed(bytes);
        feeder.feed(bytes).map_err(Stopped::Client)
    };
    let part = WantedPart { reader, filter, bytes };
    let given = give(&prelude).and_then(|()| give_all(part, give));
    let (report, stopped) = match given {
        Ok(()) => match feeder.finish() {
            Ok(report) => (report, None),
            Err(error) => ended_early(&error),
        },
        Err(Stopped::Client(error)) => ended_early(&error),
        // The client is killed before its input ends, or it would take the part for the whole.
        Err(Stopped::Input(why)) => (feeder.abort(), Some(why)),
    };
    Fed { report, expected_bytes, first: first.found(), stopped, stalled: None }
}

fn ended_early(error: &FeedError) -> (FeedReport, Option<Failure>) {
    (error.report().clone(), Some(Failure::new(Code::RestoreFailed, chain(error))))
}

enum Stopped {
    Client(FeedError),
    Input(Failure),
}

/// The part of a snapshot that the client is to get.
struct WantedPart {
    reader: SnapshotReader,
    filter: Option<Box<dyn StreamFilter>>,
    bytes: Arc<AtomicU64>,
}

fn give_all(part: WantedPart, mut give: impl FnMut(&[u8]) -> Result<(), Stopped>) -> Result<(), Stopped> {
    let (ahead, blocks) = sync_channel(BLOCKS_AHEAD);
    let span = tracing::Span::current();
    thread::scope(|scope| {
        let reading = scope.spawn(move || span.in_scope(|| part.read(&ahead)));
        // If this returns early, the next block finds nobody to take it, which ends the other thread.
        blocks.into_iter().try_for_each(|block: Vec<u8>| give(&block))?;
        reading.join().unwrap_or_else(|panic| resume_unwind(panic)).map_err(Stopped::Input)
    })
}

impl WantedPart {
    /// Reads until the end, or until nobody takes the blocks.
    fn read(mut self, ahead: &SyncSender<Vec<u8>>) -> Result<(), Failure> {
        loop {
            let mut block = vec![0; BLOCK_BYTES];
            let count = self.reader.read(&mut block).map_err(|error| of_read(&error))?;
            block.truncate(count);
            if count == 0 {
                break;
            }
            let wanted = self.filtered(block)?;
            self.bytes.fetch_add(count as u64, Ordering::Relaxed);
            if ahead.send(wanted).is_err() {
                return Ok(());
            }
        }
        let mut rest = Vec::new();
        if let Some(filter) = self.filter.take() {
            filter.finish(&mut rest).map_err(refused)?;
        }
        // A receiver that takes no more has failed by itself.
        let _ = ahead.send(rest);
        Ok(())
    }

    fn filtered(&mut self, block: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let Some(filter) = &mut self.filter else { return Ok(block) };
        let mut wanted = Vec::with_capacity(block.len());
        filter.block(&block, &mut wanted).map_err(refused)?;
        Ok(wanted)
    }
}

fn refused(why: String) -> Failure {
    Failure::new(Code::RestoreFailed, why)
}
