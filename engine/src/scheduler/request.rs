//! Requests of slots and of objects, and the append that makes one a session. It must not choose what is requested.

use jiff::Timestamp;
use lagan_bus::session_log::Writer;
use lagan_schemas::error::chain;
use lagan_schemas::fact::{Cause, Fact, Requested, Urgency};
use lagan_schemas::identity::slot_name;
use lagan_schemas::position::Position;
use lagan_schemas::resource::{Kind, Object, ObjectRef, Spec};
use lagan_schemas::session::{Author, Phase, Session};
use lagan_schemas::subject::{Cluster, SessionKey, SessionKind};
use uuid::Uuid;

use crate::outside::Outside;

const WRITER: Writer = Writer { author: Author::Scheduler, component: "scheduler" };

/// Requests the session `uid`, in the namespace and group of an object; true when it is requested, by this or by another scheduler.
pub(super) async fn request(
    outside: &impl Outside,
    of: &ObjectRef,
    uid: Uuid,
    (kind, invoker, request): (SessionKind, String, Requested),
) -> bool {
    let key = session_key(outside.cluster(), of, (kind, invoker), uid);
    if let Err(error) = key.check() {
        tracing::error!(object = %of.key(), %error, "session can't be named");
        return true;
    }
    let name = request.name.clone();
    let mut session = Session::new(key);
    let asked = Fact::Requested(request.into());
    match outside.append(&mut session, WRITER, asked.clone()).await {
        Ok(()) => {
            tracing::info!(session = name, uid = %uid, "session requested");
            true
        }
        Err(error) if error.is_conflict() => is_requested(outside, &mut session, asked).await,
        Err(error) => {
            tracing::warn!(session = name, error = chain(&error), "session could not be requested yet");
            false
        }
    }
}

/// The key of a session in the namespace and group of an object.
pub(super) fn session_key(
    cluster: &Cluster,
    of: &ObjectRef,
    (kind, invoker): (SessionKind, String),
    uid: Uuid,
) -> SessionKey {
    SessionKey {
        cluster: cluster.clone(),
        namespace: of.namespace.clone().unwrap_or_default(),
        kind,
        group: of.key_group().as_str().to_owned(),
        invoker,
        uid,
    }
}

/// Whether the log has the session. Garbage under its subject is none: the request is appended behind it.
async fn is_requested(outside: &impl Outside, session: &mut Session, asked: Fact) -> bool {
    match outside.read_session(&session.key).await {
        Ok(found) if found.phase == Phase::Nothing && found.last_sequence > 0 && !found.foreign => {
            *session = found;
            outside.append(session, WRITER, asked).await.is_ok()
        }
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(uid = %session.key.uid, error = chain(&error), "it is not known yet whether the session is requested");
            false
        }
    }
}

pub(super) fn slot_request(invoker: ObjectRef, slot: Timestamp, missed: u32, position: Position) -> Requested {
    Requested {
        name: slot_name(&invoker.name, slot),
        invoker,
        cause: Cause::Slot { slot, missed },
        resources_position: position,
        priority: Urgency::Normal,
    }
}

/// Kind, invoker's name and request of a session object.
pub(super) fn object_request(object: &Object, position: Position) -> Option<(SessionKind, String, Requested)> {
    let (kind, invoker) = match &object.spec {
        Spec::BackupSession(spec) => {
            let invoker = ObjectRef {
                api_version: object.api_version.clone(),
                kind: Kind::BackupConfiguration,
                namespace: object.metadata.namespace.clone(),
                name: spec.invoker.name.clone(),
                uid: None,
                generation: 0,
            };
            (SessionKind::Backup, invoker)
        }
        Spec::RestoreSession(_) => (SessionKind::Restore, object.reference()),
        Spec::Repository(_) if object.wants_wipe() => (SessionKind::Maintenance, object.reference()),
        _ => return None,
    };
    let name = invoker.name.clone();
    let (shown, priority) = match kind {
        SessionKind::Maintenance => (format!("{name}-wipe-out"), Urgency::Normal),
        _ => (object.metadata.name.clone(), Urgency::Urgent),
    };
    let request = Requested {
        name: shown,
        invoker,
        cause: Cause::Object { object: object.reference() },
        resources_position: position,
        priority,
    };
    Some((kind, name, request))
}
