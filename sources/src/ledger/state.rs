//! The lines of a ledger, what they say together, and which of them are still needed. It must not touch files.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lagan_schemas::resource::Kind;
use lagan_schemas::subject::ObjectKey;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::open_slot::OpenSlot;

/// Number of deleted BackupSessions that are remembered. An older one that reappears is a new one: it makes one more backup.
pub(super) const DELETED_BACKUPS: usize = 1000;

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LedgerEntry {
    /// First line of every ledger.
    Ledger {
        version: u32,
        id: Uuid,
    },
    Object {
        key: ObjectKey,
        identity: Identity,
    },
    Deleted {
        key: ObjectKey,
    },
    /// The latest slot of a configuration that was decided.
    Mark {
        configuration: Uuid,
        slot: Timestamp,
    },
    /// The session of a slot is requested.
    Opened(OpenSlot),
    /// The session of a slot has ended.
    Closed {
        session: Uuid,
    },
    /// A restore may begin. It is written before `planned`, so that the restore is never begun again, and once more with a
    /// time before its first byte.
    Recorded {
        session: Uuid,
        #[serde(rename = "writesSince", default, skip_serializing_if = "Option::is_none")]
        writes_since: Option<Timestamp>,
    },
    Ended {
        session: Uuid,
        phase: String,
    },
    /// The identity of a lost cluster, whose snapshots count as this one's from now on.
    Adopted {
        identity: Uuid,
    },
}

/// Properties of an object that its manifest does not carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    pub uid: Uuid,
    /// Number of changes of the content.
    pub generation: i64,
    /// UUIDv5 of the content.
    pub content: Uuid,
    pub created: Timestamp,
    #[serde(default)]
    pub deleted: bool,
}

#[derive(Debug, Default, PartialEq)]
pub struct State {
    pub id: Option<Uuid>,
    pub objects: BTreeMap<ObjectKey, Identity>,
    pub marks: BTreeMap<Uuid, Timestamp>,
    /// By session.
    pub open: BTreeMap<Uuid, OpenSlot>,
    pub recorded: BTreeSet<Uuid>,
    /// Restores that may have written something, with the time since then.
    pub writing: BTreeMap<Uuid, Timestamp>,
    pub ended: BTreeMap<Uuid, String>,
    pub adopted: BTreeSet<Uuid>,
}

impl State {
    pub(super) fn apply(&mut self, entry: LedgerEntry) {
        match entry {
            LedgerEntry::Ledger { id, .. } => self.id = Some(id),
            LedgerEntry::Object { key, identity } => drop(self.objects.insert(key, identity)),
            LedgerEntry::Deleted { key } => match key.kind {
                // A deleted session that reappears with the same name and content is the same session.
                Kind::BackupSession | Kind::RestoreSession => {
                    if let Some(identity) = self.objects.get_mut(&key) {
                        identity.deleted = true;
                    }
                }
                _ => drop(self.objects.remove(&key)),
            },
            LedgerEntry::Mark { configuration, slot } => {
                let mark = self.marks.entry(configuration).or_insert(slot);
                *mark = slot.max(*mark);
            }
            LedgerEntry::Opened(slot) => drop(self.open.insert(slot.session, slot)),
            LedgerEntry::Closed { session } => drop(self.open.remove(&session)),
            LedgerEntry::Recorded { session, writes_since } => {
                self.recorded.insert(session);
                if let Some(since) = writes_since {
                    self.writing.entry(session).or_insert(since);
                }
            }
            LedgerEntry::Ended { session, phase } => drop(self.ended.entry(session).or_insert(phase)),
            LedgerEntry::Adopted { identity } => drop(self.adopted.insert(identity)),
        }
    }
    /// Lists the lines that say what is still needed, without the first of the file. Sessions of objects that can't come
    /// back, and slots of configurations that are gone, are asked for by nobody. A deleted restore is remembered for ever,
    /// because it would overwrite data if it came back and ran again.
    pub(super) fn needed(&self) -> Vec<LedgerEntry> {
        let objects = self.remembered_objects();
        let uids: BTreeSet<Uuid> = objects.values().map(|identity| identity.uid).collect();
        let of_objects = |session: &Uuid| uids.contains(session);
        let marks = self.marks.iter().filter(|(configuration, _)| of_objects(configuration));
        let recorded = self.recorded.iter().filter(|session| of_objects(session));
        let ended = self.ended.iter().filter(|(session, _)| of_objects(session));
        let objects = objects.into_iter().map(|(key, identity)| LedgerEntry::Object { key: key.clone(), identity });
        objects
            .chain(marks.map(|(&configuration, &slot)| LedgerEntry::Mark { configuration, slot }))
            .chain(self.open.values().cloned().map(LedgerEntry::Opened))
            .chain(recorded.map(|&session| {
                let writes_since = self.writing.get(&session).copied();
                LedgerEntry::Recorded { session, writes_since }
            }))
            .chain(ended.map(|(&session, phase)| LedgerEntry::Ended { session, phase: phase.clone() }))
            .chain(self.adopted.iter().map(|&identity| LedgerEntry::Adopted { identity }))
            .collect()
    }

    fn remembered_objects(&self) -> BTreeMap<&ObjectKey, Identity> {
        let is_deleted_backup =
            |key: &ObjectKey, identity: &Identity| identity.deleted && key.kind == Kind::BackupSession;
        let mut deleted: Vec<_> =
            self.objects.iter().filter(|(key, identity)| is_deleted_backup(key, identity)).collect();
        deleted.sort_by_key(|(_, identity)| std::cmp::Reverse(identity.created));
        let forgotten: BTreeSet<&ObjectKey> = deleted.into_iter().skip(DELETED_BACKUPS).map(|(key, _)| key).collect();
        let kept = self.objects.iter().filter(|(key, _)| !forgotten.contains(key));
        kept.map(|(key, identity)| (key, *identity)).collect()
    }
}
