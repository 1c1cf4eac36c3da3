//! Tells from the first tokens of a statement what it does and to which object.

use super::head::Head;
use super::token::{InComment, Token, TokenKind};

/// Whether more tokens of the statement may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tokens {
    MayFollow,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ObjectKind {
    Table,
    View,
    Sequence,
    Trigger,
    Procedure,
    Function,
    Package,
    PackageBody,
    Event,
    Index,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatementKind {
    Empty,
    Use,
    CreateDatabase,
    DropDatabase,
    AlterDatabase,
    Create(ObjectKind),
    /// A table or view that keeps the place of a view until it can be made.
    Placeholder,
    Drop(ObjectKind),
    /// Of tables, and of sequences through `SETVAL`.
    Alter(ObjectKind),
    Insert,
    Lock,
    Unlock,
    /// `START TRANSACTION`, `BEGIN`, `COMMIT`.
    Transaction,
    Set,
    /// Accounts, roles and their rights.
    Account,
    /// `CHANGE MASTER` and its relatives.
    Replication,
    LoadData,
    /// `FLUSH`, `ANALYZE` and the like, which change no data.
    Upkeep,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StatementClass {
    pub kind: StatementKind,
    /// Indexes of tokens: the database that stands before the name, and the name.
    pub qualifier: Option<usize>,
    pub name: Option<usize>,
}

/// Goes through tokens. `None` means that more of them are needed.
struct Cursor<'a> {
    head: &'a Head,
    at: usize,
    tokens: Tokens,
}

/// The next token; nothing at the end of the statement.
type Next<'a> = Option<Token<'a>>;

/// The kind of object that is named next, if the next token is one.
type NextObject = Option<ObjectKind>;

/// `None` while that cannot be told yet.
pub(super) fn classify(head: &Head, tokens: Tokens) -> Option<StatementClass> {
    let mut cursor = Cursor { head, at: 0, tokens: if head.is_full() { Tokens::All } else { tokens } };
    // A statement in parentheses is none of a dump.
    let Some(first) = cursor.next()? else { return Some(StatementClass::of(StatementKind::Empty)) };
    if first.kind != TokenKind::Word {
        return Some(StatementClass::of(StatementKind::Other));
    }
    if first.is("INSERT") || first.is("REPLACE") {
        return insert(&mut cursor);
    }
    match first.text.to_ascii_uppercase().as_slice() {
        b"SET" => set(&mut cursor),
        b"USE" => cursor.named(StatementKind::Use),
        b"CREATE" => create(&mut cursor, first.in_comment),
        b"DROP" => drop(&mut cursor),
        b"ALTER" => alter(&mut cursor),
        b"LOCK" => Some(StatementClass::of(StatementKind::Lock)),
        b"UNLOCK" => Some(StatementClass::of(StatementKind::Unlock)),
        b"START" => start(&mut cursor),
        b"STOP" => Some(StatementClass::of(replication(&mut cursor, &["SLAVE", "REPLICA", "ALL"])?)),
        b"BEGIN" => begin(&mut cursor),
        b"COMMIT" => Some(StatementClass::of(StatementKind::Transaction)),
        b"GRANT" | b"REVOKE" => Some(StatementClass::of(StatementKind::Account)),
        b"CHANGE" => Some(StatementClass::of(replication(&mut cursor, &["MASTER", "REPLICATION"])?)),
        b"FLUSH" => flush(&mut cursor),
        b"ANALYZE" | b"OPTIMIZE" => upkeep(&mut cursor),
        b"EXECUTE" => execute(&mut cursor),
        b"LOAD" => Some(StatementClass::of(StatementKind::LoadData)),
        b"DO" | b"SELECT" => set_value(&mut cursor),
        _ => Some(StatementClass::of(StatementKind::Other)),
    }
}

fn insert(cursor: &mut Cursor<'_>) -> Option<StatementClass> {
    while cursor.skip_any(&["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"])? {}
    cursor.named(StatementKind::Insert)
}

fn set(cursor: &mut Cursor<'_>) -> Option<StatementClass> {
    let kind = if cursor.skip_any(&["PASSWORD", "ROLE", "DEFAULT"])? {
        StatementKind::Account
    } else if cursor.skip_any(&["STATEMENT"])? {
        // `SET STATEMENT … FOR` runs any other statement.
        StatementKind::Other
    } else {
        StatementKind::Set
    };
    Some(StatementClass::of(kind))
}

/// `BEGIN` alone starts a transaction; with more behind it, it is a block of statements.
fn begin(cursor: &mut Cursor<'_>) -> Option<StatementClass> {
    let _ = cursor.skip_any(&["WORK"])?;
    let alone = cursor.ends()?;
    Some(StatementClass::of(if alone { StatementKind::Transaction } else { StatementKind::Other }))
}

fn start(cursor: &mut Cursor<'_>) -> Option<StatementClass> {
    let kind = if cursor.skip_any(&["TRANSACTION"])? {
        StatementKind::Transaction
    } else {
        replication(cursor, &["SLAVE", "REPLICA", "GROUP_REPLICATION", "ALL"])?
    };
    Some(StatementClass::of(kind))
}

fn replication(cursor: &mut Cursor<'_>, words: &[&str]) -> Option<StatementKind> {
    Some(if cursor.skip_any(words)? { StatementKind::Replication } else { StatementKind::Other })
}

/// `FLUSH MASTER` deletes the binary log, and may stand in a list with others.
fn flush(cursor: &mut Cursor<'_>) -> Option<StatementClass> {
    let _ = cursor.skip_any(&["NO_WRITE_TO_BINLOG", "LOCAL"])?;
    let known = cursor.skip_any(&["TABLE", "TABLES"])? || (cursor.skip_any(&["PRIVILEGES"])? && cursor.ends()?);
    Some(StatementClass::of(if known { StatementKind::Upkeep } else { StatementKind::Other }))
}

/// `ANALYZE` also runs the statement that it explains.
fn upkeep(cursor: &mut Cursor<'_>) -> Option<StatementClass> {
    let _ = cursor.skip_any(&["NO_WRITE_TO_BINLOG", "LOCAL"])?;
    if !cursor.skip_any(&["TABLE", "TABLES"])? {
        return Some(StatementClass::of(StatementKind::Other));
    }
    let class = cursor.named(StatementKind::Upkeep)?;
    // The others of a list may be in any database.
    let is_one = class.name.is_some() && !cursor.skip_symbol(b',')?;
    Some(if is_one { class } else { StatementClass::of(StatementKind::Other) })
}

/// mariadb-dump switches the log of the server off with
/// `EXECUTE IMMEDIATE IF(@@LOG_OUTPUT='TABLE' AND …, "SET GLOBAL LOG_OUTPUT='NONE'", "DO 0")`; nothing else is known.
fn execute(cursor: &mut Cursor<'_>) -> Option<StatementClass> {
    let mut known = cursor.skip_words(&["IMMEDIATE", "IF"])? && cursor.skip_symbol(b'(')?;
    // The condition can't call anything.
    let asks = |token: &Token<'_>| match token.kind {
        TokenKind::Symbol => matches!(token.text, b"(" | b")" | b"@" | b"="),
        TokenKind::Word => ["LOG_OUTPUT", "AND", "OR", "LOG_SLOW_QUERY", "SLOW_QUERY_LOG", "GENERAL_LOG", "1"]
            .iter()
            .any(|word| token.is(word)),
        TokenKind::String => token.text == b"TABLE",
        TokenKind::Name => false,
    };
    while known && cursor.skip_if(asks)? {}
    for text in [&b"SET GLOBAL LOG_OUTPUT='NONE'"[..], b"DO 0"] {
        known = known
            && cursor.skip_symbol(b',')?
            && cursor.skip_if(|token| token.kind == TokenKind::String && token.text == text)?;
    }
    let known = known && cursor.skip_symbol(b')')? && cursor.ends()?;
    Some(StatementClass::of(if known { StatementKind::Upkeep } else { StatementKind::Other }))
}

