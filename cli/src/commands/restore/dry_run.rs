//! `lagan restore --dry-run`: lets a worker do all that a restore does before its first statement, and shows what it found
//! with an object that restores exactly this snapshot. The session of the dry run is removed.

use lagan_schemas::plan::RestoreMode;
use lagan_schemas::resource::Kind;
use lagan_schemas::subject::ObjectKey;
use serde_json::Value;

use super::Request;
use crate::args::{Global, RestoreArgs};
use crate::client::Client;
use crate::commands::backup::{NewSession, create, follow};
use crate::error::{Exit, Problem};
use crate::glyph::Glyph;
use crate::human::{bytes, one_line};
use crate::manifests::{RestoreManifest, restore_session};
use crate::narration::Afterwards;
use crate::output::{data, document, narrate, page, yaml};

/// A condition's message has at most this length.
const MESSAGE_LIMIT: usize = 4096;

pub(super) async fn run(
    client: &Client,
    global: &Global,
    args: &RestoreArgs,
    wanted: &Request,
    mut names: impl Iterator<Item = String>,
) -> Result<Exit, Problem> {
    let asked = RestoreManifest { mode: RestoreMode::DryRun, ..wanted.restore.clone() };
    let (key, created) = create(client, names.by_ref(), |name| restore_session(&asked, name)).await?;
    let uid = created.pointer("/metadata/uid").and_then(Value::as_str).and_then(|uid| uid.parse().ok());
    let session = NewSession {
        afterwards: Afterwards::Removed,
        ..NewSession::new((key.clone(), created), key.name.clone(), &[], args.wait.clone(), args.output)
    };
    let (exit, ended) = follow(client, global, session).await?;
    // It goes on, and somebody may want to look at it.
    if matches!(exit, Exit::TimedOut | Exit::Interrupted) {
        return Ok(exit);
    }
    remove(client, global, &key, uid).await;
    if exit != Exit::Ok {
        if let Some(text) = document(args.output, Kind::RestoreSession, &ended) {
            data(&text)?;
        }
        return Ok(exit);
    }
    let snapshot = ended.pointer("/status/snapshot").and_then(Value::as_str).unwrap_or_default().to_owned();
    let restore = RestoreManifest { snapshot, mode: RestoreMode::Write, ..wanted.restore.clone() };
    let object = restore_session(&restore, &names.next().unwrap_or_default());
    match document(args.output, Kind::RestoreSession, &object) {
        Some(text) => data(&text)?,
        None => {
            page(global.glyphs(), &preview(&restore, &ended))?;
            data(&format!("\n{}", yaml(&object)))?;
        }
    }
    Ok(Exit::Ok)
}

/// A session that stays is only untidy: it has ended, and changed nothing.
async fn remove(client: &Client, global: &Global, key: &ObjectKey, uid: Option<uuid::Uuid>) {
    let removed = match client.source() {
        Ok(Some(source)) => source.remove(key, uid).await.map_err(|error| Problem::from_error(Exit::Failed, &error)),
        Ok(None) => Err(Problem::new(Exit::Failed, "the folder of its object is not on this machine")),
        Err(problem) => Err(problem),
    };
    if let Err(problem) = removed {
        let warning = global.glyphs().of(Glyph::Warning);
        narrate(global, &format!("{warning} {key} stays: {}", problem.message));
    }
}

/// Says in words what the dry run found.
fn preview(restore: &RestoreManifest, ended: &Value) -> String {
    let text = |pointer: &str| ended.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let size = ended.pointer("/status/sizeBytes").and_then(Value::as_u64).map(bytes).unwrap_or_default();
    let repository = |part: &str| restore.repository[part].as_str().unwrap_or(&restore.namespace).to_owned();
    let target = restore.target.namespace.as_deref().unwrap_or(&restore.namespace);
    let conditions = ended.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let found = conditions.filter(|condition| condition["type"] == "DryRun").filter_map(|c| c["message"].as_str());
    let found: Vec<String> = found.flat_map(|message| message.split("; ")).map(|part| format!("  - {part}")).collect();
    format!(
        "Would restore\n  snapshot:  {}, {size}\n  from:      Repository/{}/{}\n  into:      {}/{target}/{}\n{}\n\
         This object restores exactly this snapshot:\n",
        text("/status/snapshot"),
        repository("namespace"),
        repository("name"),
        restore.target.kind,
        restore.target.name,
        one_line_each(&found),
    )
}

fn one_line_each(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {}", one_line(line, MESSAGE_LIMIT))).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifests::{Overwrite, app_binding};

    #[test]
    fn a_dry_run_says_what_from_where_into_where() {
        let restore = RestoreManifest {
            group: "lagan.dev".to_owned(),
            namespace: "prod".to_owned(),
            repository: json!({ "name": "main" }),
            target: app_binding("shop-db"),
            alias: None,
            task: None,
            snapshot: "4be1c0de".to_owned(),
            configuration: None,
            from_cluster: None,
            databases: Vec::new(),
            renamed: None,
            overwrite: Overwrite::Refuse,
            verify: None,
            mode: RestoreMode::Write,
        };
        let ended = json!({ "status": {
            "snapshot": "4be1c0de",
            "sizeBytes": 1_728_724_336_u64,
            "conditions": [
                { "type": "Succeeded", "message": "the session succeeded" },
                { "type": "DryRun", "message": "database shop; nothing was written" },
            ],
        }});
        assert_eq!(
            preview(&restore, &ended),
            "\
Would restore
  snapshot:  4be1c0de, 1.61 GiB
  from:      Repository/prod/main
  into:      AppBinding/prod/shop-db
  - database shop
  - nothing was written
This object restores exactly this snapshot:
"
        );
    }
}
