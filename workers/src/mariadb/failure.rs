//! Reads the error numbers of the clients and tells whether another attempt can help and what a person can do.
//! It never reads prose, because the server may speak another language.

use lagan_schemas::error::Class;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    AccessDenied,
    MissingPrivilege,
    AuthPlugin,
    UnknownHost,
    CannotConnect,
    TooManyConnections,
    LostConnection,
    Tls,
    UnknownDatabase,
    TableVanished,
    TableChanged,
    BrokenView,
    LockTimeout,
    ServerStopping,
    ReadOnly,
    ServerDiskFull,
    PacketTooLarge,
    DuplicateKey,
    ConstraintFailed,
    Syntax,
    SandboxRefused,
    /// The program could not write its stream: our own side failed first.
    OutputClosed,
    /// The program is missing or did not understand its arguments.
    Usage,
    Other,
}

const TLS: u32 = 2026;

/// The first error that a client reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFailure {
    pub kind: FailureKind,
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
        let kind = match number {
            // Over TLS a connection that breaks while it is used is a TLS error, too.
            Some(TLS) if in_use(line) => FailureKind::LostConnection,
            Some(number) => kind_of(number),
            None => unnumbered(line),
        };
        Some(Self { kind, number, line: line.clone(), object: first_name(line) })
    }
}

impl FailureKind {
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::CannotConnect
            | Self::TooManyConnections
            | Self::LostConnection
            | Self::TableVanished
            | Self::TableChanged
            | Self::LockTimeout
            | Self::ServerStopping
            | Self::OutputClosed => Class::Transient,
            _ => Class::Permanent,
        }
    }

    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::AccessDenied => {
                "check user name and password in the target's secret, and from which hosts the account may connect"
            }
            Self::MissingPrivilege => "grant the account what the message names",
            Self::AuthPlugin => {
                "the client lacks the account's authentication plugin; use an account with mysql_native_password or ed25519"
            }
            Self::UnknownHost => "check the host name and the name service",
            Self::CannotConnect => "check host and port, and that the server listens and is reachable from the worker",
            Self::TooManyConnections => "raise max_connections or max_user_connections, or run at another time",
            Self::LostConnection => {
                "the server restarted, killed the connection, or gave up writing: raise net_write_timeout to 3600"
            }
            Self::Tls => {
                "compare the TLS mode with what the server offers, its CA, its name and the certificate's dates"
            }
            Self::UnknownDatabase => {
                "check the names in the arguments; a dump of one database needs an existing one to go to"
            }
            Self::TableVanished => {
                "a table was dropped or renamed while it was dumped; run when the schema does not change"
            }
            Self::TableChanged => {
                "a table was altered or truncated while it was dumped; run when the schema does not change"
            }
            Self::BrokenView => "repair or drop the view, or leave it out with --ignore-table=DATABASE.VIEW",
            Self::LockTimeout => "another transaction holds a lock for too long; run at another time",
            Self::ServerStopping => "the server is stopping or the statement was killed; try again",
            Self::ReadOnly => "the server is read-only, perhaps a replica; restore into the primary",
            Self::ServerDiskFull => "free space on the server's disk",
            Self::PacketTooLarge => "raise max_allowed_packet on the server above its largest row",
            Self::DuplicateKey => "the target already holds these rows; restore into an empty database",
            Self::ConstraintFailed => "a row breaks a constraint of the target",
            Self::Syntax => "the server does not understand the dump; it may be older than the one that was dumped",
            Self::SandboxRefused => "the dump contains a command for the client; it was not made by mariadb-dump",
            Self::OutputClosed => "see the error of the uploader",
            Self::Usage => "check the arguments and the version of the client program",
            Self::Other => "see the message",
        }
    }
}

