//! Refuses options where they would have no effect: shared options on commands that do not use them, and options that
//! need another option beside them. It must not know what an option does.

use std::collections::BTreeSet;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Error};

/// Commands that talk to a running Lagan.
const CLIENTS: [&str; 11] =
    ["backup", "trigger", "restore", "pause", "resume", "get", "describe", "tree", "snapshots", "events", "cancel"];
/// Commands that look in one namespace or in all of them; the other clients act on one object of one namespace.
const LISTS: [&str; 6] = ["get", "describe", "tree", "snapshots", "events", "cancel"];
const PARTS: [&str; 2] = ["engine", "worker"];

/// Options about the output and the log are for every command; those that lead to objects are not.
fn applies(option: &str, command: &str) -> bool {
    match option {
        "data_dir" => command == "up" || PARTS.contains(&command) || CLIENTS.contains(&command),
        "kubeconfig" | "context" => PARTS.contains(&command) || CLIENTS.contains(&command),
        "namespace" => CLIENTS.contains(&command),
        "all_namespaces" => LISTS.contains(&command),
        _ => true,
    }
}

/// An option that does nothing unless another one is given too.
struct Needs {
    commands: &'static [&'static str],
    option: &'static str,
    other: &'static str,
    why: &'static str,
}

const OWN_SERVER: &str = "without it `lagan up` starts a NATS server of its own";
const FOLDER: &str = "the data directory belongs to a folder of manifests";
const CLUSTER: &str = "it names a cluster";
const NEEDS: [Needs; 9] = [
    Needs { commands: &["up"], option: "nats_token_file", other: "nats_url", why: OWN_SERVER },
    Needs { commands: &["up"], option: "nats_creds", other: "nats_url", why: OWN_SERVER },
    Needs { commands: &["up"], option: "nats_user_file", other: "nats_url", why: OWN_SERVER },
    Needs { commands: &["up"], option: "nats_ca", other: "nats_url", why: OWN_SERVER },
    Needs { commands: &["up"], option: "nats_monitoring_url", other: "nats_url", why: OWN_SERVER },
    Needs { commands: &["up"], option: "nats_replicas", other: "nats_url", why: OWN_SERVER },
    Needs { commands: &PARTS, option: "data_dir", other: "manifests", why: FOLDER },
    Needs { commands: &PARTS, option: "kubeconfig", other: "kube", why: CLUSTER },
    Needs { commands: &PARTS, option: "context", other: "kube", why: CLUSTER },
];

/// Hides every shared option from the help of the commands that do not use it.
#[must_use]
pub fn hide_unused(mut root: Command) -> Command {
    let shared: Vec<_> = root.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    let names: Vec<String> = root.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in names {
        let unused = shared.iter().filter(|arg| !applies(arg.get_id().as_str(), &name));
        let unused: Vec<_> = unused.map(|arg| arg.clone().global(false).hide(true)).collect();
        root = root.mut_subcommand(name, |command| command.args(unused));
    }
    root
}

/// Finds an option on the command line that the command would ignore; the error names it and what is missing.
pub fn check(root: &mut Command, matches: &ArgMatches) -> Result<(), Error> {
    let Some((name, own)) = matches.subcommand() else { return Ok(()) };
    let name = name.to_owned();
    for option in on_command_line(root, matches) {
        if !applies(&option, &name) {
            let message = format!("`{}` has no effect on `lagan {name}`", long(&option));
            return Err(root.error(ErrorKind::ArgumentConflict, message));
        }
        let needs = NEEDS.iter().find(|needs| needs.option == option && needs.commands.contains(&name.as_str()));
        if let Some(Needs { other, why, .. }) = needs.filter(|needs| !is_given(own, needs.other)) {
            let message = format!("`{}` has no effect without `{}`: {why}", long(&option), long(other));
            return Err(root.error(ErrorKind::MissingRequiredArgument, message));
        }
    }
    Ok(())
}

