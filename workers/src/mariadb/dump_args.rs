//! The arguments of `mariadb-dump`: refuses some of the user's, reads what they select, and makes the final argv.

use super::{
    options::{ArgumentError, GivenOption, Parsed, Switch, parse, rules},
    text::TextForm,
};

/// The program whose rules in the catalogue the arguments keep to.
const PROGRAM: &str = "mariadb-dump";

/// The databases and tables that a dump selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    AllDatabases {
        except: Vec<String>,
    },
    /// The stream holds `CREATE DATABASE` and `USE`.
    Databases(Vec<String>),
    /// The stream names no database, so it can be restored into another.
    One {
        database: String,
        tables: Vec<String>,
    },
}

/// The arguments of a dump, understood and within the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpArgs {
    pub scope: Scope,
    /// `database.table`, as given.
    pub ignored_tables: Vec<String>,
    pub text: TextForm,
    options: Vec<GivenOption>,
    require_loadable: Switch,
}

impl DumpArgs {
    /// Understands the arguments of a Function after substitution (its own flags and the user's).
    pub fn parse(args: &[String]) -> Result<Self, ArgumentError> {
        let Parsed { options, names } = parse(rules(PROGRAM), args)?;
        let has = |name| state(&options, name).unwrap_or(Switch::Off) == Switch::On;
        let values = |name: &str| -> Vec<String> {
            options.iter().filter(|given| given.name == name).filter_map(|given| given.value.clone()).collect()
        };
        let scope = if has("all-databases") {
            Scope::AllDatabases { except: values("ignore-database") }
        } else if has("databases") && !has("tables") && !names.is_empty() {
            Scope::Databases(names)
        } else if let Some((database, tables)) = names.split_first() {
            Scope::One { database: database.clone(), tables: tables.to_vec() }
        } else {
            return Err(ArgumentError::NothingSelected);
        };
        let ignored_tables = values("ignore-table");
        let require_loadable = state(&options, "require-loadable").unwrap_or(Switch::Off);
        let own = ["all-databases", "databases", "tables", "ignore-database", "ignore-table", "require-loadable"];
        let options = options.into_iter().filter(|given| !own.contains(&given.name)).collect();
        Ok(Self { scope, ignored_tables, text: TextForm::default(), options, require_loadable })
    }

    /// Whether a switch is on, given what the program does by itself.
    pub(super) fn is_on(&self, name: &str, default: Switch) -> bool {
        state(&self.options, name).unwrap_or(default) == Switch::On
    }

    /// Whether a dump that may not load again is to fail.
    pub(super) fn requires_loadable(&self) -> bool {
        self.require_loadable == Switch::On
    }

    pub(super) fn switch_on(&mut self, name: &'static str) {
        self.options.push(GivenOption { name, on: Switch::On, value: None });
    }

    /// Names the databases of `--all-databases` in an order of our own.
    pub(super) fn name_databases(&mut self, databases: Vec<String>) {
        self.scope = Scope::Databases(databases);
    }

    /// Everything after the defaults-file, which must come first.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        let mut argv: Vec<String> = self.options.iter().map(render).collect();
        argv.extend(rules(PROGRAM).forced.iter().cloned());
        argv.extend(self.text.flags().iter().map(ToString::to_string));
        argv.extend(self.ignored_tables.iter().map(|name| format!("--ignore-table={name}")));
        match &self.scope {
            Scope::AllDatabases { except } => {
                argv.push("--all-databases".into());
                argv.extend(except.iter().map(|name| format!("--ignore-database={name}")));
            }
            Scope::Databases(names) => {
                argv.extend(["--databases".into(), "--".into()]);
                argv.extend(names.iter().cloned());
            }
            Scope::One { database, tables } => {
                argv.extend(["--".into(), database.clone()]);
                argv.extend(tables.iter().cloned());
            }
        }
        argv
    }
}

