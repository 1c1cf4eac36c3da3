//! `lagan snapshots`: lists the snapshots of a repository, read from the repository itself.

use jiff::Timestamp;
use lagan_schemas::resource::Kind;
use lagan_workers::repository::SnapshotList;
use serde_json::{Value, json};

use crate::args::{Format, Global, SnapshotsArgs};
use crate::client;
use crate::error::{Exit, Problem};
use crate::glyph::{Glyph, Glyphs};
use crate::human::{bytes, one_line, time};
use crate::objects::{ObjectDocument, select};
use crate::output::{data, json as pretty, narrate, page, yaml};
use crate::repository::{self, SnapshotRow, document};
use crate::store::{self, Query};
use crate::table::{Headers, TextTable};

pub async fn run(args: SnapshotsArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let views = store::views(&client, Query { kinds: &[Kind::Repository], namespaces: &[] }).await?;
    let repository = match &args.repository {
        Some(name) => store::find_valid(&views, Kind::Repository, client.scope(), name)?,
        None => only(&views, client.scope())?,
    };
    let secrets = repository::secrets(&client, args.manifests)?;
    let list = repository::snapshots(secrets, repository, &args.storage).await?;
    let headers = if args.no_headers { Headers::Hide } else { Headers::Show };
    print(args.output, headers, &list, repository, global)?;
    for damaged in &list.damaged {
        let failed = global.glyphs().of(Glyph::Failed);
        crate::output::say(
            global.glyphs(),
            &format!("{failed} snapshot {} can't be read: {}", damaged.id, one_line(&damaged.why, 500)),
        );
    }
    Ok(if list.damaged.is_empty() { Exit::Ok } else { Exit::Failed })
}

fn only<'a>(views: &'a [ObjectDocument], scope: Option<&str>) -> Result<&'a ObjectDocument, Problem> {
    let all = select(views, Kind::Repository, scope);
    match all[..] {
        [one] => Ok(one),
        [] => Err(Problem::new(Exit::NotFound, "there is no Repository")
            .help("`-A` looks in all namespaces, `-n` in another one")),
        _ => {
            let names: Vec<_> = all.iter().map(|view| view.key.name.as_str()).collect();
            Err(Problem::new(Exit::Usage, format!("there are several Repositories: {}", names.join(", ")))
                .help("name one of them with --repository"))
        }
    }
}

fn print(
    format: Format,
    headers: Headers,
    list: &SnapshotList,
    repository: &ObjectDocument,
    global: &Global,
) -> Result<(), Problem> {
    let documents =
        || list.snapshots.iter().map(|snapshot| document(snapshot, &repository.key.name)).collect::<Vec<Value>>();
    let lines = |line: fn(&Value) -> String| documents().iter().map(line).collect::<String>();
    match format {
        Format::Json => data(&pretty(&json!({ "snapshots": documents(), "damaged": damaged(list) }))),
        Format::Yaml => data(&yaml(&json!({ "snapshots": documents(), "damaged": damaged(list) }))),
        Format::Jsonl => data(&lines(|document| format!("{document}\n"))),
        Format::Name => {
            data(&lines(|document| format!("snapshot/{}\n", document["shortId"].as_str().unwrap_or_default())))
        }
        Format::Table | Format::Wide if list.snapshots.is_empty() => {
            narrate(global, &format!("no snapshots in {}", repository.key));
            Ok(())
        }
        Format::Table | Format::Wide => {
            let rows: Vec<SnapshotRow> = list.snapshots.iter().map(SnapshotRow::from).collect();
            page(global.glyphs(), &table(&rows, global.glyphs(), Timestamp::now()).render(headers))
        }
    }
}

fn damaged(list: &SnapshotList) -> Vec<Value> {
    list.damaged.iter().map(|damaged| json!({ "id": damaged.id, "message": damaged.why })).collect()
}

/// A table of the snapshots, the oldest first as in restic.
fn table(rows: &[SnapshotRow], glyphs: Glyphs, now: Timestamp) -> TextTable {
    let mut table = TextTable::new(vec!["ID", "TIME", "AGE", "HOST", "PATH", "CONFIGURATION", "SIZE", "TAGS"]);
    let or_nothing = |text: String| if text.is_empty() { glyphs.nothing().to_owned() } else { text };
    for row in rows {
        table.row(vec![
            row.id.clone(),
            time(row.time),
            crate::human::age(row.time, now),
            or_nothing(row.host.clone()),
            row.path.clone(),
            or_nothing(row.configuration.clone().unwrap_or_default()),
            or_nothing(row.size.map(bytes).unwrap_or_default()),
            or_nothing(row.tags.iter().filter(|tag| !tag.starts_with("lagan-")).cloned().collect::<Vec<_>>().join(",")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn snapshots_show_their_configuration() {
        let row = |id: &str, configuration: Option<&str>, tags: &[&str]| SnapshotRow {
            id: id.into(),
            time: "2026-11-22T11:57:00Z".parse().unwrap(),
            host: "host-0".into(),
            path: "/dumpfile.sql".into(),
            configuration: configuration.map(str::to_owned),
            size: configuration.map(|_| 1_048_576),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        let rows = [row("4be1c0de", Some("prod/shop"), &["lagan-session=7"]), row("1a2b3c4d", None, &["by-hand"])];
        assert_eq!(
            table(&rows, Glyphs::Unicode, "2026-11-22T12:00:00Z".parse().unwrap()).render(Headers::Show),
            "\
ID        TIME                  AGE  HOST    PATH           CONFIGURATION  SIZE   TAGS
4be1c0de  2026-11-22 11:57:00Z  3m   host-0  /dumpfile.sql  prod/shop      1 MiB  —
1a2b3c4d  2026-11-22 11:57:00Z  3m   host-0  /dumpfile.sql  —              —      by-hand
"
        );
    }
}
