//! The rules, each a function from evidence to what breaks it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{LONGEST_MESSAGE, LoggedFact};

/// A rule that does not hold for a session.
pub struct BrokenRule {
    pub uid: String,
    pub what: String,
}

pub type BySession<'a> = BTreeMap<&'a str, Vec<&'a LoggedFact>>;

/// Facts that only the holder of a session may append.
const OF_HOLDER: [&str; 4] = ["committing", "restoring", "retrying", "succeeded"];

/// The facts of each session. A fact under another pool than that of the session's plan counts for nobody.
pub fn by_session(facts: &[LoggedFact]) -> BySession<'_> {
    let mut sessions = BySession::new();
    for fact in facts {
        sessions.entry(&fact.uid).or_default().push(fact);
    }
    for facts in sessions.values_mut() {
        let Some(planned) = facts.iter().find(|fact| fact.name == "planned") else { continue };
        let pool = planned.pool.clone();
        facts.retain(|fact| fact.pool == "_" || fact.pool == pool);
    }
    sessions
}

pub fn end<'a>(facts: &[&'a LoggedFact]) -> Option<&'a LoggedFact> {
    facts.iter().copied().find(|fact| fact.is_end())
}

fn broken(uid: &str, what: impl Into<String>) -> BrokenRule {
    BrokenRule { uid: uid.to_owned(), what: what.into() }
}

/// A session is requested once and ends once, nothing follows its end, only its holder writes for it, and a failure says why.
pub fn of_log(uid: &str, facts: &[&LoggedFact]) -> Vec<BrokenRule> {
    let mut found = Vec::new();
    let requests = facts.iter().filter(|fact| fact.name == "requested").count();
    if requests != 1 || facts[0].name != "requested" {
        found.push(broken(uid, format!("requested {requests} times")));
    }
    let ends = facts.iter().filter(|fact| fact.is_end()).count();
    match end(facts) {
        None => found.push(broken(uid, "it has not ended")),
        Some(end) if ends > 1 || facts.last().is_some_and(|last| last.sequence != end.sequence) => {
            found.push(broken(uid, format!("{ends} ends, or facts behind `{}`", end.name)));
        }
        Some(_) => {}
    }
    found.extend(of_holders(uid, facts));
    found.extend(facts.iter().filter_map(|fact| of_reason(uid, fact)));
    found
}

fn of_holders(uid: &str, facts: &[&LoggedFact]) -> Vec<BrokenRule> {
    let mut holder = (Value::Null, Value::Null);
    let mut found = Vec::new();
    for fact in facts {
        let data = &fact.event["data"];
        let author = (data["worker"].clone(), data["attempt"].clone());
        if fact.name == "started" {
            if author.1.as_u64() <= holder.1.as_u64() {
                found.push(broken(uid, format!("attempt {} does not follow {}", author.1, holder.1)));
            }
            holder = author;
        } else if OF_HOLDER.contains(&fact.name.as_str()) && author != holder {
            found.push(broken(uid, format!("`{}` of {author:?}, but {holder:?} holds it", fact.name)));
        }
    }
    found
}

fn of_reason(uid: &str, fact: &LoggedFact) -> Option<BrokenRule> {
    if !["failed", "cancelled", "retrying"].contains(&fact.name.as_str()) {
        return None;
    }
    let data = &fact.event["data"];
    let text = |field: &str| data[field].as_str().unwrap_or_default();
    let is_told = ["code", "reason", "message"].iter().all(|field| !text(field).is_empty());
    let is_short = text("message").len() <= LONGEST_MESSAGE;
    (!is_told || !is_short).then(|| broken(uid, format!("`{}` without code, reason or a short message", fact.name)))
}

/// No two sessions are of one slot of one configuration.
pub fn of_slots(sessions: &BySession<'_>) -> Vec<BrokenRule> {
    let mut slots: BTreeMap<(String, String), &str> = BTreeMap::new();
    let mut found = Vec::new();
    for (uid, facts) in sessions {
        let data = &facts[0].event["data"];
        let Some(slot) = data["cause"]["slot"]["slot"].as_str() else { continue };
        let configuration = data["invoker"]["uid"].to_string();
        if let Some(other) = slots.insert((configuration, slot.to_owned()), uid) {
            found.push(broken(uid, format!("slot {slot} has another session, {other}")));
        }
    }
    found
}

