//! `lagan events`: prints the facts of sessions, past ones and, with `--follow`, new ones.

use std::collections::HashMap;

use futures::StreamExt as _;
use jiff::Timestamp;
use lagan_bus::{Followed, Start, follow};
use lagan_schemas::fact::Fact;
use lagan_schemas::resource::Kind;
use lagan_schemas::subject::{SESSIONS, stream_subjects, uid_filter};
use uuid::Uuid;

use super::get::asked_object;
use crate::args::{EventsArgs, Format, Global};
use crate::client::{self, Client};
use crate::description::row;
use crate::error::{Exit, Problem};
use crate::facts::is_since;
use crate::glyph::Glyphs;
use crate::objects::{find, select};
use crate::output::{narrate, page, yaml};
use crate::store::{self, Query, StoredFact};
use crate::table::{Headers, TextTable};

pub async fn run(args: EventsArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let streams = client.streams_for("`events` reads the facts of sessions, which are on NATS")?;
    let filter = match &args.session {
        Some(session) => uid_filter(&streams.cluster, uid_of(&client, session).await?),
        None => stream_subjects(SESSIONS, &streams.cluster),
    };
    let mut printer = Printer {
        format: args.output,
        glyphs: global.glyphs(),
        namespace: if args.session.is_some() { None } else { client.scope().map(str::to_owned) },
        since: args.since.map(|since| Timestamp::now().saturating_sub(since).unwrap_or(Timestamp::MIN)),
        names: HashMap::new(),
    };
    if !args.follow {
        let stored = store::contents(&streams.bus, SESSIONS, filter, Start::All).await?;
        let facts: Vec<_> = stored.iter().filter_map(StoredFact::read).collect();
        let text = printer.render(&facts);
        if text.is_empty() {
            narrate(global, "no events");
        }
        page(printer.glyphs, &text)?;
        return Ok(Exit::Ok);
    }
    let following = follow::follow(&streams.bus, SESSIONS, vec![filter], Start::All);
    tokio::select! {
        ended = printer.follow(following) => ended,
        // Only the person ends this.
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

const SESSION_KINDS: Query = Query { kinds: &[Kind::BackupSession, Kind::RestoreSession], namespaces: &[] };

/// Parses a uid, or finds the session of a name or `@latest`.
async fn uid_of(client: &Client, session: &str) -> Result<Uuid, Problem> {
    if let Ok(uid) = session.parse() {
        return Ok(uid);
    }
    session_named(client, session).await
}

/// Finds the uid of a backup or restore session by its name.
pub async fn session_named(client: &Client, session: &str) -> Result<Uuid, Problem> {
    let views = store::views(client, SESSION_KINDS).await?;
    let mut sessions = select(&views, Kind::BackupSession, client.scope());
    sessions.extend(select(&views, Kind::RestoreSession, client.scope()));
    sessions.sort_by_key(|view| std::cmp::Reverse(view.age()));
    let (words, name) = session.split_once('/').map_or((None, session), |(words, name)| (Some(words), name));
    if let Some(words) = words {
        // Messages name a session with its namespace, people with its kind.
        match asked_object(words, None) {
            Ok(asked) => sessions.retain(|view| view.key.kind == asked.kind && store::is_of(view, asked.group)),
            Err(_) => sessions.retain(|view| view.key.namespace.as_deref() == Some(words)),
        }
    }
    let found = find(&sessions, name);
    if found.len() > 1 {
        return Err(store::ambiguous(name, &found));
    }
    let uid = found.first().and_then(|view| view.session());
    uid.ok_or_else(|| store::not_found(Kind::BackupSession, client.scope(), name, &sessions))
}

struct Printer {
    format: Format,
    glyphs: Glyphs,
    namespace: Option<String>,
    since: Option<Timestamp>,
    /// Names of the sessions by uid. Only the first facts of a session hold its name.
    names: HashMap<Uuid, String>,
}

impl Printer {
    async fn follow(&mut self, mut following: impl futures::Stream<Item = Followed> + Unpin) -> Result<Exit, Problem> {
        let columns = ["TIME", "SESSION", "FACT", "DETAIL"].map(str::to_owned);
        let mut header = (!self.is_documents()).then(|| line(&columns));
        while let Some(item) = following.next().await {
            let Followed::Message(stored) = item else { continue };
            let Some(fact) = StoredFact::read(&stored) else { continue };
            let Some(text) = self.line(&fact) else { continue };
            page(self.glyphs, &(header.take().unwrap_or_default() + &text))?;
        }
        Ok(Exit::Ok)
    }

    /// One fact as text; `None` if it is filtered out.
    fn line(&mut self, fact: &StoredFact) -> Option<String> {
        self.learn_name(fact);
        if !self.is_wanted(fact) {
            return None;
        }
        if self.is_documents() {
            return Some(self.document(fact));
        }
        let mut cells = row(fact, self.glyphs);
        cells.insert(1, self.name(fact));
        Some(line(&cells))
    }

    fn is_documents(&self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl | Format::Yaml)
    }

    /// The event as it is on NATS: one line of JSON, or one document of a YAML stream.
    fn document(&self, fact: &StoredFact) -> String {
        let json = fact.event.to_bytes();
        match (self.format, serde_json::from_slice(&json)) {
            (Format::Yaml, Ok(event)) => format!("---\n{}", yaml(&event)),
            _ => String::from_utf8_lossy(&json).into_owned() + "\n",
        }
    }

    fn render(&mut self, facts: &[StoredFact]) -> String {
        let mut table = TextTable::new(vec!["TIME", "SESSION", "FACT", "DETAIL"]);
        let mut documents = String::new();
        for fact in facts {
            self.learn_name(fact);
            if !self.is_wanted(fact) {
                continue;
            }
            if self.is_documents() {
                documents.push_str(&self.document(fact));
            } else {
                let mut cells = row(fact, self.glyphs);
                cells.insert(1, self.name(fact));
                table.row(cells);
            }
        }
        if table.is_empty() { documents } else { table.render(Headers::Show) }
    }

    fn is_wanted(&self, fact: &StoredFact) -> bool {
        is_since(fact.time, self.since)
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == fact.key.namespace)
    }

    fn learn_name(&mut self, fact: &StoredFact) {
        let name = match &fact.fact {
            Some(Fact::Requested(data)) => &data.name,
            Some(Fact::Planned(plan)) => &plan.session_name,
            _ => return,
        };
        self.names.insert(fact.key.uid, name.clone());
    }

    fn name(&self, fact: &StoredFact) -> String {
        self.names.get(&fact.key.uid).cloned().unwrap_or_else(|| format!("{}/{}", fact.key.invoker, fact.key.uid))
    }
}

