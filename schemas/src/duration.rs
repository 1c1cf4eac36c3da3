//! Durations as people write them in manifests: the grammar of Go's `time.ParseDuration`, which `metav1.Duration` has. Every
//! duration of a spec and of a schedule is read here, because a text that an editor of one namespace writes must not panic.

use std::fmt;
use std::time::Duration;

use kube::core::Rule;
use schemars::JsonSchema;
use serde::de::{Error, Visitor};
use serde::{Deserializer, Serialize, Serializer};

/// The whole hours that Go's durations can hold.
const LONGEST: GoDuration = GoDuration(Duration::from_secs(2_562_047 * 3600));
/// A schedule spreads its slots over a day at most. A longer delay would mix the slots of several days.
const LONGEST_JITTER: GoDuration = GoDuration(Duration::from_secs(24 * 3600));
/// Bound of a text in bytes. The API server needs one to know the cost of a rule.
const LONGEST_TEXT: usize = 128;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    // The micro sign and the Greek letter.
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A duration of a spec. It is never negative, and at most 2562047 hours long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(Duration);

/// The reason why a text is no duration of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadDuration {
    Negative,
    /// Not in Go's grammar, or too long.
    Form,
}

impl GoDuration {
    pub fn parse(text: &str) -> Result<Self, BadDuration> {
        if text.starts_with('-') {
            return Err(BadDuration::Negative);
        }
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        Self::parse_unsigned(unsigned).filter(|_| text.len() <= LONGEST_TEXT).ok_or(BadDuration::Form)
    }

    fn parse_unsigned(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let mut total = 0u64;
        let mut rest = if text == "0" { "" } else { text };
        while !rest.is_empty() {
            let (nanoseconds, next) = leading_part(rest)?;
            total = total.checked_add(nanoseconds)?;
            rest = next;
        }
        Some(Self(Duration::from_nanos(total))).filter(|duration| *duration <= LONGEST)
    }
}

/// Reads a number and its unit, such as `1.5h`, and returns its nanoseconds and the rest of the text.
fn leading_part(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let (_, nanoseconds) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    Some((whole.checked_mul(nanoseconds)?.checked_add(part_of(nanoseconds, fraction))?, rest))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Nanoseconds of a decimal fraction of a unit. The digits after the eighteenth are far below a nanosecond.
fn part_of(unit: u64, fraction: &str) -> u64 {
    let kept = fraction.bytes().take(18).map(|digit| u128::from(digit - b'0'));
    let (number, scale) = kept.fold((0, 1), |(number, scale), digit| (number * 10 + digit, scale * 10));
    u64::try_from(u128::from(unit) * number / scale).expect("a fraction is less than its unit")
}

impl From<GoDuration> for Duration {
    fn from(duration: GoDuration) -> Self {
        duration.0
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rules of the CRD are evaluated on this text, and CEL knows `us` only.
        f.write_str(&format!("{:?}", self.0).replace('\u{b5}', "u"))
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GoDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // No format: `duration` means that of ISO 8601.
        schemars::json_schema!({ "type": "string", "maxLength": LONGEST_TEXT })
    }
}

/// A field whose value is a duration. It reads the value, and has the rules by which the API server refuses a bad one in the
/// same words.
pub(crate) struct DurationField {
    /// Its path in the spec.
    path: &'static str,
    longest: GoDuration,
}

pub(crate) const TIME_OUT: DurationField = DurationField { path: "timeOut", longest: LONGEST };
pub(crate) const JITTER: DurationField = DurationField { path: "jitter", longest: LONGEST_JITTER };
pub(crate) const DELAY: DurationField = DurationField { path: "retryConfig.delay", longest: LONGEST };

pub(crate) fn time_out<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<GoDuration>, D::Error> {
    deserializer.deserialize_option(TIME_OUT)
}

pub(crate) fn jitter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<GoDuration>, D::Error> {
    deserializer.deserialize_option(JITTER)
}

pub(crate) fn delay<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<GoDuration>, D::Error> {
    deserializer.deserialize_option(DELAY)
}

impl DurationField {
    pub(crate) fn sign_rule(&self) -> Rule {
        let value = format!("self.{}", self.path);
        Rule::new(format!("{}!{value}.startsWith('-')", self.unless_absent())).message(self.negative().as_str())
    }

    pub(crate) fn form_rule(&self) -> Rule {
        const FORM: &str = "^[+]?(0|(([0-9]+[.]?[0-9]*|[.][0-9]+)(ns|us|\u{b5}s|\u{3bc}s|ms|s|m|h))+)$";
        let value = format!("self.{}", self.path);
        let is_short = format!("duration({value}) <= duration('{}')", self.longest);
        Rule::new(format!(
            "{}{value}.startsWith('-') || ({value}.matches('{FORM}') && {is_short})",
            self.unless_absent()
        ))
        .message(self.allowed().as_str())
    }

    /// Returns the beginning of a rule that holds while the field, or an object on its path, is absent.
    fn unless_absent(&self) -> String {
        let ends = self.path.match_indices('.').map(|(end, _)| end).chain([self.path.len()]);
        ends.map(|end| format!("!has(self.{}) || ", &self.path[..end])).collect()
    }

    fn negative(&self) -> String {
        format!("{}: can't be negative", self.path)
    }

    fn allowed(&self) -> String {
        let hours = self.longest.0.as_secs() / 3600;
        format!(
            "{}: must be a duration such as 1h30m, in the units h, m, s, ms, us and ns, and at most {hours}h",
            self.path
        )
    }

    fn read(&self, text: &str) -> Result<GoDuration, String> {
        let read = GoDuration::parse(text)
            .and_then(|duration| if duration <= self.longest { Ok(duration) } else { Err(BadDuration::Form) });
        let shown = quotation(text);
        read.map_err(|bad| match bad {
            BadDuration::Negative => {
                format!("{}{}", self.negative(), shown.map_or_else(String::new, |text| format!(": {text}")))
            }
            BadDuration::Form => {
                format!("{}{}", self.allowed(), shown.map_or_else(String::new, |text| format!(", not {text}")))
            }
        })
    }
}

/// The text as an error shows it. Errors are published, so a text that does not even look like a duration is left out.
fn quotation(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '\u{b5}' | '\u{3bc}');
    (text.len() <= 32 && text.chars().all(fits)).then(|| format!("`{text}`"))
}

impl<'de> Visitor<'de> for DurationField {
    type Value = Option<GoDuration>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a duration such as 1h30m in {}", self.path)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.read(text).map(Some).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests;
