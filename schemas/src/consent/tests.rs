#![allow(clippy::unwrap_used, clippy::unnecessary_wraps, reason = "tests; labels have the shape that an asker passes")]

use serde_json::json;

use super::*;

fn labels() -> Option<BTreeMap<String, String>> {
    Some(BTreeMap::from([("team".to_owned(), "shop".to_owned())]))
}

const fn dev(labels: &dyn Fn() -> Option<BTreeMap<String, String>>) -> Asker<'_> {
    Asker { namespace: "dev", labels }
}

fn object(value: serde_json::Value) -> Object {
    Object::from_json(value).unwrap()
}

fn binding(annotations: &serde_json::Value) -> Object {
    object(json!({
        "apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding",
        "metadata": {"name": "shop", "namespace": "prod", "annotations": annotations},
        "spec": {"clientConfig": {"url": "mysql://h:1/"}},
    }))
}

fn usage(value: serde_json::Value) -> UsagePolicy {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_policy_says_which_namespaces_may_use_an_object() {
    let without_labels = || None;
    for (word, allowed) in [
        ("Same", Ok(false)),
        ("All", Ok(true)),
        (" All ", Ok(true)),
        ("Namespaces=dev", Ok(true)),
        ("Namespaces=qa, dev", Ok(true)),
        ("Namespaces=qa+dev", Ok(true)),
        ("Namespaces=qa", Ok(false)),
        ("Labels=team=shop", Ok(true)),
        ("Labels=team=shop,stage=test", Ok(false)),
        ("Labels=team=other", Ok(false)),
        ("", Err(PolicyError::Word(String::new()))),
        ("all", Err(PolicyError::Word("all".to_owned()))),
        ("dev", Err(PolicyError::Word("dev".to_owned()))),
        ("Labels=team", Err(PolicyError::Word("Labels=team".to_owned()))),
        ("Namespaces=", Err(PolicyError::Empty("Namespaces=".to_owned()))),
        ("Labels= , ", Err(PolicyError::Empty("Labels= ,".to_owned()))),
    ] {
        let judged = ConsentPolicy::parse(word).and_then(|policy| policy.allows(dev(&labels)));
        assert_eq!(judged, allowed, "{word:?}");
    }
    let by_label = ConsentPolicy::parse("Labels=team=shop").unwrap();
    assert_eq!(by_label.allows(dev(&without_labels)), Err(PolicyError::NoLabels));
    assert_eq!(ConsentPolicy::parse(&format!("Namespaces={}", "n".repeat(200))), Err(PolicyError::TooLong(211)));
}

#[test]
fn a_policy_in_a_tag_means_the_same_and_holds_no_comma() {
    for word in ["Same", "All", "Namespaces=dev,qa", "Labels=stage=test,team=shop"] {
        let policy = ConsentPolicy::parse(word).unwrap();
        let tag = policy.to_string();
        assert!(!tag.contains(','), "{tag}");
        assert_eq!(ConsentPolicy::parse(&tag).unwrap(), policy);
    }
}

#[test]
fn an_app_binding_consents_to_backups_and_to_restores_separately() {
    let none = BTreeSet::new();
    let judge = |annotations, wanted| app_binding(dev(&labels), wanted, &binding(&annotations), &none).is_ok();
    for (annotations, backup, restore) in [
        (json!({}), false, false),
        (json!({"lagan.dev/backup-usage-policy": "Namespaces=dev"}), true, false),
        (json!({"lagan.dev/restore-usage-policy": "All"}), false, true),
        (json!({"lagan.dev/snapshot-usage-policy": "All", "lagan.dev/hook-usage-policy": "All"}), false, false),
        (json!({"lagan.dev/backup-usage-policy": "everybody"}), false, false),
    ] {
        assert_eq!(judge(annotations.clone(), Use::Backup), backup, "{annotations}");
        assert_eq!(judge(annotations.clone(), Use::Restore), restore, "{annotations}");
    }
    let own = Asker { namespace: "prod", labels: &labels };
    assert_eq!(app_binding(own, Use::Restore, &binding(&json!({})), &none), Ok(()));
}

#[test]
fn a_refusal_names_object_field_namespace_and_what_to_add_where() {
    let refusal = app_binding(dev(&labels), Use::Restore, &binding(&json!({})), &BTreeSet::new()).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "target.ref names AppBinding prod/shop of another namespace, which does not let namespace `dev` restore into \
         it; annotate the AppBinding with lagan.dev/restore-usage-policy: Namespaces=dev"
    );
    let unreadable = binding(&json!({"lagan.dev/backup-usage-policy": "x"}));
    let refusal = app_binding(dev(&labels), Use::Backup, &unreadable, &BTreeSet::new()).unwrap_err().to_string();
    assert!(refusal.contains("annotation lagan.dev/backup-usage-policy can't be read: `x` is not"), "{refusal}");
}

