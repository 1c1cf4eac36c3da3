//! Reads `SHOW GRANTS` by the server's own rules and tells which privileges the account holds. An account that lacks a
//! privilege gets no error from a dump but a smaller dump, so this is asked before the dump starts.
//!
//! The server unites what three parties hold: the account, its active role with all roles that this one inherits, and
//! PUBLIC. Of the database patterns of one party it uses only the most specific one that matches; privileges of the
//! others are not added.

use std::{cmp::Reverse, collections::BTreeSet};

/// The privileges of the current account.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Grants {
    global: Privileges,
    account: Rows,
    /// The active role, united with the roles that it inherits, as the server does when a role is granted.
    role: Rows,
    public: Rows,
    /// A line that says `WITH GRANT OPTION`.
    may_grant: bool,
}

/// The rows of one party below the global level.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rows {
    /// Patterns with `_`, `%` and backslashes.
    databases: Vec<(String, Privileges)>,
    tables: Vec<(String, String, Privileges)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Privileges(BTreeSet<String>);

/// A privilege that would leave a hole in the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingGrant {
    pub privilege: &'static str,
    /// The object in the form that `GRANT … ON` takes.
    pub on: String,
    pub consequence: &'static str,
}

/// Each of these shows the names of all tables of a database.
const OF_TABLES: [&str; 13] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "REFERENCES",
    "INDEX",
    "ALTER",
    "CREATE VIEW",
    "SHOW VIEW",
    "TRIGGER",
    "DELETE HISTORY",
];

/// Each of these, held globally, shows all databases.
const OF_DATABASES: [&str; 8] = [
    "SHOW DATABASES",
    "CREATE TEMPORARY TABLES",
    "LOCK TABLES",
    "EXECUTE",
    "CREATE ROUTINE",
    "ALTER ROUTINE",
    "EVENT",
    "SHOW CREATE ROUTINE",
];

/// Each of these shows the names of all routines of a database.
const OF_ROUTINES: [&str; 4] = ["EXECUTE", "ALTER ROUTINE", "CREATE ROUTINE", "SHOW CREATE ROUTINE"];

impl std::fmt::Display for MissingGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ON {} ({})", self.privilege, self.on, self.consequence)
    }
}

impl Grants {
    /// Reads the lines of `SHOW GRANTS`; lines it does not understand grant nothing.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut grants = Self::default();
        for line in lines {
            grants.add(line);
        }
        grants
    }

    #[must_use]
    pub fn globally(&self, privilege: &str) -> bool {
        self.global.has(privilege)
    }

    /// Whether the account holds the privilege on every object of the database, including future ones.
    #[must_use]
    pub fn on_database(&self, privilege: &str, database: &str) -> bool {
        let party = |rows: &Rows| rows.of_database(database).is_some_and(|granted| granted.has(privilege));
        self.globally(privilege) || self.parties().into_iter().any(party)
    }

    #[must_use]
    pub fn on_table(&self, privilege: &str, database: &str, table: &str) -> bool {
        let granted = |(on, name, granted): &(String, String, Privileges)| {
            on == database && name == table && granted.has(privilege)
        };
        self.on_database(privilege, database) || self.parties().into_iter().any(|rows| rows.tables.iter().any(granted))
    }

    /// Whether every database is visible.
    #[must_use]
    pub fn sees_databases(&self) -> bool {
        OF_TABLES.iter().chain(&OF_DATABASES).any(|privilege| self.globally(privilege))
    }

    /// Whether every table of the database is visible, not only those that the account holds a grant on.
    #[must_use]
    pub fn sees_tables(&self, database: &str) -> bool {
        OF_TABLES.iter().any(|privilege| self.on_database(privilege, database))
    }

    /// Whether every routine of the database is visible, though perhaps without its body.
    #[must_use]
    pub fn sees_routines(&self, database: &str) -> bool {
        self.on_table("SELECT", "mysql", "proc")
            || OF_ROUTINES.iter().any(|privilege| self.on_database(privilege, database))
    }

    /// Whether the account may grant anything at all.
    #[must_use]
    pub fn may_grant(&self) -> bool {
        self.may_grant
    }

    fn parties(&self) -> [&Rows; 3] {
        [&self.account, &self.role, &self.public]
    }

    fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("GRANT ") else { return };
        let Some((list, rest)) = split_on(rest) else { return };
        self.may_grant |= rest.ends_with(" WITH GRANT OPTION");
        let privileges = Privileges::parse(list);
        let Some((database, rest)) = name(rest) else { return };
        let Some((table, rest)) = rest.strip_prefix('.').and_then(name) else { return };
        let Some(grantee) = rest.strip_prefix(" TO ") else { return };
        let rows = if grantee == "PUBLIC" || grantee.starts_with("PUBLIC ") {
            &mut self.public
        } else if name(grantee).is_some_and(|(_, rest)| rest.starts_with('@')) {
            &mut self.account
        } else {
            &mut self.role
        };
        match (database, table) {
            (Name::Any, Name::Any) => self.global.0.extend(privileges.0),
            (Name::Quoted(pattern), Name::Any) => rows.add(pattern, privileges),
            (Name::Quoted(database), Name::Quoted(table)) => rows.tables.push((database, table, privileges)),
            (Name::Any, Name::Quoted(_)) => {}
        }
    }
}

