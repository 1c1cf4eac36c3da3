//! Scopes of restores, from records of short streams.

use super::super::dump::Recorder;
use super::*;

const SEVERAL: &str = "CREATE DATABASE `a`;\nUSE `a`;\nCREATE TABLE t (x int);\nUSE `b`;\nCREATE VIEW v AS select `b`.`t`.`x` from `a`.`t`;\n";
const ONE: &str = "CREATE DATABASE `a`;\nUSE `a`;\nCREATE TABLE t (x int);\n";
const NAMELESS: &str = "-- Host: h    Database: a\nCREATE TABLE t (x int);\n";
const NAMELESS_NAMING: &str = "-- Host: h    Database: a\nCREATE VIEW v AS select 1 from `a`.`t`;\n";

fn ask(dump: &str, database: Option<&str>, renamed: Option<&str>, into: Option<&str>) -> Result<String, String> {
    let mut recorder = Recorder::default();
    recorder.feed(dump.as_bytes());
    let own = |text: Option<&str>| text.map(str::to_owned);
    let asked = Asked { databases: own(database).into_iter().collect(), renamed: own(renamed), into: own(into) };
    let scope = scope(&recorder.finish(), &asked, NameCase::Sensitive).map_err(|error| error.to_string())?;
    let names: Vec<String> = scope
        .databases
        .iter()
        .map(|database| format!("{}{}", database.name, if database.created { "+" } else { "" }))
        .collect();
    let filter = if scope.filter.is_some() { " filtered" } else { "" };
    Ok(format!("{}{filter}{}", names.join(" "), scope.selects.map(|name| format!(" in {name}")).unwrap_or_default()))
}

#[test]
fn a_statement_that_may_write_anywhere_is_refused_and_what_is_dropped_is_named() {
    for statement in [
        "RENAME TABLE `p`.`t` TO `p`.`u`",
        "TRUNCATE `p`.`t`",
        "UPDATE `p`.`t` SET x = 1",
        "DELETE FROM `p`.`t`",
        "CALL `p`.`do_it`()",
        "DROP TABLE IF EXISTS t, `p`.`t`",
    ] {
        let refused = ask(&format!("{ONE}{statement};\n"), None, None, None).expect_err(statement);
        let verb = statement.split(' ').next().unwrap_or_default();
        assert!(refused.contains("may write to any database") && refused.contains(verb), "{refused}");
        // Accounts do not crowd it out.
        let many = format!("{ONE}{}{statement};\n", "GRANT SELECT ON *.* TO x;\n".repeat(20));
        assert!(ask(&many, None, None, None).is_err(), "{statement}");
    }
    for command in ["\\! touch x;", "SET @x = 1; DELIMITER //", "DELIMITER"] {
        let refused = ask(&format!("{ONE}{command}\n"), None, None, None).expect_err(command);
        assert!(refused.contains("a command for the client"), "{refused}");
    }
    let dropped = format!("{ONE}DROP DATABASE IF EXISTS `prod`;\n");
    assert_eq!(ask(&dropped, None, None, None).as_deref(), Ok("a+ prod"));
    let again = "DROP DATABASE IF EXISTS `a`;\nCREATE DATABASE `a`;\nUSE `a`;\nDROP TABLE IF EXISTS `t`;\n";
    assert_eq!(ask(again, None, None, None).as_deref(), Ok("a+"));
}

#[test]
fn everything_is_written_where_the_dump_says() {
    assert_eq!(ask(SEVERAL, None, None, None).as_deref(), Ok("a+ b"));
    assert_eq!(ask(ONE, None, None, None).as_deref(), Ok("a+"));
    assert_eq!(ask(NAMELESS, None, None, None).as_deref(), Ok("a in a"));
    assert_eq!(
        ask("CREATE TABLE t (x int);\n", None, None, None).map_err(|e| e.contains("does not say which")),
        Err(true)
    );
}

