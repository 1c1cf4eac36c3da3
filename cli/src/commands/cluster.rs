//! `lagan cluster`: the identity under which snapshots are written, and its succession after a loss.

use lagan_schemas::origin::ClusterIdentity;
use lagan_sources::Source;
use serde_json::json;

use crate::args::{ClusterAdoptArgs, ClusterArgs, ClusterCommand, ClusterShowArgs, Format, Global};
use crate::client::{self, Client};
use crate::error::{Exit, Problem};
use crate::glyph::Glyph;
use crate::output::{data, json as pretty, narrate, yaml};

pub async fn run(args: ClusterArgs, global: &Global) -> Result<Exit, Problem> {
    match args.command {
        ClusterCommand::Show(args) => show(args, global).await,
        ClusterCommand::Adopt(args) => adopt(args, global).await,
    }
}

async fn show(args: ClusterShowArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let identity = identity(&source(&client)?).await?;
    let value = json!({ "identity": identity.uid, "adopted": identity.adopted });
    match args.output {
        Format::Json => data(&pretty(&value))?,
        Format::Jsonl => data(&format!("{value}\n"))?,
        Format::Yaml => data(&yaml(&value))?,
        _ => data(&text(&identity))?,
    }
    Ok(Exit::Ok)
}

async fn adopt(args: ClusterAdoptArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let source = source(&client)?;
    if identity(&source).await?.uid == args.identity {
        return Err(Problem::new(Exit::Usage, format!("`{}` is the identity of this cluster itself", args.identity)));
    }
    source.adopt_identity(args.identity).await.map_err(|error| Problem::from_error(Exit::Failed, &error))?;
    let adopted =
        format!("{} snapshots of {} count as this cluster's own", global.glyphs().of(Glyph::Succeeded), args.identity);
    narrate(global, &adopted);
    narrate(global, "  never adopt a cluster that still runs: each would remove what the other keeps");
    Ok(Exit::Ok)
}

fn source(client: &Client) -> Result<Source, Problem> {
    client.source()?.ok_or_else(|| {
        Problem::new(Exit::Usage, "the identity of a folder is in its data directory, which is not on this machine")
            .help("run the command where `lagan up` or `lagan engine` runs, with the same --data-dir")
    })
}

async fn identity(source: &Source) -> Result<ClusterIdentity, Problem> {
    source.identity().await.map_err(|error| Problem::from_error(Exit::Failed, &error))
}

fn text(identity: &ClusterIdentity) -> String {
    let adopted: String = identity.adopted.iter().map(|uid| format!("adopted   {uid}\n")).collect();
    format!("identity  {}\n{adopted}", identity.uid)
}
