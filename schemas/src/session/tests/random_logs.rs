//! Random logs: whatever was appended, the fold keeps its promises.

use proptest::prelude::*;

use super::*;

/// A log of chosen facts: three of four choices are legal ones, so that the walks get somewhere.
fn log(course: Course, choices: &[u16]) -> Vec<Recorded> {
    let mut session = Session::new(key(course));
    let mut facts = Vec::new();
    for (sequence, choice) in (1..).zip(choices) {
        let (arbitrary, choice) = (choice % 4 == 0, usize::from(choice / 4));
        let legal: Vec<(Author, FactKind)> = AUTHORS
            .into_iter()
            .flat_map(|author| FactKind::ALL.map(|fact| (author, fact)))
            .filter(|(author, fact)| arbitrary || transition(session.course(), session.phase, *author, *fact).is_some())
            .collect();
        let Some((author, chosen)) = (!legal.is_empty()).then(|| legal[choice % legal.len()]) else { break };
        let signed = match (chosen, author) {
            (FactKind::Started, _) => Some(holder(session.attempts + 1)),
            (_, Author::Holder) => session.holder,
            _ => None,
        };
        let next = recorded(sequence, Some(fact(course, chosen, signed)));
        session.apply(next.clone());
        facts.push(next);
    }
    facts
}

/// The content of a session, without the position it has read to.
fn said(session: &Session) -> Session {
    Session { last_sequence: 0, last_time: None, illegal_facts: 0, ..session.clone() }
}

fn courses() -> impl Strategy<Value = Course> {
    prop_oneof![Just(Course::Backup), Just(Course::Restore), Just(Course::DryRun)]
}

proptest! {
    #[test]
    fn an_ended_session_never_changes(course in courses(), choices in prop::collection::vec(any::<u16>(), 1..60)) {
        let mut session = Session::new(key(course));
        for recorded in log(course, &choices) {
            let before = session.clone();
            session.apply(recorded);
            if before.phase.is_end() {
                prop_assert_eq!(said(&before), said(&session));
            }
        }
        if session.phase.is_end() {
            for (sequence, late) in (1000..).zip(FactKind::ALL) {
                let before = said(&session);
                session.apply(recorded(sequence, Some(fact(course, late, session.holder))));
                prop_assert_eq!(before, said(&session));
            }
        }
    }

    #[test]
    fn a_replay_changes_nothing(course in courses(), choices in prop::collection::vec(any::<u16>(), 1..60), again in any::<prop::sample::Index>()) {
        let facts = log(course, &choices);
        let whole = Session::fold(key(course), facts.clone());
        let cut = again.index(facts.len() + 1);
        let replayed = facts[..cut].iter().chain(&facts[..cut]).chain(&facts[cut / 2..]).cloned();
        prop_assert_eq!(&whole, &Session::fold(key(course), replayed));
        let doubled = facts.iter().flat_map(|fact| [fact.clone(), fact.clone()]);
        prop_assert_eq!(whole, Session::fold(key(course), doubled));
    }

    #[test]
    fn a_fact_of_a_worker_that_does_not_hold_the_session_changes_nothing(course in courses(), choices in prop::collection::vec(any::<u16>(), 1..40)) {
        let mut session = Session::fold(key(course), log(course, &choices));
        let before = said(&session);
        for (sequence, late) in (1000..).zip(FactKind::ALL) {
            let signed = Some(holder(99));
            let is_the_workers = fact(course, late, signed).holder().is_some();
            // `started` makes a holder; past `restoring` whoever is handed the session says that its holder died.
            let takes_over = late == FactKind::Started || (session.phase == Phase::Restoring && late == FactKind::Failed);
            if is_the_workers && !takes_over && session.phase != Phase::Nothing {
                session.apply(recorded(sequence, Some(fact(course, late, signed))));
                prop_assert_eq!(&before, &said(&session), "{:?}", late);
            }
        }
    }

    #[test]
    fn a_restore_that_fed_bytes_is_never_started_again(choices in prop::collection::vec(any::<u16>(), 1..80)) {
        let mut session = Session::new(key(Course::Restore));
        let mut attempts = None;
        for recorded in log(Course::Restore, &choices) {
            session.apply(recorded);
            if session.phase == Phase::Restoring {
                attempts.get_or_insert(session.attempts);
            }
            if let Some(attempts) = attempts {
                prop_assert_eq!(session.attempts, attempts);
                prop_assert!(session.phase == Phase::Restoring || session.phase.is_end());
            }
        }
    }

    #[test]
    fn a_dry_run_never_restores(choices in prop::collection::vec(any::<u16>(), 1..80)) {
        let mut session = Session::new(key(Course::DryRun));
        let planned = [FactKind::Requested, FactKind::Planned].map(|kind| Some(fact(Course::DryRun, kind, None)));
        for (sequence, fact) in (1..).zip(planned) {
            session.apply(recorded(sequence, fact));
        }
        for recorded in log(Course::DryRun, &choices) {
            session.apply(Recorded { sequence: recorded.sequence + 2, ..recorded });
            prop_assert!(session.phase != Phase::Restoring && session.restoring_snapshot.is_none());
        }
    }

    #[test]
    fn after_an_unknown_fact_nothing_may_be_appended(course in courses(), choices in prop::collection::vec(any::<u16>(), 1..40)) {
        let mut session = Session::fold(key(course), log(course, &choices));
        let phase = session.phase;
        session.apply(recorded(1000, None));
        prop_assert_eq!((session.phase, session.last_sequence), (phase, 1000));
        for author in AUTHORS {
            for fact in FactKind::ALL {
                prop_assert_eq!(session.check(author, fact), Err(IllegalFact::LaterVersion));
            }
        }
    }
}

#[test]
fn random_logs_reach_every_phase() {
    let mut seen = BTreeSet::new();
    for seed in 0..500u16 {
        let choices: Vec<u16> = (1..40u16)
            .map(|i| seed.wrapping_mul(40_503).wrapping_add(i.wrapping_mul(i)).wrapping_mul(25_173))
            .collect();
        for course in [Course::Backup, Course::Restore] {
            let mut session = Session::new(key(course));
            for recorded in log(course, &choices) {
                session.apply(recorded);
                seen.insert(format!("{:?}", session.phase));
            }
        }
    }
    for phase in &PHASES[1..] {
        assert!(seen.contains(&format!("{phase:?}")), "{phase:?} not among {seen:?}");
    }
}