/// Whether a snapshot has a tag `name=value`.
fn is_tagged(snapshot: &Value, name: &str, value: &str) -> bool {
    let tags = snapshot["tags"].as_array();
    tags.is_some_and(|tags| tags.iter().any(|tag| tag.as_str() == Some(&format!("{name}={value}"))))
}

fn ids<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|one| one[field].as_str().or_else(|| one.as_str())).collect()
}

/// A backup that succeeded has the snapshots that it names, and no others. One that did not has none but those that it names.
pub fn of_snapshots(uid: &str, facts: &[&LoggedFact], snapshots: &[Value]) -> Vec<BrokenRule> {
    let Some(end) = end(facts) else { return Vec::new() };
    if !end.event["type"].as_str().is_some_and(|kind| kind.contains(".backup.")) {
        return Vec::new();
    }
    let named = ids(&end.event["data"]["results"], "snapshot");
    let stored: Vec<&Value> = snapshots.iter().filter(|one| is_tagged(one, "lagan-session", uid)).collect();
    let stored = stored.iter().filter_map(|one| one["id"].as_str()).collect::<Vec<_>>();
    let mut found = Vec::new();
    if end.name == "succeeded" && named.is_empty() {
        found.push(broken(uid, "succeeded without a snapshot"));
    }
    let lacking = named.iter().filter(|id| !stored.contains(id));
    found.extend(lacking.map(|id| broken(uid, format!("snapshot {id} is named and not stored"))));
    if end.name == "succeeded" {
        let beyond = stored.iter().filter(|id| !named.contains(id));
        found.extend(beyond.map(|id| broken(uid, format!("snapshot {id} is stored and not named"))));
    }
    found
}

/// No snapshot is of a session that the log does not know.
pub fn of_foreign_snapshots(sessions: &BySession<'_>, snapshots: &[Value]) -> Vec<BrokenRule> {
    let uids = snapshots.iter().filter_map(|one| {
        let tags = one["tags"].as_array()?;
        tags.iter().find_map(|tag| tag.as_str()?.strip_prefix("lagan-session="))
    });
    let unknown = uids.filter(|uid| !sessions.contains_key(uid));
    unknown.map(|uid| broken(uid, "a snapshot of a session without facts")).collect()
}

