//! `backupHistoryLimit`: how many ended sessions of a configuration stay in view. Facts stay as long as their
//! stream keeps them; running sessions are never touched.

use std::time::Duration;

use jiff::Timestamp;
use lagan_schemas::error::chain;
use lagan_schemas::fact::Cause;
use lagan_schemas::resource::backup_session::BackupSessionStatus;
use lagan_schemas::resource::{Kind, Spec};
use lagan_schemas::session::Session;
use lagan_schemas::subject::ObjectKey;

use super::apply::{Hand, Job};
use super::statuses::Statuses;
use crate::context::Context;
use crate::plan::answers::Found;
use crate::report::session::seconds;

/// Much longer than the time in which another reporter takes over from one that died.
const SHOWN_WITHIN: Duration = Duration::from_secs(600);
/// As Stash: one ended session stays.
const DEFAULT_LIMIT: usize = 1;

fn limit(context: &Context, session: &Session) -> usize {
    let Some(request) = &session.request else { return DEFAULT_LIMIT };
    let view = context.resources.read();
    match view.objects.get(&request.invoker.key()).map(|object| &object.spec) {
        Some(Spec::BackupConfiguration(spec)) => {
            spec.backup_history_limit.map_or(DEFAULT_LIMIT, |limit| usize::try_from(limit).unwrap_or(0))
        }
        _ => DEFAULT_LIMIT,
    }
}

/// When a session ended: statuses tell seconds, and of the same second the later fact is the newer.
type End = (Timestamp, u64);

/// Ended sessions of the same configuration, newest first.
fn ended(statuses: &Statuses, session: &Session) -> Vec<(End, ObjectKey)> {
    let Some(request) = &session.request else { return Vec::new() };
    let invoker = request.invoker.key();
    let names = |key: &&ObjectKey| {
        (key.kind, &key.group, &key.namespace) == (Kind::BackupSession, &invoker.group, &invoker.namespace)
    };
    let mut ended: Vec<_> = statuses
        .of_invoker(&invoker.name)
        .filter(names)
        .filter_map(|key| {
            let status: BackupSessionStatus = statuses.status(key);
            Some(((status.run.completion_time?, status.run.folded_sequence), key.clone()))
        })
        .collect();
    ended.sort_by(|a, b| b.cmp(a));
    ended
}

/// A session that ended so long ago that it left the history: its status is not written again after a restart.
pub(super) fn is_forgotten(context: &Context, statuses: &Statuses, session: &Session, key: &ObjectKey) -> bool {
    let Some(time) = session.last_time.filter(|_| session.phase.is_end() && key.kind == Kind::BackupSession) else {
        return false;
    };
    if statuses.has(key) {
        return false;
    }
    let limit = limit(context, session);
    let end = (seconds(time), session.last_sequence);
    let newer = ended(statuses, session).into_iter().filter(|(other, _)| *other > end).count();
    limit > 0 && newer >= limit
}

/// Whether somebody deleted the object that showed an ended session: then it does not come back after a restart, when the
/// log is read again. A status that stands says that it was not; else the API server knows.
pub(super) async fn was_deleted(context: &Context, statuses: &Statuses, session: &Session, key: &ObjectKey) -> Found {
    if !context.source().shows_sessions() || statuses.has(key) || !was_shown(session, Timestamp::now()) {
        return Found::No;
    }
    match context.source().confirms_deletion(key).await {
        Ok(deleted) => Found::when(deleted),
        Err(error) => {
            tracing::warn!(object = %key, error = chain(&error), "whether it is still there is not known yet");
            Found::Unknown
        }
    }
}

/// Whether there was an object that showed this ended session.
fn was_shown(session: &Session, now: Timestamp) -> bool {
    let Some(end) = session.last_time.filter(|_| session.phase.is_end()) else { return false };
    match session.request.as_ref().map(|request| &request.cause) {
        Some(Cause::Object { .. }) => true,
        // A reporter makes it, and may have died before it did.
        _ => now.duration_since(end).unsigned_abs() > SHOWN_WITHIN,
    }
}

/// Removes what is beyond the limit: the status, and the object if Lagan made it.
pub(super) async fn apply(context: &Context, statuses: &mut Statuses, hand: &Hand, session: &Session) {
    for (_, key) in ended(statuses, session).into_iter().skip(limit(context, session)) {
        if let Some(document) = statuses.document(&key) {
            hand.give(&key, || Job::delete(document.clone()));
        }
        if let Err(error) = context.source().forget_session(&key) {
            tracing::warn!(object = %key, error = chain(&error), "object of an old session can't be removed");
        }
        statuses.remove(context, &key).await;
    }
}

#[cfg(test)]
mod tests {
    use lagan_schemas::session::Phase;
    use lagan_schemas::subject::SessionKind;
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures::{at, story};

    fn entry(group: &str, name: &str, end: i64, sequence: u64) -> (ObjectKey, Value) {
        let key = ObjectKey {
            group: group.to_owned(),
            kind: Kind::BackupSession,
            namespace: Some("demo".to_owned()),
            name: name.to_owned(),
        };
        let session = session();
        let document = json!({
            "spec": { "invoker": { "name": session.key.invoker } },
            "status": { "phase": "Succeeded", "completionTime": at(end), "foldedSequence": sequence },
        });
        (key, document)
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
        let names: Vec<String> = ended(&statuses, &session()).into_iter().map(|(_, key)| key.name).collect();
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
