//! `lagan restore`: creates a RestoreSession, or shows what it would do.

use std::io::{IsTerminal as _, Write as _};

use lagan_schemas::catalogue;
use lagan_schemas::origin::{Clusters, ConfigurationKey};
use lagan_schemas::resource::Kind;
use lagan_schemas::resource::backup_configuration::{BackupConfigurationSpec, TargetRef};
use lagan_schemas::subject::ObjectKey;
use serde_json::{Value, json};

use super::backup::{SessionRequest, new_name, start};
use crate::args::{Format, Global, RestoreArgs};
use crate::client::{self, Client};
use crate::error::{Exit, Problem};
use crate::glyph::Glyph;
use crate::manifests::{Overwrite, Restore, app_binding, restore_session, restore_task, target_of};
use crate::objects::{View, select};
use crate::output::{data, document, narrate, page, yaml};
use crate::preview::{Preview, preview};
use crate::repository::{self, SnapshotChoice};
use crate::store;

const KINDS: &[Kind] =
    &[Kind::BackupConfiguration, Kind::Repository, Kind::AppBinding, Kind::RestoreSession, Kind::Task];

pub async fn run(args: RestoreArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let elsewhere: Vec<&str> =
        [&args.from, &args.to].into_iter().flatten().filter_map(|name| Some(name.split_once('/')?.0)).collect();
    let views = store::views(&client, store::Query { kinds: KINDS, namespaces: &elsewhere }).await?;
    let namespace = client.namespace.as_str();
    let wanted = match (&args.name, &args.from) {
        (Some(name), _) => of_configuration(&views, namespace, &args, name)?,
        (None, Some(repository)) => of_repository(&views, namespace, &args, repository)?,
        (None, None) => {
            return Err(Problem::new(Exit::Usage, "name a BackupConfiguration, or a Repository with --from"));
        }
    };
    let binding = target(&views, namespace, &wanted.restore.target)?;
    let invoker = ObjectKey {
        group: wanted.restore.group.clone(),
        kind: Kind::RestoreSession,
        namespace: Some(wanted.restore.namespace.clone()),
        name: wanted.name.clone(),
    };
    let name = new_name(&views, Kind::RestoreSession, &invoker);
    let object = restore_session(&wanted.restore, &name);
    if args.dry_run {
        return dry_run(&client, global, &args, &wanted, &object).await;
    }
    if args.overwrite {
        confirm(global, &args, binding)?;
    } else {
        narrate(
            global,
            &format!(
                "{} a database that is not empty is refused; --overwrite replaces its data",
                global.glyphs().dot()
            ),
        );
    }
    let asked = SessionRequest { object, invoker: name, views: &views, wait: args.wait, output: args.output };
    start(&client, global, asked).await
}

/// The restore that the person asks for, with every name resolved.
struct Request<'a> {
    /// The first part of the session's name.
    name: String,
    repository: &'a View,
    restore: Restore,
}

fn of_configuration<'a>(views: &'a [View], own: &str, args: &RestoreArgs, name: &str) -> Result<Request<'a>, Problem> {
    let configuration = store::find_one(views, Kind::BackupConfiguration, Some(own), name)?;
    let unreadable =
        |error: serde_json::Error| Problem::new(Exit::Failed, format!("{} can't be read: {error}", configuration.key));
    let spec: BackupConfigurationSpec =
        serde_json::from_value(configuration.value["spec"].clone()).map_err(unreadable)?;
    let target = match &args.to {
        Some(to) => app_binding(to),
        None => target_of(&spec)
            .cloned()
            .ok_or_else(|| Problem::new(Exit::Failed, format!("{} names no target", configuration.key)))?,
    };
    let namespace = spec.repository.namespace.as_deref().unwrap_or(own);
    let repository = store::find_one(views, Kind::Repository, Some(namespace), &spec.repository.name)?;
    let task = restore_task(spec.task.as_ref()).filter(|task| has_task(views, task));
    let restore = Restore {
        group: configuration.key.group.clone(),
        namespace: own.to_owned(),
        repository: json!(spec.repository),
        target,
        alias: spec.target.and_then(|target| target.alias),
        task,
        snapshot: args.snapshot.clone(),
        configuration: Some(configuration.key.name.clone()),
        from_cluster: args.from_cluster.clone(),
        database: args.database.clone(),
        renamed: args.renamed.clone(),
        overwrite: overwrite(args),
    };
    Ok(Request { name: configuration.key.name.clone(), repository, restore })
}

