//! `lagan tree`: shows an object with the objects that belong to it.

use jiff::Timestamp;
use lagan_schemas::resource::Kind;

use super::get::{AskedObject, asked_object};
use crate::args::{Format, Global, TreeArgs};
use crate::client;
use crate::error::{Exit, Problem};
use crate::output::{data, json, page, yaml};
use crate::store::{self, Query};
use crate::tree::{Forest, document, names, render};

const KINDS: &[Kind] = &[Kind::BackupConfiguration, Kind::AppBinding, Kind::Repository, Kind::BackupSession];

pub async fn run(args: TreeArgs, global: &Global) -> Result<Exit, Problem> {
    let AskedObject { kind, group, name } = asked_object(&args.kind, args.name.as_deref())?;
    if !matches!(kind, Kind::BackupConfiguration | Kind::BackupSession | Kind::Repository) {
        return Err(Problem::new(Exit::Usage, format!("a {kind} has no tree")).help(
            "plan/NAME, session/NAME and repository/NAME have one; `lagan describe` shows objects of all kinds",
        ));
    }
    let name = name.ok_or_else(|| {
        Problem::new(Exit::Usage, format!("no name of a {kind} is given")).help(format!(
            "write `lagan tree {}/NAME`; `lagan get {}` lists the names",
            args.kind,
            kind.plural()
        ))
    })?;
    let client = client::connect(global, &args.connection).await?;
    let views = store::views(&client, Query { kinds: KINDS, namespaces: &[] }).await?;
    let view = store::find_one(&views, (kind, group), client.scope(), &name)
        .map_err(|problem| store::name_broken_manifests(&client, problem))?;
    let forest = Forest { views: &views, now: Timestamp::now() };
    let root = match kind {
        Kind::Repository => forest.of_repository(view),
        Kind::BackupSession => {
            let (namespace, plan) = (view.key.namespace.as_deref(), view.text("/spec/invoker/name"));
            let group = view.text("/spec/invoker/apiGroup");
            forest.of_configuration(store::find_named_by(&views, group, Kind::BackupConfiguration, namespace, plan)?)
        }
        _ => forest.of_configuration(view),
    };
    match args.output {
        Format::Json => data(&json(&document(&root)))?,
        Format::Jsonl => data(&format!("{}\n", document(&root)))?,
        Format::Yaml => data(&yaml(&document(&root)))?,
        Format::Name => data(&names(&root))?,
        Format::Table | Format::Wide => page(global.glyphs(), &render(&root, global.glyphs()))?,
    }
    Ok(Exit::Ok)
}
