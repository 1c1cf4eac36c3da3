//! Backups: the stored content, and the cases in which nothing may be stored.

use std::io::{self, Cursor, Read};
use std::sync::atomic::Ordering;

use lagan_schemas::error::Code;

use super::*;
use crate::repository::{Companion, ExpectedSnapshot, ReadBack};

#[test]
fn restic_checks_dumps_and_restores_what_was_written() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let content = noise(40 << 20, 1);
    let gate = Willing::default();
    let input = Box::new(Cursor::new(content.clone()));
    let written = repository.backup(&request("/dumpfile.sql"), input, &gate).unwrap();
    assert_eq!(gate.0.load(Ordering::Relaxed), 1);
    assert_eq!(written.bytes, content.len() as u64);
    assert!(written.added_bytes > written.bytes, "{written:?}");

    fixture.restic_says(&["check", "--read-data"]);
    assert!(fixture.restic_says(&["dump", "latest", "/dumpfile.sql"]) == content);
    let target = fixture.folder.path().join("restored");
    fixture.restic_says(&["restore", "latest", "--target", target.to_str().unwrap()]);
    assert!(
        std::fs::read(target.join("dumpfile.sql")).unwrap() == content,
        "the length in the tree is what restore trusts"
    );
    assert_eq!(fixture.files("index").len(), 1);

    let read_back = repository.verify(&written.snapshot_id, ExpectedSnapshot { bytes: Some(written.bytes) }).unwrap();
    assert_eq!(read_back, written.read_back, "the same before and after the snapshot file was written");
    assert_eq!(read_back.bytes, written.bytes);
    assert!(read_back.packs_total >= 3 && read_back.packs_read >= 3, "{read_back:?}");
    assert!(read_all(&repository, &written.snapshot_id).unwrap() == content);

    let listed = repository.snapshots().unwrap();
    assert!(listed.damaged.is_empty());
    let [snapshot] = listed.snapshots.as_slice() else { panic!("{listed:?}") };
    assert_eq!((snapshot.id.as_str(), snapshot.host.as_str()), (written.snapshot_id.as_str(), "host-0"));
    assert_eq!((snapshot.path().as_str(), snapshot.bytes), ("/dumpfile.sql", Some(written.bytes)));
    let origin = snapshot.origin().unwrap();
    assert_eq!((snapshot.session(), origin.cluster_name.as_str()), (Some("s1"), "local"));
    assert_eq!(origin.configuration.to_string(), "lagan.dev/shop/db");
    let statistics = repository.statistics().unwrap();
    assert_eq!(statistics.snapshots, 1);
    assert!(statistics.stored_bytes > written.bytes);
}

#[test]
fn a_file_beside_the_stream_is_stored_and_read_back_and_restic_sees_both() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let beside = noise(3 << 20, 9);
    let gate = WithCompanion(beside.clone());
    let content = noise(5 << 20, 8);
    let written = repository.backup(&request("/dumpfile.sql"), Box::new(Cursor::new(content.clone())), &gate).unwrap();
    let read_back = repository.verify(&written.snapshot_id, ExpectedSnapshot { bytes: Some(written.bytes) }).unwrap();
    assert_eq!((read_back.bytes, written.bytes), (5 << 20, 5 << 20));
    let (length, mut reader) = repository.read(&written.snapshot_id, "/beside.json").unwrap();
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(length == 3 << 20 && read == beside);
    assert!(read_all(&repository, &written.snapshot_id).unwrap() == content);

    fixture.restic_says(&["check", "--read-data"]);
    assert!(fixture.restic_says(&["dump", "latest", "/dumpfile.sql"]) == content);
    assert!(fixture.restic_says(&["dump", "latest", "/beside.json"]) == beside);
    let target = fixture.folder.path().join("restored");
    fixture.restic_says(&["restore", "latest", "--target", target.to_str().unwrap()]);
    assert!(std::fs::read(target.join("beside.json")).unwrap() == beside);
    assert_eq!(repository.snapshots().unwrap().snapshots[0].path(), "/dumpfile.sql");

    // The pack of the file is the only one of its length.
    let pack = fixture.files("data").into_iter().find(|file| {
        let length = std::fs::metadata(file).unwrap().len();
        (3 << 20..4 << 20).contains(&length)
    });
    std::fs::remove_file(pack.unwrap()).unwrap();
    let missing = repository.verify(&written.snapshot_id, ExpectedSnapshot::default());
    assert!(matches!(missing, Err(crate::repository::Error::ReadBack { .. })), "{missing:?}");
}

