//! The last slot of a configuration that was decided, as far as it can be believed. It must not read a clock.

use jiff::Timestamp;

use crate::clock::is_ahead;

/// Where the search for slots begins, when a configuration is seen. A new one has no slots before its creation. A mark from
/// the future was set while a clock was wrong: it would stop the schedule until then, so it is not believed. The slots
/// before it may be found a second time; their sessions have the same uids and are not requested again.
pub(super) fn first(stored: Option<Timestamp>, created: Timestamp, now: Timestamp) -> Timestamp {
    believed(stored, created.min(now), now)
}

/// The later of the mark that this process knows and the stored one, which another process may have moved.
pub(super) fn believed(stored: Option<Timestamp>, known: Timestamp, now: Timestamp) -> Timestamp {
    stored.filter(|mark| !is_ahead(*mark, now)).map_or(known, |mark| mark.max(known))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeSet;
    use std::time::Duration;

    use lagan_schemas::schedule::Schedule;
    use uuid::Uuid;

    use super::*;
    use crate::fixtures::at;

    const HOUR: i64 = 3600;

    /// Looks every minute, as a scheduler that never restarts does; gives the slots that it finds.
    struct Follower {
        schedule: Schedule,
        stored: Option<Timestamp>,
        known: Timestamp,
        found: Vec<Timestamp>,
    }

    impl Follower {
        fn arm(stored: Option<Timestamp>, now: Timestamp) -> Self {
            let schedule = Schedule::parse("@hourly", None, Duration::ZERO, Uuid::nil()).unwrap();
            Self { schedule, stored, known: first(stored, at(-HOUR), now), found: Vec::new() }
        }

        fn follow(&mut self, from: i64, to: i64) {
            for second in (from..to).step_by(60) {
                let mark = believed(self.stored, self.known, at(second));
                if let Some(due) = self.schedule.due(mark, at(second), Duration::from_secs(3600)) {
                    self.found.push(due.slot);
                    self.known = due.slot;
                    self.stored = self.stored.max(Some(due.slot));
                }
            }
        }
    }

    #[test]
    fn schedules_go_on_after_a_clock_was_a_day_ahead_and_no_slot_is_lost() {
        let mut before = Follower::arm(None, at(0));
        before.follow(0, 2 * HOUR);
        before.follow(26 * HOUR, 27 * HOUR);
        let ahead = before.stored;
        assert!(is_ahead(ahead.unwrap(), at(3 * HOUR)));
        let mut after = Follower::arm(ahead, at(2 * HOUR));
        after.follow(2 * HOUR, 24 * HOUR);
        let found: BTreeSet<_> =
            before.found.iter().chain(&after.found).copied().filter(|s| *s < at(24 * HOUR)).collect();
        let expected: BTreeSet<_> = (0..24 * HOUR).step_by(60).map(at).filter(|s| s.as_second() % HOUR == 0).collect();
        assert!(found.is_superset(&expected), "lost: {:?}", expected.difference(&found));
    }

    #[test]
    fn a_mark_of_the_past_is_believed_and_a_creation_in_the_future_is_not() {
        assert_eq!(first(Some(at(5)), at(-10), at(60)), at(5));
        assert_eq!(first(None, at(HOUR), at(60)), at(60));
        assert_eq!(first(Some(at(HOUR)), at(-10), at(60)), at(-10));
        assert_eq!(believed(Some(at(HOUR)), at(30), at(60)), at(30));
        assert_eq!(believed(Some(at(50)), at(30), at(60)), at(50));
    }
}
