//! Sizes and durations as Stash writes them.

use std::time::Duration;

/// `%d B` up to 1024, then `%.3f` of the largest unit that the size is strictly greater than.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    #[expect(clippy::cast_precision_loss, reason = "three decimals are printed")]
    UNITS
        .into_iter()
        .find(|(_, unit)| bytes > *unit)
        .map_or_else(|| format!("{bytes} B"), |(name, unit)| format!("{:.3} {name}", bytes as f64 / unit as f64))
}

/// Go's text of a duration in whole seconds: `1h2m3s`, `1m9s`, `0s`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let seconds = (duration + Duration::from_millis(500)).as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// `m:ss`, from one hour on `h:mm:ss`.
pub(crate) fn processing_time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{rest:02}") } else { format!("{minutes}:{rest:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_stash() {
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
