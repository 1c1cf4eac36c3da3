//! Schedules: which slot is due is a pure function of (schedule, zone, jitter, high-water mark, now).
//! It must not read a clock. Cron arithmetic and DST are croner's: a fixed time in the gap runs at the gap's
//! end, in the overlap once; intervals run through both.

use std::time::Duration;

use chrono::{DateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, JobType};
use jiff::Timestamp;
use uuid::Uuid;

/// A missed slot older than this is not caught up, unless the configuration says otherwise.
pub const DEFAULT_STARTING_DEADLINE: Duration = Duration::from_secs(3600);

/// A search for missed slots looks at no more than this many.
const SEARCH_LIMIT: u32 = 100_000;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleError {
    #[error("schedule: must not be empty (example \"0 2 * * *\")")]
    Empty,
    #[error("schedule: expected 5 fields, got {0}")]
    FieldCount(usize),
    #[error("schedule: 6 fields: seconds are not supported; the shortest interval is a minute")]
    Seconds,
    #[error("schedule: `{0}` is not supported; use @yearly, @monthly, @weekly, @daily or @hourly")]
    Macro(String),
    #[error("schedule: field {position} ({name}) `{value}` is not valid; {expected}")]
    Field { position: usize, name: &'static str, value: String, expected: &'static str },
    #[error("schedule: `{0}` is not a cron expression")]
    Syntax(String),
    #[error("schedule: `{0}` never matches")]
    Never(String),
    #[error("timeZone: unknown time zone `{0}`; use an IANA name such as Europe/Berlin")]
    TimeZone(String),
}

/// A parsed schedule of one configuration.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
    offset: Duration,
}

/// What the scheduler should do about a configuration's slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The nominal time: the slot's identity, without jitter.
    pub slot: Timestamp,
    /// Slots between the mark and this one, which nobody ran.
    pub missed: u32,
}

const FIELDS: [(&str, &str); 5] = [
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31"),
    ("month", "1-12 or JAN-DEC"),
    ("day of week", "0-7 or SUN-SAT"),
];

impl Schedule {
    /// `uid` spreads the jitter: the same configuration always gets the same part of it.
    pub fn parse(text: &str, zone: Option<&str>, jitter: Duration, uid: Uuid) -> Result<Self, ScheduleError> {
        let zone = zone.unwrap_or("UTC");
        let zone = zone.parse::<Tz>().map_err(|_| ScheduleError::TimeZone(zone.to_owned()))?;
        let cron = parse_cron(text.trim())?;
        let offset = match jitter.as_secs() {
            0 => Duration::ZERO,
            seconds => Duration::from_secs(u64::try_from(uid.as_u128() % u128::from(seconds)).unwrap_or(0)),
        };
        Ok(Self { cron, zone, offset })
    }

    /// The first slot after `time`.
    #[must_use]
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let next = match self.cron.determine_job_type() {
            JobType::FixedTime => {
                let time = self.zone.from_utc_datetime(&to_chrono(time)?.naive_utc());
                self.cron.find_next_occurrence(&time, false).ok()?.to_utc()
            }
            JobType::IntervalWildcard => self.next_of_interval(to_chrono(time)?)?,
        };
        Timestamp::from_second(next.timestamp()).ok()
    }

    /// An interval runs by the clock on the wall, through the gap and through both passes of the overlap
    /// (croner alone leaves out the second pass): search under one UTC offset up to the next change of it.
    fn next_of_interval(&self, mut from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let offset_at = |time: DateTime<Utc>| self.zone.offset_from_utc_datetime(&time.naive_utc()).fix();
        let mut inclusive = false;
        loop {
            let offset = offset_at(from);
            let next = self.cron.find_next_occurrence(&from.with_timezone(&offset), inclusive).ok()?.to_utc();
            if offset_at(next) == offset {
                return Some(next);
            }
            let (mut before, mut after) = (from.timestamp(), next.timestamp());
            while after - before > 1 {
                let middle = i64::midpoint(before, after);
                let same = offset_at(DateTime::from_timestamp(middle, 0)?) == offset;
                *(if same { &mut before } else { &mut after }) = middle;
            }
            (from, inclusive) = (DateTime::from_timestamp(after, 0)?, true);
        }
    }

    /// When a slot is to run: its nominal time and this configuration's part of the jitter.
    #[must_use]
    pub fn fires_at(&self, slot: Timestamp) -> Timestamp {
        slot + self.offset
    }

    /// The latest slot after `mark` that has come, if it is not older than `deadline`. Earlier ones are missed.
    #[must_use]
    pub fn due(&self, mark: Timestamp, now: Timestamp, deadline: Duration) -> Option<Due> {
        let oldest = now.checked_sub(self.offset + deadline + Duration::from_secs(1)).ok()?;
        let mut at = mark.max(oldest);
        let mut due = None;
        for missed in 0..SEARCH_LIMIT {
            match self.next_after(at) {
                Some(slot) if self.fires_at(slot) <= now => {
                    due = Some(Due { slot, missed });
                    at = slot;
                }
                _ => break,
            }
        }
        due
    }
}

fn to_chrono(time: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.as_second(), 0)
}

