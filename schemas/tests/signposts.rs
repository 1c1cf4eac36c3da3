//! Every rule that a comment or a document cites is stated in `docs/protocol.md`, and nothing cites a document that is not
//! part of the project.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every text file that a person wrote, as (path from the root, content).
fn written() -> Vec<(String, String)> {
    const SKIPPED: [&str; 4] = ["target", "json", "crds", "golden"];
    const ENDINGS: [&str; 6] = ["rs", "md", "sh", "yaml", "toml", "py"];
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.starts_with('.') || SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if ENDINGS.iter().any(|ending| path.extension().is_some_and(|found| found == *ending)) {
                let shown = path.strip_prefix(root()).unwrap().display().to_string();
                files.push((shown, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files
}

/// The part of a line that speaks to a reader: the comment of a line of code, the whole line of a document.
fn prose<'a>(path: &str, line: &'a str) -> &'a str {
    let opener = match Path::new(path).extension().and_then(|ending| ending.to_str()) {
        Some("md") => return line,
        Some("rs") => "//",
        _ => "#",
    };
    line.find(opener).map_or("", |at| &line[at..])
}

/// Words such as `P12`: one of `letters`, then one or two digits, and nothing else.
fn citations(text: &str, letters: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| {
            let mut chars = word.chars();
            let digits = chars.as_str().len();
            chars.next().is_some_and(|first| letters.contains(first))
                && (2..=3).contains(&digits)
                && chars.all(|c| c.is_ascii_digit())
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_cited_rule_is_stated_in_the_protocol() {
    let protocol = std::fs::read_to_string(root().join("docs/protocol.md")).unwrap();
    let stated: BTreeSet<String> = protocol
        .lines()
        .filter_map(|line| line.strip_prefix("**"))
        .flat_map(|line| citations(line.split_whitespace().next().unwrap_or_default(), "P"))
        .collect();
    assert_eq!(stated.len(), 17, "{stated:?}");
    let mut cited = 0;
    for (path, text) in written() {
        for (number, line) in text.lines().enumerate() {
            for rule in citations(prose(&path, line), "P") {
                cited += 1;
                assert!(stated.contains(&rule), "{path}:{}: rule {rule} is not in docs/protocol.md", number + 1);
            }
        }
    }
    assert!(cited > 50, "{cited} citations were found, so the search itself is broken");
}

#[test]
fn nothing_needs_a_document_outside_the_project() {
    // Spelled in parts, so that this file does not cite them itself.
    let outside = [["..", "/shared"].concat(), ["findings", "-2"].concat(), ["faults", ".md"].concat()];
    for (path, text) in written() {
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            for name in &outside {
                assert!(!line.contains(name), "{path}:{number}: `{name}` is not part of the project");
            }
            let foreign = citations(prose(&path, line), "FWKDX");
            assert!(foreign.is_empty(), "{path}:{number}: {foreign:?} is stated nowhere: give the reason itself");
        }
    }
}

#[test]
fn a_citation_is_a_word_of_its_own() {
    assert_eq!(citations("never by a name (P2), see P12.", "P"), ["P2", "P12"]);
    assert!(citations("IPv6, HTTP2, P, P123, XP1, E0204", "P").is_empty());
}

/// The rows of the table of faults; the others of its source concern pruning, versions and other parts of the project.
fn rows_of_faults() -> Vec<usize> {
    (1..=54).chain(58..=63).chain([67, 68]).collect()
}

/// The tests that a text names as `suite::name` between back quotes.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    text.split('`').skip(1).step_by(2).filter_map(|word| word.split_once("::")).collect()
}

/// Whether a file belongs to a suite of integration tests, or to the crate of this name.
fn is_of_suite(path: &str, suite: &str) -> bool {
    path.starts_with(&format!("{suite}/src/"))
        || path.ends_with(&format!("/tests/{suite}.rs"))
        || path.contains(&format!("/tests/{suite}/"))
}

/// Whether a file has a test of this name: a function below an attribute.
fn has_test(text: &str, name: &str) -> bool {
    let signature = format!("fn {name}(");
    let mut lines = text.lines().zip(text.lines().skip(1));
    lines.any(|(above, line)| line.contains(&signature) && above.trim_start().starts_with("#["))
}

#[test]
fn every_fault_has_its_row_and_every_test_that_a_row_names_is_there() {
    let table = std::fs::read_to_string(root().join("docs/fault-table.md")).unwrap();
    let sources = written();
    let mut rows = Vec::new();
    for line in table.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(row) = cells.get(1).and_then(|cell| cell.parse::<usize>().ok()) else { continue };
        rows.push(row);
        let tests = named_tests(cells[3]);
        assert!(!tests.is_empty() || cells[3].contains("open"), "row {row} names no test and is not open");
        for (suite, name) in tests {
            let there = sources.iter().any(|(path, text)| is_of_suite(path, suite) && has_test(text, name));
            assert!(there, "row {row} of docs/fault-table.md: no test `{name}` in suite `{suite}`");
        }
    }
    assert_eq!(rows, rows_of_faults());
}
