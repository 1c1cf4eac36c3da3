//! Forecasts with exact numbers.
#![allow(clippy::unwrap_used, reason = "tests")]
use uuid::Uuid;

use super::*;

const MINUTE: u64 = 60;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-11-26T12:00:00Z")
}

fn entry(name: impl Into<String>, schedule: &str, minutes: u64) -> ForecastEntry {
    ForecastEntry {
        name: name.into(),
        schedule: Schedule::parse(schedule, None, Duration::ZERO, Uuid::nil()).unwrap(),
        took: Duration::from_secs(minutes * MINUTE),
        time_out: None,
        overlap: ForecastOverlap::Skips,
    }
}

fn many(number: usize, schedule: &str, minutes: u64) -> Vec<ForecastEntry> {
    (0..number).map(|index| entry(format!("prod/db-{index:02}"), schedule, minutes)).collect()
}

#[test]
fn twelve_configurations_that_are_due_at_two_run_one_after_the_other() {
    let mut entries = many(12, "0 2 * * *", 14);
    let found = forecast(1, &entries, now()).unwrap();
    assert!(found.fits());
    assert_eq!(
        found.to_string(),
        "12 sessions are due from 2026-11-27 02:00Z, each takes 14 min, at most 1 at a time: the last one begins at 2026-11-27 04:34Z"
    );
    assert_eq!(found.longest_wait_seconds, 11 * 14 * MINUTE);
    for entry in &mut entries {
        entry.time_out = Some(Duration::from_secs(120 * MINUTE));
    }
    entries[0].took += Duration::from_secs(20);
    entries[1].took += Duration::from_secs(50);
    let (found, later) =
        (forecast(1, &entries, now()).unwrap(), forecast(1, &entries, at("2026-11-27T12:00:00Z")).unwrap());
    assert_eq!(
        found.lasting_text(),
        "12 sessions are due at the worst time, each takes 14 min to 15 min, at most 1 at a time; `timeOut` ends 4 of them: \
         prod/db-08, prod/db-09, prod/db-10 and 1 more"
    );
    assert!(found != later && found.lasting_text() == later.lasting_text());
    entries[0].took += Duration::from_secs(30);
    assert_eq!(forecast(1, &entries, now()).unwrap().lasting_text(), found.lasting_text());
    (entries[0].took, entries[1].took) = (entries[2].took, entries[2].took);
    // The ninth begins after 112 minutes and is cut at 120; three are never begun.
    let found = forecast(1, &entries, now()).unwrap();
    assert_eq!(found.timed_out.len(), 4);
    assert!(found.to_string().ends_with(
        "begins at 2026-11-27 04:34Z; `timeOut` ends 4 of them: prod/db-08, prod/db-09, prod/db-10 and 1 more"
    ));
}

#[test]
fn more_places_shorten_the_line_and_as_many_as_there_are_sessions_end_it() {
    let entries = many(12, "0 2 * * *", 14);
    let begins = |limit| forecast(limit, &entries, now()).map(|found| found.last_begins);
    assert_eq!(begins(4), Some(at("2026-11-27T02:28:00Z")));
    assert_eq!(begins(11), Some(at("2026-11-27T02:14:00Z")));
    assert_eq!(begins(12), None);
    assert_eq!(begins(0), None, "no limit");
    assert_eq!(forecast(1, &[], now()), None);
    assert_eq!(forecast(1, &entries[..1], now()), None);
}

#[test]
fn a_slot_is_skipped_when_the_backup_takes_longer_than_its_period() {
    let mut entries = vec![entry("prod/big", "0 * * * *", 90)];
    let found = forecast(8, &entries, now()).unwrap();
    assert_eq!(found.skipped, ["prod/big"]);
    assert!(found.to_string().contains("slots of 1 configurations are skipped"), "{found}");
    entries[0].overlap = ForecastOverlap::Allowed;
    let found = forecast(1, &entries, now()).unwrap();
    assert!(found.skipped.is_empty() && found.longest_wait_seconds > 24 * 3600, "the line grows for ever: {found}");
}

#[test]
fn the_worst_burst_of_the_week_is_told() {
    let mut entries = many(3, "0 2 * * *", 10);
    entries.extend((0..9).map(|index| entry(format!("prod/weekly-{index}"), "0 2 * * 0", 30)));
    let found = forecast(1, &entries, now()).unwrap();
    assert_eq!((found.sessions, found.from), (12, at("2026-11-29T02:00:00Z")), "a Sunday");
    assert_eq!((found.shortest_seconds, found.longest_seconds), (10 * MINUTE, 30 * MINUTE));
    assert!(found.to_string().contains("each takes 10 min to 30 min"), "{found}");
}

#[test]
fn jitter_spreads_a_burst() {
    let spread = |jitter: u64| {
        let mut entries = many(20, "0 2 * * *", 2);
        for (index, entry) in entries.iter_mut().enumerate() {
            let uid = Uuid::new_v5(&Uuid::nil(), &index.to_be_bytes());
            entry.schedule = Schedule::parse("0 2 * * *", None, Duration::from_secs(jitter), uid).unwrap();
        }
        forecast(1, &entries, now()).map_or(0, |found| found.longest_wait_seconds)
    };
    assert_eq!(spread(0), 19 * 2 * MINUTE);
    assert!(spread(10 * 3600) < 19 * MINUTE, "{}", spread(10 * 3600));
}

#[test]
fn thousands_of_configurations_are_seen_whole_and_in_bounded_work() {
    let entries = many(10_000, "0 2 * * *", 1);
    let found = forecast(100, &entries, now()).unwrap();
    assert_eq!(found.last_begins, at("2026-11-27T03:39:00Z"));
    let often = many(100, "* * * * *", 1);
    assert!(forecast(10, &often, now()).is_some(), "a slot each minute for a week would be a million");
}
