//! The scope of a restore: which databases it writes to, told from the record of its dump and from what was asked for.
//! It is known before the first statement runs, and nothing else is written to.

use std::collections::HashMap;

use super::dump::{FilterError, NameCase, OddityKind, Record, RecordedKind, WantedDatabase, WantedDatabases};
use super::inventory::is_system;
use crate::process::escape;

/// The wishes of a person about a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Only these databases of the dump; none means all.
    pub databases: Vec<String>,
    /// The name that a single database gets.
    pub renamed: Option<String>,
    /// The database that the client's arguments name: everything goes there, if the dump does not say where it goes.
    pub into: Option<String>,
}

/// The databases that a restore writes to, and how its stream must pass for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreScope {
    pub databases: Vec<TargetDatabase>,
    /// Takes some databases out of the stream, or gives one of them another name.
    pub filter: Option<WantedDatabases>,
    /// The database that the client selects before it reads the stream, which must exist.
    pub selects: Option<String>,
}

/// A database of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetDatabase {
    pub name: String,
    /// Its name in the dump; nothing if the dump does not name it.
    pub source: Option<String>,
    /// The stream creates it if it does not exist.
    pub created: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    #[error(
        "the dump holds no database `{}`; it holds {}{}",
        escape(database),
        list(holds),
        other_case(database, holds)
    )]
    NotInDump { database: String, holds: Vec<String> },
    #[error(
        "the arguments name database `{}`, but the dump says itself where everything goes: {}; ask for some of them alone (`--one-database NAME` in `args`, `databases: [NAME, …]`, or `lagan restore --database NAME`), or leave the name out",
        escape(database),
        list(holds)
    )]
    SaysItself { database: String, holds: Vec<String> },
    #[error(
        "the dump is of one database and does not say which; say where it goes (its name in `args`, `databases: [NAME]`, or `lagan restore --database NAME`)"
    )]
    SaysNothing,
    #[error("databases: the dump is of one database and names none, so exactly one name can be given, not {}", list(.0))]
    NamesNone(Vec<String>),
    #[error("as: one database can get another name, not {}; name exactly one in `databases`", list(holds))]
    RenamesSeveral { holds: Vec<String> },
    #[error("`{0}` is a database of the server itself and cannot get another name")]
    RenamesSystem(String),
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error(
        "the server that is restored into does not tell `{}` from `{}`{} (lower_case_table_names), and the dump holds both",
        escape(one),
        escape(other),
        of_database.as_ref().map(|name| format!(" of `{}`", escape(name))).unwrap_or_default()
    )]
    SameNames { of_database: Option<String>, one: String, other: String },
    #[error(
        "the dump has a statement that may write to any database: `{0}`; take it out of the dump, and run it by hand if it is needed"
    )]
    Unclear(String),
    #[error("the dump has a command for the client, which a restore does not run: `{0}`; take it out of the dump")]
    ClientCommand(String),
    #[error("the dump selects more databases than can be told apart ({0})")]
    TooMany(u64),
}

impl RestoreScope {
    /// Databases of the server itself that are written to.
    pub fn system(&self) -> impl Iterator<Item = &str> {
        self.databases.iter().map(|database| database.name.as_str()).filter(|name| is_system(name))
    }

