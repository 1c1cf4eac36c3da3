//! Creating and opening a repository.

use std::sync::Barrier;
use std::thread;

use super::*;
use crate::repository::Presence;

fn probe(fixture: &Fixture) -> Result<Presence, Error> {
    Repository::probe(&fixture.storage(), &fixture.access())
}

#[test]
fn probing_creates_nothing() {
    let fixture = Fixture::new();
    assert_eq!(probe(&fixture).unwrap(), Presence::Absent);
    assert!(!fixture.root().exists());
    assert!(matches!(fixture.open(PASSWORD).unwrap_err(), Error::Absent { .. }));
    fixture.init();
    assert_eq!(probe(&fixture).unwrap(), Presence::Present);
    fixture.restic_says(&["snapshots"]);
}

#[test]
fn a_second_init_leaves_the_first_as_it_is() {
    let fixture = Fixture::new();
    fixture.init();
    let error = Repository::init(&fixture.storage(), &"other".into(), &fixture.access()).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error:?}");
    assert_eq!(fixture.files("keys").len(), 1);
    fixture.open(PASSWORD).unwrap();
}

#[test]
fn two_inits_at_once_make_one_repository_that_opens() {
    for _ in 0..5 {
        let fixture = Fixture::new();
        let start = Barrier::new(2);
        let made = thread::scope(|scope| {
            let racer = || {
                start.wait();
                Repository::init(&fixture.storage(), &PASSWORD.into(), &fixture.access())
            };
            let racers = [scope.spawn(racer), scope.spawn(racer)];
            racers.map(|racer| racer.join().unwrap()).into_iter().flatten().count()
        });
        assert_eq!(made, 1);
        assert_eq!(fixture.files("keys").len(), 1);
        fixture.open(PASSWORD).unwrap();
        fixture.restic_says(&["check"]);
    }
}

#[test]
fn the_key_of_an_init_that_was_killed_is_in_nobodys_way() {
    let fixture = Fixture::new();
    fixture.init();
    std::fs::remove_file(fixture.root().join("config")).unwrap();
    assert_eq!(probe(&fixture).unwrap(), Presence::Absent);
    fixture.init();
    assert_eq!(fixture.files("keys").len(), 1);
    fixture.restic_says(&["snapshots"]);
}

#[test]
fn a_repository_is_never_made_over_data() {
    let fixture = Fixture::new();
    let repository = fixture.init();
    store(&repository, b"data");
    std::fs::remove_file(fixture.root().join("config")).unwrap();
    assert!(matches!(probe(&fixture).unwrap_err(), Error::NotARepository { .. }));
    let error = Repository::init(&fixture.storage(), &PASSWORD.into(), &fixture.access()).unwrap_err();
    assert!(matches!(error, Error::NotARepository { .. }), "{error:?}");
    assert!(!fixture.root().join("config").exists());
}

#[test]
fn passwords_are_told_apart_and_lose_one_newline() {
    let fixture = Fixture::new();
    fixture.init();
    for password in [PASSWORD.to_owned(), format!("{PASSWORD}\n"), format!("{PASSWORD}\r\n")] {
        fixture.open(&password).unwrap();
    }
    for password in ["wrong canary", &format!("{PASSWORD}\n\n"), ""] {
        let error = fixture.open(password).unwrap_err();
        assert!(matches!(error, Error::WrongPassword { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}

#[test]
fn debug_output_of_an_open_repository_shows_no_key() {
    let fixture = Fixture::new();
    assert_eq!(
        format!("{:?}", fixture.init()),
        format!("Repository {{ location: \"{}\", .. }}", fixture.storage().location())
    );
}

#[test]
fn a_path_that_is_no_folder_is_told() {
    let fixture = Fixture::new();
    std::fs::write(fixture.root(), b"").unwrap();
    let error = probe(&fixture).unwrap_err();
    assert_eq!(error.class(), lagan_schemas::error::Class::Permanent, "{error:?}");
    let relative = Storage::Fs(Fs { root: "relative".into() });
    assert!(Repository::probe(&relative, &fixture.access()).is_err());
}