/// The status that is shown says what the log says.
pub fn of_status(uid: &str, facts: &[&LoggedFact], statuses: &[Value]) -> Vec<BrokenRule> {
    let Some(end) = end(facts) else { return Vec::new() };
    let name = &facts[0].event["data"]["name"];
    let Some(shown) = statuses.iter().find(|one| one["metadata"]["uid"] == uid) else {
        return vec![broken(uid, format!("no status of {name} is shown"))];
    };
    let expected = match end.name.as_str() {
        "succeeded" => "Succeeded",
        "skipped" => "Skipped",
        _ => "Failed",
    };
    let status = &shown["status"];
    let mut found = Vec::new();
    if status["phase"] != expected {
        found.push(broken(uid, format!("{name} is shown as {}, and its log says {}", status["phase"], end.name)));
    }
    if expected == "Failed" && (status["code"].is_null() || status["message"].is_null()) {
        found.push(broken(uid, format!("{name} failed, and its status does not say why: {status}")));
    }
    if status["foldedSequence"].as_u64().is_some_and(|folded| folded < end.sequence) {
        found.push(broken(uid, format!("the status of {name} stands at {}", status["foldedSequence"])));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fact(sequence: u64, name: &str, data: Value) -> LoggedFact {
        let event = json!({"type": format!("dev.lagan.backup.{name}.v1"), "sessionuid": "u", "data": data});
        let pool = if name == "requested" { "_" } else { "default" }.to_owned();
        LoggedFact { sequence, uid: "u".to_owned(), name: name.to_owned(), pool, event }
    }

    /// A backup that succeeded at its second attempt.
    fn good() -> Vec<LoggedFact> {
        let by = |attempt: u64| json!({"worker": format!("w{attempt}"), "attempt": attempt});
        let mut succeeded = by(2);
        succeeded["results"] = json!([{"snapshot": "aa"}]);
        vec![
            fact(1, "requested", json!({"name": "s", "invoker": {"uid": "c"}, "cause": {"slot": {"slot": "noon"}}})),
            fact(2, "planned", json!({})),
            fact(3, "started", by(1)),
            fact(4, "started", by(2)),
            fact(5, "committing", by(2)),
            fact(6, "succeeded", succeeded),
        ]
    }

    fn snapshot(id: &str) -> Value {
        json!({"id": id, "tags": ["lagan-session=u"]})
    }

    fn status(phase: &str, folded: u64) -> Value {
        json!({"metadata": {"uid": "u"}, "status": {"phase": phase, "foldedSequence": folded}})
    }

    type Change = fn(&mut Vec<LoggedFact>);

    /// The first broken rule of a changed log, snapshots and status.
    fn first(change: impl Fn(&mut Vec<LoggedFact>), snapshots: &[Value], status: Value) -> Option<String> {
        let mut facts = good();
        change(&mut facts);
        let facts: Vec<&LoggedFact> = facts.iter().collect();
        let mut found = of_log("u", &facts);
        found.extend(of_snapshots("u", &facts, snapshots));
        found.extend(of_status("u", &facts, &[status]));
        found.into_iter().next().map(|broken| broken.what)
    }

    #[test]
    fn each_rule_sees_what_breaks_it_and_nothing_else() {
        let (one, shown) = ([snapshot("aa")], || status("Succeeded", 6));
        assert_eq!(first(|_| {}, &one, shown()), None);
        let logs: [(Change, &str); 6] = [
            (|facts| drop(facts.pop()), "not ended"),
            (|facts| drop(facts.remove(0)), "requested 0 times"),
            (|facts| facts.push(fact(7, "retrying", json!({}))), "facts behind"),
            (|facts| facts[4].event["data"]["worker"] = "w1".into(), "holds it"),
            (|facts| facts[3].event["data"]["attempt"] = 1.into(), "does not follow"),
            (|facts| facts.insert(4, fact(4, "retrying", json!({"worker": "w2", "attempt": 2}))), "without code"),
        ];
        for (change, words) in logs {
            let found = first(change, &one, shown()).unwrap_or_default();
            assert!(found.contains(words), "{words}: {found}");
        }
        let states = [
            (vec![], shown(), "named and not stored"),
            (vec![snapshot("aa"), snapshot("bb")], shown(), "stored and not named"),
            (one.to_vec(), status("Running", 6), "is shown as"),
            (one.to_vec(), status("Succeeded", 5), "stands at 5"),
        ];
        for (snapshots, status, words) in states {
            let found = first(|_| {}, &snapshots, status).unwrap_or_default();
            assert!(found.contains(words), "{words}: {found}");
        }
    }

    #[test]
    fn a_fact_under_another_pool_counts_for_nobody() {
        let mut facts = good();
        facts.insert(
            4,
            LoggedFact { pool: "other".to_owned(), ..fact(4, "started", json!({"worker": "w9", "attempt": 9})) },
        );
        let sessions = by_session(&facts);
        assert!(of_log("u", &sessions["u"]).is_empty());
    }

    #[test]
    fn two_sessions_of_one_slot_and_a_snapshot_of_no_session_are_seen() {
        let (one, mut other) = (good(), good());
        assert!(of_slots(&by_session(&one)).is_empty());
        for fact in &mut other {
            fact.uid = "v".to_owned();
        }
        let both: Vec<LoggedFact> = one.iter().chain(&other).cloned().collect();
        assert_eq!(of_slots(&by_session(&both)).len(), 1);
        let foreign = json!({"id": "cc", "tags": ["lagan-session=w"]});
        assert_eq!(of_foreign_snapshots(&by_session(&one), &[snapshot("aa"), foreign]).len(), 1);
    }
}
