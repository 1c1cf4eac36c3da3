#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod processes;

use jiff::Timestamp;
use lagan_schemas::resource::{Kind, ObjectRef};
use lagan_schemas::subject::ObjectKey;

use super::state::DELETED_BACKUPS;
use super::*;
use crate::open_slot::OpenSlot;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn mark(uid: u128, second: i64) -> LedgerEntry {
    LedgerEntry::Mark { configuration: Uuid::from_u128(uid), slot: at(second) }
}

fn key(kind: Kind, uid: u128) -> ObjectKey {
    ObjectKey { group: "lagan.dev".to_owned(), kind, namespace: Some("demo".to_owned()), name: format!("n{uid}") }
}

/// The line of an object. Its uid is also its age.
fn object(kind: Kind, uid: u128) -> LedgerEntry {
    let created = at(i64::try_from(uid).unwrap());
    let identity = Identity { uid: Uuid::from_u128(uid), generation: 1, content: Uuid::nil(), created, deleted: false };
    LedgerEntry::Object { key: key(kind, uid), identity }
}

fn deleted(kind: Kind, uid: u128) -> LedgerEntry {
    LedgerEntry::Deleted { key: key(kind, uid) }
}

fn ended(uid: u128) -> LedgerEntry {
    LedgerEntry::Ended { session: Uuid::from_u128(uid), phase: "Succeeded".to_owned() }
}

fn recorded(uid: u128, writes_since: Option<i64>) -> LedgerEntry {
    LedgerEntry::Recorded { session: Uuid::from_u128(uid), writes_since: writes_since.map(at) }
}

fn opened(session: u128) -> LedgerEntry {
    let invoker = ObjectRef {
        api_version: "lagan.dev/v1alpha1".to_owned(),
        kind: Kind::BackupConfiguration,
        namespace: Some("demo".to_owned()),
        name: "shop".to_owned(),
        uid: Some(Uuid::from_u128(1)),
        generation: 1,
    };
    LedgerEntry::Opened(OpenSlot { session: Uuid::from_u128(session), slot: at(5), invoker })
}

fn closed(session: u128) -> LedgerEntry {
    LedgerEntry::Closed { session: Uuid::from_u128(session) }
}

fn state_of(entries: impl IntoIterator<Item = LedgerEntry>) -> State {
    let mut state = State::default();
    for entry in entries {
        state.apply(entry);
    }
    state
}

fn write(ledger: &Ledger, entries: Vec<LedgerEntry>) {
    ledger.update(|_| (entries, ())).unwrap();
}

/// Rewrites the ledger, however little of it is outdated.
fn compact(ledger: &Ledger) {
    let mut memory = ledger.memory();
    let _lock = ledger.lock().unwrap();
    ledger.refresh(&mut memory, Tail::IsCut).unwrap();
    ledger.replace(&memory.state.needed(), memory.state.id.unwrap()).unwrap();
}

fn size(ledger: &Ledger) -> u64 {
    std::fs::metadata(&ledger.path).unwrap().len()
}

fn second_of(ledger: &Ledger, uid: u128) -> i64 {
    ledger.read(|state| state.marks[&Uuid::from_u128(uid)].as_second()).unwrap()
}

#[test]
fn processes_see_each_others_entries_and_a_mark_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Ledger::open(dir.path()).unwrap(), Ledger::open(dir.path()).unwrap());
    write(&a, vec![mark(1, 200)]);
    b.update(|state| {
        assert_eq!(state.marks.len(), 1);
        (vec![mark(1, 100)], ())
    })
    .unwrap();
    assert_eq!(second_of(&a, 1), 200);
    assert_eq!(a.read(|s| s.id).unwrap(), b.read(|s| s.id).unwrap());
}

#[test]
fn the_rest_of_a_cut_write_is_dropped_and_what_was_whole_stays() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    write(&ledger, vec![object(Kind::BackupConfiguration, 1), mark(1, 100)]);
    let mut file = OpenOptions::new().append(true).open(&ledger.path).unwrap();
    file.write_all(b"{\"mark\":{\"conf").unwrap();
    assert_eq!(second_of(&ledger, 1), 100, "another process may be writing this line");
    let again = Ledger::open(dir.path()).unwrap();
    write(&again, vec![mark(1, 300)]);
    assert_eq!(second_of(&ledger, 1), 300);
    file.write_all(b"{\"mark\":{\"conf").unwrap();
    compact(&again);
    assert_eq!(second_of(&ledger, 1), 300);
    assert!(std::fs::read_to_string(&ledger.path).unwrap().ends_with("}\n"));
}