#[test]
fn one_database_is_taken_out() {
    assert_eq!(ask(SEVERAL, Some("b"), None, None).as_deref(), Ok("b filtered"));
    assert_eq!(ask(ONE, Some("a"), None, None).as_deref(), Ok("a+"));
    assert_eq!(ask(NAMELESS, Some("c"), None, None).as_deref(), Ok("c in c"));
    let missing = ask(SEVERAL, Some("c"), None, None);
    assert_eq!(missing, Err("the dump holds no database `c`; it holds `a`, `b`".to_owned()));
}

#[test]
fn several_databases_are_taken_out_and_only_one_gets_another_name() {
    let mut recorder = Recorder::default();
    recorder.feed(format!("{SEVERAL}USE `C`;\nCREATE TABLE t (x int);\n").as_bytes());
    let record = recorder.finish();
    let ask = |databases: &[&str], renamed: Option<&str>, case| {
        let databases = databases.iter().map(|name| (*name).to_owned()).collect();
        let asked = Asked { databases, renamed: renamed.map(str::to_owned), into: None };
        let scope = scope(&record, &asked, case).map_err(|error| error.to_string())?;
        let names: Vec<String> = scope.databases.into_iter().map(|database| database.name).collect();
        Ok((names.join(" "), scope.filter.is_some()))
    };
    let sensitive = NameCase::Sensitive;
    assert_eq!(ask(&["C", "a"], None, sensitive), Ok(("a C".to_owned(), true)));
    assert_eq!(ask(&["c", "A"], None, NameCase::Insensitive), Ok(("a C".to_owned(), true)));
    assert_eq!(ask(&["C", "b", "a"], None, sensitive), Ok(("a b C".to_owned(), false)));
    assert_eq!(
        ask(&["a", "c"], None, sensitive),
        Err("the dump holds no database `c`; it holds `a`, `b`, `C`; the server tells upper case from lower case, so ask for `C`".to_owned())
    );
    assert_eq!(
        ask(&["a", "C"], Some("x"), sensitive),
        Err("as: one database can get another name, not `a`, `C`; name exactly one in `databases`".to_owned())
    );
    let nameless = super::scope(
        &{
            let mut recorder = Recorder::default();
            recorder.feed(NAMELESS.as_bytes());
            recorder.finish()
        },
        &Asked { databases: vec!["a".to_owned(), "b".to_owned()], ..Asked::default() },
        sensitive,
    );
    assert_eq!(nameless, Err(ScopeError::NamesNone(vec!["a".to_owned(), "b".to_owned()])));
}

#[test]
fn a_name_in_the_arguments_must_be_the_one_of_the_dump() {
    assert_eq!(ask(ONE, None, None, Some("a")).as_deref(), Ok("a+"));
    assert_eq!(ask(NAMELESS, None, None, Some("copy")).as_deref(), Ok("copy in copy"));
    for dump in [ONE, SEVERAL] {
        let refused = ask(dump, None, None, Some("copy")).map_err(|e| e.contains("says itself where everything goes"));
        assert_eq!(refused, Err(true), "{dump}");
    }
    assert!(ask(SEVERAL, None, None, Some("a")).is_err());
}

#[test]
fn names_that_a_server_takes_for_one_are_refused() {
    let dumps = [
        "USE `a`;\nCREATE TABLE `Orders` (x int);\nCREATE TABLE `orders` (x int);\n",
        "USE `a`;\nCREATE TABLE `v` (x int);\nCREATE VIEW `V` AS select 1;\n",
        "USE `A`;\nCREATE TABLE `t` (x int);\nUSE `a`;\nCREATE TABLE `t` (x int);\n",
    ];
    for dump in dumps {
        let mut recorder = Recorder::default();
        recorder.feed(dump.as_bytes());
        let record = recorder.finish();
        assert!(scope(&record, &Asked::default(), NameCase::Sensitive).is_ok());
        let refused = scope(&record, &Asked::default(), NameCase::Insensitive);
        assert!(matches!(refused, Err(ScopeError::SameNames { .. })), "{refused:?}");
    }
}

