//! The life of one child: signals to it, its end, and that it is always reaped. This file handles no bytes; the pipes
//! only report here when they are closed.

use std::{
    process::Child,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};
use tokio::sync::watch;

/// Longest time that a process outside the group may hold a pipe after the group is dead.
const ABANDON_AFTER: Duration = Duration::from_secs(1);

/// The end of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildExit {
    Code(i32),
    Signal(i32),
}

/// The end of a stream that stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Dump,
    Uploader,
}

/// The reason why we ended a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Cancelled,
    Stalled(Side),
    /// The reader of the stream stopped reading. The cause is an error of the upload, not of the dump.
    ReaderGone,
    /// Feeding the child failed, or this worker lost the session.
    FeedFailed,
    TimedOut,
    Dropped,
}

/// Whether processes that outlived the child had to be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stragglers {
    None,
    Killed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Exited,
    /// Reaped, and no process writes to its pipes.
    Finished,
}

#[derive(Debug)]
struct State {
    exit: Option<ChildExit>,
    stop: Option<Stop>,
    open_pipes: usize,
    stragglers: Stragglers,
    reaped: bool,
    abandoned: bool,
    finished: bool,
}

#[derive(Debug)]
pub(super) struct Control {
    pid: Pid,
    state: Mutex<State>,
    changed: Condvar,
    phase: watch::Sender<Phase>,
}

/// One open pipe of the child; it counts as closed once this is dropped.
#[derive(Debug)]
pub(super) struct OpenPipe(Arc<Control>);

impl ChildExit {
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl Control {
    pub(super) fn new(pid: u32) -> Arc<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).expect("Linux process ids fit in 31 bits"));
        let state = State {
            exit: None,
            stop: None,
            open_pipes: 0,
            stragglers: Stragglers::None,
            reaped: false,
            abandoned: false,
            finished: false,
        };
        let phase = watch::Sender::new(Phase::Running);
        Arc::new(Self { pid, state: Mutex::new(state), changed: Condvar::new(), phase })
    }

    pub(super) fn open_pipe(self: &Arc<Self>) -> OpenPipe {
        self.lock().open_pipes += 1;
        OpenPipe(Arc::clone(self))
    }

    /// The process group of the child.
    pub(super) fn group(&self) -> i32 {
        self.pid.as_raw()
    }

    pub(super) fn exit(&self) -> Option<ChildExit> {
        self.lock().exit
    }

    pub(super) fn stopped(&self) -> Option<Stop> {
        self.lock().stop
    }

    pub(super) fn stragglers(&self) -> Stragglers {
        self.lock().stragglers
    }

    /// Tells whether a process that we cannot kill holds a pipe, so that waiting for its end is pointless.
    pub(super) fn abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Kills the whole group at once. The first reason given stands.
    pub(super) fn kill(&self, reason: Stop) {
        self.signal(reason, Signal::SIGKILL);
    }

    /// Asks the group to end, kills it after `grace`, and returns when it is reaped.
    pub(super) async fn stop(&self, reason: Stop, grace: Duration) {
        self.signal(reason, Signal::SIGTERM);
        if tokio::time::timeout(grace, self.reached(Phase::Exited)).await.is_err() {
            self.signal(reason, Signal::SIGKILL);
        }
        self.finished().await;
    }

    pub(super) async fn finished(&self) {
        self.reached(Phase::Finished).await;
    }

    /// Waits at most `limit` for the child to be reaped with its pipes closed.
    pub(super) fn finished_within(&self, limit: Duration) -> bool {
        self.wait(limit, |state| state.finished)
    }

    /// Waits at most `limit` for the child's exit status.
    pub(super) fn exited_within(&self, limit: Duration) -> bool {
        self.wait(limit, |state| state.exit.is_some())
    }

    async fn reached(&self, phase: Phase) {
        let mut phases = self.phase.subscribe();
        let reached = |now: &Phase| *now == phase || *now == Phase::Finished;
        // The sender lives in `self`, so the channel cannot close while we wait.
        let _ = phases.wait_for(reached).await;
    }

    fn signal(&self, reason: Stop, signal: Signal) {
        let mut state = self.lock();
        if state.finished {
            return;
        }
        state.stop.get_or_insert(reason);
        // The id of the group may be reused as soon as its leader has been reaped.
        if !state.reaped {
            self.kill_group(signal);
        }
    }

    fn kill_group(&self, signal: Signal) {
        match killpg(self.pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => tracing::warn!(pid = self.pid.as_raw(), %errno, "cannot signal a process group"),
        }
    }

    fn set(&self, phase: Phase, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
        self.phase.send_replace(phase);
    }

    fn wait(&self, limit: Duration, until: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            if until(&state) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenPipe {
    fn drop(&mut self) {
        self.0.lock().open_pipes -= 1;
        self.0.changed.notify_all();
    }
}

/// Waits for the child, kills the rest of its group and reaps it, on a thread of its own.
///
/// The child stays a zombie until its group is dead, so that the id of its group cannot be reused.
pub(super) fn supervise(mut child: Child, control: &Control, linger: Duration) {
    let exit = await_exit(control.pid);
    control.set(Phase::Exited, |state| state.exit = Some(exit));

    if !control.wait(linger, |state| state.open_pipes == 0) {
        tracing::warn!(pid = control.pid.as_raw(), "killing processes that outlived their program");
        control.lock().stragglers = Stragglers::Killed;
    }
    {
        let mut state = control.lock();
        control.kill_group(Signal::SIGKILL);
        if let Err(error) = child.wait() {
            tracing::error!(pid = control.pid.as_raw(), %error, "cannot reap a program");
        }
        state.reaped = true;
    }
    if !control.wait(ABANDON_AFTER, |state| state.open_pipes == 0) {
        tracing::warn!(pid = control.pid.as_raw(), "a process outside the group holds a pipe: abandoning it");
        control.lock().abandoned = true;
        control.wait(ABANDON_AFTER, |state| state.open_pipes == 0);
    }
    control.set(Phase::Finished, |state| state.finished = true);
}

fn await_exit(pid: Pid) -> ChildExit {
    loop {
        match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(WaitStatus::Exited(_, code)) => return ChildExit::Code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return ChildExit::Signal(signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                // Another part of the process reaped our child. Its status is lost, and that is no success.
                tracing::error!(pid = pid.as_raw(), %errno, "cannot wait for a program");
                return ChildExit::Code(-1);
            }
        }
    }
}
