//! The `lagan` binary under test, with its own folder of manifests and data directory. It must not know Lagan's options:
//! tests pass them.

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

    /// Uses another build, such as an older release.
    pub fn with_program(program: PathBuf) -> Result<Self> {
        let scratch = Scratch::new("lagan")?;
        for folder in ["manifests", "data", "logs", "home"] {
            fs::create_dir(scratch.join(folder))?;
        }
        Ok(Self { program, scratch, envs: Vec::new() })
    }

    /// Sets an environment variable for all later processes and commands.
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

    /// A path beside these folders, for a local repository and the like.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Puts a script in front of the real program of this name, for processes started later. `$REAL` is the real program.
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
        // Tests steer their stubs through files that the sandbox would hide.
        self.env("LAGAN_NO_SANDBOX", "true");
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

    /// Changes only the modification time of a manifest.
    pub fn touch_manifest(&self, name: &str) -> Result<()> {
        let file = fs::File::options().append(true).open(self.manifests_dir().join(name))?;
        Ok(file.set_modified(std::time::SystemTime::now())?)
    }

    /// Starts `lagan ARGS`, whose log is appended to `logs/NAME.log`.
    pub fn start(&self, name: &str, args: &[&str]) -> Result<Process> {
        let log = self.log_path(name);
        Process::spawn(name, self.command(args), &log)
    }

    #[must_use]
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.logs_dir().join(format!("{name}.log"))
    }

    /// Starts `lagan up` on the folders of this instance, with more options.
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

    /// The stdout of a command that must succeed.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        let done = self.run(args)?.success();
        let done = done.with_context(|| format!("lagan {}", args.join(" ")))?;
        Ok(done.text())
    }

    /// The parsed stdout of a command that must succeed; `args` include the option for JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.ok(args)?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = guarded(&self.program);
        command
            .args(args)
            // No settings, state or endpoint file of the user may leak into a test.
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

/// PATH with the folder of the harness's nats-server, which `lagan up` starts.
fn tool_path() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = tools::find("nats-server").ok();
    let folder = found.as_deref().and_then(Path::parent).map(Path::to_owned);
    let folders = folder.into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap_or(path)
}
