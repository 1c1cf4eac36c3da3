//! `lagan generate`: writes the generated files below the current directory, and removes obsolete ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::args::Global;
use crate::error::{Exit, Problem};
use crate::output::narrate;
use crate::reference;

/// Folders that hold only generated files.
const FOLDERS: [&str; 3] = ["deploy/crds/lagan", "deploy/crds/stash", "schemas/json"];

/// Every generated file: its path from the root of the source tree, and its content.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let mut files = lagan_schemas::generate::files();
    files.push(("docs/reference/cli.md".to_owned(), reference::cli()));
    files.push(("docs/reference/errors.md".to_owned(), reference::errors()));
    files
}

pub fn run(global: &Global) -> Result<Exit, Problem> {
    let root = Path::new(".");
    if !root.join("Cargo.toml").is_file() {
        return Err(Problem::new(Exit::Usage, "`lagan generate` runs at the root of Lagan's source tree only"));
    }
    let files = files();
    for (path, text) in &files {
        let path = root.join(path);
        let parent = path.parent().unwrap_or(root);
        fs::create_dir_all(parent).and_then(|()| fs::write(&path, text)).map_err(|error| failed(&path, &error))?;
    }
    let wanted: BTreeSet<PathBuf> = files.iter().map(|(path, _)| root.join(path)).collect();
    for stale in present(root)?.difference(&wanted) {
        fs::remove_file(stale).map_err(|error| failed(stale, &error))?;
    }
    narrate(global, &format!("wrote {} files", files.len()));
    Ok(Exit::Ok)
}

fn present(root: &Path) -> Result<BTreeSet<PathBuf>, Problem> {
    let mut found = BTreeSet::new();
    for folder in FOLDERS {
        let folder = root.join(folder);
        let entries = fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        found.extend(entries.map_err(|error| failed(&folder, &error))?.iter().map(fs::DirEntry::path));
    }
    Ok(found)
}

fn failed(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(Exit::Failed, format!("`{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_generated_files_are_the_committed_ones() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut wanted = BTreeSet::new();
        for (path, text) in files() {
            let path = root.join(path);
            let committed = fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == text, "{} is not up to date: run `just generate`", path.display());
            wanted.insert(path);
        }
        let stale: Vec<_> = present(root).unwrap().difference(&wanted).cloned().collect();
        assert!(stale.is_empty(), "nothing generates {stale:?}: run `just generate`");
    }
}
