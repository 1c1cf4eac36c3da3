//! Puts common schedules into words; others are shown as they are written. It must not decide when anything runs.

use lagan_schemas::schedule::split_zone;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A schedule in words, such as `every day 02:00 Europe/Berlin`.
#[must_use]
pub fn words(schedule: &str, time_zone: &str) -> String {
    let field = if time_zone.is_empty() { "UTC" } else { time_zone };
    let (own, schedule) = split_zone(schedule.trim());
    let zone = own.unwrap_or(field);
    match phrase(schedule) {
        Some(Phrase::AnyTime(text)) => text,
        Some(Phrase::OfDay(text)) => format!("{text} {zone}"),
        None => format!("at `{schedule}` {zone}"),
    }
}

enum Phrase {
    /// A phrase that means the same in every time zone.
    AnyTime(String),
    OfDay(String),
}

fn phrase(schedule: &str) -> Option<Phrase> {
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else { return None };
    match (minute, hour, day, month, weekday) {
        ("*", "*", "*", "*", "*") => return Some(Phrase::AnyTime("every minute".to_owned())),
        (step, "*", "*", "*", "*") if step.starts_with("*/") => {
            let minutes: u8 = step[2..].parse().ok()?;
            // A step that does not divide the hour starts again at each full hour, so `every` would be wrong.
            return (minutes > 1 && 60 % minutes == 0).then(|| Phrase::AnyTime(format!("every {minutes} minutes")));
        }
        _ => {}
    }
    let minute = number(minute, 59)?;
    if (hour, day, month, weekday) == ("*", "*", "*", "*") {
        return Some(Phrase::AnyTime(format!("every hour at :{minute:02}")));
    }
    let time = format!("{:02}:{minute:02}", number(hour, 23)?);
    let days = match (day, month, weekday) {
        ("*", "*", "*") => "every day".to_owned(),
        ("*", "*", "1-5") => "Monday to Friday".to_owned(),
        ("*", "*", weekday) => format!("every {}", DAYS[usize::from(number(weekday, 7)? % 7)]),
        (day, "*", "*") => format!("on day {} of every month", number(day, 31)?),
        _ => return None,
    };
    Some(Phrase::OfDay(format!("{days} {time}")))
}

fn number(text: &str, most: u8) -> Option<u8> {
    text.parse().ok().filter(|number| *number <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_schedules_are_put_into_words() {
        for (schedule, zone, text) in [
            ("0 2 * * *", "Europe/Berlin", "every day 02:00 Europe/Berlin"),
            ("30 14 * * *", "", "every day 14:30 UTC"),
            ("* * * * *", "Europe/Berlin", "every minute"),
            ("*/15 * * * *", "", "every 15 minutes"),
            ("*/7 * * * *", "", "at `*/7 * * * *` UTC"),
            ("5 * * * *", "", "every hour at :05"),
            ("0 3 * * 1-5", "", "Monday to Friday 03:00 UTC"),
            ("0 3 * * 7", "", "every Sunday 03:00 UTC"),
            ("0 3 1 * *", "", "on day 1 of every month 03:00 UTC"),
            ("0 3 1 1 *", "", "at `0 3 1 1 *` UTC"),
            ("TZ=Asia/Tokyo 0 2 * * *", "", "every day 02:00 Asia/Tokyo"),
            ("CRON_TZ=Asia/Tokyo  0 3 1 1 *", "", "at `0 3 1 1 *` Asia/Tokyo"),
            ("0 25 * * *", "", "at `0 25 * * *` UTC"),
            ("@daily", "", "at `@daily` UTC"),
        ] {
            assert_eq!(words(schedule, zone), text);
        }
    }
}
