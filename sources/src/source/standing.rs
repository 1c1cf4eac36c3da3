//! What a source remembers of a session's object.

use lagan_schemas::resource::{Kind, Object};
use serde_json::Value;

/// The source's memory of a session's object (P5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was never run.
    New,
    /// It may have begun a restore, whatever the log says.
    Recorded,
    Ended,
    /// It was deleted, or replaced by another of its name.
    Gone,
}

/// The standing of an object by its status in the cluster, where it may have been deleted or replaced.
pub(super) fn of(found: Option<&Value>, object: &Object) -> Standing {
    let Some(value) = found else { return Standing::Gone };
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let uid = object.metadata.uid.unwrap_or_default();
    if text("/metadata/uid").and_then(|text| text.parse().ok()) != Some(uid) {
        return Standing::Gone;
    }
    let ours = value.pointer("/status/foldedSequence").is_some();
    match text("/status/phase") {
        Some("Succeeded" | "Failed" | "Skipped") => Standing::Ended,
        _ if text("/status/recordedTime").is_some() => Standing::Recorded,
        // A Stash operator ran it, with an unknown result.
        Some(phase) if !ours && !matches!(phase, "" | "Pending") => {
            if object.kind() == Kind::RestoreSession {
                Standing::Recorded
            } else {
                Standing::Ended
            }
        }
        _ => Standing::New,
    }
}
