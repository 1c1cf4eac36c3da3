//! Judges the arguments of a program by the rules of its engine. Programs get what was understood, spelled out, so that
//! they cannot understand it otherwise.

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use lagan_schemas::engine::{AllowedOption, Engine, OptionRules, OptionValue};
use lagan_schemas::error::{Code, Failure};

use super::Access;

const NAMES: &str = "names";

/// Arguments that keep to the rules.
#[derive(Debug)]
pub(crate) struct CheckedArguments {
    rules: &'static OptionRules,
    /// Options with their values, in the order of the rules.
    pub options: Vec<(String, Option<String>)>,
    pub names: Vec<String>,
    /// Whether an option leaves out a part of what a stream would hold.
    pub leaves_out: bool,
}

impl CheckedArguments {
    /// The arguments of a step, by the rules for its program.
    pub fn of(access: &Access, engine: &'static Engine) -> Result<Self, Failure> {
        let program = access.executable.file_name().unwrap_or_default().to_string_lossy();
        let rules = engine.options(&program).ok_or_else(|| format!("`{program}` is no program of {}", engine.name));
        let given = rules.and_then(|rules| parse(rules, &access.arguments));
        given.map_err(|why| Failure::new(Code::ArgumentForbidden, format!("Function `{}`: {why}", access.function)))
    }

    /// Takes the last value of an option, so that it is no argument any more.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let (taken, others) = std::mem::take(&mut self.options).into_iter().partition(|(option, _)| option == name);
        self.options = others;
        Vec::<(String, Option<String>)>::pop(&mut { taken })?.1
    }

    /// The arguments of the program.
    pub fn argv(&self) -> Vec<String> {
        let spelled = self.options.iter().map(|(name, value)| match value {
            Some(value) => format!("--{name}={value}"),
            None => format!("--{name}"),
        });
        spelled.chain(self.rules.forced.iter().cloned()).collect()
    }
}

fn parse(rules: &'static OptionRules, args: &[String]) -> Result<CheckedArguments, String> {
    let found = command(rules).try_get_matches_from(args).map_err(|error| refusal(&error))?;
    for forbidden in &rules.forbidden {
        if let Some(name) = forbidden.names.iter().find(|name| is_given(&found, name)) {
            let dashes = if name.len() == 1 { "-" } else { "--" };
            return Err(format!("option `{dashes}{name}` is forbidden: {}", forbidden.reason));
        }
    }
    let mut given = CheckedArguments { rules, options: Vec::new(), names: Vec::new(), leaves_out: false };
    for option in rules.allowed.iter().filter(|option| is_given(&found, &option.name)) {
        given.leaves_out |= option.leaves_out;
        match option.value {
            // A flag that is always on needs no rule here: getopt_long knows no opposite of an option.
            OptionValue::None => given.options.push((option.name.clone(), None)),
            OptionValue::Optional => {
                let occurrences = found.get_occurrences::<String>(&option.name).into_iter().flatten();
                given.options.extend(occurrences.map(|mut value| (option.name.clone(), value.next().cloned())));
            }
            OptionValue::Required => {
                let values = found.get_many::<String>(&option.name).into_iter().flatten();
                given.options.extend(values.map(|value| (option.name.clone(), Some(value.clone()))));
            }
        }
    }
    for (option, only) in rules.allowed.iter().filter_map(|option| option.only.as_ref().map(|only| (option, only))) {
        let breaks = |(name, value): &(String, Option<String>)| {
            *name == option.name && value.as_deref() != Some(only.value.as_str())
        };
        if given.options.iter().any(breaks) {
            return Err(format!("option `--{}` is forbidden: {}", option.name, only.reason));
        }
    }
    if rules.names > 0 {
        given.names = found.get_many::<String>(NAMES).into_iter().flatten().cloned().collect();
    }
    Ok(given)
}

fn command(rules: &'static OptionRules) -> Command {
    let command = Command::new(rules.program.as_str())
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(rules.allowed.iter().map(allowed));
    let forbidden = rules.forbidden.iter().flat_map(|forbidden| &forbidden.names).map(|name| {
        let arg = Arg::new(name.as_str()).action(ArgAction::Append).num_args(0..=1).allow_hyphen_values(true);
        if name.len() == 1 { arg.short(name.chars().next()) } else { arg.long(name.as_str()) }
    });
    let names = Arg::new(NAMES).num_args(0..=rules.names).action(ArgAction::Append);
    command.args(forbidden).args((rules.names > 0).then_some(names))
}

