//! Reads arguments the way MariaDB's clients do (abbreviations, `_` for `-`, `--skip-…`, clustered short
//! options), so that a forbidden option is found in every spelling. What an option means is not its business: the rules
//! are data of the catalogue.

use lagan_schemas::engine::{AllowedOption, OptionRules, OptionValue};

use super::engine;

/// How far a user may set an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Allowed,
    /// Why it is refused.
    Forbidden(&'static str),
    /// `--skip-NAME` and a false value are refused; it is always on.
    AlwaysOn(&'static str),
    /// Only this value keeps the stream restorable.
    Only(&'static str, &'static str),
}

/// An option of a program, with the rule for it.
#[derive(Debug, Clone, Copy)]
struct Spec {
    name: &'static str,
    short: Option<char>,
    takes: OptionValue,
    rule: Rule,
}

/// One option as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GivenOption {
    pub name: &'static str,
    pub on: Switch,
    pub value: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    On,
    Off,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub options: Vec<GivenOption>,
    pub names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    #[error("option `{given}` (`--{name}`) is forbidden: {reason}")]
    Forbidden { given: String, name: &'static str, reason: &'static str },
    #[error("option `{given}` is unknown to Lagan; spell it out, or leave it away")]
    Unknown { given: String },
    #[error("option `{given}` could mean `--{one}` or `--{other}`")]
    Ambiguous { given: String, one: &'static str, other: &'static str },
    #[error("option `{given}` needs a value")]
    NoValue { given: String },
    #[error("option `{given}` takes no value")]
    UnwantedValue { given: String },
    #[error("name `{name}` contains a control character, which the dump program cannot handle")]
    Name { name: String },
    #[error("no database is named: say `--all-databases`, `--databases NAME…` or one database")]
    NothingSelected,
    #[error("a restore takes one database at most, got `{0}` too")]
    ExtraName(String),
}

/// The rules for the options of a program.
pub(super) fn rules(program: &str) -> &'static OptionRules {
    engine().options(program).expect("the catalogue has rules for the programs of dumps and restores")
}

/// Understands arguments by the rules. A forbidden option is refused before its value is looked at.
pub(super) fn parse(rules: &'static OptionRules, args: &[String]) -> Result<Parsed, ArgumentError> {
    let specs = &specs(rules);
    let mut parsed = Parsed::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            parsed.names.extend(args.by_ref().cloned());
        } else if let Some(long) = arg.strip_prefix("--") {
            let given = parse_long(specs, arg, long, &mut args)?;
            parsed.options.push(given);
        } else if arg.len() > 1 && arg.starts_with('-') {
            parse_short(specs, arg, &mut args, &mut parsed.options)?;
        } else {
            parsed.names.push(arg.clone());
        }
    }
    match parsed.names.iter().find(|name| name.chars().any(char::is_control)) {
        Some(name) => Err(ArgumentError::Name { name: name.clone() }),
        None => Ok(parsed),
    }
}

fn parse_long<'a>(
    specs: &[Spec],
    given: &str,
    long: &str,
    rest: &mut impl Iterator<Item = &'a String>,
) -> Result<GivenOption, ArgumentError> {
    let (name, inline) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (long, None),
    };
    let (spec, mut on) = find(specs, given, &name.replace('_', "-").to_ascii_lowercase())?;
    spec.admit(given)?;
    let value = match (spec.takes, inline) {
        (OptionValue::None, Some(text)) => {
            // The clients take a boolean here.
            match text.to_ascii_lowercase().as_str() {
                "0" | "off" | "false" => on = Switch::Off,
                "1" | "on" | "true" => {}
                _ => return Err(ArgumentError::UnwantedValue { given: given.to_owned() }),
            }
            None
        }
        (OptionValue::Required, None) if on == Switch::On => {
            let next = rest.next().cloned();
            Some(next.ok_or_else(|| ArgumentError::NoValue { given: given.to_owned() })?)
        }
        (_, inline) => inline,
    };
    spec.judge(GivenOption { name: spec.name, on, value }, given)
}

fn parse_short<'a>(
    specs: &[Spec],
    given: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    options: &mut Vec<GivenOption>,
) -> Result<(), ArgumentError> {
    let letters = given.strip_prefix('-').unwrap_or(given);
    for (at, letter) in letters.char_indices() {
        let spec = specs
            .iter()
            .find(|spec| spec.short == Some(letter))
            .ok_or_else(|| ArgumentError::Unknown { given: given.to_owned() })?;
        spec.admit(given)?;
        let tail = &letters[at + letter.len_utf8()..];
        let value = match spec.takes {
            OptionValue::None => None,
            OptionValue::Optional | OptionValue::Required if !tail.is_empty() => Some(tail.to_owned()),
            OptionValue::Optional => None,
            OptionValue::Required => match rest.next() {
                Some(next) => Some(next.clone()),
                None => return Err(ArgumentError::NoValue { given: given.to_owned() }),
            },
        };
        options.push(spec.judge(GivenOption { name: spec.name, on: Switch::On, value }, given)?);
        if spec.takes != OptionValue::None {
            break;
        }
    }
    Ok(())
}