fn parse_cron(text: &str) -> Result<Cron, ScheduleError> {
    if text.is_empty() {
        return Err(ScheduleError::Empty);
    }
    if text.starts_with('@') && !["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly"].contains(&text) {
        return Err(ScheduleError::Macro(text.to_owned()));
    }
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    match fields.len() {
        1 if text.starts_with('@') => {}
        5 => {}
        6 => return Err(ScheduleError::Seconds),
        count => return Err(ScheduleError::FieldCount(count)),
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(text).map_err(|_| guilty_field(&parser, &fields, text))?;
    // An expression such as `0 0 30 2 *` parses and never matches.
    match cron.find_next_occurrence(&DateTime::<Utc>::UNIX_EPOCH, false) {
        Ok(_) => Ok(cron),
        Err(CronError::TimeSearchLimitExceeded) => Err(ScheduleError::Never(text.to_owned())),
        Err(_) => Err(ScheduleError::Syntax(text.to_owned())),
    }
}

/// Finds the field that does not parse by trying each one alone.
fn guilty_field(parser: &CronParser, fields: &[&str], text: &str) -> ScheduleError {
    for (i, field) in fields.iter().enumerate() {
        let mut alone = ["*"; 5];
        alone[i] = field;
        if parser.parse(&alone.join(" ")).is_err() {
            let (name, expected) = FIELDS[i];
            return ScheduleError::Field { position: i + 1, name, value: (*field).to_owned(), expected };
        }
    }
    ScheduleError::Syntax(text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn schedule(text: &str, zone: &str) -> Schedule {
        Schedule::parse(text, Some(zone), Duration::ZERO, Uuid::nil()).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn daylight_saving_changes_follow_the_table() {
        for (text, zone, after, slots) in [
            // Gap: 02:30 does not exist on 2026-03-29; it runs at the gap's end.
            ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
            // Overlap: 02:30 exists twice on 2026-10-25; it runs once.
            ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
            (
                "30 2 * * *",
                "America/New_York",
                "2026-03-07T12:00:00Z",
                ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"],
            ),
            ("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:40:00Z", ["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]),
            ("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:40:00Z", ["2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"]),
            ("0 2 * * *", "UTC", "2026-03-29T00:00:00Z", ["2026-03-29T02:00:00Z", "2026-03-30T02:00:00Z"]),
            (
                "15 2 * * *",
                "Australia/Lord_Howe",
                "2026-10-03T00:00:00Z",
                ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"],
            ),
        ] {
            let schedule = schedule(text, zone);
            let first = schedule.next_after(at(after)).unwrap();
            let second = schedule.next_after(first).unwrap();
            assert_eq!([first, second], slots.map(at), "{text} {zone} after {after}");
        }
    }

    #[test]
    fn many_missed_slots_give_one_run() {
        let due = schedule("* * * * *", "UTC").due(
            at("2026-01-01T00:00:00Z"),
            at("2026-01-01T00:59:30Z"),
            DEFAULT_STARTING_DEADLINE,
        );
        assert_eq!(due, Some(Due { slot: at("2026-01-01T00:59:00Z"), missed: 58 }));
    }

    #[test]
    fn a_slot_that_ran_and_one_that_is_too_old_are_not_due() {
        let daily = schedule("0 2 * * *", "UTC");
        let now = at("2026-01-02T02:30:00Z");
        assert_eq!(daily.due(at("2026-01-02T02:00:00Z"), now, DEFAULT_STARTING_DEADLINE), None);
        assert_eq!(daily.due(at("2026-01-01T02:00:00Z"), now, Duration::from_secs(600)), None);
        assert!(daily.due(at("2026-01-01T02:00:00Z"), now, DEFAULT_STARTING_DEADLINE).is_some());
    }

    #[test]
    fn bad_schedules_say_what_is_wrong() {
        for (text, message) in [
            ("", "schedule: must not be empty (example \"0 2 * * *\")"),
            ("61 * * * *", "schedule: field 1 (minute) `61` is not valid; 0-59"),
            ("* * * *", "schedule: expected 5 fields, got 4"),
            ("* * * * * *", "schedule: 6 fields: seconds are not supported; the shortest interval is a minute"),
            ("0 0 30 2 *", "schedule: `0 0 30 2 *` never matches"),
            ("@reboot", "schedule: `@reboot` is not supported; use @yearly, @monthly, @weekly, @daily or @hourly"),
            ("*/0 * * * *", "schedule: field 1 (minute) `*/0` is not valid; 0-59"),
        ] {
            let error = Schedule::parse(text, None, Duration::ZERO, Uuid::nil()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        for zone in ["Mars/Phobos", "CEST", "UTC+2"] {
            assert!(Schedule::parse("0 2 * * *", Some(zone), Duration::ZERO, Uuid::nil()).is_err(), "{zone}");
        }
    }

    proptest! {
        #[test]
        fn jitter_moves_the_run_and_never_the_slot(uid: u128, jitter in 0u64..7200) {
            let schedule = Schedule::parse("0 * * * *", None, Duration::from_secs(jitter), Uuid::from_u128(uid)).unwrap();
            let slot = at("2026-01-01T05:00:00Z");
            let fires = schedule.fires_at(slot);
            prop_assert!(fires >= slot && fires.duration_since(slot).as_secs() < i64::try_from(jitter.max(1)).unwrap());
            let before = at("2026-01-01T04:00:00Z");
            prop_assert_eq!(schedule.due(before, fires, Duration::from_secs(7200)).map(|d| d.slot), Some(slot));
        }

        #[test]
        fn looking_often_or_seldom_finds_the_same_last_slot(step in 1i64..5000, minutes in 1u32..59) {
            let schedule = schedule(&format!("*/{minutes} * * * *"), "Europe/Berlin");
            let (start, end) = (at("2026-03-28T22:00:00Z"), at("2026-03-29T04:00:00Z"));
            let (mut mark, mut now) = (start, start);
            while now < end {
                now = (now + Duration::from_secs(step.unsigned_abs())).min(end);
                if let Some(due) = schedule.due(mark, now, Duration::from_secs(86_400)) {
                    prop_assert!(due.slot > mark && due.slot <= now);
                    mark = due.slot;
                }
            }
            prop_assert_eq!(schedule.due(start, end, Duration::from_secs(86_400)).map(|d| d.slot), Some(mark).filter(|m| *m > start));
        }
    }
}
