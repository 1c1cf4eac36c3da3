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
