//! Variables in Functions and Tasks, with the rules of the engine that Stash uses, applied to parsed strings:
//! a value can hold quotes, backslashes and newlines and stays one string.
//! It must not know which variables there are.

use std::collections::{BTreeMap, BTreeSet};

/// Size limit of a substituted text, in bytes.
const OUTPUT_LIMIT: usize = 64 * 1024;

pub type Variables = BTreeMap<String, String>;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SubstitutionError {
    #[error("variable `{name}` has no value (column {column} of `{template}`)")]
    NotFound { name: String, column: usize, template: String },
    #[error("`${{` at column {column} of `{template}` is not closed")]
    Unclosed { column: usize, template: String },
    #[error("`{expression}` at column {column} is not a known substitution")]
    Unknown { expression: String, column: usize },
    #[error("the substituted text is longer than 64 KiB")]
    TooLong,
}

/// Replaces every `${…}`. `$(VAR)`, `$VAR` and a lone `$` are left as they are.
pub fn substitute(template: &str, variables: &Variables) -> Result<String, SubstitutionError> {
    let mut output = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("${") {
        output.push_str(&rest[..start]);
        let column = template.len() - rest.len() + start + 1;
        let body = &rest[start + 2..];
        let end = closing(body).ok_or_else(|| SubstitutionError::Unclosed { column, template: template.to_owned() })?;
        output.push_str(&evaluate(&body[..end], column, template, variables)?);
        rest = &body[end + 1..];
        if output.len() > OUTPUT_LIMIT {
            return Err(SubstitutionError::TooLong);
        }
    }
    output.push_str(rest);
    if output.len() > OUTPUT_LIMIT { Err(SubstitutionError::TooLong) } else { Ok(output) }
}

/// The names of all variables that a template reads, also inside defaults.
#[must_use]
pub fn names(template: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let starts = template.match_indices("${").map(|(start, _)| &template[start + 2..]);
    for body in starts {
        let body = body.strip_prefix('#').unwrap_or(body);
        let end = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(body.len());
        names.insert(&body[..end]);
    }
    names
}

/// Finds the brace that closes the expression, counting nested `${`.
fn closing(body: &str) -> Option<usize> {
    let mut depth = 0usize;
    let bytes = body.as_bytes();
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if i > 0 && bytes[i - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(i),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn evaluate(
    expression: &str,
    column: usize,
    template: &str,
    variables: &Variables,
) -> Result<String, SubstitutionError> {
    let unknown = || SubstitutionError::Unknown { expression: format!("${{{expression}}}"), column };
    let length = expression.strip_prefix('#');
    let body = length.unwrap_or(expression);
    let end = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(body.len());
    let (name, operation) = body.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(unknown());
    }
    let value = variables.get(name);
    // A default replaces an absent value only: present but empty stays empty, unlike in a shell.
    for operator in [":=", ":-", "="] {
        if let (None, Some(default)) = (length, operation.strip_prefix(operator)) {
            return value.cloned().map_or_else(|| substitute(default, variables), Ok);
        }
    }
    let value = value.ok_or_else(|| SubstitutionError::NotFound {
        name: name.to_owned(),
        column,
        template: template.to_owned(),
    })?;
    match (length, operation) {
        (Some(_), "") => Ok(value.chars().count().to_string()),
        (Some(_), _) => Err(unknown()),
        (None, operation) => apply(value, operation).ok_or_else(unknown),
    }
}

/// The operators that change a value: case, trimming, substring, replacement.
fn apply(value: &str, operation: &str) -> Option<String> {
    let (head, tail) = (operation.chars().next(), operation.get(1..).unwrap_or(""));
    match (head, tail) {
        (None, _) => Some(value.to_owned()),
        (Some('^'), "^") => Some(value.to_uppercase()),
        (Some(','), ",") => Some(value.to_lowercase()),
        (Some('^'), "") => Some(change_first(value, |c| c.to_uppercase().collect())),
        (Some(','), "") => Some(change_first(value, |c| c.to_lowercase().collect())),
        (Some('#'), pattern) => Some(trim_prefix(value, pattern)),
        (Some('%'), pattern) => Some(trim_suffix(value, pattern)),
        (Some(':'), range) => substring(value, range),
        (Some('/'), rule) => replace(value, rule),
        _ => None,
    }
}

fn change_first(value: &str, change: impl Fn(char) -> String) -> String {
    let mut chars = value.chars();
    chars.next().map_or_else(String::new, |first| change(first) + chars.as_str())
}

/// Removes a prefix: `#p` the shortest match, `##p` the longest. `*` matches anything.
fn trim_prefix(value: &str, pattern: &str) -> String {
    let (longest, pattern) = pattern.strip_prefix('#').map_or((false, pattern), |p| (true, p));
    let cuts = boundaries(value);
    let hit = |cut: &usize| matches(pattern, &value[..*cut]);
    let cut = if longest { cuts.into_iter().rev().find(hit) } else { cuts.into_iter().find(hit) };
    value[cut.unwrap_or(0)..].to_owned()
}

fn trim_suffix(value: &str, pattern: &str) -> String {
    let (longest, pattern) = pattern.strip_prefix('%').map_or((false, pattern), |p| (true, p));
    let cuts = boundaries(value);
    let hit = |cut: &usize| matches(pattern, &value[*cut..]);
    let cut = if longest { cuts.into_iter().find(hit) } else { cuts.into_iter().rev().find(hit) };
    value[..cut.unwrap_or(value.len())].to_owned()
}

fn boundaries(value: &str) -> Vec<usize> {
    value.char_indices().map(|(i, _)| i).chain([value.len()]).collect()
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text
            .strip_prefix(head)
            .is_some_and(|rest| boundaries(rest).into_iter().any(|cut| matches(tail, &rest[cut..]))),
    }
}