pub(super) fn state(options: &[GivenOption], name: &str) -> Option<Switch> {
    options.iter().rev().find(|given| given.name == name).map(|given| given.on)
}

pub(super) fn render(given: &GivenOption) -> String {
    match (given.on, &given.value) {
        (Switch::Off, _) => format!("--skip-{}", given.name),
        (Switch::On, Some(value)) => format!("--{}={value}", given.name),
        (Switch::On, None) => format!("--{}", given.name),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn args(text: &str) -> Result<DumpArgs, ArgumentError> {
        DumpArgs::parse(&text.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn forbidden_options_are_found_in_every_spelling() {
        let texts = [
            "--password=x a",
            "-pgeheim a",
            "--pass a",
            "--result-file=/x a",
            "-r /x a",
            "--result_file /x a",
            "--res=/x a",
            "--tab=/x a",
            "-T/x a",
            "--force a",
            "-f a",
            "-Rf a",
            "--skip-comments a",
            "--comments=0 a",
            "--compact a",
            "--defaults-file=/x a",
            "--defaults-extra-file /x a",
            "--plugin-dir=/x a",
            "--plug=/x a",
            "--init-command=x a",
            "--ssl a",
            "--skip-ssl a",
            "--ssl-ca=/x a",
            "--loose-ssl-key=/x a",
            "--host=x a",
            "-hx a",
            "--socket=x a",
            "--user x a",
            "-P 1 a",
            "--skip-tz-utc a",
            "--default-character-set=latin1 a",
            "--disable-quote-names a",
            "--xml a",
            "--RESULT-FILE=/x a",
            "--log-err=/x a",
            "--no-defaults a",
            "--fo a",
        ];
        for text in texts {
            assert!(matches!(args(text), Err(ArgumentError::Forbidden { .. })), "{text}: {:?}", args(text));
        }
    }

    #[test]
    fn the_value_of_a_forbidden_option_is_not_repeated() {
        for text in ["--password=geheim a", "-pgeheim a", "--pass=geheim a"] {
            let error = args(text).unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn unknown_and_ambiguous_options_are_refused() {
        assert!(matches!(args("--frobnicate a"), Err(ArgumentError::Unknown { .. })));
        assert!(matches!(args("--add-drop a"), Err(ArgumentError::Ambiguous { .. })));
        assert!(matches!(args("--where"), Err(ArgumentError::NoValue { .. })));
        assert_eq!(args("--routines"), Err(ArgumentError::NothingSelected));
    }

    #[test]
    fn the_default_of_stash_selects_all_but_mysql() {
        let parsed = args("--routines --all-databases --ignore-database=mysql").unwrap();
        assert_eq!(parsed.scope, Scope::AllDatabases { except: vec!["mysql".into()] });
        assert_eq!(parsed.argv().last().unwrap(), "--ignore-database=mysql");
    }

    #[test]
    fn names_come_after_a_double_dash_so_that_none_is_an_option() {
        let parsed = args("-R --databases -- -lead b").unwrap();
        assert_eq!(parsed.scope, Scope::Databases(vec!["-lead".into(), "b".into()]));
        let argv = parsed.argv();
        assert_eq!(argv[argv.len() - 4..], ["--databases", "--", "-lead", "b"]);
    }

    #[test]
    fn the_last_switch_counts_and_tables_overrides_databases() {
        let parsed = args("--triggers --skip-triggers -B a b --tables").unwrap();
        assert!(!parsed.is_on("triggers", Switch::On));
        assert!(parsed.is_on("tz-utc", Switch::On));
        assert_eq!(parsed.scope, Scope::One { database: "a".into(), tables: vec!["b".into()] });
    }

    #[test]
    fn a_name_with_a_line_break_is_refused() {
        let refused = DumpArgs::parse(&["a\nb".to_owned()]);
        assert_eq!(refused, Err(ArgumentError::Name { name: "a\nb".into() }));
    }
}