fn allowed(option: &'static AllowedOption) -> Arg {
    let arg = Arg::new(option.name.as_str()).long(option.name.as_str()).short(Resettable::from(option.short));
    match option.value {
        OptionValue::None => arg.action(ArgAction::Count),
        OptionValue::Optional => arg.action(ArgAction::Append).num_args(0..=1).require_equals(true),
        OptionValue::Required => arg.action(ArgAction::Append).num_args(1).allow_hyphen_values(true),
    }
}

fn is_given(found: &ArgMatches, name: &str) -> bool {
    found.value_source(name).is_some_and(|source| source == clap::parser::ValueSource::CommandLine)
}

/// Says what is wrong, without the values: one may be a password.
fn refusal(error: &clap::Error) -> String {
    let option = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.split([' ', '=']).next().unwrap_or_default().trim_end_matches('.'),
        _ => "",
    };
    match error.kind() {
        _ if !option.starts_with('-') => "there are too many names".to_owned(),
        ErrorKind::UnknownArgument => format!("option `{option}` is unknown to Lagan; spell it out, or leave it away"),
        ErrorKind::TooManyValues => format!("option `{option}` takes no value"),
        _ => format!("option `{option}` needs a value"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use lagan_schemas::engine::{ForbiddenOption, OnlyValue};

    use super::*;

    fn rules() -> &'static OptionRules {
        let option = |name: &str, short, value| AllowedOption {
            name: name.to_owned(),
            short,
            value,
            leaves_out: false,
            always_on: None,
            only: None,
        };
        let only = OnlyValue { value: "UTF8".to_owned(), reason: "the dump is UTF-8".to_owned() };
        Box::leak(Box::new(OptionRules {
            program: "dump".to_owned(),
            forced: vec!["--plain".to_owned()],
            allowed: vec![
                option("dbname", Some('d'), OptionValue::Required),
                AllowedOption { leaves_out: true, ..option("table", Some('t'), OptionValue::Required) },
                option("no-owner", Some('O'), OptionValue::None),
                option("sync", None, OptionValue::Optional),
                AllowedOption { only: Some(only), ..option("encoding", None, OptionValue::Required) },
            ],
            forbidden: vec![ForbiddenOption {
                names: ["host", "h", "file"].map(str::to_owned).into(),
                reason: "the connection comes from the target".to_owned(),
            }],
            names: 1,
        }))
    }

    fn of(line: &str) -> Result<CheckedArguments, String> {
        parse(rules(), &line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_spelled_out() {
        let mut given = of("-Od shop --table=a -t b name").unwrap();
        assert_eq!(given.argv(), ["--dbname=shop", "--table=a", "--table=b", "--no-owner", "--plain"]);
        assert_eq!((given.names.as_slice(), given.leaves_out), (["name".to_owned()].as_slice(), true));
        assert_eq!(given.take("dbname").as_deref(), Some("shop"));
        assert_eq!(given.argv(), ["--table=a", "--table=b", "--no-owner", "--plain"]);
        assert_eq!(of("").unwrap().argv(), ["--plain"]);
        assert_eq!(of("--sync --sync=all --encoding=UTF8").unwrap().argv()[..2], ["--sync", "--sync=all"]);
        assert_eq!(of("-d -x").unwrap().take("dbname").as_deref(), Some("-x"));
        assert_eq!(of("-d a -d b").unwrap().take("dbname").as_deref(), Some("b"));
    }

    #[test]
    fn what_breaks_a_rule_is_refused_without_its_value() {
        for (line, words) in [
            ("--host=CANARY", "option `--host` is forbidden: the connection comes from the target"),
            ("-hCANARY", "option `-h` is forbidden"),
            ("--host CANARY", "option `--host` is forbidden"),
            ("-OhCANARY", "option `-h` is forbidden"),
            ("--db=CANARY", "option `--db` is unknown"),
            ("-Z", "option `-Z` is unknown"),
            ("--help", "option `--help` is unknown"),
            ("-d", "option `--dbname` needs a value"),
            ("--no-owner=CANARY", "option `--no-owner` takes no value"),
            ("--encoding=CANARY", "option `--encoding` is forbidden: the dump is UTF-8"),
            ("one two", "too many names"),
            ("-- one two", "too many names"),
        ] {
            let error = of(line).unwrap_err();
            assert!(error.contains(words) && !error.contains("CANARY"), "{line}: {error}");
        }
    }
}
