//! Texts of sizes, durations and progress, as Stash writes them.

use std::time::Duration;

use lagan_schemas::event::{Activity, Progress};

/// Formats a size: `%d B` up to 1024, then `%.3f` of the largest unit that the size is strictly greater than.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    #[expect(clippy::cast_precision_loss, reason = "three decimals are printed")]
    UNITS
        .into_iter()
        .find(|(_, unit)| bytes > *unit)
        .map_or_else(|| format!("{bytes} B"), |(name, unit)| format!("{:.3} {name}", bytes as f64 / unit as f64))
}

/// Formats the progress of a running session: `41%` where the total is known, else the bytes so far, `1.42 GiB`.
/// `None` before the first byte. It never says `100%`: the end is the phase's to say.
pub(crate) fn progress(progress: &Progress) -> Option<String> {
    match (progress.activity, progress.total_bytes) {
        (Activity::Restoring, Some(total)) if total > 0 => {
            let percent = u128::from(progress.bytes) * 100 / u128::from(total);
            Some(format!("{}%", percent.min(99)))
        }
        (Activity::Dumping | Activity::Restoring, _) if progress.bytes > 0 => Some(coarse(progress.bytes)),
        _ => None,
    }
}

/// Formats a size with two decimals, rounded down.
fn coarse(bytes: u64) -> String {
    let (mut hundredths, mut unit) = (u128::from(bytes) * 100, 0);
    while hundredths >= 102_400 && unit < 4 {
        hundredths /= 1024;
        unit += 1;
    }
    let unit = ["B", "KiB", "MiB", "GiB", "TiB"][unit];
    if unit == "B" { format!("{bytes} B") } else { format!("{}.{:02} {unit}", hundredths / 100, hundredths % 100) }
}

/// Formats a duration as Go does, in whole seconds: `1h2m3s`, `1m9s`, `0s`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let seconds = (duration + Duration::from_millis(500)).as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// Formats a duration as `m:ss`, from one hour on as `h:mm:ss`.
pub(crate) fn processing_time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{rest:02}") } else { format!("{minutes}:{rest:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_percentage_of_a_known_total_and_bytes_of_an_unknown_one() {
        let at = |activity, bytes, total_bytes| {
            let (session, name) = (uuid::Uuid::nil(), String::new());
            let (session_name, target) = (name.clone(), name);
            progress(&Progress { session, session_name, target, activity, bytes, bytes_per_second: 0, total_bytes })
        };
        for (activity, bytes, total, text) in [
            (Activity::Preparing, 0, None, None),
            (Activity::Dumping, 0, None, None),
            (Activity::Dumping, 512, None, Some("512 B")),
            (Activity::Dumping, 1_530_000_000, None, Some("1.42 GiB")),
            (Activity::Dumping, 1 << 20, None, Some("1.00 MiB")),
            (Activity::Verifying, 100, Some(200), None),
            (Activity::Restoring, 0, Some(200), Some("0%")),
            (Activity::Restoring, 82, Some(200), Some("41%")),
            (Activity::Restoring, 200, Some(200), Some("99%")),
        ] {
            assert_eq!(at(activity, bytes, total).as_deref(), text, "{activity:?} {bytes} {total:?}");
        }
    }

    #[test]
    fn sizes_and_durations_read_as_in_stash() {
        for (bytes, text) in
            [(0, "0 B"), (1024, "1024 B"), (1025, "1.001 KiB"), (1 << 20, "1024.000 KiB"), (3 << 30, "3.000 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
        for (seconds, go, processing) in
            [(0, "0s", "0:00"), (69, "1m9s", "1:09"), (3723, "1h2m3s", "1:02:03"), (3600, "1h0m0s", "1:00:00")]
        {
            let duration = Duration::from_secs(seconds);
            assert_eq!((go_duration(duration), processing_time(duration)), (go.to_owned(), processing.to_owned()));
        }
    }
}
