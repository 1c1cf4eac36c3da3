//! Slots across time zones, daylight saving changes and ways to write a schedule.
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
        ("30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"]),
        ("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:40:00Z", ["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]),
        ("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:40:00Z", ["2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"]),
        ("0 2 * * *", "UTC", "2026-03-29T00:00:00Z", ["2026-03-29T02:00:00Z", "2026-03-30T02:00:00Z"]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]),
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
        (
            "@reboot",
            "schedule: `@reboot` is not supported; use @yearly, @monthly, @weekly, @daily, @hourly, or @every with a duration",
        ),
        ("TZ=Asia/Tokyo * * * *", "schedule: expected 5 fields, got 4"),
        (
            "TZ=Asia/Tokyo 0 0 3 * * *",
            "schedule: 6 fields: seconds are not supported; the shortest interval is a minute",
        ),
        ("TZ=Asia/Tokyo", "schedule: must not be empty (example \"0 2 * * *\")"),
        ("TZ=Mars/Phobos @daily", "timeZone: unknown time zone `Mars/Phobos`; use an IANA name such as Europe/Berlin"),
        ("0 2 * * * TZ=Asia/Tokyo", "schedule: 6 fields: seconds are not supported; the shortest interval is a minute"),
        (
            "@every",
            "schedule: `@every` needs a duration, such as `@every 1h30m`, in the units h, m and s, and at most 2562047h",
        ),
        (
            "@every day",
            "schedule: `@every day` needs a duration, such as `@every 1h30m`, in the units h, m and s, and at most 2562047h",
        ),
        (
            "@every -1h",
            "schedule: `@every -1h` needs a duration, such as `@every 1h30m`, in the units h, m and s, and at most 2562047h",
        ),
        (
            "@every 1h-5m",
            "schedule: `@every 1h-5m` needs a duration, such as `@every 1h30m`, in the units h, m and s, and at most 2562047h",
        ),
        (
            "@every 99999999999999999999h",
            "schedule: `@every 99999999999999999999h` needs a duration, such as `@every 1h30m`, in the units h, m and s, and at most 2562047h",
        ),
        ("@every 30s", "schedule: `@every 30s` is too often; the shortest interval is a minute"),
        (
            "@every 1h 30m",
            "schedule: `@every 1h 30m` needs a duration, such as `@every 1h30m`, in the units h, m and s, and at most 2562047h",
        ),
        ("*/0 * * * *", "schedule: field 1 (minute) `*/0` is not valid; 0-59"),
    ] {
        let error = Schedule::parse(text, None, Duration::ZERO, Uuid::nil()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    for zone in ["Mars/Phobos", "CEST", "UTC+2"] {
        assert!(Schedule::parse("0 2 * * *", Some(zone), Duration::ZERO, Uuid::nil()).is_err(), "{zone}");
    }
}

#[test]
fn a_schedule_carries_its_time_zone_as_cron_programs_write_it() {
    for (text, zone, first) in [
        ("TZ=Asia/Tokyo 0 3 * * *", None, "2026-01-01T18:00:00Z"),
        ("CRON_TZ=Asia/Tokyo  0 3 * * *", None, "2026-01-01T18:00:00Z"),
        ("TZ=Asia/Tokyo 0 3 * * *", Some("Asia/Tokyo"), "2026-01-01T18:00:00Z"),
        ("  TZ=America/New_York\t@daily", None, "2026-01-02T05:00:00Z"),
        ("TZ= 0 3 * * *", None, "2026-01-02T03:00:00Z"),
        ("TZ=Asia/Tokyo @every 6h", None, "2026-01-01T18:00:00Z"),
        ("@midnight", Some("Asia/Tokyo"), "2026-01-01T15:00:00Z"),
        ("@hourly", None, "2026-01-01T13:00:00Z"),
        ("@daily", None, "2026-01-02T00:00:00Z"),
        ("@weekly", None, "2026-01-04T00:00:00Z"),
        ("@monthly", None, "2026-02-01T00:00:00Z"),
        ("@yearly", None, "2027-01-01T00:00:00Z"),
        ("@annually", None, "2027-01-01T00:00:00Z"),
        ("@every 1h30m", None, "2026-01-01T13:30:00Z"),
        ("@every 90m0s", None, "2026-01-01T13:30:00Z"),
        ("0 3 ? * MON-FRI", None, "2026-01-02T03:00:00Z"),
        ("15/20 * * * *", None, "2026-01-01T12:15:00Z"),
    ] {
        let schedule =
            Schedule::parse(text, zone, Duration::ZERO, Uuid::nil()).unwrap_or_else(|e| unreachable!("{text}: {e}"));
        assert_eq!(schedule.next_after(at("2026-01-01T12:00:00Z")), Some(at(first)), "{text}");
    }
}

#[test]
fn two_time_zones_that_differ_are_refused_with_both_names() {
    let parsed = Schedule::parse("TZ=Asia/Tokyo 0 3 * * *", Some("Europe/Berlin"), Duration::ZERO, Uuid::nil());
    assert_eq!(
        parsed.unwrap_err().to_string(),
        "timeZone: `Europe/Berlin` contradicts `TZ=Asia/Tokyo` in schedule; name one time zone"
    );
}

#[test]
fn a_fixed_interval_ignores_daylight_saving_changes() {
    let schedule = schedule("@every 12h", "Europe/Berlin");
    let mut slots = vec![at("2026-03-28T20:00:00Z")];
    for _ in 0..3 {
        slots.push(schedule.next_after(*slots.last().unwrap()).unwrap());
    }
    assert_eq!(slots[1..], ["2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z", "2026-03-30T00:00:00Z"].map(at));
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

    #[test]
    fn an_interval_has_one_slot_in_each_period(minutes in 1i64..20_000, second in 0i64..4_000_000_000) {
        let schedule = schedule(&format!("@every {minutes}m"), "UTC");
        let time = Timestamp::from_second(second).unwrap();
        let next = schedule.next_after(time).unwrap();
        prop_assert!(next > time && next.as_second() - second <= minutes * 60);
        prop_assert_eq!(schedule.next_after(next).unwrap().as_second(), next.as_second() + minutes * 60);
    }

    #[test]
    fn a_zone_in_the_schedule_and_in_its_field_mean_the_same(
        minute in 0u32..60, hour in 0u32..24, zone in 0usize..chrono_tz::TZ_VARIANTS.len(), second in 0i64..2_000_000_000,
    ) {
        let zone = chrono_tz::TZ_VARIANTS[zone].name();
        let (cron, time) = (format!("{minute} {hour} * * *"), Timestamp::from_second(second).unwrap());
        let in_field = schedule(&cron, zone).next_after(time);
        for prefix in ["TZ", "CRON_TZ"] {
            let text = format!("{prefix}={zone} {cron}");
            let in_schedule = Schedule::parse(&text, None, Duration::ZERO, Uuid::nil()).unwrap();
            prop_assert_eq!(in_schedule.next_after(time), in_field);
        }
    }

    #[test]
    fn no_schedule_panics(text in ".{0,60}", zone in proptest::option::of(".{0,20}")) {
        let _ = Schedule::parse(&text, zone.as_deref(), Duration::ZERO, Uuid::nil());
    }

    #[test]
    fn no_interval_panics(interval in "([+-]?[0-9.+-]{0,25}(ns|us|ms|s|m|h|d)){0,4}", second in -1_000_000_000i64..100_000_000_000) {
        if let Ok(schedule) = Schedule::parse(&format!("@every {interval}"), None, Duration::ZERO, Uuid::nil()) {
            let time = Timestamp::from_second(second).unwrap();
            prop_assert!(schedule.next_after(time).is_none_or(|next| next > time));
        }
    }

    #[test]
    fn no_jitter_and_no_time_panic(uid: u128, jitter: u64, deadline: u64, second in -377_705_023_201i64..=253_402_207_200) {
        for (text, jitter) in [("@every 2562047h", jitter), ("0 2 * * *", jitter), ("*/7 * * * *", jitter % 86_401)] {
            let jitter = Duration::from_secs(jitter);
            let schedule = Schedule::parse(text, Some("Europe/Berlin"), jitter, Uuid::from_u128(uid)).unwrap();
            for time in [Timestamp::from_second(second).unwrap(), Timestamp::MIN, Timestamp::MAX] {
                prop_assert!(schedule.fires_at(time) >= time);
                let _ = schedule.next_after(time).map(|slot| schedule.fires_at(slot));
                let _ = schedule.due(time, time, Duration::from_secs(deadline));
            }
        }
    }
}
