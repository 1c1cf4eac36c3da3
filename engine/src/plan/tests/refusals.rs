//! What has no plan: references that are missing, and what is refused with a reason.

use super::*;

#[test]
fn what_is_missing_is_named() {
    for (from, to, missing) in [
        ("  repository: {name: repo}", "  repository: {name: gone}", "Repository demo/gone"),
        ("  repository: {name: repo}", "  repository: {name: repo, namespace: far}", "Repository far/repo"),
        ("kind: AppBinding, name: db}", "kind: AppBinding, name: gone}", "AppBinding demo/gone"),
        ("kind: AppBinding, name: db}", "kind: AppBinding, name: db, namespace: far}", "AppBinding far/db"),
        ("storageSecretName: storage", "storageSecretName: gone", "Secret demo/gone"),
        ("  secret: {name: db-auth}", "  secret: {name: gone}", "Secret demo/gone"),
        ("name: mariadb-backup-10.6.23", "name: oracle-backup-14.0", "Task oracle-backup-14.0"),
    ] {
        assert_eq!(with(&[(from, to)]).missing(), [missing], "{to}");
    }
    let world = and(
        "{apiVersion: lagan.dev/v1alpha1, kind: Task, metadata: {name: mariadb-backup-10.6.23}, spec: {steps: [{name: gone}]}}",
    );
    assert_eq!(world.missing(), ["Function gone"]);
    let mut world = with(&[]);
    let request = world.backup_request();
    world.view.objects.clear();
    let gone = Unresolved::Missing(vec!["BackupConfiguration demo/shop".to_owned()]);
    assert_eq!(world.planned(SessionKind::Backup, &request), Err(gone));
}

#[test]
fn a_repository_of_another_namespace_must_allow_ours() {
    let elsewhere = |policy: &str| {
        let repository = "metadata: {name: repo, namespace: vault}\nspec:\n";
        let secret = "metadata: {name: storage, namespace: vault}";
        with(&[
            ("  repository: {name: repo}", "  repository: {name: repo, namespace: vault}"),
            ("metadata: {name: repo, namespace: demo}\nspec:\n", &format!("{repository}{policy}")),
            ("metadata: {name: storage, namespace: demo}", secret),
        ])
    };
    let all = elsewhere("  usagePolicy: {allowedNamespaces: {from: All}}\n").backup();
    assert_eq!(all.repositories().next().unwrap().reference.path(), "vault/repo");
    for (policy, why) in [
        ("", "Repository vault/repo of another namespace, which does not let namespace `demo` use it"),
        ("  usagePolicy: {}\n", "allow the namespace in spec.usagePolicy.allowedNamespaces"),
        ("  usagePolicy: {allowedNamespaces: {}}\n", "allow the namespace in spec.usagePolicy.allowedNamespaces"),
        (
            "  usagePolicy: {allowedNamespaces: {from: Same}}\n",
            "allow the namespace in spec.usagePolicy.allowedNamespaces",
        ),
        (
            "  usagePolicy: {allowedNamespaces: {from: Selector, selector: {matchLabels: {a: b}}}}\n",
            "a folder of manifests knows no labels of namespaces",
        ),
    ] {
        let (code, message) = elsewhere(policy).refusal();
        assert!(code == Code::UsageNotAllowed && message.contains(why), "{policy}: {message}");
    }
    let selected = "  usagePolicy: {allowedNamespaces: {from: Selector, selector: {matchLabels: {team: shop}}}}\n";
    for (labels, allowed) in
        [(&[("team", "shop"), ("x", "y")][..], true), (&[("team", "crm")][..], false), (&[], false)]
    {
        let mut world = elsewhere(selected);
        world.labels = Some(labels);
        assert_eq!(world.planned(SessionKind::Backup, &world.backup_request()).is_ok(), allowed, "{labels:?}");
    }
    let own = "metadata: {name: repo, namespace: demo}\nspec:\n";
    with(&[(own, &format!("{own}  usagePolicy: {{allowedNamespaces: {{from: Same}}}}\n"))]).backup();
}

