//! Finds the end of the first statement of a packet, so that a second one is seen: under a `DELIMITER` of its
//! own, the client sends everything up to that delimiter at once, and the server runs all statements in it.
//!
//! Only words where a statement can start open and close blocks, because most of them are names elsewhere.

use super::class::{ObjectKind, StatementClass, StatementKind};
use super::token::{Token, TokenKind};

/// Blocks in each other that are followed; a server allows fewer.
const BLOCKS: usize = 1000;

/// Which statement of a packet a token belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belongs {
    First,
    /// Behind a `;` that ended the first.
    Second,
}

/// Goes through the tokens of one packet.
#[derive(Debug, Default)]
pub(super) struct Packet {
    /// Offset of the name, up to which nothing is of interest.
    name: u64,
    place: Place,
    blocks: Vec<Block>,
    waits: Wait,
    parens: u32,
    /// Open `CASE` expressions.
    cases: u32,
    last: Last,
    ended: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Any `;` ends it.
    #[default]
    Plain,
    Header(Header),
    /// A statement may start here.
    Start,
    /// Behind the first word of a statement, which may be a label.
    First,
    /// In `<<label>>`.
    Label,
    Statement,
}

/// The part of a definition before its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    Routine,
    /// Behind `RETURNS`.
    Returns,
    Package,
    Trigger,
    /// Behind `FOR EACH ROW`.
    EachRow,
    Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Statements,
    /// The part before `BEGIN`, as in `AS x INT; BEGIN`.
    Declarations,
}

/// The word behind which another statement starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Wait {
    #[default]
    Nothing,
    Then,
    /// `DO`, or `LOOP` of the mode ORACLE.
    Do,
    /// `END REPEAT`, behind a condition.
    EndRepeat,
    /// `HANDLER`, in a declaration.
    Handler,
    HandlerFor,
    /// Conditions of a handler.
    Condition,
    /// Behind a condition.
    Conditions,
}

/// The token before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Operator,
    Operand,
    End,
    Each,
    /// A dot or `@`, so that a name follows.
    Qualifier,
    /// A word of a header whose value follows.
    Option,
}

impl Packet {
    pub fn begin(&mut self, class: StatementClass, name: Option<Token<'_>>) {
        let header = match class.kind {
            StatementKind::Create(ObjectKind::Procedure | ObjectKind::Function) => Some(Header::Routine),
            StatementKind::Create(ObjectKind::Package | ObjectKind::PackageBody) => Some(Header::Package),
            StatementKind::Create(ObjectKind::Trigger) => Some(Header::Trigger),
            StatementKind::Create(ObjectKind::Event) | StatementKind::Alter(ObjectKind::Event) => Some(Header::Event),
            _ => None,
        };
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.clear();
        let place = header.filter(|_| name.is_some()).map_or(Place::Plain, Place::Header);
        *self = Self { blocks, place, name: name.map_or(0, |name| name.end), ..Self::default() };
    }

    pub fn token(&mut self, token: &Token<'_>) -> Belongs {
        if token.start < self.name {
            return Belongs::First;
        }
        if self.ended || self.blocks.len() > BLOCKS {
            return Belongs::Second;
        }
        if token.is_symbol(b';') {
            self.ended = self.blocks.is_empty();
            self.starts();
            return Belongs::First;
        }
        match self.place {
            Place::Plain => {}
            Place::Header(header) => self.header(header, token),
            Place::Start => self.start(token),
            Place::First if token.is_symbol(b':') => self.place = Place::Start,
            Place::First | Place::Statement => {
                self.place = Place::Statement;
                self.within(token);
            }
            Place::Label if token.is_symbol(b'>') => self.place = Place::Start,
            Place::Label => {}
        }
        self.last = last(token, self.place, self.last);
        Belongs::First
    }

    fn starts(&mut self) {
        self.place = Place::Start;
        self.waits = Wait::Nothing;
        self.parens = 0;
        self.cases = 0;
    }

    fn opens(&mut self, block: Block) {
        self.blocks.push(block);
        self.starts();
    }