#[test]
fn a_line_that_is_no_entry_stops_everything_and_names_itself() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let mut file = OpenOptions::new().append(true).open(&ledger.path).unwrap();
    file.write_all(b"rubbish\n").unwrap();
    assert!(matches!(Ledger::open(dir.path()), Err(LedgerError::Line { line: 2, .. })));
    for _ in 0..2 {
        assert!(matches!(ledger.read(|_| ()), Err(LedgerError::Line { line: 2, .. })));
    }
}

#[test]
fn a_ledger_of_a_later_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    write(&ledger, vec![LedgerEntry::Ledger { version: VERSION, id: Uuid::nil() }]);
    let later = LedgerEntry::Ledger { version: VERSION + 1, id: Uuid::nil() };
    ledger.append(&ledger.path, &[later]).unwrap();
    let refused = |result: Result<(), LedgerError>| matches!(result, Err(LedgerError::Version { version: 3, .. }));
    assert!(refused(ledger.read(|_| ())));
    assert!(refused(ledger.update(|_| (vec![mark(1, 1)], ()))));
    assert!(refused(Ledger::open(dir.path()).map(drop)));
}

#[test]
fn everything_that_is_needed_is_kept() {
    let needed = [
        object(Kind::BackupConfiguration, 1),
        mark(1, 100),
        opened(50),
        object(Kind::BackupSession, 2),
        ended(2),
        object(Kind::RestoreSession, 3),
        recorded(3, None),
        object(Kind::RestoreSession, 4),
        recorded(4, None),
        recorded(4, Some(7)),
        ended(4),
        deleted(Kind::RestoreSession, 4),
        object(Kind::BackupSession, 5),
        ended(5),
        deleted(Kind::BackupSession, 5),
        LedgerEntry::Adopted { identity: Uuid::from_u128(9) },
    ];
    let outdated = [
        object(Kind::BackupConfiguration, 6),
        mark(6, 100),
        deleted(Kind::BackupConfiguration, 6),
        opened(51),
        closed(51),
        ended(99),
        recorded(99, Some(1)),
        mark(1, 90),
    ];
    let state = state_of(needed.clone().into_iter().chain(outdated));
    assert_eq!(state_of(state.needed()), state_of(needed));
    assert_eq!(state_of(state.needed()).needed(), state.needed());
}

#[test]
fn of_deleted_backups_the_newest_are_remembered_and_all_restores() {
    let count = u128::try_from(DELETED_BACKUPS).unwrap() + 10;
    let asked = (1..=count).flat_map(|uid| {
        [Kind::BackupSession, Kind::RestoreSession]
            .into_iter()
            .flat_map(move |kind| [object(kind, uid), ended(uid), deleted(kind, uid)])
    });
    let left = state_of(state_of(asked).needed());
    let of = |kind: Kind| left.objects.keys().filter(move |key| key.kind == kind).count();
    assert_eq!((of(Kind::BackupSession), of(Kind::RestoreSession)), (DELETED_BACKUPS, DELETED_BACKUPS + 10));
    let is_known = |uid| left.objects.contains_key(&key(Kind::BackupSession, uid));
    assert!(!is_known(10) && is_known(11) && is_known(count));
}

#[test]
fn ten_thousand_sessions_leave_a_ledger_of_bounded_size() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, reader) = (Ledger::open(dir.path()).unwrap(), Ledger::open(dir.path()).unwrap());
    write(&ledger, vec![object(Kind::BackupConfiguration, 1)]);
    let mut sizes = Vec::new();
    for hundred in 0..100 {
        let sessions = (hundred * 100 + 10)..(hundred * 100 + 110);
        let lines = sessions.clone().flat_map(|uid| {
            let slot = [opened(uid), mark(1, i64::try_from(uid).unwrap())];
            let by_hand = [object(Kind::BackupSession, uid), ended(uid)];
            slot.into_iter().chain(by_hand)
        });
        write(&ledger, lines.collect());
        write(&ledger, sessions.flat_map(|uid| [closed(uid), deleted(Kind::BackupSession, uid)]).collect());
        assert_eq!(second_of(&reader, 1), i64::try_from(hundred * 100 + 109).unwrap());
        sizes.push(size(&ledger));
    }
    let (first, last) = (sizes[..50].iter().max().unwrap(), sizes[50..].iter().max().unwrap());
    assert!(*last < first + first / 10, "{sizes:?}");
    assert!(*last < 2_000_000, "{sizes:?}");
    let lines = std::fs::read_to_string(&ledger.path).unwrap().lines().count();
    assert!(lines <= 2 * (2 * DELETED_BACKUPS + 2) + SLACK + 400, "{lines} lines");
    let known = ledger.read(|state| (state.objects.len(), state.open.len(), state.marks.len())).unwrap();
    let again = Ledger::open(dir.path()).unwrap();
    assert_eq!(again.read(|state| (state.objects.len(), state.open.len(), state.marks.len())).unwrap(), known);
}
