//! A child's stdout as a blocking `Read` for the archiver's thread, and the facts about it that the commit gate needs.
//!
//! The reader reports the end of the stream only after the child's exit status is recorded. It does not judge the
//! content of the stream; scanners see the blocks as they pass.

use std::{
    io::{self, Read},
    process::ChildStdout,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nix::poll::PollFlags;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    control::{ChildExit, OpenPipe, Side, Stop, Stragglers},
    program::Program,
    queue::{Push, Queue, TICK, ready},
    spawner::{Ends, Run, SpawnError, Spawner, thread},
    stderr::StderrTail,
};

const BLOCK_BYTES: usize = 1024 * 1024;
const TAIL_BYTES: usize = 512;

/// A function that sees every block of the stream once and in order, on the pump's thread. It may rewrite blocks and
/// move bytes from one to the next; the stream is what it leaves.
pub type Scanner = Box<dyn FnMut(&mut Vec<u8>) + Send>;

/// The limits of a dump.
#[derive(Debug, Clone)]
pub struct DumpSettings {
    /// Longest time in which the child may write nothing although it could, or the reader read nothing although it
    /// could.
    pub stall: Duration,
    /// Largest number of blocks of 1 MiB that wait for the reader.
    pub blocks: usize,
}

/// The end of a dump, recorded before its reader sees the end of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpOutcome {
    pub exit: ChildExit,
    /// Set if we ended the child; then `exit` is only the consequence.
    pub stop: Option<Stop>,
    pub stragglers: Stragglers,
    pub bytes: u64,
    pub sha256: [u8; 32],
    /// The last bytes of the stream, for the check of its trailer.
    pub tail: Vec<u8>,
    pub stderr: StderrTail,
}

#[derive(Debug, thiserror::Error)]
#[error("the program did not end well")]
pub struct DumpFailed;

/// The archiver's end of a dump. Dropping it before the end of the stream kills the child.
#[derive(Debug)]
pub struct DumpReader {
    shared: Arc<Shared>,
    block: Vec<u8>,
    position: usize,
    _run: Arc<Run>,
}

/// The supervisor's end of a dump. Dropping it kills the child unless it has ended.
#[derive(Debug)]
pub struct DumpHandle {
    shared: Arc<Shared>,
    grace: Duration,
    run: Arc<Run>,
}

#[derive(Debug)]
struct Shared {
    queue: Queue,
    bytes: Arc<AtomicU64>,
    delivered: AtomicU64,
    outcome: watch::Sender<Option<Arc<DumpOutcome>>>,
}

impl Default for DumpSettings {
    fn default() -> Self {
        Self { stall: Duration::from_secs(120), blocks: 8 }
    }
}

impl DumpOutcome {
    /// Tells whether the child ended by itself with exit code 0. This alone does not make a stream complete.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.exit.success() && self.stop.is_none()
    }
}

impl Spawner {
    /// Starts a program whose stdout is the stream.
    pub async fn dump(
        &self,
        program: Program,
        settings: DumpSettings,
        scanner: Option<Scanner>,
        cancel: &CancellationToken,
    ) -> Result<(DumpReader, DumpHandle), SpawnError> {
        let name = program.name();
        let started = self.start(program, Ends::Stdout, cancel).await?;
        let shared = Arc::new(Shared {
            queue: Queue::new(settings.blocks),
            bytes: Arc::default(),
            delivered: AtomicU64::new(0),
            outcome: watch::Sender::new(None),
        });
        let run = started.run;
        if let Some((stdout, open)) = started.stdout {
            let pump = Pump {
                shared: Arc::clone(&shared),
                // A weak reference, so that the child is killed once both ends are dropped.
                run: Arc::downgrade(&run),
                control: Arc::clone(&run.control),
                stall: settings.stall,
                scanner,
                sha256: Sha256::new(),
                tail: Vec::new(),
            };
            thread(&name, move || pump.run(stdout, open))
                .map_err(|source| SpawnError::Start { program: name.clone(), source })?;
        }
        let reader = DumpReader { shared: Arc::clone(&shared), block: Vec::new(), position: 0, _run: Arc::clone(&run) };
        Ok((reader, DumpHandle { shared, grace: self.grace, run }))
    }
}

impl DumpHandle {
    /// The outcome, once the stream has ended.
    #[must_use]
    pub fn outcome(&self) -> Option<Arc<DumpOutcome>> {
        self.shared.outcome.borrow().clone()
    }

    /// Waits for the end of the stream and of the child. The stream must be read meanwhile.
    pub async fn wait(&self) -> Arc<DumpOutcome> {
        let mut outcomes = self.shared.outcome.subscribe();
        let outcome = outcomes.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        outcome.expect("the sender lives in self, and the awaited value is there")
    }

    /// Bytes read from the child so far, for progress.
    #[must_use]
    pub fn bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.bytes)
    }

    /// Bytes that the reader has taken. The commit gate compares them with the outcome, because an archiver that stopped
    /// early has not stored all bytes of a clean child.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.shared.delivered.load(Ordering::Relaxed)
    }

    /// Ends the child with SIGTERM, and with SIGKILL after the spawner's grace.
    pub async fn stop(&self, reason: Stop) {
        self.run.control.stop(reason, self.grace).await;
    }
}

