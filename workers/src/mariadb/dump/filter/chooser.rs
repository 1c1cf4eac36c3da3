//! Decides for every statement, comment and command whether it stays.

use super::super::class::StatementKind;
use super::super::complete::{Line, line};
use super::super::lexer::{Comment, End};
use super::super::mentions::{Mention, Mentions, string_names};
use super::super::reader::{Statement, Visitor};
use super::super::recorder::{is_program, naming};
use super::super::token::{Token, TokenKind};
use super::{FilterError, NameCase, Wanted};

const SHOWN_BYTES: usize = 120;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cut {
    Keep,
    Drop,
    Replace { end: u64, text: Vec<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// No database has been selected.
    Before,
    Wanted,
    Other,
}

/// A statement that is not decided yet.
#[derive(Debug, Clone, Copy)]
struct Pending {
    start: u64,
    is_set: bool,
    /// It sets a variable of the whole server.
    is_global: bool,
}

#[derive(Debug)]
pub(super) struct Chooser {
    wanted: Wanted,
    folded: String,
    scope: Scope,
    /// The statement that stays is under way.
    stays: bool,
    pending: Option<Pending>,
    found: bool,
    mentions: Mentions,
    /// From which offset on something else happens with the bytes.
    pub cuts: Vec<(u64, Cut)>,
    pub error: Option<FilterError>,
}

impl Chooser {
    pub fn new(wanted: Wanted) -> Self {
        let folded = wanted.database.to_lowercase();
        Self {
            wanted,
            folded,
            scope: Scope::Before,
            stays: false,
            pending: None,
            found: false,
            mentions: Mentions::default(),
            cuts: Vec::new(),
            error: None,
        }
    }

    /// Offset of a statement that is not decided yet.
    pub fn undecided(&self) -> Option<u64> {
        self.pending.map(|pending| pending.start)
    }

    /// Decides a statement although its end, or its beginning even, is not known yet.
    pub fn decide_now(&mut self) {
        let Some(Pending { start, is_set, is_global }) = self.pending.take() else { return };
        if is_set {
            let stays = !is_global || self.scope == Scope::Wanted;
            self.cuts.push((start, if stays { Cut::Keep } else { Cut::Drop }));
        } else {
            self.fails(FilterError::Unclear { statement: format!("at byte {start}") });
        }
    }

    pub fn finished(&self) -> Result<(), FilterError> {
        if self.found { Ok(()) } else { Err(FilterError::NotFound { database: self.wanted.database.clone() }) }
    }

    fn is_wanted(&self, name: &[u8]) -> bool {
        match self.wanted.case {
            NameCase::Sensitive => name == self.wanted.database.as_bytes(),
            NameCase::Insensitive => String::from_utf8_lossy(name).to_lowercase() == self.folded,
        }
    }

    fn fails(&mut self, error: FilterError) {
        self.error.get_or_insert(error);
    }

    /// Whether the object of this statement is in the wanted database.
    fn is_inside(&self, statement: &Statement<'_>) -> bool {
        match statement.class.qualifier {
            Some(qualifier) => self.is_wanted(&statement.head.name(qualifier)),
            None => self.scope == Scope::Wanted,
        }
    }

    fn decide(&mut self, statement: &Statement<'_>) -> bool {
        let name = || statement.class.name.map(|name| statement.head.name(name)).unwrap_or_default();
        match statement.class.kind {
            StatementKind::Use => {
                let wanted = self.is_wanted(&name());
                self.scope = if wanted { Scope::Wanted } else { Scope::Other };
                wanted
            }
            StatementKind::CreateDatabase | StatementKind::DropDatabase | StatementKind::AlterDatabase => {
                self.is_wanted(&name())
            }
            StatementKind::Empty | StatementKind::Set | StatementKind::Transaction | StatementKind::Unlock => true,
            StatementKind::Create(_)
            | StatementKind::Placeholder
            | StatementKind::Drop(_)
            | StatementKind::Alter(_)
            | StatementKind::Insert => self.is_inside(statement),
            StatementKind::Lock => self.scope == Scope::Wanted,
            StatementKind::Account | StatementKind::Replication | StatementKind::Upkeep => false,
            StatementKind::LoadData | StatementKind::Other => {
                if self.scope != Scope::Other {
                    self.fails(FilterError::Unclear { statement: statement.head.shown(SHOWN_BYTES) });
                }
                false
            }
        }
    }

    fn mention(&mut self, mention: Option<Mention>, statement: &Statement<'_>) {
        let Some(mention) = mention else { return };
        let own = String::from_utf8_lossy(&mention.name).to_lowercase() == self.folded;
        if own && self.wanted.renamed.is_some() {
            self.names_itself(statement);
        } else if !own && matches!(statement.class.kind, StatementKind::Drop(_) | StatementKind::Lock) {
            // `DROP TABLE a, other.b`
            self.fails(FilterError::Unclear { statement: statement.head.shown(SHOWN_BYTES) });
        }
    }

    fn names_itself(&mut self, statement: &Statement<'_>) {
        let (database, naming) = (self.wanted.database.clone(), Box::new(naming(statement)));
        self.fails(FilterError::NamesItself { database, naming });
    }

    fn rename(&mut self, statement: &Statement<'_>) {
        let is_of_database = matches!(
            statement.class.kind,
            StatementKind::Use
                | StatementKind::CreateDatabase
                | StatementKind::DropDatabase
                | StatementKind::AlterDatabase
        );
        let name = statement.class.name.filter(|_| is_of_database).and_then(|name| statement.head.get(name));
        if let (Some(token), Some(new)) = (name, &self.wanted.renamed) {
            let text = format!("`{}`", new.replace('`', "``")).into_bytes();
            self.cuts.push((token.start, Cut::Replace { end: token.end, text }));
        }
    }
}

impl Visitor for Chooser {
    fn begin(&mut self, start: u64) {
        self.pending = Some(Pending { start, is_set: false, is_global: false });
        self.mentions.clear();
    }

    fn classified(&mut self, statement: &Statement<'_>) {
        if let Some(pending) = self.pending.as_mut().filter(|_| statement.class.kind == StatementKind::Set) {
            pending.is_set = true;
            return;
        }
        let Some(Pending { start, .. }) = self.pending.take() else { return };
        self.stays = self.decide(statement);
        self.found |= self.stays && (self.scope == Scope::Wanted || self.is_inside(statement));
        self.cuts.push((start, if self.stays { Cut::Keep } else { Cut::Drop }));
        if self.stays {
            self.rename(statement);
        }
        if self.stays && statement.class.kind == StatementKind::Insert {
            self.mention(Mention::before_name(statement), statement);
        }
    }

    fn token(&mut self, token: &Token<'_>, statement: &Statement<'_>) {
        let kind = statement.class.kind;
        if let Some(pending) = &mut self.pending {
            pending.is_global |= ["GLOBAL", "PERSIST", "PERSIST_ONLY"].iter().any(|word| token.is(word));
        }
        if !self.stays || matches!(kind, StatementKind::Set | StatementKind::Use | StatementKind::Insert) {
            return;
        }
        let mention = self.mentions.token(token, statement.class);
        self.mention(mention, statement);
        let may_hold_sql = token.kind == TokenKind::String && is_program(kind);
        if may_hold_sql && self.wanted.renamed.is_some() && string_names(token.text, &self.folded) {
            self.names_itself(statement);
        }
    }

    fn end(&mut self, _: &End, statement: &Statement<'_>) {
        // Whether a variable of the whole server is set is known only now.
        self.decide_now();
        if self.stays {
            let mention = self.mentions.finish(None);
            self.mention(mention, statement);
        }
        self.stays = false;
    }

    fn comment(&mut self, comment: &Comment<'_>) {
        let stays = self.scope != Scope::Other || line(comment.text) == Line::Trailer;
        self.cuts.push((comment.start, if stays { Cut::Keep } else { Cut::Drop }));
    }

    fn delimiter(&mut self, start: u64, _: Option<&[u8]>) {
        self.cuts.push((start, Cut::Keep));
    }
}
