//! Starts children. All of them are forked by one thread that lives as long as this process, because the death
//! signal that the guard arms follows the forking *thread*: a thread of a pool may end and take a healthy dump with it.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::PathBuf,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread,
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};
use nix::{
    fcntl::{FcntlArg, fcntl},
    unistd::{AccessFlags, access},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    control::{Control, OpenPipe, Stop, supervise},
    guard, memory,
    program::{BASE_ENV, Input, Program, ProgramError, secret_fd},
    sandbox::Sandbox,
    stderr::{SharedCollector, StderrTail, drain},
};

/// Size of pipes, the largest that an unprivileged process may set. Large pipes save switches between child and reader.
const PIPE_BYTES: i32 = 1024 * 1024;

/// Working directory of children. Not even root can create a file there, so a child leaves none behind.
const WORKING_DIRECTORY: &str = "/proc";

/// The program that is started between the worker and a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// The binary that knows the hidden sub-command, normally `lagan` itself.
    Exec(PathBuf),
    /// No guard, for tests only: a killed worker leaves its children behind.
    None,
}

/// Starts programs, all with the same guard and limits.
#[derive(Debug, Clone)]
pub struct Spawner {
    pub guard: Guard,
    /// Entered by the guard; without a guard there is none.
    pub sandbox: Sandbox,
    /// Time between SIGTERM and SIGKILL when a child is cancelled.
    pub grace: Duration,
    /// Longest time that a child's own children may keep its pipes open after its exit.
    pub linger: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("program `{}` cannot be executed", path.display())]
    NotExecutable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot prepare `{program}`")]
    Prepare {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot start `{program}`")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
}

/// The end of the child that we hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Stdout,
    Stdin,
}

/// A running child, killed when the last reference to it is dropped.
#[derive(Debug)]
pub(super) struct Run {
    pub control: Arc<Control>,
    stderr: SharedCollector,
    redact: Vec<SecretString>,
    _cancelled: AbortOnDropHandle<()>,
}

pub(super) struct StartedProgram {
    pub run: Arc<Run>,
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<(ChildStdout, OpenPipe)>,
}

impl Spawner {
    #[must_use]
    pub fn new(guard: Guard) -> Self {
        let sandbox = Sandbox::WhereAvailable;
        Self { guard, sandbox, grace: Duration::from_secs(10), linger: Duration::from_secs(5) }
    }

    /// Creates a spawner that guards children with the binary that runs now.
    ///
    /// The binary is not named by its path: an upgrade may have replaced the file, and a child of an old worker needs
    /// the old guard.
    pub fn with_own_guard() -> io::Result<Self> {
        let own = PathBuf::from("/proc/self/exe");
        own.read_link()?;
        Ok(Self::new(Guard::Exec(own)))
    }

    pub(super) async fn start(
        &self,
        program: Program,
        ends: Ends,
        cancel: &CancellationToken,
    ) -> Result<StartedProgram, SpawnError> {
        program.check()?;
        access(&program.executable, AccessFlags::X_OK)
            .map_err(|errno| SpawnError::NotExecutable { path: program.executable.clone(), source: errno.into() })?;
        let name = program.name();
        let prepare = |source| SpawnError::Prepare { program: name.clone(), source };
        let mut command = self.command(&program, ends).map_err(prepare)?;
        command.current_dir(WORKING_DIRECTORY);

        let start = |source| SpawnError::Start { program: name.clone(), source };
        let mut child = fork(command).await.map_err(start)?;
        let control = Control::new(child.id());
        let stderr = child.stderr.take().map(|pipe| (pipe, control.open_pipe()));
        let stdout = child.stdout.take().map(|pipe| (pipe, control.open_pipe()));
        let stdin = child.stdin.take();
        // A failure only makes the transfer slower.
        if let Some((pipe, _)) = &stdout {
            let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        }
        if let Some(pipe) = &stdin {
            let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        }

        let collector = SharedCollector::default();
        let (linger, supervised) = (self.linger, Arc::clone(&control));
        thread(&name, move || supervise(child, &supervised, linger)).map_err(start)?;
        if let Some((pipe, open)) = stderr {
            let (collected, watched) = (Arc::clone(&collector), Arc::clone(&control));
            thread(&name, move || {
                drain(pipe, &collected, &watched);
                drop(open);
            })
            .map_err(|source| {
                control.kill(Stop::Dropped);
                start(source)
            })?;
        }

        let mut redact = program.redact;
        redact.extend(program.secret_files);
        let cancelled =
            AbortOnDropHandle::new(tokio::spawn(cancellation(Arc::clone(&control), cancel.clone(), self.grace)));
        let run = Run { control, stderr: collector, redact, _cancelled: cancelled };
        Ok(StartedProgram { run: Arc::new(run), stdin, stdout })
    }

    fn command(&self, program: &Program, ends: Ends) -> io::Result<Command> {
        let mut command = match &self.guard {
            Guard::None => Command::new(&program.executable),
            Guard::Exec(binary) => {
                let mut command = Command::new(binary);
                command.arg(guard::SUBCOMMAND).arg(std::process::id().to_string()).arg(self.sandbox.word()).arg("--");
                command.arg(&program.executable);
                command
            }
        };
        command.args(&program.args).env_clear().envs(BASE_ENV);
        command.envs(program.env.iter().map(|(name, value)| (name, value)));
        command.process_group(0);
        command.stderr(Stdio::piped());
        match ends {
            Ends::Stdout => command.stdout(Stdio::piped()).stdin(match &program.input {
                Input::Null => Stdio::null(),
                Input::Bytes(bytes) => Stdio::from(memory::file(bytes)?),
            }),
            Ends::Stdin => command.stdin(Stdio::piped()).stdout(Stdio::null()),
        };
        let mappings = program
            .secret_files
            .iter()
            .enumerate()
            .map(|(index, secret)| {
                let parent_fd: OwnedFd = memory::file(secret.expose_secret().as_bytes())?;
                Ok(FdMapping { parent_fd, child_fd: secret_fd(index) })
            })
            .collect::<io::Result<Vec<_>>>()?;
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        Ok(command)
    }
}

impl Run {
    /// Returns what the child has written to stderr so far, fit to be shown.
    pub(super) fn stderr(&self) -> StderrTail {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).tail(&self.redact)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.control.kill(Stop::Dropped);
    }
}

async fn cancellation(control: Arc<Control>, cancel: CancellationToken, grace: Duration) {
    tokio::select! {
        () = cancel.cancelled() => control.stop(Stop::Cancelled, grace).await,
        () = control.finished() => {}
    }
}

pub(super) fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // The handle is dropped on purpose: `Control` tells when the work has ended.
    thread::Builder::new().name(name.chars().take(15).collect()).spawn(work).map(drop)
}

type Job = Box<dyn FnOnce() + Send>;

/// Forks on the thread that lives as long as this process.
async fn fork(mut command: Command) -> io::Result<std::process::Child> {
    static FORKER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let gone = || io::Error::other("the thread that starts programs is gone");

    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move || {
        // The caller is gone, and the child must not run unattended.
        if let Err(Ok(mut unwanted)) = reply.send(command.spawn()) {
            let _ = unwanted.kill();
            let _ = unwanted.wait();
        }
    });
    let forker = FORKER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        let _ = thread("forker", move || queue.into_iter().for_each(|job| job()));
        Mutex::new(jobs)
    });
    forker.lock().unwrap_or_else(PoisonError::into_inner).send(job).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}
