//! A private MariaDB server whose root password is a canary. Its data directory is a copy of a template that is made once
//! per machine and version.

mod template;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::ports::ReservedPort;
use crate::process::{Output, Process, guarded, run};
use crate::sample::Sample;
use crate::scratch::Scratch;
use crate::wait::eventually;
use crate::{canary_secret, sha256, tools};

const START: Duration = Duration::from_mins(1);
/// Limit of one client call. Loading a gigabyte on a busy machine takes minutes.
const CLIENT: Duration = Duration::from_mins(15);

pub struct MariaDbServer {
    // Dropped first: a server must not write into a folder that is being removed.
    process: Process,
    port: ReservedPort,
    password: String,
    scratch: Scratch,
}

impl MariaDbServer {
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a server with more lines in its configuration, such as `net_write_timeout=5`.
    pub fn start_with(settings: &[&str]) -> Result<Self> {
        let scratch = Scratch::new("mariadb")?;
        template::copy_to(&scratch.join("data"))?;
        let port = ReservedPort::reserve()?;
        let password = canary_secret("mariadb-root");
        write_configs(&scratch, port.number(), &password, settings)?;
        let process = launch(&scratch)?;
        Ok(Self { process, port, password, scratch })
    }

    #[must_use]
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    #[must_use]
    pub fn user(&self) -> &'static str {
        "root"
    }

    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// A file with client options and the password, for `--defaults-file`; mode 0600.
    #[must_use]
    pub fn defaults_file(&self) -> PathBuf {
        self.scratch.join("client.cnf")
    }

    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.scratch.join("mariadb.log")
    }

    /// The process, for signals and log lines.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9().map(drop)
    }

    /// Starts the server again with the same port and data; kills it first if it still runs.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.exit_status().is_none() {
            self.kill9()?;
        }
        self.process = launch(&self.scratch)?;
        Ok(())
    }

    /// Runs statements; the answer has one line per row, tab-separated, without headings.
    pub fn query(&self, sql: &str) -> Result<String> {
        let answer = self.feed(&[], |input| input.write_all(sql.as_bytes()))?;
        Ok(answer.text().trim_end_matches('\n').to_owned())
    }

    /// Runs a file of SQL, `DELIMITER` lines included.
    /// A counter of the server since its start, such as `Com_create_db`.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let row = self.query(&format!("SHOW GLOBAL STATUS LIKE '{name}'"))?;
        row.split_whitespace().last().context("a counter")?.parse().context("a number")
    }

    /// Locks a table, so that statements about its database wait, until the process that is returned dies.
    pub fn lock_table(&self, table: &str) -> Result<Process> {
        let mut client = guarded(&tools::find("mariadb")?);
        client.arg(format!("--defaults-file={}", self.defaults_file().display())).arg("--unbuffered");
        client.args(["-e", &format!("LOCK TABLES {table} WRITE; SELECT 'held'; SELECT SLEEP(600)")]);
        let locker = Process::spawn("locker", client, &self.log_path().with_file_name("locker.log"))?;
        eventually("the lock", START, || {
            let held = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'";
            (self.query(held).ok()?.trim() == "1").then_some(())
        })?;
        Ok(locker)
    }

    pub fn load(&self, sql_file: &Path) -> Result<()> {
        let mut command = self.client("mariadb")?;
        command.stdin(File::open(sql_file)?);
        let done = run(command, CLIENT)?.success();
        done.map(drop).with_context(|| format!("loading `{}`", sql_file.display()))
    }

    /// Creates a database and fills it with the sample.
    pub fn load_sample(&self, database: &str, sample: Sample) -> Result<()> {
        self.query(&format!("CREATE DATABASE `{database}` CHARACTER SET utf8mb4"))?;
        self.feed(&[database], |input| sample.write(input))
            .with_context(|| format!("loading the sample into `{database}`"))?;
        Ok(())
    }

    /// Applies the sample's later changes.
    pub fn change_sample(&self, database: &str, sample: Sample) -> Result<()> {
        self.feed(&[database], |input| sample.write_changes(input))
            .with_context(|| format!("changing the sample in `{database}`"))?;
        Ok(())
    }

    /// The stdout of `mariadb-dump ARGS`.
    pub fn dump(&self, args: &[&str]) -> Result<Vec<u8>> {
        let mut command = self.client("mariadb-dump")?;
        command.args(args);
        Ok(run(command, CLIENT)?.success()?.stdout)
    }

    /// SHA-256 of the dump of each table, view and sequence: definition, triggers, and rows in key order. `CHECKSUM TABLE`
    /// can't be used: with virtual columns 10.11 answers differently after a restart.
    pub fn checksums(&self, database: &str) -> Result<BTreeMap<String, String>> {
        let tables = self.query(&format!("SHOW TABLES FROM `{database}`"))?;
        let mut sums = BTreeMap::new();
        for table in tables.lines() {
            let dump = self.dump(&[
                "--skip-comments",
                "--hex-blob",
                "--order-by-primary",
                "--single-transaction",
                "--",
                database,
                table,
            ])?;
            sums.insert(table.to_owned(), sha256(&dump));
        }
        Ok(sums)
    }

    /// Runs statements from a file: they may hold secrets, and argv is public.
    fn feed(&self, args: &[&str], write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<Output> {
        let mut input = BufWriter::with_capacity(1 << 20, tempfile::tempfile()?);
        write(&mut input)?;
        let mut input = input.into_inner().context("writing the client's input")?;
        input.rewind()?;
        let mut command = self.client("mariadb")?;
        command.args(["--batch", "--skip-column-names"]).args(args).stdin(Stdio::from(input));
        run(command, CLIENT)?.success()
    }

    fn client(&self, program: &str) -> Result<Command> {
        let mut command = guarded(&tools::find(program)?);
        let defaults = self.defaults_file();
        command.arg(format!("--defaults-file={}", defaults.display()));
        Ok(command)
    }
}

fn write_configs(scratch: &Scratch, port: u16, password: &str, settings: &[&str]) -> Result<()> {
    let dir = scratch.path().display();
    let init = format!(
        "ALTER USER root@localhost IDENTIFIED BY '{password}';\n\
         CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{password}';\n\
         GRANT ALL PRIVILEGES ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n"
    );
    scratch.private_file("init.sql", &init)?;
    let server = format!(
        "[mariadbd]\n{fixed}datadir={dir}/data\ntmpdir={dir}\nsocket={dir}/mariadb.sock\n\
         pid-file={dir}/mariadb.pid\ninit-file={dir}/init.sql\nbind-address=127.0.0.1\n\
         port={port}\nskip-name-resolve\ncharacter-set-server=utf8mb4\nmax_allowed_packet=256M\n\
         {own}\n",
        fixed = template::SETTINGS,
        own = settings.join("\n"),
    );
    scratch.private_file("server.cnf", &server)?;
    let client = format!(
        "[client]\nhost=127.0.0.1\nport={port}\nprotocol=tcp\nuser=root\npassword=\"{password}\"\n\
         default-character-set=utf8mb4\nmax_allowed_packet=256M\n"
    );
    scratch.private_file("client.cnf", &client).map(drop)
}

fn launch(scratch: &Scratch) -> Result<Process> {
    let mut command = guarded(&tools::find("mariadbd")?);
    let config = scratch.join("server.cnf");
    command.arg(format!("--defaults-file={}", config.display())).args(template::as_current_user());
    let mut process = Process::spawn("mariadbd", command, &scratch.join("mariadb.log"))?;
    process.wait_for_log("ready for connections", START)?;
    Ok(process)
}
