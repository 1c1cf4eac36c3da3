//! Waits for conditions. No other code of the tests may sleep.

use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Calls `probe` until it returns a value; the error names the condition and the caller.
#[track_caller]
pub fn eventually<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
    let caller = Location::caller();
    let mut pauses = Pauses::new(timeout);
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        let pause = pauses.next().ok_or_else(|| gave_up(what, timeout, caller))?;
        std::thread::sleep(pause);
    }
}

/// Like [`eventually`] for asynchronous probes; a probe that hangs is cancelled at the deadline.
#[track_caller]
pub fn eventually_async<T, F>(
    what: &str,
    timeout: Duration,
    mut probe: impl FnMut() -> F,
) -> impl Future<Output = Result<T>>
where
    F: Future<Output = Option<T>>,
{
    let caller = Location::caller();
    async move {
        let polling = async {
            let mut pauses = Pauses::new(timeout);
            loop {
                if let Some(value) = probe().await {
                    return Some(value);
                }
                tokio::time::sleep(pauses.next()?).await;
            }
        };
        tokio::time::timeout(timeout, polling).await.ok().flatten().ok_or_else(|| gave_up(what, timeout, caller))
    }
}

fn gave_up(what: &str, timeout: Duration, caller: &Location<'_>) -> anyhow::Error {
    let seconds = timeout.as_secs_f32();
    anyhow!("{what}: not within {seconds:.1} s (awaited at {caller})")
}

struct Pauses {
    deadline: Instant,
    pause: Duration,
}

impl Pauses {
    fn new(timeout: Duration) -> Self {
        Self { deadline: Instant::now() + timeout, pause: FIRST_PAUSE }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if Instant::now() >= self.deadline {
            return None;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}
