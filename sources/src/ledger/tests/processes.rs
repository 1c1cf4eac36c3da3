//! Several processes at one ledger, one of them of an earlier version, and crashes between the steps of a compaction.

use std::io::BufRead as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Reads and appends as version 1 does. It remembers how far it has read and never looks whether the file was replaced.
struct EarlierProcess<'a> {
    dir: &'a Path,
    read: u64,
}

impl<'a> EarlierProcess<'a> {
    fn new(dir: &'a Path) -> Self {
        Self { dir, read: 0 }
    }

    /// Appends one line; false if the ledger is not of version 1.
    fn append(&mut self, entry: &LedgerEntry) -> bool {
        let lock = File::create(self.dir.join("ledger.lock")).unwrap();
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno).unwrap();
        let path = self.dir.join(EARLIER_FILE);
        if let Ok(mut file) = File::open(&path) {
            file.seek(SeekFrom::Start(self.read)).unwrap();
            for line in std::io::BufReader::new(file).lines() {
                let line = line.unwrap();
                let entry: LedgerEntry = serde_json::from_str(&line).unwrap();
                if matches!(entry, LedgerEntry::Ledger { version, .. } if version != 1) {
                    return false;
                }
                self.read += u64::try_from(line.len()).unwrap() + 1;
            }
        }
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(&text(std::slice::from_ref(entry))).unwrap();
        true
    }
}

fn begin() -> LedgerEntry {
    LedgerEntry::Ledger { version: 1, id: Uuid::from_u128(77) }
}

fn earlier_ledger(dir: &Path) -> EarlierProcess<'_> {
    let mut process = EarlierProcess::new(dir);
    for entry in [begin(), object(Kind::BackupConfiguration, 1), mark(1, 100)] {
        assert!(process.append(&entry));
    }
    process
}

#[test]
fn the_ledger_of_an_earlier_version_is_taken_over_with_its_last_line_and_its_processes_are_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut earlier = earlier_ledger(dir.path());
    let looking = Ledger::find(dir.path()).unwrap().unwrap();
    assert_eq!(second_of(&looking, 1), 100);
    assert!(earlier.append(&mark(1, 200)), "a command that looks stops nobody");
    write(&looking, vec![LedgerEntry::Adopted { identity: Uuid::from_u128(9) }]);
    let ledger = Ledger::open(dir.path()).unwrap();
    assert!(!earlier.append(&mark(1, 300)));
    assert!(!EarlierProcess::new(dir.path()).append(&mark(1, 300)), "one that is started later is stopped too");
    for ledger in [&ledger, &looking] {
        assert_eq!(second_of(ledger, 1), 200);
        assert_eq!(ledger.read(|state| (state.id, state.adopted.len())).unwrap(), (Some(Uuid::from_u128(77)), 1));
    }
    write(&looking, vec![mark(1, 400)]);
    assert_eq!(second_of(&ledger, 1), 400);
}

#[test]
fn a_new_ledger_is_none_for_an_earlier_version() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Ledger::find(dir.path()).unwrap().is_none());
    let ledger = Ledger::open(dir.path()).unwrap();
    assert!(!EarlierProcess::new(dir.path()).append(&mark(1, 300)));
    let found = Ledger::find(dir.path()).unwrap().unwrap();
    assert!(ledger.read(|state| state.id).unwrap().is_some());
    assert_eq!(ledger.read(|state| state.id).unwrap(), found.read(|state| state.id).unwrap());
}

#[test]
fn a_crash_between_the_steps_of_a_takeover_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut earlier = earlier_ledger(dir.path());
    // Before the new file has its name: the earlier one is closed, and half of the new one is written.
    let at = Ledger::at(dir.path());
    at.append(&at.earlier, &[LedgerEntry::Ledger { version: VERSION, id: Uuid::from_u128(77) }]).unwrap();
    std::fs::write(dir.path().join("ledger-2.jsonl.new"), "{\"ledger\":{\"version\":2,\"id\"").unwrap();
    assert!(!earlier.append(&mark(1, 300)));
    assert_eq!(second_of(&Ledger::find(dir.path()).unwrap().unwrap(), 1), 100);
    let ledger = Ledger::open(dir.path()).unwrap();
    write(&ledger, vec![mark(1, 400)]);
    assert_eq!(ledger.read(|state| state.id).unwrap(), Some(Uuid::from_u128(77)));
    assert_eq!(second_of(&Ledger::open(dir.path()).unwrap(), 1), 400);
}

