//! Stock restic, which checks the repositories that Lagan writes.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{Output, guarded, run};
use crate::s3::S3Server;
use crate::scratch::Scratch;
use crate::tools;

const TIMEOUT: Duration = Duration::from_mins(10);

pub struct Restic {
    repository: String,
    /// Holds the password file, so that argv has no secret.
    scratch: Scratch,
    keys: Option<(String, String)>,
}

impl Restic {
    pub fn folder(path: &Path, password: &str) -> Result<Self> {
        Self::new(path.display().to_string(), password, None)
    }

    pub fn s3(server: &S3Server, bucket: &str, prefix: &str, password: &str) -> Result<Self> {
        let repository = format!("s3:{}/{bucket}/{prefix}", server.endpoint());
        let keys = (server.access_key().to_owned(), server.secret_key().to_owned());
        Self::new(repository, password, Some(keys))
    }

    fn new(repository: String, password: &str, keys: Option<(String, String)>) -> Result<Self> {
        let scratch = Scratch::new("restic")?;
        scratch.private_file("password", password)?;
        Ok(Self { repository, scratch, keys })
    }

    /// Runs any restic command; the caller checks the exit code.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        run(self.command(args)?, TIMEOUT)
    }

    pub fn init(&self) -> Result<()> {
        self.run(&["init"])?.success().map(drop)
    }

    /// Runs `check --read-data`, which fetches, decrypts and hashes every pack.
    pub fn check(&self) -> Result<()> {
        let checked = self.run(&["check", "--read-data"])?.success();
        checked.map(drop).context("restic check --read-data")
    }

    /// The list of `snapshots --json`.
    pub fn snapshots(&self) -> Result<Vec<Value>> {
        let listed = self.run(&["snapshots", "--json"])?.success()?;
        let list: Value = serde_json::from_slice(&listed.stdout)?;
        Ok(list.as_array().cloned().unwrap_or_default())
    }

    /// The bytes of one file of a snapshot.
    pub fn dump(&self, snapshot: &str, path: &str) -> Result<Vec<u8>> {
        let dumped = self.run(&["dump", snapshot, path])?.success();
        Ok(dumped.with_context(|| format!("restic dump {path}"))?.stdout)
    }

    /// Makes a snapshot of several files at its root.
    pub fn backup_files(&self, host: &str, files: &[(&str, &[u8])]) -> Result<()> {
        let folder = self.scratch.join("files");
        fs::create_dir_all(&folder)?;
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        for (name, content) in files {
            fs::write(folder.join(name), content)?;
        }
        let mut command = self.command(&[&["backup", "--host", host], &names[..]].concat())?;
        command.current_dir(folder);
        run(command, TIMEOUT)?.success().map(drop)
    }

    /// Makes a snapshot of one stream, as Stash does; it has no tags.
    pub fn backup_stream(&self, host: &str, name: &str, stream: &[u8]) -> Result<()> {
        let file = self.scratch.join("stream");
        fs::write(&file, stream)?;
        let mut command = self.command(&["backup", "--host", host, "--stdin", "--stdin-filename", name])?;
        command.stdin(File::open(file)?);
        run(command, TIMEOUT)?.success().map(drop)
    }

    fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = guarded(&tools::find("restic")?);
        command
            .args(["--no-cache", "--repo"])
            .arg(&self.repository)
            .arg("--password-file")
            .arg(self.scratch.join("password"))
            .args(args);
        if let Some((access, secret)) = &self.keys {
            command.env("AWS_ACCESS_KEY_ID", access).env("AWS_SECRET_ACCESS_KEY", secret);
        }
        Ok(command)
    }
}
