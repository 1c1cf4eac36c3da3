//! The privileges that the statements of a stream need in a database, and those of them that an account lacks.

use super::client::identifier;
use super::dump::{DatabaseRecord, PrivilegedAction};
use super::grants::{Grants, MissingGrant};

/// One of several privileges is enough.
type Needed = (&'static [&'static str], &'static str);

/// Any of these lets an account refer to a table.
const REFERS: &[&str] = &["REFERENCES", "SELECT", "INSERT", "UPDATE", "DELETE"];

/// The privileges that the account lacks for a restore of this database into one of this name.
pub(super) fn missing(database: &DatabaseRecord, name: &str, grants: &Grants) -> Vec<MissingGrant> {
    let mut missing: Vec<MissingGrant> = Vec::new();
    let merges = database.needs.engines.names.iter().any(|engine| is_merge(engine));
    let needed = database.actions.iter().flat_map(|action| needed(*action));
    for (privileges, consequence) in needed.chain(if merges { MERGES } else { &[] }) {
        let is_held = privileges.iter().any(|privilege| grants.on_database(privilege, name));
        let Some(privilege) = privileges.first().filter(|_| !is_held) else { continue };
        if !missing.iter().any(|grant| grant.privilege == *privilege) {
            missing.push(MissingGrant { privilege, on: format!("{}.*", identifier(name)), consequence });
        }
    }
    missing
}

const MERGES: &[Needed] = &[
    (&["SELECT"], "the dump joins tables by the engine MERGE"),
    (&["UPDATE"], "the dump joins tables by the engine MERGE"),
    (&["DELETE"], "the dump joins tables by the engine MERGE"),
];

fn is_merge(engine: &str) -> bool {
    ["MRG_MYISAM", "MERGE"].iter().any(|merge| engine.eq_ignore_ascii_case(merge))
}

/// The privileges of a kind of statement, as the servers ask for them.
fn needed(action: PrivilegedAction) -> &'static [Needed] {
    match action {
        PrivilegedAction::CreateDatabase => &[(&["CREATE"], "the dump creates the database")],
        PrivilegedAction::DropDatabase => &[(&["DROP"], "the dump drops the database first")],
        PrivilegedAction::AlterDatabase => &[(&["ALTER"], "the dump alters the database")],
        PrivilegedAction::CreateTable => &[(&["CREATE"], "the dump creates tables")],
        PrivilegedAction::DropTable => &[(&["DROP"], "the dump drops tables first")],
        PrivilegedAction::AlterTable => &[(&["ALTER"], "the dump alters tables, such as by `DISABLE KEYS`")],
        PrivilegedAction::LockTables => {
            &[(&["LOCK TABLES"], "the dump locks tables"), (&["SELECT"], "the dump locks tables")]
        }
        PrivilegedAction::InsertRows => &[(&["INSERT"], "the dump inserts rows")],
        PrivilegedAction::ReplaceRows => &[(&["DELETE"], "the dump replaces rows")],
        PrivilegedAction::ReferTable => &[(REFERS, "the dump creates foreign keys")],
        PrivilegedAction::CreateView => &[(&["CREATE VIEW"], "the dump creates views")],
        PrivilegedAction::ReadTables => &[(&["SELECT"], "the dump creates views on tables")],
        PrivilegedAction::UseSequence => {
            &[(&["SELECT"], "tables take numbers from sequences"), (&["INSERT"], "tables take numbers from sequences")]
        }
        PrivilegedAction::SetSequence => &[(&["INSERT"], "the dump sets sequences")],
        PrivilegedAction::Trigger => &[(&["TRIGGER"], "the dump creates triggers")],
        PrivilegedAction::CreateRoutine => &[(&["CREATE ROUTINE"], "the dump creates routines")],
        PrivilegedAction::DropRoutine => &[(&["ALTER ROUTINE"], "the dump drops routines first")],
        PrivilegedAction::Event => &[(&["EVENT"], "the dump creates events")],
        PrivilegedAction::Index => &[(&["INDEX"], "the dump creates indexes")],
    }
}
