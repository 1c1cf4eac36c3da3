//! A private PostgreSQL server whose superuser has a canary as password.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};

use crate::ports::ReservedPort;
use crate::process::{Process, guarded, run};
use crate::scratch::Scratch;
use crate::{canary_secret, tools};

const START: Duration = Duration::from_mins(1);
/// The server refuses to run as root.
const ACCOUNT: &str = "nobody";

pub struct PostgresServer {
    process: Process,
    port: ReservedPort,
    password: String,
    scratch: Scratch,
}

impl PostgresServer {
    pub fn start() -> Result<Self> {
        let scratch = Scratch::new("postgres")?;
        let port = ReservedPort::reserve()?;
        let password = canary_secret("postgres");
        let secret = scratch.private_file("password", &password)?;
        let home = scratch.join("server");
        fs::create_dir(&home)?;
        if let Some(account) = account()? {
            for path in [scratch.path(), &home, &secret] {
                chown(path, Some(account.uid.as_raw()), Some(account.gid.as_raw()))?;
            }
        }
        let data = home.join("data");
        let mut initdb = server_program("initdb")?;
        initdb.args(["--no-sync", "--auth=scram-sha-256", "--username=root", "--encoding=UTF8", "--locale=C.UTF-8"]);
        initdb.arg("--pgdata").arg(&data).arg("--pwfile").arg(&secret);
        run(initdb, START)?.success().context("initialising a PostgreSQL server")?;
        let process = launch(&scratch, &data, port.number())?;
        Ok(Self { process, port, password, scratch })
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Runs statements in a database; the answer has one line per row, without headings.
    pub fn query(&self, database: &str, sql: &str) -> Result<String> {
        let script = self.scratch.private_file("script.sql", sql)?;
        self.load(database, &script)
    }

    /// Runs a file of statements.
    pub fn load(&self, database: &str, script: &Path) -> Result<String> {
        let mut psql = self.client("psql", database)?;
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--file=-"]);
        psql.stdin(Stdio::from(fs::File::open(script)?));
        Ok(run(psql, START)?.success()?.text().trim_end_matches('\n').to_owned())
    }

    /// The stdout of `pg_dump ARGS`.
    pub fn dump(&self, database: &str, args: &[&str]) -> Result<Vec<u8>> {
        let mut pg_dump = self.client("pg_dump", database)?;
        pg_dump.args(args);
        Ok(run(pg_dump, START)?.success()?.stdout)
    }

    fn client(&self, program: &str, database: &str) -> Result<Command> {
        let mut command = guarded(&tools::find(program)?);
        let line = format!("*:*:*:*:{}\n", self.password);
        command.env("PGPASSFILE", self.scratch.private_file("passfile", &line)?);
        command.envs([("PGHOST", "127.0.0.1"), ("PGUSER", "root"), ("PGDATABASE", database)]);
        command.env("PGPORT", self.port().to_string());
        Ok(command)
    }
}

impl Drop for PostgresServer {
    /// Stopped at once: a server that is killed leaves shared memory behind.
    fn drop(&mut self) {
        let _ = self.process.signal(Signal::SIGQUIT);
        let _ = self.process.wait_exit(START);
    }
}

fn launch(scratch: &Scratch, data: &Path, port: u16) -> Result<Process> {
    let mut server = server_program("postgres")?;
    server.arg("-D").arg(data).arg("-k").arg(data).args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
    // The data must survive a killed server, but no power cut.
    server.args(["-c", "fsync=off", "-c", "log_min_messages=warning", "-c", "max_connections=30"]);
    let mut process = Process::spawn("postgres", server, &scratch.join("postgres.log"))?;
    process.wait_for_log("ready to accept connections", START)?;
    Ok(process)
}

/// The account of the server, if this process may not run it.
fn account() -> Result<Option<User>> {
    if geteuid().is_root() { Ok(User::from_name(ACCOUNT)?) } else { Ok(None) }
}

fn server_program(name: &str) -> Result<Command> {
    let program = installed(name)?;
    let Some(account) = account()? else { return Ok(guarded(&program)) };
    let mut command = guarded(&tools::find("setpriv")?);
    let (uid, gid) = (account.uid.to_string(), account.gid.to_string());
    // The death signal is lost when the account changes, so it is set again.
    command.args(["--reuid", &uid, "--regid", &gid, "--clear-groups", "--pdeathsig", "KILL", "--"]).arg(program);
    Ok(command)
}

/// Debian keeps the server's programs in a folder of each version.
fn installed(name: &str) -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(name)).collect();
    found.retain(|path| path.is_file());
    found.sort();
    found.pop().map_or_else(|| tools::find(name), Ok)
}
