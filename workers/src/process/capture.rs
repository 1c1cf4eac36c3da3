//! Runs a small program to its end and keeps its output, for preflight queries and version probes. Output and time are
//! bounded, so this is not for streams.

use std::{io::Read, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    control::{ChildExit, Stop},
    dump::{DumpReader, DumpSettings},
    program::Program,
    spawner::{SpawnError, Spawner},
    stderr::StderrTail,
};

/// The limits of a run.
#[derive(Debug, Clone, Copy)]
pub struct Capture {
    pub timeout: Duration,
    /// Longest time without output.
    pub silence: Duration,
    pub max_bytes: usize,
}

/// The output of a program that ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    pub exit: ChildExit,
    pub stdout: Vec<u8>,
    pub stderr: StderrTail,
}

#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("`{program}` did not end within {} s", timeout.as_secs())]
    TimedOut { program: String, timeout: Duration },
    #[error("`{program}` said nothing for {} s", silence.as_secs())]
    Silent { program: String, silence: Duration },
    #[error("`{program}` wrote more than {max_bytes} bytes")]
    TooMuch { program: String, max_bytes: usize },
    #[error("`{program}` was cancelled")]
    Cancelled { program: String },
}

impl Default for Capture {
    fn default() -> Self {
        let patience = Duration::from_secs(60);
        Self { timeout: patience, silence: patience, max_bytes: 64 * 1024 * 1024 }
    }
}

/// Runs a program within limits. A program that ends with an error is not an error here; its exit is in the result.
pub async fn capture(
    spawner: &Spawner,
    program: Program,
    limits: Capture,
    cancel: &CancellationToken,
) -> Result<Captured, CaptureError> {
    let name = program.name();
    let settings = DumpSettings { stall: limits.silence, ..DumpSettings::default() };
    let (reader, handle) = spawner.dump(program, settings, None, cancel).await?;
    let reading = tokio::task::spawn_blocking(move || read(reader, limits.max_bytes));
    let timed_out = tokio::time::timeout(limits.timeout, handle.wait()).await.is_err();
    if timed_out {
        handle.stop(Stop::TimedOut).await;
    }
    let outcome = handle.wait().await;
    let stdout = reading.await.ok().flatten();
    match (outcome.stop, stdout) {
        (None, Some(stdout)) => Ok(Captured { exit: outcome.exit, stdout, stderr: outcome.stderr.clone() }),
        (Some(Stop::TimedOut), _) => Err(CaptureError::TimedOut { program: name, timeout: limits.timeout }),
        (Some(Stop::Stalled(_)), _) => Err(CaptureError::Silent { program: name, silence: limits.silence }),
        (Some(Stop::Cancelled), _) => Err(CaptureError::Cancelled { program: name }),
        _ => Err(CaptureError::TooMuch { program: name, max_bytes: limits.max_bytes }),
    }
}

/// Reads all output; `None` if it is more than `limit`. The outcome, not this function, tells whether the program
/// failed.
fn read(mut reader: DumpReader, limit: usize) -> Option<Vec<u8>> {
    let mut stdout = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) | Err(_) => return Some(stdout),
            Ok(count) if stdout.len() + count > limit => return None,
            Ok(count) => stdout.extend_from_slice(&buffer[..count]),
        }
    }
}
