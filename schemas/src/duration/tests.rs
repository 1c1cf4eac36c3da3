//! Texts that are durations, texts that are none, and the words about those.
#![allow(clippy::unwrap_used, reason = "tests")]
use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3_600_000_000_000;

#[test]
fn a_duration_that_go_reads_means_the_same_here() {
    for (text, nanoseconds) in [
        ("0", 0),
        ("+0", 0),
        ("0s", 0),
        ("5s", 5_000_000_000),
        ("+5s", 5_000_000_000),
        ("1478s", 1_478_000_000_000),
        ("1h30m", HOUR + HOUR / 2),
        ("30m1h", HOUR + HOUR / 2),
        ("1h1h", 2 * HOUR),
        ("1.5h", HOUR + HOUR / 2),
        ("1.5h1.5m", HOUR + HOUR / 2 + 90_000_000_000),
        ("5.s", 5_000_000_000),
        (".5s", 500_000_000),
        ("5.0s", 5_000_000_000),
        ("1.004s", 1_004_000_000),
        ("100.00100s", 100_001_000_000),
        ("10ns", 10),
        ("1.9ns", 1),
        ("11us", 11_000),
        ("12µs", 12_000),
        ("12μs", 12_000),
        ("13ms", 13_000_000),
        ("1h2m3s4ms5us6ns", HOUR + 123_004_005_006),
        ("0.25h", HOUR / 4),
        ("9007199254.740993s", 9_007_199_254_740_993_000),
        ("00000000000000000000000000000001h", HOUR),
        ("2562047h", 2_562_047 * HOUR),
    ] {
        assert_eq!(GoDuration::parse(text).map(Duration::from), Ok(Duration::from_nanos(nanoseconds)), "{text}");
    }
}

#[test]
fn a_text_that_is_no_duration_is_refused() {
    for text in [
        "",
        "+",
        ".",
        "3",
        "1.5",
        "s",
        ".s",
        "+.s",
        "1d",
        "1w",
        "1h-5m",
        "1h+5m",
        "++5s",
        "+-5s",
        "1h 30m",
        " 1h",
        "1h ",
        "1H",
        "1_000s",
        "1e3s",
        "infh",
        "NaNs",
        "0x1s",
        "1..5s",
        "1h30",
        "00",
        "PT1H",
        "5 parsecs",
        "٣s",
        "2562047h1ns",
        "9999999999h",
        "99999999999999999999h",
        "18446744073709551616ns",
        "9223372036854775807s9223372036854775807s",
    ] {
        assert_eq!(GoDuration::parse(text), Err(BadDuration::Form), "{text}");
    }
    assert_eq!(GoDuration::parse(&format!("{}1h", "0".repeat(LONGEST_TEXT))), Err(BadDuration::Form));
    for text in ["-5m", "-1h30m", "-0", "-", "-5 parsecs"] {
        assert_eq!(GoDuration::parse(text), Err(BadDuration::Negative), "{text}");
    }
}

#[test]
fn the_words_name_the_field_its_value_and_the_allowed_ones() {
    const OF: &str = "must be a duration such as 1h30m, in the units h, m, s, ms, us and ns, and at most";
    for (field, text, words) in [
        (TIME_OUT, "1d", format!("timeOut: {OF} 2562047h, not `1d`")),
        (TIME_OUT, "", format!("timeOut: {OF} 2562047h, not ``")),
        (TIME_OUT, "99999999999999999999h", format!("timeOut: {OF} 2562047h, not `99999999999999999999h`")),
        (DELAY, "-5m", "retryConfig.delay: can't be negative: `-5m`".to_owned()),
        (JITTER, "24h1ns", format!("jitter: {OF} 24h, not `24h1ns`")),
        (JITTER, "9000000000h", format!("jitter: {OF} 24h, not `9000000000h`")),
        // These may be anything, and the words are published.
        (JITTER, "5 parsecs", format!("jitter: {OF} 24h")),
        (JITTER, "\"x\"", format!("jitter: {OF} 24h")),
        (DELAY, "- a secret", "retryConfig.delay: can't be negative".to_owned()),
    ] {
        assert_eq!(field.read(text), Err(words), "{text}");
    }
    assert_eq!(JITTER.read("24h"), TIME_OUT.read("1440m"));
}

proptest! {
    #[test]
    fn no_text_panics(text in "([+-]?[0-9.+-]{0,25}(ns|us|µs|ms|s|m|h|d)){0,6}", any in ".{0,60}") {
        for text in [text, any] {
            if let Ok(duration) = GoDuration::parse(&text) {
                prop_assert!(duration <= LONGEST);
            }
        }
    }

    #[test]
    fn what_is_written_reads_back(nanoseconds in 0..=2_562_047 * HOUR, digits in 0u32..19) {
        let duration = GoDuration(Duration::from_nanos(nanoseconds / 10u64.pow(digits)));
        prop_assert_eq!(GoDuration::parse(&duration.to_string()), Ok(duration));
    }

    /// Go's `String()` writes hours, minutes and decimal seconds.
    #[test]
    fn what_go_writes_is_read(hours in 0u64..2_562_047, minutes in 0u64..60, seconds in 0u64..60, nanoseconds in 0u64..1_000_000_000) {
        let text = format!("{hours}h{minutes}m{seconds}.{nanoseconds:09}s");
        let expected = hours * HOUR + (minutes * 60 + seconds) * 1_000_000_000 + nanoseconds;
        prop_assert_eq!(GoDuration::parse(&text).map(Duration::from), Ok(Duration::from_nanos(expected)));
    }
}