#[test]
fn a_crash_before_a_compacted_ledger_has_its_name_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    write(&ledger, vec![object(Kind::BackupConfiguration, 1), mark(1, 100)]);
    let stale = std::fs::read(&ledger.path).unwrap();
    write(&ledger, vec![mark(1, 200)]);
    std::fs::write(dir.path().join("ledger-2.jsonl.new"), stale).unwrap();
    let again = Ledger::open(dir.path()).unwrap();
    assert_eq!(second_of(&again, 1), 200);
    compact(&again);
    assert_eq!(second_of(&ledger, 1), 200);
    assert_eq!(second_of(&Ledger::open(dir.path()).unwrap(), 1), 200);
}

#[test]
fn a_ledger_that_can_not_be_compacted_still_takes_lines() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    // Nothing can be written under the name of the new file.
    std::fs::create_dir(dir.path().join("ledger-2.jsonl.new")).unwrap();
    write(
        &ledger,
        std::iter::once(object(Kind::BackupConfiguration, 1)).chain((0..3000).map(|n| mark(1, n))).collect(),
    );
    write(&ledger, vec![mark(1, 5000)]);
    assert_eq!(second_of(&ledger, 1), 5000);
    assert!(ledger.memory().lines > 3000);
    std::fs::remove_dir(dir.path().join("ledger-2.jsonl.new")).unwrap();
    write(&ledger, (0..SLACK).map(|_| mark(1, 6000)).collect());
    assert_eq!(ledger.memory().lines, 3);
}

#[test]
fn a_ledger_that_has_vanished_does_not_give_way_to_the_earlier_one() {
    let dir = tempfile::tempdir().unwrap();
    earlier_ledger(dir.path());
    let ledger = Ledger::open(dir.path()).unwrap();
    std::fs::remove_file(&ledger.path).unwrap();
    assert!(matches!(ledger.read(|_| ()), Err(LedgerError::Io { action: "opened", .. })));
    assert!(ledger.update(|_| (vec![mark(1, 1)], ())).is_err());
}

#[test]
fn lines_that_one_process_appends_while_another_compacts_are_all_kept() {
    const LINES: i64 = 60;
    let dir = tempfile::tempdir().unwrap();
    let first = Ledger::open(dir.path()).unwrap();
    write(&first, (1..=3).map(|uid| object(Kind::BackupConfiguration, uid)).collect());
    write(&first, (1..=3).map(|uid| mark(uid, 0)).collect());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let compacting = scope.spawn(|| {
            let ledger = Ledger::open(dir.path()).unwrap();
            let mut times = 0;
            while !done.load(Ordering::Relaxed) {
                compact(&ledger);
                times += 1;
            }
            times
        });
        let reading = scope.spawn(|| {
            let (ledger, mut last) = (Ledger::open(dir.path()).unwrap(), 0);
            while !done.load(Ordering::Relaxed) {
                let found = second_of(&ledger, 1);
                assert!(found >= last, "{found} after {last}");
                last = found;
            }
        });
        let appending: Vec<_> = (1..=3_u128)
            .map(|uid| {
                let ledger = Ledger::open(dir.path()).unwrap();
                scope.spawn(move || {
                    for second in 1..=LINES {
                        let own = Uuid::from_u128(uid);
                        ledger
                            .update(|state| {
                                assert_eq!(state.marks[&own].as_second(), second - 1);
                                let session = 1000 * uid + u128::try_from(second).unwrap();
                                (vec![mark(uid, second), opened(session)], ())
                            })
                            .unwrap();
                    }
                })
            })
            .collect();
        let ends: Vec<_> = appending.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        for end in ends {
            end.unwrap();
        }
        reading.join().unwrap();
        assert!(compacting.join().unwrap() > 1);
    });
    let open = first.read(|state| state.open.len()).unwrap();
    assert_eq!(open, 3 * usize::try_from(LINES).unwrap());
    assert!((1..=3).all(|uid| second_of(&first, uid) == LINES));
}
