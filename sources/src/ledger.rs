//! The ledger of folder mode: the memory that must survive the loss of JetStream (P17), namely uids, ended sessions,
//! schedule marks and begun restores. Its lines are appended and fsynced under a file lock that all processes share.
//! It must not decide anything; callers supply the entries.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use lagan_schemas::resource::Kind;
use lagan_schemas::subject::ObjectKey;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::open_slot::OpenSlot;

const VERSION: u32 = 1;
const FILE: &str = "ledger.jsonl";

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

#[derive(Debug, Default)]
pub struct State {
    pub id: Option<Uuid>,
    pub objects: BTreeMap<ObjectKey, Identity>,
    pub marks: BTreeMap<Uuid, Timestamp>,
    /// By session.
    pub open: BTreeMap<Uuid, OpenSlot>,
    pub recorded: BTreeSet<Uuid>,
    /// Restores that may have written something.
    pub writing: BTreeSet<Uuid>,
    pub ended: BTreeMap<Uuid, String>,
    pub adopted: BTreeSet<Uuid>,
}

impl State {
    fn apply(&mut self, entry: LedgerEntry) {
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
                if writes_since.is_some() {
                    self.writing.insert(session);
                }
            }
            LedgerEntry::Ended { session, phase } => drop(self.ended.entry(session).or_insert(phase)),
            LedgerEntry::Adopted { identity } => drop(self.adopted.insert(identity)),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("ledger `{path}` can't be {action}")]
    Io {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "line {line} of ledger `{path}` can't be read; restore the file from a copy, or move it away and start without it"
    )]
    Line {
        path: PathBuf,
        line: usize,
        #[source]
        source: serde_json::Error,
    },
    #[error("ledger `{path}` has version {version}; this Lagan reads version {VERSION}")]
    Version { path: PathBuf, version: u32 },
}

#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    lock_path: PathBuf,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    state: State,
    offset: u64,
    lines: usize,
}

impl Ledger {
    /// Opens the ledger of a data directory that has one.
    pub fn find(data_dir: &Path) -> Result<Option<Self>, LedgerError> {
        if data_dir.join(FILE).exists() { Self::open(data_dir).map(Some) } else { Ok(None) }
    }

    /// Opens the ledger in a data directory, and creates it if it is missing.
    pub fn open(data_dir: &Path) -> Result<Self, LedgerError> {
        let ledger =
            Self { path: data_dir.join(FILE), lock_path: data_dir.join("ledger.lock"), memory: Mutex::default() };
        ledger.update(|state| {
            let begin = LedgerEntry::Ledger { version: VERSION, id: Uuid::new_v4() };
            (if state.id.is_none() { vec![begin] } else { Vec::new() }, ())
        })?;
        Ok(ledger)
    }

    /// Calls `look` with everything that any process has written so far.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> Result<R, LedgerError> {
        let mut memory = self.memory();
        self.refresh(&mut memory, Tail::MayBeHalf)?;
        Ok(look(&memory.state))
    }

    /// Appends the entries that `decide` returns. It sees everything that was written before, and no other process writes
    /// in between.
    pub fn update<R>(&self, decide: impl FnOnce(&State) -> (Vec<LedgerEntry>, R)) -> Result<R, LedgerError> {
        let mut memory = self.memory();
        let _lock = self.lock()?;
        self.refresh(&mut memory, Tail::IsCut)?;
        let (entries, result) = decide(&memory.state);
        if !entries.is_empty() {
            self.append(&entries)?;
            self.refresh(&mut memory, Tail::IsCut)?;
        }
        Ok(result)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn io(&self, action: &'static str) -> impl Fn(std::io::Error) -> LedgerError + '_ {
        move |source| LedgerError::Io { path: self.path.clone(), action, source }
    }

    fn lock(&self) -> Result<Flock<File>, LedgerError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.lock_path)
            .map_err(self.io("locked"))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| self.io("locked")(errno.into()))
    }

    fn append(&self, entries: &[LedgerEntry]) -> Result<(), LedgerError> {
        let mut text = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut text, entry).expect("entries are JSON");
            text.push(b'\n');
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path).map_err(self.io("opened"))?;
        file.write_all(&text).map_err(self.io("written"))?;
        file.sync_all().map_err(self.io("synced"))?;
        // The file's directory entry must survive a power cut too.
        let dir = self.path.parent().unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(self.io("synced"))
    }

    /// Reads the lines that were appended since the last call.
    fn refresh(&self, memory: &mut Memory, tail: Tail) -> Result<(), LedgerError> {
        let mut file = match OpenOptions::new().read(true).write(tail == Tail::IsCut).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.io("opened")(error)),
        };
        file.seek(SeekFrom::Start(memory.offset)).map_err(self.io("read"))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(self.io("read"))?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        for line in text[..whole].split_inclusive(|byte| *byte == b'\n') {
            memory.lines += 1;
            let entry: LedgerEntry = serde_json::from_slice(line).map_err(|source| LedgerError::Line {
                path: self.path.clone(),
                line: memory.lines,
                source,
            })?;
            if let LedgerEntry::Ledger { version, .. } = entry
                && version != VERSION
            {
                return Err(LedgerError::Version { path: self.path.clone(), version });
            }
            memory.state.apply(entry);
        }
        memory.offset += whole as u64;
        // Under the lock, half a line is the remains of a write that was never confirmed.
        if tail == Tail::IsCut && whole < text.len() {
            file.set_len(memory.offset).map_err(self.io("repaired"))?;
        }
        Ok(())
    }
}

/// The meaning of half a line at the end of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Another process may be writing it, so it is left alone.
    MayBeHalf,
    /// This process holds the lock, so it is the remains of a crash.
    IsCut,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn mark(uid: u128, second: i64) -> LedgerEntry {
        LedgerEntry::Mark { configuration: Uuid::from_u128(uid), slot: Timestamp::from_second(second).unwrap() }
    }

    #[test]
    fn processes_see_each_others_entries_and_a_mark_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (Ledger::open(dir.path()).unwrap(), Ledger::open(dir.path()).unwrap());
        a.update(|_| (vec![mark(1, 200)], ())).unwrap();
        b.update(|state| {
            assert_eq!(state.marks.len(), 1);
            (vec![mark(1, 100)], ())
        })
        .unwrap();
        assert_eq!(a.read(|s| s.marks[&Uuid::from_u128(1)].as_second()).unwrap(), 200);
        assert_eq!(a.read(|s| s.id).unwrap(), b.read(|s| s.id).unwrap());
    }

    #[test]
    fn the_rest_of_a_cut_write_is_dropped_and_what_was_whole_stays() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        ledger.update(|_| (vec![mark(1, 100)], ())).unwrap();
        let path = dir.path().join("ledger.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"mark\":{\"conf").unwrap();
        let again = Ledger::open(dir.path()).unwrap();
        again.update(|_| (vec![mark(1, 300)], ())).unwrap();
        assert_eq!(ledger.read(|s| s.marks[&Uuid::from_u128(1)].as_second()).unwrap(), 300);
    }

    #[test]
    fn a_line_that_is_no_entry_stops_everything_and_names_itself() {
        let dir = tempfile::tempdir().unwrap();
        Ledger::open(dir.path()).unwrap();
        let mut file = OpenOptions::new().append(true).open(dir.path().join("ledger.jsonl")).unwrap();
        file.write_all(b"rubbish\n").unwrap();
        assert!(matches!(Ledger::open(dir.path()), Err(LedgerError::Line { line: 2, .. })));
    }
}
