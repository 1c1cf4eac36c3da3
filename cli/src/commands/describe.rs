//! `lagan describe KIND NAME`: everything about one object, with its session's facts as a timeline.

use jiff::Timestamp;
use lagan_schemas::resource::Kind;
use serde_json::json;

use super::get::kind_and_name;
use crate::args::{DescribeArgs, Global};
use crate::client;
use crate::description::{Subject, describe};
use crate::error::{Exit, Problem};
use crate::objects::{View, select};
use crate::output::{data, document, page};
use crate::store;
use crate::table::Headers;
use crate::views::{Look, Namespaces, Width, table};

/// Sessions that are shown of a configuration; `lagan get sessions` shows all.
const SESSIONS: usize = 5;

pub async fn run(args: DescribeArgs, global: &Global) -> Result<Exit, Problem> {
    let (kind, name) = kind_and_name(&args.kind, args.name.as_deref())?;
    let name = name.ok_or_else(|| {
        Problem::new(Exit::Usage, format!("which {kind}?")).help(format!(
            "lagan describe {} NAME, or `lagan get {}`",
            args.kind,
            kind.plural()
        ))
    })?;
    let client = client::connect(global, &args.connection).await?;
    let views = store::views(&client).await?;
    let view = store::one(&views, kind, global.scope(), &name)?;
    let facts = match (kind, view.uid()) {
        (Kind::BackupSession | Kind::RestoreSession, Some(uid)) => Some(store::facts(&client, uid).await?),
        (Kind::BackupSession | Kind::RestoreSession, None) => Some(Vec::new()),
        _ => None,
    };
    let mut whole = view.value.clone();
    if let Some(facts) = &facts {
        whole["facts"] = json!(facts.iter().map(|fact| &fact.event).collect::<Vec<_>>());
    }
    if let Some(text) = document(args.output, kind, &whole) {
        data(&text)?;
        return Ok(Exit::Ok);
    }
    let (glyphs, now) = (global.glyphs(), Timestamp::now());
    let look = Look { glyphs, now, width: Width::Narrow, namespaces: Namespaces::One };
    let subject = Subject { view, facts: facts.as_deref(), sessions: sessions_of(view, &views, look) };
    page(glyphs, &describe(&subject, glyphs, now))?;
    Ok(Exit::Ok)
}

/// The newest sessions of a configuration; `None` for other kinds.
fn sessions_of(view: &View, views: &[View], look: Look) -> Option<String> {
    if view.key.kind != Kind::BackupConfiguration {
        return None;
    }
    let mut sessions = select(views, Kind::BackupSession, view.key.namespace.as_deref());
    sessions.retain(|session| session.text("/spec/invoker/name") == view.key.name);
    sessions.truncate(SESSIONS);
    if sessions.is_empty() {
        return Some(String::new());
    }
    Some(table(Kind::BackupSession, &sessions, look).render(Headers::Show))
}