#[test]
fn names_that_differ_in_case_are_one_or_two_as_the_server_says() {
    let both = "USE `Shop`;\nCREATE TABLE t (x int);\nUSE `shop`;\nCREATE TABLE t (x int);\n";
    let record = |dump: &str| {
        let mut recorder = Recorder::default();
        recorder.feed(dump.as_bytes());
        recorder.finish()
    };
    let ask = |dump: &str, databases: &[&str], renamed: Option<&str>, case| {
        let databases = databases.iter().map(|name| (*name).to_owned()).collect();
        let asked = Asked { databases, renamed: renamed.map(str::to_owned), into: None };
        let scope = scope(&record(dump), &asked, case).map_err(|error| error.to_string())?;
        let names: Vec<String> = scope.databases.into_iter().map(|database| database.name).collect();
        Ok::<_, String>((names.join(" "), scope.filter.map(|filter| filter.case)))
    };
    let (sensitive, insensitive) = (NameCase::Sensitive, NameCase::Insensitive);
    // One of two is what was asked for, and both are refused where they would become one.
    assert_eq!(ask(both, &["Shop"], None, insensitive), Ok(("Shop".to_owned(), Some(sensitive))));
    assert_eq!(ask(both, &["shop"], Some("x"), insensitive), Ok(("x".to_owned(), Some(sensitive))));
    for several in [&["Shop", "shop"][..], &["SHOP"], &[]] {
        assert!(ask(both, several, None, insensitive).is_err_and(|why| why.contains("does not tell")), "{several:?}");
    }
    assert_eq!(ask(both, &["Shop", "shop"], None, sensitive).map(|(names, _)| names), Ok("Shop shop".to_owned()));
    // A name that differs in case only gets words where it is another name, and is the same name elsewhere.
    let one = "USE `Shop`;\nCREATE VIEW v AS select 1 from `Shop`.`t`;\n";
    assert_eq!(ask(one, &["shop"], None, sensitive), Err("the dump holds no database `shop`; it holds `Shop`; the server tells upper case from lower case, so ask for `Shop`".to_owned()));
    assert_eq!(ask(one, &["shop"], Some("SHOP"), insensitive), Ok(("Shop".to_owned(), None)));
    let nameless = "-- Host: h    Database: Shop\nCREATE VIEW v AS select 1 from `Shop`.`t`;\n";
    assert_eq!(ask(nameless, &["shop"], None, insensitive), Ok(("shop".to_owned(), None)));
    assert!(ask(nameless, &["shop"], None, sensitive).is_err());
    let nameless = "-- Host: h    Database: Shop\nCREATE TABLE t (x int);\n";
    assert_eq!(ask(nameless, &["shop"], Some("x"), insensitive), Ok(("x".to_owned(), None)));
    assert!(ask(nameless, &["shop"], Some("x"), sensitive).is_err_and(|why| why.contains("holds no database `shop`")));
}

#[test]
fn a_database_gets_another_name_if_nothing_names_it() {
    assert_eq!(ask(ONE, None, Some("c"), None).as_deref(), Ok("c+ filtered"));
    assert_eq!(ask(SEVERAL, Some("a"), Some("c"), None).as_deref(), Ok("c+ filtered"));
    assert_eq!(ask(NAMELESS, Some("a"), Some("c"), None).as_deref(), Ok("c in c"));
    for refused in [
        ask(SEVERAL, Some("b"), Some("c"), None),
        ask(NAMELESS_NAMING, None, Some("c"), None),
        ask(NAMELESS_NAMING, None, None, Some("c")),
    ] {
        assert_eq!(refused.map_err(|e| e.contains("names it in a view `v`")), Err(true));
    }
    assert_eq!(ask(NAMELESS_NAMING, None, None, Some("a")).as_deref(), Ok("a in a"));
    assert!(ask(SEVERAL, None, Some("c"), None).is_err() && ask(NAMELESS, Some("b"), Some("c"), None).is_err());
}
