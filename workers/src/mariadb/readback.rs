//! Compares, after the last statement of a restore, what the server holds with what the record of the dump promised.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    client::{QueryError, Rows, SqlClient, identifier, literal},
    dump::{DatabaseRecord, NameCase, Record, RecordedKind, TableRecord},
    inventory::is_system,
    kinds::{folded, kind as kind_of, word},
    scope::RestoreScope,
};

/// How closely the target is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The names of all objects.
    Objects,
    /// The number of rows of every table, too, which the server has to count.
    Rows,
}

/// The differences between a dump and the server that it was restored into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreDifferences {
    /// Objects and rows of the dump that are not there.
    pub missing: Vec<String>,
    /// Tables whose rows could not be counted, with the server's words.
    pub uncounted: Vec<String>,
    /// Events whose time is over, which the server does not create.
    pub expired: Vec<String>,
    /// Objects and rows that are not of the dump: they were there before, or somebody added them.
    pub additional: Vec<String>,
}

/// Number of the error of a table that does not exist.
const NO_SUCH_TABLE: u32 = 1146;

/// Names by database and kind; tables have none.
type Held = BTreeMap<(String, Option<RecordedKind>), BTreeSet<String>>;

/// Asks the server for all objects of the databases that a restore wrote to. Those of the server itself are not compared.
pub async fn read_back(
    client: &SqlClient,
    record: &Record,
    scope: &RestoreScope,
    (case, comparison): (NameCase, Comparison),
) -> Result<RestoreDifferences, QueryError> {
    let restored = scope.databases.iter().filter(|destination| !is_system(&destination.name));
    let databases: Vec<(&str, &DatabaseRecord)> = restored
        .filter_map(|destination| Some((destination.name.as_str(), record.database(destination.source.as_deref())?)))
        .collect();
    if databases.is_empty() {
        return Ok(RestoreDifferences::default());
    }
    let [objects, unusual] = client.ask(questions(&databases)).await?;
    let mut held = held(objects, case)?;
    let mut found = RestoreDifferences {
        expired: expired(client, &databases, case, &mut held).await?,
        ..RestoreDifferences::default()
    };
    for (name, database) in &databases {
        compare(database, name, case, &held, &mut found);
    }
    if comparison == Comparison::Rows {
        let unusual = Unusual::read(unusual, case);
        let counted = if record.uncounted_inserts == 0 { Counted::All } else { Counted::AtLeast };
        count_rows(client, (&databases, counted), &unusual, &mut found).await?;
    }
    Ok(found)
}

fn questions(databases: &[(&str, &DatabaseRecord)]) -> [String; 2] {
    let list = databases.iter().map(|(name, _)| literal(name)).collect::<Vec<_>>().join(",");
    let of = |kind: &str, schema: &str, name: &str, table: &str| {
        format!("SELECT {schema}, {kind}, {name} FROM information_schema.{table} WHERE {schema} IN ({list})")
    };
    let objects = [
        of("table_type", "table_schema", "table_name", "tables"),
        of("'TRIGGER'", "trigger_schema", "trigger_name", "triggers"),
        of("routine_type", "routine_schema", "routine_name", "routines"),
        of("'EVENT'", "event_schema", "event_name", "events"),
    ];
    [
        objects.join(" UNION ALL "),
        format!(
            "SELECT table_schema, table_name, table_type = 'SYSTEM VERSIONED' FROM information_schema.tables \
             WHERE table_schema IN ({list}) AND (table_type = 'SYSTEM VERSIONED' OR engine IN ({}))",
            EXTERNAL.map(literal).join(",")
        ),
    ]
}

fn held(rows: Rows, case: NameCase) -> Result<Held, QueryError> {
    let mut held = Held::new();
    for row in rows {
        let [database, kind, name] = <[String; 3]>::try_from(row).map_err(|_| QueryError::Answer)?;
        let kind = kind_of(&kind);
        held.entry((case.fold(&database), kind)).or_default().insert(folded(kind, &name, case));
    }
    Ok(held)
}

/// Lists the events that are not there because their time is over, and counts them as held. The server knows its time and time
/// zones.
async fn expired(
    client: &SqlClient,
    databases: &[(&str, &DatabaseRecord)],
    case: NameCase,
    held: &mut Held,
) -> Result<Vec<String>, QueryError> {
    let kind = Some(RecordedKind::Event);
    let mut absent = Vec::new();
    for (name, database) in databases {
        let there = held.entry((case.fold(name), kind)).or_default();
        let ends = database.event_ends.iter().filter(|(event, _)| !there.contains(&folded(kind, event, case)));
        absent.extend(ends.map(|(event, end)| (*name, event, end)));
    }
    let questions: Vec<String> = absent
        .iter()
        .map(|(_, _, end)| {
            let zone = end.zone.as_deref().map_or_else(|| "@@GLOBAL.time_zone".to_owned(), literal);
            format!("SELECT CONVERT_TZ({}, {zone}, '+00:00') <= UTC_TIMESTAMP()", literal(&end.at))
        })
        .collect();
    let mut expired = Vec::new();
    for ((database, event, _), answer) in absent.into_iter().zip(client.each(&questions).await?) {
        let is_over = answer.is_ok_and(|rows| rows.concat().first().is_some_and(|over| over == "1"));
        if is_over {
            held.entry((case.fold(database), kind)).or_default().insert(folded(kind, event, case));
            expired.push(format!("event `{database}`.`{event}`"));
        }
    }
    Ok(expired)
}

