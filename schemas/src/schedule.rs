//! Schedules: which slot is due is a pure function of (schedule, zone, jitter, high-water mark, now).
//! It must not read a clock. Cron arithmetic and daylight saving are croner's: a fixed time inside the skipped hour runs
//! at its end, and in the repeated hour it runs once; intervals run through both.

mod parse;

use std::time::Duration;

use chrono::{DateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use croner::{Cron, JobType};
use jiff::Timestamp;
use uuid::Uuid;

pub use parse::{ScheduleError, split_zone};

/// A missed slot older than this is not caught up, unless the configuration says otherwise.
pub const DEFAULT_STARTING_DEADLINE: Duration = Duration::from_secs(3600);

/// Age up to which a missed slot is caught up, by the configuration's `startingDeadlineSeconds`.
#[must_use]
pub fn starting_deadline(seconds: Option<i64>) -> Duration {
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DEFAULT_STARTING_DEADLINE, Duration::from_secs)
}

/// Upper bound of slots that one search for missed slots looks at.
const SEARCH_LIMIT: u32 = 100_000;

/// A parsed schedule of one configuration.
#[derive(Debug, Clone)]
pub struct Schedule {
    rhythm: Rhythm,
    zone: Tz,
    offset: Duration,
}

#[derive(Debug, Clone)]
enum Rhythm {
    Cron(Box<Cron>),
    /// A period in seconds. Its slots are the multiples since 1970, so that every process finds the same ones.
    Every(i64),
}

/// A slot that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The nominal time, without jitter: the slot's identity.
    pub slot: Timestamp,
    /// Number of slots between the mark and this one, which were not run.
    pub missed: u32,
}

impl Schedule {
    /// `uid` spreads the jitter: the same configuration always gets the same part of it.
    pub fn parse(text: &str, zone: Option<&str>, jitter: Duration, uid: Uuid) -> Result<Self, ScheduleError> {
        let (rhythm, zone) = parse::parse(text, zone)?;
        let offset = match jitter.as_secs() {
            0 => Duration::ZERO,
            seconds => Duration::from_secs(u64::try_from(uid.as_u128() % u128::from(seconds)).unwrap_or(0)),
        };
        Ok(Self { rhythm, zone, offset })
    }

    /// The first slot after `time`.
    #[must_use]
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let cron = match &self.rhythm {
            Rhythm::Every(period) => {
                let last = time.as_second().div_euclid(*period);
                return Timestamp::from_second((last + 1).checked_mul(*period)?).ok();
            }
            Rhythm::Cron(cron) => cron,
        };
        let next = match cron.determine_job_type() {
            JobType::FixedTime => {
                let time = self.zone.from_utc_datetime(&to_chrono(time)?.naive_utc());
                cron.find_next_occurrence(&time, false).ok()?.to_utc()
            }
            JobType::IntervalWildcard => self.next_of_interval(cron, to_chrono(time)?)?,
        };
        Timestamp::from_second(next.timestamp()).ok()
    }

    /// Finds the next slot of an interval such as `*/30`, which follows the wall clock through a skipped hour and through
    /// both passes of a repeated one. croner leaves out the second pass, so this searches under one UTC offset at a time.
    fn next_of_interval(&self, cron: &Cron, mut from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let offset_at = |time: DateTime<Utc>| self.zone.offset_from_utc_datetime(&time.naive_utc()).fix();
        let mut inclusive = false;
        loop {
            let offset = offset_at(from);
            let next = cron.find_next_occurrence(&from.with_timezone(&offset), inclusive).ok()?.to_utc();
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

    /// The time at which a slot runs: its nominal time plus this configuration's part of the jitter.
    #[must_use]
    pub fn fires_at(&self, slot: Timestamp) -> Timestamp {
        slot.checked_add(self.offset).unwrap_or(Timestamp::MAX)
    }

    /// The latest slot after `mark` that has come and is not older than `deadline`. Earlier ones count as missed.
    #[must_use]
    pub fn due(&self, mark: Timestamp, now: Timestamp, deadline: Duration) -> Option<Due> {
        let oldest =
            now.checked_sub(self.offset.saturating_add(deadline).saturating_add(Duration::from_secs(1))).ok()?;
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

#[cfg(test)]
mod tests;
