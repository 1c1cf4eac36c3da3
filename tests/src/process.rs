//! Child processes that never outlive the test: their process group is killed on drop, and the
//! kernel kills them when the test process dies without a chance to drop anything.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::proc;
use crate::wait::eventually;

const TAIL_BYTES: usize = 6000;

/// A command in a process group of its own that gets SIGKILL when the harness dies. To be started
/// with [`Process::spawn`] or [`run`] only: the death signal belongs to the spawning thread.
#[must_use]
pub fn guarded(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).process_group(0).stdin(Stdio::null());
    command
}

/// A running server with a log file for its stdout and stderr.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Where this process began to write: a restarted server appends.
    log_start: u64,
}

impl Process {
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let log_start = out.metadata()?.len();
        command.stdout(out.try_clone()?).stderr(out);
        let child = spawn_guarded(command).with_context(|| format!("starting `{name}`"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), log_start })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("exit of `{}`", self.name);
        let status = eventually(&what, timeout, || self.exit_status());
        status.map_err(|error| self.with_log(error))
    }

    /// To the process alone, not to its group.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal::kill(self.raw_pid(), signal).with_context(|| format!("sending {signal} to `{}`", self.name))
    }

    /// To the process and all children that stayed in its group.
    pub fn signal_group(&self, signal: Signal) -> Result<()> {
        signal::killpg(self.raw_pid(), signal)
            .with_context(|| format!("sending {signal} to the group of `{}`", self.name))
    }

    /// SIGKILL to the process alone; its children are its own business.
    pub fn kill9(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        Ok(self.child.wait()?)
    }

    /// SIGTERM and the exit status.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait_exit(timeout)
    }

    /// Living processes of its group, itself included, as `pid name`.
    #[must_use]
    pub fn group_members(&self) -> Vec<String> {
        let group = self.raw_pid().as_raw();
        let rows = proc::table().into_iter();
        rows.filter(|row| row.group == group && row.state != 'Z')
            .map(|row| format!("{} {}", row.pid, row.name))
            .collect()
    }

    /// Living descendants with this name (as in /proc, 15 bytes at most), e.g. a dump to kill.
    #[must_use]
    pub fn descendants_named(&self, name: &str) -> Vec<Pid> {
        let rows = proc::descendants(self.raw_pid().as_raw()).into_iter();
        rows.filter(|row| row.name == name && row.state != 'Z').map(|row| Pid::from_raw(row.pid)).collect()
    }

    /// What this process (not an earlier one with the same log) has written.
    #[must_use]
    pub fn log_text(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(self.log_start).unwrap_or(0).min(bytes.len());
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }

    /// The first line of the log that contains `text`.
    #[track_caller]
    pub fn wait_for_log(&mut self, text: &str, timeout: Duration) -> Result<String> {
        let log = self.log.clone();
        let start = self.log_start;
        self.until(&format!("log line `{text}`"), timeout, move || {
            let bytes = fs::read(&log).ok()?;
            let written = String::from_utf8_lossy(bytes.get(usize::try_from(start).ok()?..)?);
            let line = written.lines().find(|line| line.contains(text))?;
            Some(line.to_owned())
        })
    }

    /// Waits for a condition that only holds while the process runs; its early end is an error.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
        let mut ended = None;
        let waited = eventually(what, timeout, || {
            if let Some(value) = probe() {
                return Some(Some(value));
            }
            ended = self.exit_status();
            ended.map(|_| None)
        });
        match waited {
            Ok(Some(value)) => Ok(value),
            Ok(None) => {
                let status = ended.map_or_else(String::new, |status| status.to_string());
                Err(self.with_log(anyhow!("{what}: `{}` ended with {status}", self.name)))
            }
            Err(error) => Err(self.with_log(error)),
        }
    }

    fn with_log(&self, error: anyhow::Error) -> anyhow::Error {
        let text = self.log_text();
        let tail = tail(&text);
        error.context(format!("log of `{}` ends:\n{tail}\n-- end of log --", self.name))
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.signal_group(Signal::SIGKILL);
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("log of `{}` ends:\n{}", self.name, tail(&self.log_text()));
        }
    }
}

/// What a program that ran to its end has left.
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Output {
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Exit code 0, else an error with both streams' tails.
    pub fn success(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        let (out, err) = (self.text(), &self.stderr);
        bail!("{}\n{}\n{}", self.status, tail(err), tail(&out))
    }
}

/// Runs a [`guarded`] command to its end; past the timeout its group is killed.
pub fn run(mut command: Command, timeout: Duration) -> Result<Output> {
    let name = format!("{command:?}");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn_guarded(command).with_context(|| format!("starting {name}"))?;
    let group = Pid::from_raw(child.id().cast_signed());
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let started = Instant::now();
    let status = eventually(&format!("exit of {name}"), timeout, || child.try_wait().ok().flatten());
    // Also after a normal end: a grandchild that keeps the pipes open would block the readers.
    let grace = timeout.saturating_sub(started.elapsed());
    if status.is_err() || !finished(&[&stdout, &stderr], grace) {
        let _ = signal::killpg(group, Signal::SIGKILL);
        let _ = child.wait();
    }
    let stdout = stdout.join().unwrap_or_default();
    let stderr = stderr.join().unwrap_or_default();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    let status = status.with_context(|| format!("stderr: {}", tail(&stderr)))?;
    Ok(Output { status, stdout, stderr })
}

fn finished(readers: &[&thread::JoinHandle<Vec<u8>>], grace: Duration) -> bool {
    eventually("end of output", grace, || readers.iter().all(|reader| reader.is_finished()).then_some(())).is_ok()
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(TAIL_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].trim_end()
}

type Job = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Starts the command from one thread that lives as long as the test process: the kernel sends the
/// death signal when the *thread* that forked ends, and test threads end early.
fn spawn_guarded(command: Command) -> Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in jobs {
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).map_err(|_| anyhow!("spawner thread is gone"))?;
    Ok(answer.recv().context("spawner thread is gone")??)
}
