//! Things with several limits, limits that change, and outages that many wait through.

use super::*;

fn strict(target: impl Into<String>) -> AskedSession {
    AskedSession { server_limit: Some(1), ..asked(target) }
}

#[test]
fn a_strict_session_waits_until_it_is_alone_and_holds_up_nobody_behind_it() {
    let mut rig = room();
    let running: Vec<Uuid> = (0..8).map(|number| rig.request(&asked(format!("db-{number}")))).collect();
    assert_eq!(rig.turn(), running);
    let patient = rig.request(&strict("db-strict"));
    let behind = rig.request(&asked("db-8"));
    let urgent = rig.request(&AskedSession { urgent: true, ..asked("db-9") });
    assert!(rig.turn().is_empty());
    rig.end(running[0]);
    assert_eq!(rig.turn(), [urgent]);
    rig.end(running[1]);
    assert_eq!(rig.turn(), [behind], "the strict one has its own limit");
    rig.end(urgent);
    let late = rig.request(&asked("db-10"));
    assert_eq!(rig.turn(), [late], "seven others run");
    for uid in running.into_iter().skip(2).chain([behind, late]) {
        assert!(rig.turn().is_empty());
        rig.end(uid);
    }
    assert_eq!(rig.turn(), [patient]);
    let others = [rig.request(&asked("db-11")), rig.request(&asked("db-12"))];
    assert!(rig.turn().is_empty(), "it is alone while it runs");
    rig.end(patient);
    assert_eq!(rig.turn(), others, "without it the other limit holds");
    for uid in others {
        rig.end(uid);
    }
    assert!(rig.room.limited_by.is_empty() && rig.room.lines.is_empty());
    assert!(rig.room.usage.has_no_limits());
}

/// Requests a session, and lets another one find out that their server or storage does not answer.
fn outage(rig: &mut WaitingRig, code: Code) -> (Uuid, Uuid) {
    let probe = rig.request(&asked("db-probe"));
    rig.turn();
    rig.start(probe);
    rig.retry(probe, code, 5);
    let waits = rig.request(&asked("db-1"));
    assert!(rig.turn().is_empty());
    (probe, waits)
}

/// Lets another session be the one that tries, so that the first stands in line after its own attempt.
fn fail_behind_a_probe(rig: &mut WaitingRig, uid: Uuid, code: Code) {
    let probe = rig.request(&asked("db-other"));
    assert_eq!(rig.turn(), [probe]);
    rig.start(probe);
    rig.retry(uid, code, 3);
    rig.retry(probe, code, 1);
    rig.seconds += 1;
    assert_eq!(rig.turn(), [probe]);
    rig.seconds += 2;
    let now = rig.now();
    while let Some(look) = rig.room.next(now) {
        assert_eq!((look.session.key.uid, look.unanswering), (uid, None));
        rig.looks.insert(uid, look.number);
        assert_eq!(rig.admit(uid), Admission::Waits);
    }
    assert!(rig.cause(uid).ends_with("Unreachable"));
    assert_eq!(
        rig.room.waiters[&uid].out_since.as_ref().map(|(_, since)| since.as_secs() + 3 >= rig.seconds),
        Some(true)
    );
}

#[test]
fn an_outage_that_is_over_does_not_count_for_the_next_one() {
    for commits in [false, true] {
        let mut rig = room();
        let (probe, uid) = outage(&mut rig, Code::DatabaseUnreachable);
        rig.seconds += 60;
        rig.end(probe);
        let planned = rig.turn();
        assert!(planned.is_empty() || planned == [uid]);
        rig.seconds += 60;
        rig.turn();
        rig.start(uid);
        if commits {
            rig.commit(uid);
            assert!(rig.room.trying.is_empty(), "it got there");
        }
        rig.seconds += 3 * 3600;
        fail_behind_a_probe(&mut rig, uid, Code::StorageUnreachable);
    }
}

#[test]
fn a_wait_for_an_answer_counts_from_anew_after_any_other_wait() {
    let mut rig = room();
    let (_, uid) = outage(&mut rig, Code::DatabaseUnreachable);
    let (server, since) = rig.room.waiters[&uid].out_since.clone().unwrap();
    let now = rig.now();
    rig.room.set_cause(uid, WaitCause::Answer(server.clone()));
    rig.room.set_cause(uid, WaitCause::Retry);
    assert_eq!(rig.room.waiters[&uid].out_since, Some((server.clone(), since)));
    rig.room.set_cause(uid, WaitCause::Objects(Vec::new()));
    assert_eq!(rig.room.waiters[&uid].out_since, None);
    rig.room.be_patient(uid, &server, now);
    rig.seconds += 3600;
    let (storage, now) = (Limited::Repository("s3:x".to_owned()), rig.now());
    rig.room.set_cause(uid, WaitCause::Answer(storage.clone()));
    rig.room.be_patient(uid, &storage, now);
    assert_eq!(rig.room.waiters[&uid].unanswering(now), None, "the storage has its own time");
}

