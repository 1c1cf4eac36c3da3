//! `lagan describe`: shows everything about one object, with the facts of its session as a timeline, and its Kubernetes
//! Events.

use jiff::Timestamp;
use lagan_schemas::forecast::SharedThing;
use lagan_schemas::resource::Kind;
use serde_json::json;

use super::get::{AskedObject, asked_object};
use crate::args::{DescribeArgs, Global};
use crate::client;
use crate::cluster::KubeEvent;
use crate::description::{Described, describe};
use crate::error::{Exit, Problem};
use crate::forecast::{self, forecasts};
use crate::objects::{ObjectDocument, select};
use crate::output::{data, document, page};
use crate::store::{self, Query};
use crate::table::Headers;
use crate::views::{Namespaces, TableStyle, Width, table};

/// The kinds that a forecast needs.
const FORECAST: [Kind; 4] = [Kind::BackupConfiguration, Kind::BackupSession, Kind::Repository, Kind::AppBinding];
/// Number of sessions shown for a configuration; `lagan get sessions` lists all.
const SESSIONS: usize = 5;

pub async fn run(args: DescribeArgs, global: &Global) -> Result<Exit, Problem> {
    let AskedObject { kind, group, name } = asked_object(&args.kind, args.name.as_deref())?;
    if name.is_none() && kind == Kind::BackupConfiguration {
        return forecast_of_all(&args, global).await;
    }
    let name = name.ok_or_else(|| {
        Problem::new(Exit::Usage, format!("no name of a {kind} is given")).help(format!(
            "write `lagan describe {} NAME`; `lagan get {}` lists the names",
            args.kind,
            kind.plural()
        ))
    })?;
    let client = client::connect(global, &args.connection).await?;
    let kinds = if kind == Kind::BackupConfiguration { &FORECAST[..] } else { &[kind] };
    let views = store::views(&client, Query { kinds, namespaces: &[] }).await?;
    let view = store::find_one(&views, (kind, group), client.scope(), &name)
        .map_err(|problem| store::name_broken_manifests(&client, problem))?;
    let facts = match (client.streams(), view.session()) {
        (Some(streams), Some(uid)) if view.is_session() => Some(store::facts(streams, uid).await?),
        (Some(_), None) if view.is_session() => Some(Vec::new()),
        _ => None,
    };
    let events = match client.cluster() {
        Some(cluster) if !view.is_built_in() => Some(cluster.events(view).await.map_err(|problem| problem.message)),
        _ => None,
    };
    let mut whole = view.value.clone();
    if let Some(Ok(events)) = &events {
        whole["events"] = events.iter().map(KubeEvent::document).collect();
    }
    if let Some(facts) = &facts {
        whole["facts"] = json!(facts.iter().map(|fact| &fact.event).collect::<Vec<_>>());
    }
    if let Some(text) = document(args.output, kind, &whole) {
        data(&text)?;
        return Ok(Exit::Ok);
    }
    let (glyphs, now) = (global.glyphs(), Timestamp::now());
    let style = TableStyle { glyphs, now, width: Width::Narrow, namespaces: Namespaces::One };
    let sessions = sessions_of(view, &views, style);
    let own = path(view);
    let forecast = (kind == Kind::BackupConfiguration)
        .then(|| forecast::text(&concerning(forecasts(&views, now), |path| path == own), glyphs));
    let described = Described { view, facts: facts.as_deref(), events, sessions, forecast };
    page(glyphs, &describe(&described, glyphs, now))?;
    Ok(Exit::Ok)
}

/// Tells whether the scheduled backups of all configurations fit.
async fn forecast_of_all(args: &DescribeArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let views = store::views(&client, Query { kinds: &FORECAST, namespaces: &[] }).await?;
    let scope = client.scope();
    let is_asked = |path: &str| scope.is_none() || path.split_once('/').map(|(namespace, _)| namespace) == scope;
    let things = concerning(forecasts(&views, Timestamp::now()), is_asked);
    match document(args.output, Kind::BackupConfiguration, &json!({ "items": things })) {
        Some(text) => data(&text)?,
        None => page(global.glyphs(), &forecast::text(&things, global.glyphs()))?,
    }
    Ok(Exit::Ok)
}

/// The things that one of the configurations uses which are asked for, by namespace and name.
fn concerning(mut things: Vec<SharedThing>, is_asked: impl Fn(&str) -> bool) -> Vec<SharedThing> {
    things.retain(|thing| thing.configurations.iter().any(|path| is_asked(path)));
    things
}

fn path(view: &ObjectDocument) -> String {
    format!("{}/{}", view.key.namespace.as_deref().unwrap_or_default(), view.key.name)
}

/// A table of the newest sessions of a configuration; `None` for other kinds.
fn sessions_of(view: &ObjectDocument, views: &[ObjectDocument], style: TableStyle) -> Option<String> {
    if view.key.kind != Kind::BackupConfiguration {
        return None;
    }
    let mut sessions = select(views, Kind::BackupSession, view.key.namespace.as_deref());
    sessions.retain(|session| session.text("/spec/invoker/name") == view.key.name);
    sessions.truncate(SESSIONS);
    if sessions.is_empty() {
        return Some(String::new());
    }
    Some(table(Kind::BackupSession, &sessions, style).render(Headers::Show))
}
