//! Judges whether a statement is what its beginning tells, and that alone. It knows statements that reach other databases,
//! or settings of the session, by a part that comes later.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::class::{ObjectKind, StatementClass, StatementKind};
use super::head::Head;
use super::packet::{Belongs, Packet};
use super::statement::{Insert, Statement};
use super::token::{InComment, Token, TokenKind, undouble};

/// Names of tables and views that are remembered.
const NAMES: usize = 1_000_000;
/// Engines whose rows are elsewhere: in other tables, or on another server.
const ENGINES: [&str; 10] =
    ["MERGE", "MRG_MYISAM", "MRG_ISAM", "CONNECT", "SPIDER", "FEDERATED", "FEDERATEDX", "VP", "S3", "OQGRAPH"];
/// Words before a parenthesis that are no functions which anybody could have made.
const NO_CALLS: [&str; 14] =
    ["VALUES", "VALUE", "ROW", "SELECT", "FROM", "WHERE", "IN", "AND", "OR", "NOT", "SET", "AS", "ON", "BY"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    AsItSeems,
    /// It may be about any database.
    Unclear,
}

/// Goes through the tokens of one statement after the other.
#[derive(Debug, Default)]
pub(super) struct Judge {
    packet: Packet,
    /// Of the statement's first token.
    in_comment: Option<InComment>,
    /// Offset behind the name of the object; nothing if it has none.
    name: Option<u64>,
    before: Before,
    /// The table of the trigger that the statement defines has been read.
    knows_table: bool,
    indirect: Indirect,
}

/// The token before, as far as it matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Before {
    #[default]
    Other,
    /// The name of the object, or the parenthesis behind it.
    Name,
    Values,
    Rename,
    /// `ENGINE`, with or without `=`.
    Engine,
    /// `ON` in the definition of a trigger.
    On,
    /// The name behind it, which is that of a database if a dot follows.
    Table,
    Callable,
}

/// Tables and views of the stream whose rows do not stay in them: rows that go into them may come to any database.
#[derive(Debug, Default)]
struct Indirect {
    names: HashSet<u64>,
    hasher: RandomState,
    /// There were more.
    more: bool,
}

impl Judge {
    /// The statement is of this class; its tokens so far follow.
    pub fn begin(&mut self, class: StatementClass, head: &Head, selected: Option<&[u8]>) -> Judgement {
        let name = class.name.and_then(|name| head.get(name));
        self.packet.begin(class, name);
        self.in_comment = head.get(0).map(|token| token.in_comment);
        self.name = name.map(|name| name.end);
        self.before = Before::Other;
        self.knows_table = false;
        match class.kind {
            StatementKind::Create(ObjectKind::View) => self.add_indirect(class, head, selected),
            StatementKind::Placeholder if head.get(1).is_some_and(|token| token.is("VIEW")) => {
                self.add_indirect(class, head, selected);
            }
            StatementKind::Insert
                if self.indirect.holds(database(class, head, selected).as_deref(), &named(class, head)) =>
            {
                return Judgement::Unclear;
            }
            _ => {}
        }
        Judgement::AsItSeems
    }

    pub fn token(&mut self, token: &Token<'_>, statement: &Statement<'_>) -> Judgement {
        let kind = statement.class.kind;
        let mut is_unclear = self.packet.token(token) == Belongs::Second
            // Outside of strings it starts a command of the client.
            || token.is_symbol(b'\\')
            || self.mixes(token, kind);
        let is_behind = self.name.is_some_and(|name| token.start >= name);
        let mut before = Before::Other;
        match kind {
            StatementKind::Insert => (is_unclear, before) = self.insert(token, statement.insert, is_unclear),
            StatementKind::Create(ObjectKind::Trigger) if is_behind => before = self.trigger(token, statement),
            StatementKind::Create(ObjectKind::Table) | StatementKind::Placeholder | StatementKind::Alter(_)
                if is_behind =>
            {
                let (found, next) = self.definition(token, statement);
                is_unclear |= found;
                before = next;
            }
            _ => {}
        }
        if self.name == Some(token.end) {
            before = Before::Name;
        }
        self.before = before;
        if is_unclear { Judgement::Unclear } else { Judgement::AsItSeems }
    }

    /// Whether only some servers run this part, so that the statement is one thing or another.
    fn mixes(&self, token: &Token<'_>, kind: StatementKind) -> bool {
        let may_run = |in_comment| in_comment == InComment::MayRun;
        match (self.in_comment.is_some_and(may_run), may_run(token.in_comment)) {
            (false, false) => false,
            (true, false) => true,
            // All of it runs or nothing does, which makes no difference if it does not matter to what follows.
            (true, true) => {
                matches!(kind, StatementKind::Use | StatementKind::DropDatabase | StatementKind::Insert)
            }
            (false, true) => {
                let is_definition = matches!(
                    kind,
                    StatementKind::Create(_)
                        | StatementKind::Placeholder
                        | StatementKind::Alter(_)
                        | StatementKind::CreateDatabase
                        | StatementKind::AlterDatabase
                );
                !is_definition || self.name.is_none_or(|name| token.start < name)
            }
        }
    }

