//! `lagan explain`: prints the meaning of an error code and what to do about it.

use lagan_schemas::error::{Class, Code};
use serde_json::{Value, json};

use crate::args::{ExplainArgs, Format, Global};
use crate::error::{Exit, Problem};
use crate::output::{data, json, page, yaml};
use crate::table::{Headers, TextTable};

pub fn run(args: &ExplainArgs, global: &Global) -> Result<Exit, Problem> {
    let codes = match &args.code {
        Some(text) => vec![parse(text)?],
        None => Code::ALL.to_vec(),
    };
    let documents: Vec<Value> = codes.iter().map(|code| document(*code)).collect();
    let whole = || if args.code.is_some() { documents[0].clone() } else { documents.clone().into() };
    match args.output {
        Format::Json => data(&json(&whole()))?,
        Format::Yaml => data(&yaml(&whole()))?,
        Format::Jsonl => data(&documents.iter().map(|document| format!("{document}\n")).collect::<String>())?,
        Format::Name => data(&codes.iter().map(|code| format!("{code}\n")).collect::<String>())?,
        Format::Table | Format::Wide if args.code.is_some() => page(global.glyphs(), &explain(codes[0]))?,
        Format::Table | Format::Wide => page(global.glyphs(), &list(&codes))?,
    }
    Ok(Exit::Ok)
}

fn parse(text: &str) -> Result<Code, Problem> {
    text.to_ascii_uppercase().parse().map_err(|()| {
        Problem::new(Exit::NotFound, format!("there is no error code `{text}`")).help("`lagan explain` lists all codes")
    })
}

const fn class(class: Class) -> &'static str {
    match class {
        Class::Permanent => "permanent: it fails again until something is changed",
        Class::Transient => "transient: it is retried, as often as the configuration allows",
        Class::Interrupted => "interrupted: nothing is wrong, and the attempt does not count",
    }
}

fn explain(code: Code) -> String {
    format!("{code}  {}\n\n  class: {}\n  next:  {}\n", code.reason(), class(code.class()), code.help())
}

fn list(codes: &[Code]) -> String {
    let mut table = TextTable::new(vec!["CODE", "REASON", "CLASS", "NEXT"]);
    for code in codes {
        let class = format!("{:?}", code.class()).to_lowercase();
        table.row(vec![code.to_string(), code.reason().to_owned(), class, code.help().to_owned()]);
    }
    table.render(Headers::Show)
}

fn document(code: Code) -> Value {
    json!({ "code": code, "reason": code.reason(), "class": code.class(), "help": code.help() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_code_is_explained_in_any_case() {
        let help = Code::DumpFailed.help();
        assert_eq!(
            explain(parse("e0201").unwrap()),
            format!(
                "E0201  DumpFailed\n\n  class: permanent: it fails again until something is changed\n  next:  {help}\n"
            )
        );
        assert_eq!(parse("E9999").unwrap_err().exit, Exit::NotFound);
    }
}
