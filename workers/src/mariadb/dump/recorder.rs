//! Makes the record of a stream while it passes.

mod databases;
mod drops;
mod ending;
mod events;
mod uses;

use self::databases::Databases;
use self::ending::StreamEnd;
use self::events::EventClock;
use self::uses::used_tables;
use super::actions::action_in;
use super::class::{ObjectKind, StatementKind};
use super::complete::Line;
use super::details::{Details, TableOptions};
use super::lexer::{Comment, StatementEnd};
use super::mentions::{Certainty, Mention, Mentions, string_names};
use super::reader::{Reader, Visitor};
use super::record::{Naming, Needs, Oddity, OddityKind, RECORD_VERSION, Record};
use super::settings::{Assignment, Reach, Value, assignments, encoding};
use super::statement::{Insert, Statement};
use super::token::{Encoding, Token, TokenKind};

/// Bytes of a statement that are shown to people.
const SHOWN_BYTES: usize = 120;
const FEW: usize = 10;
const NAMES: usize = 256;
const POSITIONS: usize = 8;

/// Sees every block of a stream once and in order.
#[derive(Debug)]
pub struct Recorder {
    reader: Reader<Observer>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { reader: Reader::new(Observer::default()) }
    }
}

impl Recorder {
    pub fn feed(&mut self, block: &[u8]) {
        self.reader.visitor_mut().ends.passes(block);
        self.reader.feed(block);
    }

    /// The record of everything that was fed.
    #[must_use]
    pub fn finish(mut self) -> Record {
        self.reader.finish();
        let observer = self.reader.into_visitor();
        let mut record = observer.record;
        record.version = RECORD_VERSION;
        record.bytes = observer.ends.bytes();
        record.ending = observer.ends.ending();
        (record.databases, record.databases_left_out) = observer.databases.into_records();
        record
    }
}

#[derive(Debug, Default)]
struct Observer {
    record: Record,
    databases: Databases,
    ends: StreamEnd,
    mentions: Mentions,
    details: Details,
    event: EventClock,
    /// The time zone that the stream has set.
    zone: Option<String>,
}

impl Observer {
    fn oddity(&mut self, kind: OddityKind, statement: String) {
        let database = self.databases.selected().and_then(|database| database.record.name.clone());
        let oddity = Oddity { kind, database, statement };
        let few = &mut self.record.oddities;
        // A restore is decided by the unclear ones, so they are not crowded out by others.
        let least = few.first.iter().rposition(|known| !known.kind.is_unclear());
        if let Some(least) = least.filter(|_| few.first.len() == FEW && kind.is_unclear()) {
            few.count += 1;
            few.first[least] = oddity;
        } else {
            few.add(FEW, || oddity);
        }
    }

    fn note_kind(&mut self, statement: &Statement<'_>) {
        let kind = match statement.class.kind {
            StatementKind::LoadData => OddityKind::LoadData,
            // No dump drops several objects at once, and the others may be in any database.
            StatementKind::Drop(_) if statement.head.has_symbol(b',') => OddityKind::Other,
            StatementKind::Other => match statement.head.get(0) {
                Some(first) if first.text.len() >= 9 && first.text[..9].eq_ignore_ascii_case(b"DELIMITER") => {
                    OddityKind::ClientCommand
                }
                Some(first) if first.is_symbol(b'\\') => OddityKind::ClientCommand,
                _ => OddityKind::Other,
            },
            _ => return,
        };
        self.oddity(kind, statement.head.shown(SHOWN_BYTES));
    }

    fn set(&mut self, assignments: Vec<Assignment>, statement: &Statement<'_>) {
        for Assignment { reach, name, value } in assignments {
            match reach {
                Reach::User => continue,
                Reach::Session => self.record.needs.variables.add(NAMES, name.clone()),
                Reach::Global => {
                    if let Err(name) = self.databases.sets_global(format!("GLOBAL {name}")) {
                        self.record.needs.variables.add(NAMES, name);
                    }
                    self.oddity(OddityKind::GlobalVariable, statement.head.shown(SHOWN_BYTES));
                }
            }
            let Value::Text(text) = value else { continue };
            match name.as_str() {
                "sql_mode" => self.record.needs.sql_modes.add(NAMES, text),
                "time_zone" => self.zone = Some(text),
                "names" => {
                    if encoding(&text) == Some(Encoding::Ambiguous) {
                        self.oddity(OddityKind::CharacterSet, statement.head.shown(SHOWN_BYTES));
                    }
                    self.record.header.character_set.get_or_insert(text);
                }
                _ => {}
            }
        }
    }

    fn mention(&mut self, mention: Option<Mention>, statement: &Statement<'_>) {
        let Some(mention) = mention else { return };
        let Some(database) = self.databases.selected() else { return };
        let name = String::from_utf8_lossy(&mention.name);
        if name.to_lowercase() == database.folded {
            self.databases.names_itself(|| naming(statement));
        } else if mention.certainty == Certainty::Database && is_definition(statement.class.kind) {
            self.databases.uses(name.into_owned());
        }
    }
}

impl Visitor for Observer {
    fn begin(&mut self, start: u64) {
        self.ends.begins(start);
        self.mentions.clear();
        self.details.clear();
        self.event.clear();
    }

    fn classified(&mut self, statement: &Statement<'_>) {
        if statement.class.kind != StatementKind::Empty {
            self.record.statements += 1;
            self.databases.enter(statement);
            self.note_kind(statement);
            if statement.class.kind == StatementKind::Insert {
                self.mention(Mention::before_name(statement), statement);
            }
        }
    }

    fn misjudged(&mut self, statement: &Statement<'_>) {
        self.note_kind(statement);
    }