/// `SETVAL(name, number, …)` and nothing else.
fn set_value(cursor: &mut Cursor<'_>) -> Option<StatementClass> {
    let other = Some(StatementClass::of(StatementKind::Other));
    if !cursor.skip_any(&["SETVAL"])? || !cursor.skip_symbol(b'(')? {
        return other;
    }
    let class = cursor.named(StatementKind::Alter(ObjectKind::Sequence))?;
    let is_argument = |token: &Token<'_>| {
        let is_number = token.kind == TokenKind::Word && token.text.iter().all(u8::is_ascii_alphanumeric);
        is_number || token.is_symbol(b',') || token.is_symbol(b'-')
    };
    while cursor.skip_if(is_argument)? {}
    if cursor.skip_symbol(b')')? && cursor.ends()? { Some(class) } else { other }
}

fn create(cursor: &mut Cursor<'_>, in_comment: InComment) -> Option<StatementClass> {
    let mut direct = true;
    loop {
        if let Some(kind) = cursor.object()? {
            let _ = cursor.skip_words(&["IF", "NOT", "EXISTS"])?;
            // mariadb-dump writes the placeholder of a view as one comment, and the view itself as three.
            if kind == ObjectKind::Index {
                return cursor.index(StatementKind::Create(kind));
            }
            let is_inside = in_comment != InComment::No && direct;
            let placeholder = is_inside && matches!(kind, ObjectKind::Table | ObjectKind::View);
            return cursor.named(if placeholder { StatementKind::Placeholder } else { StatementKind::Create(kind) });
        }
        let Some(token) = cursor.next()? else { return Some(StatementClass::of(StatementKind::Other)) };
        if token.kind != TokenKind::Word {
            return Some(StatementClass::of(StatementKind::Other));
        }
        direct = false;
        match token.text.to_ascii_uppercase().as_slice() {
            b"DATABASE" | b"SCHEMA" => {
                let _ = cursor.skip_words(&["IF", "NOT", "EXISTS"])?;
                return cursor.named(StatementKind::CreateDatabase);
            }
            b"USER" | b"ROLE" => return Some(StatementClass::of(StatementKind::Account)),
            b"DEFINER" => cursor.definer()?,
            b"ALGORITHM" => {
                let _ = cursor.skip_symbol(b'=')? && cursor.next()?.is_some();
            }
            b"OR" | b"REPLACE" | b"SQL" | b"SECURITY" | b"INVOKER" | b"AGGREGATE" | b"UNIQUE" | b"FULLTEXT"
            | b"SPATIAL" | b"ONLINE" | b"OFFLINE" => {}
            _ => return Some(StatementClass::of(StatementKind::Other)),
        }
    }
}

