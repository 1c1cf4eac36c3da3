//! Feeds a restore into a child's stdin from a blocking thread.
//!
//! The child must never see the end of its input before all of it was fed, because it would commit and exit 0. And
//! feeding must not continue once the session is lost. After any failure the process group is therefore killed first,
//! and stdin is closed only then.
//!
//! A pause leaves the child alone with an open input. What has been written to the pipe, 64 KiB at most, still runs; of a
//! statement that is written in part nothing stays, because a client sends it only whole or the server commits it at its end.

use std::{
    io::{self, Write},
    process::ChildStdin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::PollFlags,
};
use tokio_util::sync::CancellationToken;

use super::{
    control::{ChildExit, Stop, Stragglers},
    program::Program,
    queue::{TICK, ready},
    socket::{ClientSocket, client_sockets},
    spawner::{Ends, Run, SpawnError, Spawner},
    stderr::StderrTail,
};

const BLOCK_BYTES: usize = 1024 * 1024;
const TAIL_BYTES: usize = 512;
/// Longest wait for a killed group. It normally dies at once; a process that the kernel cannot end must not hold the
/// thread forever.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

/// Whether this worker may still write to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulse {
    Alive,
    /// Not now; it is not known yet whether later.
    Paused,
    Lost,
}

type Alive = Box<dyn FnMut() -> Pulse + Send>;

/// A child that is fed, as others see it: since when it has taken nothing of what it was given, or has not ended although its
/// input did, and its connections.
#[derive(Debug, Clone)]
pub struct Waiting {
    since: Arc<Mutex<Option<Instant>>>,
    group: i32,
}

impl Waiting {
    fn of(group: i32) -> Self {
        Self { since: Arc::default(), group }
    }

    /// Returns how long the child has been waited for; `None` while it takes what it gets, or gets nothing.
    #[must_use]
    pub fn since(&self) -> Option<Duration> {
        self.lock().map(|since| since.elapsed())
    }

    /// Lists its connections to a port of a server.
    #[must_use]
    pub fn sockets(&self, server_port: u16) -> Vec<ClientSocket> {
        client_sockets(self.group, server_port)
    }

    fn begin(&self) {
        self.lock().get_or_insert_with(Instant::now);
    }

    fn end(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a child that was fed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedReport {
    pub bytes: u64,
    /// The last bytes that were fed, for the check of the trailer.
    pub tail: Vec<u8>,
    /// Time for which the child was fed nothing, because this worker might not write.
    pub paused: Duration,
    pub exit: Option<ChildExit>,
    pub stop: Option<Stop>,
    pub stragglers: Stragglers,
    pub stderr: StderrTail,
}

#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error("the right to go on was lost after {} bytes; the program was killed", report.bytes)]
    Lost { report: Box<FeedReport> },
    #[error("the program was stopped after {} bytes", report.bytes)]
    Stopped { report: Box<FeedReport> },
    #[error("the program ended after {} bytes, before its input did", report.bytes)]
    Ended { report: Box<FeedReport> },
    #[error("cannot write to the program after {} bytes; it was killed", report.bytes)]
    Write {
        report: Box<FeedReport>,
        #[source]
        source: io::Error,
    },
}

/// The restore's end of a child. Dropping it without `finish` kills the child before its input ends.
pub struct Feeder {
    stdin: Option<ChildStdin>,
    alive: Alive,
    bytes: u64,
    tail: Vec<u8>,
    paused: Duration,
    waiting: Waiting,
    run: Arc<Run>,
}

impl FeedReport {
    /// Tells whether the child took all of its input: it ended by itself with exit code 0.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.exit.is_some_and(ChildExit::success) && self.stop.is_none()
    }
}

impl FeedError {
    #[must_use]
    pub fn report(&self) -> &FeedReport {
        match self {
            Self::Lost { report } | Self::Stopped { report } | Self::Ended { report } | Self::Write { report, .. } => {
                report
            }
        }
    }
}

