//! `backupHistoryLimit`: how many ended sessions of a configuration keep their statuses and objects. Facts stay as long
//! as their stream keeps them, and running sessions are never touched.

use jiff::{SignedDuration, Timestamp};
use lagan_schemas::error::chain;
use lagan_schemas::fact::Cause;
use lagan_schemas::resource::{Kind, Spec, StatusDocument};
use lagan_schemas::session::Session;
use lagan_schemas::subject::ObjectKey;
use lagan_sources::stand_in;

use super::sink::{DeleteTarget, PendingChange, StatusSink};
use super::statuses::{SessionEnd, Statuses};
use crate::context::Context;
use crate::plan::answers::Existence;
use crate::report::session::seconds;
use crate::view::View;

/// Time after its end in which a scheduled session gets an object. It is much longer than a takeover by another reporter.
pub(super) const SHOWN_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// As in Stash, one ended session stays.
const DEFAULT_LIMIT: usize = 1;

/// Number of ended sessions that a configuration keeps.
pub(super) fn limit(view: &View, configuration: &ObjectKey) -> usize {
    match view.objects.get(configuration).map(|object| &object.spec) {
        Some(Spec::BackupConfiguration(spec)) => {
            spec.backup_history_limit.map_or(DEFAULT_LIMIT, |limit| usize::try_from(limit).unwrap_or(0))
        }
        _ => DEFAULT_LIMIT,
    }
}

/// Whether a session ended so long ago that it left the history: its status is not written again after a restart.
pub(super) fn is_forgotten(context: &Context, statuses: &Statuses, session: &Session, key: &ObjectKey) -> bool {
    let Some(time) = session.last_time.filter(|_| session.phase.is_end() && key.kind == Kind::BackupSession) else {
        return false;
    };
    if statuses.has(key) {
        return false;
    }
    let Some(request) = &session.request else { return false };
    let configuration = request.invoker.key();
    let limit = limit(&context.resources.read(), &configuration);
    let end = SessionEnd { time: seconds(time), sequence: session.last_sequence, key: key.clone() };
    let newer = statuses.ended_of(&configuration).into_iter().take_while(|other| *other > end).count();
    limit > 0 && newer >= limit
}

/// Whether somebody deleted the object that showed an ended session: then its status does not come back after a restart,
/// when the log is read again. If STATUS has no status, the API server is asked.
pub(super) async fn was_deleted(
    context: &Context,
    statuses: &Statuses,
    session: &Session,
    key: &ObjectKey,
) -> Existence {
    let Some(api) = context.source().statuses() else { return Existence::No };
    // Of an object that is not watched any more nobody says that it was deleted.
    if statuses.has(key) || !api.watches(key) || !was_shown(session, Timestamp::now()) {
        return Existence::No;
    }
    match api.get(key).await {
        Ok(object) => Existence::when(object.is_none()),
        Err(error) => {
            tracing::warn!(object = %key, error = chain(&error), "existence of the object is not known yet");
            Existence::Unknown
        }
    }
}

/// Whether there was an object that showed this ended session.
fn was_shown(session: &Session, now: Timestamp) -> bool {
    let Some(end) = session.last_time.filter(|_| session.phase.is_end()) else { return false };
    match session.request.as_ref().map(|request| &request.cause) {
        Some(Cause::Object { .. }) => true,
        // A reporter may have died before it created the object.
        _ => now.duration_since(end) > SHOWN_WITHIN,
    }
}

/// Removes the statuses beyond the limit, and their objects. The caller holds no lock of a status.
pub(super) async fn remove_beyond_limit(context: &Context, statuses: &Statuses, sink: &StatusSink, session: &Session) {
    let Some(request) = &session.request else { return };
    let configuration = request.invoker.key();
    if !context.source().watches(&configuration) {
        // Its limit is not known any more.
        return;
    }
    let limit = limit(&context.resources.read(), &configuration);
    for SessionEnd { key, .. } in statuses.ended_of(&configuration).into_iter().skip(limit) {
        let _lock = statuses.lock(&key).await;
        if let Some(identity) = statuses.document(&key).and_then(|document| identity(&document)) {
            sink.send(&key, || PendingChange::delete(identity));
        }
        if let Err(error) = context.source().forget_session(&key) {
            tracing::warn!(object = %key, error = chain(&error), "file of an old session can't be removed");
        }
        statuses.remove(context, &key).await;
    }
}

fn identity(document: &StatusDocument) -> Option<DeleteTarget> {
    let metadata = &document.metadata.common;
    stand_in::session_of(metadata).map(DeleteTarget::StandIn).or(metadata.uid.map(DeleteTarget::Object))
}

#[cfg(test)]
mod tests {
    use lagan_schemas::session::Phase;
    use lagan_schemas::subject::SessionKind;
    use serde_json::json;

    use super::*;
    use crate::fixtures::{at, story};

    fn entry(group: &str, name: &str, end: i64, sequence: u64) -> (ObjectKey, StatusDocument) {
        let key = ObjectKey {
            group: group.to_owned(),
            kind: Kind::BackupSession,
            namespace: Some("demo".to_owned()),
            name: name.to_owned(),
        };
        let session = session();
        let document = json!({
            "apiVersion": format!("{group}/v1"), "kind": "BackupSession", "metadata": { "name": name },
            "spec": { "invoker": { "kind": "BackupConfiguration", "name": session.key.invoker } },
            "status": { "phase": "Succeeded", "completionTime": at(end), "foldedSequence": sequence },
        });
        (key, serde_json::from_value(document).expect("a document"))
    }

    fn session() -> Session {
        story(SessionKind::Backup).end()
    }

    #[test]
    fn the_newest_come_first_and_of_one_second_the_one_whose_end_was_written_last() {
        let group = session().request.as_ref().map(|r| r.invoker.key_group().as_str()).unwrap_or_default();
        let statuses = Statuses::of([
            entry(group, "s-9", 20, 45),
            entry(group, "s-10", 20, 50),
            entry(group, "s-11", 10, 60),
            entry("another.group", "s-12", 30, 70),
        ]);
        let configuration = session().request.expect("a request").invoker.key();
        let names: Vec<String> = statuses.ended_of(&configuration).into_iter().map(|end| end.key.name).collect();
        assert_eq!(names, ["s-10", "s-9", "s-11"]);
    }

    #[test]
    fn an_ended_session_was_shown_by_what_asked_for_it_or_by_what_was_made_for_it_long_ago() {
        let mut ended = session();
        (ended.phase, ended.last_time) = (Phase::Succeeded, Some(at(0)));
        assert!(was_shown(&ended, at(601)));
        assert!(!was_shown(&ended, at(600)), "another reporter may have died before it made one");
        if let Some(request) = &mut ended.request {
            request.cause = Cause::Object { object: request.invoker.clone() };
        }
        assert!(was_shown(&ended, at(1)));
        ended.phase = Phase::Started;
        assert!(!was_shown(&ended, at(601)));
    }
}
