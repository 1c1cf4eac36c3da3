//! Describes in words what a restore would do. It must not read or print.

use crate::human::{bytes, time};
use crate::manifests::Overwrite;
use crate::repository::SnapshotRow;

pub struct Preview {
    pub repository: String,
    pub target: String,
    pub overwrite: Overwrite,
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
    format!(
        "Would restore\n  snapshot:  {id}, {size}\n  taken:     {}\n  written:   {configuration}, host {host}, {path}\n  \
         from:      {}\n  into:      {}\n  existing:  {existing}\nNothing was changed. This object restores exactly this snapshot:\n",
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
  existing:  a database that is not empty is refused; --overwrite replaces its data
Nothing was changed. This object restores exactly this snapshot:
"
        );
    }
}
