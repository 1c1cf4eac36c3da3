//! Limits, fairness, quotas and outages, with many sessions.

use super::*;

fn limited(change: impl FnOnce(&mut Limits)) -> WaitingRig {
    let mut limits = Limits { repository: 0, server: 0, namespace: 0, pool: 0, overall: 0, ..Limits::default() };
    change(&mut limits);
    WaitingRig::new(limits)
}

/// Starts and ends everything that is planned until nothing goes any more; returns the most that ran at once.
fn drain(rig: &mut WaitingRig) -> (usize, usize) {
    let (mut most, mut all) = (0, 0);
    loop {
        let planned = rig.turn();
        if planned.is_empty() {
            return (most, all);
        }
        most = most.max(planned.len());
        all += planned.len();
        for uid in planned {
            rig.start(uid);
            rig.end(uid);
        }
    }
}

#[test]
fn every_limit_holds_and_everybody_gets_his_turn() {
    let cases: [(&str, WaitingRig, usize); 6] = [
        ("server", limited(|limits| limits.server = 3), 3),
        ("repository", limited(|limits| limits.repository = 4), 4),
        ("namespace", limited(|limits| limits.namespace = 5), 5),
        ("pool", limited(|limits| limits.pool = 6), 6),
        ("overall", limited(|limits| limits.overall = 7), 7),
        ("queue", limited(|_| {}), 64),
    ];
    for (name, mut rig, limit) in cases {
        for number in 0..100 {
            rig.request(&asked(format!("a-{number}")));
        }
        assert_eq!(drain(&mut rig), (limit, 100), "{name}");
        assert!(rig.room.waiters.is_empty() && rig.room.lines.is_empty() && rig.room.siblings.is_empty(), "{name}");
        assert!(rig.room.timers.is_empty() && rig.room.within_quota.is_empty(), "{name}");
        assert!(rig.room.counts.is_empty(), "{name}: {:?}", rig.room.counts);
    }
}

#[test]
fn two_servers_and_two_repositories_have_limits_of_their_own() {
    let mut rig = limited(|limits| limits.server = 2);
    for number in 0..10 {
        rig.request(&asked(format!("a-{number}")));
        rig.request(&asked(format!("b-{number}")));
    }
    assert_eq!(rig.turn().len(), 4);
}

#[test]
fn a_namespace_with_many_sessions_does_not_delay_another_and_weights_count() {
    let mut rig = limited(|limits| {
        limits.overall = 8;
        limits.weights.insert("gold".to_owned(), 3);
    });
    let crowd = |rig: &mut WaitingRig, namespace, name: &str, number: usize| {
        for index in 0..number {
            rig.request(&AskedSession { namespace, ..asked(format!("{name}-{index}")) });
        }
    };
    crowd(&mut rig, "crowd", "a", 500);
    let running = rig.turn();
    assert_eq!(running.len(), 8);
    crowd(&mut rig, "gold", "b", 500);
    let single = rig.request(&AskedSession { namespace: "small", ..asked("c-0") });
    assert!(rig.turn().is_empty());
    rig.end(running[0]);
    rig.end(running[1]);
    let next = rig.turn();
    assert!(next.contains(&single), "a namespace that has nothing comes before the crowd");
    for uid in &running[2..] {
        rig.end(*uid);
    }
    let mut held = rig.turn();
    held.extend(next.into_iter().filter(|uid| *uid != single));
    let gold = held.iter().filter(|uid| rig.sessions[*uid].key.namespace == "gold").count();
    assert!((5..=6).contains(&gold), "three of four places are gold's: {gold} of {}", held.len());
}

#[test]
fn an_urgent_session_goes_before_hundreds_that_wait_for_locks_and_thousands_for_retries() {
    let mut rig = limited(|limits| limits.overall = 5000);
    let holder = rig.request(&asked("locked"));
    rig.turn();
    rig.requests(300, &asked("locked"));
    rig.turn();
    for number in 0..3000 {
        let session = rig.request(&asked(format!("r-{number}")));
        rig.turn();
        rig.start(session);
        rig.retry(session, Code::Stalled, 30);
    }
    let urgent = rig.request(&AskedSession { urgent: true, ..asked("free") });
    assert_eq!(rig.look(), Some(urgent));
    assert_eq!(rig.admit(urgent), Admission::Go);
    rig.end(holder);
}

