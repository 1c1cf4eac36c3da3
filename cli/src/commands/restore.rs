//! `lagan restore`: creates a RestoreSession, or shows what it would do.

use std::io::{IsTerminal as _, Write as _};

use lagan_schemas::catalogue;
use lagan_schemas::origin::{Clusters, ConfigurationKey};
use lagan_schemas::resource::Kind;
use lagan_schemas::resource::backup_configuration::{BackupConfigurationSpec, TargetRef};
use lagan_schemas::subject::ObjectKey;
use serde_json::{Value, json};

use super::backup::{NewSession, create, free_names, report};
use crate::args::{Global, RestoreArgs};
use crate::client::{self, Client};
use crate::error::{Exit, Problem};
use crate::glyph::Glyph;
use crate::manifests::{Overwrite, RestoreManifest, app_binding, restore_session, restore_task, target_of};
use crate::objects::{ObjectDocument, find, select};
use crate::output::{data, document, narrate, page, yaml};
use crate::preview::{Preview, preview};
use crate::repository::{self, SnapshotChoice};
use crate::store;

const KINDS: &[Kind] =
    &[Kind::BackupConfiguration, Kind::Repository, Kind::AppBinding, Kind::RestoreSession, Kind::Task, Kind::Function];

pub async fn run(args: RestoreArgs, global: &Global) -> Result<Exit, Problem> {
    if args.renamed.is_some() && args.databases.len() > 1 {
        let named = args.databases.join(", ");
        let message = format!("--as: one database can get another name, and --database names {named}; name one");
        return Err(Problem::new(Exit::Usage, message));
    }
    let client = client::connect(global, &args.connection).await?;
    let elsewhere: Vec<&str> =
        [&args.from, &args.to].into_iter().flatten().filter_map(|name| Some(name.split_once('/')?.0)).collect();
    let views = store::views(&client, store::Query { kinds: KINDS, namespaces: &elsewhere }).await?;
    let namespace = client.namespace.as_str();
    let named = |problem| store::name_broken_manifests(&client, problem);
    let wanted = match (&args.name, &args.from) {
        (Some(name), _) => of_configuration(&views, namespace, &args, name).map_err(named)?,
        (None, Some(repository)) => of_repository(&views, namespace, &args, repository).map_err(named)?,
        (None, None) => {
            return Err(Problem::new(Exit::Usage, "name a BackupConfiguration, or a Repository with --from"));
        }
    };
    let binding = target(&views, namespace, &wanted.restore.target).map_err(named)?;
    let invoker = ObjectKey {
        group: wanted.restore.group.clone(),
        kind: Kind::RestoreSession,
        namespace: Some(wanted.restore.namespace.clone()),
        name: wanted.name.clone(),
    };
    if args.dry_run {
        let name = free_names(&views, Kind::RestoreSession, &invoker).next().unwrap_or_default();
        return dry_run(&client, global, &args, (&wanted, &views, &name)).await;
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
    let names = free_names(&views, Kind::RestoreSession, &invoker);
    let (key, created) = create(&client, names, |name| restore_session(&wanted.restore, name)).await?;
    let invoker = key.name.clone();
    let session = NewSession { key, created, invoker, views: &views, wait: args.wait, output: args.output };
    report(&client, global, session).await
}

/// The restore that the person asks for, with every name resolved.
struct Request<'a> {
    /// The first part of the session's name.
    name: String,
    repository: &'a ObjectDocument,
    restore: RestoreManifest,
}

fn of_configuration<'a>(
    views: &'a [ObjectDocument],
    own: &str,
    args: &RestoreArgs,
    name: &str,
) -> Result<Request<'a>, Problem> {
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
    let restore = RestoreManifest {
        group: configuration.key.group.clone(),
        namespace: own.to_owned(),
        repository: json!(spec.repository),
        target,
        alias: spec.target.and_then(|target| target.alias),
        task,
        snapshot: args.snapshot.clone(),
        configuration: Some(configuration.key.name.clone()),
        from_cluster: args.from_cluster.clone(),
        databases: args.databases.clone(),
        renamed: args.renamed.clone(),
        overwrite: overwrite(args),
        verify: args.verify.map(Into::into),
    };
    Ok(Request { name: configuration.key.name.clone(), repository, restore })
}

