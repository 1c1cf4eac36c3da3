//! The scope of a restore: which databases it writes to, told from the record of its dump and from what was asked for.
//! It is known before the first statement runs, and nothing else is written to.

use std::collections::HashMap;

use super::dump::{FilterError, NameCase, OddityKind, Record, RecordedKind, WantedDatabase, WantedDatabases};
use super::inventory::is_system;
use super::restore::Touches;
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
    #[error("the dump holds no database `{}`; it holds {}", escape(database), list(holds))]
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
    pub fn touches(&self) -> Touches {
        match &self.selects {
            Some(name) => Touches::Database(name.clone()),
            None => {
                let names = self.databases.iter().map(|database| database.name.clone());
                Touches::Databases(names.filter(|name| !is_system(name)).collect())
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

/// Decides the scope; `case` is how the target compares names.
pub fn scope(record: &Record, asked: &Asked, case: NameCase) -> Result<RestoreScope, ScopeError> {
    let scope = choose(record, asked, case)?;
    // With a filter only those of the databases that are wanted count, which `choose` has looked at.
    let other = record.oddities.first.iter().find(|oddity| matches!(oddity.kind, OddityKind::Other | OddityKind::LoadData));
    if let Some(other) = other.filter(|_| scope.filter.is_none()) {
        return Err(ScopeError::Unclear(other.statement.clone()));
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
        ([], [], into) => nameless(record, into.as_ref(), asked.renamed.as_ref()),
        ([], [wanted], _) => nameless(record, Some(wanted), asked.renamed.as_ref()),
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
fn nameless(record: &Record, into: Option<&String>, renamed: Option<&String>) -> Result<RestoreScope, ScopeError> {
    let origin = record.header.database.as_ref();
    if let (Some(into), Some(_), Some(origin)) = (into, renamed, origin)
        && into != origin
    {
        return Err(ScopeError::NotInDump { database: into.clone(), holds: vec![origin.clone()] });
    }
    let Some(name) = renamed.or(into).or(origin) else { return Err(ScopeError::SaysNothing) };
    if let (Some(origin), Some(naming)) =
        (origin, record.database(None).and_then(|database| database.names_itself.first.first()))
        && origin != name
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
    // A server that ignores case may take two of them for one; `distinct` refuses that later.
    let sources: Vec<&String> =
        named.iter().filter(|name| wanted.iter().any(|wanted| case.same(name, wanted))).collect();
    let renamed = match (sources.as_slice(), &asked.renamed) {
        (_, None) => None,
        ([source], Some(new)) => Some(new).filter(|new| new != source),
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
        case,
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
mod tests {
    use super::super::dump::Recorder;
    use super::*;

    const SEVERAL: &str = "CREATE DATABASE `a`;\nUSE `a`;\nCREATE TABLE t (x int);\nUSE `b`;\nCREATE VIEW v AS select `b`.`t`.`x` from `a`.`t`;\n";
    const ONE: &str = "CREATE DATABASE `a`;\nUSE `a`;\nCREATE TABLE t (x int);\n";
    const NAMELESS: &str = "-- Host: h    Database: a\nCREATE TABLE t (x int);\n";
    const NAMELESS_NAMING: &str = "-- Host: h    Database: a\nCREATE VIEW v AS select 1 from `a`.`t`;\n";

    fn ask(dump: &str, database: Option<&str>, renamed: Option<&str>, into: Option<&str>) -> Result<String, String> {
        let mut recorder = Recorder::default();
        recorder.feed(dump.as_bytes());
        let own = |text: Option<&str>| text.map(str::to_owned);
        let asked = Asked { databases: own(database).into_iter().collect(), renamed: own(renamed), into: own(into) };
        let scope = scope(&recorder.finish(), &asked, NameCase::Sensitive).map_err(|error| error.to_string())?;
        let names: Vec<String> = scope
            .databases
            .iter()
            .map(|database| format!("{}{}", database.name, if database.created { "+" } else { "" }))
            .collect();
        let filter = if scope.filter.is_some() { " filtered" } else { "" };
        Ok(format!(
            "{}{filter}{}",
            names.join(" "),
            scope.selects.map(|name| format!(" in {name}")).unwrap_or_default()
        ))
    }

    #[test]
    fn a_statement_that_may_write_anywhere_is_refused_and_what_is_dropped_is_named() {
        for statement in [
            "RENAME TABLE `p`.`t` TO `p`.`u`",
            "TRUNCATE `p`.`t`",
            "UPDATE `p`.`t` SET x = 1",
            "DELETE FROM `p`.`t`",
            "CALL `p`.`do_it`()",
            "DROP TABLE IF EXISTS t, `p`.`t`",
        ] {
            let refused = ask(&format!("{ONE}{statement};\n"), None, None, None).expect_err(statement);
            let verb = statement.split(' ').next().unwrap_or_default();
            assert!(refused.contains("may write to any database") && refused.contains(verb), "{refused}");
            // Accounts do not crowd it out.
            let many = format!("{ONE}{}{statement};\n", "GRANT SELECT ON *.* TO x;\n".repeat(20));
            assert!(ask(&many, None, None, None).is_err(), "{statement}");
        }
        let dropped = format!("{ONE}DROP DATABASE IF EXISTS `prod`;\n");
        assert_eq!(ask(&dropped, None, None, None).as_deref(), Ok("a+ prod"));
        let again = "DROP DATABASE IF EXISTS `a`;\nCREATE DATABASE `a`;\nUSE `a`;\nDROP TABLE IF EXISTS `t`;\n";
        assert_eq!(ask(again, None, None, None).as_deref(), Ok("a+"));
    }

    #[test]
    fn everything_is_written_where_the_dump_says() {
        assert_eq!(ask(SEVERAL, None, None, None).as_deref(), Ok("a+ b"));
        assert_eq!(ask(ONE, None, None, None).as_deref(), Ok("a+"));
        assert_eq!(ask(NAMELESS, None, None, None).as_deref(), Ok("a in a"));
        assert_eq!(
            ask("CREATE TABLE t (x int);\n", None, None, None).map_err(|e| e.contains("does not say which")),
            Err(true)
        );
    }

    #[test]
    fn one_database_is_taken_out() {
        assert_eq!(ask(SEVERAL, Some("b"), None, None).as_deref(), Ok("b filtered"));
        assert_eq!(ask(ONE, Some("a"), None, None).as_deref(), Ok("a+"));
        assert_eq!(ask(NAMELESS, Some("c"), None, None).as_deref(), Ok("c in c"));
        let missing = ask(SEVERAL, Some("c"), None, None);
        assert_eq!(missing, Err("the dump holds no database `c`; it holds `a`, `b`".to_owned()));
    }

    #[test]
    fn several_databases_are_taken_out_and_only_one_gets_another_name() {
        let mut recorder = Recorder::default();
        recorder.feed(format!("{SEVERAL}USE `C`;\nCREATE TABLE t (x int);\n").as_bytes());
        let record = recorder.finish();
        let ask = |databases: &[&str], renamed: Option<&str>, case| {
            let databases = databases.iter().map(|name| (*name).to_owned()).collect();
            let asked = Asked { databases, renamed: renamed.map(str::to_owned), into: None };
            let scope = scope(&record, &asked, case).map_err(|error| error.to_string())?;
            let names: Vec<String> = scope.databases.into_iter().map(|database| database.name).collect();
            Ok((names.join(" "), scope.filter.is_some()))
        };
        let sensitive = NameCase::Sensitive;
        assert_eq!(ask(&["C", "a"], None, sensitive), Ok(("a C".to_owned(), true)));
        assert_eq!(ask(&["c", "A"], None, NameCase::Insensitive), Ok(("a C".to_owned(), true)));
        assert_eq!(ask(&["C", "b", "a"], None, sensitive), Ok(("a b C".to_owned(), false)));
        assert_eq!(
            ask(&["a", "c"], None, sensitive),
            Err("the dump holds no database `c`; it holds `a`, `b`, `C`".to_owned())
        );
        assert_eq!(
            ask(&["a", "C"], Some("x"), sensitive),
            Err("as: one database can get another name, not `a`, `C`; name exactly one in `databases`".to_owned())
        );
        let nameless = super::scope(
            &{
                let mut recorder = Recorder::default();
                recorder.feed(NAMELESS.as_bytes());
                recorder.finish()
            },
            &Asked { databases: vec!["a".to_owned(), "b".to_owned()], ..Asked::default() },
            sensitive,
        );
        assert_eq!(nameless, Err(ScopeError::NamesNone(vec!["a".to_owned(), "b".to_owned()])));
    }

    #[test]
    fn a_name_in_the_arguments_must_be_the_one_of_the_dump() {
        assert_eq!(ask(ONE, None, None, Some("a")).as_deref(), Ok("a+"));
        assert_eq!(ask(NAMELESS, None, None, Some("copy")).as_deref(), Ok("copy in copy"));
        for dump in [ONE, SEVERAL] {
            let refused =
                ask(dump, None, None, Some("copy")).map_err(|e| e.contains("says itself where everything goes"));
            assert_eq!(refused, Err(true), "{dump}");
        }
        assert!(ask(SEVERAL, None, None, Some("a")).is_err());
    }

    #[test]
    fn names_that_a_server_takes_for_one_are_refused() {
        let dumps = [
            "USE `a`;\nCREATE TABLE `Orders` (x int);\nCREATE TABLE `orders` (x int);\n",
            "USE `a`;\nCREATE TABLE `v` (x int);\nCREATE VIEW `V` AS select 1;\n",
            "USE `A`;\nCREATE TABLE `t` (x int);\nUSE `a`;\nCREATE TABLE `t` (x int);\n",
        ];
        for dump in dumps {
            let mut recorder = Recorder::default();
            recorder.feed(dump.as_bytes());
            let record = recorder.finish();
            assert!(scope(&record, &Asked::default(), NameCase::Sensitive).is_ok());
            let refused = scope(&record, &Asked::default(), NameCase::Insensitive);
            assert!(matches!(refused, Err(ScopeError::SameNames { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_database_gets_another_name_if_nothing_names_it() {
        assert_eq!(ask(ONE, None, Some("c"), None).as_deref(), Ok("c+ filtered"));
        assert_eq!(ask(SEVERAL, Some("a"), Some("c"), None).as_deref(), Ok("c+ filtered"));
        assert_eq!(ask(NAMELESS, Some("a"), Some("c"), None).as_deref(), Ok("c in c"));
        for refused in [
            ask(SEVERAL, Some("b"), Some("c"), None),
            ask(NAMELESS_NAMING, None, Some("c"), None),
            ask(NAMELESS_NAMING, None, None, Some("c")),
        ] {
            assert_eq!(refused.map_err(|e| e.contains("names it in a view `v`")), Err(true));
        }
        assert_eq!(ask(NAMELESS_NAMING, None, None, Some("a")).as_deref(), Ok("a in a"));
        assert!(ask(SEVERAL, None, Some("c"), None).is_err() && ask(NAMELESS, Some("b"), Some("c"), None).is_err());
    }
}
