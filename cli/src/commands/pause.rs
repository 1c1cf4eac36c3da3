//! `lagan pause` and `lagan resume`: suspend and resume the schedule of a BackupConfiguration.

use std::path::{Path, PathBuf};

use lagan_schemas::resource::Kind;
use lagan_schemas::subject::ObjectKey;
use lagan_sources::folder::Folder;
use serde_json::Value;

use crate::args::{Global, PauseArgs};
use crate::client::{self, ClientBackend};
use crate::error::{Exit, Problem};
use crate::glyph::Glyph;
use crate::output::{data, document, narrate};
use crate::store::{self, Query};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Schedule {
    Paused,
    Running,
}

pub async fn pause(args: PauseArgs, global: &Global) -> Result<Exit, Problem> {
    set(args, global, Schedule::Paused).await
}

pub async fn resume(args: PauseArgs, global: &Global) -> Result<Exit, Problem> {
    set(args, global, Schedule::Running).await
}

async fn set(args: PauseArgs, global: &Global, wanted: Schedule) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let kinds = Query { kinds: &[Kind::BackupConfiguration], namespaces: &[] };
    let views = store::views(&client, kinds).await?;
    let found = store::find_valid(&views, Kind::BackupConfiguration, Some(&client.namespace), &args.name)
        .map_err(|problem| store::name_broken_manifests(&client, problem))?;
    let is_paused = found.value.pointer("/spec/paused").and_then(Value::as_bool) == Some(true);
    let is_so_already = is_paused == (wanted == Schedule::Paused);
    let object = match (&client.backend, is_so_already) {
        (_, true) => found.value.clone(),
        (ClientBackend::Cluster(cluster), false) => cluster.pause(&found.key, wanted == Schedule::Paused).await?,
        (ClientBackend::Bus(streams), false) => {
            let file = streams.manifests.as_deref().and_then(|folder| file_of(folder, &found.key));
            return Err(edit(&found.key, wanted, file));
        }
    };
    if let Some(text) = document(args.output, Kind::BackupConfiguration, &object) {
        data(&text)?;
    }
    let already = if is_so_already { " already" } else { "" };
    let (says, next) = match wanted {
        Schedule::Paused => ("is paused", format!("resume {}", args.name)),
        Schedule::Running => ("follows its schedule", format!("tree plan/{}", args.name)),
    };
    let meaning = match wanted {
        Schedule::Paused => ": its schedule starts no sessions, `lagan backup` still does",
        Schedule::Running => "",
    };
    narrate(global, &format!("{} {} {says}{already}{meaning}", global.glyphs().of(Glyph::Succeeded), found.key));
    narrate(global, &format!("  next: {}", client.template.command(&next)));
    Ok(Exit::Ok)
}

/// Names the manifest to edit: the folder belongs to the person, and Lagan does not write there.
fn edit(key: &ObjectKey, wanted: Schedule, file: Option<PathBuf>) -> Problem {
    let value = wanted == Schedule::Paused;
    let edit = format!("set `spec.paused: {value}` in the file; it takes effect when the file is saved");
    match file {
        Some(file) => Problem::new(
            Exit::Failed,
            format!("{key} is declared in `{}`, which Lagan does not change", file.display()),
        )
        .help(edit),
        None => Problem::new(Exit::Failed, format!("{key} is declared in a manifest, which Lagan does not change"))
            .help(format!("{edit}. If the object is in a cluster, name the cluster with --kubeconfig or --context")),
    }
}

fn file_of(folder: &Path, key: &ObjectKey) -> Option<PathBuf> {
    Folder::new(vec![folder.to_owned()]).scan().objects.get(key).map(|found| found.file.to_path_buf())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn in_a_folder_the_file_to_edit_is_named() {
        let folder = std::env::temp_dir().join(format!("lagan-cli-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let text = "apiVersion: lagan.dev/v1alpha1\nkind: BackupConfiguration\nmetadata: {name: shop}\nspec:\n  schedule: '0 2 * * *'\n  \
            repository: {name: main}\n  target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}\n  \
            retentionPolicy: {name: keep, keepLast: 1}\n";
        std::fs::write(folder.join("shop.yaml"), text).unwrap();
        let mut key = ObjectKey {
            group: "lagan.dev".into(),
            kind: Kind::BackupConfiguration,
            namespace: Some("default".into()),
            name: "shop".into(),
        };
        let problem = edit(&key, Schedule::Paused, file_of(&folder, &key));
        assert!(problem.message.contains("shop.yaml`"), "{problem}");
        assert!(problem.help.unwrap().contains("`spec.paused: true`"));
        key.name = "other".to_owned();
        assert_eq!(file_of(&folder, &key), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
