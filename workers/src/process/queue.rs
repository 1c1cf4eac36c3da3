//! The bounded queue of blocks between a child's stdout and the archiver's thread, and the wait for a pipe.
//! Both ends are blocking threads, and each notices when the other stands still or is gone.

use std::{
    collections::VecDeque,
    os::fd::AsFd,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Longest time that a thread waits for bytes before it checks all other conditions.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Waits at most a tick for the pipe. Errors and hang-ups count as ready, because the read or write reports them.
pub(super) fn ready(pipe: impl AsFd, flags: PollFlags) -> bool {
    let timeout = PollTimeout::try_from(TICK).expect("a tick is short");
    poll(&mut [PollFd::new(pipe.as_fd(), flags)], timeout).is_ok_and(|count| count > 0)
}

#[derive(Debug)]
pub(super) struct Queue {
    depth: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    blocks: VecDeque<Vec<u8>>,
    /// Used blocks for the writer, so that a long dump does not allocate a new MiB for each.
    spare: Vec<Vec<u8>>,
    ended: bool,
    reader_gone: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Push {
    Taken,
    /// There was no room within a tick; the block is returned.
    Full(Vec<u8>),
    ReaderGone,
}

impl Queue {
    pub(super) fn new(depth: usize) -> Self {
        Self { depth: depth.max(1), state: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn push(&self, block: Vec<u8>) -> Push {
        let full = |state: &mut State| state.blocks.len() >= self.depth && !state.reader_gone;
        let (mut state, _) =
            self.changed.wait_timeout_while(self.lock(), TICK, full).unwrap_or_else(PoisonError::into_inner);
        if state.reader_gone {
            return Push::ReaderGone;
        }
        if state.blocks.len() >= self.depth {
            return Push::Full(block);
        }
        state.blocks.push_back(block);
        self.changed.notify_all();
        Push::Taken
    }

    /// Waits for the next block; `None` once the stream has ended and the queue is empty. `used` is recycled.
    pub(super) fn pop(&self, used: Vec<u8>) -> Option<Vec<u8>> {
        let mut state = self.lock();
        if used.capacity() > 0 {
            state.spare.push(used);
        }
        let idle = |state: &mut State| state.blocks.is_empty() && !state.ended;
        let mut state = self.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        let block = state.blocks.pop_front();
        self.changed.notify_all();
        block
    }

    pub(super) fn spare(&self) -> Option<Vec<u8>> {
        self.lock().spare.pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().blocks.is_empty()
    }

    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    pub(super) fn leave(&self) {
        self.lock().reader_gone = true;
        self.changed.notify_all();
    }

    pub(super) fn reader_gone(&self) -> bool {
        self.lock().reader_gone
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
