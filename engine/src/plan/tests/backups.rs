//! Plans of backups: the task and its arguments, the database, and the limits of a session.

use super::*;

#[test]
fn a_task_of_stash_becomes_the_built_in_one() {
    let plan = with(&[]).backup();
    assert_eq!((plan.kind(), plan.lane, plan.stall_seconds), (SessionKind::Backup, Lane::Normal, 300));
    let work = backup_work(plan);
    assert_eq!((work.target.name.as_str(), work.host.as_str()), ("db", "host-0"));
    let step = work.step;
    assert_eq!((step.function.as_str(), step.program.as_str()), ("mariadb-backup", "mariadb-dump"));
    assert_eq!(work.path, "/dumpfile.sql");
    assert!(step.args.contains(&"--single-transaction".to_owned()), "{:?}", step.args);
    assert_eq!(step.user_args, ["--all-databases", "--ignore-database=mysql", "--ignore-database=sys"]);
    assert_eq!(work.target.database.wait_seconds, 300);
    assert_eq!(work.retention.keep_last, Some(5));
}

#[test]
fn stash_s_own_task_and_function_objects_lead_to_the_built_in_one_too() {
    let step = and("\
apiVersion: stash.appscode.com/v1beta1
kind: Task
metadata: {name: mariadb-backup-10.6.23}
spec: {steps: [{name: mariadb-backup-10.6.23, params: [{name: outputDir, value: /o}]}, {name: update-status}]}
---
apiVersion: stash.appscode.com/v1beta1
kind: Function
metadata: {name: mariadb-backup-10.6.23}
spec: {image: 'ghcr.io/stashed/stash-mariadb:10.6.23-v1', args: ['backup-mariadb', '--mariadb-args=${args:=}']}
")
    .step();
    assert_eq!((step.program.as_str(), step.user_args.len()), ("mariadb-dump", 3));
}

#[test]
fn without_a_task_the_app_binding_says_what_to_run() {
    let addon = "  secret: {name: db-auth}\n  parameters: {stash: {addon: {backupTask: {name: mariadb-backup-10.5.8, params: [{name: args, value: --databases a}]}}}}\n";
    let step = with(&[(TASK, ""), ("  secret: {name: db-auth}\n", addon)]).step();
    assert_eq!(
        (step.program.as_str(), step.user_args),
        ("mariadb-dump", vec!["--databases".to_owned(), "a".to_owned()])
    );
    for kind in ["kubedb.com/mariadb", "mariadb", "MariaDB"] {
        assert_eq!(with(&[(TASK, ""), ("kubedb.com/mariadb", kind)]).step().program, "mariadb-dump", "{kind}");
    }
}

#[test]
fn parameters_of_the_configuration_win_over_those_of_the_app_binding() {
    let addon = "  secret: {name: db-auth}\n  parameters: {stash: {addon: {backupTask: {name: x, params: [{name: args, value: --databases a}, {name: waitTimeout, value: '7'}]}}}}\n";
    let own = "  task: {name: mariadb-backup-10.6.23, params: [{name: args, value: --databases b}]}\n";
    let world = with(&[("  secret: {name: db-auth}\n", addon), (TASK, own)]);
    assert_eq!(world.step().user_args, ["--databases", "b"]);
    assert_eq!(world.database().wait_seconds, 7);
}

#[test]
fn args_replace_the_default_and_keep_the_safe_options() {
    let own = "  task: {name: mariadb-backup, params: [{name: args, value: '  --databases   shop '}]}\n";
    let step = with(&[(TASK, own)]).step();
    assert_eq!(step.user_args, ["--databases", "shop"]);
    assert_eq!(step.args, with(&[]).step().args);
    let empty = "  task: {name: mariadb-backup, params: [{name: args, value: ''}]}\n";
    assert_eq!(with(&[(TASK, empty)]).step().user_args, [""; 0]);
}

fn own(params: &str) -> World {
    let task = format!("  task: {{name: own, params: [{params}]}}\n");
    made_of(&format!("{}---\n{OWN_FUNCTION}", WORLD.replace(TASK, &task)))
}

#[test]
fn a_function_of_the_user_s_own_is_filled_in() {
    let BackupWork { step, path, .. } = backup_work(own("").backup());
    assert_eq!(step.args, ["--label=from the Task", "demo/db", "--keep=5", "--daily=9", "$(x)"]);
    assert_eq!(path, "/own.sql");
    // Parameters win over the built-in variables, which win over those of the Task.
    assert_eq!(own("{name: TARGET_NAME, value: other}").step().args[1], "demo/other");
}

#[test]
fn a_value_stays_one_argument_whatever_it_holds() {
    let step = own(r#"{name: label, value: "a \"b\" 'c'\n\\ ; $(rm) ${NAMESPACE}"}"#).step();
    assert_eq!(step.args[0], "--label=a \"b\" 'c'\n\\ ; $(rm) ${NAMESPACE}");
    assert_eq!(step.args.len(), 5);
}

#[test]
fn the_database_is_where_its_app_binding_says() {
    let service = "    service: {name: mariadb, port: 3307}\n";
    for (config, host, port) in [
        (service, "mariadb.demo.svc", 3307),
        ("    service: {name: mariadb}\n", "mariadb.demo.svc", 3306),
        ("    service: {name: mariadb, namespace: other, port: 1}\n", "mariadb.other.svc", 1),
        ("    service: {name: mariadb}\n    url: mysql://not-this:1/\n", "mariadb.demo.svc", 3306),
        ("    url: mysql://db.example.org:3308/\n", "db.example.org", 3308),
        ("    url: mysql://db.example.org\n", "db.example.org", 3306),
        ("    url: root:p@ss@tcp(10.0.0.1:3309)/\n", "10.0.0.1", 3309),
    ] {
        let database = with(&[(service, config)]).database();
        assert_eq!((database.host.as_str(), database.port), (host, port), "{config}");
    }
    let mut world = with(&[]);
    world.resolve.0.insert(("mariadb.demo.svc".to_owned(), 3307), ("127.0.0.1".to_owned(), 13_307));
    world.resolve.0.insert(("mariadb.demo.svc".to_owned(), 3306), ("127.0.0.1".to_owned(), 1));
    assert_eq!((world.database().host.as_str(), world.database().port), ("127.0.0.1", 13_307));
}

#[test]
fn a_ca_bundle_means_that_the_certificate_is_verified() {
    let service = "    service: {name: mariadb, port: 3307}\n";
    let secret = "  secret: {name: db-auth}\n";
    let client = "  secret: {name: db-auth}\n  tlsSecret: {name: tls}\n";
    for (config, client, mode) in [
        ("", secret, TlsMode::Preferred),
        ("    insecureSkipTLSVerify: true\n", secret, TlsMode::Preferred),
        ("    caBundle: Y2E=\n", secret, TlsMode::VerifyCa),
        ("    caBundle: Y2E=\n    insecureSkipTLSVerify: false\n", secret, TlsMode::VerifyCa),
        ("    caBundle: Y2E=\n    serverName: db\n", secret, TlsMode::VerifyIdentity),
        ("    caBundle: Y2E=\n    serverName: db\n    insecureSkipTLSVerify: true\n", secret, TlsMode::Required),
        ("", client, TlsMode::Required),
        ("    caBundle: Y2E=\n", client, TlsMode::VerifyCa),
    ] {
        let tls = with(&[(service, &format!("{service}{config}")), (secret, client)]).database().tls;
        assert_eq!(tls.mode, mode, "{config}{client}");
        assert_eq!(tls.ca_bundle.is_some(), config.contains("caBundle"));
        assert_eq!(tls.client_secret.as_deref(), client.contains("tls}").then_some("tls"));
    }
}

#[test]
fn deadline_and_retries_are_those_of_the_configuration() {
    let plan = with(&[]).backup();
    assert_eq!((plan.deadline, plan.retry), (None, Retry { max: 3, delay_seconds: 10 }));
    let plan = with(&[(TASK, "  timeOut: 1h\n  retryConfig: {maxRetry: 5, delay: 2m}\n")]).backup();
    assert_eq!(plan.deadline, Timestamp::from_second(REQUESTED + 3600).ok());
    assert_eq!(plan.retry, Retry { max: 5, delay_seconds: 120 });
    // As in Stash, `retryConfig` alone means one more try.
    assert_eq!(with(&[(TASK, "  retryConfig: {}\n")]).backup().retry, Retry { max: 1, delay_seconds: 0 });
    assert_eq!(with(&[(TASK, "  retryConfig: {maxRetry: 0}\n")]).backup().retry.max, 0);
}

#[test]
fn an_alias_names_target_and_host() {
    let work = backup_work(with(&[("    ref: {", "    alias: main\n    ref: {")]).backup());
    assert_eq!((work.target.name.as_str(), work.host.as_str()), ("main", "main"));
}

#[test]
fn a_plan_holds_names_of_secrets_and_no_secret() {
    let url = "    url: mysql://root:CANARY@db.example.org:3308/\n";
    let plan = with(&[("    service: {name: mariadb, port: 3307}\n", url)]).backup();
    assert!(!serde_json::to_string(&plan).unwrap().contains("CANARY"));
    let work = backup_work(plan);
    assert_eq!(work.target.database.credentials.secret.as_deref(), Some("db-auth"));
    assert_eq!(work.repositories.first().secret, "storage");
}

#[test]
fn pruning_asked_for_is_left_to_maintenance_and_said_so() {
    for (retention, notices) in
        [("keepLast: 5", 0), ("keepLast: 5, prune: true", 1), ("keepLast: 5, prune: true, dryRun: true", 0)]
    {
        assert_eq!(with(&[("keepLast: 5", retention)]).backup().notices.len(), notices, "{retention}");
    }
}

#[test]
fn names_that_do_not_fit_into_a_snapshot_s_tags_are_refused_before_anything_is_dumped() {
    let (name, alias) = ("metadata: {name: shop, namespace: demo}", "  target:\n    ref: {apiVersion: appcatalog");
    // `lagan-configuration=stash.appscode.com/demo/` has 44 bytes, `lagan-target=` 13.
    let named = |bytes: usize| format!("metadata: {{name: {}, namespace: demo}}", "n".repeat(bytes));
    let with_alias =
        |bytes: usize| format!("  target:\n    alias: {}\n    ref: {{apiVersion: appcatalog", "a".repeat(bytes));
    assert_eq!(with(&[(name, &named(155))]).backup().invoker.name.len(), 155);
    assert_eq!(backup_work(with(&[(alias, &with_alias(186))]).backup()).target.name.len(), 186);
    for (from, to, said) in [
        (name, named(156), "has 200 bytes, and a snapshot's tags have fewer than 200; give the BackupConfiguration a"),
        (
            alias,
            with_alias(187),
            "has 200 bytes, and a snapshot's tags have fewer than 200; set a shorter `target.alias`",
        ),
    ] {
        let (code, message) = with(&[(from, &to)]).refusal();
        assert_eq!(code, Code::InvalidSpec);
        assert!(message.contains(said), "{message}");
    }
}
