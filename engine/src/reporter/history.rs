//! `backupHistoryLimit`: how many ended sessions of a configuration stay in view. Facts stay as long as their
//! stream keeps them; running sessions are never touched.

use jiff::Timestamp;
use lagan_schemas::resource::backup_session::BackupSessionStatus;
use lagan_schemas::resource::{Kind, Spec};
use lagan_schemas::session::Session;
use lagan_schemas::subject::ObjectKey;
use lagan_sources::Source;
use lagan_sources::folder::object_file;
use lagan_sources::source::Local;

use super::apply::{Hand, Job};
use super::statuses::Statuses;
use crate::context::Context;

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

/// Ended sessions of the same configuration, newest first.
fn ended(statuses: &Statuses, session: &Session) -> Vec<(Timestamp, ObjectKey)> {
    let mut ended: Vec<_> = statuses
        .keys()
        .filter(|key| key.kind == Kind::BackupSession && key.namespace.as_ref() == Some(&session.key.namespace))
        .filter(|key| {
            let document = statuses.document(key);
            document.is_some_and(|d| d["spec"]["invoker"]["name"].as_str() == Some(session.key.invoker.as_str()))
        })
        .filter_map(|key| {
            let status: BackupSessionStatus = statuses.status(key);
            Some((status.run.completion_time?, key.clone()))
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
    if statuses.document(key).is_some() {
        return false;
    }
    let limit = limit(context, session);
    let newer = ended(statuses, session).into_iter().filter(|(other, _)| *other > time).count();
    limit > 0 && newer >= limit
}

/// Removes what is beyond the limit: the status, and the object if Lagan made it.
pub(super) async fn apply(context: &Context, statuses: &mut Statuses, hand: &Hand, session: &Session) {
    for (_, key) in ended(statuses, session).into_iter().skip(limit(context, session)) {
        match context.source() {
            Source::Folder(local) => remove_file(local, &key),
            Source::Kubernetes(_) => {
                let document = statuses.document(&key).cloned().unwrap_or_default();
                hand.give(&key, || Job::delete(document));
            }
        }
        statuses.remove(context, &key).await;
    }
}

fn remove_file(local: &Local, key: &ObjectKey) {
    let file = object_file(key.kind, key.namespace.as_deref().unwrap_or_default(), &key.name);
    let path = local.objects.join(file);
    if let Err(error) = std::fs::remove_file(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "object of an old session can't be removed");
    }
}
