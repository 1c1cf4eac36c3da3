//! Finds the programs that tests start. It must not fetch any: `./just tools` does.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, anyhow, ensure};

use crate::process::{self, guarded};

const BUILD: Duration = Duration::from_mins(30);

/// Finds a program by its variable (`LAGAN_TOOL_NATS_SERVER` for `nats-server`), else on PATH.
pub fn find(program: &str) -> Result<PathBuf> {
    let variable = format!("LAGAN_TOOL_{}", program.to_ascii_uppercase().replace('-', "_"));
    if let Some(path) = env::var_os(&variable) {
        let path = PathBuf::from(path);
        ensure!(is_program(&path), "{variable} is not a program: `{}`", path.display());
        return Ok(path);
    }
    // Debian keeps mariadbd in a folder that is not on a plain user's PATH.
    let path = env::var_os("PATH").unwrap_or_default();
    let cached = fetched_folders();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .chain(cached)
        .map(|dir| dir.join(program))
        .find(|candidate| is_program(candidate))
        .ok_or_else(|| {
            anyhow!("`{program}` not found: run `eval \"$(./just tools)\"`, or the tests with `./just test`")
        })
}

/// Finds a program of Kubernetes' control plane. PATH comes last, because it may have an older version.
pub fn control_plane(program: &str) -> Result<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folders = ["KUBEBUILDER_ASSETS", "LAGAN_CONTROL_PLANE"].into_iter().filter_map(folder);
    let found = folders.map(|dir| dir.join(program)).find(|candidate| is_program(candidate));
    found.map_or_else(|| cached("control-plane-", program), Ok)
}

/// Finds a program in a folder of the cache whose name starts with `folder`, else on PATH.
pub fn cached(folder: &str, program: &str) -> Result<PathBuf> {
    let built = fetched_folders()
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(folder)));
    built.map(|dir| dir.join(program)).find(|candidate| is_program(candidate)).map_or_else(|| find(program), Ok)
}

/// The folder of fetched programs and of the database template.
#[must_use]
pub fn cache_dir() -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(dir) = variable("LAGAN_TOOLS_DIR") {
        return PathBuf::from(dir);
    }
    variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("lagan/tools")
}

/// The `lagan` under test: `LAGAN_BIN`, else built by cargo beside this test, which is cheap if nothing has changed.
pub fn lagan() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| build_lagan().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

fn build_lagan() -> Result<PathBuf> {
    if let Some(path) = env::var_os("LAGAN_BIN") {
        return Ok(PathBuf::from(path));
    }
    // target/PROFILE/deps/this-test
    let this = env::current_exe().context("asking for the test's own path")?;
    let profile_dir = this.ancestors().nth(2).context("test runs outside of target/PROFILE/deps")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests crate has no parent folder")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = guarded(Path::new(&cargo));
    // With the features of the whole workspace, as in `cargo test --workspace`, nothing is compiled twice.
    command.args(["build", "--quiet", "--workspace", "--bin", "lagan"]).current_dir(root);
    if profile_dir.ends_with("release") {
        command.arg("--release");
    }
    process::run(command, BUILD)?.success().context("building `lagan`")?;
    let path = profile_dir.join("lagan");
    ensure!(is_program(&path), "cargo built no `{}`; set LAGAN_BIN", path.display());
    Ok(path)
}

fn fetched_folders() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(cache_dir()) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.path()).collect()
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
