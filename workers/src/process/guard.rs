//! The hidden sub-command between a worker and its child: `lagan guard-exec PARENT SANDBOX -- PROGRAM ARGS…` arms the
//! death signal, enters the sandbox and then becomes PROGRAM, so that the child dies with its worker and reaches nothing
//! of it.
//!
//! It must not read configuration or environment: nothing else of Lagan may run between fork and exec. It is a program
//! of its own because a `pre_exec` hook would need `unsafe` code, which is forbidden.
//!
//! Trap: the death signal follows the parent *thread*, not the process. `Spawner` therefore starts all children on
//! one thread that lives as long as the process.

use std::{convert::Infallible, ffi::OsString, io, os::unix::process::CommandExt, path::Path, process::Command};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::Signal,
    },
    unistd::{Pid, getppid},
};

use super::sandbox::{self, Sandbox};

/// The name of the hidden sub-command.
pub const SUBCOMMAND: &str = "guard-exec";

/// Exit code of a guard that could not become the program; shells use the same.
pub const EXIT_CODE: i32 = 127;

#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    #[error("usage: `guard-exec PARENT off|available|required -- PROGRAM [ARGS…]`")]
    Usage,
    #[error("the worker that started this guard is gone")]
    Orphaned,
    #[error("cannot restrict the process")]
    Restrict(#[source] Errno),
    #[error("cannot enter the sandbox")]
    Sandbox(#[source] landlock::RulesetError),
    #[error("this kernel has no Landlock, and --require-sandbox demands it")]
    NoSandbox,
    #[error("cannot start `{program}`")]
    Exec {
        program: String,
        #[source]
        source: io::Error,
    },
}

/// Keeps the memory of this process from other processes of the same user, and from the disk.
pub fn protect_memory() -> Result<(), Errno> {
    prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

/// Becomes the program named in `args` (`PARENT SANDBOX -- PROGRAM ARGS…`); returns only if it could not.
pub fn exec(args: impl IntoIterator<Item = OsString>) -> Result<Infallible, GuardError> {
    let mut args = args.into_iter();
    let parent = args.next().and_then(|pid| pid.to_str()?.parse().ok()).map(Pid::from_raw).ok_or(GuardError::Usage)?;
    let sandbox = args.next().and_then(|word| Sandbox::of_word(word.to_str()?)).ok_or(GuardError::Usage)?;
    if args.next().is_none_or(|separator| separator != "--") {
        return Err(GuardError::Usage);
    }
    let program = args.next().ok_or(GuardError::Usage)?;

    prctl::set_pdeathsig(Signal::SIGKILL).map_err(GuardError::Restrict)?;
    // A parent that died before the line above sends no signal, but then this process already has another parent.
    if getppid() != parent {
        return Err(GuardError::Orphaned);
    }
    prctl::set_no_new_privs().map_err(GuardError::Restrict)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(GuardError::Restrict)?;
    if sandbox != Sandbox::Off {
        let is_enforced = sandbox::enter(Path::new(&program)).map_err(GuardError::Sandbox)?;
        if !is_enforced && sandbox == Sandbox::Required {
            return Err(GuardError::NoSandbox);
        }
    }

    let source = Command::new(&program).args(args).exec();
    Err(GuardError::Exec { program: program.to_string_lossy().into_owned(), source })
}
