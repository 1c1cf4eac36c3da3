//! Statements of a stream that reach beyond its databases: to accounts, replication and variables of the whole server.

use super::{
    dump::{NameCase, Needs, Oddity, OddityKind, Record},
    grants::{Grants, MissingGrant},
    scope::RestoreScope,
};

/// Statements that a restore runs besides those in its databases, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BeyondDatabases {
    /// The beginnings of the first ones.
    pub statements: Vec<String>,
    /// The stream has more unusual statements than its record shows.
    pub more: bool,
}

/// Lists the statements that a restore of this scope lets pass.
#[must_use]
pub fn beyond_databases(record: &Record, scope: &RestoreScope, case: NameCase) -> BeyondDatabases {
    let statements: Vec<String> = passing(record, scope, case).map(|oddity| oddity.statement.clone()).collect();
    let more = !statements.is_empty() && record.oddities.count > record.oddities.first.len() as u64;
    BeyondDatabases { statements, more }
}

/// The privileges that these statements need and the account lacks. `needs` are those of the restore.
pub(super) fn missing(
    (record, scope, case): (&Record, &RestoreScope, NameCase),
    needs: &Needs,
    grants: &Grants,
) -> Vec<MissingGrant> {
    let variables = needs.variables.names.iter().filter_map(|name| of_variable(name));
    let statements = passing(record, scope, case).filter_map(of_statement);
    let mut missing: Vec<MissingGrant> = Vec::new();
    for (privileges, consequence) in statements.chain(variables) {
        let is_held = |privilege: &str| match privilege {
            GRANT_OPTION => grants.may_grant(),
            privilege => grants.globally(privilege),
        };
        let Some(privilege) = privileges.first().filter(|_| !privileges.iter().any(|held| is_held(held))) else {
            continue;
        };
        if !missing.iter().any(|grant| grant.privilege == *privilege) {
            missing.push(MissingGrant { privilege, on: "*.*".to_owned(), consequence });
        }
    }
    missing
}

/// A filter leaves out what reaches beyond databases, but for variables that are set inside of a wanted one.
fn passing<'r>(record: &'r Record, scope: &'r RestoreScope, case: NameCase) -> impl Iterator<Item = &'r Oddity> {
    record.oddities.first.iter().filter(move |oddity| {
        let is_beyond =
            matches!(oddity.kind, OddityKind::Account | OddityKind::Replication | OddityKind::GlobalVariable);
        let of_wanted = || {
            let wanted = scope.filter.iter().flat_map(|filter| &filter.databases);
            oddity.kind == OddityKind::GlobalVariable
                && wanted
                    .into_iter()
                    .any(|wanted| oddity.database.as_ref().is_some_and(|of| case.same(of, &wanted.name)))
        };
        is_beyond && (scope.filter.is_none() || of_wanted())
    })
}

/// One of several privileges is enough.
type Needed = (&'static [&'static str], &'static str);

const GRANT_OPTION: &str = "GRANT OPTION";
const REPLICATION: Needed = (&["REPLICATION SLAVE ADMIN", "SUPER"], "the dump changes replication");

/// Each of these lets an account set some variables of the whole server.
const ADMIN: &[&str] = &[
    "SUPER",
    "BINLOG ADMIN",
    "BINLOG REPLAY",
    "CONNECTION ADMIN",
    "FEDERATED ADMIN",
    "READ_ONLY ADMIN",
    "READ ONLY ADMIN",
    "REPLICATION MASTER ADMIN",
    "REPLICATION SLAVE ADMIN",
];

/// `None` if the server asks for no privilege, or for one that depends on more than the beginning of the statement.
fn of_statement(oddity: &Oddity) -> Option<Needed> {
    let verb = oddity.statement.split(' ').next().unwrap_or_default().to_ascii_uppercase();
    match (oddity.kind, verb.as_str()) {
        // `STOP ALL SLAVES` and its like need a privilege only if there are some, and stand beside `CHANGE MASTER`.
        (OddityKind::Replication, _) if !oddity.statement.to_ascii_uppercase().contains(" ALL ") => Some(REPLICATION),
        (OddityKind::Account, "CREATE" | "DROP" | "ALTER") => {
            Some((&["CREATE USER"], "the dump creates, changes or drops accounts"))
        }
        // Without `ON` it is a role that is granted.
        (OddityKind::Account, "GRANT" | "REVOKE") if oddity.statement.to_ascii_uppercase().contains(" ON ") => {
            Some((&[GRANT_OPTION], "the dump grants privileges"))
        }
        _ => None,
    }
}

fn of_variable(name: &str) -> Option<Needed> {
    match name {
        "sql_log_bin" => Some((&["BINLOG ADMIN", "SUPER"], "the dump sets sql_log_bin")),
        "GLOBAL gtid_slave_pos" => Some(REPLICATION),
        name => name.starts_with("GLOBAL ").then_some((ADMIN, "the dump sets variables of the whole server")),
    }
}
