//! Child processes that never outlive the test: their process group is killed on drop, and the kernel kills them if the
//! test process dies without dropping anything.

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

/// A command in a process group of its own that gets SIGKILL when the harness dies. Start it with [`Process::spawn`] or
/// [`run`] only: the death signal belongs to the spawning thread.
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
    /// Offset in the log at which this process starts: a restarted server appends.
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

    /// Signals the process alone, not its group.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal::kill(self.raw_pid(), signal).with_context(|| format!("sending {signal} to `{}`", self.name))
    }

    /// Signals the process and all children in its group.
    pub fn signal_group(&self, signal: Signal) -> Result<()> {
        signal::killpg(self.raw_pid(), signal)
            .with_context(|| format!("sending {signal} to the group of `{}`", self.name))
    }

    /// Sends SIGKILL to the process alone, not to its children.
    pub fn kill9(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        Ok(self.child.wait()?)
    }

    /// Sends SIGTERM and waits for the exit status.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait_exit(timeout)
    }

    /// Lists the living processes of its group, itself included, as `pid name`.
    pub fn group_members(&self) -> Result<Vec<String>> {
        let group = self.raw_pid().as_raw();
        let mut rows = proc::table().context("reading /proc")?;
        rows.retain(|row| row.group == group && row.state != 'Z');
        Ok(rows.iter().map(|row| format!("{} {}", row.pid, row.name)).collect())
    }

    /// Lists the living descendants with this name (at most 15 bytes, as in /proc).
    pub fn descendants_named(&self, name: &str) -> Result<Vec<Pid>> {
        let mut rows = proc::descendants(self.raw_pid().as_raw()).context("reading /proc")?;
        rows.retain(|row| row.name == name && row.state != 'Z');
        Ok(rows.iter().map(|row| Pid::from_raw(row.pid)).collect())
    }

    /// The log of this process, without that of earlier ones in the same file.
    #[must_use]
    pub fn log_text(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(self.log_start).unwrap_or(0).min(bytes.len());
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }

    /// Waits for a line of the log that contains `text`, and returns it.
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

    /// Waits for a condition; it is an error if the process ends before.
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

/// The result of a program that ran to its end.
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

    /// The output if the exit code is 0, else an error with the ends of both streams.
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
    // A grandchild that keeps the pipes open would block the readers, also after a normal end.
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

/// Starts the command from a thread that lives as long as the test process: the kernel sends the death signal when the
/// *thread* that forked ends, and test threads end early.
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