    /// The databases whose content is looked at before. Those of the server itself are never empty.
    #[must_use]
    pub fn touches(&self) -> Vec<String> {
        match &self.selects {
            Some(name) => vec![name.clone()],
            None => {
                let names = self.databases.iter().map(|database| database.name.clone());
                names.filter(|name| !is_system(name)).collect()
            }
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none by name".to_owned();
    }
    let shown: Vec<String> = names.iter().take(10).map(|name| format!("`{}`", escape(name))).collect();
    let more = if names.len() > 10 { format!(" and {} more", names.len() - 10) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Points to a name that differs in case only.
fn other_case(database: &str, holds: &[String]) -> String {
    let meant = holds.iter().find(|held| NameCase::Insensitive.same(held, database));
    meant
        .map(|meant| format!("; the server tells upper case from lower case, so ask for `{}`", escape(meant)))
        .unwrap_or_default()
}

/// Decides the scope; `case` is how the target compares names.
pub fn scope(record: &Record, asked: &Asked, case: NameCase) -> Result<RestoreScope, ScopeError> {
    let scope = choose(record, asked, case)?;
    // With a filter only those of the databases that are wanted count, which `choose` has looked at.
    let unclear = record.oddities.first.iter().find(|oddity| oddity.kind.is_unclear());
    if let Some(other) = unclear.filter(|_| scope.filter.is_none()) {
        let statement = other.statement.clone();
        return Err(match other.kind {
            OddityKind::ClientCommand => ScopeError::ClientCommand(statement),
            _ => ScopeError::Unclear(statement),
        });
    }
    if case == NameCase::Insensitive {
        distinct(None, scope.databases.iter().map(|database| &database.name))?;
        for database in &scope.databases {
            let Some(found) = record.database(database.source.as_deref()) else { continue };
            let of = |kind| found.objects.get(&kind).into_iter().flat_map(|listed| &listed.listed);
            let tables = found.tables.listed.iter().map(|table| &table.name);
            distinct(Some(&database.name), tables.chain(of(RecordedKind::View)).chain(of(RecordedKind::Sequence)))?;
        }
    }
    Ok(scope)
}

/// Refuses names that are one name for a server that ignores case: the later object would replace the earlier one.
fn distinct<'a>(of_database: Option<&String>, names: impl Iterator<Item = &'a String>) -> Result<(), ScopeError> {
    let mut seen: HashMap<String, &String> = HashMap::new();
    for name in names {
        if let Some(one) = seen.insert(name.to_lowercase(), name).filter(|one| *one != name) {
            let (one, other) = (one.clone(), name.clone());
            return Err(ScopeError::SameNames { of_database: of_database.cloned(), one, other });
        }
    }
    Ok(())
}

fn choose(record: &Record, asked: &Asked, case: NameCase) -> Result<RestoreScope, ScopeError> {
    if record.databases_left_out > 0 {
        return Err(ScopeError::TooMany(record.databases.len() as u64 + record.databases_left_out));
    }
    let named: Vec<String> = record.databases.iter().filter_map(|database| database.name.clone()).collect();
    let unnamed = record.database(None).is_some();
    match (named.as_slice(), asked.databases.as_slice(), &asked.into) {
        ([], [], into) => nameless(record, into.as_ref(), asked.renamed.as_ref(), case),
        ([], [wanted], _) => nameless(record, Some(wanted), asked.renamed.as_ref(), case),
        ([], several, _) => Err(ScopeError::NamesNone(several.to_vec())),
        (_, wanted @ [_, ..], _) => some(record, wanted, asked, (case, &named)),
        ([only], [], into) if !unnamed && into.as_ref().is_none_or(|into| case.same(into, only)) => {
            some(record, std::slice::from_ref(only), asked, (case, &named))
        }
        (_, [], Some(into)) => Err(ScopeError::SaysItself { database: into.clone(), holds: named }),
        (_, [], None) if asked.renamed.is_some() => Err(ScopeError::RenamesSeveral { holds: named }),
        (_, [], None) if unnamed => Err(ScopeError::SaysNothing),
        (_, [], None) => Ok(RestoreScope {
            databases: named.into_iter().map(|name| destination(record, &name, &name)).collect(),
            filter: None,
            selects: None,
        }),
    }
}

/// A dump that names no database goes where it is told, or back to where its header says it came from.
fn nameless(
    record: &Record,
    into: Option<&String>,
    renamed: Option<&String>,
    case: NameCase,
) -> Result<RestoreScope, ScopeError> {
    let origin = record.header.database.as_ref();
    if let (Some(into), Some(_), Some(origin)) = (into, renamed, origin)
        && !case.same(into, origin)
    {
        return Err(ScopeError::NotInDump { database: into.clone(), holds: vec![origin.clone()] });
    }
    let Some(name) = renamed.or(into).or(origin) else { return Err(ScopeError::SaysNothing) };
    if let (Some(origin), Some(naming)) =
        (origin, record.database(None).and_then(|database| database.names_itself.first.first()))
        && !case.same(origin, name)
    {
        return Err(FilterError::NamesItself { database: origin.clone(), naming: Box::new(naming.clone()) }.into());
    }
    let databases = vec![TargetDatabase { name: name.clone(), source: None, created: false }];
    Ok(RestoreScope { databases, filter: None, selects: Some(name.clone()) })
}

/// Some of the databases that the dump names.
fn some(
    record: &Record,
    wanted: &[String],
    asked: &Asked,
    (case, named): (NameCase, &[String]),
) -> Result<RestoreScope, ScopeError> {
    if let Some(missing) = wanted.iter().find(|wanted| !named.iter().any(|name| case.same(name, wanted))) {
        return Err(ScopeError::NotInDump { database: missing.clone(), holds: named.to_vec() });
    }
    // A server that ignores case may take two of the dump for one: then the exact name is meant, if it is there. Two that
    // are both meant are refused by `distinct`.
    let means =
        |wanted: &String, name: &String| if named.contains(wanted) { wanted == name } else { case.same(name, wanted) };
    let sources: Vec<&String> = named.iter().filter(|name| wanted.iter().any(|wanted| means(wanted, name))).collect();
    let is_one_of_two = |source: &&String| named.iter().filter(|name| case.same(name, source)).count() > 1;
    let filter_case = if sources.iter().any(is_one_of_two) { NameCase::Sensitive } else { case };
    let renamed = match (sources.as_slice(), &asked.renamed) {
        (_, None) => None,
        ([source], Some(new)) => Some(new).filter(|new| !case.same(new, source)),
        (_, Some(_)) => return Err(ScopeError::RenamesSeveral { holds: sources.into_iter().cloned().collect() }),
    };
    if let Some(source) = sources.first().filter(|_| renamed.is_some()) {
        can_be_renamed(record, source)?;
    }
    let alone = sources.len() == named.len() && record.database(None).is_none();
    let filter = (renamed.is_some() || !alone).then(|| WantedDatabases {
        databases: sources
            .iter()
            .map(|name| WantedDatabase { name: (*name).clone(), renamed: renamed.cloned() })
            .collect(),
        case: filter_case,
    });
    if filter.is_some() {
        no_unclear(record, wanted, case)?;
    }
    let databases = sources.into_iter().map(|source| destination(record, source, renamed.unwrap_or(source))).collect();
    Ok(RestoreScope { databases, filter, selects: None })
}

fn can_be_renamed(record: &Record, source: &str) -> Result<(), ScopeError> {
    let database = record.database(Some(source));
    if let Some(naming) = database.and_then(|database| database.names_itself.first.first()) {
        return Err(FilterError::NamesItself { database: source.to_owned(), naming: Box::new(naming.clone()) }.into());
    }
    if is_system(source) { Err(ScopeError::RenamesSystem(source.to_owned())) } else { Ok(()) }
}

/// Refuses statements of which nobody can tell whether they belong to these databases.
fn no_unclear(record: &Record, wanted: &[String], case: NameCase) -> Result<(), FilterError> {
    let unclear = record.oddities.first.iter().find(|oddity| {
        let of_wanted = |database: &String| wanted.iter().any(|wanted| case.same(database, wanted));
        oddity.kind.is_unclear() && oddity.database.as_ref().is_none_or(of_wanted)
    });
    unclear.map_or(Ok(()), |oddity| Err(FilterError::Unclear { statement: oddity.statement.clone() }))
}

fn destination(record: &Record, source: &str, name: &str) -> TargetDatabase {
    let created = record.database(Some(source)).is_some_and(|database| database.created);
    TargetDatabase { name: name.to_owned(), source: Some(source.to_owned()), created }
}

#[cfg(test)]
mod tests;