impl Rows {
    /// Roles that a role inherits may have rows of the same pattern; the server unites these.
    fn add(&mut self, pattern: String, privileges: Privileges) {
        match self.databases.iter_mut().find(|(known, _)| *known == pattern) {
            Some((_, granted)) => granted.0.extend(privileges.0),
            None => self.databases.push((pattern, privileges)),
        }
    }

    /// The row that the server uses for the database.
    fn of_database(&self, database: &str) -> Option<&Privileges> {
        let matching = self.databases.iter().filter(|(pattern, _)| like(pattern.as_bytes(), database.as_bytes()));
        matching.max_by_key(|(pattern, _)| Reverse(generality(pattern))).map(|(_, granted)| granted)
    }
}

impl Privileges {
    fn parse(list: &str) -> Self {
        let mut names = BTreeSet::new();
        let mut depth = 0_usize;
        let mut word = String::new();
        for character in list.chars().chain([',']) {
            match character {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    names.insert(std::mem::take(&mut word).trim().to_owned());
                }
                _ if depth > 0 => {
                    // A privilege on some columns is no privilege on the table: spoil the word.
                    if !word.ends_with('\0') {
                        word.push('\0');
                    }
                }
                other => word.push(other),
            }
        }
        Self(names)
    }

    fn has(&self, privilege: &str) -> bool {
        self.0.contains(privilege) || self.0.contains("ALL PRIVILEGES") || self.0.contains("ALL")
    }
}

enum Name {
    Any,
    Quoted(String),
}

/// Splits `SELECT (`a ON b`), INSERT ON …` at the ` ON ` outside of quotes.
fn split_on(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    for (at, character) in text.char_indices() {
        quoted ^= character == '`';
        if !quoted && text[at..].starts_with(" ON ") {
            return Some((&text[..at], &text[at + 4..]));
        }
    }
    None
}

fn name(text: &str) -> Option<(Name, &str)> {
    if let Some(rest) = text.strip_prefix('*') {
        return Some((Name::Any, rest));
    }
    let body = text.strip_prefix('`')?;
    let mut name = String::new();
    let mut characters = body.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character != '`' {
            name.push(character);
        } else if characters.next_if(|(_, next)| *next == '`').is_some() {
            name.push('`');
        } else {
            return Some((Name::Quoted(name), &body[at + 1..]));
        }
    }
    None
}

/// `_` is any byte, `%` any number of them, a backslash takes the next byte as it is.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'%', rest @ ..] => (0..=text.len()).any(|at| like(rest, &text[at..])),
        [b'_', rest @ ..] => !text.is_empty() && like(rest, &text[1..]),
        [b'\\', wanted, rest @ ..] | [wanted, rest @ ..] => text.first() == Some(wanted) && like(rest, &text[1..]),
    }
}