    fn token(&mut self, token: &Token<'_>, statement: &Statement<'_>) {
        let kind = statement.class.kind;
        if matches!(kind, StatementKind::Set | StatementKind::Use | StatementKind::Insert) {
            return;
        }
        let mention = self.mentions.token(token, statement.class);
        self.mention(mention, statement);
        if token.kind == TokenKind::String
            && is_program(kind)
            && let Some(database) = self.databases.selected()
            && string_names(token.text, &database.folded)
        {
            self.databases.names_itself(|| naming(statement));
        }
        if let (Some(action), Some(database)) = (action_in(token, kind), self.databases.target()) {
            database.record.actions.insert(action);
        }
        if kind == StatementKind::Create(ObjectKind::Event) {
            self.event.token(token);
        }
        if let StatementKind::Create(object) = kind {
            let options = if object == ObjectKind::Table { TableOptions::OfTable } else { TableOptions::None };
            self.details.token(token, options, needs(&mut self.databases, &mut self.record));
        } else if matches!(kind, StatementKind::CreateDatabase | StatementKind::AlterDatabase) {
            self.details.token(token, TableOptions::None, needs(&mut self.databases, &mut self.record));
        }
    }

    fn end(&mut self, end: &StatementEnd, statement: &Statement<'_>) {
        let mention = self.mentions.finish(None);
        self.mention(mention, statement);
        let length = end.at - end.start;
        self.record.longest_statement_bytes = self.record.longest_statement_bytes.max(length);
        match (statement.class.kind, statement.insert) {
            (StatementKind::Insert, Insert::Rows | Insert::Behind) => self.databases.rows(statement, end.rows),
            (StatementKind::Insert, _) => self.record.uncounted_inserts += 1,
            (StatementKind::Set, _) => self.set(assignments(statement.head), statement),
            // More of them is known now, and a restore shows it.
            (StatementKind::Account, _) => self.oddity(OddityKind::Account, statement.head.shown(SHOWN_BYTES)),
            (StatementKind::Replication, _) => self.oddity(OddityKind::Replication, statement.head.shown(SHOWN_BYTES)),
            (StatementKind::Create(ObjectKind::Event), _) => {
                if let Some(end) = self.event.end(self.zone.as_deref()) {
                    self.databases.event_ends(naming(statement).object.unwrap_or_default(), end);
                }
            }
            (StatementKind::Create(ObjectKind::Function), _) if !self.details.declared() => {
                let name = naming(statement).object.unwrap_or_default();
                needs(&mut self.databases, &mut self.record).undeclared_functions.add(NAMES, name);
            }
            _ => {}
        }
        if !matches!(statement.insert, Insert::Rows | Insert::Behind) {
            for table in used_tables(statement) {
                self.databases.requires(table);
            }
        }
        self.databases.ended(length);
        self.ends.statement(end, || statement.head.shown(SHOWN_BYTES));
    }

    fn comment(&mut self, comment: &Comment<'_>) {
        let text =
            |bytes: &[u8]| crate::process::escape(&String::from_utf8_lossy(bytes[..bytes.len().min(300)].trim_ascii()));
        let header = &mut self.record.header;
        match self.ends.comment(comment) {
            Line::Writer(writer) => {
                header.writer.get_or_insert_with(|| text(writer));
            }
            Line::Host { host, database } => {
                header.host.get_or_insert_with(|| text(host));
                if !database.is_empty() {
                    let name = String::from_utf8_lossy(database).into_owned();
                    self.databases.is_dump_of(&name);
                    header.database.get_or_insert(name);
                }
            }
            Line::ServerVersion(version) => {
                header.server_version.get_or_insert_with(|| text(version));
            }
            Line::Position if self.record.positions.len() < POSITIONS => {
                self.record.positions.push(text(comment.text));
            }
            Line::Position | Line::Trailer | Line::Other => {}
        }
    }

    fn delimiter(&mut self, start: u64, argument: Option<&[u8]>) {
        self.ends.begins(start);
        if argument.is_none() {
            self.oddity(OddityKind::ClientCommand, "DELIMITER".to_owned());
        }
    }
}

/// The needs that a statement's demands belong to.
fn needs<'a>(databases: &'a mut Databases, record: &'a mut Record) -> &'a mut Needs {
    databases.needs().unwrap_or(&mut record.needs)
}

pub(super) fn naming(statement: &Statement<'_>) -> Naming {
    let object = statement.class.name.map(|name| String::from_utf8_lossy(&statement.head.name(name)).into_owned());
    Naming { kind: label(statement.class.kind).to_owned(), object, statement: statement.head.shown(SHOWN_BYTES) }
}

fn is_definition(kind: StatementKind) -> bool {
    matches!(kind, StatementKind::Create(_))
}

/// Whether a statement's strings may hold SQL.
pub(super) fn is_program(kind: StatementKind) -> bool {
    matches!(kind, StatementKind::Create(object) if !matches!(object, ObjectKind::Table | ObjectKind::Sequence | ObjectKind::Index))
}

/// The word for people.
pub(super) fn label(kind: StatementKind) -> &'static str {
    match kind {
        StatementKind::Create(object) => match object {
            ObjectKind::Table => "table",
            ObjectKind::View => "view",
            ObjectKind::Sequence => "sequence",
            ObjectKind::Trigger => "trigger",
            ObjectKind::Procedure => "procedure",
            ObjectKind::Function => "function",
            ObjectKind::Package => "package",
            ObjectKind::PackageBody => "package body",
            ObjectKind::Event => "event",
            ObjectKind::Index => "index",
        },
        StatementKind::Insert => "rows",
        _ => "statement",
    }
}
