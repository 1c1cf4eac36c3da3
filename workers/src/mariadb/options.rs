//! Reads arguments the way MariaDB's clients do (abbreviations, `_` for `-`, `--skip-…`, clustered short
//! options), so that a forbidden option is found in every spelling. What an option means is not its business.

/// How far a user may set an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Allowed,
    /// Why it is refused.
    Forbidden(&'static str),
    /// `--skip-NAME` and a false value are refused; it is always on.
    AlwaysOn(&'static str),
    /// Only this value keeps the stream restorable.
    Only(&'static str, &'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    /// In the next argument or after `=`.
    Value,
    /// After `=` only.
    Maybe,
}

#[derive(Debug)]
pub(super) struct Spec {
    pub name: &'static str,
    pub short: Option<char>,
    pub takes: Takes,
    pub rule: Rule,
}

/// One option as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
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
    pub options: Vec<Given>,
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

const ON: Rule = Rule::Allowed;

pub(super) const fn flag(name: &'static str) -> Spec {
    Spec { name, short: None, takes: Takes::Nothing, rule: ON }
}

pub(super) const fn value(name: &'static str) -> Spec {
    Spec { name, short: None, takes: Takes::Value, rule: ON }
}

pub(super) const fn maybe(name: &'static str) -> Spec {
    Spec { name, short: None, takes: Takes::Maybe, rule: ON }
}

impl Spec {
    pub(super) const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    pub(super) const fn forbidden(mut self, reason: &'static str) -> Self {
        self.rule = Rule::Forbidden(reason);
        self
    }

    pub(super) const fn always_on(mut self, reason: &'static str) -> Self {
        self.rule = Rule::AlwaysOn(reason);
        self
    }

    pub(super) const fn only(mut self, value: &'static str, reason: &'static str) -> Self {
        self.rule = Rule::Only(value, reason);
        self
    }
}

pub(super) fn parse(tables: &[&'static [Spec]], args: &[String]) -> Result<Parsed, ArgumentError> {
    let mut parsed = Parsed::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            parsed.names.extend(args.by_ref().cloned());
        } else if let Some(long) = arg.strip_prefix("--") {
            let given = parse_long(tables, arg, long, &mut args)?;
            parsed.options.push(given);
        } else if arg.len() > 1 && arg.starts_with('-') {
            parse_short(tables, arg, &mut args, &mut parsed.options)?;
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
    tables: &[&'static [Spec]],
    given: &str,
    long: &str,
    rest: &mut impl Iterator<Item = &'a String>,
) -> Result<Given, ArgumentError> {
    let (name, inline) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (long, None),
    };
    let (spec, mut on) = find(tables, given, &name.replace('_', "-").to_ascii_lowercase())?;
    let value = match (spec.takes, inline) {
        (Takes::Nothing, Some(text)) => {
            // The clients take a boolean here.
            match text.to_ascii_lowercase().as_str() {
                "0" | "off" | "false" => on = Switch::Off,
                "1" | "on" | "true" => {}
                _ => return Err(ArgumentError::UnwantedValue { given: given.to_owned() }),
            }
            None
        }
        (Takes::Value, None) if on == Switch::On => {
            let next = rest.next().cloned();
            Some(next.ok_or_else(|| ArgumentError::NoValue { given: given.to_owned() })?)
        }
        (_, inline) => inline,
    };
    judge(spec, Given { name: spec.name, on, value }, given)
}

fn parse_short<'a>(
    tables: &[&'static [Spec]],
    given: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    options: &mut Vec<Given>,
) -> Result<(), ArgumentError> {
    let letters = given.strip_prefix('-').unwrap_or(given);
    for (at, letter) in letters.char_indices() {
        let spec = all(tables)
            .find(|spec| spec.short == Some(letter))
            .ok_or_else(|| ArgumentError::Unknown { given: given.to_owned() })?;
        let tail = &letters[at + letter.len_utf8()..];
        let value = match spec.takes {
            Takes::Nothing => None,
            Takes::Maybe | Takes::Value if !tail.is_empty() => Some(tail.to_owned()),
            Takes::Maybe => None,
            Takes::Value => match rest.next() {
                Some(next) => Some(next.clone()),
                None => return Err(ArgumentError::NoValue { given: given.to_owned() }),
            },
        };
        options.push(judge(spec, Given { name: spec.name, on: Switch::On, value }, given)?);
        if spec.takes != Takes::Nothing {
            break;
        }
    }
    Ok(())
}

fn judge(spec: &'static Spec, option: Given, given: &str) -> Result<Given, ArgumentError> {
    let refuse = |reason| Err(ArgumentError::Forbidden { given: shown(given), name: spec.name, reason });
    match spec.rule {
        Rule::Forbidden(reason) => refuse(reason),
        Rule::AlwaysOn(reason) if option.on == Switch::Off => refuse(reason),
        Rule::Only(only, reason) if option.value.as_deref() != Some(only) => refuse(reason),
        _ => Ok(option),
    }
}

/// A forbidden option may carry a password: its value is not repeated.
fn shown(given: &str) -> String {
    match given.split_once('=') {
        Some((name, _)) => format!("{name}=…"),
        None if given.starts_with("--") => given.to_owned(),
        None => given.chars().take(2).collect(),
    }
}

fn all(tables: &[&'static [Spec]]) -> impl Iterator<Item = &'static Spec> {
    tables.iter().flat_map(|table| table.iter())
}

fn find(tables: &[&'static [Spec]], given: &str, name: &str) -> Result<(&'static Spec, Switch), ArgumentError> {
    let name = name.strip_prefix("loose-").unwrap_or(name);
    match lookup(tables, given, name) {
        Ok(spec) => Ok((spec, Switch::On)),
        Err(error) => {
            let negated = ["skip-", "disable-"].iter().find_map(|prefix| name.strip_prefix(prefix));
            let enabled = ["enable-", "maximum-"].iter().find_map(|prefix| name.strip_prefix(prefix));
            match (negated, enabled) {
                (Some(name), _) => Ok((lookup(tables, given, name)?, Switch::Off)),
                (_, Some(name)) => Ok((lookup(tables, given, name)?, Switch::On)),
                _ => Err(error),
            }
        }
    }
}

fn lookup(tables: &[&'static [Spec]], given: &str, name: &str) -> Result<&'static Spec, ArgumentError> {
    if let Some(exact) = all(tables).find(|spec| spec.name == name) {
        return Ok(exact);
    }
    let mut candidates = all(tables).filter(|spec| !name.is_empty() && spec.name.starts_with(name));
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