/// The server's measure of how many names a pattern matches (`get_magic_sort` of its sources): it uses the matching
/// pattern with the smallest.
fn generality(pattern: &str) -> u64 {
    const LONGEST: u64 = 64;
    let (mut literal, mut single, mut many, mut prefix) = (0, 0_u64, 0_u64, 0);
    let mut bytes = pattern.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if matches!(byte, b'%' | b'_') && many + single == 0 {
            prefix = literal;
        }
        match byte {
            b'%' => {
                many += 1;
                while bytes.next_if_eq(&b'%').is_some() {}
            }
            b'_' => single += 1,
            other => {
                if other == b'\\' {
                    bytes.next();
                }
                literal += 1;
            }
        }
    }
    let (many, single) = (many.min(31), single.min(31));
    let length = LONGEST + 1;
    let open = if many > 0 { LONGEST.saturating_sub(literal + single) } else { 0 };
    if open > single {
        (((open * 2 + 1) * length + many) * 32 + single) * length + prefix
    } else {
        ((single * 2 * length + open) * 32 + many) * length + prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(lines: &[&str]) -> Grants {
        Grants::parse(lines.iter().copied())
    }

    #[test]
    fn grants_of_every_level_are_read() {
        let grants = grants(&[
            "GRANT `r1` TO `sel`@`%`",
            "GRANT SHOW DATABASES, BINLOG MONITOR ON *.* TO `sel`@`%` IDENTIFIED BY PASSWORD '*X'",
            "GRANT SELECT, SHOW VIEW ON `shop\\_a`.* TO `sel`@`%`",
            "GRANT ALL PRIVILEGES ON `test\\_%`.* TO PUBLIC",
            "GRANT SELECT ON `mysql`.`proc` TO `sel`@`%`",
            "GRANT SELECT (`a ON b`), INSERT ON `x``y`.`t` TO `sel`@`%`",
            "GRANT EXECUTE ON PROCEDURE `shop`.`p` TO `sel`@`%`",
        ]);
        assert!(grants.globally("SHOW DATABASES") && !grants.globally("SELECT"));
        assert!(grants.on_database("SELECT", "shop_a") && !grants.on_database("SELECT", "shopXa"));
        assert!(grants.on_database("TRIGGER", "test_b") && !grants.on_database("TRIGGER", "testb"));
        assert!(grants.sees_routines("anything"));
        assert!(grants.on_table("INSERT", "x`y", "t") && !grants.on_table("SELECT", "x`y", "t"));
        assert!(!grants.on_database("EXECUTE", "shop"));
    }

    #[test]
    fn patterns_are_those_of_the_server() {
        for (pattern, text, expected) in [
            ("a%", "abc", true),
            ("a_c", "abc", true),
            ("a\\_c", "abc", false),
            ("%", "", true),
            ("a%b%c", "aXbYc", true),
            ("a%b", "abX", false),
        ] {
            assert_eq!(like(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn only_the_most_specific_pattern_of_each_party_counts() {
        let grants = grants(&[
            "GRANT TRIGGER ON `sh%`.* TO `u`@`%`",
            "GRANT SELECT ON `shop`.* TO `u`@`%`",
            "GRANT EVENT ON `sho_`.* TO `r1`",
            "GRANT SHOW VIEW ON `sho%`.* TO `r2`",
            "GRANT LOCK TABLES ON `shop`.* TO PUBLIC",
        ]);
        let held = |privilege| grants.on_database(privilege, "shop");
        assert!(held("SELECT") && held("EVENT") && held("LOCK TABLES"));
        assert!(!held("TRIGGER") && !held("SHOW VIEW"));
        assert!(grants.on_database("TRIGGER", "sheep") && grants.on_database("SHOW VIEW", "shopping"));
    }
}
