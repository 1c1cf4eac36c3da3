//! Tokens to statements: it knows in which database each statement runs, and how quotes are read there.

use super::class::{StatementClass, StatementKind, Tokens, classify};
use super::head::Head;
use super::judge::{Judge, Judgement};
use super::lexer::{Comment, Lexer, Mode, Sink, StatementEnd};
use super::settings::{Clarity, Modes, assignments};
use super::statement::{Insert, Statement};
use super::token::{Quoting, Token, TokenKind};

/// Hears of everything in a stream, in order.
pub(super) trait Visitor {
    fn begin(&mut self, _start: u64) {}
    /// It is known what the statement is; its tokens so far follow, then the others.
    fn classified(&mut self, _statement: &Statement<'_>) {}
    /// More of the statement shows that it may be about any database. It is one of kind `Other` from here on.
    fn misjudged(&mut self, _statement: &Statement<'_>) {}
    /// Every token but those of rows.
    fn token(&mut self, _token: &Token<'_>, _statement: &Statement<'_>) {}
    fn end(&mut self, _end: &StatementEnd, _statement: &Statement<'_>) {}
    fn comment(&mut self, _comment: &Comment<'_>) {}
    fn delimiter(&mut self, _start: u64, _argument: Option<&[u8]>) {}
}

/// A stream of SQL on its way to a visitor.
#[derive(Debug, Default)]
pub(super) struct Reader<V> {
    lexer: Lexer,
    statements: Statements<V>,
}

#[derive(Debug, Default)]
struct Statements<V> {
    visitor: V,
    head: Head,
    class: Option<StatementClass>,
    insert: Option<Insert>,
    selected: Option<Vec<u8>>,
    modes: Modes,
    judge: Judge,
    /// The lexer could not tell the statement's text from its comments or its characters.
    is_unclear: bool,
}

impl<V: Visitor> Reader<V> {
    pub fn new(visitor: V) -> Self {
        let statements = Statements {
            visitor,
            head: Head::default(),
            class: None,
            insert: None,
            selected: None,
            modes: Modes::default(),
            judge: Judge::default(),
            is_unclear: false,
        };
        Self { lexer: Lexer::default(), statements }
    }

    pub fn feed(&mut self, block: &[u8]) {
        self.lexer.feed(block, &mut self.statements);
    }

    pub fn finish(&mut self) {
        self.lexer.finish(&mut self.statements);
    }

    /// Offset up to which the visitor has heard everything.
    pub fn position(&self) -> u64 {
        self.lexer.position()
    }

    pub fn visitor(&self) -> &V {
        &self.statements.visitor
    }

    pub fn into_visitor(self) -> V {
        self.statements.visitor
    }

    pub fn visitor_mut(&mut self) -> &mut V {
        &mut self.statements.visitor
    }
}

impl<V: Visitor> Statements<V> {
    fn classify(&mut self, tokens: Tokens) {
        self.class = classify(&self.head, tokens);
        let Some(class) = self.class else { return };
        let statement =
            Statement { class, head: &self.head, selected: self.selected.as_deref(), insert: Insert::Columns(0) };
        self.visitor.classified(&statement);
        for token in self.head.tokens() {
            self.visitor.token(&token, &statement);
        }
        let mut judgement = self.judge.begin(class, &self.head, statement.selected);
        for token in self.head.tokens() {
            if self.judge.token(&token, &statement) == Judgement::Unclear {
                judgement = Judgement::Unclear;
            }
        }
        if judgement == Judgement::Unclear || self.is_unclear {
            self.misjudged();
        }
    }

    /// The statement is not what its beginning told, or not that alone.
    fn misjudged(&mut self) {
        let class = StatementClass::of(StatementKind::Other);
        if self.class.replace(class).is_none_or(|before| before.kind != StatementKind::Other) {
            let (head, selected) = (&self.head, self.selected.as_deref());
            self.visitor.misjudged(&Statement { class, head, selected, insert: Insert::Uncounted });
        }
    }

    fn follow_insert(&mut self, token: &Token<'_>, class: StatementClass) -> Mode {
        let is_name = class.name.and_then(|name| self.head.get(name)).is_some_and(|name| name.start == token.start);
        let insert = match self.insert.unwrap_or(Insert::Columns(0)) {
            // The name itself may be a keyword in quotes or behind its database.
            Insert::Columns(depth) if is_name => Insert::Columns(depth),
            Insert::Columns(depth) if token.is_symbol(b'(') => Insert::Columns(depth + 1),
            Insert::Columns(depth) if token.is_symbol(b')') => Insert::Columns(depth.saturating_sub(1)),
            Insert::Columns(0) if token.is("VALUES") || token.is("VALUE") => Insert::Rows,
            Insert::Columns(_) if token.is("SELECT") => Insert::Uncounted,
            Insert::Columns(0) if ["SET", "TABLE", "WITH"].iter().any(|word| token.is(word)) => Insert::Uncounted,
            Insert::Rows if token.is("ROW") || token.kind == TokenKind::Symbol => Insert::Rows,
            Insert::Rows => Insert::Behind,
            other => other,
        };
        self.insert = Some(insert);
        if insert == Insert::Rows { Mode::Rows } else { Mode::Tokens }
    }
}

impl<V: Visitor> Sink for Statements<V> {
    fn begin(&mut self, start: u64) {
        self.head.clear();
        self.class = None;
        self.insert = None;
        self.is_unclear = false;
        self.visitor.begin(start);
    }

    fn token(&mut self, token: &Token<'_>) -> Mode {
        let kept = !self.head.is_full() && self.class.is_none_or(|class| class.kind != StatementKind::Insert);
        if kept {
            self.head.push(token);
        }
        match self.class {
            // Of one token alone nothing follows, and statements of one row each are many.
            None if self.head.len() < 2 => {}
            None => self.classify(Tokens::MayFollow),
            Some(class) => {
                let insert = self.insert.unwrap_or(Insert::Columns(0));
                let selected = self.selected.as_deref();
                let statement = Statement { class, head: &self.head, selected, insert };
                self.visitor.token(token, &statement);
                if self.judge.token(token, &statement) == Judgement::Unclear {
                    self.misjudged();
                }
            }
        }
        match self.class {
            Some(class) if class.kind == StatementKind::Insert => self.follow_insert(token, class),
            _ => Mode::Tokens,
        }
    }

    fn end(&mut self, end: &StatementEnd) -> Quoting {
        if self.class.is_none() {
            self.classify(Tokens::All);
        }
        let sets = self.class.is_some_and(|class| class.kind == StatementKind::Set);
        if sets && self.modes.clarity(&self.head) == Clarity::Unclear {
            self.misjudged();
        }
        let class = self.class.unwrap_or(StatementClass::of(StatementKind::Other));
        let insert = self.insert.unwrap_or(Insert::Columns(0));
        let statement = Statement { class, head: &self.head, selected: self.selected.as_deref(), insert };
        self.visitor.end(end, &statement);
        match (class.kind, class.name) {
            (StatementKind::Use, Some(name)) => self.selected = Some(self.head.name(name)),
            (StatementKind::DropDatabase, Some(name)) if self.selected.as_ref() == Some(&self.head.name(name)) => {
                self.selected = None;
            }
            (StatementKind::Set, _) => {
                self.modes.apply(&assignments(&self.head));
            }
            _ => {}
        }
        self.modes.current()
    }

    fn unclear(&mut self) {
        self.is_unclear = true;
        if self.class.is_some() {
            self.misjudged();
        }
    }

    fn comment(&mut self, comment: &Comment<'_>) {
        self.visitor.comment(comment);
    }

    fn delimiter(&mut self, start: u64, argument: Option<&[u8]>) {
        self.visitor.delimiter(start, argument);
    }
}
