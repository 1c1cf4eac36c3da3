//! Prints: data to stdout, everything else to stderr, with colours only where they are wanted. It must not decide what
//! is printed.

use std::io::{IsTerminal as _, Write};

use lagan_schemas::resource::Kind;
use serde_json::Value;

use crate::args::{Color, Format, Global};
use crate::error::Problem;
use crate::glyph::{Glyph, Glyphs};

/// Sets the use of colours for the whole process; anstream reads NO_COLOR, CLICOLOR and TERM.
pub fn set_colour(color: Color) {
    let choice = match color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// Prints data to stdout. A reader that closes the pipe, such as `head`, is no error.
pub fn data(text: &str) -> Result<(), Problem> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Problem::from_error(crate::error::Exit::Failed, &error))
        }
        _ => Ok(()),
    }
}

/// Prints a table or description to stdout, with colours.
pub fn page(glyphs: Glyphs, text: &str) -> Result<(), Problem> {
    data(&glyphs.paint(text))
}

/// Prints a line to stderr, for the person at the terminal.
pub fn say(glyphs: Glyphs, line: &str) {
    let mut out = anstream::stderr().lock();
    // If stderr is closed, there is no place left to report that.
    let _ = writeln!(out, "{}", glyphs.paint(line));
}

/// Prints a line to stderr unless `--quiet` is given.
pub fn narrate(global: &Global, line: &str) {
    if !global.quiet {
        say(global.glyphs(), line);
    }
}

/// Prints the failure of a command to stderr: as text, or as an object if the format is JSON.
pub fn problem(problem: &Problem, format: Format, global: &Global) {
    let mut out = anstream::stderr().lock();
    if matches!(format, Format::Json | Format::Jsonl) {
        let _ = writeln!(out, "{}", problem.to_json());
        return;
    }
    let glyphs = global.glyphs();
    let code = problem.code.map(|code| format!(" ({code})")).unwrap_or_default();
    let failed = glyphs.of(Glyph::Failed);
    let _ = writeln!(out, "{}", glyphs.paint(&format!("{failed} {}{code}", problem.message.trim_end())));
    if let Some(help) = &problem.help {
        let _ = writeln!(out, "  next: {help}");
    }
}

/// Whether stderr is a terminal on which a line can be overwritten.
#[must_use]
pub fn can_animate() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Indented JSON with a newline.
#[must_use]
pub fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

#[must_use]
pub fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).expect("JSON is YAML")
}

/// An object as `backupsession/shop-1`.
#[must_use]
pub fn name(kind: Kind, name: &str) -> String {
    format!("{}/{name}", kind.as_str().to_ascii_lowercase())
}

/// One object in a format for programs; `None` if the format is a table.
#[must_use]
pub fn document(format: Format, kind: Kind, value: &Value) -> Option<String> {
    match format {
        Format::Json => Some(json(value)),
        Format::Jsonl => Some(format!("{value}\n")),
        Format::Yaml => Some(yaml(value)),
        Format::Name => Some(name(kind, value["metadata"]["name"].as_str().unwrap_or_default()) + "\n"),
        Format::Table | Format::Wide => None,
    }
}