fn compare(database: &DatabaseRecord, name: &str, case: NameCase, held: &Held, found: &mut RestoreDifferences) {
    let tables = database.tables.listed.iter().map(|table| table.name.clone()).collect();
    let mut wanted: Vec<(Option<RecordedKind>, u64, Vec<String>)> = vec![(None, database.tables.count, tables)];
    wanted.extend(database.objects.iter().map(|(kind, listed)| (Some(*kind), listed.count, listed.listed.clone())));
    for (kind, count, listed) in wanted {
        let there = held.get(&(case.fold(name), kind)).cloned().unwrap_or_default();
        let word = word(kind);
        let absent = listed.iter().filter(|object| !there.contains(&folded(kind, object, case)));
        let absent: Vec<String> = absent.map(|object| format!("{word} `{name}`.`{object}`")).collect();
        if absent.is_empty() && (there.len() as u64) < count {
            found.missing.push(format!("{} of {count} {word}s of `{name}`", count - there.len() as u64));
        } else {
            found.missing.extend(absent);
        }
        if listed.len() as u64 == count {
            let ours: BTreeSet<String> = listed.iter().map(|object| folded(kind, object, case)).collect();
            let others = there.difference(&ours).map(|object| format!("{word} `{name}`.`{object}`"));
            found.additional.extend(others);
        }
    }
}

/// Whether a record knows all rows that its stream brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    All,
    /// The stream has statements whose rows the text does not tell.
    AtLeast,
}

/// Engines of tables whose rows are elsewhere. mariadb-dump leaves such rows out unless it is told `--skip-no-data-med`.
const EXTERNAL: [&str; 7] = ["MRG_MYISAM", "MRG_ISAM", "FEDERATED", "CONNECT", "OQGRAPH", "SPIDER", "VP"];

/// Tables whose rows are counted in another way, as folded names of database and table.
struct Unusual {
    versioned: BTreeSet<[String; 2]>,
    external: BTreeSet<[String; 2]>,
    case: NameCase,
}

impl Unusual {
    fn read(rows: Rows, case: NameCase) -> Self {
        let rows = rows.into_iter().filter_map(|row| <[String; 3]>::try_from(row).ok());
        let (versioned, external): (Vec<_>, Vec<_>) = rows.partition(|[_, _, is_versioned]| is_versioned == "1");
        let names = |rows: Vec<[String; 3]>| {
            rows.into_iter().map(|[database, table, _]| [case.fold(&database), case.fold(&table)]).collect()
        };
        Self { versioned: names(versioned), external: names(external), case }
    }

    fn is_versioned(&self, database: &str, table: &str) -> bool {
        self.versioned.contains(&[self.case.fold(database), self.case.fold(table)])
    }

    /// Whether the dump left the rows of this table out because they are elsewhere.
    fn is_left_out(&self, database: &str, table: &TableRecord) -> bool {
        table.rows == 0 && self.external.contains(&[self.case.fold(database), self.case.fold(&table.name)])
    }
}

/// Counts the rows of every listed table. Of versioned tables the dump may hold the history, which counts, too.
async fn count_rows(
    client: &SqlClient,
    (databases, counted): (&[(&str, &DatabaseRecord)], Counted),
    unusual: &Unusual,
    found: &mut RestoreDifferences,
) -> Result<(), QueryError> {
    // A line break in a name would shift the line numbers by which refusals are told apart.
    let mut tables: Vec<(&str, &TableRecord)> = Vec::new();
    for (name, database) in databases {
        let listed = database.tables.listed.iter().chain(&database.required_tables.listed);
        let (odd, plain): (Vec<&TableRecord>, Vec<&TableRecord>) = listed
            .filter(|table| !unusual.is_left_out(name, table))
            .partition(|table| table.name.contains('\n') || name.contains('\n'));
        tables.extend(plain.into_iter().map(|table| (*name, table)));
        found.uncounted.extend(odd.into_iter().map(|table| format!("table `{name}`.`{}`", table.name)));
        if database.required_tables.more {
            found.uncounted.push(format!("more tables of `{name}` than the record lists"));
        }
        if !database.tables.is_whole() {
            let rest = database.tables.count - database.tables.listed.len() as u64;
            found.uncounted.push(format!("{rest} tables of `{name}`, which the record does not list"));
        }
    }
    let questions: Vec<String> = tables
        .iter()
        .map(|(database, table)| {
            let all = if unusual.is_versioned(database, &table.name) { " FOR SYSTEM_TIME ALL" } else { "" };
            format!("SELECT COUNT(*) FROM {}.{}{all}", identifier(database), identifier(&table.name))
        })
        .collect();
    let answers = client.each(&questions).await?;
    for ((database, table), answer) in tables.iter().zip(answers) {
        let rows = match answer {
            Ok(rows) => rows,
            // It is among the missing objects already.
            Err(failure) if failure.number == Some(NO_SUCH_TABLE) => continue,
            Err(failure) => {
                found.uncounted.push(format!("table `{database}`.`{}` ({})", table.name, failure.line));
                continue;
            }
        };
        let count = rows.first().and_then(|row| row.first()).and_then(|count| count.parse::<u64>().ok());
        let count = count.ok_or(QueryError::Answer)?;
        let name = format!("`{database}`.`{}`", table.name);
        if count < table.rows {
            found.missing.push(format!("{} of {} rows of table {name}", table.rows - count, table.rows));
        } else if count > table.rows && counted == Counted::All {
            found.additional.push(format!("{} rows of table {name}", count - table.rows));
        }
    }
    Ok(())
}