    /// A function may write anywhere, and `@a := …` may change what is a mode of quoting later.
    fn insert(&self, token: &Token<'_>, insert: Insert, is_unclear: bool) -> (bool, Before) {
        let in_columns = matches!(insert, Insert::Columns(_));
        let calls = !in_columns && token.is_symbol(b'(') && self.before == Before::Callable;
        let sets = token.is_symbol(b'@') || token.is_symbol(b':');
        let is_name = matches!(token.kind, TokenKind::Word | TokenKind::Name);
        let callable = is_name && !NO_CALLS.iter().any(|word| token.is(word));
        (is_unclear || calls || sets, if callable { Before::Callable } else { Before::Other })
    }

    /// The table of a trigger, behind the first `ON`: its rows would run the trigger. The body may hold any `ON`.
    fn trigger(&mut self, token: &Token<'_>, statement: &Statement<'_>) -> Before {
        let is_name = matches!(token.kind, TokenKind::Word | TokenKind::Name);
        match self.before {
            _ if self.knows_table => Before::Other,
            Before::On if is_name => {
                let (class, head) = (statement.class, statement.head);
                let database = database(class, head, statement.selected);
                self.indirect.add(database.as_deref(), &undouble(token.text, token.quote));
                Before::Table
            }
            // The name was that of a database.
            Before::Table if token.is_symbol(b'.') => Before::On,
            Before::Table => {
                self.knows_table = true;
                Before::Other
            }
            _ if token.is("ON") => Before::On,
            _ => Before::Other,
        }
    }

    /// The part of a definition behind its name.
    fn definition(&mut self, token: &Token<'_>, statement: &Statement<'_>) -> (bool, Before) {
        let is = |words: &[&str]| words.iter().any(|word| token.is(word));
        let is_table = !matches!(statement.class.kind, StatementKind::Alter(_));
        match self.before {
            Before::Engine if token.is_symbol(b'=') => return (false, Before::Engine),
            Before::Engine if ENGINES.iter().any(|name| token.text.eq_ignore_ascii_case(name.as_bytes())) => {
                self.add_indirect(statement.class, statement.head, statement.selected);
            }
            // It moves the object, perhaps into another database.
            Before::Rename if !is(&["COLUMN", "INDEX", "KEY"]) => return (true, Before::Other),
            // It copies another table, with its engine.
            Before::Name if is_table && is(&["LIKE"]) => return (true, Before::Other),
            // Rows of a query, which may call functions.
            Before::Values if is_table && token.is_symbol(b'(') => return (true, Before::Other),
            _ => {}
        }
        // A default may assign to a variable of the user.
        let assigns = token.is_symbol(b':');
        let selects = is_table && is(&["SELECT"]) && statement.class.kind != StatementKind::Placeholder;
        let exchanges = !is_table && is(&["EXCHANGE"]);
        let before = match () {
            () if self.before == Before::Name && token.is_symbol(b'(') => Before::Name,
            () if is(&["VALUES"]) => Before::Values,
            () if !is_table && is(&["RENAME"]) => Before::Rename,
            () if is(&["ENGINE"]) => Before::Engine,
            () => Before::Other,
        };
        (assigns || selects || exchanges, before)
    }

    fn add_indirect(&mut self, class: StatementClass, head: &Head, selected: Option<&[u8]>) {
        let database = database(class, head, selected);
        self.indirect.add(database.as_deref(), &named(class, head));
    }
}

fn database(class: StatementClass, head: &Head, selected: Option<&[u8]>) -> Option<Vec<u8>> {
    class.qualifier.map(|name| head.name(name)).or_else(|| selected.map(<[u8]>::to_vec))
}

fn named(class: StatementClass, head: &Head) -> Vec<u8> {
    class.name.map(|name| head.name(name)).unwrap_or_default()
}

impl Indirect {
    fn add(&mut self, database: Option<&[u8]>, name: &[u8]) {
        if self.names.len() < NAMES {
            self.names.insert(self.key(database, name));
        } else {
            self.more = true;
        }
    }

    fn holds(&self, database: Option<&[u8]>, name: &[u8]) -> bool {
        self.more || (!self.names.is_empty() && self.names.contains(&self.key(database, name)))
    }

    /// A server may ignore the case of names.
    fn key(&self, database: Option<&[u8]>, name: &[u8]) -> u64 {
        let folded = |name: &[u8]| String::from_utf8_lossy(name).to_lowercase();
        self.hasher.hash_one((database.map(folded), folded(name)))
    }
}
