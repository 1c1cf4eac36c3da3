//! The arguments of the `mariadb` client that a restore feeds.

use super::{
    dump_args::{render, state},
    options::{ArgumentError, GivenOption, Parsed, Switch, parse, rules},
};

/// The program whose rules in the catalogue the arguments keep to.
const PROGRAM: &str = "mariadb";
const ONE_DATABASE: &str = "one-database";

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
pub struct CheckedRestoreArgs {
    /// The database that is named.
    pub database: Option<String>,
    /// Whether only this database of the dump is wanted.
    pub selection: Selection,
    options: Vec<GivenOption>,
}

impl CheckedRestoreArgs {
    pub fn parse(args: &[String]) -> Result<Self, ArgumentError> {
        let Parsed { mut options, names } = parse(rules(PROGRAM), args)?;
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
        argv.extend(rules(PROGRAM).forced.iter().cloned());
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

    fn args(text: &str) -> Result<CheckedRestoreArgs, ArgumentError> {
        CheckedRestoreArgs::parse(&text.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>())
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
