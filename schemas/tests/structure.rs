//! The structure of all crates: modules of one parent do not import each other in a circle, one file asks which source of
//! intent there is, a name of a type means one thing, and files are short. These tests read source text; they compile nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const CRATES: [&str; 6] = ["schemas", "bus", "sources", "engine", "workers", "cli"];
/// Parents whose modules still import each other in a circle. Remove an entry once its circle is gone; never add one.
const WITH_CYCLES: [&str; 4] = ["schemas", "bus", "workers", "workers::mariadb"];
/// The limit of CONTRIBUTING.md, in lines.
const LONGEST_FILE: usize = 400;
/// An engine is a document, this much code without tests, comments and blank lines, and one arm.
const ONE_ENGINE: (&str, usize) = ("databases::postgres", 500);
const ONE_FILE: &str = "sources/src/source.rs";

type ModulePath = Vec<String>;

/// One module of a crate: its path, and its source text without tests.
struct Module {
    path: ModulePath,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file of the workspace, tests too: its path from the root, and its text.
fn files_of_the_workspace() -> Vec<(String, String)> {
    let mut files = Vec::new();
    CRATES.into_iter().chain(["tests"]).for_each(|name| sources(&root().join(name), &mut files));
    files
        .into_iter()
        .map(|file| {
            let path = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            (path, std::fs::read_to_string(file).unwrap())
        })
        .filter(|(path, _)| !path.contains("/target/"))
        .collect()
}

/// Names of the types and traits in a file that other files can see.
fn visible_types(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (visibility, definition) = line.trim_start().split_once(' ')?;
        let is_visible = visibility == "pub" || visibility.starts_with("pub(");
        let (keyword, name) = definition.split_once(' ')?;
        let is_type = matches!(keyword, "struct" | "enum" | "union" | "type" | "trait");
        (is_visible && is_type).then(|| name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
    })
}

/// Drops comments, and test modules with everything after them: by convention they stand at the end of a file.
fn without_tests(text: &str) -> String {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut kept = String::new();
    let mut code = code.peekable();
    while let Some(line) = code.next() {
        if line == "#[cfg(test)]" {
            match code.next() {
                Some(module) if module.ends_with('{') => break,
                _ => continue,
            }
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// Names of modules that exist for tests only, such as `fixtures`.
fn test_modules(text: &str) -> impl Iterator<Item = String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let pairs: Vec<(&str, &str)> = lines.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let names = pairs.into_iter().filter(|(attribute, _)| *attribute == "#[cfg(test)]").filter_map(|(_, module)| {
        let name = module.trim_start_matches("pub(crate) ").strip_prefix("mod ")?;
        Some(name.trim_end_matches([';', '{', ' ']).to_owned())
    });
    names.collect::<Vec<_>>().into_iter()
}

fn modules(name: &str) -> Vec<Module> {
    let source = root().join(name).join("src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    let texts: Vec<(ModulePath, String)> = files
        .into_iter()
        .map(|file| {
            let relative = file.strip_prefix(&source).unwrap().with_extension("");
            let path = relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect::<ModulePath>();
            let path = if matches!(path.last().unwrap().as_str(), "lib" | "main") { Vec::new() } else { path };
            (path, std::fs::read_to_string(file).unwrap())
        })
        .collect();
    let tests: BTreeSet<String> = texts.iter().flat_map(|(_, text)| test_modules(text)).collect();
    let is_test = |path: &ModulePath| path.iter().any(|part| tests.contains(part));
    let texts = texts.into_iter().filter(|(path, _)| !is_test(path));
    texts.map(|(path, text)| Module { path, text: without_tests(&text) }).collect()
}

/// Expands `a::{b, c::d}` to `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let Some(open) = tree.find('{') else { return vec![tree.split(" as ").next().unwrap().trim().to_owned()] };
    let (prefix, inner) = (&tree[..open], &tree[open + 1..tree.rfind('}').unwrap()]);
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let parts = parts.into_iter().map(str::trim).filter(|part| !part.is_empty());
    parts.flat_map(|part| expand(part).into_iter().map(|rest| format!("{}{rest}", prefix.trim()))).collect()
}

/// The paths that a module names, as paths from the root of its crate.
fn imports(module: &Module) -> Vec<ModulePath> {
    let mut named = Vec::new();
    let mut lines = module.text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let words = line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub ");
        let Some(tree) = words.strip_prefix("use ") else { continue };
        let mut tree = tree.to_owned();
        while !tree.ends_with(';') {
            tree.push_str(lines.next().unwrap());
        }
        named.extend(expand(tree.trim_end_matches(';')));
    }
    // Paths that are written out where they are used.
    for (index, _) in module.text.match_indices("crate::") {
        if module.text[..index].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let path = module.text[index..].chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':'));
        named.push(path.collect());
    }
    named.iter().filter_map(|path| absolute(&module.path, path)).collect()
}

fn absolute(module: &[String], path: &str) -> Option<ModulePath> {
    let mut parts = path.split("::").map(str::trim);
    let mut at: ModulePath = match parts.next()? {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module.split_last()?.1.to_vec(),
        _ => return None,
    };
    for part in parts.filter(|part| !part.is_empty()) {
        if part == "super" {
            at.pop();
        } else {
            at.push(part.to_owned());
        }
    }
    Some(at)
}