#[test]
fn a_limit_that_was_raised_wakes_those_who_wait_for_it_at_once() {
    let mut rig = room();
    let first = rig.request(&strict("db-1"));
    assert_eq!(rig.turn(), [first]);
    let second = rig.request(&strict("db-2"));
    assert!(rig.turn().is_empty());
    let object = limiting_objects(&rig.plans[&second]).remove(0);
    assert_eq!(object.name, "db-2");
    rig.server_limits.clear();
    rig.room.limits_changed(&limiting_objects(&rig.plans[&first])[0], rig.now());
    assert_eq!(rig.look(), None, "it is not the object that holds it up");
    rig.room.limits_changed(&object, rig.now());
    assert!(rig.turn().is_empty(), "the limit of the other one still holds");
    rig.end(first);
    assert_eq!(rig.turn(), [second]);
    let third = rig.request(&asked("db-3"));
    assert_eq!(rig.turn(), [third]);
}

#[test]
fn a_limit_that_changes_during_a_look_is_looked_at_again() {
    let mut rig = room();
    let first = rig.request(&strict("db-1"));
    assert_eq!(rig.turn(), [first]);
    let second = rig.request(&strict("db-2"));
    assert_eq!(rig.look(), Some(second));
    rig.room.limits_changed(&limiting_objects(&rig.plans[&second])[0], rig.now());
    assert_eq!(rig.admit(second), Admission::Waits);
    assert_eq!(rig.look(), Some(second), "the old limit was counted with");
    assert_eq!(rig.admit(second), Admission::Waits);
    assert_eq!(rig.look(), None);
}

#[test]
fn sessions_that_wait_through_an_outage_end_together() {
    let mut rig = room();
    rig.plan.retry.max = 0;
    let probe = rig.request(&asked("db-0"));
    rig.turn();
    rig.start(probe);
    rig.retry(probe, Code::DatabaseUnreachable, 5);
    let waiting: Vec<Uuid> = (1..=50).map(|number| rig.request(&asked(format!("db-{number}")))).collect();
    let wait = u64::from(rig.plans[&probe].target().unwrap().database.wait_seconds);
    let (mut ended, mut tried) = (Vec::new(), 0);
    while rig.seconds < wait + 130 && ended.len() < 51 {
        let now = rig.now();
        while let Some(look) = rig.room.next(now) {
            let uid = look.session.key.uid;
            rig.looks.insert(uid, look.number);
            if let Some(of) = look.unanswering {
                assert!(matches!(of, Limited::Server(_)) && rig.seconds >= wait, "{of} at {}", rig.seconds);
                ended.push(uid);
            } else if rig.admit(uid) == Admission::Go {
                tried += 1;
                rig.append(uid, Fact::Planned(Box::new(rig.plans[&uid].clone())));
                rig.start(uid);
                rig.retry(uid, Code::DatabaseUnreachable, 60);
            }
        }
        for uid in &ended {
            if !rig.sessions[uid].phase.is_end() {
                rig.end(*uid);
            }
        }
        rig.seconds += 1;
    }
    // The one that tries it now has the limit of its own attempts, which its worker counts.
    let ended = waiting.iter().filter(|uid| ended.contains(uid)).count();
    assert!(ended >= 48, "{ended} of 50 ended, {tried} tries");
    assert!(tried < 20, "one at a time tries it: {tried}");
}

#[test]
fn a_session_that_may_hold_the_lock_of_its_target_keeps_its_turn() {
    for keeps in [true, false] {
        let mut rig = room();
        let first = rig.request(&strict("db-1"));
        assert_eq!(rig.look(), Some(first));
        assert_eq!(rig.admit(first), Admission::Go);
        let second = rig.request(&AskedSession { urgent: true, ..strict("db-2") });
        let second_waits = rig.look() == Some(second) && rig.admit(second) == Admission::Waits;
        assert!(second_waits);
        let delay = Duration::from_secs(1);
        let until = if keeps { Until::AfterWithLock(delay) } else { Until::After(delay) };
        rig.wait(first, WaitCause::LogFull, until);
        rig.seconds += 1;
        let expected = if keeps { first } else { second };
        assert_eq!(rig.turn(), [expected], "keeps: {keeps}");
    }
}
