//! Plans of restores: which snapshot, for whom, and over what.

use lagan_schemas::plan::{Existing, PlanTarget, RestoreMode, SnapshotSelector, SnapshotSource, Verify};

use super::*;

/// The RestoreSession's target, with lines added behind its reference; `{` keeps the other target out.
fn with_target(alias: &str, rules: &str) -> World {
    let (configuration, rest) = WORLD.split_once("---\n").unwrap();
    let reference = "    ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}\n";
    assert!(rest.contains(reference));
    let rest = rest.replacen(reference, &format!("{alias}{reference}{rules}"), 1);
    made_of(&format!("{configuration}---\n{rest}"))
}

fn source(world: &World) -> SnapshotSource {
    restore_work(world.restore()).source
}

#[test]
fn a_restore_feeds_the_client_with_the_entry_of_the_snapshot() {
    let plan = with(&[]).restore();
    assert_eq!((plan.kind(), plan.lane), (SessionKind::Restore, Lane::Urgent));
    let work = restore_work(plan);
    assert_eq!((work.step.program.as_str(), work.step.user_args), ("mariadb", vec![]));
    // The worker confirms the uid of the object that asked.
    assert_eq!(work.object, with(&[]).object(Kind::RestoreSession).reference());
    let source = work.source;
    assert_eq!((&source.snapshot, source.path.as_str()), (&SnapshotSelector::Latest, "/dumpfile.sql"));
    // Not "latest" of whenever the worker gets to it.
    assert_eq!(source.not_after, Timestamp::from_second(REQUESTED).unwrap());
    assert_eq!((&source.host, &source.configuration), (&None, &None));
}

#[test]
fn the_rule_is_the_one_for_the_alias_else_the_one_for_all() {
    let rules = "    rules: [{snapshots: [all]}, {targetHosts: [other, main], snapshots: [named], sourceHost: src}]\n";
    for (alias, snapshot, host) in [
        ("", "all", None),
        ("    alias: main\n", "named", Some("src")),
        ("    alias: else\n", "all", Some("else")),
        ("    alias: ''\n", "all", None),
    ] {
        let source = source(&with_target(alias, rules));
        assert_eq!(source.snapshot, SnapshotSelector::Id(snapshot.to_owned()), "{alias}");
        assert_eq!(source.host.as_deref(), host, "{alias}");
    }
    let (code, message) = with_target("", "    rules: [{targetHosts: [other]}]\n").restore_refusal();
    assert_eq!(code, Code::InvalidSpec);
    assert_eq!(message, "target.rules: no rule is for this target; leave out targetHosts to mean every host");
}

#[test]
fn latest_is_what_no_rule_or_an_empty_one_means() {
    for rules in [
        "",
        "    rules: []\n",
        "    rules: [{}]\n",
        "    rules: [{snapshots: []}]\n",
        "    rules: [{snapshots: [latest]}]\n",
        "    rules: [{snapshots: ['']}]\n",
    ] {
        assert_eq!(source(&with_target("", rules)).snapshot, SnapshotSelector::Latest, "{rules}");
    }
}

#[test]
fn the_old_place_of_rules_counts_when_the_new_one_is_empty() {
    let old = "  rules: [{snapshots: [old]}]\n";
    assert_eq!(source(&with_target("", old)).snapshot, SnapshotSelector::Id("old".to_owned()));
    let both = format!("    rules: [{{snapshots: [new]}}]\n{old}");
    assert_eq!(source(&with_target("", &both)).snapshot, SnapshotSelector::Id("new".to_owned()));
}