#[test]
fn a_function_of_stash_that_no_built_in_one_replaces_is_refused() {
    let (code, message) = and("\
apiVersion: stash.appscode.com/v1beta1
kind: Task
metadata: {name: mariadb-backup-10.6.23}
spec: {steps: [{name: corp-backup}, {name: update-status}]}
---
apiVersion: stash.appscode.com/v1beta1
kind: Function
metadata: {name: corp-backup}
spec: {image: 'registry.example.org/corp:7', args: [go]}
")
    .refusal();
    assert_eq!(code, Code::FunctionNotSupported);
    assert_eq!(
        message,
        "Function `corp-backup` of Stash's group runs in an image, and no built-in Function has its name; Lagan runs programs, not images: write a Function of group lagan.dev"
    );
}

#[test]
fn a_function_for_an_engine_that_is_not_built_in_is_refused_with_the_known_ones() {
    let text = OWN_FUNCTION.replace("database: MariaDB", "database: MonetDB");
    let (code, message) = made_of(&format!("{}---\n{text}", WORLD.replace(TASK, "  task: {name: own}\n"))).refusal();
    assert_eq!(code, Code::FunctionNotSupported);
    let known: Vec<&str> = lagan_schemas::catalogue::engines().iter().map(|engine| engine.name.as_str()).collect();
    assert_eq!(message, format!("Function `own` is for database `MonetDB`; there are {}", known.join(", ")));
}

#[test]
fn a_function_that_can_not_run_is_refused() {
    for (from, to, code, text) in [
        (
            "  database: MariaDB\n",
            "",
            Code::FunctionNotSupported,
            "Function `own` does not say which `database` it is for",
        ),
        (
            "  stream: {stdout: own.sql}\n",
            "",
            Code::FunctionNotSupported,
            "Function `own` binds no stream; set `stream.stdout` or `stream.stdin`",
        ),
        (
            "{stdout: own.sql}",
            "{stdin: own.sql}",
            Code::FunctionNotSupported,
            "Function `own` has no `stream.stdout`, so there is nothing to back up",
        ),
        (
            "${label}",
            "${label:=",
            Code::SubstitutionFailed,
            "Function `own`: `${` at column 9 of `--label=${label:=` is not closed",
        ),
        (
            "${label}",
            "${nothing}",
            Code::SubstitutionFailed,
            "Function `own`: variable `nothing` has no value (column 9 of `--label=${nothing}`)",
        ),
        (
            "{steps: [",
            "{steps: [{name: own}, ",
            Code::FunctionNotSupported,
            "Task `own`: Lagan runs Tasks with exactly one Function that streams",
        ),
        (
            "{steps: [{name: own,",
            "{steps: [{name: update-status,",
            Code::FunctionNotSupported,
            "Task `own`: Lagan runs Tasks with exactly one Function that streams",
        ),
    ] {
        assert!(OWN_FUNCTION.contains(from), "{from}");
        let text_of_world = WORLD.replace(TASK, "  task: {name: own}\n");
        let refused = made_of(&format!("{text_of_world}---\n{}", OWN_FUNCTION.replace(from, to))).refusal();
        assert_eq!(refused, (code, text.to_owned()), "{to}");
    }
    let without_command = OWN_FUNCTION.replace("  command: [mariadb-dump]\n", "");
    let lines: String =
        without_command.lines().filter(|line| !line.starts_with("  args:")).map(|line| format!("{line}\n")).collect();
    let world = made_of(&format!("{}---\n{lines}", WORLD.replace(TASK, "  task: {name: own}\n")));
    assert_eq!(world.refusal(), (Code::FunctionNotSupported, "Function `own` has no `command`".to_owned()));
}

#[test]
fn a_configuration_that_can_not_be_planned_is_refused() {
    let wait = "  task: {name: mariadb-backup, params: [{name: waitTimeout, value: soon}]}\n";
    for (from, to, code, text) in [
        (
            "kind: AppBinding, name: db}",
            "kind: PersistentVolumeClaim, name: db}",
            Code::InvalidSpec,
            "target.ref: a PersistentVolumeClaim can't be backed up; name the AppBinding of the database",
        ),
        (TASK, wait, Code::InvalidSpec, "task.params: waitTimeout `soon` is not a number of seconds"),
    ] {
        assert_eq!(with(&[(from, to)]).refusal(), (code, text.to_owned()));
    }
    let (code, message) = with(&[(TASK, ""), ("kubedb.com/mariadb", "kubedb.com/mongodb")]).refusal();
    assert_eq!(
        (code, message.as_str()),
        (Code::InvalidSpec, "task.name: AppBinding db names no Task and its type says none either")
    );
}

#[test]
fn an_invoker_that_was_replaced_by_another_of_its_name_is_not_planned() {
    let world = with(&[]);
    let mut request = world.backup_request();
    request.invoker.uid = Some(Uuid::from_u128(99));
    assert_eq!(refusal(world.planned(SessionKind::Backup, &request)).0, Code::IntentNotConfirmed);
    // Who asks with an object names no uid of the configuration.
    request.invoker.uid = None;
    assert!(world.planned(SessionKind::Backup, &request).is_ok());
    for uid in [Some(Uuid::from_u128(99)), None] {
        let mut request = world.restore_request();
        request.invoker.uid = uid;
        assert_eq!(refusal(world.planned(SessionKind::Restore, &request)).0, Code::IntentNotConfirmed, "{uid:?}");
    }
}

#[test]
fn an_unknown_parameter_is_refused_with_the_nearest_name() {
    for (param, expected) in [
        ("arg", "task.params: Task `mariadb-backup-10.6.23` has no parameter `arg`; did you mean `args`?"),
        ("waittimeout", "; did you mean `waitTimeout`?"),
        ("databases", "; known are args, waitTimeout"),
    ] {
        let task = format!("  task: {{name: mariadb-backup-10.6.23, params: [{{name: {param}, value: x}}]}}\n");
        let (code, message) = with(&[("  task: {name: mariadb-backup-10.6.23}\n", &task)]).refusal();
        assert!(code == Code::InvalidSpec && message.contains(expected), "{message}");
    }
}

#[test]
fn an_invalid_object_is_refused_as_invalid_wherever_it_is_named() {
    for (kind, expected) in [
        (Kind::Repository, "Repository demo/repo is invalid: backend: name one place, not several"),
        (Kind::AppBinding, "AppBinding demo/db is invalid: backend: name one place, not several"),
        (Kind::BackupConfiguration, "BackupConfiguration demo/shop is invalid: backend: name one place, not several"),
    ] {
        let mut world = with(&[]);
        let request = world.backup_request();
        let object = world.object(kind).clone();
        let problem = "backend: name one place, not several".to_owned();
        world.view.objects.remove(&object.key());
        let refused = crate::view::Refused {
            metadata: object.metadata.clone(),
            api_version: object.api_version.clone(),
            problem,
        };
        world.view.refused.insert(object.key(), refused);
        let planned = world.planned(SessionKind::Backup, &request);
        assert!(
            matches!(&planned, Err(Unresolved::Refused(failure)) if failure.code == Code::InvalidSpec && failure.message == expected),
            "{planned:?}"
        );
    }
}
