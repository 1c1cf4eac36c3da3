//! Describes in words what a restore would do. It must not read or print.

use crate::human::{bytes, time};
use crate::manifests::Overwrite;
use crate::repository::SnapshotRow;

pub struct Preview {
    pub repository: String,
    pub target: String,
    pub overwrite: Overwrite,
    /// The databases that were asked for; none means all of the snapshot.
    pub databases: Vec<String>,
    /// The name that a single one gets.
    pub renamed: Option<String>,
    pub snapshot: SnapshotRow,
}

#[must_use]
pub fn preview(preview: &Preview) -> String {
    let SnapshotRow { id, time: taken, host, path, configuration, size, .. } = &preview.snapshot;
    let size = size.map_or_else(|| "of unknown size".to_owned(), bytes);
    let configuration = configuration.as_deref().unwrap_or("not by Lagan");
    let existing = match preview.overwrite {
        Overwrite::Refuse => "a database that is not empty is refused; --overwrite replaces its data",
        Overwrite::Replace => "its data is replaced",
    };
    let databases =
        if preview.databases.is_empty() { "all of the snapshot".to_owned() } else { preview.databases.join(", ") };
    let renamed = preview.renamed.as_ref().map(|name| format!(", as {name}")).unwrap_or_default();
    format!(
        "Would restore\n  snapshot:  {id}, {size}\n  taken:     {}\n  written:   {configuration}, host {host}, {path}\n  \
         from:      {}\n  into:      {}\n  databases: {databases}{renamed}\n  existing:  {existing}\n\
         Nothing was changed. The target was not asked: a restore looks for obstacles there before its first statement.\n\
         This object restores exactly this snapshot:\n",
        time(*taken),
        preview.repository,
        preview.target,
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_dry_run_says_what_from_where_into_where() {
        let snapshot = SnapshotRow {
            id: "4be1c0de".into(),
            time: "2026-11-22T11:57:00Z".parse().unwrap(),
            host: "host-0".into(),
            path: "/dumpfile.sql".into(),
            configuration: Some("prod/shop".into()),
            size: Some(1_728_724_336),
            tags: Vec::new(),
        };
        let text = preview(&Preview {
            repository: "Repository/prod/main".into(),
            target: "AppBinding/prod/shop-db".into(),
            overwrite: Overwrite::Refuse,
            databases: vec!["shop".into()],
            renamed: Some("copy".into()),
            snapshot,
        });
        assert_eq!(
            text,
            "\
Would restore
  snapshot:  4be1c0de, 1.61 GiB
  taken:     2026-11-22 11:57:00Z
  written:   prod/shop, host host-0, /dumpfile.sql
  from:      Repository/prod/main
  into:      AppBinding/prod/shop-db
  databases: shop, as copy
  existing:  a database that is not empty is refused; --overwrite replaces its data
Nothing was changed. The target was not asked: a restore looks for obstacles there before its first statement.
This object restores exactly this snapshot:
"
        );
    }
}
