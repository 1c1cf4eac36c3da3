//! The note on a Repository whose data was deleted, or could not be deleted. It must not publish it.

use lagan_schemas::error::{Code, Failure};
use lagan_schemas::session::{Phase, Session};

use super::note::{NOTE_LIMIT, Note, REASON_LIMIT, Severity, cut};

/// Type of the notice in which a worker says what it deleted, and reason of the Event.
const WIPED: &str = "RepositoryWiped";
const ACTION: &str = "WipeOut";

/// The note for the end of a session that deletes a Repository's data; `None` until it has ended.
pub(crate) fn outcome(session: &Session) -> Option<Note> {
    match session.phase {
        Phase::Succeeded => {
            let notice = session.conditions.iter().find(|notice| notice.kind == WIPED);
            let text = notice.map_or_else(|| "its data was deleted".to_owned(), |notice| notice.message.clone());
            Some(Note {
                severity: Severity::Normal,
                reason: WIPED.to_owned(),
                action: ACTION,
                text: cut(text, NOTE_LIMIT),
            })
        }
        phase if phase.is_end() => {
            let unknown = || Failure::new(Code::Internal, "the session ended without a failure");
            Some(failed(&session.last_failure.clone().unwrap_or_else(unknown)))
        }
        _ => None,
    }
}

/// The note for a Repository that is invalid, so that no session can be planned for it.
pub(crate) fn impossible(problem: &str) -> Note {
    failed(&Failure::new(Code::InvalidSpec, problem))
}

fn failed(failure: &Failure) -> Note {
    let text = format!("data was NOT deleted: {failure}");
    Note {
        severity: Severity::Warning,
        reason: cut(failure.reason.clone(), REASON_LIMIT),
        action: ACTION,
        text: cut(text, NOTE_LIMIT),
    }
}

#[cfg(test)]
mod tests {
    use lagan_schemas::subject::SessionKind;

    use super::*;
    use crate::fixtures::story;

    #[test]
    fn only_an_end_is_reported_and_a_failure_says_that_the_data_stays() {
        let running = story(SessionKind::Maintenance).planned(1).started(2);
        assert_eq!(outcome(&story(SessionKind::Maintenance).planned(1).started(2).end()), None);
        let note = outcome(&running.failed(5, Code::StorageDenied).end());
        assert!(note.is_some_and(|note| {
            note.severity == Severity::Warning
                && note.reason == "StorageDenied"
                && note.text.starts_with("data was NOT deleted: ")
                && note.text.contains("E0305")
        }));
    }
}
