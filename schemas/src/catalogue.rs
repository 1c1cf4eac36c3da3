//! The built-in Tasks and Functions: YAML parsed by the same code as a user's own.
//! Stash's names lead to ours: `mariadb-backup-10.6.23` is `mariadb-backup`.

use std::sync::LazyLock;

use crate::manifest::{Manifest, parse};
use crate::resource::{Kind, Object};

const MARIADB: &str = include_str!("../catalogue/mariadb.yaml");

static BUILT_IN: LazyLock<Vec<Object>> = LazyLock::new(|| {
    parse("catalogue/mariadb.yaml", MARIADB)
        .into_iter()
        .map(|manifest| match manifest.expect("the catalogue is valid, a test says so") {
            Manifest::Object(object) => *object,
            Manifest::Secret(_) | Manifest::Foreign { .. } => unreachable!("the catalogue holds Tasks and Functions"),
        })
        .collect()
});

#[must_use]
pub fn objects() -> &'static [Object] {
    &BUILT_IN
}

/// Finds a built-in by our name, or by one of Stash's: our name and a version behind it.
#[must_use]
pub fn find(kind: Kind, name: &str) -> Option<&'static Object> {
    let built_in = |name: &str| BUILT_IN.iter().find(|o| o.kind() == kind && o.metadata.name == name);
    built_in(name).or_else(|| {
        let (stem, version) = name.rsplit_once('-')?;
        version.starts_with(|c: char| c.is_ascii_digit()).then(|| built_in(stem)).flatten()
    })
}

/// Steps that Stash's Tasks have and Lagan does by itself after the stream: retention, verification, status.
#[must_use]
pub fn is_done_by_the_worker(function: &str) -> bool {
    function == "update-status"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_parses_and_answers_to_stash_names() {
        assert_eq!(objects().len(), 4);
        for (kind, name) in [
            (Kind::Task, "mariadb-backup"),
            (Kind::Task, "mariadb-backup-10.6.23"),
            (Kind::Task, "mariadb-restore-10.5.8"),
            (Kind::Function, "mariadb-restore-10.5.8"),
        ] {
            assert!(find(kind, name).is_some(), "{kind} {name}");
        }
        assert!(find(Kind::Task, "postgres-backup-14.0").is_none());
        assert!(find(Kind::Task, "mariadb-backup-latest").is_none());
    }
}
