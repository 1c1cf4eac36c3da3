//! The arguments of the `mariadb` client that a restore feeds.

use super::{
    dump_args::{render, state},
    options::{ArgumentError, Given, Parsed, Spec, Switch, flag, maybe, parse, value},
};

/// In every restore, whatever the user says:
/// - `sandbox`, `local-infile=0`: a dump must not run commands or read files of the worker. A line such as `\! rm` is
///   run by the client otherwise.
/// - `binary-mode`: without it CR LF in a routine's body becomes LF, and client commands are recognised.
/// - `comments`: without it the client removes comments from routines and views.
/// - `skip-reconnect`: a new connection would have lost the dump's settings, and go on without them.
/// - the settings of the session: a row may be older than the constraint or the strict mode that refuses it, a server
///   without `autocommit` would roll back the last rows, and limits of time are meant for other statements.
/// - `skip-print-query-on-error` (where known): an error must not copy rows to stderr.
const FORCED: [&str; 10] = [
    "--batch",
    "--sandbox",
    "--local-infile=0",
    "--binary-mode",
    "--comments",
    "--skip-reconnect",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
    "--init-command=SET SESSION autocommit=1, check_constraint_checks=0, innodb_strict_mode=0, max_statement_time=0, \
     idle_transaction_timeout=0, idle_write_transaction_timeout=0, wait_timeout=86400",
    "--loose-skip-print-query-on-error",
];

const ONE_DATABASE: &str = "one-database";
const CONNECTION: &str = "the connection comes from the target";
const PROTECTED: &str = "a restore runs in the sandbox, without access to files and with settings of its own";
const HOLES: &str = "failed statements would be left out silently";
const CODE: &str = "it makes the program load or run something else";

const TABLE: &[Spec] = &[
    value("database").short('D'),
    flag(ONE_DATABASE).short('o'),
    flag("compress").short('C'),
    value("connect-timeout"),
    value("net-buffer-length"),
    value("max-allowed-packet"),
    value("default-character-set").only("utf8mb4", "the dump is utf8mb4"),
    flag("batch").short('B'),
    flag("quick").short('q'),
    flag("unbuffered").short('n'),
    flag("silent").short('s'),
    flag("verbose").short('v'),
    flag("show-warnings"),
    flag("line-numbers"),
    flag("skip-line-numbers").short('L'),
    flag("binary-mode").always_on(PROTECTED),
    flag("comments").short('c').always_on(PROTECTED),
    flag("sandbox").always_on(PROTECTED),
    maybe("password").short('p').forbidden(CONNECTION),
    value("host").short('h').forbidden(CONNECTION),
    value("user").short('u').forbidden(CONNECTION),
    value("port").short('P').forbidden(CONNECTION),
    value("socket").short('S').forbidden(CONNECTION),
    value("protocol").forbidden(CONNECTION),
    maybe("ssl").forbidden(CONNECTION),
    maybe("ssl-ca").forbidden(CONNECTION),
    maybe("ssl-capath").forbidden(CONNECTION),
    maybe("ssl-cert").forbidden(CONNECTION),
    maybe("ssl-cipher").forbidden(CONNECTION),
    maybe("ssl-key").forbidden(CONNECTION),
    maybe("ssl-crl").forbidden(CONNECTION),
    maybe("ssl-crlpath").forbidden(CONNECTION),
    maybe("ssl-verify-server-cert").forbidden(CONNECTION),
    value("tls-version").forbidden(CONNECTION),
    value("defaults-file").forbidden(CONNECTION),
    value("defaults-extra-file").forbidden(CONNECTION),
    value("defaults-group-suffix").forbidden(CONNECTION),
    flag("no-defaults").forbidden(CONNECTION),
    flag("force").short('f').forbidden(HOLES),
    flag("abort-source-on-error").forbidden(PROTECTED),
    value("execute").short('e').forbidden("the statements come from the snapshot"),
    value("tee").forbidden(PROTECTED),
    maybe("pager").forbidden(CODE),
    value("init-command").forbidden(PROTECTED),
    maybe("local-infile").forbidden(PROTECTED),
    flag("reconnect").forbidden(PROTECTED),
    flag("named-commands").short('G').forbidden(PROTECTED),
    value("delimiter").forbidden(PROTECTED),
    value("plugin-dir").forbidden(CODE),
    value("default-auth").forbidden(CODE),
    value("character-sets-dir").forbidden(CODE),
];

