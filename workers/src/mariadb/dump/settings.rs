//! `SET` statements, and what they say about how the server reads quotes.

use std::collections::BTreeMap;

use super::head::Head;
use super::token::{Encoding, InComment, Quoting, Token, TokenKind, undouble};

/// Variables that a stream may save its settings in. mariadb-dump uses five.
const SAVED: usize = 16;
const ANSI_QUOTES: u64 = 1 << 2;
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;
/// Character sets whose second bytes may be a quote or a backslash.
const AMBIGUOUS: [&str; 5] = ["big5", "cp932", "gb18030", "gbk", "sjis"];
/// Variables that decide which engine a table gets, and so where its rows go.
const ENGINES: [&str; 3] = ["default_storage_engine", "storage_engine", "enforce_storage_engine"];
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

/// Whether the reader knows what a `SET` statement changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clarity {
    Clear,
    Unclear,
}

/// Lists the assignments of a `SET` statement.
pub(super) fn assignments(head: &Head) -> Vec<Assignment> {
    let tokens: Vec<Token<'_>> = head.tokens().skip(1).collect();
    let mut found = Vec::new();
    let mut depth = 0_u32;
    // `GLOBAL` also counts for the variables that follow without a word of their own.
    let mut reach = Reach::Session;
    for part in tokens.split(|token| {
        match token.text {
            b"(" if token.kind == TokenKind::Symbol => depth += 1,
            b")" if token.kind == TokenKind::Symbol => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.is_symbol(b',')
    }) {
        found.extend(assignment(part, &mut reach));
    }
    found
}

fn assignment(mut part: &[Token<'_>], keyword: &mut Reach) -> Option<Assignment> {
    if let [word, rest @ ..] = part
        && ["SESSION", "LOCAL", "GLOBAL", "PERSIST", "PERSIST_ONLY"].iter().any(|name| word.is(name))
    {
        *keyword = if word.is("SESSION") || word.is("LOCAL") { Reach::Session } else { Reach::Global };
        part = rest;
    }
    let mut reach = *keyword;
    let names = match part {
        [names, value, ..] if names.is("NAMES") || names.is("CHARSET") => Some(value),
        [a, b, value, ..] if (a.is("CHARACTER") || a.is("CHAR")) && b.is("SET") => Some(value),
        _ => None,
    };
    if let Some(value) = names {
        return Some(Assignment { reach: Reach::Session, name: "names".to_owned(), value: literal(value) });
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
        [one] if one.kind != TokenKind::Symbol => literal(one),
        _ => match variable(rest) {
            Some((name, true, [])) => Value::User(name.text),
            Some((name, false, [])) if name.reach != Some(Reach::Global) => Value::System(name.text),
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

/// The value that a token says as it stands there, without escapes, and whole.
fn literal(token: &Token<'_>) -> Value {
    let escaped = token.kind == TokenKind::String && token.text.contains(&b'\\');
    if token.cut || escaped { Value::Expression } else { Value::Text(text(token)) }
}

fn text(token: &Token<'_>) -> String {
    String::from_utf8_lossy(&undouble(token.text, token.quote)).into_owned()
}

/// The settings of the session that decide how quotes and characters are read.
#[derive(Debug, Clone, Default)]
pub(super) struct Modes {
    current: Quoting,
    saved: BTreeMap<String, Saved>,
}

/// The content of a variable of the user, as far as it is a setting.
#[derive(Debug, Clone, Copy)]
enum Saved {
    SqlMode(Quoting),
    CharacterSet(Encoding),
}

/// Variables of which the reader must know the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    SqlMode,
    CharacterSet,
}

impl Setting {
    fn of(name: &str) -> Option<Self> {
        match name {
            "sql_mode" => Some(Self::SqlMode),
            "names" | "character_set_client" => Some(Self::CharacterSet),
            _ => None,
        }
    }
}

impl Modes {
    pub fn current(&self) -> Quoting {
        self.current
    }

    /// Whether it is known what a `SET` statement changes. A function that it calls may write anywhere.
    pub fn clarity(&self, head: &Head) -> Clarity {
        let assignments = assignments(head);
        let draws = |at| {
            let is = |at, word| head.get(at).is_some_and(|token| token.is(word));
            is(at, "NEXT") && is(at + 1, "VALUE")
        };
        let calls = head.is_full() || head.has_symbol(b'(') || (0..head.len()).any(draws);
        let of_engines = assignments.iter().any(|assignment| ENGINES.contains(&assignment.name.as_str()));
        // Only some servers would take the setting over.
        let may_run = head.get(0).is_some_and(|token| token.in_comment == InComment::MayRun);
        let of_reader = |one: &Assignment| one.reach == Reach::Session && Setting::of(&one.name).is_some();
        if calls || of_engines || (may_run && assignments.iter().any(of_reader)) {
            return Clarity::Unclear;
        }
        self.clone().apply(&assignments)
    }

    pub fn apply(&mut self, assignments: &[Assignment]) -> Clarity {
        let mut clarity = Clarity::Clear;
        // The server assigns from left to right, so a mode is saved before it changes.
        for Assignment { reach, name, value } in assignments {
            match (reach, Setting::of(name)) {
                (Reach::User, _) => self.save(name, value),
                (Reach::Session, Some(setting)) if !self.set(setting, value) => clarity = Clarity::Unclear,
                (Reach::Session | Reach::Global, _) => {}
            }
        }
        clarity
    }

    /// Whether the value is known.
    fn set(&mut self, setting: Setting, value: &Value) -> bool {
        let saved = match value {
            Value::Text(text) if setting == Setting::SqlMode => quoting(text).map(Saved::SqlMode),
            Value::Text(text) => encoding(text).map(Saved::CharacterSet),
            Value::User(name) => self.saved.get(name).copied(),
            Value::System(name) => return Setting::of(name) == Some(setting),
            Value::Expression => None,
        };
        match (setting, saved) {
            (Setting::SqlMode, Some(Saved::SqlMode(quoting))) => {
                self.current = Quoting { encoding: self.current.encoding, ..quoting };
            }
            (Setting::CharacterSet, Some(Saved::CharacterSet(encoding))) => self.current.encoding = encoding,
            _ => return false,
        }
        true
    }

    /// A variable of the user that held a setting may hold something else from now on.
    fn save(&mut self, name: &str, value: &Value) {
        let setting = match value {
            Value::System(variable) => Setting::of(variable),
            Value::Text(_) | Value::User(_) | Value::Expression => None,
        };
        let saved = setting.map(|setting| match setting {
            Setting::SqlMode => Saved::SqlMode(self.current),
            Setting::CharacterSet => Saved::CharacterSet(self.current.encoding),
        });
        match saved {
            None => {
                self.saved.remove(name);
            }
            Some(saved) if self.saved.len() < SAVED || self.saved.contains_key(name) => {
                self.saved.insert(name.to_owned(), saved);
            }
            Some(_) => {}
        }
    }
}

/// How text in this character set is read; nothing if it can't be told, as of a number or `DEFAULT`.
pub(super) fn encoding(character_set: &str) -> Option<Encoding> {
    let is_name = character_set.starts_with(|first: char| first.is_ascii_alphabetic());
    if !is_name || character_set.eq_ignore_ascii_case("DEFAULT") {
        return None;
    }
    let is_ambiguous = AMBIGUOUS.iter().any(|name| character_set.eq_ignore_ascii_case(name));
    Some(if is_ambiguous { Encoding::Ambiguous } else { Encoding::Plain })
}

/// Nothing if it can't be told, as of a number that is not decimal.
fn quoting(modes: &str) -> Option<Quoting> {
    if let Ok(bits) = modes.trim().parse::<u64>() {
        return Some(Quoting {
            ansi_quotes: bits & ANSI_QUOTES != 0,
            no_backslash_escapes: bits & NO_BACKSLASH_ESCAPES != 0,
            encoding: Encoding::Plain,
        });
    }
    let is_listed = modes.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b',' | b' '));
    if !is_listed || modes.starts_with(|first: char| first.is_ascii_digit()) || modes.eq_ignore_ascii_case("DEFAULT") {
        return None;
    }
    let has = |wanted: &[&str]| {
        modes.split(',').any(|mode| wanted.iter().any(|wanted| mode.trim().eq_ignore_ascii_case(wanted)))
    };
    let no_backslash_escapes = has(&["NO_BACKSLASH_ESCAPES"]);
    Some(Quoting { ansi_quotes: has(&ANSI), no_backslash_escapes, encoding: Encoding::Plain })
}
