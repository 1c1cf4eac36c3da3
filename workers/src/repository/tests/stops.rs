//! A storage that stops answering holds neither a stopped session nor another session.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::server::ObjectServer;
use super::*;
use crate::repository::{ExpectedSnapshot, StoreErrorKind};

/// A repository with one snapshot, and a server for it.
fn served() -> (Fixture, ObjectServer, WrittenSnapshot) {
    let fixture = Fixture::new();
    let written = store(&fixture.init(), &noise(1 << 20, 20));
    let server = ObjectServer::start(fixture.root());
    (fixture, server, written)
}

fn open(server: &ObjectServer, access: &StorageAccess) -> Result<Repository, Error> {
    Repository::open(&Storage::S3(server.s3()), &PASSWORD.into(), access)
}

type Phase = (&'static str, fn(&ObjectServer, &StorageAccess, Option<Repository>, &str) -> Result<(), Error>);

const PHASES: [Phase; 7] = [
    ("open", |server, access, _, _| open(server, access).map(drop)),
    ("snapshots", |_, _, repository, _| repository.unwrap().snapshots().map(drop)),
    ("statistics", |_, _, repository, _| repository.unwrap().statistics().map(drop)),
    ("verify", |_, _, repository, id| repository.unwrap().verify(id, ExpectedSnapshot::default()).map(drop)),
    ("read", |_, _, repository, id| repository.unwrap().read(id, "/dumpfile.sql").map(drop)),
    ("remove", |_, _, repository, id| repository.unwrap().remove(&[id])),
    ("backup", |_, _, repository, _| {
        let input = Box::new(Cursor::new(noise(1 << 20, 21)));
        repository.unwrap().backup(&request("/dumpfile.sql"), input, &Willing::default()).map(drop)
    }),
];

#[test]
fn every_phase_ends_at_once_when_its_session_is_stopped() {
    for (name, phase) in PHASES {
        let (fixture, server, written) = served();
        let access = fixture.access();
        let repository = (name != "open").then(|| open(&server, &access).unwrap());
        server.stop_answering();
        std::thread::scope(|scope| {
            let (done, ended) = channel();
            let (server, access, id) = (&server, &access, &written.snapshot_id);
            scope.spawn(move || done.send(phase(server, access, repository, id)));
            server.wait_for_requests(1);
            let stopped = Instant::now();
            fixture.stop.cancel();
            let error = ended.recv_timeout(Duration::from_secs(20)).expect(name).unwrap_err();
            assert!(stopped.elapsed() < Duration::from_secs(5), "{name}");
            assert!(
                matches!(&error, Error::Storage(error) if error.kind == StoreErrorKind::Stopped),
                "{name}: {error:?}"
            );
            assert_eq!(error.code(), lagan_schemas::error::Code::Interrupted);
        });
    }
}

#[test]
fn a_restore_ends_with_an_error_when_its_session_is_stopped() {
    let (fixture, server, written) = served();
    let repository = open(&server, &fixture.access()).unwrap();
    fixture.stop.cancel();
    assert!(repository.read(&written.snapshot_id, "/dumpfile.sql").is_err());
    let (fixture, server, _) = served();
    let large = store(&fixture.open(PASSWORD).unwrap(), &noise(40 << 20, 22));
    let repository = open(&server, &fixture.access()).unwrap();
    let (_, mut reader) = repository.read(&large.snapshot_id, "/dumpfile.sql").unwrap();
    reader.read_exact(&mut [0; 1000]).unwrap();
    server.stop_answering();
    fixture.stop.cancel();
    assert!(reader.read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn sessions_whose_storage_does_not_answer_block_no_other_session() {
    let (stuck, server, _) = served();
    let repositories: Vec<_> = (0..8).map(|_| open(&server, &stuck.access()).unwrap()).collect();
    server.stop_answering();
    std::thread::scope(|scope| {
        for repository in &repositories {
            scope.spawn(move || {
                let input = Box::new(Cursor::new(noise(1000, 23)));
                repository.backup(&request("/dumpfile.sql"), input, &Willing::default()).unwrap_err();
            });
        }
        server.wait_for_requests(repositories.len());
        let healthy = Fixture::new();
        let repository = healthy.init();
        let (done, ended) = channel();
        scope.spawn(move || {
            store(&repository, &noise(1000, 24));
            // With an index to read.
            done.send(store(&repository, &noise(2 << 20, 25)))
        });
        let written = ended.recv_timeout(Duration::from_secs(60));
        stuck.stop.cancel();
        assert_eq!(written.expect("it waits for the others").bytes, 2 << 20);
    });
}
