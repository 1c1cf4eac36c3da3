//! Describes one object as text: its spec, its state, its history, and after a failure the next step.
//! It must not read or print.

use std::fmt::Write as _;

use jiff::Timestamp;
use lagan_schemas::error::Code;
use lagan_schemas::resource::Kind;
use serde_json::Value;

use crate::cluster::KubeEvent;
use crate::facts::{detail, shown_phase};
use crate::glyph::{Glyph, Glyphs};
use crate::human::{one_line, relative, time};
use crate::objects::ObjectDocument;
use crate::output;
use crate::store::StoredFact;
use crate::table::{Headers, TextTable};

const LIMIT: usize = 4000;

/// An object and what belongs to it.
pub struct Described<'a> {
    pub view: &'a ObjectDocument,
    /// `None` for kinds that have no facts, and if NATS is not connected.
    pub facts: Option<&'a [StoredFact]>,
    /// Its Kubernetes Events, or why they can't be read; `None` outside a cluster.
    pub events: Option<Result<Vec<KubeEvent>, String>>,
    /// A table of sessions, for configurations and repositories.
    pub sessions: Option<String>,
    /// Whether scheduled backups fit, for configurations.
    pub forecast: Option<String>,
}

#[must_use]
pub fn describe(described: &Described<'_>, glyphs: Glyphs, now: Timestamp) -> String {
    let view = described.view;
    let mut text = head(view, glyphs, now);
    section(&mut text, "Spec", &spec(view));
    section(&mut text, "Status", &status(view, glyphs));
    if let Some(failure) = failure(view) {
        section(&mut text, "Failure", &failure);
    }
    section(&mut text, "Conditions", &conditions(view, glyphs, now));
    if let Some(sessions) = &described.sessions {
        section(&mut text, "Sessions", if sessions.is_empty() { "none yet\n" } else { sessions });
    }
    if let Some(forecast) = &described.forecast {
        section(&mut text, "Forecast", forecast);
    }
    if let Some(facts) = described.facts {
        section(&mut text, "Timeline", &timeline(facts, glyphs));
    }
    if let Some(events) = &described.events {
        section(&mut text, "Events", &events_section(events, glyphs, now));
    }
    text
}

fn section(text: &mut String, title: &str, body: &str) {
    let _ = write!(text, "\n{title}\n");
    for line in body.lines() {
        let _ = writeln!(text, "{}", format!("  {line}").trim_end());
    }
}

fn head(view: &ObjectDocument, glyphs: Glyphs, now: Timestamp) -> String {
    let mut lines = vec![("Name", view.key.name.clone())];
    lines.extend(view.key.namespace.clone().map(|namespace| ("Namespace", namespace)));
    lines.push(("Kind", format!("{}, {}", view.key.kind, view.text("/apiVersion"))));
    if view.is_built_in() {
        lines.push(("Source", "built-in".to_owned()));
    }
    lines.extend(view.uid().map(|uid| ("Uid", uid.to_string())));
    lines.extend(view.created().map(|created| ("Created", format!("{} ({})", time(created), relative(created, now)))));
    if !view.phase().is_empty() {
        lines.push(("Phase", glyphs.phase(view.phase())));
    }
    lines.iter().fold(String::new(), |text, (key, value)| text + &format!("{:<11}{value}\n", format!("{key}:")))
}

fn spec(view: &ObjectDocument) -> String {
    match view.value.get("spec").filter(|spec| !spec.is_null()) {
        Some(spec) => output::yaml(spec),
        None => "unknown; the object has been deleted\n".to_owned(),
    }
}

/// Fields of a status that other sections show.
const IN_OTHER_SECTIONS: [&str; 6] = ["phase", "conditions", "code", "reason", "message", "observedGeneration"];

/// The status without the fields that other sections show.
fn status(view: &ObjectDocument, glyphs: Glyphs) -> String {
    let Some(Value::Object(status)) = view.value.get("status") else {
        let needs_none = matches!(view.key.kind, Kind::Task | Kind::Function | Kind::AppBinding);
        return if needs_none { "objects of this kind have none\n" } else { "none yet\n" }.to_owned();
    };
    let mut shown = status.clone();
    shown.retain(|name, value| !IN_OTHER_SECTIONS.contains(&name.as_str()) && !value.is_null());
    if shown.is_empty() {
        return format!("{} only the phase\n", glyphs.nothing());
    }
    output::yaml(&Value::Object(shown))
}

/// The failure of a session as four lines: message, object, reason, next step.
fn failure(view: &ObjectDocument) -> Option<String> {
    let code = view.text("/status/code");
    if code.is_empty() || view.phase() == "Succeeded" {
        return None;
    }
    let object = output::name(view.key.kind, &view.key.name);
    let mut text = format!("what:    {}\n", one_line(view.text("/status/message"), LIMIT));
    let _ = writeln!(text, "object:  {object}");
    let _ = writeln!(text, "why:     {} ({code})", view.text("/status/reason"));
    if let Ok(code) = code.parse::<Code>() {
        let _ = writeln!(text, "next:    {}", code.help());
    }
    Some(text)
}

fn conditions(view: &ObjectDocument, glyphs: Glyphs, now: Timestamp) -> String {
    let conditions = view.conditions();
    if conditions.is_empty() {
        return "none\n".to_owned();
    }
    let mut table = TextTable::new(vec!["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"]);
    for condition in conditions {
        table.row(vec![
            condition.kind,
            format!("{:?}", condition.status),
            if condition.reason.is_empty() { glyphs.nothing().to_owned() } else { condition.reason },
            relative(condition.last_transition_time, now),
            one_line(&condition.message, LIMIT),
        ]);
    }
    table.render(Headers::Show)
}