impl Drop for DumpHandle {
    fn drop(&mut self) {
        self.run.control.kill(Stop::Dropped);
    }
}

impl Read for DumpReader {
    /// Fills the whole buffer unless the stream ends: the chunker of rustic slows down for good after a short read.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.position == self.block.len() {
                self.position = 0;
                let Some(next) = self.shared.queue.pop(std::mem::take(&mut self.block)) else { break };
                self.block = next;
            }
            let count = (buffer.len() - filled).min(self.block.len() - self.position);
            buffer[filled..filled + count].copy_from_slice(&self.block[self.position..self.position + count]);
            self.position += count;
            filled += count;
        }
        self.shared.delivered.fetch_add(filled as u64, Ordering::Relaxed);
        if filled > 0 || buffer.is_empty() {
            return Ok(filled);
        }
        let clean = self.shared.outcome.borrow().as_ref().is_some_and(|outcome| outcome.clean());
        if clean { Ok(0) } else { Err(io::Error::other(DumpFailed)) }
    }
}

impl Drop for DumpReader {
    fn drop(&mut self) {
        self.shared.queue.leave();
    }
}

/// Copies the child's stdout into the queue.
struct Pump {
    shared: Arc<Shared>,
    run: std::sync::Weak<Run>,
    control: Arc<super::control::Control>,
    stall: Duration,
    scanner: Option<Scanner>,
    sha256: Sha256,
    tail: Vec<u8>,
}

/// The reason why the pump stopped reading.
enum End {
    Eof,
    Stopped(Stop),
}

impl Pump {
    fn run(mut self, mut stdout: ChildStdout, open: OpenPipe) {
        if let End::Stopped(reason) = self.copy(&mut stdout) {
            self.control.kill(reason);
        }
        drop(stdout);
        drop(open);
        // A child that closed its stdout and does not end is stalled, like one that writes nothing.
        if !self.control.exited_within(self.stall) {
            self.control.kill(Stop::Stalled(Side::Dump));
        }
        while !self.control.finished_within(TICK) {}

        let stderr = self.run.upgrade().map(|run| run.stderr()).unwrap_or_default();
        let outcome = DumpOutcome {
            exit: self.control.exit().unwrap_or(ChildExit::Code(-1)),
            stop: self.control.stopped(),
            stragglers: self.control.stragglers(),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            sha256: self.sha256.finalize().into(),
            tail: self.tail,
            stderr,
        };
        self.shared.outcome.send_replace(Some(Arc::new(outcome)));
        self.shared.queue.end();
    }

    fn copy(&mut self, stdout: &mut ChildStdout) -> End {
        let mut heard = Instant::now();
        let mut block = self.block();
        let mut filled = 0;
        loop {
            if self.shared.queue.reader_gone() {
                return End::Stopped(Stop::ReaderGone);
            }
            let mut eof = self.control.abandoned();
            let mut quiet = !eof && !ready(&*stdout, PollFlags::POLLIN);
            if !eof && !quiet {
                match stdout.read(&mut block[filled..]) {
                    Ok(0) => eof = true,
                    Ok(count) => {
                        filled += count;
                        heard = Instant::now();
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => quiet = true,
                    Err(error) => {
                        tracing::warn!(%error, "cannot read stdout of a program");
                        return End::Stopped(Stop::Stalled(Side::Dump));
                    }
                }
            }
            if heard.elapsed() > self.stall {
                return End::Stopped(Stop::Stalled(Side::Dump));
            }
            let hungry = quiet && filled > 0 && self.shared.queue.is_empty();
            if filled == block.len() || hungry || (eof && filled > 0) {
                block.truncate(filled);
                if let Err(stop) = self.hand_over(block) {
                    return End::Stopped(stop);
                }
                block = self.block();
                filled = 0;
                // The child was not read while the pump waited for the reader.
                heard = Instant::now();
            }
            if eof {
                return End::Eof;
            }
        }
    }

    fn hand_over(&mut self, mut block: Vec<u8>) -> Result<(), Stop> {
        if let Some(scanner) = &mut self.scanner {
            scanner(&mut block);
        }
        self.sha256.update(&block);
        self.shared.bytes.fetch_add(block.len() as u64, Ordering::Relaxed);
        let kept = &block[block.len().saturating_sub(TAIL_BYTES)..];
        let old = (self.tail.len() + kept.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..old);
        self.tail.extend_from_slice(kept);

        let since = Instant::now();
        loop {
            match self.shared.queue.push(block) {
                Push::Taken => return Ok(()),
                Push::ReaderGone => return Err(Stop::ReaderGone),
                Push::Full(back) => block = back,
            }
            if let Some(stop) = self.control.stopped() {
                return Err(stop);
            }
            if since.elapsed() > self.stall {
                return Err(Stop::Stalled(Side::Uploader));
            }
        }
    }

    fn block(&self) -> Vec<u8> {
        let mut block = self.shared.queue.spare().unwrap_or_default();
        block.resize(BLOCK_BYTES, 0);
        block
    }
}
