//! `SET` statements, and what they say about how the server reads quotes.

use std::collections::BTreeMap;

use super::head::Head;
use super::token::{Quoting, Token, TokenKind, undouble};

/// Variables that a stream may save its `sql_mode` in. mariadb-dump uses two.
const SAVED: usize = 16;
const ANSI_QUOTES: u64 = 1 << 2;
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;
/// Modes that include `ANSI_QUOTES`.
const ANSI: [&str; 7] = ["ANSI_QUOTES", "ANSI", "DB2", "MAXDB", "MSSQL", "ORACLE", "POSTGRESQL"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Session,
    /// Of the whole server.
    Global,
    /// A variable of the user, as in `@saved_sql_mode`.
    User,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    pub reach: Reach,
    /// In lower case.
    pub name: String,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A string, word or number.
    Text(String),
    User(String),
    System(String),
    Expression,
}

/// Lists the assignments of a `SET` statement.
pub(super) fn assignments(head: &Head) -> Vec<Assignment> {
    let tokens: Vec<Token<'_>> = head.tokens().skip(1).collect();
    let mut found = Vec::new();
    let mut depth = 0_u32;
    for part in tokens.split(|token| {
        match token.text {
            b"(" if token.kind == TokenKind::Symbol => depth += 1,
            b")" if token.kind == TokenKind::Symbol => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.is_symbol(b',')
    }) {
        found.extend(assignment(part));
    }
    found
}

fn assignment(mut part: &[Token<'_>]) -> Option<Assignment> {
    let mut reach = Reach::Session;
    if let [word, rest @ ..] = part
        && ["SESSION", "LOCAL", "GLOBAL", "PERSIST", "PERSIST_ONLY"].iter().any(|name| word.is(name))
    {
        reach = if word.is("SESSION") || word.is("LOCAL") { Reach::Session } else { Reach::Global };
        part = rest;
    }
    if let [names, value, ..] = part
        && names.is("NAMES")
    {
        return Some(Assignment { reach, name: "names".to_owned(), value: Value::Text(text(value)) });
    }
    let (name, of_user, rest) = variable(part)?;
    let rest = match rest {
        [colon, equals, rest @ ..] if colon.is_symbol(b':') && equals.is_symbol(b'=') => rest,
        [equals, rest @ ..] if equals.is_symbol(b'=') => rest,
        // Such as `SET CHARACTER SET utf8` and `SET TRANSACTION ISOLATION LEVEL …`.
        _ => return Some(Assignment { reach, name: name.text, value: Value::Expression }),
    };
    reach = if of_user { Reach::User } else { name.reach.unwrap_or(reach) };
    let value = match rest {
        [one] if one.kind != TokenKind::Symbol => Value::Text(text(one)),
        _ => match variable(rest) {
            Some((name, true, [])) => Value::User(name.text),
            Some((name, false, [])) => Value::System(name.text),
            _ => Value::Expression,
        },
    };
    Some(Assignment { reach, name: name.text, value })
}

struct Name {
    text: String,
    /// As in `@@GLOBAL.name`.
    reach: Option<Reach>,
}

/// The variable that stands first, whether it is one of the user, and what follows.
fn variable<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<(Name, bool, &'t [Token<'a>])> {
    let lower = |token: &Token<'_>| text(token).to_ascii_lowercase();
    let is_reach = |token: &Token<'_>| match token.text.to_ascii_uppercase().as_slice() {
        b"GLOBAL" | b"PERSIST" | b"PERSIST_ONLY" => Some(Reach::Global),
        b"SESSION" | b"LOCAL" => Some(Reach::Session),
        _ => None,
    };
    let system = |reach, text| Name { text, reach };
    match tokens {
        [a, b, reach, dot, name, rest @ ..] if a.is_symbol(b'@') && b.is_symbol(b'@') && dot.is_symbol(b'.') => {
            Some((system(is_reach(reach), lower(name)), false, rest))
        }
        [a, b, name, rest @ ..] if a.is_symbol(b'@') && b.is_symbol(b'@') => {
            Some((system(None, lower(name)), false, rest))
        }
        [a, name, rest @ ..] if a.is_symbol(b'@') => Some((system(None, lower(name)), true, rest)),
        [name, rest @ ..] if name.kind != TokenKind::Symbol => Some((system(None, lower(name)), false, rest)),
        _ => None,
    }
}

fn text(token: &Token<'_>) -> String {
    String::from_utf8_lossy(&undouble(token.text, token.quote)).into_owned()
}

/// The `sql_mode` of the session, as far as it decides how quotes are read.
#[derive(Debug, Default)]
pub(super) struct Modes {
    current: Quoting,
    saved: BTreeMap<String, Quoting>,
}

impl Modes {
    pub fn current(&self) -> Quoting {
        self.current
    }

    pub fn apply(&mut self, assignments: &[Assignment]) {
        // The server assigns from left to right, so a mode is saved before it changes.
        for assignment in assignments {
            match (assignment.reach, assignment.name.as_str(), &assignment.value) {
                (Reach::User, name, Value::System(variable))
                    if variable == "sql_mode" && (self.saved.len() < SAVED || self.saved.contains_key(name)) =>
                {
                    self.saved.insert(name.to_owned(), self.current);
                }
                (Reach::Session, "sql_mode", Value::Text(modes)) => self.current = quoting(modes),
                (Reach::Session, "sql_mode", Value::User(name)) => {
                    self.current = self.saved.get(name).copied().unwrap_or_default();
                }
                _ => {}
            }
        }
    }
}

fn quoting(modes: &str) -> Quoting {
    if let Ok(bits) = modes.trim().parse::<u64>() {
        return Quoting {
            ansi_quotes: bits & ANSI_QUOTES != 0,
            no_backslash_escapes: bits & NO_BACKSLASH_ESCAPES != 0,
        };
    }
    let has = |wanted: &[&str]| {
        modes.split(',').any(|mode| wanted.iter().any(|wanted| mode.trim().eq_ignore_ascii_case(wanted)))
    };
    Quoting { ansi_quotes: has(&ANSI), no_backslash_escapes: has(&["NO_BACKSLASH_ESCAPES"]) }
}
