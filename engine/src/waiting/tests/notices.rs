//! What is told of waiting sessions, and how seldom.

use super::super::notices::{BATCH, SessionsAhead};
use super::*;

fn told(rig: &mut WaitingRig) -> Vec<(Uuid, String)> {
    let notices = rig.room.take_notices(rig.now().tick);
    notices.into_iter().map(|notice| (notice.session, notice.message(None))).collect()
}

/// A rig whose notices are wanted, with a session that uses `locked`.
fn listening() -> (WaitingRig, Uuid) {
    let mut rig = room();
    rig.room.want_notices(true);
    let holder = rig.request(&asked("locked"));
    assert_eq!(rig.turn(), [holder]);
    (rig, holder)
}

#[test]
fn a_wait_is_told_after_two_seconds_with_its_reason_the_holder_and_the_position() {
    let (mut rig, holder) = listening();
    let waiting = rig.requests(3, &asked("locked"));
    rig.turn();
    assert!(told(&mut rig).is_empty(), "most waits are over in a moment");
    assert_eq!(rig.room.next_notice(), Some(Duration::from_secs(2)));
    rig.seconds = 2;
    let notices = rig.room.take_notices(rig.now().tick);
    let of = |uid| notices.iter().find(|notice| notice.session == uid).unwrap();
    assert_eq!((notices.len(), of(waiting[0]).cause.reason(), of(waiting[0]).holder), (3, "TargetBusy", Some(holder)));
    assert_eq!(
        of(waiting[2]).message(Some("shop-1")),
        "waits for AppBinding/demo/locked, which session `shop-1` uses; 2 sessions are ahead of it"
    );
    assert!(of(waiting[0]).message(Some("shop-1")).ends_with("; it is next"));
    rig.seconds = 3600;
    assert!(told(&mut rig).is_empty(), "nothing has changed");
    assert_eq!(rig.room.next_notice(), None, "nobody looks again");
}

#[test]
fn a_new_holder_and_a_new_position_are_told_and_a_planned_session_is_not() {
    let (mut rig, holder) = listening();
    let waiting = rig.requests(2, &asked("locked"));
    rig.turn();
    assert!(told(&mut rig).is_empty());
    rig.seconds = 2;
    assert_eq!(told(&mut rig).len(), 2);
    rig.end(holder);
    assert_eq!(rig.turn(), [waiting[0]]);
    assert!(told(&mut rig).is_empty());
    rig.seconds = 11;
    assert!(told(&mut rig).is_empty(), "not more often than every ten seconds");
    rig.seconds = 12;
    let notices = rig.room.take_notices(rig.now().tick);
    assert_eq!(notices.len(), 1);
    assert_eq!((notices[0].session, notices[0].holder), (waiting[1], Some(waiting[0])));
    assert!(notices[0].message(None).ends_with("it is next"), "{notices:?}");
}

#[test]
fn a_line_of_ten_thousand_is_told_in_batches_and_its_moves_to_few() {
    let (mut rig, mut holder) = listening();
    rig.requests(10_000, &asked("locked"));
    let urgent = rig.request(&AskedSession { urgent: true, ..asked("locked") });
    rig.turn();
    assert!(told(&mut rig).is_empty());
    rig.seconds = 2;
    let first = told(&mut rig);
    assert_eq!((first.len(), first[0].0), (BATCH, urgent), "those that a person asked for are told first");
    assert!(told(&mut rig).is_empty(), "one batch a second");
    while rig.room.next_notice().is_some() {
        rig.seconds += 1;
        assert!(told(&mut rig).len() <= BATCH);
    }
    let mut notices = 0;
    for _ in 0..100 {
        rig.seconds += 15;
        rig.end(holder);
        holder = rig.turn()[0];
        for _ in 0..30 {
            notices += told(&mut rig).len();
            rig.seconds += 1;
        }
    }
    // Four are told of each new holder, and one crosses each power of two.
    assert!((400..2000).contains(&notices), "{notices}");
    assert!(rig.room.waiters.len() == 9_901);
}

#[test]
fn nothing_is_kept_while_nobody_listens_and_everything_is_told_to_one_that_begins() {
    let mut rig = room();
    let holder = rig.request(&asked("locked"));
    assert_eq!(rig.turn(), [holder]);
    let waiting = rig.requests(2, &asked("locked"));
    rig.turn();
    rig.seconds = 100;
    assert!(told(&mut rig).is_empty() && rig.room.next_notice().is_none());
    for _ in 0..2 {
        rig.room.want_notices(true);
        assert!(told(&mut rig).is_empty());
        rig.seconds += 2;
        let all: Vec<Uuid> = told(&mut rig).into_iter().map(|(uid, _)| uid).collect();
        assert_eq!(all, waiting);
    }
    rig.room.want_notices(false);
    assert!(told(&mut rig).is_empty() && rig.room.next_notice().is_none());
}

#[test]
fn a_limit_is_told_with_its_number_and_an_outage_as_one() {
    let mut rig = WaitingRig::new(Limits { server: 1, ..Limits::default() });
    rig.room.want_notices(true);
    let first = rig.request(&asked("db-1"));
    let second = rig.request(&asked("db-2"));
    rig.turn();
    assert!(told(&mut rig).is_empty());
    rig.seconds = 2;
    assert_eq!(told(&mut rig)[0].1, "waits for database server db:3307: at most 1 at a time");
    rig.start(first);
    rig.retry(first, Code::DatabaseUnreachable, 60);
    assert!(told(&mut rig).is_empty());
    rig.seconds = 12;
    let notices = rig.room.take_notices(rig.now().tick);
    assert_eq!(notices.len(), 1, "a retry is told by its own status: {notices:?}");
    assert_eq!((notices[0].session, notices[0].cause.reason()), (second, "DatabaseUnreachable"));
    assert_eq!(notices[0].message(None), "waits for database server db:3307, which does not answer");
}

#[test]
fn a_position_is_exact_near_the_front_and_within_a_factor_of_two_behind() {
    let texts = [0, 1, 3, 4, 7, 8, 1000].map(|number| SessionsAhead::of(number).to_string());
    assert_eq!(
        texts,
        [
            "it is next",
            "1 session is ahead of it",
            "3 sessions are ahead of it",
            "4 to 7 sessions are ahead of it",
            "4 to 7 sessions are ahead of it",
            "8 to 15 sessions are ahead of it",
            "512 to 1023 sessions are ahead of it",
        ]
    );
}
