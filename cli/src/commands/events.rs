//! `lagan events`: the facts of all sessions, as they happened and as they happen.

use std::collections::HashMap;

use futures::StreamExt as _;
use jiff::Timestamp;
use lagan_bus::{Followed, Start, follow};
use lagan_schemas::fact::Fact;
use lagan_schemas::resource::Kind;
use lagan_schemas::subject::{SESSIONS, stream_subjects, uid_filter};
use uuid::Uuid;

use crate::args::{EventsArgs, Format, Global};
use crate::client::{self, Client};
use crate::description::row;
use crate::error::{Exit, Problem};
use crate::facts::is_since;
use crate::glyph::Glyphs;
use crate::objects::{find, select};
use crate::output::{narrate, page};
use crate::store::{self, StoredFact, Wanted};
use crate::table::{Headers, Table};

pub async fn run(args: EventsArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let streams = client.streams_for("`events` reads the facts of sessions, which are on NATS")?;
    let filter = match &args.session {
        Some(session) => uid_filter(&streams.cluster, uid_of(&client, session).await?),
        None => stream_subjects(SESSIONS, &streams.cluster),
    };
    let mut told = Told {
        format: args.output,
        glyphs: global.glyphs(),
        namespace: if args.session.is_some() { None } else { client.scope().map(str::to_owned) },
        since: args.since.map(|since| Timestamp::now().saturating_sub(since).unwrap_or(Timestamp::MIN)),
        names: HashMap::new(),
    };
    if !args.follow {
        let stored = store::contents(&streams.bus, SESSIONS, filter, Start::All).await?;
        let facts: Vec<_> = stored.iter().filter_map(StoredFact::read).collect();
        let text = told.render(&facts);
        if text.is_empty() {
            narrate(global, "no events");
        }
        page(told.glyphs, &text)?;
        return Ok(Exit::Ok);
    }
    let following = follow::follow(&streams.bus, SESSIONS, vec![filter], Start::All);
    tokio::select! {
        ended = told.follow(following) => ended,
        // Leaving is the only end there is.
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

const SESSION_KINDS: Wanted = Wanted { kinds: &[Kind::BackupSession, Kind::RestoreSession], namespaces: &[] };

/// A uid stands for itself; a name, or `@latest`, for a session that is in view.
async fn uid_of(client: &Client, session: &str) -> Result<Uuid, Problem> {
    if let Ok(uid) = session.parse() {
        return Ok(uid);
    }
    session_named(client, session).await
}

/// Finds a backup or restore session by its name.
pub async fn session_named(client: &Client, session: &str) -> Result<Uuid, Problem> {
    let views = store::views(client, SESSION_KINDS).await?;
    let mut sessions = select(&views, Kind::BackupSession, client.scope());
    sessions.extend(select(&views, Kind::RestoreSession, client.scope()));
    sessions.sort_by_key(|view| std::cmp::Reverse(view.age()));
    let name = session.rsplit('/').next().unwrap_or(session);
    let found = find(&sessions, name);
    let uid = found.first().and_then(|view| view.session());
    uid.ok_or_else(|| store::absent(Kind::BackupSession, client.scope(), name, &sessions))
}

struct Told {
    format: Format,
    glyphs: Glyphs,
    namespace: Option<String>,
    since: Option<Timestamp>,
    /// What people call the sessions; only their first facts say so.
    names: HashMap<Uuid, String>,
}

impl Told {
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

    /// One fact by itself; `None` if it is not wanted.
    fn line(&mut self, fact: &StoredFact) -> Option<String> {
        self.learn(fact);
        if !self.is_wanted(fact) {
            return None;
        }
        if self.is_documents() {
            return Some(document(fact));
        }
        let mut cells = row(fact, self.glyphs);
        cells.insert(1, self.name(fact));
        Some(line(&cells))
    }

    fn is_documents(&self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl)
    }

    fn render(&mut self, facts: &[StoredFact]) -> String {
        let mut table = Table::new(vec!["TIME", "SESSION", "FACT", "DETAIL"]);
        let mut documents = String::new();
        for fact in facts {
            self.learn(fact);
            if !self.is_wanted(fact) {
                continue;
            }
            if self.is_documents() {
                documents.push_str(&document(fact));
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

    fn learn(&mut self, fact: &StoredFact) {
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

/// The event as it is on the bus, on one line.
fn document(fact: &StoredFact) -> String {
    String::from_utf8_lossy(&fact.event.to_bytes()).into_owned() + "\n"
}

/// Columns of fixed widths: what comes next is not known, so nothing can be measured.
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
            invoker: "shop".into(),
            uid: Uuid::from_u128(7),
        };
        let time: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let fact = Fact::Skipped(Skipped { reason: "Busy".into(), message: "shop-1 still runs".into(), behind: None });
        let event = fact.event(&key, "1".into(), "planner", time);
        StoredFact { key, sequence: 1, time, event, fact: Some(fact) }
    }

    fn told(format: Format) -> Told {
        let names = HashMap::from([(Uuid::from_u128(7), "shop-2".to_owned())]);
        Told { format, glyphs: Glyphs::Unicode, namespace: Some("prod".into()), since: None, names }
    }

    #[test]
    fn a_followed_event_is_one_line() {
        assert_eq!(
            told(Format::Table).line(&skipped("prod")).unwrap(),
            "2026-11-22 12:00:00Z  shop-2                        ○ skipped           Busy: shop-1 still runs\n"
        );
        assert_eq!(told(Format::Table).line(&skipped("other")), None);
        let document = told(Format::Jsonl).line(&skipped("prod")).unwrap();
        assert!(document.ends_with('\n') && serde_json::from_str::<serde_json::Value>(&document).is_ok());
    }

    #[test]
    fn events_are_a_table_or_their_documents() {
        assert_eq!(
            told(Format::Table).render(&[skipped("prod")]),
            "TIME                  SESSION  FACT       DETAIL\n2026-11-22 12:00:00Z  shop-2   ○ skipped  Busy: shop-1 still runs\n"
        );
        assert_eq!(told(Format::Jsonl).render(&[skipped("prod"), skipped("other")]).lines().count(), 1);
    }
}
