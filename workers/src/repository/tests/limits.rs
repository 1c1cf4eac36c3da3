//! Files that would cost a worker its memory or its time.

use std::fs;
use std::time::{Duration, Instant};

use rustic_core::FileType;
use serde_json::json;

use super::*;
use crate::repository::cipher::{OpenError, hash};
use crate::repository::{ExpectedSnapshot, StoreErrorKind};

/// Puts a file with compressed content into a folder, as the owner of the password can.
fn plant(fixture: &Fixture, repository: &Repository, folder: &str, content: &[u8]) {
    let sealed = repository.cipher.seal_file(content, Some(1)).unwrap();
    assert!(sealed.len() < 1 << 20);
    fs::write(fixture.root().join(folder).join(&*hash(&sealed).to_hex()), sealed).unwrap();
}

fn bomb(length: usize) -> Vec<u8> {
    let mut json = b"{\"time\": \"".to_vec();
    json.resize(length, b'0');
    json
}

#[test]
fn content_that_unpacks_beyond_the_limit_of_its_kind_is_not_unpacked() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let sealed = repository.cipher.seal_file(&bomb(9 << 20), Some(1)).unwrap();
    let opened = repository.cipher.open_file(FileType::Snapshot, &sealed);
    assert_eq!(opened, Err(OpenError::TooLong { limit: 8 << 20 }));
    assert!(repository.cipher.open_file(FileType::Index, &sealed).is_ok());
}

#[test]
fn a_snapshot_that_unpacks_beyond_its_limit_is_damaged_and_hides_no_other() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    store(&repository, b"good");
    plant(&fixture, &repository, "snapshots", &bomb(9 << 20));
    let listed = repository.snapshots().unwrap();
    assert_eq!((listed.snapshots.len(), listed.damaged.len()), (1, 1));
    assert!(listed.damaged[0].why.contains("longer than"), "{:?}", listed.damaged);
}

#[test]
fn an_index_that_unpacks_beyond_its_limit_is_an_error_of_every_operation() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let written = store(&repository, b"good");
    plant(&fixture, &repository, "index", &bomb(65 << 20));
    assert!(repository.verify(&written.snapshot_id, ExpectedSnapshot::default()).is_err());
    assert!(repository.read(&written.snapshot_id, "/dumpfile.sql").is_err());
    let input = Box::new(Cursor::new(b"more".to_vec()));
    let error = repository.backup(&request("/dumpfile.sql"), input, &Willing::default()).unwrap_err();
    assert!(matches!(&error, Error::Storage(error) if error.kind == StoreErrorKind::TooLarge), "{error:?}");
}

#[test]
fn a_file_that_is_too_large_in_the_storage_is_not_read() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    store(&repository, b"good");
    let name = "1".repeat(64);
    fs::File::create(fixture.root().join("snapshots").join(&name)).unwrap().set_len(4 << 30).unwrap();
    // Its length does not fit a file of restic at all.
    assert!(repository.snapshots().is_err());
    fs::File::options()
        .write(true)
        .open(fixture.root().join("snapshots").join(&name))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let listed = repository.snapshots().unwrap();
    assert_eq!((listed.snapshots.len(), listed.damaged.len()), (1, 1));
}

#[test]
fn a_file_under_the_name_of_another_is_damaged() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let (one, two) = (store(&repository, b"one"), store(&repository, b"two"));
    let path = |id: &str| fixture.root().join("snapshots").join(id);
    fs::copy(path(&one.snapshot_id), path(&two.snapshot_id)).unwrap();
    let listed = repository.snapshots().unwrap();
    assert_eq!(listed.damaged.iter().map(|one| &one.id).collect::<Vec<_>>(), [&two.snapshot_id]);
}

/// A key file that asks for a cost.
fn key(n: u64, r: u64, p: u64) -> Vec<u8> {
    let key = json!({"kdf": "scrypt", "N": n, "r": r, "p": p, "data": "AAAA", "salt": "AAAA", "hostname": "h", "username": "u"});
    serde_json::to_vec(&key).unwrap()
}

#[test]
fn keys_that_cost_too_much_are_skipped_and_told() {
    for (n, r, p) in [(1 << 21, 8, 1), (1 << 15, 8, 1 << 20), (1 << 4, 1 << 30, 1), (1 << 15, 8, u64::from(u32::MAX))] {
        let fixture = Fixture::new();
        fixture.init();
        let [own] = fixture.files("keys").try_into().unwrap();
        // It is tried first.
        fs::write(fixture.root().join("keys").join("0".repeat(64)), key(n, r, p)).unwrap();
        let began = Instant::now();
        fixture.open(PASSWORD).unwrap();
        fs::remove_file(own).unwrap();
        let error = fixture.open(PASSWORD).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{n} {r} {p}");
    }
}

#[test]
fn thousands_of_keys_do_not_hold_a_session() {
    let fixture = Fixture::new();
    fixture.init();
    for number in 0..3000 {
        fs::write(fixture.root().join("keys").join(format!("{number:064x}")), key(1 << 12, 8, 1)).unwrap();
    }
    let began = Instant::now();
    let error = fixture.open("another").unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(60));
}
