//! Finds the error that a client reports and its number. The catalogue says what a number means; of a line that names one,
//! no prose is read that is not the client's own, because the server may speak another language.

use lagan_schemas::engine::ErrorRule;
use lagan_schemas::error::{Class, Code};

use super::engine;

/// The first error that a client reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFailure {
    /// The meaning, if the catalogue knows it.
    pub rule: Option<&'static ErrorRule>,
    /// MariaDB's number: below 2000 and above 3000 from the server, 2000-2999 from the client.
    pub number: Option<u32>,
    /// The line as it was written, secrets redacted.
    pub line: String,
    /// The first name in backticks, usually the table or the view.
    pub object: Option<String>,
}

impl ClientFailure {
    /// Reads the lines of a client's stderr; `None` if none of them reports an error.
    #[must_use]
    pub fn read(lines: &[String]) -> Option<Self> {
        let found = lines.iter().find_map(|line| number(line).map(|number| (line, Some(number))));
        let (line, number) = match found {
            Some(found) => found,
            None => (lines.iter().rev().find(|line| is_complaint(line))?, None),
        };
        let rule = engine().explain(std::iter::once((line.as_str(), number))).map(|(rule, _)| rule);
        Some(Self { rule, number, line: line.clone(), object: first_name(line) })
    }

    /// The code of the failure, if it has one of its own.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.rule?.code
    }

    /// Whether the same question can be answered later.
    #[must_use]
    pub fn class(&self) -> Class {
        if self.rule.is_some_and(|rule| rule.passes) { Class::Transient } else { Class::Permanent }
    }

    #[must_use]
    pub fn hint(&self) -> &'static str {
        ErrorRule::hint_of(self.rule)
    }
}

/// The forms the clients use: `Got error: 1045: "…`, `Error 2013: …`, `ERROR 1064 (42000) at line 3: …`,
/// `Couldn't execute '…': … (1142)`.
fn number(line: &str) -> Option<u32> {
    for start in ["Got error: ", "Error: ", "Error ", "ERROR "] {
        let rest = line.split(start).nth(1);
        if let Some(number) = rest.and_then(leading_number) {
            return Some(number);
        }
    }
    let inner = line.trim_end().strip_suffix(')')?.rsplit_once('(')?.1;
    if is_complaint(line) { inner.parse().ok() } else { None }
}

fn leading_number(text: &str) -> Option<u32> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let end = text[digits..].chars().next();
    if end.is_none_or(|next| matches!(next, ':' | ' ' | '(')) { text[..digits].parse().ok() } else { None }
}

/// A line by the programs themselves rather than a copy of data or a warning.
fn is_complaint(line: &str) -> bool {
    let names = ["mariadb-dump: ", "mysqldump: ", "mariadb: ", "mysql: ", "ERROR", "error"];
    names.iter().any(|name| line.starts_with(name)) && !line.contains("Warning")
}

fn first_name(line: &str) -> Option<String> {
    let name = line.split_once('`')?.1.split_once('`')?.0;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn read(line: &str) -> ClientFailure {
        ClientFailure::read(&["Warning: mariadb: something (12)".into(), line.into()]).unwrap()
    }

    #[test]
    fn numbers_are_found_in_every_form_the_clients_use() {
        let cases = [
            (
                r#"mariadb-dump: Got error: 1045: "Access denied for user 'x'@'y' (using password: YES)" when trying to connect"#,
                1045,
                Some(Code::AccessDenied),
                Class::Permanent,
            ),
            (
                "mariadb-dump: Error 2013: Lost connection to server during query when dumping table `big` at row: 512",
                2013,
                Some(Code::ConnectionLost),
                Class::Transient,
            ),
            (
                "mariadb-dump: Couldn't execute 'show create table `v`': SHOW VIEW command denied to user 'u1'@'h' for table `pv`.`v` (1142)",
                1142,
                Some(Code::MissingPrivileges),
                Class::Permanent,
            ),
            ("ERROR 1064 (42000) at line 5: You have an error in your SQL syntax", 1064, None, Class::Permanent),
            (
                "ERROR 2002 (HY000): Can't connect to server on '127.0.0.1' (115)",
                2002,
                Some(Code::DatabaseUnreachable),
                Class::Transient,
            ),
            (
                "mariadb-dump: Couldn't execute 'SHOW FIELDS FROM `broken`': View 's.broken' references invalid table(s) (1356)",
                1356,
                Some(Code::BrokenObject),
                Class::Permanent,
            ),
            (
                "mariadb-dump: Error 1412: Table definition has changed, please retry transaction when dumping table `t` at row: 0",
                1412,
                Some(Code::SchemaChanged),
                Class::Transient,
            ),
            (
                "ERROR 2026 (HY000): TLS/SSL error: SSL is required, but the server does not support it",
                2026,
                Some(Code::DatabaseUnreachable),
                Class::Permanent,
            ),
            (
                "mariadb-dump: Error 2026: TLS/SSL error: unexpected eof while reading when dumping table `t` at row: 9",
                2026,
                Some(Code::ConnectionLost),
                Class::Transient,
            ),
        ];
        for (line, number, code, class) in cases {
            let failure = read(line);
            assert_eq!((failure.number, failure.code(), failure.class()), (Some(number), code, class), "{line}");
        }
        assert_eq!(read(cases[1].0).object.as_deref(), Some("big"));
    }

    #[test]
    fn errors_without_a_number_are_told_apart() {
        let closed = read("mariadb-dump: Got errno 32 on write");
        assert_eq!((closed.hint(), closed.class()), ("see the error of the uploader", Class::Transient));
        assert_eq!(read("mariadb-dump: Got errno 28 on write").hint(), "free space on the server's disk");
        let denied = read("mariadb-dump: u1 has insufficient privileges to SHOW CREATE FUNCTION `f`!");
        assert_eq!((denied.code(), denied.object.as_deref()), (Some(Code::MissingPrivileges), Some("f")));
        let usage = read("mariadb-dump: unknown option '--x'");
        assert_eq!((usage.code(), usage.hint()), (None, "check the arguments and the version of the client program"));
        assert_eq!(ClientFailure::read(&["all is well".into()]), None);
    }

    #[test]
    fn the_prose_beside_a_number_has_no_meaning() {
        let unknown = read("ERROR 1305 (42000) at line 3: FUNCTION sandbox.`unknown option` does not exist");
        assert_eq!((unknown.rule, unknown.hint(), unknown.class()), (None, "see the message", Class::Permanent));
    }
}