    fn header(&mut self, header: Header, token: &Token<'_>) {
        if self.last == Last::Qualifier || self.in_parens(token) || token.kind == TokenKind::Symbol {
            return;
        }
        let is = |words: &[&str]| words.iter().any(|word| token.is(word));
        match header {
            Header::Trigger if is(&["ROW"]) && self.last == Last::Each => self.place = Place::Header(Header::EachRow),
            Header::Event if is(&["DO"]) => self.starts(),
            Header::Trigger | Header::Event => {}
            _ if self.last == Last::Option => {}
            Header::EachRow if is(&["FOLLOWS", "PRECEDES"]) => {}
            Header::Routine | Header::Package if is(&CHARACTERISTICS) => {}
            Header::Routine if is(&["RETURNS", "RETURN"]) => self.place = Place::Header(Header::Returns),
            Header::Returns if is(&CHARACTERISTICS) || is(&OF_TYPES) => {}
            Header::Routine | Header::Returns | Header::Package if is(&["AS", "IS"]) => self.opens(Block::Declarations),
            Header::Package => {
                self.opens(Block::Declarations);
                self.start(token);
            }
            // In a package, what stands around it is not its declarations.
            Header::Routine | Header::Returns if is(&["BEGIN"]) => self.opens(Block::Statements),
            Header::Routine | Header::Returns | Header::EachRow => self.start(token),
        }
    }

    fn start(&mut self, token: &Token<'_>) {
        self.starts();
        if token.kind != TokenKind::Word {
            match token.text {
                b"<" if token.kind == TokenKind::Symbol => self.place = Place::Label,
                b">" if token.kind == TokenKind::Symbol => {}
                _ => {
                    self.place = Place::First;
                    self.in_parens(token);
                }
            }
            return;
        }
        let declares = self.blocks.last() == Some(&Block::Declarations);
        match token.text.to_ascii_uppercase().as_slice() {
            b"BEGIN" => {
                self.blocks.pop_if(|block| *block == Block::Declarations);
                self.opens(Block::Statements);
            }
            b"LOOP" | b"REPEAT" => self.opens(Block::Statements),
            b"IF" | b"CASE" => self.opens_behind(Wait::Then),
            b"WHILE" | b"FOR" => self.opens_behind(Wait::Do),
            b"ELSEIF" | b"ELSIF" | b"WHEN" => self.waits_for(Wait::Then),
            b"UNTIL" => self.waits_for(Wait::EndRepeat),
            // Only in the mode ORACLE does it stand before a block.
            b"DECLARE" if self.blocks.is_empty() => self.opens(Block::Declarations),
            b"DECLARE" => self.waits_for(Wait::Handler),
            b"END" => {
                self.blocks.pop();
                self.place = Place::Statement;
            }
            b"PROCEDURE" | b"FUNCTION" if declares => self.place = Place::Header(Header::Routine),
            // `BEGIN NOT ATOMIC`
            b"ELSE" | b"EXCEPTION" | b"NOT" | b"ATOMIC" => {}
            _ => self.place = Place::First,
        }
    }

    fn opens_behind(&mut self, wait: Wait) {
        self.blocks.push(Block::Statements);
        self.waits_for(wait);
    }

    fn waits_for(&mut self, wait: Wait) {
        self.waits = wait;
        self.place = Place::Statement;
    }

    /// The inside of a statement.
    fn within(&mut self, token: &Token<'_>) {
        if matches!(self.waits, Wait::Condition | Wait::Conditions) {
            self.condition(token);
            return;
        }
        if self.in_parens(token) && self.cases == 0 && !token.is("CASE") {
            return;
        }
        if token.kind != TokenKind::Word || self.last == Last::Qualifier {
            return;
        }
        match (token.text.to_ascii_uppercase().as_slice(), self.waits) {
            (b"CASE", _) => self.cases += 1,
            (b"END", _) if self.cases > 0 && self.last != Last::Operator => self.cases -= 1,
            (b"THEN", Wait::Then) if self.cases == 0 => self.starts(),
            (b"DO" | b"LOOP", Wait::Do) if self.cases == 0 => self.starts(),
            (b"REPEAT", Wait::EndRepeat) if self.last == Last::End => {
                self.blocks.pop();
                self.waits = Wait::Nothing;
            }
            (b"HANDLER", Wait::Handler) => self.waits = Wait::HandlerFor,
            (b"FOR", Wait::HandlerFor) => self.waits = Wait::Condition,
            _ => {}
        }
    }

