//! Compares a status in STATUS with the status that the API server shows.

use serde_json::Value;

/// Whether `shown` holds everything that `ours` says. Fields and conditions that others added do not count.
pub(crate) fn contains(shown: &Value, ours: &Value) -> bool {
    match (shown, ours) {
        (Value::Object(shown), Value::Object(ours)) => {
            ours.iter().all(|(key, value)| shown.get(key).is_some_and(|shown| contains(shown, value)))
        }
        (Value::Array(shown), Value::Array(ours)) if is_condition_list(ours) => {
            ours.iter().all(|item| shown.iter().any(|shown| kind_of(shown) == kind_of(item) && contains(shown, item)))
        }
        (Value::Array(shown), Value::Array(ours)) => {
            shown.len() == ours.len() && shown.iter().zip(ours).all(|(shown, ours)| contains(shown, ours))
        }
        (shown, ours) => shown == ours,
    }
}

/// Conditions are a map by `type`, so their order does not matter.
fn is_condition_list(list: &[Value]) -> bool {
    list.iter().all(|item| kind_of(item).is_some())
}

fn kind_of(condition: &Value) -> Option<&str> {
    condition.get("type")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn additions_of_others_are_no_difference_and_their_changes_are() {
        let ours = json!({"phase": "Succeeded", "conditions": [{"type": "Succeeded", "status": "True"}], "targets": [{"a": 1}]});
        let mut shown = ours.clone();
        shown["recordedTime"] = json!("2026-11-24T00:00:00Z");
        shown["conditions"] = json!([{"type": "Other", "status": "False"}, {"type": "Succeeded", "status": "True"}]);
        assert!(contains(&shown, &ours));
        shown["phase"] = json!("Failed");
        assert!(!contains(&shown, &ours));
        assert!(!contains(&json!({"phase": "Succeeded", "targets": []}), &ours));
        assert!(!contains(&Value::Null, &ours));
    }
}
