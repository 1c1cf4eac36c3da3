//! Makes the objects of commands, BackupSession and RestoreSession, and writes them into the folder. It must not read
//! objects.

use std::path::Path;

use jiff::Timestamp;
use lagan_schemas::plan::RestoreMode;
use lagan_schemas::resource::Kind;
use lagan_schemas::resource::backup_configuration::{BackupConfigurationSpec, TargetRef, TaskRef};
use lagan_schemas::resource::kind::STASH;
use lagan_schemas::resource::restore_session::{Existing, Verify};
use lagan_schemas::subject::ObjectKey;
use serde_json::{Map, Value, json};

use crate::error::{Exit, Problem};

/// Names for a session, `<invoker>-<epoch>` as Stash has them, for this second and later ones.
pub fn timestamped_names(invoker: &str, now: Timestamp) -> impl Iterator<Item = String> {
    // Whole minutes are left to the sessions of the schedule, whose names have the same form.
    (now.as_second()..).filter(|second| second % 60 != 0).map(move |second| format!("{invoker}-{second}"))
}

/// The version of a kind in the given group: `lagan.dev/v1alpha1`, or Stash's.
#[must_use]
pub fn api_version(kind: Kind, group: &str) -> &'static str {
    let versions = kind.api_versions();
    versions[usize::from(group == STASH && versions.len() > 1)]
}

#[must_use]
pub fn backup_session(configuration: &ObjectKey, name: &str) -> Value {
    json!({
        "apiVersion": api_version(Kind::BackupSession, &configuration.group),
        "kind": Kind::BackupSession,
        "metadata": { "name": name, "namespace": configuration.namespace },
        "spec": { "invoker": {
            "apiGroup": configuration.group,
            "kind": Kind::BackupConfiguration,
            "name": configuration.name,
        }},
    })
}

/// The parts of a RestoreSession.
#[derive(Debug, Clone)]
pub struct RestoreManifest {
    pub group: String,
    pub namespace: String,
    pub repository: Value,
    pub target: TargetRef,
    /// Host of the snapshots in the repository, if the configuration sets one.
    pub alias: Option<String>,
    pub task: Option<String>,
    pub snapshot: String,
    pub configuration: Option<String>,
    /// Name or identity of another cluster that wrote the snapshot.
    pub from_cluster: Option<String>,
    /// The only databases that come back, and the name that a single one gets.
    pub databases: Vec<String>,
    pub renamed: Option<String>,
    pub overwrite: Overwrite,
    /// `None` leaves the default to the planner.
    pub verify: Option<Verify>,
    pub mode: RestoreMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    Refuse,
    Replace,
}

#[must_use]
pub fn restore_session(restore: &RestoreManifest, name: &str) -> Value {
    let mut target = Map::new();
    if let Some(alias) = &restore.alias {
        target.insert("alias".to_owned(), alias.as_str().into());
    }
    target.insert("ref".to_owned(), json!(restore.target));
    target.insert("rules".to_owned(), json!([{ "snapshots": [restore.snapshot] }]));
    let mut spec = Map::new();
    if let Some(task) = &restore.task {
        spec.insert("task".to_owned(), json!({ "name": task }));
    }
    spec.insert("repository".to_owned(), restore.repository.clone());
    spec.insert("target".to_owned(), target.into());
    if let Some(cluster) = &restore.from_cluster {
        spec.insert("fromCluster".to_owned(), json!(cluster));
    }
    if let Some(configuration) = &restore.configuration {
        spec.insert("configuration".to_owned(), json!({ "namespace": restore.namespace, "name": configuration }));
    }
    if !restore.databases.is_empty() {
        spec.insert("databases".to_owned(), json!(restore.databases));
    }
    if let Some(name) = &restore.renamed {
        spec.insert("as".to_owned(), name.as_str().into());
    }
    if let Some(verify) = restore.verify {
        spec.insert("verify".to_owned(), json!(verify));
    }
    // Written in either case: what happens to existing data must not depend on a default.
    let existing = match restore.overwrite {
        Overwrite::Refuse => Existing::Refuse,
        Overwrite::Replace => Existing::Replace,
    };
    spec.insert("existing".to_owned(), json!(existing));
    if restore.mode == RestoreMode::DryRun {
        spec.insert("dryRun".to_owned(), true.into());
    }
    json!({
        "apiVersion": api_version(Kind::RestoreSession, &restore.group),
        "kind": Kind::RestoreSession,
        "metadata": { "name": name, "namespace": restore.namespace },
        "spec": spec,
    })
}

/// The Task that restores what a configuration's Task backs up, by Stash's naming; `None` leaves the choice to the
/// AppBinding.
#[must_use]
pub fn restore_task(backup: Option<&TaskRef>) -> Option<String> {
    let name = &backup?.name;
    name.contains("-backup").then(|| name.replacen("-backup", "-restore", 1))
}

/// The database that a configuration backs up.
#[must_use]
pub fn target_of(spec: &BackupConfigurationSpec) -> Option<&TargetRef> {
    spec.target.as_ref()?.reference.as_ref()
}