/// Edges between modules of one parent: by the parent's path, from one child to another, with the module that imports.
fn edges(modules: &[Module]) -> BTreeMap<ModulePath, BTreeMap<(String, String), String>> {
    let known: BTreeSet<&ModulePath> = modules.iter().map(|module| &module.path).collect();
    let mut edges: BTreeMap<ModulePath, BTreeMap<(String, String), String>> = BTreeMap::new();
    for module in modules {
        for path in imports(module) {
            let Some(target) = (0..=path.len()).rev().map(|length| path[..length].to_vec()).find(|p| known.contains(p))
            else {
                continue;
            };
            let common = module.path.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (module.path.get(common), target.get(common)) {
                let parent = module.path[..common].to_vec();
                edges.entry(parent).or_default().insert((from.clone(), to.clone()), module.path.join("::"));
            }
        }
    }
    edges
}

/// A circle in the graph, as the names on it.
fn cycle(edges: &BTreeMap<(String, String), String>) -> Option<Vec<String>> {
    let nodes: BTreeSet<&String> = edges.keys().flat_map(|(from, to)| [from, to]).collect();
    nodes.into_iter().find_map(|node| walk(edges, &mut vec![node.clone()], &mut BTreeSet::new()))
}

fn walk(
    edges: &BTreeMap<(String, String), String>,
    trail: &mut Vec<String>,
    seen: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    let here = trail.last().unwrap().clone();
    for (_, to) in edges.keys().filter(|(from, _)| *from == here) {
        if *to == trail[0] {
            return Some(trail.clone());
        }
        if seen.insert(to.clone()) {
            trail.push(to.clone());
            if let Some(found) = walk(edges, trail, seen) {
                return Some(found);
            }
            trail.pop();
        }
    }
    None
}

#[test]
fn modules_of_one_parent_do_not_import_each_other_in_a_circle() {
    let mut found = Vec::new();
    for name in CRATES {
        for (parent, edges) in edges(&modules(name)) {
            let Some(circle) = cycle(&edges) else { continue };
            let next = circle.iter().cycle().skip(1);
            let steps = circle.iter().zip(next).map(|(from, to)| {
                let importer = &edges[&(from.clone(), to.clone())];
                format!("{from} -> {to} (in {importer})")
            });
            let place = std::iter::once(name).chain(parent.iter().map(String::as_str)).collect::<Vec<_>>().join("::");
            if !WITH_CYCLES.contains(&place.as_str()) {
                found.push(format!("{place}: {}", steps.collect::<Vec<_>>().join(", ")));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn one_file_asks_whether_the_source_is_a_folder_or_an_api_server() {
    let forbidden = ["Source::Folder", "Source::Kubernetes", "Source::Cluster", "Origin::Folder", "Origin::Cluster"];
    let mut found = Vec::new();
    for (file, text) in files_of_the_workspace() {
        if file == ONE_FILE || file.ends_with("schemas/tests/structure.rs") {
            continue;
        }
        let named = forbidden.into_iter().filter(|name| text.contains(name));
        found.extend(named.map(|name| format!("{file}: {name}")));
    }
    assert!(found.is_empty(), "ask what the source can do instead (sources/src/source.rs): {}", found.join(", "));
}

#[test]
fn two_types_that_other_files_see_do_not_share_a_name() {
    let files = files_of_the_workspace();
    let mut defined: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (file, text) in &files {
        visible_types(text).for_each(|name| defined.entry(name).or_default().push(file));
    }
    assert!(defined.len() > 500, "the reader of definitions finds only {} types", defined.len());
    let shared = defined.into_iter().filter(|(_, files)| files.len() > 1);
    let shared: Vec<String> = shared.map(|(name, files)| format!("{name}: {}", files.join(", "))).collect();
    assert!(shared.is_empty(), "say in the name what each of them is:\n{}", shared.join("\n"));
}

#[test]
fn files_are_short() {
    let files = files_of_the_workspace();
    let lengths = files.iter().map(|(file, text)| (text.lines().count(), file));
    let long: Vec<String> = lengths
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .map(|(lines, file)| format!("{file} has {lines} lines"))
        .collect();
    assert!(long.is_empty(), "split them by noun, at {LONGEST_FILE} lines: {}", long.join(", "));
}

#[test]
fn an_engine_beside_its_document_is_little_code() {
    let (engine, limit) = ONE_ENGINE;
    let modules = modules("workers").into_iter().filter(|module| module.path.join("::").starts_with(engine));
    let lines = modules.flat_map(|module| module.text.lines().map(|line| line.trim().len()).collect::<Vec<_>>());
    let count = lines.filter(|length| *length > 0).count();
    assert!(
        (1..=limit).contains(&count),
        "{engine} has {count} lines, more than {limit}: move decisions to its document"
    );
}

#[test]
fn the_reader_of_imports_understands_trees_and_relative_paths() {
    let module = Module {
        path: vec!["a".to_owned(), "b".to_owned()],
        text: "use crate::{\n    c,\n    d::{E, f as g},\n};\npub(super) use super::h::I;\nuse std::fmt;\nfn x() { crate::j::k() }\n".to_owned(),
    };
    let paths: BTreeSet<String> = imports(&module).iter().map(|path| path.join("::")).collect();
    let expected = ["a::h::I", "c", "d::E", "d::f", "j::k"].map(str::to_owned);
    assert_eq!(paths.into_iter().filter(|path| !path.is_empty()).collect::<Vec<_>>(), expected);
}
