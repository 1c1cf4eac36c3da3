//! The finding of a dry run, which has asked all that a restore asks, and failed where a restore would have failed.

use lagan_schemas::fact::{Notice, NoticeStatus};

use super::Restore;
use crate::databases::{Load, shown};
use crate::repository::Snapshot;

impl Restore<'_, '_> {
    /// The condition that says what a restore would write now. `overwrites` is what would happen to existing data.
    pub(super) fn finding(&self, load: &Load, overwrites: Option<&str>, stream: (&Snapshot, u64)) -> Notice {
        let (snapshot, size_bytes) = stream;
        let target = self.work.target.reference.path();
        let databases = match load.databases.len() {
            1 => format!("database {}", shown(&load.databases)),
            count => format!("{count} databases: {}", shown(&load.databases)),
        };
        let existing = overwrites.map_or_else(|| "there is no data yet that it would touch".to_owned(), str::to_owned);
        let message = format!(
            "snapshot {} of {} ({size_bytes} bytes, host {}) would be written into AppBinding {target}, {databases}; \
             {existing}; nothing stands in the way now; nothing was written",
            snapshot.id.get(..8).unwrap_or(&snapshot.id),
            snapshot.time.timestamp().strftime("%Y-%m-%d %H:%M:%SZ"),
            snapshot.host,
        );
        Notice { kind: "DryRun".to_owned(), status: NoticeStatus::True, reason: "NothingWritten".to_owned(), message }
    }
}
