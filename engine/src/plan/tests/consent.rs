//! Objects of other namespaces: they are planned with only if they consent, in both groups.

use lagan_schemas::consent::CONSENT_MISSING;

use super::*;

const IN_DEMO: &str = "metadata: {name: db, namespace: demo}";
const LINE_OF_TARGET: &str = "kind: AppBinding, name: db}";

/// The database is in namespace `prod`, with these annotations; the invokers in `demo` name it.
fn target_in_prod(annotations: &str) -> World {
    with(&[
        (LINE_OF_TARGET, "kind: AppBinding, name: db, namespace: prod}"),
        (IN_DEMO, &format!("metadata: {{name: db, namespace: prod, annotations: {{{annotations}}}}}")),
        ("metadata: {name: db-auth, namespace: demo}", "metadata: {name: db-auth, namespace: prod}"),
    ])
}

/// The same world with the invokers and Repositories of our own group.
fn of_our_group(world: World) -> World {
    let mut ours = World { view: View::default(), ..world };
    for object in world.view.objects.into_values() {
        let mut object = Arc::unwrap_or_clone(object);
        if object.api_version.starts_with("stash") {
            object.api_version = "lagan.dev/v1alpha1".to_owned();
        }
        ours.view.objects.insert(object.key(), Arc::new(object));
    }
    ours
}

fn both_groups(world: impl Fn() -> World) -> [World; 2] {
    [world(), of_our_group(world())]
}

fn judged(world: &World, kind: SessionKind) -> Result<Plan, String> {
    let request = if kind == SessionKind::Restore { world.restore_request() } else { world.backup_request() };
    world.planned(kind, &request).map_err(|unresolved| match unresolved {
        Unresolved::Refused(failure) => {
            assert_eq!(failure.code, Code::UsageNotAllowed, "{failure}");
            failure.message
        }
        Unresolved::Missing(names) => unreachable!("{names:?}"),
    })
}

#[test]
fn a_database_of_another_namespace_is_backed_up_only_with_its_consent() {
    for annotations in ["", "lagan.dev/restore-usage-policy: All", "lagan.dev/backup-usage-policy: Same"] {
        for world in both_groups(|| target_in_prod(annotations)) {
            let why = judged(&world, SessionKind::Backup).unwrap_err();
            let says = "target.ref names AppBinding prod/db of another namespace, which does not let namespace `demo` back \
                        it up; annotate the AppBinding with lagan.dev/backup-usage-policy: Namespaces=demo";
            assert_eq!(why, says, "{annotations}");
        }
    }
    for annotations in ["All", "Namespaces=demo", "'Namespaces=qa,demo'"] {
        for world in both_groups(|| target_in_prod(&format!("lagan.dev/backup-usage-policy: {annotations}"))) {
            let plan = judged(&world, SessionKind::Backup).unwrap();
            assert!(plan.notices.iter().all(|notice| notice.kind != CONSENT_MISSING));
        }
    }
}

#[test]
fn a_database_of_another_namespace_is_restored_into_only_with_its_consent() {
    for annotations in ["", "lagan.dev/backup-usage-policy: All"] {
        for world in both_groups(|| target_in_prod(annotations)) {
            let why = judged(&world, SessionKind::Restore).unwrap_err();
            assert!(why.contains("AppBinding prod/db") && why.contains("lagan.dev/restore-usage-policy"), "{why}");
        }
    }
    for world in both_groups(|| target_in_prod("lagan.dev/restore-usage-policy: Namespaces=demo")) {
        judged(&world, SessionKind::Restore).unwrap();
    }
}

#[test]
fn a_consent_by_label_is_judged_by_the_labels_of_the_askers_namespace() {
    let mut world = target_in_prod("lagan.dev/backup-usage-policy: Labels=team=shop");
    let why = judged(&world, SessionKind::Backup).unwrap_err();
    assert!(why.contains("a folder of manifests knows no labels of namespaces"), "{why}");
    for (labels, allowed) in [(&[("team", "shop")][..], true), (&[("team", "crm")][..], false)] {
        world.labels = Some(labels);
        assert_eq!(judged(&world, SessionKind::Backup).is_ok(), allowed, "{labels:?}");
    }
}

