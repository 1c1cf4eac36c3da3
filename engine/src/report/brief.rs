//! The brief status of a session whose whole status the API server refuses.

use lagan_schemas::resource::Status;
use lagan_schemas::resource::backup_session::{BackupSessionStatus, RunStatus};
use lagan_schemas::resource::condition::Condition;
use lagan_schemas::resource::restore_session::RestoreSessionStatus;

use super::note::cut;

/// Longest text in a brief status, in bytes.
const TEXT: usize = 256;

/// The phase, the time and the conditions of a session that has ended, with short texts; `None` for other statuses.
pub(crate) fn brief(status: &Status, refusal: &str) -> Option<Status> {
    let run = status.run().filter(|_| status.has_ended())?;
    let message = format!("the API server refused the whole status: {refusal}");
    let run = RunStatus {
        completion_time: run.completion_time,
        code: run.code.clone(),
        reason: run.reason.clone().map(|reason| cut(reason, TEXT)),
        message: Some(cut(message, TEXT)),
        folded_sequence: run.folded_sequence,
        folded_store: run.folded_store,
        ..RunStatus::default()
    };
    let short =
        |condition: &Condition| Condition { message: cut(condition.message.clone(), TEXT), ..condition.clone() };
    let conditions = status.conditions().iter().map(short).collect();
    let phase = status.session_phase().to_owned();
    Some(match status {
        Status::RestoreSession(_) => {
            Status::from(RestoreSessionStatus { phase, run, conditions, ..RestoreSessionStatus::default() })
        }
        _ => Status::from(BackupSessionStatus { phase, run, conditions, ..BackupSessionStatus::default() }),
    })
}

#[cfg(test)]
mod tests {
    use lagan_schemas::error::Code;
    use lagan_schemas::subject::SessionKind;
    use serde_json::json;

    use super::*;
    use crate::fixtures::story;
    use crate::report::session;

    #[test]
    fn the_end_of_a_session_stays_in_a_status_without_its_details() {
        let running = story(SessionKind::Backup).planned(1).started(2);
        assert_eq!(brief(&session::backup(&running.end()).into(), "no"), None);
        let failed = story(SessionKind::Restore).planned(1).started(2).failed(3, Code::DumpFailed).end();
        let whole = Status::from(session::restore(&failed));
        let status = brief(&whole, &"too large ".repeat(1000)).expect("it has ended");
        assert!(status.has_ended() && matches!(status, Status::RestoreSession(_)));
        let run =
            |status: &Status| status.run().map(|run| (run.completion_time, run.folded_sequence, run.code.clone()));
        assert_eq!(run(&status), run(&whole));
        assert!(json!(status).to_string().len() < 2048, "{status:?}");
    }
}
