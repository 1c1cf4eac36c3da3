//! `lagan version`: prints the version.

use serde_json::json;

use crate::args::{Format, VersionArgs};
use crate::error::{Exit, Problem};
use crate::output::{data, json, yaml};

pub fn run(args: &VersionArgs) -> Result<Exit, Problem> {
    let version = env!("CARGO_PKG_VERSION");
    let document = json!({
        "version": version,
        "apiVersions": ["lagan.dev/v1alpha1", "stash.appscode.com/v1beta1", "stash.appscode.com/v1alpha1"],
        "planVersion": lagan_schemas::plan::VERSION,
    });
    let text = match args.output {
        Format::Json => json(&document),
        Format::Jsonl => format!("{document}\n"),
        Format::Yaml => yaml(&document),
        Format::Table | Format::Wide | Format::Name => format!("lagan {version}\n"),
    };
    data(&text)?;
    Ok(Exit::Ok)
}
