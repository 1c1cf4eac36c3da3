//! The waiting room: who is looked at when, and who goes first.
#![allow(clippy::unwrap_used, reason = "tests")]

mod many;
mod notices;
mod rig;
mod shared;

use lagan_schemas::error::Code;
use lagan_schemas::fact::Fact;
use lagan_schemas::subject::SessionKind;

use self::rig::{AskedSession, WaitingRig, asked, room};
use lagan_schemas::resource::backup_configuration::Priority;
use lagan_schemas::session::Phase;

use super::*;
use crate::fixtures::story;

#[test]
fn those_that_wait_for_one_target_delay_no_other_and_cost_nothing() {
    let mut rig = room();
    let holder = rig.request(&asked("locked"));
    assert_eq!(rig.turn(), [holder]);
    let waiting = rig.requests(80, &asked("locked"));
    assert!(rig.turn().is_empty());
    assert_eq!(rig.room.next_timer(), None, "nobody looks again");
    let other = rig.request(&asked("free"));
    assert_eq!(rig.look(), Some(other), "the only one that is looked at");
    assert_eq!(rig.admit(other), Admission::Go);
    rig.end(holder);
    assert_eq!(rig.turn(), [waiting[0]]);
    assert_eq!(rig.cause(waiting[1]), "TargetBusy");
}

#[test]
fn on_one_target_those_that_a_person_asked_for_come_first_then_the_order_is_priority_then_arrival() {
    let mut rig = room();
    let holder = rig.request(&asked("db"));
    rig.turn();
    let low = rig.request(&AskedSession { priority: Priority::Low, ..asked("db") });
    let first = rig.request(&asked("db"));
    let second = rig.request(&asked("db"));
    let high = rig.request(&AskedSession { priority: Priority::High, ..asked("db") });
    let urgent = rig.request(&AskedSession { urgent: true, ..asked("db") });
    assert!(rig.turn().is_empty());
    let mut order = vec![holder];
    for _ in 0..5 {
        rig.end(*order.last().unwrap());
        order.extend(rig.turn());
    }
    assert_eq!(order[1..], [urgent, high, first, second, low]);
}

#[test]
fn a_retry_gives_its_target_back_and_is_looked_at_when_its_time_has_come() {
    let mut rig = room();
    let failing = rig.request(&asked("db"));
    rig.turn();
    let next = rig.request(&asked("db"));
    assert!(rig.turn().is_empty());
    rig.start(failing);
    rig.retry(failing, Code::Stalled, 50);
    assert_eq!(rig.turn(), [next], "the target is free while nobody works on it");
    rig.end(next);
    rig.seconds += 49;
    assert!(rig.turn().is_empty());
    rig.seconds += 1;
    assert_eq!(rig.turn(), [failing]);
}

#[test]
fn a_retry_time_of_a_wrong_clock_is_not_waited_for() {
    let mut rig = room();
    let failing = rig.request(&asked("db"));
    rig.turn();
    rig.start(failing);
    rig.retry(failing, Code::Stalled, 86_400);
    rig.seconds += 60;
    assert_eq!(rig.turn(), [failing]);
}

#[test]
fn each_session_is_looked_at_by_one_planner_and_by_the_others_two_seconds_later() {
    let planners = [Uuid::from_u128(1), Uuid::from_u128(2)];
    let mut rigs = planners.map(|me| {
        let mut rig = room();
        rig.room.me = me;
        rig.room.set_peers(planners.to_vec());
        rig
    });
    let mut looks = [0, 0];
    for (index, rig) in rigs.iter_mut().enumerate() {
        rig.requests(100, &asked("db"));
        while rig.look().is_some() {
            looks[index] += 1;
        }
    }
    assert!(looks[0] + looks[1] == 100 && looks[0] > 20 && looks[1] > 20, "{looks:?}");
    for (index, rig) in rigs.iter_mut().enumerate() {
        rig.seconds += 1;
        assert_eq!(rig.look(), None);
        rig.seconds += 1;
        while rig.look().is_some() {
            looks[index] += 1;
        }
    }
    assert_eq!(looks, [100, 100]);
}

#[test]
fn a_slot_is_skipped_behind_another_session_of_its_configuration() {
    let mut rig = room();
    let slot = |overlap| AskedSession { invoker: Some("shop"), overlap, ..asked("db") };
    let holder = rig.request(&asked("db"));
    rig.turn();
    let first = rig.request(&slot(Overlap::ForbiddenSlot));
    let second = rig.request(&slot(Overlap::ForbiddenSlot));
    let by_hand = rig.request(&slot(Overlap::Forbidden));
    let allowed = rig.request(&slot(Overlap::Allowed));
    let mut skipped = Vec::new();
    while let Some(uid) = rig.look() {
        if let Admission::Skipped { behind, waits, .. } = rig.admit(uid) {
            skipped.push((uid, behind, waits));
        }
    }
    assert_eq!(skipped, [(second, first, true)], "slots do not pile up behind a locked target");
    rig.end(holder);
    assert_eq!(rig.look(), Some(first));
    assert_eq!(rig.admit(first), Admission::Go);
    rig.append(first, Fact::Planned(Box::new(rig.plans[&first].clone())));
    let looked = [rig.look(), rig.look(), rig.look()];
    assert!(looked.contains(&Some(by_hand)) && !looked.contains(&Some(allowed)), "{looked:?}");
    assert!(matches!(rig.admit(by_hand), Admission::Skipped { behind, waits: false, .. } if behind == first));
}