struct WithCompanion(Vec<u8>);

impl Gate for WithCompanion {
    fn companion(&self) -> Option<Companion> {
        let time = jiff::Timestamp::UNIX_EPOCH;
        Some(Companion { name: "beside.json".to_owned(), content: self.0.clone(), time })
    }

    fn open(&self) -> Result<(), GateRefused> {
        Ok(())
    }
}

#[test]
fn compressible_and_repeated_content_comes_back_too() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let content = b"INSERT INTO t VALUES (1,'abc');\n".repeat(400_000);
    let written = store(&repository, &content);
    assert!(written.added_bytes < written.bytes / 10, "{written:?}");
    assert!(read_all(&repository, &written.snapshot_id).unwrap() == content);
    fixture.restic_says(&["check", "--read-data"]);
}

#[test]
fn an_empty_stream_is_an_empty_file() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let written = store(&repository, b"");
    assert_eq!(written.bytes, 0);
    let expected = ExpectedSnapshot { bytes: Some(0) };
    assert_eq!(
        repository.verify(&written.snapshot_id, expected).unwrap(),
        ReadBack { bytes: 0, packs_read: 1, packs_total: 1 }
    );
    assert_eq!(read_all(&repository, &written.snapshot_id).unwrap(), b"");
    fixture.restic_says(&["check", "--read-data"]);
}

#[test]
fn the_same_name_again_stores_the_second_content() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let (first, second) = (noise(3 << 20, 2), noise(3 << 20, 3));
    let time = jiff::Timestamp::now();
    for content in [&first, &second] {
        let request = NewSnapshot { time, ..request("/dumpfile.sql") };
        let input = Box::new(Cursor::new(content.clone()));
        let written = repository.backup(&request, input, &Willing::default()).unwrap();
        assert!(read_all(&repository, &written.snapshot_id).unwrap() == *content);
        assert!(fixture.restic_says(&["dump", &written.snapshot_id, "/dumpfile.sql"]) == *content);
    }
}

#[test]
fn unchanged_content_adds_next_to_nothing() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let content = noise(8 << 20, 4);
    store(&repository, &content);
    let again = store(&repository, &content);
    assert!(again.added_bytes < 100_000, "{again:?}");
    fixture.restic_says(&["check", "--read-data"]);
}

struct Refusing;

impl Gate for Refusing {
    fn open(&self) -> Result<(), GateRefused> {
        Err(GateRefused { reason: "somebody else took over".to_owned() })
    }
}

#[test]
fn a_refused_gate_leaves_no_snapshot() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let input = Box::new(Cursor::new(noise(12 << 20, 5)));
    let error = repository.backup(&request("/dumpfile.sql"), input, &Refusing).unwrap_err();
    assert!(matches!(error, Error::GateRefused { ref reason } if reason.contains("took over")), "{error:?}");
    assert!(fixture.files("snapshots").is_empty());
    assert!(repository.snapshots().unwrap().snapshots.is_empty());
    fixture.restic_says(&["check", "--read-data"]);
}

/// A gate under which a pack is damaged, as soon as all of them are stored.
struct Damaging<'a> {
    fixture: &'a Fixture,
    opened: AtomicUsize,
}

impl Gate for Damaging<'_> {
    fn companion(&self) -> Option<Companion> {
        let packs = self.fixture.files("data").into_iter();
        let pack = packs.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
        let content = std::fs::read(&pack).unwrap();
        std::fs::write(pack, &content[1..]).unwrap();
        None
    }

    fn open(&self) -> Result<(), GateRefused> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn no_snapshot_names_what_does_not_read_back() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let gate = Damaging { fixture: &fixture, opened: AtomicUsize::new(0) };
    let input = Box::new(Cursor::new(noise(12 << 20, 11)));
    let error = repository.backup(&request("/dumpfile.sql"), input, &gate).unwrap_err();
    assert!(matches!(&error, Error::NotStored { detail } if detail.contains("bytes instead of")), "{error:?}");
    assert_eq!(error.code(), Code::ReadBackFailed);
    assert_eq!(gate.opened.load(Ordering::Relaxed), 0);
    assert!(fixture.files("snapshots").is_empty());
}

