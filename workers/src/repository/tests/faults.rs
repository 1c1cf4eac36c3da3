//! Files that vanish, shrink or change after they were written.

use std::fs;
use std::path::Path;

use rustic_core::FileType;

use super::*;
use crate::repository::ExpectedSnapshot;
use crate::repository::cipher::hash;

/// A repository with one snapshot over several packs.
fn one_snapshot() -> (Fixture, Repository, WrittenSnapshot) {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let written = store(&repository, &noise(40 << 20, 9));
    (fixture, repository, written)
}

fn data_pack(fixture: &Fixture) -> std::path::PathBuf {
    fixture.files("data").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

fn refused(repository: &Repository, written: &WrittenSnapshot) {
    let error = repository.verify(&written.snapshot_id, ExpectedSnapshot { bytes: Some(written.bytes) }).unwrap_err();
    assert!(matches!(error, Error::ReadBack { .. }), "{error:?}");
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(path).unwrap();
    change(&mut content);
    fs::write(path, content).unwrap();
}

#[test]
fn a_missing_pack_does_not_read_back() {
    let (fixture, repository, written) = one_snapshot();
    fs::remove_file(data_pack(&fixture)).unwrap();
    refused(&repository, &written);
    assert!(read_all(&repository, &written.snapshot_id).is_err());
}

#[test]
fn a_truncated_pack_does_not_read_back() {
    let (fixture, repository, written) = one_snapshot();
    change(&data_pack(&fixture), |content| content.truncate(content.len() - 1));
    refused(&repository, &written);
}

#[test]
fn changed_bytes_do_not_read_back() {
    let (fixture, repository, written) = one_snapshot();
    for pack in fixture.files("data") {
        change(&pack, |content| content[100] ^= 1);
    }
    refused(&repository, &written);
}

#[test]
fn a_changed_blob_is_an_error_of_the_restore() {
    let (fixture, repository, written) = one_snapshot();
    change(&data_pack(&fixture), |content| content[1000] ^= 1);
    let error = read_all(&repository, &written.snapshot_id).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error:?}");
}

#[test]
fn an_index_that_is_gone_does_not_read_back() {
    let (fixture, repository, written) = one_snapshot();
    for index in fixture.files("index") {
        fs::remove_file(index).unwrap();
    }
    refused(&repository, &written);
}

#[test]
fn packs_that_a_prune_has_marked_do_not_read_back_but_restore() {
    let (fixture, repository, written) = one_snapshot();
    let [path] = fixture.files("index").try_into().unwrap();
    let mut index: serde_json::Value =
        serde_json::from_slice(&repository.cipher.open_file(FileType::Index, &fs::read(&path).unwrap()).unwrap())
            .unwrap();
    index["packs_to_delete"] = index["packs"].take();
    index["packs"] = serde_json::json!([]);
    let sealed = repository.cipher.seal_file(&serde_json::to_vec(&index).unwrap(), Some(1)).unwrap();
    fs::remove_file(path).unwrap();
    fs::write(fixture.root().join("index").join(&*hash(&sealed).to_hex()), sealed).unwrap();

    let error = repository.verify(&written.snapshot_id, ExpectedSnapshot::default()).unwrap_err();
    assert!(matches!(&error, Error::ReadBack { detail, .. } if detail.contains("marked")), "{error:?}");
    read_all(&repository, &written.snapshot_id).unwrap();
}

#[test]
fn another_length_does_not_read_back() {
    let (_place, repository, written) = one_snapshot();
    let error =
        repository.verify(&written.snapshot_id, ExpectedSnapshot { bytes: Some(written.bytes - 1) }).unwrap_err();
    assert!(matches!(error, Error::ReadBack { .. }), "{error:?}");
    repository.verify(&written.snapshot_id, ExpectedSnapshot::default()).unwrap();
}

#[test]
fn a_snapshot_that_is_not_there_is_told_from_one_that_is_damaged() {
    let (_place, repository, written) = one_snapshot();
    repository.remove(&[&written.snapshot_id]).unwrap();
    let error = repository.verify(&written.snapshot_id, ExpectedSnapshot::default()).unwrap_err();
    assert!(matches!(error, Error::SnapshotNotFound { .. }), "{error:?}");
    repository.remove(&[&written.snapshot_id]).unwrap();
}

#[test]
fn one_damaged_snapshot_hides_none_of_the_others() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let damaged = store(&repository, b"one");
    let good = store(&repository, b"two");
    change(&fixture.root().join("snapshots").join(&damaged.snapshot_id), |content| content.truncate(50));
    let list = repository.snapshots().unwrap();
    assert_eq!(list.snapshots.iter().map(|one| &one.id).collect::<Vec<_>>(), [&good.snapshot_id]);
    assert_eq!(list.damaged.iter().map(|one| &one.id).collect::<Vec<_>>(), [&damaged.snapshot_id]);
}

#[test]
fn files_with_foreign_names_are_ignored() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let written = store(&repository, b"one");
    fs::write(fixture.root().join("snapshots").join("README"), b"x").unwrap();
    fs::write(fixture.root().join("index").join("lost+found"), b"x").unwrap();
    fs::write(fixture.root().join("data").join("stray"), b"x").unwrap();
    assert_eq!(repository.snapshots().unwrap().snapshots.len(), 1);
    repository.verify(&written.snapshot_id, ExpectedSnapshot { bytes: Some(3) }).unwrap();
}

#[test]
fn a_write_that_fails_leaves_no_snapshot_and_says_why() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    // A file in the place of the folder of packs, so that no pack can be written, not even by root.
    fs::write(fixture.root().join("data"), b"").unwrap();
    let gate = Willing::default();
    let input = Box::new(Cursor::new(noise(80 << 20, 10)));
    let error = repository.backup(&request("/dumpfile.sql"), input, &gate).unwrap_err();
    assert!(matches!(error, Error::Storage(_)), "{error:?}");
    assert_eq!(gate.0.load(Ordering::Relaxed), 0);
    assert!(fixture.files("snapshots").is_empty());
    assert!(fixture.files(".lagan-tmp").is_empty());
}
