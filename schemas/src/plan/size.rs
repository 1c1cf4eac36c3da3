//! The size limit of a plan. It is appended to a log that all sessions share, by a server that limits its messages.

use serde_json::Value;

use super::Plan;

/// Size limit of a plan as JSON, in bytes.
pub const LIMIT: usize = 256 * 1024;

/// A plan that exceeds the limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan has {bytes} bytes and may have {LIMIT}; most of them are in `{largest}`: shorten what it comes from")]
pub struct Oversize {
    pub bytes: usize,
    /// Path of the field that holds most of the bytes.
    pub largest: String,
}

impl Plan {
    /// Checks that the plan fits into the log.
    pub fn check_size(&self) -> Result<(), Oversize> {
        let plan = serde_json::to_value(self).expect("a plan is plain data");
        let bytes = length(&plan);
        if bytes <= LIMIT { Ok(()) } else { Err(Oversize { bytes, largest: largest(&plan) }) }
    }
}

fn length(value: &Value) -> usize {
    value.to_string().len()
}

/// The path of the innermost field that holds more than half of a value.
fn largest(value: &Value) -> String {
    let mut path = Vec::new();
    let mut value = value;
    while let Value::Object(fields) = value {
        let half = length(value) / 2;
        let Some((name, inner)) = fields.iter().find(|(_, inner)| length(inner) > half) else { break };
        path.push(name.as_str());
        value = inner;
    }
    path.join(".")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_field_with_most_of_the_bytes_is_found() {
        let long = "x".repeat(1000);
        assert_eq!(largest(&json!({"a": 1, "b": {"c": "y", "d": {"e": [long, long]}}})), "b.d.e");
        // Two fields with a half each are named by what holds both.
        assert_eq!(largest(&json!({"b": {"c": long, "d": long}})), "b");
    }
}
