//! Finds in definitions what a server must have to take them: definers, engines, collations and the like.

use super::record::Needs;
use super::token::{Token, TokenKind, undouble};

/// Names of each kind that are kept. Definers are the only ones of which there may be many.
const NAMES: usize = 512;
const NAME_BYTES: usize = 200;
/// Options of tables that are no demand on the server, or somebody's data.
const NO_DEMAND: [&str; 10] = [
    "AUTO_INCREMENT",
    "COMMENT",
    "CONNECTION",
    "PASSWORD",
    "AVG_ROW_LENGTH",
    "MAX_ROWS",
    "MIN_ROWS",
    "ENGINE",
    "CHARSET",
    "COLLATE",
];

/// Goes through the tokens of one definition.
#[derive(Debug, Default)]
pub(super) struct Details {
    last: [Kept; 5],
    depth: u32,
    /// Parentheses have closed, so that options follow if it is a table.
    closed: bool,
    declared: bool,
}

#[derive(Debug, Clone, Default)]
struct Kept {
    text: Vec<u8>,
    is_symbol: bool,
}

impl Kept {
    fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word.as_bytes())
    }
}

/// Whether the definition is of a table, which may have options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableOptions {
    OfTable,
    None,
}

impl Details {
    pub fn clear(&mut self) {
        self.depth = 0;
        self.closed = false;
        self.declared = false;
        for kept in &mut self.last {
            kept.text.clear();
            kept.is_symbol = false;
        }
    }

    /// Whether a function says that it can be replicated.
    pub fn declared(&self) -> bool {
        self.declared
    }

    pub fn token(&mut self, token: &Token<'_>, options: TableOptions, needs: &mut Needs) {
        if token.kind == TokenKind::Symbol {
            self.symbol(token.text, needs);
        } else {
            self.value(token, options, needs);
        }
        self.last.rotate_left(1);
        let kept = &mut self.last[4];
        kept.text.clear();
        kept.text.extend_from_slice(&token.text[..token.text.len().min(NAME_BYTES)]);
        kept.is_symbol = token.kind == TokenKind::Symbol;
    }

    fn symbol(&mut self, symbol: &[u8], needs: &mut Needs) {
        match symbol {
            b"(" => self.depth += 1,
            b")" => {
                self.depth = self.depth.saturating_sub(1);
                self.closed |= self.depth == 0;
            }
            _ => {}
        }
        let [_, _, definer, equals, user] = &self.last;
        if definer.is("DEFINER") && equals.is("=") && symbol != b"@" {
            needs.definers.add(NAMES, shown(&user.text, 0));
        }
    }

    fn value(&mut self, token: &Token<'_>, options: TableOptions, needs: &mut Needs) {
        let said = || shown(token.text, token.quote);
        let [_, b, c, d, e] = &self.last;
        let word_is = |word: &str| token.text.eq_ignore_ascii_case(word.as_bytes());
        self.declared |= token.kind == TokenKind::Word
            && ((word_is("DETERMINISTIC") && !e.is("NOT"))
                || (word_is("SQL") && e.is("NO"))
                || (word_is("DATA") && e.is("SQL") && d.is("READS")));
        // The word before the value, and the one before that, with or without `=` between.
        let (word, before) = if e.is("=") { (d, c) } else { (e, d) };
        if word.is("COLLATE") {
            needs.collations.add(NAMES, said());
        } else if word.is("CHARSET") || (word.is("SET") && (before.is("CHARACTER") || before.is("CHAR"))) {
            needs.character_sets.add(NAMES, said());
        } else if word.is("ENGINE") && e.is("=") {
            needs.engines.add(NAMES, said());
        } else if e.is("SECURITY") && d.is("SQL") {
            needs.sql_security.add(NAMES, said().to_uppercase());
        } else if b.is("DEFINER") && c.is("=") && e.is("@") {
            needs.definers.add(NAMES, format!("{}@{}", shown(&d.text, 0), said()));
        } else if c.is("DEFINER") && d.is("=") && !e.is_symbol {
            // The value was a role, or CURRENT_USER.
            needs.definers.add(NAMES, shown(&e.text, 0));
        }
        let option = options == TableOptions::OfTable && self.closed && self.depth == 0 && e.is("=") && !d.is_symbol;
        if option && !NO_DEMAND.iter().any(|name| d.is(name)) {
            needs.table_options.add(NAMES, format!("{}={}", shown(&d.text, 0).to_uppercase(), said()));
        }
    }
}

fn shown(text: &[u8], quote: u8) -> String {
    let text = undouble(&text[..text.len().min(NAME_BYTES)], quote);
    String::from_utf8_lossy(&text).into_owned()
}