fn timeline(facts: &[StoredFact], glyphs: Glyphs) -> String {
    if facts.is_empty() {
        return "no facts: the session has not been requested yet, or its log has expired\n".to_owned();
    }
    let mut table = TextTable::new(vec!["TIME", "FACT", "DETAIL"]);
    for fact in facts {
        table.row(row(fact, glyphs));
    }
    table.render(Headers::Show)
}

fn events_section(events: &Result<Vec<KubeEvent>, String>, glyphs: Glyphs, now: Timestamp) -> String {
    let events = match events {
        Err(why) => return format!("{} {}\n", glyphs.of(Glyph::Warning), one_line(why, LIMIT)),
        Ok(events) if events.is_empty() => return "none; Kubernetes keeps them for an hour\n".to_owned(),
        Ok(events) => events,
    };
    let mut table = TextTable::new(vec!["LAST SEEN", "TYPE", "REASON", "MESSAGE"]);
    for event in events {
        let times = if event.count > 1 { format!(" (x{})", event.count) } else { String::new() };
        table.row(vec![
            event.time.map_or_else(|| glyphs.nothing().to_owned(), |time| relative(time, now)),
            event.severity.clone(),
            event.reason.clone(),
            one_line(&event.message, LIMIT) + &times,
        ]);
    }
    table.render(Headers::Show)
}

/// The cells of a fact in timelines and event lists: time, fact, detail.
#[must_use]
pub fn row(fact: &StoredFact, glyphs: Glyphs) -> Vec<String> {
    let (name, detail) = match &fact.fact {
        Some(known) => {
            let state = Glyph::of_phase(shown_phase(known)).unwrap_or(Glyph::Warning);
            (format!("{} {}", glyphs.of(state), known.kind().as_str()), detail(known))
        }
        None => {
            (format!("{} {}", glyphs.of(Glyph::Warning), fact.event.kind), "of a later version of Lagan".to_owned())
        }
    };
    vec![time(fact.time), name, detail]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use lagan_schemas::error::Failure;
    use lagan_schemas::fact::{Ended, Fact};
    use lagan_schemas::subject::{SessionKey, SessionKind};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::objects::tests::view;

    #[test]
    fn a_failed_session_says_what_which_why_and_what_next() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let view = view(json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "BackupSession",
            "metadata": {"name": "shop-1", "namespace": "prod", "creationTimestamp": "2026-11-22T11:57:00Z"},
            "spec": {"invoker": {"kind": "BackupConfiguration", "name": "shop"}},
            "status": {"phase": "Failed", "code": "E0201", "reason": "DumpFailed", "message": "mariadb-dump exited 2", "attempts": 1,
                "conditions": [{"type": "Succeeded", "status": "False", "reason": "DumpFailed", "message": "it failed",
                    "lastTransitionTime": "2026-11-22T11:58:00Z"}]},
        }));
        let key = SessionKey {
            cluster: "local".parse().unwrap(),
            namespace: "prod".into(),
            kind: SessionKind::Backup,
            group: "lagan.dev".into(),
            invoker: "shop".into(),
            uid: Uuid::from_u128(7),
        };
        let failure = Failure::new(Code::DumpFailed, "mariadb-dump exited 2");
        let fact = Fact::Failed(Ended {
            holder: None,
            failure,
            results: vec![],
            rejected_snapshots: vec![],
            conditions: vec![],
        });
        let event = fact.event(&key, "1".into(), "worker", now);
        let facts = [StoredFact { key, pool: None, sequence: 1, time: now, event, fact: Some(fact) }];
        let described = Described { view: &view, facts: Some(&facts), events: None, sessions: None, forecast: None };
        assert_eq!(
            describe(&described, Glyphs::Unicode, now).replace(Code::DumpFailed.help(), "HELP"),
            "\
Name:      shop-1
Namespace: prod
Kind:      BackupSession, lagan.dev/v1alpha1
Created:   2026-11-22 11:57:00Z (3m ago)
Phase:     ✖ Failed

Spec
  invoker:
    kind: BackupConfiguration
    name: shop

Status
  attempts: 1

Failure
  what:    mariadb-dump exited 2
  object:  backupsession/shop-1
  why:     DumpFailed (E0201)
  next:    HELP

Conditions
  TYPE       STATUS  REASON      SINCE   MESSAGE
  Succeeded  False   DumpFailed  2m ago  it failed

Timeline
  TIME                  FACT      DETAIL
  2026-11-22 12:00:00Z  ✖ failed  mariadb-dump exited 2 (E0201)
"
        );
    }

    #[test]
    fn no_section_is_empty() {
        let view = view(
            json!({"apiVersion": "lagan.dev/v1alpha1", "kind": "BackupSession", "metadata": {"name": "a", "namespace": "b"}}),
        );
        let described = Described {
            view: &view,
            facts: Some(&[]),
            events: Some(Ok(Vec::new())),
            sessions: Some(String::new()),
            forecast: None,
        };
        let text = describe(&described, Glyphs::Ascii, Timestamp::UNIX_EPOCH);
        for part in [
            "Spec\n  unknown",
            "Status\n  none yet",
            "Conditions\n  none",
            "Sessions\n  none yet",
            "Timeline\n  no facts",
            "Events\n  none",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