#[test]
fn a_session_that_lacks_objects_is_looked_at_when_they_change() {
    let mut rig = room();
    let session = rig.request(&asked("db"));
    assert_eq!(rig.look(), Some(session));
    let until = Until::Objects { pause: Duration::from_secs(1), latest: Duration::from_secs(60) };
    rig.wait(session, WaitCause::Objects(vec!["Repository demo/repo".to_owned()]), until);
    assert!(rig.room.lacks_objects());
    rig.room.objects_changed(rig.now());
    assert_eq!(rig.look(), None, "changes come in bursts");
    rig.seconds += 1;
    assert_eq!(rig.look(), Some(session));
    assert!(!rig.room.lacks_objects());
    rig.wait(session, WaitCause::Objects(Vec::new()), until);
    rig.seconds += 60;
    assert_eq!(rig.look(), Some(session), "at the latest by its timer");
}

#[test]
fn a_session_behind_another_is_looked_at_when_that_one_ends_or_retries() {
    for retries in [false, true] {
        let mut rig = room();
        let other = rig.request(&asked("a"));
        let session = rig.request(&asked("b"));
        assert_eq!(rig.look(), Some(other));
        rig.admit(other);
        rig.append(other, Fact::Planned(Box::new(rig.plans[&other].clone())));
        assert_eq!(rig.look(), Some(session));
        let until = Until::SessionEnds(other, Duration::from_secs(30));
        rig.wait(session, WaitCause::Session("s-1".to_owned()), until);
        rig.start(other);
        assert_eq!(rig.look(), None);
        if retries {
            rig.retry(other, Code::Stalled, 50);
        } else {
            rig.end(other);
        }
        assert_eq!(rig.look(), Some(session));
    }
}

#[test]
fn a_session_in_line_is_looked_at_when_its_time_is_over() {
    let mut rig = room();
    rig.request(&asked("db"));
    rig.turn();
    let session = rig.request(&AskedSession { time_out: Some(10), ..asked("db") });
    assert!(rig.turn().is_empty());
    rig.seconds += 11;
    let look = rig.room.next(rig.now()).unwrap();
    assert_eq!((look.session.key.uid, look.cause.reason()), (session, "TargetBusy"));
}

#[test]
fn a_cancelled_session_is_looked_at_at_once() {
    let mut rig = room();
    rig.request(&asked("db"));
    rig.turn();
    let waiting = rig.request(&asked("db"));
    rig.turn();
    let session = rig.sessions.get_mut(&waiting).unwrap();
    *session = story(SessionKind::Backup).cancel_requested(1).end();
    session.key.uid = waiting;
    rig.fold(waiting);
    assert_eq!(rig.look(), Some(waiting));
}

#[test]
fn a_planner_that_died_with_the_turn_of_a_session_costs_two_seconds() {
    let mut rig = room();
    let planners = [Uuid::from_u128(1), Uuid::from_u128(2)];
    let holder = rig.request(&asked("db"));
    rig.turn();
    // Both wait in line here; whose turn it is may be the other planner's to see.
    let waiting = rig.requests(2, &asked("db"));
    rig.turn();
    rig.room.set_peers(planners.to_vec());
    let first_is_mine = rig.room.is_mine(waiting[0]);
    rig.room.me = if first_is_mine { planners[1] } else { planners[0] };
    rig.end(holder);
    assert!(rig.turn().is_empty(), "the second in line does not overtake");
    rig.seconds += 2;
    assert_eq!(rig.turn(), [waiting[0]]);
}

#[test]
fn the_result_of_an_old_look_changes_nothing() {
    let mut rig = room();
    let session = rig.request(&asked("db"));
    assert_eq!(rig.look(), Some(session));
    let old = rig.looks[&session];
    // Another planner was faster, and the session is back already.
    rig.append(session, Fact::Planned(Box::new(rig.plans[&session].clone())));
    rig.start(session);
    rig.retry(session, Code::Stalled, 0);
    let until = Until::After(Duration::from_secs(3600));
    rig.room.wait(session, old, WaitCause::LogFull, until, rig.now());
    rig.room.decided(session, old, rig.now());
    assert_eq!(rig.turn(), [session], "its next attempt is not delayed");
}

#[test]
fn a_session_behind_one_that_has_ended_meanwhile_looks_again_soon() {
    let mut rig = room();
    let session = rig.request(&asked("db"));
    assert_eq!(rig.look(), Some(session));
    let until = Until::SessionEnds(Uuid::from_u128(99), Duration::from_secs(30));
    rig.wait(session, WaitCause::Session("gone".to_owned()), until);
    rig.seconds += 1;
    assert_eq!(rig.look(), Some(session));
}

#[test]
fn a_session_that_a_later_version_took_gives_back_what_was_reserved_for_it() {
    let mut rig = room();
    let session = rig.request(&asked("db"));
    assert_eq!(rig.look(), Some(session));
    assert_eq!(rig.admit(session), Admission::Go);
    rig.sessions.get_mut(&session).unwrap().foreign = true;
    rig.fold(session);
    let other = rig.request(&asked("db"));
    assert_eq!(rig.turn(), [other]);
}