    /// `DECLARE … HANDLER FOR NOT FOUND, SQLSTATE '42000' statement`
    fn condition(&mut self, token: &Token<'_>) {
        if token.is_symbol(b',') {
            self.waits = Wait::Condition;
        } else if self.waits == Wait::Conditions {
            self.start(token);
        } else if !["NOT", "SQLSTATE", "VALUE"].iter().any(|word| token.is(word)) {
            self.waits = Wait::Conditions;
        }
    }

    /// Whether the token is one of the parentheses or between them.
    fn in_parens(&mut self, token: &Token<'_>) -> bool {
        if token.is_symbol(b'(') {
            self.parens = self.parens.saturating_add(1);
        } else if token.is_symbol(b')') {
            self.parens = self.parens.saturating_sub(1);
            return true;
        }
        self.parens > 0
    }
}

/// Words between the name of a routine and its body.
const CHARACTERISTICS: [&str; 13] = [
    "COMMENT",
    "LANGUAGE",
    "SQL",
    "NOT",
    "DETERMINISTIC",
    "CONTAINS",
    "NO",
    "READS",
    "MODIFIES",
    "DATA",
    "SECURITY",
    "DEFINER",
    "INVOKER",
];
/// Words of types behind their first.
const OF_TYPES: [&str; 19] = [
    "UNSIGNED",
    "SIGNED",
    "ZEROFILL",
    "PRECISION",
    "VARYING",
    "CHARSET",
    "CHARACTER",
    "CHAR",
    "VARCHAR",
    "SET",
    "COLLATE",
    "BINARY",
    "ASCII",
    "UNICODE",
    "BYTE",
    "OF",
    "VARCHARACTER",
    "VARBINARY",
    "LONG",
];
/// Words of a header behind which any value may follow.
const OPTIONS: [&str; 12] = [
    "COMMENT",
    "RETURNS",
    "RETURN",
    "CHARSET",
    "SET",
    "COLLATE",
    "OF",
    "FOLLOWS",
    "PRECEDES",
    "LANGUAGE",
    "PROCEDURE",
    "FUNCTION",
];
/// Words behind which an operand follows.
const OPERATORS: [&str; 26] = [
    "WHEN", "THEN", "ELSE", "AND", "OR", "NOT", "XOR", "BETWEEN", "LIKE", "RLIKE", "REGEXP", "IN", "IS", "DIV", "MOD",
    "CASE", "BINARY", "INTERVAL", "COLLATE", "SELECT", "DISTINCT", "WHERE", "HAVING", "BY", "FROM", "ON",
];

fn last(token: &Token<'_>, place: Place, before: Last) -> Last {
    match (token.kind, token.text) {
        (TokenKind::Symbol, b"." | b"@") => Last::Qualifier,
        // `t.a%TYPE`
        (TokenKind::Symbol, b"%") if matches!(place, Place::Header(_)) => Last::Qualifier,
        (TokenKind::Symbol, b")") | (TokenKind::Name | TokenKind::String, _) => Last::Operand,
        (TokenKind::Symbol, _) => Last::Operator,
        (TokenKind::Word, _) if before == Last::Qualifier => Last::Operand,
        (TokenKind::Word, _) => {
            let is = |words: &[&str]| words.iter().any(|word| token.is(word));
            match place {
                Place::Header(_) if before == Last::Option => Last::Operand,
                Place::Header(_) if is(&OPTIONS) => Last::Option,
                Place::Header(_) if is(&["EACH"]) => Last::Each,
                _ if is(&["END"]) => Last::End,
                _ if is(&OPERATORS) => Last::Operator,
                _ => Last::Operand,
            }
        }
    }
}

#[cfg(test)]
mod tests;
