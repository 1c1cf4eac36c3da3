//! Rows of Repositories.

use lagan_schemas::resource::repository::RepositoryStatus;

use super::{Cells, Columns, TableStyle, size};
use crate::glyph::Glyph;
use crate::objects::ObjectDocument;

pub(super) const COLUMNS: Columns = Columns {
    narrow: &["BACKEND", "INTEGRITY", "SIZE", "SNAPSHOTS", "LAST BACKUP"],
    wide: &["LOCATION", "SECRET", "GROUP"],
    cells,
};

fn cells(style: &TableStyle, view: &ObjectDocument) -> Cells {
    let status: RepositoryStatus = view.part("status");
    let integrity = match status.integrity {
        Some(true) => format!("{} ok", style.glyphs.of(Glyph::Succeeded)),
        Some(false) => format!("{} damaged", style.glyphs.of(Glyph::Failed)),
        None => String::new(),
    };
    let (backend, location) = place(view);
    Cells {
        narrow: vec![
            backend.to_owned(),
            integrity,
            size(status.total_size_bytes),
            status.snapshot_count.map(|count| count.to_string()).unwrap_or_default(),
            style.relative(status.last_backup_time),
        ],
        wide: vec![location, view.text("/spec/backend/storageSecretName").to_owned(), view.key.group.clone()],
        note: String::new(),
    }
}

/// The kind of storage, and the location in it.
fn place(view: &ObjectDocument) -> (&'static str, String) {
    let under = |base: &str, sub: &str| match sub.trim_matches('/') {
        "" => base.to_owned(),
        sub => format!("{}/{sub}", base.trim_end_matches('/')),
    };
    let bucket = view.text("/spec/backend/s3/bucket");
    if !bucket.is_empty() {
        return (
            "s3",
            under(
                &format!("{}/{bucket}", view.text("/spec/backend/s3/endpoint")),
                view.text("/spec/backend/s3/prefix"),
            ),
        );
    }
    let host = view.text("/spec/backend/local/hostPath/path");
    let base = if host.is_empty() { view.text("/spec/backend/local/mountPath") } else { host };
    ("local", under(base, view.text("/spec/backend/local/subPath")))
}