fn kind_of(number: u32) -> FailureKind {
    match number {
        1045 | 1130 | 1698 | 4151 => FailureKind::AccessDenied,
        1044 | 1142 | 1143 | 1227 | 1370 | 1419 => FailureKind::MissingPrivilege,
        1156..=1161 | 2006 | 2013 | 2055 => FailureKind::LostConnection,
        1251 | 1524 | 2059 => FailureKind::AuthPlugin,
        2005 => FailureKind::UnknownHost,
        2002 | 2003 => FailureKind::CannotConnect,
        1040 | 1203 | 1226 => FailureKind::TooManyConnections,
        TLS | 3159 => FailureKind::Tls,
        1046 | 1049 => FailureKind::UnknownDatabase,
        1051 | 1146 => FailureKind::TableVanished,
        1412 => FailureKind::TableChanged,
        1356 => FailureKind::BrokenView,
        1205 | 1213 => FailureKind::LockTimeout,
        1053 | 1317 | 1927 | 3024 | 1969 => FailureKind::ServerStopping,
        1290 | 1836 => FailureKind::ReadOnly,
        3 | 28 | 1021 | 1114 => FailureKind::ServerDiskFull,
        1153 | 1301 | 2020 => FailureKind::PacketTooLarge,
        1050 | 1062 | 1586 | 1007 | 1304 | 1359 | 1537 => FailureKind::DuplicateKey,
        1451 | 1452 | 4025 => FailureKind::ConstraintFailed,
        1064 | 1115 | 1193 | 1231 | 1273 | 1286 => FailureKind::Syntax,
        _ => FailureKind::Other,
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

/// Whether the connection had been made: these words are the client's own and in no other language.
fn in_use(line: &str) -> bool {
    ["when dumping table", "Couldn't execute", "when retrieving", " at line "].iter().any(|words| line.contains(words))
}

/// A line by the programs themselves rather than a copy of data or a warning.
fn is_complaint(line: &str) -> bool {
    let names = ["mariadb-dump: ", "mysqldump: ", "mariadb: ", "mysql: ", "lagan", "ERROR", "error"];
    names.iter().any(|name| line.starts_with(name)) && !line.contains("Warning")
}

fn unnumbered(line: &str) -> FailureKind {
    if line.contains("Got errno 32") {
        FailureKind::OutputClosed
    } else if line.contains("Got errno 28") {
        FailureKind::ServerDiskFull
    } else if line.contains("insufficient privileges") {
        FailureKind::MissingPrivilege
    } else if line.contains("unknown option") || line.contains("unknown variable") || line.starts_with("lagan") {
        FailureKind::Usage
    } else if line.contains("Couldn't find table") {
        FailureKind::TableVanished
    } else if line.contains("sandbox") {
        FailureKind::SandboxRefused
    } else {
        FailureKind::Other
    }
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
                FailureKind::AccessDenied,
                Class::Permanent,
            ),
            (
                "mariadb-dump: Error 2013: Lost connection to server during query when dumping table `big` at row: 512",
                2013,
                FailureKind::LostConnection,
                Class::Transient,
            ),
            (
                "mariadb-dump: Couldn't execute 'show create table `v`': SHOW VIEW command denied to user 'u1'@'h' for table `pv`.`v` (1142)",
                1142,
                FailureKind::MissingPrivilege,
                Class::Permanent,
            ),
            (
                "ERROR 1064 (42000) at line 5: You have an error in your SQL syntax",
                1064,
                FailureKind::Syntax,
                Class::Permanent,
            ),
            (
                "ERROR 2002 (HY000): Can't connect to server on '127.0.0.1' (115)",
                2002,
                FailureKind::CannotConnect,
                Class::Transient,
            ),
            (
                "mariadb-dump: Couldn't execute 'SHOW FIELDS FROM `broken`': View 's.broken' references invalid table(s) (1356)",
                1356,
                FailureKind::BrokenView,
                Class::Permanent,
            ),
            (
                "mariadb-dump: Error 1412: Table definition has changed, please retry transaction when dumping table `t` at row: 0",
                1412,
                FailureKind::TableChanged,
                Class::Transient,
            ),
            (
                "ERROR 2026 (HY000): TLS/SSL error: SSL is required, but the server does not support it",
                2026,
                FailureKind::Tls,
                Class::Permanent,
            ),
            (
                "mariadb-dump: Error 2026: TLS/SSL error: unexpected eof while reading when dumping table `t` at row: 9",
                2026,
                FailureKind::LostConnection,
                Class::Transient,
            ),
        ];
        for (line, number, kind, class) in cases {
            let failure = read(line);
            assert_eq!((failure.number, failure.kind, failure.kind.class()), (Some(number), kind, class), "{line}");
        }
        assert_eq!(read(cases[1].0).object.as_deref(), Some("big"));
    }

    #[test]
    fn errors_without_a_number_are_told_apart() {
        assert_eq!(read("mariadb-dump: Got errno 32 on write").kind, FailureKind::OutputClosed);
        let denied = read("mariadb-dump: u1 has insufficient privileges to SHOW CREATE FUNCTION `f`!");
        assert_eq!((denied.kind, denied.object.as_deref()), (FailureKind::MissingPrivilege, Some("f")));
        assert_eq!(read("mariadb-dump: unknown option '--x'").kind, FailureKind::Usage);
        assert_eq!(ClientFailure::read(&["all is well".into()]), None);
    }
}
