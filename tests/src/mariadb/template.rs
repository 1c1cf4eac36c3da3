//! The initialised data directory that every private server copies, because initialising takes seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{guarded, run};
use crate::{sha256, tools};

/// Settings that must be equal for the template and its copies. The data must survive a killed server, but no power cut,
/// so there is no fsync per commit and no double write.
pub const SETTINGS: &str = "innodb_log_file_size=64M\ninnodb_buffer_pool_size=256M\n\
    innodb_flush_log_at_trx_commit=2\ninnodb_doublewrite=0\nperformance_schema=OFF\n";

const INITIALISE: Duration = Duration::from_mins(3);

/// Copies the template to `target`.
pub fn copy_to(target: &Path) -> Result<()> {
    let template = template()?;
    let mut command = guarded(&tools::find("cp")?);
    command.args(["-a", "--reflink=auto", "--sparse=always", "-T"]).args([&template, &target.to_owned()]);
    run(command, INITIALISE)?.success().context("copying the database template")?;
    Ok(())
}

/// Options without which mariadbd refuses to run as root.
pub fn as_current_user() -> Option<&'static str> {
    nix::unistd::geteuid().is_root().then_some("--user=root")
}

fn template() -> Result<PathBuf> {
    let mut version = guarded(&tools::find("mariadbd")?);
    version.arg("--version");
    let version = run(version, INITIALISE)?.success()?.text();
    let owner = nix::unistd::geteuid();
    let key = sha256(format!("{version}\n{owner}\n{SETTINGS}").as_bytes());
    let home = tools::cache_dir();
    let template = home.join(format!("mariadb-template-{}", &key[..16]));
    if template.is_dir() {
        return Ok(template);
    }
    fs::create_dir_all(&home).context("creating the cache folder")?;
    let building = tempfile::Builder::new().prefix(".part-mariadb-").tempdir_in(&home)?;
    let data = building.path().join("data");
    initialise(building.path(), &data)?;
    match fs::rename(&data, &template) {
        // Another test process has finished first; its template is the same.
        Err(_) if template.is_dir() => Ok(template),
        renamed => renamed.map(|()| template).context("naming the database template"),
    }
}

fn initialise(building: &Path, data: &Path) -> Result<()> {
    let config = building.join("server.cnf");
    fs::write(&config, format!("[mariadbd]\n{SETTINGS}"))?;
    let mut command = guarded(&tools::find("mariadb-install-db")?);
    command
        .arg(format!("--defaults-file={}", config.display()))
        .arg(format!("--datadir={}", data.display()))
        .args(["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"])
        .args(as_current_user());
    run(command, INITIALISE)?.success().context("initialising the database template")?;
    Ok(())
}
