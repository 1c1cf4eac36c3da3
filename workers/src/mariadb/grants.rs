//! Reads `SHOW GRANTS` and says what an account lacks. An account that lacks a privilege does not get an error
//! from a dump but a smaller dump (faults F16), so this is asked before, not after.

use std::collections::BTreeSet;

/// What the current account may do, its active roles and PUBLIC included.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Grants {
    global: Privileges,
    /// Patterns with `_`, `%` and backslashes as the server gives them.
    databases: Vec<(String, Privileges)>,
    tables: Vec<(String, String, Privileges)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Privileges(BTreeSet<String>);

/// A privilege that would leave a hole in the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingGrant {
    pub privilege: &'static str,
    /// As `GRANT … ON` takes it.
    pub on: String,
    /// What would be missing or fail without it.
    pub consequence: &'static str,
}

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

    /// On every object of the database, those to come included.
    #[must_use]
    pub fn on_database(&self, privilege: &str, database: &str) -> bool {
        self.globally(privilege)
            || self.databases.iter().any(|(pattern, granted)| granted.has(privilege) && like(pattern, database))
    }

    #[must_use]
    pub fn on_table(&self, privilege: &str, database: &str, table: &str) -> bool {
        let granted = |(on, name, granted): &(String, String, Privileges)| {
            on == database && name == table && granted.has(privilege)
        };
        self.on_database(privilege, database) || self.tables.iter().any(granted)
    }

    /// Whether every routine of the database is visible, not only the account's own.
    #[must_use]
    pub fn sees_routines(&self, database: &str) -> bool {
        self.on_table("SELECT", "mysql", "proc") || self.on_database("SHOW CREATE ROUTINE", database)
    }

    fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("GRANT ") else { return };
        let Some((list, rest)) = split_on(rest) else { return };
        let privileges = Privileges::parse(list);
        let Some((database, rest)) = name(rest) else { return };
        match (database, rest.strip_prefix('.').and_then(name)) {
            (Name::Any, Some((Name::Any, _))) => self.global.0.extend(privileges.0),
            (Name::Quoted(database), Some((Name::Any, _))) => self.databases.push((database, privileges)),
            (Name::Quoted(database), Some((Name::Quoted(table), _))) => {
                self.tables.push((database, table, privileges));
            }
            _ => {}
        }
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

/// `_` is any character, `%` any number of them, a backslash takes the next one as it is.
fn like(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('%') => {
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.into_iter().any(|at| like(rest.as_str(), &text[at..]))
        }
        Some(wanted) => {
            let escaped = wanted == '\\';
            let wanted = if escaped { rest.next() } else { Some(wanted) };
            let mut text = text.chars();
            match (wanted, text.next()) {
                (Some('_'), Some(_)) if !escaped => like(rest.as_str(), text.as_str()),
                (Some(wanted), Some(found)) => wanted == found && like(rest.as_str(), text.as_str()),
                _ => false,
            }
        }
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
            assert_eq!(like(pattern, text), expected, "{pattern} {text}");
        }
    }
}