/// The ids of all options that were typed, before or after the command; values from the environment do not count.
#[must_use]
pub fn on_command_line(root: &Command, matches: &ArgMatches) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut add = |command: &Command, matches: &ArgMatches| {
        let typed = command.get_arguments().map(|arg| arg.get_id().as_str().to_owned());
        found.extend(typed.filter(|id| source(matches, id) == Some(ValueSource::CommandLine)));
    };
    add(root, matches);
    if let Some((name, own)) = matches.subcommand()
        && let Some(command) = root.find_subcommand(name)
    {
        add(command, own);
    }
    found
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches!(source(matches, id), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

/// An id that the matches do not know makes `value_source` panic.
fn source(matches: &ArgMatches, id: &str) -> Option<ValueSource> {
    matches.try_contains_id(id).ok()?;
    matches.value_source(id)
}

fn long(id: &str) -> String {
    format!("--{}", id.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use clap::{Arg, CommandFactory as _};

    use super::*;
    use crate::args::Cli;

    fn tree() -> Command {
        let mut root = hide_unused(Cli::command());
        root.build();
        root
    }

    /// A value that every option takes.
    fn value(arg: &Arg) -> String {
        let first = arg.get_possible_values().first().map(|value| value.get_name().to_owned());
        first.unwrap_or_else(|| match arg.get_id().as_str() {
            "resolve" => "a:1=b:1".to_owned(),
            "listen" => "127.0.0.1:1".to_owned(),
            "pushgateway" | "nats_monitoring_url" => "http://a/".to_owned(),
            "snapshot" => "latest".to_owned(),
            "output" => "json".to_owned(),
            id if id.ends_with("_max_bytes") => "2GiB".to_owned(),
            id if id.ends_with("_max_age") => "2d".to_owned(),
            _ => "3".to_owned(),
        })
    }

    fn words(arg: &Arg) -> Vec<String> {
        let mut words = vec![format!("--{}", arg.get_long().unwrap())];
        words.extend(arg.get_action().takes_values().then(|| value(arg)));
        words
    }

    /// The command with all that it demands.
    fn complete(command: &Command) -> Vec<String> {
        let mut line = vec!["lagan".to_owned(), command.get_name().to_owned()];
        for arg in command.get_arguments().filter(|arg| arg.is_required_set()) {
            if arg.is_positional() { line.push("x".to_owned()) } else { line.extend(words(arg)) }
        }
        match command.get_name() {
            "engine" | "worker" => line.push("--kube".to_owned()),
            "restore" => line.push("x".to_owned()),
            _ => {}
        }
        line
    }

    /// The whole of what parsing says, as `main` does it.
    fn parse(line: &[String]) -> Result<(), String> {
        let mut root = tree();
        let matches = root.clone().try_get_matches_from(line).map_err(|error| error.to_string())?;
        check(&mut root, &matches).map_err(|error| error.to_string())
    }

    #[test]
    fn every_command_takes_the_options_of_its_help_and_refuses_all_others() {
        let root = tree();
        let commands: Vec<&Command> = root.get_subcommands().filter(|command| !command.is_hide_set()).collect();
        let mut all: Vec<&Arg> = commands.iter().flat_map(|command| command.get_arguments()).collect();
        all.retain(|arg| !arg.is_positional() && !matches!(arg.get_id().as_str(), "help" | "version"));
        all.sort_by_key(|arg| arg.get_long());
        all.dedup_by_key(|arg| arg.get_long());
        for command in commands {
            let name = command.get_name();
            let line = complete(command);
            for arg in &all {
                let own = command.get_arguments().find(|own| own.get_long() == arg.get_long());
                if line.contains(&format!("--{}", arg.get_long().unwrap())) {
                    continue;
                }
                let with: Vec<String> = line.iter().cloned().chain(words(own.unwrap_or(arg))).collect();
                let told = parse(&with);
                match own.filter(|own| !own.is_hide_set() || ["wipe_within", "stall"].contains(&own.get_id().as_str()))
                {
                    Some(_) => {
                        // It may need another option, or exclude one; then the message says which.
                        let option = format!("--{}", arg.get_long().unwrap());
                        assert!(
                            told.is_ok()
                                || told
                                    .as_ref()
                                    .is_err_and(|told| told.contains("--") && !told.contains("unexpected argument")),
                            "{name} {option}: {told:?}"
                        );
                    }
                    None => assert!(
                        told.is_err(),
                        "`lagan {name}` takes --{} and does nothing with it",
                        arg.get_long().unwrap()
                    ),
                }
            }
        }
    }

    #[test]
    fn an_option_of_another_command_is_named() {
        let refused = |line: &str, parts: &[&str]| {
            let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let told = parse(&line).unwrap_err();
            for part in parts {
                assert!(told.contains(part), "{line:?}: {told}");
            }
        };
        for line in ["lagan version -n prod", "lagan -n prod version"] {
            refused(line, &["`--namespace` has no effect on `lagan version`"]);
        }
        refused("lagan backup shop -A", &["`--all-namespaces` has no effect on `lagan backup`"]);
        refused("lagan engine --kube --nats-url x --slots 3", &["unexpected argument '--slots'"]);
        refused("lagan engine --kube --nats-url x --allow-program /bin/x", &["unexpected argument"]);
        refused("lagan engine --kube --nats-url x --allow-hook-host x", &["unexpected argument"]);
        refused("lagan worker --kube --nats-url x --pushgateway http://x/", &["unexpected argument"]);
        for option in ["token-file", "creds", "user-file", "ca", "monitoring-url", "replicas"] {
            refused(
                &format!("lagan up --manifests x --nats-{option} 3"),
                &[&format!("`--nats-{option}` has no effect without `--nats-url`"), "of its own"],
            );
        }
        refused("lagan engine --kube --nats-url x --data-dir x", &["`--data-dir` has no effect without `--manifests`"]);
        refused("lagan worker --manifests x --nats-url x --context x", &["`--context` has no effect without `--kube`"]);
        refused("lagan restore shop --dry-run --wait", &["--dry-run", "--wait"]);
    }
}