fn of_repository<'a>(
    views: &'a [ObjectDocument],
    own: &str,
    args: &RestoreArgs,
    name: &str,
) -> Result<Request<'a>, Problem> {
    let (namespace, name) = name.split_once('/').unwrap_or((own, name));
    let repository = store::find_one(views, Kind::Repository, Some(namespace), name)?;
    let target = args.to.as_deref().map(app_binding);
    let restore = RestoreManifest {
        group: repository.key.group.clone(),
        namespace: own.to_owned(),
        repository: json!({ "namespace": namespace, "name": name }),
        target: target.ok_or_else(|| Problem::new(Exit::Usage, "--from needs --to"))?,
        alias: None,
        task: None,
        snapshot: args.snapshot.clone(),
        configuration: args.configuration.clone(),
        from_cluster: args.from_cluster.clone(),
        databases: args.databases.clone(),
        renamed: args.renamed.clone(),
        overwrite: overwrite(args),
        verify: args.verify.map(Into::into),
    };
    Ok(Request { name: name.to_owned(), repository, restore })
}

fn overwrite(args: &RestoreArgs) -> Overwrite {
    if args.overwrite { Overwrite::Replace } else { Overwrite::Refuse }
}

/// A session waits for a Task that does not exist, so without one the choice is left to the AppBinding.
fn has_task(views: &[ObjectDocument], name: &str) -> bool {
    catalogue::find(Kind::Task, name).is_some()
        || select(views, Kind::Task, None).iter().any(|task| task.key.name == name)
}

fn target<'a>(views: &'a [ObjectDocument], own: &str, target: &TargetRef) -> Result<&'a ObjectDocument, Problem> {
    let namespace = target.namespace.as_deref().unwrap_or(own);
    store::find_one(views, Kind::AppBinding, Some(namespace), &target.name)
}

/// Asks the person at the terminal. A script has no terminal, and its `--overwrite` is consent enough.
fn confirm(global: &Global, args: &RestoreArgs, binding: &ObjectDocument) -> Result<(), Problem> {
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

/// Shows the snapshot that a worker would choose now, and an object that names exactly this snapshot.
async fn dry_run(
    client: &Client,
    global: &Global,
    args: &RestoreArgs,
    (request, views, name): (&Request<'_>, &[ObjectDocument], &str),
) -> Result<Exit, Problem> {
    let secrets = repository::secrets(client, None)?;
    let list = repository::snapshots(secrets, request.repository).await?;
    let identity = repository::identity(client).await?;
    let mut restore = request.restore.clone();
    let path = dump_path(views, &restore);
    let clusters = match (&restore.from_cluster, &identity) {
        (Some(named), _) => Clusters::Named(named),
        (None, Some(identity)) => Clusters::Own(identity),
        (None, None) => Clusters::Unknown,
    };
    let choice = SnapshotChoice {
        id: &restore.snapshot,
        clusters,
        configuration: restore.configuration.as_ref().map(|name| ConfigurationKey {
            group: restore.group.clone(),
            namespace: restore.namespace.clone(),
            name: name.clone(),
        }),
        host: restore.alias.as_deref(),
        path: path.as_deref(),
        unnamed: repository::unnamed(client, identity.as_ref(), &list.snapshots).await,
    };
    let snapshot = choice.find(&list.snapshots)?;
    let row = repository::SnapshotRow::from(snapshot);
    restore.snapshot.clone_from(&snapshot.id);
    let object = restore_session(&restore, name);
    if let Some(text) = document(args.output, Kind::RestoreSession, &object) {
        data(&text)?;
        return Ok(Exit::Ok);
    }
    let namespace = restore.target.namespace.as_deref().unwrap_or(&restore.namespace);
    let text = preview(&Preview {
        repository: request.repository.key.to_string(),
        target: format!("{}/{namespace}/{}", restore.target.kind, restore.target.name),
        overwrite: restore.overwrite,
        databases: restore.databases.clone(),
        renamed: restore.renamed.clone(),
        snapshot: row,
    });
    page(global.glyphs(), &text)?;
    data(&format!("\n{}", yaml(&object)))?;
    Ok(Exit::Ok)
}

/// Path of the dump in the snapshots, as the Function of the restore's Task reads it; `None` if the Task is not known.
fn dump_path(views: &[ObjectDocument], restore: &RestoreManifest) -> Option<String> {
    let task = find(&select(views, Kind::Task, None), restore.task.as_deref()?).first().copied()?;
    let steps = task.value.pointer("/spec/steps").and_then(Value::as_array)?;
    let functions = select(views, Kind::Function, None);
    let entry = steps.iter().find_map(|step| {
        let function = find(&functions, step["name"].as_str()?).first().copied()?;
        Some(function.text("/spec/stream/stdin").to_owned()).filter(|entry| !entry.is_empty())
    })?;
    Some(format!("/{}", entry.trim_start_matches('/')))
}
