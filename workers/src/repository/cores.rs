//! Bounds the memory of `rustic_core`'s archiver, which starts threads and buffers in proportion to the cores that its own
//! thread may use, and has no option for it. Each of them can hold a chunk of 8 MiB, so a node with many cores would need
//! gigabytes for each session. The archiver therefore runs on a thread that may use a few cores only.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, thread};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// More do not make a backup faster: one core cuts the stream into chunks.
const CORES: usize = 4;

/// The calling thread.
const SELF: Pid = Pid::from_raw(0);

/// Runs work on a thread of its own, which may use a few cores, as may every thread that it starts.
pub(super) fn on_few_cores<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let run = thread::Builder::new().name("archive".to_owned()).spawn_scoped(scope, || {
            if let Err(errno) = narrow() {
                tracing::warn!(%errno, "cannot limit the cores of a backup; it may need more memory");
            }
            work()
        })?;
        run.join().map_err(|_| io::Error::other("the archiver panicked"))
    })
}

fn narrow() -> nix::Result<()> {
    // Sessions that run at the same time take turns.
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let allowed = sched_getaffinity(SELF)?;
    let cores: Vec<usize> = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false)).collect();
    let mut few = CpuSet::new();
    for core in choose(&cores, TURN.fetch_add(1, Ordering::Relaxed)) {
        few.set(core)?;
    }
    sched_setaffinity(SELF, &few)
}

/// Chooses cores from those that this process may use.
fn choose(cores: &[usize], turn: usize) -> Vec<usize> {
    let first = turn.wrapping_mul(CORES) % cores.len().max(1);
    cores.iter().cycle().skip(first).take(CORES.min(cores.len())).copied().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_session_uses_a_few_of_many_cores_and_sessions_take_turns() {
        let cores: Vec<usize> = (0..32).collect();
        assert_eq!(choose(&cores, 0), [0, 1, 2, 3]);
        assert_eq!(choose(&cores, 1), [4, 5, 6, 7]);
        assert_eq!(choose(&cores, 8), [0, 1, 2, 3]);
        assert_eq!(choose(&[3, 5, 9, 11, 12], 1), [12, 3, 5, 9]);
        assert_eq!(choose(&[3, 5], 7), [3, 5]);
        assert_eq!(choose(&[], 7), Vec::<usize>::new());
    }

    #[test]
    fn the_archiver_sees_no_more_cores_than_that_and_other_threads_see_all() {
        let all = thread::available_parallelism().unwrap();
        let seen = on_few_cores(|| {
            let inherited = thread::spawn(|| thread::available_parallelism().unwrap()).join().unwrap();
            assert_eq!(inherited, thread::available_parallelism().unwrap());
            inherited
        });
        assert_eq!(seen.unwrap().get(), all.get().min(CORES));
        assert_eq!(thread::available_parallelism().unwrap(), all);
    }

    #[test]
    fn a_panic_of_the_archiver_is_an_error() {
        assert!(on_few_cores(|| assert_eq!(1, 2, "a defect")).is_err());
    }
}
