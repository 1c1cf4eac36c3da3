//! Notes: Kubernetes Events as values, made when the phase of a session changes. It must not publish them.

use lagan_schemas::resource::condition::Condition;
use lagan_schemas::session::{Course, Phase, Session};

/// Limits of the Kubernetes API, in bytes.
pub(super) const NOTE_LIMIT: usize = 1000;
pub(super) const REASON_LIMIT: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub severity: Severity,
    /// CamelCase, such as `BackupSucceeded`, or a failure's own reason.
    pub reason: String,
    pub action: &'static str,
    pub text: String,
}

/// The note about a session whose status showed `old_phase` until now. `None` if there is nothing to report.
pub(crate) fn note(session: &Session, old_phase: &str) -> Option<Note> {
    let phase = session.phase.display();
    let is_retry = session.phase == Phase::Retrying;
    if phase == old_phase && !is_retry {
        return None;
    }
    let (action, noun) = match session.course() {
        Course::Backup => ("Backup", "backup"),
        Course::Restore => ("Restore", "restore"),
        Course::DryRun => ("DryRun", "dry run of restore"),
        Course::Maintenance => ("Maintain", "maintenance"),
    };
    let name = session.request.as_ref().map_or("", |request| request.name.as_str());
    let failure = session.last_failure.as_ref();
    let (severity, reason, text) = match session.phase {
        Phase::Started | Phase::Committing | Phase::Restoring => {
            let worker = session.worker_host.as_deref().unwrap_or("a worker");
            (Severity::Normal, format!("{action}Running"), format!("{noun} {name} runs on {worker}"))
        }
        Phase::Succeeded => (Severity::Normal, format!("{action}Succeeded"), succeeded(session, noun, name)),
        Phase::Skipped => (
            Severity::Warning,
            format!("{action}Skipped"),
            format!("{noun} {name} was skipped: another session was running"),
        ),
        Phase::Retrying => {
            let failure = failure?;
            (Severity::Warning, format!("{action}Retrying"), format!("{noun} {name} is tried again: {failure}"))
        }
        Phase::Failed | Phase::Cancelled => {
            let reason = failure.map_or_else(|| format!("{action}Failed"), |failure| failure.reason.clone());
            let why = failure.map(|failure| format!(": {failure}")).unwrap_or_default();
            (Severity::Warning, reason, format!("{noun} {name} failed{why}"))
        }
        Phase::Nothing | Phase::Requested | Phase::Planned => return None,
    };
    Some(Note { severity, reason: cut(reason, REASON_LIMIT), action, text: cut(text, NOTE_LIMIT) })
}

/// The warning about a condition that has appeared.
pub(crate) fn of_condition(condition: &Condition) -> Note {
    let (reason, text) = (condition.kind.clone(), condition.message.clone());
    Note { severity: Severity::Warning, reason, action: "Schedule", text: cut(text, NOTE_LIMIT) }
}

fn succeeded(session: &Session, noun: &str, name: &str) -> String {
    let ids: Vec<&str> = session.results.iter().map(|r| r.snapshot.get(..8).unwrap_or(&r.snapshot)).collect();
    format!("{noun} {name} succeeded: snapshot {}", ids.join(", "))
}

/// Cuts a text at a character, to at most `limit` bytes.
pub(super) fn cut(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::story;
    use lagan_schemas::error::Code;
    use lagan_schemas::subject::SessionKind;

    #[test]
    fn a_change_of_phase_is_reported_once_and_a_failure_says_why() {
        let running = story(SessionKind::Backup).planned(1).started(2).end();
        assert!(note(&running, "Running").is_none());
        assert_eq!(note(&running, "Pending").map(|note| note.reason), Some("BackupRunning".to_owned()));
        let failed = story(SessionKind::Backup).planned(1).started(2).failed(5, Code::DumpFailed).end();
        let failure = note(&failed, "Running");
        assert!(failure.is_some_and(|note| {
            note.severity == Severity::Warning && note.reason == "DumpFailed" && note.text.contains("E0201")
        }));
        assert!(note(&story(SessionKind::Backup).end(), "").is_none());
        let rehearsed = story(SessionKind::Restore).planned_dry_run(1).started(2).failed(3, Code::TargetNotEmpty).end();
        assert!(note(&rehearsed, "Running").is_some_and(|note| note.text.starts_with("dry run of restore ")));
    }
}
