//! Things with several limits, limits that change, and outages that many wait through.

use super::*;

fn strict(target: impl Into<String>) -> AskedSession {
    AskedSession { server_limit: Some(1), ..asked(target) }
}

#[test]
fn of_two_limits_of_one_server_the_stricter_one_holds_and_its_session_is_not_overtaken() {
    let mut rig = room();
    let mut running = Vec::new();
    for number in 0..3 {
        running.push(rig.request(&asked(format!("db-{number}"))));
    }
    assert_eq!(rig.turn(), running);
    let patient = rig.request(&strict("db-strict"));
    assert!(rig.turn().is_empty());
    for number in 3..6 {
        rig.request(&asked(format!("db-{number}")));
        rig.end(running.remove(0));
        let planned = rig.turn();
        assert!(planned.iter().all(|uid| *uid == patient), "others went before it");
        running.extend(planned);
    }
    assert_eq!(running, [patient], "it began when those before it had ended");
    rig.end(patient);
    assert_eq!(rig.turn().len(), 3, "without it the other limit holds");
}

#[test]
fn a_strict_session_that_gives_up_lets_the_others_go() {
    let mut rig = room();
    let running = rig.request(&asked("db-1"));
    assert_eq!(rig.turn(), [running]);
    let patient = rig.request(&strict("db-strict"));
    let other = rig.request(&asked("db-2"));
    assert!(rig.turn().is_empty());
    rig.end(patient);
    assert_eq!(rig.turn(), [other]);
    rig.end(other);
    rig.end(running);
    assert!(rig.room.limited_by.is_empty() && rig.room.lines.is_empty());
    assert!(rig.room.usage.has_no_limits());
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
