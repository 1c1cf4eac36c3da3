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
use crate::store::{self, StoredFact};
use crate::table::{Headers, Table};

pub async fn run(args: EventsArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let filter = match &args.session {
        Some(session) => uid_filter(&client.cluster, uid_of(&client, global, session).await?),
        None => stream_subjects(SESSIONS, &client.cluster),
    };
    let mut told = Told {
        format: args.output,
        glyphs: global.glyphs(),
        namespace: if args.session.is_some() { None } else { global.scope().map(str::to_owned) },
        since: args.since.map(|since| Timestamp::now().saturating_sub(since).unwrap_or(Timestamp::MIN)),
        names: HashMap::new(),
    };
    if !args.follow {
        let stored = store::contents(&client.bus, SESSIONS, filter, Start::All).await?;
        let facts: Vec<_> = stored.iter().filter_map(StoredFact::read).collect();
        let text = told.render(&facts, Headers::Show);
        if text.is_empty() {
            narrate(global, "no events");
        }
        page(told.glyphs, &text)?;
        return Ok(Exit::Ok);
    }
    let following = follow::follow(&client.bus, SESSIONS, vec![filter], Start::All);
    tokio::select! {
        ended = told.follow(following) => ended,
        // Leaving is the only end there is.
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

/// A uid stands for itself; a name, or `@latest`, for a session that is in view.
async fn uid_of(client: &Client, global: &Global, session: &str) -> Result<Uuid, Problem> {
    if let Ok(uid) = session.parse() {
        return Ok(uid);
    }
    session_named(client, global, session).await
}

/// Finds a backup or restore session by its name.
pub async fn session_named(client: &Client, global: &Global, session: &str) -> Result<Uuid, Problem> {
    let views = store::views(client).await?;
    let mut sessions = select(&views, Kind::BackupSession, global.scope());
    sessions.extend(select(&views, Kind::RestoreSession, global.scope()));
    sessions.sort_by_key(|view| std::cmp::Reverse(view.created()));
    let name = session.rsplit('/').next().unwrap_or(session);
    let found = find(&sessions, name);
    let uid = found.first().and_then(|view| view.uid());
    uid.ok_or_else(|| store::absent(Kind::BackupSession, global.scope(), name, &sessions))
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
        let mut headers = Headers::Show;
        let mut backlog = Some(Vec::new());
        while let Some(item) = following.next().await {
            match (item, &mut backlog) {
                (Followed::Message(stored), Some(facts)) => facts.extend(StoredFact::read(&stored)),
                (Followed::Message(stored), None) => {
                    let facts: Vec<_> = StoredFact::read(&stored).into_iter().collect();
                    self.print(&facts, &mut headers)?;
                }
                (Followed::CaughtUp, Some(facts)) => {
                    let facts = std::mem::take(facts);
                    backlog = None;
                    self.print(&facts, &mut headers)?;
                }
                (Followed::Store(_) | Followed::CaughtUp, _) => {}
            }
        }
        Ok(Exit::Ok)
    }

    fn print(&mut self, facts: &[StoredFact], headers: &mut Headers) -> Result<(), Problem> {
        let text = self.render(facts, *headers);
        if !text.is_empty() {
            *headers = Headers::Hide;
        }
        page(self.glyphs, &text)
    }

    fn render(&mut self, facts: &[StoredFact], headers: Headers) -> String {
        let mut table = Table::new(vec!["TIME", "SESSION", "FACT", "DETAIL"]);
        let mut documents = String::new();
        for fact in facts {
            self.learn(fact);
            if !self.is_wanted(fact) {
                continue;
            }
            if matches!(self.format, Format::Table | Format::Wide | Format::Yaml | Format::Name) {
                let mut cells = row(fact, self.glyphs);
                cells.insert(1, self.name(fact));
                table.row(cells);
            } else {
                documents.push_str(&String::from_utf8_lossy(&fact.event.to_bytes()));
                documents.push('\n');
            }
        }
        if table.is_empty() { documents } else { table.render(headers) }
    }

    fn is_wanted(&self, fact: &StoredFact) -> bool {
        is_since(fact.time, self.since) && self.namespace.as_ref().is_none_or(|namespace| *namespace == fact.key.namespace)
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
