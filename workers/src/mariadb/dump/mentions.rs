//! Finds the names of databases in statements: those before a dot, and in programs those in strings.

use super::class::{ObjectKind, StatementClass, StatementKind};
use super::statement::Statement;
use super::token::{Token, TokenKind, is_word, undouble};

/// Names longer than this are none of a database: 64 characters of four bytes.
const NAME_BYTES: usize = 256;

/// A name before a dot, found when the token behind it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mention {
    pub name: Vec<u8>,
    pub certainty: Certainty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// Only a database can stand there.
    Database,
    /// It may be a table, its alias, a variable or a package as well.
    Perhaps,
}

/// Goes through the tokens of one statement.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    /// The first name of `a.b.c`, how many there are, and whether a dot came last.
    first: Vec<u8>,
    names: u32,
    dotted: bool,
    /// The place of the first name, told from the token before it.
    place: Place,
    before: Place,
    /// Between FROM and the next clause, where commas and parentheses separate tables.
    tables: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Any,
    OfObject,
    /// Behind `@`: a variable.
    Variable,
}

/// Words behind which an object is named.
const OBJECTS: [&str; 11] =
    ["FROM", "JOIN", "INTO", "UPDATE", "REFERENCES", "TABLE", "TABLES", "VIEW", "CALL", "STRAIGHT_JOIN", "TRUNCATE"];
/// Words that end a list of tables.
const CLAUSES: [&str; 11] =
    ["WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "ON", "USING", "SELECT", "SET", "VALUES", "BEGIN"];

impl Mention {
    /// The database before the name of the statement's object.
    pub fn before_name(statement: &Statement<'_>) -> Option<Self> {
        let name = statement.head.name(statement.class.qualifier?);
        Some(Self { name, certainty: Certainty::Database })
    }
}

impl Mentions {
    pub fn clear(&mut self) {
        // The memory of the name stays.
        let first = std::mem::take(&mut self.first);
        *self = Self { first, ..Self::default() };
    }

    /// Takes the next token; answers with what stood before it, if that was a name with a dot.
    pub fn token(&mut self, token: &Token<'_>, class: StatementClass) -> Option<Mention> {
        let is_name = matches!(token.kind, TokenKind::Word | TokenKind::Name);
        if self.names > 0 && self.dotted && is_name {
            self.names += 1;
            self.dotted = false;
            return None;
        }
        if self.names > 0 && !self.dotted && token.is_symbol(b'.') {
            self.dotted = true;
            return None;
        }
        let mention = self.finish(Some(token));
        self.follow(token);
        if is_name && !starts_number(token) {
            self.first.clear();
            self.first.extend_from_slice(&token.text[..token.text.len().min(NAME_BYTES)]);
            if token.quote != 0 {
                self.first = undouble(&self.first, token.quote).into_owned();
            }
            self.names = 1;
            self.dotted = false;
            self.place = self.before;
        }
        self.before = self.place_behind(token, class);
        mention
    }

    /// The same at the end of the statement.
    pub fn finish(&mut self, next: Option<&Token<'_>>) -> Option<Mention> {
        let names = std::mem::take(&mut self.names);
        if names < 2 || self.place == Place::Variable {
            return None;
        }
        let called = next.is_some_and(|next| next.is_symbol(b'('));
        let sure = names > 2 || called || self.place == Place::OfObject;
        let certainty = if sure { Certainty::Database } else { Certainty::Perhaps };
        Some(Mention { name: self.first.clone(), certainty })
    }

    fn follow(&mut self, token: &Token<'_>) {
        if token.kind != TokenKind::Word {
            return;
        }
        if ["FROM", "JOIN", "STRAIGHT_JOIN"].iter().any(|word| token.is(word)) {
            self.tables = true;
        } else if CLAUSES.iter().any(|word| token.is(word)) {
            self.tables = false;
        }
    }

    fn place_behind(&self, token: &Token<'_>, class: StatementClass) -> Place {
        match token.kind {
            TokenKind::Symbol if token.text == b"@" => Place::Variable,
            TokenKind::Symbol if self.tables && matches!(token.text, b"(" | b",") => Place::OfObject,
            TokenKind::Word if OBJECTS.iter().any(|word| token.is(word)) => Place::OfObject,
            TokenKind::Word
                if token.is("ON") && class.kind == StatementKind::Create(ObjectKind::Trigger) && !self.tables =>
            {
                Place::OfObject
            }
            _ => Place::Any,
        }
    }
}

/// `1.5` and `2e3.x` are no names, although a name without quotes may start with a digit.
fn starts_number(token: &Token<'_>) -> bool {
    token.kind == TokenKind::Word && token.text.iter().all(u8::is_ascii_digit)
}

/// Whether the text of a string is this name, or has it before a dot, as SQL that a program puts together would.
pub(super) fn string_names(text: &[u8], name: &str) -> bool {
    let text = String::from_utf8_lossy(text).to_lowercase();
    if name.is_empty() {
        return false;
    }
    text == name
        || text.match_indices(name).any(|(at, _)| {
            let before = text[..at].bytes().next_back();
            let behind = text[at + name.len()..].trim_start_matches(['`', '"', ' ']);
            before.is_none_or(|byte| !is_word(byte)) && behind.starts_with('.')
        })
}