/// An input that breaks off after some bytes.
struct Breaking(Cursor<Vec<u8>>);

impl Read for Breaking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the dump died")),
            count => Ok(count),
        }
    }
}

#[test]
fn a_broken_input_leaves_no_snapshot_however_willing_the_gate() {
    for length in [0, 1000, 12 << 20] {
        let fixture = Fixture::new();
        let repository = fixture.init();
        let gate = Willing::default();
        let input = Box::new(Breaking(Cursor::new(noise(length, 6))));
        let error = repository.backup(&request("/dumpfile.sql"), input, &gate).unwrap_err();
        assert!(matches!(&error, Error::Input(source) if source.to_string() == "the dump died"), "{error:?}");
        assert_eq!(gate.0.load(Ordering::Relaxed), 0);
        assert!(fixture.files("snapshots").is_empty());
    }
}

#[test]
fn a_panicking_input_leaves_no_snapshot() {
    struct Panicking;
    impl Read for Panicking {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("a defect in the reader")
        }
    }
    let fixture = Fixture::new();
    let repository = fixture.init();
    let error = repository.backup(&request("/dumpfile.sql"), Box::new(Panicking), &Willing::default()).unwrap_err();
    assert!(matches!(error, Error::Input(_)), "{error:?}");
    assert!(fixture.files("snapshots").is_empty());
}

#[test]
fn paths_and_tags_that_restic_would_misread_are_refused() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    let mut comma = request("/dumpfile.sql");
    comma.tags.push("a,b".to_owned());
    let mut long = request("/dumpfile.sql");
    long.tags.push("x".repeat(200));
    for request in [request("dumpfile.sql"), request("/"), request("/a/b"), request("/.."), comma, long] {
        let error = repository.backup(&request, Box::new(io::empty()), &Willing::default()).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. } | Error::Tag(_)), "{error:?}");
        assert_eq!(error.code(), Code::InvalidSpec);
    }
    assert!(fixture.files("snapshots").is_empty());
}

#[test]
fn a_repository_of_stock_restic_goes_on_with_both() {
    for version in ["1", "2"] {
        let fixture = Fixture::new();
        fixture.restic_says(&["init", "--repository-version", version]);
        let file = fixture.folder.path().join("dumpfile.sql");
        let theirs = noise(24 << 20, 7);
        std::fs::write(&file, &theirs).unwrap();
        let feed = |arguments: &str| {
            let script =
                format!("restic --no-cache -r '{}' {arguments} < '{}'", fixture.root().display(), file.display());
            let status = Command::new("sh").args(["-c", &script]).env("RESTIC_PASSWORD", PASSWORD).output().unwrap();
            assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
        };
        feed("backup --stdin --stdin-filename dumpfile.sql --host host-0");
        let repository = fixture.open(PASSWORD).unwrap();
        let stash = repository.snapshots().unwrap().snapshots.remove(0);
        assert_eq!((stash.origin(), stash.path().as_str()), (None, "/dumpfile.sql"));
        assert!(read_all(&repository, &stash.id).unwrap() == theirs);
        repository.verify(&stash.id, ExpectedSnapshot::default()).unwrap();

        let mut ours = theirs.clone();
        ours.extend(noise(5 << 20, 8));
        let written = store(&repository, &ours);
        // The new content, and the one chunk across the border, which has at most 8 MiB with any polynomial.
        assert!(written.added_bytes < 14 << 20, "old blobs are used again: {written:?}");
        feed("backup --stdin --stdin-filename dumpfile.sql --host host-0");
        assert_eq!(repository.snapshots().unwrap().snapshots.len(), 3);
        assert!(fixture.restic_says(&["dump", &written.snapshot_id, "/dumpfile.sql"]) == ours);
        fixture.restic_says(&["check", "--read-data"]);

        repository.remove(&[&stash.id]).unwrap();
        assert_eq!(repository.snapshots().unwrap().snapshots.len(), 2);
        fixture.restic_says(&["prune"]);
        repository.verify(&written.snapshot_id, ExpectedSnapshot { bytes: Some(written.bytes) }).unwrap();
    }
}