#[must_use]
pub fn app_binding(name: &str) -> TargetRef {
    let (namespace, name) =
        name.split_once('/').map_or((None, name), |(namespace, name)| (Some(namespace.to_owned()), name));
    TargetRef {
        api_version: Kind::AppBinding.api_versions()[0].to_owned(),
        kind: Kind::AppBinding.as_str().to_owned(),
        name: name.to_owned(),
        namespace,
    }
}

/// Whether this command created an object, or another one with its name exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    Created,
    NameTaken,
}

/// Writes a new object into the folder, completely or not at all. The engine's watcher finds it there.
pub fn create(folder: &Path, object: &Value) -> Result<Creation, Problem> {
    let part = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let kind =
        part("/kind").parse::<Kind>().map_err(|kind| Problem::new(Exit::Failed, format!("unknown kind `{kind}`")))?;
    let group = part("/apiVersion").split_once('/').map_or("", |(group, _)| group).to_owned();
    let (namespace, name) = (Some(part("/metadata/namespace").to_owned()), part("/metadata/name").to_owned());
    let key = ObjectKey { group, kind, namespace, name };
    let file = lagan_sources::folder::object_file(&key);
    if lagan_sources::folder::earlier_object_file(folder, &key).is_some() {
        return Ok(Creation::NameTaken);
    }
    match lagan_sources::folder::create_file(folder, &file, &crate::output::yaml(object)) {
        Ok(_) => Ok(Creation::Created),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Creation::NameTaken),
        Err(error) => {
            let path = folder.join(&file);
            Err(Problem::new(Exit::Failed, format!("object can't be written to `{}`: {error}", path.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use lagan_schemas::manifest::{Manifest, parse};

    use super::*;

    fn is_valid(object: &Value) {
        let text = crate::output::yaml(object);
        let parsed = parse("test.yaml", &text).remove(0);
        assert!(matches!(parsed, Ok(Manifest::Object(_))), "{parsed:?}\n{text}");
    }

    fn restore(group: &str) -> RestoreManifest {
        RestoreManifest {
            group: group.to_owned(),
            namespace: "default".to_owned(),
            repository: json!({"name": "main"}),
            target: app_binding("other/shop-db"),
            alias: Some("db-0".to_owned()),
            task: Some("mariadb-restore".to_owned()),
            snapshot: "latest".to_owned(),
            configuration: Some("shop".to_owned()),
            from_cluster: None,
            databases: vec!["shop".to_owned()],
            renamed: Some("copy".to_owned()),
            overwrite: Overwrite::Refuse,
            verify: Some(Verify::Rows),
            mode: RestoreMode::Write,
        }
    }

    #[test]
    fn objects_of_commands_are_valid_in_both_groups() {
        for group in ["lagan.dev", STASH] {
            let key = ObjectKey {
                group: group.into(),
                kind: Kind::BackupConfiguration,
                namespace: Some("default".into()),
                name: "shop".into(),
            };
            is_valid(&backup_session(&key, "shop-1"));
            is_valid(&restore_session(&restore(group), "shop-1"));
            is_valid(&restore_session(&RestoreManifest { mode: RestoreMode::DryRun, ..restore(group) }, "shop-1"));
        }
    }

    #[test]
    fn a_restore_states_whether_it_replaces_data() {
        let object = restore_session(&restore("lagan.dev"), "shop-1");
        assert_eq!(object.pointer("/spec/existing"), Some(&json!("Refuse")));
        assert_eq!(object.pointer("/spec/databases/0"), Some(&json!("shop")));
        assert_eq!(object.pointer("/spec/as"), Some(&json!("copy")));
        assert_eq!(object.pointer("/spec/verify"), Some(&json!("Rows")));
        assert_eq!(object.pointer("/spec/target/ref/namespace"), Some(&json!("other")));
        assert_eq!(object.pointer("/spec/dryRun"), None);
    }

    #[test]
    fn a_session_never_takes_the_name_of_a_scheduled_one() {
        let now = Timestamp::from_second(1_795_341_599).unwrap();
        let names: Vec<String> = timestamped_names("shop", now).take(2).collect();
        assert_eq!(names, ["shop-1795341599", "shop-1795341601"]);
    }

    #[test]
    fn the_restore_task_follows_from_the_backup_task() {
        let task = |name: &str| Some(TaskRef { name: name.to_owned(), params: Vec::new() });
        assert_eq!(restore_task(task("mariadb-backup-10.6.23").as_ref()).as_deref(), Some("mariadb-restore-10.6.23"));
        assert_eq!(restore_task(task("own").as_ref()), None);
        assert_eq!(restore_task(None), None);
    }

    #[test]
    fn an_object_is_written_once_and_leaves_nothing_else() {
        let folder = std::env::temp_dir().join(format!("lagan-cli-{}", uuid::Uuid::new_v4()));
        let object = restore_session(&restore("lagan.dev"), "shop-1");
        assert_eq!(create(&folder, &object).unwrap(), Creation::Created);
        assert_eq!(create(&folder, &object).unwrap(), Creation::NameTaken);
        is_valid(&object);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(matches!(&files[..], [one] if one.extension().is_some_and(|e| e == "yaml")), "{files:?}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