fn drop(cursor: &mut Cursor<'_>) -> Option<StatementClass> {
    let _ = cursor.skip_any(&["TEMPORARY"])?;
    let kind = match cursor.object()? {
        Some(kind) => StatementKind::Drop(kind),
        None if cursor.skip_any(&["DATABASE", "SCHEMA"])? => StatementKind::DropDatabase,
        None if cursor.skip_any(&["USER", "ROLE"])? => return Some(StatementClass::of(StatementKind::Account)),
        None => return Some(StatementClass::of(StatementKind::Other)),
    };
    let _ = cursor.skip_words(&["IF", "EXISTS"])?;
    if kind == StatementKind::Drop(ObjectKind::Index) {
        return cursor.index(kind);
    }
    let class = cursor.named(kind)?;
    // The comma of a list belongs to the head, so that others can tell a list.
    let _ = cursor.skip_symbol(b',')?;
    Some(class)
}

fn alter(cursor: &mut Cursor<'_>) -> Option<StatementClass> {
    while cursor.skip_any(&["ONLINE", "IGNORE"])? {}
    let kind = match cursor.object()? {
        Some(kind) => StatementKind::Alter(kind),
        None if cursor.skip_any(&["DATABASE", "SCHEMA"])? => StatementKind::AlterDatabase,
        None if cursor.skip_any(&["USER", "ROLE"])? => return Some(StatementClass::of(StatementKind::Account)),
        None => return Some(StatementClass::of(StatementKind::Other)),
    };
    let _ = cursor.skip_words(&["IF", "EXISTS"])?;
    cursor.named(kind)
}