/// Joins cells at fixed widths, because the length of later lines is unknown.
fn line(cells: &[String]) -> String {
    const WIDTHS: [usize; 3] = [20, 28, 18];
    let mut text = String::new();
    for (index, cell) in cells.iter().enumerate() {
        let width = WIDTHS.get(index).copied().unwrap_or_default();
        text.push_str(&format!("{cell:<width$}  "));
    }
    text.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use lagan_schemas::fact::Skipped;
    use lagan_schemas::subject::{SessionKey, SessionKind};

    use super::*;

    fn skipped(namespace: &str) -> StoredFact {
        let key = SessionKey {
            cluster: "local".parse().unwrap(),
            namespace: namespace.into(),
            kind: SessionKind::Backup,
            group: "lagan.dev".into(),
            invoker: "shop".into(),
            uid: Uuid::from_u128(7),
        };
        let time: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let fact = Fact::Skipped(Skipped { reason: "Busy".into(), message: "shop-1 still runs".into(), behind: None });
        let event = fact.event(&key, "1".into(), "planner", time);
        StoredFact { key, pool: None, sequence: 1, time, event, fact: Some(fact) }
    }

    fn printer(format: Format) -> Printer {
        let names = HashMap::from([(Uuid::from_u128(7), "shop-2".to_owned())]);
        Printer { format, glyphs: Glyphs::Unicode, namespace: Some("prod".into()), since: None, names }
    }

    #[test]
    fn a_followed_event_is_one_line() {
        assert_eq!(
            printer(Format::Table).line(&skipped("prod")).unwrap(),
            "2026-11-22 12:00:00Z  shop-2                        ○ skipped           Busy: shop-1 still runs\n"
        );
        assert_eq!(printer(Format::Table).line(&skipped("other")), None);
        let document = printer(Format::Jsonl).line(&skipped("prod")).unwrap();
        assert!(document.ends_with('\n') && serde_json::from_str::<serde_json::Value>(&document).is_ok());
    }

    #[test]
    fn events_are_a_table_or_their_documents() {
        assert_eq!(
            printer(Format::Table).render(&[skipped("prod")]),
            "TIME                  SESSION  FACT       DETAIL\n2026-11-22 12:00:00Z  shop-2   ○ skipped  Busy: shop-1 still runs\n"
        );
        assert_eq!(printer(Format::Jsonl).render(&[skipped("prod"), skipped("other")]).lines().count(), 1);
        let stream = printer(Format::Yaml).render(&[skipped("prod"), skipped("prod")]);
        assert_eq!(stream.matches("---\ncluster: local\n").count(), 2, "{stream}");
    }
}
