//! `lagan restore`: creates a RestoreSession, or shows what it would do.

mod dry_run;

use std::io::{IsTerminal as _, Write as _};

use lagan_schemas::catalogue;
use lagan_schemas::plan::RestoreMode;
use lagan_schemas::resource::Kind;
use lagan_schemas::resource::backup_configuration::{BackupConfigurationSpec, TargetRef};
use lagan_schemas::subject::ObjectKey;
use serde_json::json;

use super::backup::{NewSession, create, free_names, report};
use crate::args::{Global, RestoreArgs};
use crate::client;
use crate::error::{Exit, Problem};
use crate::glyph::Glyph;
use crate::manifests::{Overwrite, RestoreManifest, app_binding, restore_session, restore_task, target_of};
use crate::objects::{ObjectDocument, select};
use crate::output::narrate;
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
        let names = free_names(&views, Kind::RestoreSession, &invoker);
        return dry_run::run(&client, global, &args, &wanted, names).await;
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
    let session = NewSession::new((key, created), invoker, &views, args.wait, args.output);
    report(&client, global, session).await
}

/// The restore that the person asks for, with every name resolved.
struct Request {
    /// The first part of the session's name.
    name: String,
    restore: RestoreManifest,
}

fn of_configuration(views: &[ObjectDocument], own: &str, args: &RestoreArgs, name: &str) -> Result<Request, Problem> {
    let configuration = store::find_valid(views, Kind::BackupConfiguration, Some(own), name)?;
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
    let group = &configuration.key.group;
    store::valid(store::find_named_by(views, group, Kind::Repository, Some(namespace), &spec.repository.name)?)?;
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
        mode: RestoreMode::Write,
    };
    Ok(Request { name: configuration.key.name.clone(), restore })
}

fn of_repository(views: &[ObjectDocument], own: &str, args: &RestoreArgs, name: &str) -> Result<Request, Problem> {
    // A namespace has no dot, and the name of a kind with its group has one.
    let of_namespace = name.split_once('/').filter(|(namespace, _)| !namespace.contains('.'));
    let (namespace, name) = of_namespace.unwrap_or((own, name));
    let repository = store::find_valid(views, Kind::Repository, Some(namespace), name)?;
    let name = &repository.key.name;
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
        mode: RestoreMode::Write,
    };
    Ok(Request { name: name.to_owned(), restore })
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
    store::find_valid(views, Kind::AppBinding, Some(namespace), &target.name)
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
