//! The `lagan` binary under test with a manifests folder and a data directory of its own.
//! Must not know Lagan's flags: tests pass them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{Output, Process, guarded, run};
use crate::scratch::Scratch;
use crate::tools;

const COMMAND: Duration = Duration::from_mins(5);

pub struct Lagan {
    program: PathBuf,
    scratch: Scratch,
    envs: Vec<(String, String)>,
}

impl Lagan {
    pub fn new() -> Result<Self> {
        Self::with_program(tools::lagan()?)
    }

    /// Another build of it, such as an older release.
    pub fn with_program(program: PathBuf) -> Result<Self> {
        let scratch = Scratch::new("lagan")?;
        for folder in ["manifests", "data", "logs", "home"] {
            fs::create_dir(scratch.join(folder))?;
        }
        Ok(Self { program, scratch, envs: Vec::new() })
    }

    /// An environment variable for all later processes and commands.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn manifests_dir(&self) -> PathBuf {
        self.scratch.join("manifests")
    }

    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.scratch.join("data")
    }

    #[must_use]
    pub fn logs_dir(&self) -> PathBuf {
        self.scratch.join("logs")
    }

    /// A path beside the above, for a local repository and the like.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Puts a program of this name in front of the real one, for processes started later. `$REAL` in the script is the
    /// real one.
    pub fn stub(&mut self, name: &str, script: &str) -> Result<()> {
        let real = tools::find(name)?;
        let dir = self.path("stubs");
        fs::create_dir_all(&dir)?;
        let path = dir.join(name);
        let text = format!(
            "#!/bin/sh\nREAL={}\ncase \"$*\" in *--version*) exec $REAL \"$@\";; esac\n{script}\n",
            real.display()
        );
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let nats = tools::find("nats-server")?;
        let nats_dir = nats.parent().unwrap_or(Path::new("/")).display().to_string();
        let inherited = std::env::var("PATH").unwrap_or_default();
        self.env("PATH", &format!("{}:{nats_dir}:{inherited}", dir.display()));
        Ok(())
    }

    /// Writes a manifest the way an editor does: complete under another name, then renamed.
    pub fn manifest(&self, name: &str, yaml: &str) -> Result<PathBuf> {
        let path = self.manifests_dir().join(name);
        let draft = self.manifests_dir().join(format!(".{name}.draft"));
        fs::write(&draft, yaml)?;
        fs::rename(&draft, &path).with_context(|| format!("writing manifest `{name}`"))?;
        Ok(path)
    }

    pub fn remove_manifest(&self, name: &str) -> Result<()> {
        fs::remove_file(self.manifests_dir().join(name)).with_context(|| format!("removing manifest `{name}`"))
    }

    /// Same content, new modification time.
    pub fn touch_manifest(&self, name: &str) -> Result<()> {
        let file = fs::File::options().append(true).open(self.manifests_dir().join(name))?;
        Ok(file.set_modified(std::time::SystemTime::now())?)
    }

    /// Starts `lagan ARGS`; its log is `logs/NAME.log`, appended to by the next of that name.
    pub fn start(&self, name: &str, args: &[&str]) -> Result<Process> {
        let log = self.log_path(name);
        Process::spawn(name, self.command(args), &log)
    }

    #[must_use]
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.logs_dir().join(format!("{name}.log"))
    }

    /// `lagan up` on the folders of this instance, with what the test adds.
    pub fn up(&self, more: &[&str]) -> Result<Process> {
        let (manifests, data) = (self.manifests_dir(), self.data_dir());
        let (manifests, data) = (manifests.to_string_lossy(), data.to_string_lossy());
        let mut args = vec!["up", "--manifests", &manifests, "--data-dir", &data];
        args.extend(more);
        self.start("up", &args)
    }

    /// Runs `lagan ARGS` to its end; the caller looks at the exit code.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        run(self.command(args), COMMAND)
    }

    /// stdout of a command that must succeed.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        let done = self.run(args)?.success();
        let done = done.with_context(|| format!("lagan {}", args.join(" ")))?;
        Ok(done.text())
    }

    /// The same, parsed; `args` ask for JSON themselves.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.ok(args)?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = guarded(&self.program);
        command
            .args(args)
            // Nobody's own settings, state or endpoint file must leak into a test.
            .env("HOME", self.scratch.join("home"))
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env("LAGAN_DATA_DIR", self.data_dir())
            .env("PATH", tool_path())
            .env("NO_COLOR", "1")
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            .current_dir(self.scratch.path());
        command
    }
}

/// PATH with the folder of the nats-server that the harness found: `up` supervises one.
fn tool_path() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = tools::find("nats-server").ok();
    let folder = found.as_deref().and_then(Path::parent).map(Path::to_owned);
    let folders = folder.into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap_or(path)
}
