//! Makes the status of a session from its facts, with the field names of the resource types. The reporter's own status
//! may be a moment behind the facts. It must not read anything.

use lagan_schemas::fact::Notice;
use lagan_schemas::session::Session;
use serde_json::{Map, Value, json};

use crate::facts::short;
use crate::human::between;

#[must_use]
pub fn status(session: &Session) -> Value {
    let mut status = Map::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            status.insert(name.to_owned(), value);
        }
    };
    set("phase", session.phase.display().into());
    set("requestedTime", json!(session.first_time));
    set("startTime", json!(session.started_time));
    if session.phase.is_end() {
        set("completionTime", json!(session.last_time));
        set(
            "sessionDuration",
            json!(session.first_time.zip(session.last_time).map(|(first, last)| between(first, last))),
        );
    }
    let result = session.results.first();
    set("snapshot", json!(result.map(|r| short(&r.snapshot)).or(session.restoring_snapshot.as_deref().map(short))));
    set("sizeBytes", json!(result.map(|r| r.size_bytes)));
    set("addedBytes", json!(result.map(|r| r.added_bytes)));
    set("attempts", session.attempts.into());
    set("worker", json!(session.worker_host));
    if let Some(failure) = &session.last_failure {
        set("code", failure.code.as_str().into());
        set("reason", failure.reason.as_str().into());
        set("message", failure.message.as_str().into());
    }
    if !session.results.is_empty() {
        set("results", json!(session.results));
    }
    if !session.conditions.is_empty() {
        set("conditions", session.conditions.iter().map(|notice| condition(notice, session)).collect());
    }
    status.into()
}

fn condition(notice: &Notice, session: &Session) -> Value {
    json!({
        "type": notice.kind,
        "status": notice.status,
        "reason": notice.reason,
        "message": notice.message,
        "lastTransitionTime": session.last_time,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use lagan_schemas::fact::NoticeStatus;
    use lagan_schemas::resource::Condition;
    use lagan_schemas::resource::backup_session::BackupSessionStatus;
    use lagan_schemas::session::Phase;
    use lagan_schemas::subject::{SessionKey, SessionKind};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_outcome_reads_as_a_status() {
        let key = SessionKey {
            cluster: "local".parse().unwrap(),
            namespace: "prod".into(),
            kind: SessionKind::Backup,
            group: "lagan.dev".into(),
            invoker: "shop".into(),
            uid: Uuid::from_u128(7),
        };
        let mut session = Session::new(key);
        session.phase = Phase::Succeeded;
        session.first_time = Some("2026-11-22T11:57:00Z".parse().unwrap());
        session.last_time = Some("2026-11-22T11:59:24Z".parse().unwrap());
        let notice = Notice {
            kind: "SpaceFreed".into(),
            status: NoticeStatus::False,
            reason: "PruneIsSeparate".into(),
            message: "m".into(),
        };
        session.conditions = vec![notice];
        let status: BackupSessionStatus = serde_json::from_value(status(&session)).unwrap();
        assert_eq!((status.phase.as_str(), status.session_duration.as_deref()), ("Succeeded", Some("2m24s")));
        assert!(matches!(&status.conditions[..], [Condition { kind, .. }] if kind == "SpaceFreed"));
    }
}
