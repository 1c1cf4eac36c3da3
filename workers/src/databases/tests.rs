#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use lagan_schemas::catalogue;

use super::*;

#[test]
fn each_engine_of_the_catalogue_has_its_arm() {
    let engines = Engines::default();
    let known: Vec<&str> = engines.0.iter().map(|(name, _)| *name).collect();
    let built_in: Vec<&str> = catalogue::engines().iter().map(|engine| engine.name.as_str()).collect();
    assert_eq!(known, built_in);
    assert_eq!(engines.find("Oracle").err().unwrap().code, Code::FunctionNotSupported);
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn code_reads_each_field_of_an_engines_document() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = workspace.join("schemas/src/engine.rs");
    let mut files = Vec::new();
    for part in ["schemas", "engine", "workers", "cli"] {
        sources(&workspace.join(part).join("src"), &mut files);
    }
    files.retain(|file| !file.ends_with("tests.rs") && !file.components().any(|part| part.as_os_str() == "tests"));
    let code_of =
        |file: &PathBuf| std::fs::read_to_string(file).unwrap().split("#[cfg(test)]").next().unwrap().to_owned();
    let all: Vec<String> = files.iter().map(code_of).collect();
    files.retain(|file| *file != document);
    let others: Vec<String> = files.iter().map(code_of).collect();

    let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '_' | '(');
    let is_read = |field: &str| {
        let access = format!(".{field}");
        all.iter().any(|code| code.split(&access).skip(1).any(|after| !after.starts_with(goes_on)))
    };
    // A function that nobody calls would read a field for nothing.
    let is_called = |function: &str| {
        let calls = [format!(".{function}("), format!("::{function}("), format!("::{function})")];
        others.iter().any(|code| calls.iter().any(|call| code.contains(call)))
    };
    let (mut fields, mut functions) = (0, 0);
    for declared in code_of(&document).lines().filter_map(|line| line.strip_prefix("    pub ")) {
        if let Some((function, _)) = declared.strip_prefix("fn ").and_then(|rest| rest.split_once(['(', '<'])) {
            assert!(is_called(function), "nothing calls `{function}`");
            functions += 1;
        } else if let Some((field, _)) = declared.split_once(": ") {
            assert!(is_read(field), "nothing reads `{field}`");
            fields += 1;
        }
    }
    assert!(fields > 30 && functions > 3, "{fields} fields and {functions} functions");
}

#[test]
fn the_general_code_names_no_engine() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let engines = catalogue::engines();
    let words: Vec<String> = engines
        .iter()
        .flat_map(|engine| [&engine.name].into_iter().chain(&engine.types))
        .map(|w| w.to_lowercase())
        .collect();
    let general = files.iter().filter(|file| {
        let inside = file.strip_prefix(&root).unwrap();
        let first = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        // `databases` is the seam; each engine has a module of its own; `lib.rs` lists the modules.
        first != "databases" && first != "lib" && !words.contains(&first)
    });
    for file in general {
        let text = std::fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let line = line.to_lowercase();
            // Comments may explain; tests of processes run real programs.
            let is_comment = line.trim_start().starts_with("//");
            let named = words.iter().find(|word| line.contains(word.as_str()) && !is_comment);
            let is_test = file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests");
            assert!(named.is_none() || is_test, "{}:{}: names {}", file.display(), number + 1, named.unwrap());
        }
    }
}