impl Spawner {
    /// Starts a program that is fed. `alive` is asked before each block and while the child is busy.
    pub async fn feed(
        &self,
        program: Program,
        alive: impl FnMut() -> Pulse + Send + 'static,
        cancel: &CancellationToken,
    ) -> Result<Feeder, SpawnError> {
        let name = program.name();
        let started = self.start(program, Ends::Stdin, cancel).await?;
        if let Some(stdin) = &started.stdin {
            fcntl(stdin, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
                .map_err(|errno| SpawnError::Start { program: name, source: errno.into() })?;
        }
        let alive = Box::new(alive);
        let (tail, paused) = (Vec::new(), Duration::ZERO);
        let waiting = Waiting::of(started.run.control.group());
        Ok(Feeder { stdin: started.stdin, alive, bytes: 0, tail, paused, waiting, run: started.run })
    }
}

impl Feeder {
    /// Writes all bytes and waits as long as the child needs.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), FeedError> {
        let fed = bytes.chunks(BLOCK_BYTES).try_for_each(|block| self.feed_block(block));
        self.waiting.end();
        fed
    }

    /// Closes the child's input, once this worker may write, and waits for its end, however long it still works.
    pub fn finish(mut self) -> Result<FeedReport, FeedError> {
        self.check()?;
        self.stdin = None;
        self.waiting.begin();
        while !self.run.control.finished_within(TICK) {
            if (self.alive)() == Pulse::Lost {
                let report = Box::new(self.kill());
                return Err(FeedError::Lost { report });
            }
        }
        Ok(self.report())
    }

    /// Kills the child before its input ends, so that it cannot take the part for the whole.
    #[must_use]
    pub fn abort(mut self) -> FeedReport {
        self.kill()
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Tells others how long the child has taken nothing.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        self.waiting.clone()
    }

    fn feed_block(&mut self, mut block: &[u8]) -> Result<(), FeedError> {
        while !block.is_empty() {
            self.check()?;
            let Some(stdin) = &mut self.stdin else {
                return Err(FeedError::Ended { report: Box::new(self.kill()) });
            };
            match stdin.write(block) {
                Ok(count) => {
                    self.waiting.end();
                    self.bytes += count as u64;
                    self.remember(&block[..count]);
                    block = &block[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.waiting.begin();
                    ready(&*stdin, PollFlags::POLLOUT);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    // The child closed its input. It gets time to report the reason before it is killed.
                    self.run.control.finished_within(DEATH_LIMIT);
                    return Err(FeedError::Ended { report: Box::new(self.kill()) });
                }
                Err(source) => return Err(FeedError::Write { report: Box::new(self.kill()), source }),
            }
        }
        Ok(())
    }

    /// Waits until this worker may write. A child that ends during a pause is left to the caller.
    fn check(&mut self) -> Result<(), FeedError> {
        loop {
            let pulse = (self.alive)();
            if pulse == Pulse::Lost {
                let report = Box::new(self.kill());
                return Err(FeedError::Lost { report });
            }
            if self.run.control.stopped().is_some() {
                return Err(FeedError::Stopped { report: Box::new(self.kill()) });
            }
            let began = Instant::now();
            if pulse == Pulse::Alive {
                return Ok(());
            }
            self.waiting.end();
            if self.run.control.finished_within(TICK) {
                return Ok(());
            }
            self.paused += began.elapsed();
        }
    }

    /// Kills the group, waits until it is dead, and only then closes its input.
    fn kill(&mut self) -> FeedReport {
        self.run.control.kill(Stop::FeedFailed);
        if !self.run.control.finished_within(DEATH_LIMIT) {
            tracing::error!("a killed program does not die");
        }
        self.stdin = None;
        self.report()
    }

    fn report(&self) -> FeedReport {
        FeedReport {
            bytes: self.bytes,
            tail: self.tail.clone(),
            paused: self.paused,
            exit: self.run.control.exit(),
            stop: self.run.control.stopped(),
            stragglers: self.run.control.stragglers(),
            stderr: self.run.stderr(),
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let old = (self.tail.len() + kept.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..old);
        self.tail.extend_from_slice(kept);
    }
}

/// Lets a stream be copied into the feeder. The source of an error is the `FeedError`.
impl Write for Feeder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.feed(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        if self.stdin.is_some() {
            self.kill();
        }
    }
}
