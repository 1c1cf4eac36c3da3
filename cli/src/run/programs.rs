//! The programs that plans may name: the database clients on PATH, and those that the administrator allows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lagan_schemas::catalogue;
use lagan_schemas::engine::Engine;
use nix::unistd::{AccessFlags, access};

use crate::error::{Exit, Problem};

pub(super) fn allowed(more: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>, Problem> {
    let mut programs = BTreeMap::new();
    for name in catalogue::engines().iter().flat_map(Engine::programs) {
        match on_path(name) {
            Some(path) => drop(programs.insert(name.to_owned(), path)),
            None => tracing::warn!(program = name, "program is not on PATH: sessions that need it will fail"),
        }
    }
    for path in more {
        let name = path.file_name().filter(|_| path.is_absolute() && is_program(path));
        let name = name.ok_or_else(|| {
            Problem::new(
                Exit::Usage,
                format!("--allow-program `{}` is not the absolute path of an executable file", path.display()),
            )
        })?;
        programs.insert(name.to_string_lossy().into_owned(), path.clone());
    }
    Ok(programs)
}

pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_absolute() && is_program(program))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}