#[test]
fn a_blueprint_that_the_database_names_may_back_it_up_from_its_namespace() {
    let blueprint = |namespace: &str| {
        format!(
            "---\napiVersion: stash.appscode.com/v1beta1\nkind: BackupBlueprint\nmetadata: {{name: nightly}}\nspec:\n  backupNamespace: {namespace}\n  schedule: '@daily'\n  retentionPolicy: {{name: few, keepLast: 5}}\n  backend: {{storageSecretName: s, s3: {{bucket: bucket}}}}\n"
        )
    };
    for (namespace, allowed) in [("demo", true), ("elsewhere", false)] {
        let mut world = target_in_prod("stash.appscode.com/backup-blueprint: nightly");
        world.view.objects.extend(made_of(&blueprint(namespace)[4..]).view.objects);
        assert_eq!(judged(&world, SessionKind::Backup).is_ok(), allowed, "{namespace}");
        judged(&world, SessionKind::Restore).unwrap_err();
    }
}

#[test]
fn snapshots_of_another_namespace_need_the_consent_of_the_repository() {
    let world = |policy: &str| {
        let repository = format!("metadata: {{name: repo, namespace: vault}}\nspec:\n{policy}");
        with(&[
            ("  repository: {name: repo}", "  repository: {name: repo, namespace: vault}"),
            ("metadata: {name: repo, namespace: demo}\nspec:\n", &repository),
            ("metadata: {name: storage, namespace: demo}", "metadata: {name: storage, namespace: vault}"),
            (
                "  task: {name: mariadb-restore-10.6.23}",
                "  configuration: {name: shop, namespace: prod}\n  task: {name: mariadb-restore-10.6.23}",
            ),
        ])
    };
    let shared = "  usagePolicy: {allowedNamespaces: {from: All}}\n";
    for world in both_groups(|| world(shared)) {
        let why = judged(&world, SessionKind::Restore).unwrap_err();
        assert!(why.contains("namespace `prod` in Repository vault/repo"), "{why}");
        assert!(why.contains("spec.usagePolicy.crossNamespaceRestore"), "{why}");
    }
    let open = "  usagePolicy: {allowedNamespaces: {from: All}, crossNamespaceRestore: {from: All}}\n";
    for world in both_groups(|| world(open)) {
        judged(&world, SessionKind::Restore).unwrap();
    }
}

#[test]
fn a_hook_reaches_a_service_of_another_namespace_only_with_its_consent() {
    let exec = "hooks: {preBackup: {exec: {command: [sync]}}}";
    let http = "hooks: {postBackup: {httpGet: {port: 80, host: mariadb.prod.svc.cluster.local}}}";
    let away = "hooks: {postBackup: {httpGet: {port: 80, host: hooks.example.org}}}";
    let service = "    service: {name: mariadb, port: 3307}";
    let world = |hooks: &str, namespace: &str, policy: Option<&str>| {
        let there = format!("    service: {{name: mariadb, namespace: {namespace}, port: 3307}}");
        let mut world = with(&[
            (service, there.as_str()),
            ("  task: {name: mariadb-backup-10.6.23}", &format!("  {hooks}\n  task: {{name: mariadb-backup-10.6.23}}")),
        ]);
        let annotations = policy.map(|policy| ("lagan.dev/hook-usage-policy".to_owned(), policy.to_owned()));
        let key = ("prod".to_owned(), "mariadb".to_owned());
        world.services.insert(key, annotations.into_iter().collect());
        world
    };
    for (hooks, namespace, policy, allowed) in [
        (exec, "prod", None, false),
        (exec, "prod", Some("Same"), false),
        (exec, "prod", Some("Namespaces=demo"), true),
        (exec, "demo", None, true),
        (http, "demo", None, false),
        (http, "demo", Some("All"), true),
        // Where the application is does not matter to a hook that goes elsewhere.
        (away, "prod", None, true),
    ] {
        for world in both_groups(|| world(hooks, namespace, policy)) {
            let judged = judged(&world, SessionKind::Backup);
            assert_eq!(judged.is_ok(), allowed, "{hooks} {namespace} {policy:?}: {judged:?}");
            if let Err(why) = judged {
                assert!(why.contains("hooks names Service prod/mariadb"), "{why}");
            }
        }
    }
}

#[test]
fn an_administrator_can_allow_what_nobody_consented_to_and_the_session_says_so() {
    for kind in [SessionKind::Backup, SessionKind::Restore] {
        for mut world in both_groups(|| target_in_prod("")) {
            world.cross_namespace = CrossNamespace::Allowed;
            let plan = judged(&world, kind).unwrap();
            let warning = plan.notices.iter().find(|notice| notice.kind == CONSENT_MISSING).unwrap();
            assert!(warning.message.contains("AppBinding prod/db"), "{}", warning.message);
        }
    }
}