impl StatementClass {
    pub fn of(kind: StatementKind) -> Self {
        Self { kind, qualifier: None, name: None }
    }
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<Next<'a>> {
        match (self.head.get(self.at), self.tokens) {
            (Some(token), _) => Some(Some(token)),
            (None, Tokens::All) => Some(None),
            (None, Tokens::MayFollow) => None,
        }
    }

    fn next(&mut self) -> Option<Next<'a>> {
        let next = self.peek()?;
        self.at += usize::from(next.is_some());
        Some(next)
    }

    /// Whether the statement has no more tokens.
    fn ends(&self) -> Option<bool> {
        // Of a head that is full, nobody knows.
        Some(self.peek()?.is_none() && !self.head.is_full())
    }

    fn skip_if(&mut self, wanted: impl Fn(&Token<'_>) -> bool) -> Option<bool> {
        let found = self.peek()?.is_some_and(|token| wanted(&token));
        self.at += usize::from(found);
        Some(found)
    }

    fn skip_any(&mut self, words: &[&str]) -> Option<bool> {
        self.skip_if(|token| words.iter().any(|word| token.is(word)))
    }

    /// All of these words in this order, or none.
    fn skip_words(&mut self, words: &[&str]) -> Option<bool> {
        let start = self.at;
        for word in words {
            if !self.skip_any(&[word])? {
                self.at = start;
                return Some(false);
            }
        }
        Some(true)
    }

    fn skip_symbol(&mut self, symbol: u8) -> Option<bool> {
        self.skip_if(|token| token.kind == TokenKind::Symbol && token.text == [symbol])
    }

    /// `= user@host`, `= CURRENT_USER()` or `= role`.
    fn definer(&mut self) -> Option<()> {
        if self.skip_symbol(b'=')? {
            self.next()?;
            if self.skip_symbol(b'@')? {
                self.next()?;
            } else if self.skip_symbol(b'(')? {
                self.skip_symbol(b')')?;
            }
        }
        Some(())
    }

    fn object(&mut self) -> Option<NextObject> {
        let Some(token) = self.peek()?.filter(|token| token.kind == TokenKind::Word) else { return Some(None) };
        let kind = match token.text.to_ascii_uppercase().as_slice() {
            b"TABLE" => ObjectKind::Table,
            b"VIEW" => ObjectKind::View,
            b"SEQUENCE" => ObjectKind::Sequence,
            b"TRIGGER" => ObjectKind::Trigger,
            b"PROCEDURE" => ObjectKind::Procedure,
            b"FUNCTION" => ObjectKind::Function,
            b"EVENT" => ObjectKind::Event,
            b"INDEX" => ObjectKind::Index,
            b"PACKAGE" => {
                self.at += 1;
                let body = self.skip_any(&["BODY"])?;
                return Some(Some(if body { ObjectKind::PackageBody } else { ObjectKind::Package }));
            }
            _ => return Some(None),
        };
        self.at += 1;
        Some(Some(kind))
    }

    /// The name of an index, and of the table that it belongs to, which is the object that is changed.
    fn index(&mut self, kind: StatementKind) -> Option<StatementClass> {
        self.named(kind)?;
        if self.skip_any(&["USING"])? {
            self.next()?;
        }
        if self.skip_any(&["ON"])? { self.named(kind) } else { Some(StatementClass::of(StatementKind::Other)) }
    }

    /// The statement is of this kind, and the name of its object comes next.
    fn named(&mut self, kind: StatementKind) -> Option<StatementClass> {
        let is_name = |token: &Token<'_>| matches!(token.kind, TokenKind::Word | TokenKind::Name);
        let first = self.at;
        if !self.skip_if(is_name)? {
            return Some(StatementClass::of(kind));
        }
        if !self.skip_symbol(b'.')? {
            return Some(StatementClass { kind, qualifier: None, name: Some(first) });
        }
        let second = self.at;
        let found = self.skip_if(is_name)?;
        Some(StatementClass { kind, qualifier: Some(first), name: found.then_some(second) })
    }
}

impl Token<'_> {
    /// Whether it is this word, without quotes.
    pub fn is(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word.as_bytes())
    }

    pub fn is_symbol(&self, symbol: u8) -> bool {
        self.kind == TokenKind::Symbol && self.text == [symbol]
    }
}