fn substring(value: &str, range: &str) -> Option<String> {
    let (start, length) = range.split_once(':').map_or((range, None), |(s, l)| (s, Some(l)));
    let start: usize = start.trim().parse().ok()?;
    let length: usize = length.map_or(Some(usize::MAX), |l| l.trim().parse().ok())?;
    Some(value.chars().skip(start).take(length).collect())
}

/// Replaces text: `/a/b` the first match, `//a/b` every match.
fn replace(value: &str, rule: &str) -> Option<String> {
    let (all, rule) = rule.strip_prefix('/').map_or((false, rule), |r| (true, r));
    let (from, to) = rule.split_once('/')?;
    if from.is_empty() {
        return None;
    }
    Some(if all { value.replace(from, to) } else { value.replacen(from, to, 1) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn run(template: &str) -> Result<String, SubstitutionError> {
        let variables = [("V", "value"), ("EMPTY", ""), ("PATH", "a/b/c.sql"), ("QUOTED", r#"a"b\c"#)];
        substitute(template, &variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn the_table_of_operators() {
        for (template, expected) in [
            ("--x=${V}", "--x=value"),
            ("${MISSING:=d}", "d"),
            ("${MISSING=d}", "d"),
            ("${MISSING:-d}", "d"),
            ("${EMPTY:=d}", ""),
            ("${EMPTY:-d}", ""),
            ("${MISSING:=--all-databases --ignore-database=mysql}", "--all-databases --ignore-database=mysql"),
            ("${MISSING:=${V}}", "value"),
            ("${V^}", "Value"),
            ("${V^^}", "VALUE"),
            ("${V,,}", "value"),
            ("${#V}", "5"),
            ("${PATH#*/}", "b/c.sql"),
            ("${PATH##*/}", "c.sql"),
            ("${PATH%/*}", "a/b"),
            ("${PATH%%/*}", "a"),
            ("${V:1:3}", "alu"),
            ("${V:2}", "lue"),
            ("${PATH/\\//-}", "a/b/c.sql"),
            ("${V/a/o}", "volue"),
            ("${PATH//b/x}", "a/x/c.sql"),
            ("$(V) $V $", "$(V) $V $"),
            ("${QUOTED}", r#"a"b\c"#),
            ("${MISSING:=}", ""),
        ] {
            assert_eq!(run(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn an_absent_value_is_an_error_that_names_it() {
        let error = run("--host=${HOST}").unwrap_err().to_string();
        assert_eq!(error, "variable `HOST` has no value (column 8 of `--host=${HOST}`)");
        assert!(matches!(run("${V"), Err(SubstitutionError::Unclosed { column: 1, .. })));
        assert!(matches!(run("${1}"), Err(SubstitutionError::Unknown { .. })));
    }

    proptest! {
        #[test]
        fn a_value_is_never_read_as_a_template(value in ".{0,60}") {
            let variables = Variables::from([("V".to_owned(), value.clone())]);
            prop_assert_eq!(substitute("<${V}>", &variables).unwrap(), format!("<{value}>"));
        }

        #[test]
        fn no_template_panics(template in ".{0,80}") {
            let _ = run(&template);
        }
    }
}
