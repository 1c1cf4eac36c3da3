//! `lagan schema`: prints the JSON schemas of events, for programs that subscribe.

use lagan_schemas::generate::files;

use crate::args::SchemaArgs;
use crate::error::{Exit, Problem};
use crate::output::data;

pub fn run(args: &SchemaArgs) -> Result<Exit, Problem> {
    let schemas: Vec<(String, String)> =
        files().into_iter().filter_map(|(path, text)| Some((name(&path)?, text))).collect();
    let Some(wanted) = &args.name else {
        data(&schemas.iter().map(|(name, _)| format!("{name}\n")).collect::<String>())?;
        return Ok(Exit::Ok);
    };
    let found = schemas.iter().find(|(name, _)| name == wanted.trim_end_matches(".json"));
    let (_, text) = found.ok_or_else(|| {
        Problem::new(Exit::NotFound, format!("there is no schema `{wanted}`")).help("`lagan schema` lists all types")
    })?;
    data(text)?;
    Ok(Exit::Ok)
}

fn name(path: &str) -> Option<String> {
    path.strip_prefix("schemas/json/")?.strip_suffix(".json").map(str::to_owned)
}