#[test]
fn our_group_refuses_a_target_with_data_unless_told_and_stash_s_merges() {
    let stash = "apiVersion: stash.appscode.com/v1beta1\nkind: RestoreSession";
    let ours = "apiVersion: lagan.dev/v1alpha1\nkind: RestoreSession";
    for (group, overwrite, expected) in [
        (stash, "", Existing::Merge),
        (stash, "  overwrite: true\n", Existing::Merge),
        (stash, "  overwrite: false\n", Existing::Refuse),
        (ours, "", Existing::Refuse),
        (ours, "  overwrite: true\n", Existing::Merge),
        (ours, "  existing: Merge\n", Existing::Merge),
        (ours, "  existing: Replace\n", Existing::Replace),
        (stash, "  existing: Refuse\n", Existing::Refuse),
        (ours, "  overwrite: false\n", Existing::Refuse),
    ] {
        let task = "  task: {name: mariadb-restore-10.6.23}\n";
        let world = with(&[(stash, group), (task, &format!("{task}{overwrite}"))]);
        assert_eq!(restore_work(world.restore()).existing, expected, "{group} {overwrite}");
    }
}

#[test]
fn our_group_compares_objects_unless_told_and_stash_s_nothing() {
    let stash = "apiVersion: stash.appscode.com/v1beta1\nkind: RestoreSession";
    let ours = "apiVersion: lagan.dev/v1alpha1\nkind: RestoreSession";
    for (group, verify, expected) in [
        (stash, "", Verify::None),
        (stash, "  verify: Objects\n", Verify::Objects),
        (ours, "", Verify::Objects),
        (ours, "  verify: Rows\n", Verify::Rows),
        (ours, "  verify: None\n", Verify::None),
    ] {
        let task = "  task: {name: mariadb-restore-10.6.23}\n";
        let world = with(&[(stash, group), (task, &format!("{task}{verify}"))]);
        assert_eq!(restore_work(world.restore()).verify, expected, "{group} {verify}");
    }
}

#[test]
fn a_dry_run_has_the_plan_of_its_restore_without_its_hooks() {
    let task = "  task: {name: mariadb-restore-10.6.23}\n";
    let hooks = "  hooks: {preRestore: {httpPost: {port: 80, path: /ready}}}\n";
    let work = |more: &str| restore_work(with(&[(task, &format!("{task}{hooks}{more}"))]).restore());
    let (written, dry) = (work(""), work("  dryRun: true\n"));
    assert_eq!((written.mode, dry.mode), (RestoreMode::Write, RestoreMode::DryRun));
    assert!(written.target.hooks.is_some() && dry.target.hooks.is_none());
    let target = PlanTarget { hooks: written.target.hooks.clone(), ..dry.target.clone() };
    assert_eq!(written, RestoreWork { mode: RestoreMode::Write, target, ..dry });
}

#[test]
fn databases_can_be_asked_for_and_one_given_another_name() {
    let task = "  task: {name: mariadb-restore-10.6.23}\n";
    let asked = |more: &str| {
        let work = restore_work(with(&[(task, &format!("{task}{more}"))]).restore());
        (work.databases, work.renamed)
    };
    assert_eq!(asked(""), (Vec::new(), None));
    assert_eq!(asked("  databases: [shop]\n"), (vec!["shop".to_owned()], None));
    let both = "  databases: [shop]\n  as: copy\n";
    assert_eq!(asked(both), (vec!["shop".to_owned()], Some("copy".to_owned())));
    let several = "  databases: [shop, till]\n";
    assert_eq!(asked(several), (vec!["shop".to_owned(), "till".to_owned()], None));
}

#[test]
fn the_configuration_to_choose_from_is_named_in_full() {
    let task = "  task: {name: mariadb-restore-10.6.23}\n";
    for (configuration, expected) in [
        ("{name: shop}", "stash.appscode.com/demo/shop"),
        ("{name: shop, namespace: far}", "stash.appscode.com/far/shop"),
    ] {
        let world = with(&[(task, &format!("{task}  configuration: {configuration}\n"))]);
        assert_eq!(source(&world).configuration.map(|key| key.to_string()).as_deref(), Some(expected));
    }
}

#[test]
fn a_function_that_only_writes_can_not_restore() {
    let (code, message) = with(&[("mariadb-restore-10.6.23", "mariadb-backup")]).restore_refusal();
    assert_eq!(code, Code::FunctionNotSupported);
    assert_eq!(message, "Function `mariadb-backup` has no `stream.stdin`, so nothing can be restored into it");
}