impl Spec {
    fn refuse(&self, given: &str, reason: &'static str) -> ArgumentError {
        ArgumentError::Forbidden { given: shown(given), name: self.name, reason }
    }

    fn admit(&self, given: &str) -> Result<(), ArgumentError> {
        match self.rule {
            Rule::Forbidden(reason) => Err(self.refuse(given, reason)),
            _ => Ok(()),
        }
    }

    fn judge(&self, option: GivenOption, given: &str) -> Result<GivenOption, ArgumentError> {
        match self.rule {
            Rule::AlwaysOn(reason) if option.on == Switch::Off => Err(self.refuse(given, reason)),
            Rule::Only(only, reason) if option.value.as_deref() != Some(only) => Err(self.refuse(given, reason)),
            _ => Ok(option),
        }
    }
}

/// The options that the rules know, forbidden ones last.
fn specs(rules: &'static OptionRules) -> Vec<Spec> {
    let forbidden = rules.forbidden.iter().flat_map(|group| {
        let is_short = |name: &&String| name.chars().count() == 1;
        let short = move |at: usize| group.names.get(at + 1).filter(is_short).and_then(|name| name.chars().next());
        let long = group.names.iter().enumerate().filter(move |(_, name)| !is_short(name));
        let rule = Rule::Forbidden(&group.reason);
        long.map(move |(at, name)| Spec { name, short: short(at), takes: OptionValue::None, rule })
    });
    rules.allowed.iter().map(allowed).chain(forbidden).collect()
}

fn allowed(option: &'static AllowedOption) -> Spec {
    let rule = match (&option.always_on, &option.only) {
        (Some(reason), _) => Rule::AlwaysOn(reason),
        (None, Some(only)) => Rule::Only(&only.value, &only.reason),
        (None, None) => Rule::Allowed,
    };
    Spec { name: &option.name, short: option.short, takes: option.value, rule }
}

/// A forbidden option may carry a password: its value is not repeated.
fn shown(given: &str) -> String {
    match given.split_once('=') {
        Some((name, _)) => format!("{name}=…"),
        None if given.starts_with("--") => given.to_owned(),
        None => given.chars().take(2).collect(),
    }
}

fn find(specs: &[Spec], given: &str, name: &str) -> Result<(Spec, Switch), ArgumentError> {
    let name = name.strip_prefix("loose-").unwrap_or(name);
    match lookup(specs, given, name) {
        Ok(spec) => Ok((spec, Switch::On)),
        Err(error) => {
            let negated = ["skip-", "disable-"].iter().find_map(|prefix| name.strip_prefix(prefix));
            let enabled = ["enable-", "maximum-"].iter().find_map(|prefix| name.strip_prefix(prefix));
            match (negated, enabled) {
                (Some(name), _) => Ok((lookup(specs, given, name)?, Switch::Off)),
                (_, Some(name)) => Ok((lookup(specs, given, name)?, Switch::On)),
                _ => Err(error),
            }
        }
    }
}

fn lookup(specs: &[Spec], given: &str, name: &str) -> Result<Spec, ArgumentError> {
    if let Some(exact) = specs.iter().find(|spec| spec.name == name) {
        return Ok(*exact);
    }
    let mut candidates = specs.iter().copied().filter(|spec| !name.is_empty() && spec.name.starts_with(name));
    let unknown = || ArgumentError::Unknown { given: shown(given) };
    let first = candidates.next().ok_or_else(unknown)?;
    // Another client's version may know fewer names, so that an abbreviation means the forbidden one there.
    let mut one = first;
    let mut other = None;
    for candidate in candidates {
        if matches!(candidate.rule, Rule::Forbidden(_)) && !matches!(one.rule, Rule::Forbidden(_)) {
            other = Some(one);
            one = candidate;
        } else {
            other = Some(candidate);
        }
    }
    match (other, one.rule) {
        (Some(_), Rule::Forbidden(_)) | (None, _) => Ok(one),
        (Some(other), _) => Err(ArgumentError::Ambiguous { given: shown(given), one: one.name, other: other.name }),
    }
}
