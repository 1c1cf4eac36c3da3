//! Decides for every statement, comment and command whether it stays.

use super::super::class::StatementKind;
use super::super::complete::{Line, line};
use super::super::lexer::{Comment, StatementEnd};
use super::super::mentions::{Mention, Mentions, string_names};
use super::super::reader::Visitor;
use super::super::recorder::{is_program, naming};
use super::super::statement::Statement;
use super::super::token::{Token, TokenKind};
use super::{FilterError, NameCase, WantedDatabase, WantedDatabases};

const SHOWN_BYTES: usize = 120;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    Keep,
    Drop,
    Replace { end: u64, text: Vec<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// No database has been selected.
    Before,
    /// The choice of this index is selected.
    Wanted(usize),
    Other,
}

/// A database that stays.
#[derive(Debug)]
struct Choice {
    database: WantedDatabase,
    /// Its name in lower case.
    folded: String,
    /// The stream has something of it.
    found: bool,
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
    wanted: Vec<Choice>,
    case: NameCase,
    scope: Scope,
    /// The statement that stays is under way.
    stays: bool,
    pending: Option<Pending>,
    mentions: Mentions,
    /// From which offset on something else happens with the bytes.
    pub cuts: Vec<(u64, Edit)>,
    pub error: Option<FilterError>,
}

impl Chooser {
    pub fn new(wanted: WantedDatabases) -> Self {
        let choices = wanted.databases.into_iter();
        let choices = choices.map(|database| {
            let folded = database.name.to_lowercase();
            Choice { database, folded, found: false }
        });
        Self {
            wanted: choices.collect(),
            case: wanted.case,
            scope: Scope::Before,
            stays: false,
            pending: None,
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
            let stays = !is_global || matches!(self.scope, Scope::Wanted(_));
            self.cuts.push((start, if stays { Edit::Keep } else { Edit::Drop }));
        } else {
            self.fails(FilterError::Unclear { statement: format!("at byte {start}") });
        }
    }

    pub fn finished(&self) -> Result<(), FilterError> {
        match self.wanted.iter().find(|choice| !choice.found) {
            Some(choice) => Err(FilterError::NotFound { database: choice.database.name.clone() }),
            None => Ok(()),
        }
    }

    /// Index of the choice of this name.
    fn choice(&self, name: &[u8]) -> Option<usize> {
        match self.case {
            NameCase::Sensitive => self.wanted.iter().position(|choice| name == choice.database.name.as_bytes()),
            NameCase::Insensitive => self.folded(name),
        }
    }

    /// Index of the choice of this name in any case.
    fn folded(&self, name: &[u8]) -> Option<usize> {
        let folded = String::from_utf8_lossy(name).to_lowercase();
        self.wanted.iter().position(|choice| choice.folded == folded)
    }

    fn fails(&mut self, error: FilterError) {
        self.error.get_or_insert(error);
    }

    /// The choice that the object of this statement is in.
    fn inside(&self, statement: &Statement<'_>) -> Option<usize> {
        match (statement.class.qualifier, self.scope) {
            (Some(qualifier), _) => self.choice(&statement.head.name(qualifier)),
            (None, Scope::Wanted(choice)) => Some(choice),
            (None, Scope::Before | Scope::Other) => None,
        }
    }

    fn decide(&mut self, statement: &Statement<'_>) -> bool {
        let name = || statement.class.name.map(|name| statement.head.name(name)).unwrap_or_default();
        match statement.class.kind {
            StatementKind::Use => {
                self.scope = self.choice(&name()).map_or(Scope::Other, Scope::Wanted);
                self.scope != Scope::Other
            }
            StatementKind::CreateDatabase | StatementKind::DropDatabase | StatementKind::AlterDatabase => {
                self.choice(&name()).is_some()
            }
            StatementKind::Empty | StatementKind::Set | StatementKind::Transaction | StatementKind::Unlock => true,
            StatementKind::Create(_)
            | StatementKind::Placeholder
            | StatementKind::Drop(_)
            | StatementKind::Alter(_)
            | StatementKind::Insert => self.inside(statement).is_some(),
            StatementKind::Lock => matches!(self.scope, Scope::Wanted(_)),
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
        let own = self.folded(&mention.name);
        if let Some(renamed) = own.filter(|own| self.wanted[*own].database.renamed.is_some()) {
            self.names_old(renamed, statement);
        } else if own.is_none() && matches!(statement.class.kind, StatementKind::Drop(_) | StatementKind::Lock) {
            // `DROP TABLE a, other.b`
            self.fails(FilterError::Unclear { statement: statement.head.shown(SHOWN_BYTES) });
        }
    }

    /// Refuses a statement that names the old name of a choice.
    fn names_old(&mut self, choice: usize, statement: &Statement<'_>) {
        let (database, naming) = (self.wanted[choice].database.name.clone(), Box::new(naming(statement)));
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
        let database = || statement.class.name.map(|name| statement.head.name(name));
        let name = statement.class.name.filter(|_| is_of_database).and_then(|name| statement.head.get(name));
        let Some((token, choice)) = name.and_then(|token| Some((token, self.choice(&database()?)?))) else { return };
        if let Some(new) = &self.wanted[choice].database.renamed {
            let text = format!("`{}`", new.replace('`', "``")).into_bytes();
            self.cuts.push((token.start, Edit::Replace { end: token.end, text }));
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
        if let Some(choice) = self.inside(statement).filter(|_| self.stays) {
            self.wanted[choice].found = true;
        }
        self.cuts.push((start, if self.stays { Edit::Keep } else { Edit::Drop }));
        if self.stays {
            self.rename(statement);
        }
        if self.stays && statement.class.kind == StatementKind::Insert {
            self.mention(Mention::before_name(statement), statement);
        }
    }

    fn misjudged(&mut self, statement: &Statement<'_>) {
        if self.stays || self.pending.is_some() {
            self.fails(FilterError::Unclear { statement: statement.head.shown(SHOWN_BYTES) });
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
        if token.kind == TokenKind::String && is_program(kind) {
            let named = |choice: &Choice| choice.database.renamed.is_some() && string_names(token.text, &choice.folded);
            if let Some(named) = self.wanted.iter().position(named) {
                self.names_old(named, statement);
            }
        }
    }

    fn end(&mut self, _: &StatementEnd, statement: &Statement<'_>) {
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
        self.cuts.push((comment.start, if stays { Edit::Keep } else { Edit::Drop }));
    }

    fn delimiter(&mut self, start: u64, _: Option<&[u8]>) {
        self.cuts.push((start, Edit::Keep));
    }
}