#[test]
fn while_a_server_does_not_answer_one_session_tries_it_and_its_success_wakes_the_others() {
    let mut rig = limited(|limits| limits.server = 10);
    let down: Vec<Uuid> = (0..20).map(|number| rig.request(&asked(format!("down-{number}")))).collect();
    let up = rig.request(&asked("up-1"));
    let planned = rig.turn();
    assert_eq!(planned.len(), 11);
    for uid in planned.iter().filter(|uid| **uid != up) {
        rig.start(*uid);
        rig.retry(*uid, Code::DatabaseUnreachable, 10);
    }
    assert!(rig.turn().is_empty(), "nobody tries at once");
    assert_eq!(rig.cause(down[15]), "DatabaseUnreachable");
    for _ in 0..3 {
        rig.seconds += 10;
        let probe = rig.turn();
        assert_eq!(probe.len(), 1, "one at a time");
        rig.start(probe[0]);
        rig.retry(probe[0], Code::DatabaseUnreachable, 10);
    }
    rig.seconds += 10;
    let probe = rig.turn();
    assert_eq!(probe.len(), 1);
    rig.start(probe[0]);
    rig.commit(probe[0]);
    assert_eq!(rig.turn().len(), 9, "up to the limit of the server");
    assert!(rig.sessions[&up].phase == Phase::Planned);
}

#[test]
fn a_session_that_runs_for_a_while_has_reached_its_server() {
    let mut rig = limited(|limits| limits.server = 10);
    let first = rig.request(&asked("down-1"));
    rig.turn();
    rig.start(first);
    rig.retry(first, Code::DatabaseUnreachable, 5);
    let others: Vec<Uuid> = (2..5).map(|number| rig.request(&asked(format!("down-{number}")))).collect();
    assert!(rig.turn().is_empty());
    rig.seconds += 5;
    let probe = rig.turn();
    assert_eq!(probe.len(), 1);
    rig.start(probe[0]);
    rig.seconds += 29;
    assert!(rig.turn().is_empty());
    rig.seconds += 1;
    assert_eq!(rig.turn().len(), others.len(), "a dump may take hours before it commits");
}

#[test]
fn a_storage_that_does_not_answer_is_tried_by_one_session() {
    let mut rig = limited(|_| {});
    let sessions: Vec<Uuid> = (0..5).map(|number| rig.request(&asked(format!("{number}")))).collect();
    rig.turn();
    for uid in &sessions {
        rig.start(*uid);
        rig.retry(*uid, Code::StorageUnreachable, 5);
    }
    rig.seconds += 5;
    assert_eq!(rig.turn().len(), 1);
    assert_eq!(rig.cause(sessions[4]), "StorageUnreachable");
}

#[test]
fn a_namespace_beyond_its_quota_waits_and_beyond_that_it_is_refused() {
    let mut rig = limited(|limits| limits.open = 10);
    for number in 0..10 + quota::QUOTA_LINE + 5 {
        rig.request(&asked(format!("a-{number}")));
    }
    let other = rig.request(&AskedSession { namespace: "other", ..asked("b-0") });
    let mut looks = Vec::new();
    while let Some(look) = rig.room.next(rig.now()) {
        let uid = look.session.key.uid;
        if look.verdict == QuotaVerdict::StandInLine {
            let now = rig.now();
            rig.room.stand_in_quota_line(uid, look.number, (Overlap::Forbidden, None), now);
        }
        looks.push((uid, look.verdict));
    }
    let refused = looks.iter().filter(|(_, verdict)| *verdict == QuotaVerdict::Refuse).count();
    let in_line = looks.iter().filter(|(_, verdict)| *verdict == QuotaVerdict::StandInLine).count();
    assert_eq!((looks.len(), in_line, refused), (1016, 1000, 5));
    assert!(looks.contains(&(other, QuotaVerdict::Plan)));
    assert_eq!(rig.room.counts["QuotaExceeded"], 1005);
    let first = looks.iter().find(|(_, verdict)| *verdict == QuotaVerdict::Plan).unwrap().0;
    rig.end(first);
    let next = rig.room.next(rig.now()).unwrap();
    assert_eq!((next.session.first_sequence, next.verdict), (11, QuotaVerdict::Plan), "the oldest that waits");
}

#[test]
fn an_outage_is_tried_while_older_sessions_still_run() {
    let mut rig = limited(|_| {});
    let old = rig.request(&asked("a-1"));
    rig.turn();
    rig.start(old);
    let failing = rig.request(&asked("a-2"));
    rig.turn();
    rig.start(failing);
    rig.retry(failing, Code::DatabaseUnreachable, 5);
    rig.seconds += 5;
    assert_eq!(rig.turn(), [failing], "the dump that began before does not count");
}

#[test]
fn what_does_not_answer_is_not_tried_beyond_its_limit() {
    let mut rig = limited(|limits| limits.server = 1);
    let old = rig.request(&asked("a-1"));
    rig.turn();
    rig.start(old);
    // Another planner planned it at the same moment.
    let failing = rig.request(&asked("a-2"));
    rig.append(failing, Fact::Planned(Box::new(rig.plans[&failing].clone())));
    rig.start(failing);
    rig.retry(failing, Code::DatabaseUnreachable, 5);
    rig.seconds += 6;
    assert!(rig.turn().is_empty(), "the server is used already");
    rig.end(old);
    assert_eq!(rig.turn(), [failing]);
}