#[test]
fn an_app_binding_that_names_a_blueprint_consents_to_backups_from_its_namespace() {
    let blueprint = object(json!({
        "apiVersion": "lagan.dev/v1alpha1", "kind": "BackupBlueprint", "metadata": {"name": "nightly"},
        "spec": {"backupNamespace": "dev", "retentionPolicy": {"name": "k", "keepLast": 1},
            "backend": {"storageSecretName": "s", "s3": {"bucket": "bucket"}}},
    }));
    let named = binding(&json!({"lagan.dev/backup-blueprint": "other, nightly"}));
    let namespaces =
        blueprint_namespaces(&named, |group, name| (group == Group::Lagan && name == "nightly").then_some(&blueprint));
    assert_eq!(namespaces, BTreeSet::from(["dev".to_owned()]));
    assert_eq!(app_binding(dev(&labels), Use::Backup, &named, &namespaces), Ok(()));
    assert!(app_binding(dev(&labels), Use::Restore, &named, &namespaces).is_err(), "a backup is not a restore");
    assert!(blueprint_namespaces(&binding(&json!({})), |_, _| Some(&blueprint)).is_empty());
}

#[test]
fn a_repository_lets_other_namespaces_use_it_by_its_policy() {
    let spec = |policy: serde_json::Value| -> RepositorySpec {
        serde_json::from_value(json!({"backend": {"storageSecretName": "s"}, "usagePolicy": policy})).unwrap()
    };
    let selector = |labels: serde_json::Value| json!({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": labels}}});
    for (policy, allowed) in [
        (json!(null), false),
        (json!({"allowedNamespaces": {"from": "Same"}}), false),
        (json!({"allowedNamespaces": {"from": "All"}}), true),
        (selector(json!({"team": "shop"})), true),
        (selector(json!({"team": "other"})), false),
        // An empty selector is no consent.
        (selector(json!({})), false),
        (json!({"crossNamespaceRestore": {"from": "All"}}), false),
    ] {
        assert_eq!(repository(dev(&labels), ("prod", "store"), &spec(policy.clone())).is_ok(), allowed, "{policy}");
    }
    assert_eq!(repository(dev(&labels), ("dev", "store"), &spec(json!(null))), Ok(()));
}

#[test]
fn a_snapshot_of_another_namespace_needs_the_consent_of_both_owners() {
    let of = |namespace, owner, consent| NamedSnapshot { id: "0123456789", namespace, owner, consent };
    let open = usage(json!({"crossNamespaceRestore": {"from": "All"}}));
    let shared = usage(json!({"allowedNamespaces": {"from": "All"}}));
    let (here, gone) = (OwnerNamespace::Exists, OwnerNamespace::Gone);
    for (taken, repository, policy, allowed) in [
        (of(Some("dev"), here, None), "prod", None, true),
        (of(Some("prod"), here, None), "shared", Some(&shared), false),
        (of(Some("prod"), here, None), "shared", Some(&open), false),
        (of(Some("prod"), here, Some("All")), "shared", Some(&shared), false),
        (of(Some("prod"), here, Some("Namespaces=dev+qa")), "shared", Some(&open), true),
        (of(Some("prod"), here, Some("Namespaces=qa")), "shared", Some(&open), false),
        (of(Some("prod"), gone, None), "shared", Some(&open), true),
        (of(Some("prod"), gone, None), "shared", Some(&shared), false),
        // The Repository's own namespace consents to itself, and snapshots of other tools are its own.
        (of(Some("prod"), here, None), "dev", None, false),
        (of(Some("prod"), here, Some("All")), "dev", None, true),
        (of(Some("prod"), gone, None), "dev", None, true),
        (of(Some("dev"), OwnerNamespace::OtherCluster, None), "dev", None, true),
        (of(Some("dev"), OwnerNamespace::OtherCluster, Some("All")), "shared", Some(&shared), false),
        (of(Some("dev"), OwnerNamespace::OtherCluster, None), "shared", Some(&open), true),
        (of(None, here, None), "dev", None, true),
        (of(None, here, None), "prod", Some(&shared), false),
        (of(None, here, None), "prod", Some(&open), true),
    ] {
        let judged = snapshot(dev(&labels), taken, (repository, "store"), policy);
        assert_eq!(judged.is_ok(), allowed, "{taken:?} in {repository}: {judged:?}");
    }
    let refusal = snapshot(dev(&labels), of(Some("prod"), here, None), ("dev", "store"), None).unwrap_err().to_string();
    assert!(refusal.contains("snapshot 01234567 of namespace `prod`"), "{refusal}");
    assert!(refusal.contains("lagan.dev/snapshot-usage-policy: Namespaces=dev"), "{refusal}");
}

#[test]
fn a_service_consents_to_hooks() {
    let annotations = |word: &str| BTreeMap::from([("lagan.dev/hook-usage-policy".to_owned(), word.to_owned())]);
    let judge = |annotations| service(dev(&labels), ("prod", "shop"), &annotations);
    assert!(judge(BTreeMap::new()).unwrap_err().to_string().contains("Service prod/shop"));
    assert_eq!(judge(annotations("Labels=team=shop")), Ok(()));
    assert!(judge(annotations("Same")).is_err());
    assert_eq!(service(dev(&labels), ("dev", "shop"), &BTreeMap::new()), Ok(()));
}

#[test]
fn the_host_of_a_hook_names_a_service_in_all_its_spellings() {
    for (host, canonical) in [
        ("shop.prod", "shop.prod.svc"),
        ("SHOP.prod.", "shop.prod.svc"),
        ("shop.prod.svc", "shop.prod.svc"),
        ("Shop.Prod.SVC.cluster.local.", "shop.prod.svc"),
        ("shop.prod.svc.attacker.example", "shop.prod.svc"),
        ("shop-0.shop.prod.svc.my.domain", "shop-0.shop.prod.svc"),
        ("shop-0.shop.prod", "shop-0.shop.prod.svc"),
    ] {
        let (namespace, name, canonical) = ("prod".to_owned(), "shop".to_owned(), canonical.to_owned());
        assert_eq!(service_of_host(host), Some(ServiceHost { namespace, name, canonical }), "{host}");
    }
    for host in ["shop", "10.1.2.3", "fd00::1", ""] {
        assert_eq!(service_of_host(host), None, "{host}");
    }
}

#[test]
fn an_administrator_can_turn_a_refusal_into_a_warning() {
    let refused = app_binding(dev(&labels), Use::Backup, &binding(&json!({})), &BTreeSet::new());
    let mut missing = MissingConsents::default();
    let failure = CrossNamespace::NeedsConsent.settle(refused.clone(), &mut missing).unwrap_err();
    assert_eq!(failure.code, Code::UsageNotAllowed);
    assert_eq!(CrossNamespace::Allowed.settle(Ok(()), &mut missing), Ok(()));
    assert_eq!(MissingConsents::default().into_notice(), None);
    CrossNamespace::Allowed.settle(refused, &mut missing).unwrap();
    let notice = missing.into_notice().unwrap();
    assert_eq!((notice.kind.as_str(), notice.status), (CONSENT_MISSING, NoticeStatus::True));
    assert!(notice.message.contains("AppBinding prod/shop") && notice.message.contains("--allow-cross-namespace"));
}
