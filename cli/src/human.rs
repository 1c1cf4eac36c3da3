//! Formats durations, ages and sizes for people, and parses durations that they type. It must not read a clock.

use std::time::Duration;

use bytesize::ByteSize;
use jiff::{SignedDuration, Timestamp};

const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];

/// The largest units of a duration, at most `count`: `2m24s`, or `2m`.
fn units(seconds: u64, count: usize) -> String {
    let first = UNITS.iter().position(|(size, _)| seconds >= *size).unwrap_or(UNITS.len() - 1);
    let mut rest = seconds;
    let mut text = String::new();
    for (size, unit) in UNITS.iter().skip(first).take(count) {
        let amount = rest / size;
        rest %= size;
        if amount > 0 || text.is_empty() {
            text.push_str(&format!("{amount}{unit}"));
        }
    }
    text
}

/// A duration as `2m24s`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    units(seconds, 2)
}

fn seconds_between(earlier: Timestamp, later: Timestamp) -> u64 {
    u64::try_from(later.duration_since(earlier).as_secs()).unwrap_or(0)
}

/// The duration from one time to another; `0s` if the clocks disagree.
#[must_use]
pub fn between(earlier: Timestamp, later: Timestamp) -> String {
    duration(seconds_between(earlier, later))
}

/// An age as `3m`, for an AGE column.
#[must_use]
pub fn age(time: Timestamp, now: Timestamp) -> String {
    units(seconds_between(time, now), 1)
}

/// A time relative to now, as `3h ago` or `in 6h`.
#[must_use]
pub fn relative(time: Timestamp, now: Timestamp) -> String {
    if time > now { format!("in {}", units(seconds_between(now, time), 1)) } else { format!("{} ago", age(time, now)) }
}

/// A size as `1.61 GiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    format!("{:.2}", ByteSize(count).display().iec()).replace(".00 ", " ")
}

/// A time as `2026-11-22 14:03:07Z`.
#[must_use]
pub fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Makes foreign text safe for a terminal: one line, no control characters, at most `limit` characters.
#[must_use]
pub fn one_line(text: &str, limit: usize) -> String {
    let mut words = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()) {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    if words.chars().count() <= limit {
        return words;
    }
    let mut cut: String = words.chars().take(limit.saturating_sub(3)).collect();
    cut.push_str("...");
    cut
}

/// Parses `30`, `30s`, `5m`, `1h30m` or `1d`; a number alone is in seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    // jiff's durations have no days, because a day may have 23 or 25 hours; here it has 24.
    if let Some(days) = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()) {
        return Ok(Duration::from_secs(days.saturating_mul(86_400)));
    }
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "write a duration as 30s, 5m, 1h30m or 2d".to_owned())
}

/// Parses `1024`, `64MiB` or `1GiB`; a number alone is in bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        "TiB" => Some(40),
        _ => None,
    };
    let bytes = shift.and_then(|shift: u32| number.parse::<u64>().ok()?.checked_mul(1 << shift));
    bytes.filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(|| "write a size as 512MiB or 2GiB".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn durations_have_two_units_and_ages_one() {
        for (seconds, long, short) in [
            (0, "0s", "0s"),
            (58, "58s", "58s"),
            (144, "2m24s", "2m"),
            (3600, "1h", "1h"),
            (11_525, "3h12m", "3h"),
            (273_600, "3d4h", "3d"),
        ] {
            assert_eq!((duration(seconds).as_str(), units(seconds, 1).as_str()), (long, short));
        }
    }

    #[test]
    fn sizes_are_read_in_binary_units() {
        for (text, bytes) in [("1024", 1024), ("64MiB", 64 << 20), ("1GiB", 1 << 30), ("2TiB", 2 << 40)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "1G", "1 GiB", "-1GiB", "1.5GiB", "9999999TiB", "9223372036854775808"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_relative_to_now() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        assert_eq!(relative("2026-11-22T09:00:00Z".parse().unwrap(), now), "3h ago");
        assert_eq!(relative("2026-11-22T18:30:00Z".parse().unwrap(), now), "in 6h");
        assert_eq!(between(now, "2026-11-22T11:00:00Z".parse().unwrap()), "0s");
    }

    #[test]
    fn sizes_are_iec() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1024), "1 KiB");
        assert_eq!(bytes(1_728_724_336), "1.61 GiB");
    }

    #[test]
    fn a_message_can_do_nothing_to_a_terminal() {
        assert_eq!(one_line("a\n\u{1b}[31mb\tc", 80), "a [31mb c");
        assert_eq!(one_line("abcdefghij", 8), "abcde...");
    }

    #[test]
    fn durations_may_be_typed_in_several_ways() {
        for (text, seconds) in [("30", 30), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("2d", 172_800)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert!(parse_duration("soon").is_err() && parse_duration("-5m").is_err());
    }
}
