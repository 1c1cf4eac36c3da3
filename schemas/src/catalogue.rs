//! The built-in Tasks, Functions and engines. Tasks and Functions are YAML that the same code parses as a user's own;
//! engines are built in only. Stash's names lead to ours: `mariadb-backup-10.6.23` is `mariadb-backup`.

use std::sync::LazyLock;

use crate::engine::Engine;
use crate::manifest::{Manifest, parse};
use crate::resource::{Kind, Object};

/// Name and text of each file of the catalogue.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/catalogue.rs"));
/// First line of the document that describes an engine.
const ENGINE: &str = "kind: Engine\n";

struct Catalogue {
    objects: Vec<Object>,
    engines: Vec<Engine>,
}

static BUILT_IN: LazyLock<Catalogue> = LazyLock::new(|| {
    let mut catalogue = Catalogue { objects: Vec::new(), engines: Vec::new() };
    for (file, text) in FILES {
        for document in text.split("\n---\n") {
            catalogue.add(file, document);
        }
    }
    catalogue
});

impl Catalogue {
    fn add(&mut self, file: &str, document: &str) {
        if let Some((_, engine)) = document.split_once(ENGINE) {
            let engine = serde_saphyr::from_str(engine);
            self.engines.push(engine.expect("the catalogue is valid, a test says so"));
            return;
        }
        for manifest in parse(file, document) {
            match manifest.expect("the catalogue is valid, a test says so") {
                Manifest::Object(object) => self.objects.push(*object),
                Manifest::Secret(_) | Manifest::Foreign { .. } => {
                    unreachable!("the catalogue holds Tasks, Functions and engines")
                }
            }
        }
    }
}

#[must_use]
pub fn objects() -> &'static [Object] {
    &BUILT_IN.objects
}

/// Finds a built-in by our name, or by one of Stash's: our name, a version, and perhaps a revision such as `v3` behind it.
#[must_use]
pub fn find(kind: Kind, name: &str) -> Option<&'static Object> {
    let built_in = |name: &str| objects().iter().find(|o| o.kind() == kind && o.metadata.name == name);
    let starts_with_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    built_in(name).or_else(|| {
        let revised = name.rsplit_once("-v").filter(|(_, revision)| starts_with_digit(revision));
        let (stem, version) = revised.map_or(name, |(name, _)| name).rsplit_once('-')?;
        starts_with_digit(version).then(|| built_in(stem)).flatten()
    })
}

#[must_use]
pub fn engines() -> &'static [Engine] {
    &BUILT_IN.engines
}

/// Finds an engine by the name that a Function's `database` gives it.
#[must_use]
pub fn engine(name: &str) -> Option<&'static Engine> {
    engines().iter().find(|engine| engine.name == name)
}

/// Finds the engine that answers to an AppBinding's type.
#[must_use]
pub fn engine_of_type(app_type: &str) -> Option<&'static Engine> {
    engines().iter().find(|engine| engine.answers_to(app_type))
}

/// Steps that Stash's Tasks have and Lagan does by itself after the stream: retention, verification, status.
#[must_use]
pub fn is_done_by_the_worker(function: &str) -> bool {
    function == "update-status"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_of_an_engine_is_built_in_and_answers_to_the_names_of_stash() {
        assert!(!engines().is_empty());
        for engine in engines() {
            for task in [&engine.tasks.backup, &engine.tasks.restore] {
                for name in [task.clone(), format!("{task}-10.6.23"), format!("{task}-14.0-v3")] {
                    assert!(find(Kind::Task, &name).is_some(), "{name}");
                    assert!(find(Kind::Function, &name).is_some(), "{name}");
                }
                assert!(find(Kind::Task, &format!("{task}-latest")).is_none());
                assert!(find(Kind::Task, &format!("{task}-v3")).is_none());
            }
        }
        assert!(find(Kind::Task, "mongodb-backup-14.0").is_none());
    }

    #[test]
    fn the_type_of_an_app_binding_leads_to_its_engine() {
        for (app_type, name) in [
            ("kubedb.com/mariadb", Some("MariaDB")),
            ("mariadb", Some("MariaDB")),
            ("MariaDB", Some("MariaDB")),
            ("kubedb.com/mysql", None),
            ("kubedb.com/mongodb", None),
            ("", None),
        ] {
            assert_eq!(engine_of_type(app_type).map(|engine| engine.name.as_str()), name, "{app_type}");
        }
    }

    #[test]
    fn the_rules_for_options_are_about_programs_of_the_engine_and_name_each_option_once() {
        for engine in engines() {
            assert!(!engine.options.is_empty(), "{}", engine.name);
            for rules in &engine.options {
                assert!(engine.programs().any(|program| program == rules.program), "{}", rules.program);
                let allowed = rules.allowed.iter().flat_map(|option| {
                    [Some(option.name.clone()), option.short.map(String::from)].into_iter().flatten()
                });
                let forbidden = rules.forbidden.iter().flat_map(|group| group.names.iter().cloned());
                let names: Vec<String> = allowed.chain(forbidden).collect();
                for (at, name) in names.iter().enumerate() {
                    assert!(!name.is_empty() && !names[..at].contains(name), "{}: `{name}` twice", rules.program);
                }
                for group in &rules.forbidden {
                    let starts_long = group.names.first().is_some_and(|name| name.chars().count() > 1);
                    assert!(starts_long && !group.reason.is_empty(), "{}: {:?}", rules.program, group.names);
                }
            }
        }
    }

    #[test]
    fn each_rule_for_errors_can_fit_a_line() {
        for engine in engines() {
            assert!(!engine.errors.is_empty(), "{}", engine.name);
            let mut known = Vec::new();
            for rule in &engine.errors {
                assert!(!rule.numbers.is_empty() || !rule.contains.is_empty(), "{rule:?}");
                assert!(!rule.hint.is_empty(), "{rule:?}");
                // A rule for each line with a number hides what later rules say about it.
                assert!(rule.numbers.iter().all(|number| !known.contains(number)), "{rule:?}");
                known.extend(rule.numbers.iter().filter(|_| rule.contains.is_empty()));
            }
        }
    }

    #[test]
    fn a_users_manifest_is_never_an_engine() {
        let text = "apiVersion: lagan.dev/v1alpha1\nkind: Engine\nmetadata: {name: MariaDB}\nspec: {}\n";
        assert!(!parse("mine.yaml", text).iter().any(|manifest| matches!(manifest, Ok(Manifest::Object(_)))));
    }

    #[test]
    fn only_a_whole_last_line_ends_a_stream() {
        let last_line = &engine("MariaDB").expect("it is built in").last_line;
        assert!(last_line.ends(b"x\n-- Dump completed\n"));
        assert!(last_line.ends(b"\n-- Dump completed on 2026-11-22 23:00:00\n"));
        for tail in [
            "x-- Dump completed\n",
            "-- Dump completed\n",
            "\n-- Dump completed",
            "\n-- Dump complete\n",
            "\n-- Dump completed o\n",
            "\n-- Dump completed \n",
            "\n-- Dump completed\n\n",
            "",
            "\n",
        ] {
            assert!(!last_line.ends(tail.as_bytes()), "{tail:?}");
        }
    }
}
