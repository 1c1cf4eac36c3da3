//! Making and opening a repository.

use std::sync::Barrier;
use std::thread;

use super::*;
use crate::repository::Presence;

fn probe(place: &Place) -> Result<Presence, Error> {
    Repository::probe(&place.storage(), place.runtime.handle())
}

#[test]
fn probing_creates_nothing() {
    let place = Place::new();
    assert_eq!(probe(&place).unwrap(), Presence::Absent);
    assert!(!place.root().exists());
    assert!(matches!(place.open(PASSWORD).unwrap_err(), Error::Absent { .. }));
    place.init();
    assert_eq!(probe(&place).unwrap(), Presence::Present);
    place.restic_says(&["snapshots"]);
}

#[test]
fn a_second_init_leaves_the_first_as_it_is() {
    let place = Place::new();
    place.init();
    let error = Repository::init(&place.storage(), &"other".into(), place.runtime.handle()).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error:?}");
    assert_eq!(place.files("keys").len(), 1);
    place.open(PASSWORD).unwrap();
}

#[test]
fn two_inits_at_once_make_one_repository_that_opens() {
    for _ in 0..5 {
        let place = Place::new();
        let start = Barrier::new(2);
        let made = thread::scope(|scope| {
            let racer = || {
                start.wait();
                Repository::init(&place.storage(), &PASSWORD.into(), place.runtime.handle())
            };
            let racers = [scope.spawn(racer), scope.spawn(racer)];
            racers.map(|racer| racer.join().unwrap()).into_iter().flatten().count()
        });
        assert_eq!(made, 1);
        assert_eq!(place.files("keys").len(), 1);
        place.open(PASSWORD).unwrap();
        place.restic_says(&["check"]);
    }
}

#[test]
fn the_key_of_an_init_that_was_killed_is_in_nobodys_way() {
    let place = Place::new();
    place.init();
    std::fs::remove_file(place.root().join("config")).unwrap();
    assert_eq!(probe(&place).unwrap(), Presence::Absent);
    place.init();
    assert_eq!(place.files("keys").len(), 1);
    place.restic_says(&["snapshots"]);
}

#[test]
fn a_repository_is_never_made_over_data() {
    let place = Place::new();
    let repository = place.init();
    store(&repository, b"data");
    std::fs::remove_file(place.root().join("config")).unwrap();
    assert!(matches!(probe(&place).unwrap_err(), Error::NotARepository { .. }));
    let error = Repository::init(&place.storage(), &PASSWORD.into(), place.runtime.handle()).unwrap_err();
    assert!(matches!(error, Error::NotARepository { .. }), "{error:?}");
    assert!(!place.root().join("config").exists());
}

#[test]
fn passwords_are_told_apart_and_lose_one_newline() {
    let place = Place::new();
    place.init();
    for password in [PASSWORD.to_owned(), format!("{PASSWORD}\n"), format!("{PASSWORD}\r\n")] {
        place.open(&password).unwrap();
    }
    for password in ["wrong canary", &format!("{PASSWORD}\n\n"), ""] {
        let error = place.open(password).unwrap_err();
        assert!(matches!(error, Error::WrongPassword { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}

#[test]
fn debug_output_of_an_open_repository_shows_no_key() {
    let place = Place::new();
    assert_eq!(
        format!("{:?}", place.init()),
        format!("Repository {{ location: \"{}\", .. }}", place.storage().location())
    );
}

#[test]
fn a_path_that_is_no_folder_is_told() {
    let place = Place::new();
    std::fs::write(place.root(), b"").unwrap();
    let error = probe(&place).unwrap_err();
    assert_eq!(error.class(), lagan_schemas::error::Class::Permanent, "{error:?}");
    let relative = Storage::Fs(Fs { root: "relative".into() });
    assert!(Repository::probe(&relative, place.runtime.handle()).is_err());
}
