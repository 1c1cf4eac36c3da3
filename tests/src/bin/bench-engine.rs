//! `./just bench-engine [--scale SHARE] [--json FILE] [LINE...]`: measures an engine on this machine, and prints a table with what
//! each figure must be, what it should be, and the limit of this run. All lines without names.

use anyhow::{Context as _, Result, bail};
use lagan_tests::bench::{LINES, Scale, json, measure, table};

struct Asked {
    scale: Scale,
    json: Option<String>,
    lines: Vec<String>,
}

fn asked() -> Result<Asked> {
    let mut asked = Asked { scale: Scale::new(1.0)?, json: None, lines: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--scale" => {
                let share = words.next().context("--scale needs a share, such as 0.01")?;
                asked.scale = Scale::new(share.parse().with_context(|| format!("--scale {share}: not a number"))?)?;
            }
            "--json" => asked.json = Some(words.next().context("--json needs a file")?),
            line if LINES.contains(&line) => asked.lines.push(word),
            other => bail!("`{other}` is no line of this benchmark; there are {}", LINES.join(", ")),
        }
    }
    if asked.lines.is_empty() {
        asked.lines = LINES.map(str::to_owned).to_vec();
    }
    Ok(asked)
}

#[tokio::main]
async fn main() -> Result<()> {
    let asked = asked()?;
    let mut figures = Vec::new();
    let mut failed = Vec::new();
    for line in &asked.lines {
        eprintln!("measuring `{line}`");
        match measure(line, asked.scale).await {
            Ok(measured) => {
                // A run of an hour shows what it has, also if it is stopped.
                eprintln!("{}", table(&measured));
                figures.extend(measured);
            }
            Err(error) => {
                eprintln!("`{line}` was not measured: {error:#}");
                failed.push(line.as_str());
            }
        }
    }
    if !asked.scale.is_full() {
        println!("The numbers are scaled down, so must and goal do not apply.");
    }
    println!("{}", table(&figures));
    let text = serde_json::to_string_pretty(&json(&figures))?;
    match &asked.json {
        Some(path) => std::fs::write(path, text).with_context(|| format!("writing {path}"))?,
        None => println!("{text}"),
    }
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    Ok(())
}