/// The meaning of a database that the arguments name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// Everything goes there, if the dump does not say where it goes.
    Everything,
    /// `--one-database`. The client would ignore it, because `--binary-mode` switches its own `USE` off; so the stream
    /// is filtered before it.
    OneDatabase,
}

/// The arguments of a restore, understood and within the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreArgs {
    /// The database that is named.
    pub database: Option<String>,
    /// Whether only this database of the dump is wanted.
    pub selection: Selection,
    options: Vec<Given>,
}

impl RestoreArgs {
    pub fn parse(args: &[String]) -> Result<Self, ArgumentError> {
        let Parsed { mut options, names } = parse(&[TABLE], args)?;
        let named = options.iter().rev().find(|given| given.name == "database");
        let mut database = named.and_then(|given| given.value.clone());
        options.retain(|given| given.name != "database");
        for name in names {
            if database.is_some() {
                return Err(ArgumentError::ExtraName(name));
            }
            database = Some(name);
        }
        let one = state(&options, ONE_DATABASE) == Some(Switch::On);
        options.retain(|given| given.name != ONE_DATABASE);
        if one && database.is_none() {
            return Err(ArgumentError::NoValue { given: format!("--{ONE_DATABASE}") });
        }
        let selection = if one { Selection::OneDatabase } else { Selection::Everything };
        Ok(Self { database, selection, options })
    }

    /// Everything after the defaults-file, which must come first. `selects` is the database that the client starts in.
    #[must_use]
    pub fn argv(&self, selects: Option<&str>) -> Vec<String> {
        let mut argv: Vec<String> = self.options.iter().map(render).collect();
        argv.extend(FORCED.iter().map(ToString::to_string));
        if let Some(database) = selects {
            argv.extend(["--".into(), database.to_owned()]);
        }
        argv
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn args(text: &str) -> Result<RestoreArgs, ArgumentError> {
        RestoreArgs::parse(&text.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_sandbox_cannot_be_left() {
        let texts = [
            "--skip-sandbox",
            "--sandbox=0",
            "--local-infile=1",
            "--tee=/x",
            "-e DROP",
            "--exec=x",
            "--force",
            "-f",
            "--init-command=x",
            "--skip-binary-mode",
            "--pager=sh",
            "--reconnect",
            "-pgeheim",
            "--ssl",
            "--host=x",
        ];
        for text in texts {
            assert!(matches!(args(text), Err(ArgumentError::Forbidden { .. })), "{text}: {:?}", args(text));
        }
    }

    #[test]
    fn the_example_of_stash_is_understood() {
        let parsed = args("--one-database testdb").unwrap();
        assert_eq!(parsed.database.as_deref(), Some("testdb"));
        assert_eq!(parsed.selection, Selection::OneDatabase);
        let argv = parsed.argv(None);
        assert!(!argv.iter().any(|arg| arg == "--one-database" || arg == "testdb"), "{argv:?}");
        let argv = parsed.argv(Some("testdb"));
        assert_eq!(argv[argv.len() - 2..], ["--", "testdb"]);
        assert_eq!(args("testdb").unwrap().selection, Selection::Everything);
        assert!(args("-o").is_err() && args("-o --skip-one-database x").unwrap().selection == Selection::Everything);
        assert_eq!(args("-D x y"), Err(ArgumentError::ExtraName("y".into())));
    }
}
