//! Reads a schedule as cron programs write it: five fields or a macro, with a time zone in front where there is one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};

use super::Rhythm;
use crate::duration::GoDuration;

const SHORTEST: Duration = Duration::from_secs(60);
/// Expressions that are remembered. When there are more, all are forgotten.
const REMEMBERED: usize = 1024;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleError {
    #[error("schedule: must not be empty (example \"0 2 * * *\")")]
    Empty,
    #[error("schedule: expected 5 fields, got {0}")]
    FieldCount(usize),
    #[error("schedule: 6 fields: seconds are not supported; the shortest interval is a minute")]
    Seconds,
    #[error(
        "schedule: `{0}` is not supported; use @yearly, @monthly, @weekly, @daily, @hourly, or @every with a duration"
    )]
    Macro(String),
    #[error("schedule: `{0}` needs a duration, such as `@every 1h30m`, in the units h, m and s, and at most 2562047h")]
    Interval(String),
    #[error("schedule: `{0}` is too often; the shortest interval is a minute")]
    TooOften(String),
    #[error("schedule: field {position} ({name}) `{value}` is not valid; {expected}")]
    Field { position: usize, name: &'static str, value: String, expected: &'static str },
    #[error("schedule: `{0}` is not a cron expression")]
    Syntax(String),
    #[error("schedule: `{0}` never matches")]
    Never(String),
    #[error("timeZone: unknown time zone `{0}`; use an IANA name such as Europe/Berlin")]
    TimeZone(String),
    #[error("timeZone: `{field}` contradicts `TZ={schedule}` in schedule; name one time zone")]
    TimeZones { field: String, schedule: String },
}

const FIELDS: [(&str, &str); 5] = [
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31"),
    ("month", "1-12 or JAN-DEC"),
    ("day of week", "0-7 or SUN-SAT"),
];

/// Parses a schedule and its time zone. `zone` is the value of the field `timeZone`.
pub(super) fn parse(text: &str, zone: Option<&str>) -> Result<(Rhythm, Tz), ScheduleError> {
    let (own_zone, text) = split_zone(text.trim());
    let parsed = |name: &str| name.parse::<Tz>().map_err(|_| ScheduleError::TimeZone(name.to_owned()));
    let zone = match (zone, own_zone) {
        (Some(field), Some(schedule)) if parsed(field)? != parsed(schedule)? => {
            return Err(ScheduleError::TimeZones { field: field.to_owned(), schedule: schedule.to_owned() });
        }
        (Some(name), _) | (None, Some(name)) => parsed(name)?,
        (None, None) => Tz::UTC,
    };
    Ok((rhythm(text)?, zone))
}

/// Splits `TZ=Asia/Tokyo 0 3 * * *` into its time zone, if it has one, and the rest. As in Go, an empty name is UTC.
#[must_use]
pub fn split_zone(text: &str) -> (Option<&str>, &str) {
    let Some(rest) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) else { return (None, text) };
    let (zone, schedule) = rest.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((rest, ""));
    (Some(if zone.is_empty() { "UTC" } else { zone }), schedule.trim())
}

fn rhythm(text: &str) -> Result<Rhythm, ScheduleError> {
    if let Some(interval) = text.strip_prefix("@every").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
    {
        return every(text, interval.trim());
    }
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other if other.starts_with('@') => return Err(ScheduleError::Macro(other.to_owned())),
        fields => fields,
    };
    remembered(fields).map(Rhythm::Cron)
}

/// Parses an expression once. Thousands of configurations share few of them, each is read several times, and an expression takes
/// longer to parse than the rest of its configuration.
fn remembered(text: &str) -> Result<Arc<Cron>, ScheduleError> {
    static KNOWN: Mutex<Option<HashMap<String, Arc<Cron>>>> = Mutex::new(None);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cron) = known().as_ref().and_then(|known| known.get(text)) {
        return Ok(Arc::clone(cron));
    }
    let cron = Arc::new(parse_cron(text)?);
    let mut known = known();
    let known = known.get_or_insert_default();
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(text.to_owned(), Arc::clone(&cron));
    Ok(cron)
}

fn every(text: &str, interval: &str) -> Result<Rhythm, ScheduleError> {
    let interval = GoDuration::parse(interval).map_err(|_| ScheduleError::Interval(text.to_owned()))?;
    let period = Duration::from(interval);
    if period < SHORTEST {
        return Err(ScheduleError::TooOften(text.to_owned()));
    }
    Ok(Rhythm::Every(i64::try_from(period.as_secs()).expect("durations fit into 64 bits of nanoseconds")))
}

fn parse_cron(text: &str) -> Result<Cron, ScheduleError> {
    if text.is_empty() {
        return Err(ScheduleError::Empty);
    }
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    match fields.len() {
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

/// Finds the field that does not parse, by trying each one alone.
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