fn of_repository<'a>(views: &'a [View], own: &str, args: &RestoreArgs, name: &str) -> Result<Request<'a>, Problem> {
    let (namespace, name) = name.split_once('/').unwrap_or((own, name));
    let repository = store::find_one(views, Kind::Repository, Some(namespace), name)?;
    let target = args.to.as_deref().map(app_binding);
    let restore = Restore {
        group: repository.key.group.clone(),
        namespace: own.to_owned(),
        repository: json!({ "namespace": namespace, "name": name }),
        target: target.ok_or_else(|| Problem::new(Exit::Usage, "--from needs --to"))?,
        alias: None,
        task: None,
        snapshot: args.snapshot.clone(),
        configuration: args.configuration.clone(),
        from_cluster: args.from_cluster.clone(),
        database: args.database.clone(),
        renamed: args.renamed.clone(),
        overwrite: overwrite(args),
    };
    Ok(Request { name: name.to_owned(), repository, restore })
}

fn overwrite(args: &RestoreArgs) -> Overwrite {
    if args.overwrite { Overwrite::Replace } else { Overwrite::Refuse }
}

/// A session waits for a Task that does not exist, so without one the choice is left to the AppBinding.
fn has_task(views: &[View], name: &str) -> bool {
    catalogue::find(Kind::Task, name).is_some()
        || select(views, Kind::Task, None).iter().any(|task| task.key.name == name)
}

fn target<'a>(views: &'a [View], own: &str, target: &TargetRef) -> Result<&'a View, Problem> {
    let namespace = target.namespace.as_deref().unwrap_or(own);
    store::find_one(views, Kind::AppBinding, Some(namespace), &target.name)
}

/// Asks the person at the terminal. A script has no terminal, and its `--overwrite` is consent enough.
fn confirm(global: &Global, args: &RestoreArgs, binding: &View) -> Result<(), Problem> {
    if args.yes || !std::io::stdin().is_terminal() {
        return Ok(());
    }
    let warning = global.glyphs().of(Glyph::Warning);
    let mut err = std::io::stderr().lock();
    // A question that can't be printed is not answered with yes.
    let _ = write!(err, "{warning} the data of {} will be replaced by the snapshot. Continue? [y/N] ", binding.key);
    let _ = err.flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Problem::from_error(Exit::Failed, &error))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Problem::new(Exit::Interrupted, "nothing was changed")),
    }
}

async fn dry_run(
    client: &Client,
    global: &Global,
    args: &RestoreArgs,
    wanted: &Request<'_>,
    object: &Value,
) -> Result<Exit, Problem> {
    let secrets = repository::secrets(client, None)?;
    let list = repository::snapshots(secrets, wanted.repository).await?;
    let identity = repository::identity(client).await?;
    let clusters = match (&wanted.restore.from_cluster, &identity) {
        (Some(named), _) => Clusters::Named(named),
        (None, Some(identity)) => Clusters::Own(identity),
        (None, None) => Clusters::Unknown,
    };
    let choice = SnapshotChoice {
        id: &wanted.restore.snapshot,
        clusters,
        configuration: wanted.restore.configuration.as_ref().map(|name| ConfigurationKey {
            group: wanted.restore.group.clone(),
            namespace: wanted.restore.namespace.clone(),
            name: name.clone(),
        }),
        host: wanted.restore.alias.as_deref(),
    };
    let snapshot = choice.find(&list.snapshots)?;
    if let Some(text) = document(args.output, Kind::RestoreSession, object) {
        data(&text)?;
        return Ok(Exit::Ok);
    }
    let target = &wanted.restore.target;
    let namespace = target.namespace.as_deref().unwrap_or(&wanted.restore.namespace);
    let text = preview(&Preview {
        repository: wanted.repository.key.to_string(),
        target: format!("{}/{namespace}/{}", target.kind, target.name),
        overwrite: wanted.restore.overwrite,
        snapshot: repository::SnapshotRow::from(snapshot),
    });
    page(global.glyphs(), &text)?;
    if matches!(args.output, Format::Table | Format::Wide) {
        data(&format!("\n{}", yaml(object)))?;
    }
    Ok(Exit::Ok)
}
