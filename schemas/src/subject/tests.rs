//! Subjects and filters, there and back.
#![allow(clippy::unwrap_used, reason = "tests")]
use proptest::prelude::*;

use super::*;

fn key(namespace: &str, invoker: &str) -> SessionKey {
    SessionKey {
        cluster: "prod-1".parse().unwrap(),
        namespace: namespace.to_owned(),
        kind: SessionKind::Backup,
        group: "lagan.dev".to_owned(),
        invoker: invoker.to_owned(),
        uid: Uuid::from_u128(7),
    }
}

#[test]
fn a_planned_fact_names_its_pool_and_lane() {
    let subject = key("shop", "a.b").planned("default", Lane::Urgent);
    assert_eq!(
        subject,
        "lagan.session.prod-1.shop.backup.lagan_dev.a_b.00000000-0000-0000-0000-000000000007.default.planned.urgent"
    );
    let parsed: SessionSubject = subject.parse().unwrap();
    assert_eq!((parsed.fact, parsed.pool.as_deref()), (Some(FactKind::Planned), Some("default")));
}

#[test]
fn a_fact_of_a_later_version_parses_as_unknown() {
    let subject = format!("{}.default.verified", key("shop", "a").prefix());
    assert_eq!(subject.parse::<SessionSubject>().unwrap().fact, None);
}

#[test]
fn invokers_of_two_groups_with_one_name_share_no_subject() {
    let ours = key("shop", "a");
    let theirs = SessionKey { group: "stash.appscode.com".to_owned(), ..ours.clone() };
    assert_ne!(ours.prefix(), theirs.prefix());
    assert_eq!(theirs.engine_fact(FactKind::Requested).parse::<SessionSubject>().unwrap().key, theirs);
}

/// Whether a subject matches a filter, as NATS decides it.
fn matches(filter: &str, subject: &str) -> bool {
    let mut subject = subject.split('.');
    for token in filter.split('.') {
        match (token, subject.next()) {
            (">", rest) => return rest.is_some(),
            ("*", Some(_)) => {}
            (token, Some(found)) if token == found => {}
            _ => return false,
        }
    }
    subject.next().is_none()
}

#[test]
fn filters_find_what_they_name_and_a_pool_ends_at_its_border() {
    let key = key("shop", "a.b");
    let planned = key.planned("disk", Lane::Normal);
    assert!(matches(&planned_filter(&key.cluster, "disk", Lane::Normal), &planned));
    assert!(!matches(&planned_filter(&key.cluster, "default", Lane::Normal), &planned));
    assert!(!matches(&planned_filter(&key.cluster, "disk", Lane::Urgent), &planned));
    assert!(matches(&progress_filter(&key), &progress(&key, "disk")));
    for fact in FactKind::ALL {
        let subjects = match fact {
            FactKind::Planned => vec![planned.clone()],
            fact => vec![key.engine_fact(fact), key.worker_fact("disk", fact)],
        };
        for subject in subjects {
            for filter in [fact_filter(&key.cluster, fact), uid_filter(&key.cluster, key.uid), key.filter()] {
                assert!(matches(&filter, &subject), "{filter} {subject}");
            }
            for other in FactKind::ALL.into_iter().filter(|other| *other != fact) {
                assert!(!matches(&fact_filter(&key.cluster, other), &subject), "{subject}");
            }
        }
    }
}

#[test]
fn wildcards_and_blanks_are_refused() {
    for bad in ["", "*", ">", "a b", "a\nb", "a_b", &"x".repeat(254)] {
        assert!(token(bad).is_err(), "{bad:?}");
    }
    for bad in ["", "Prod", "a.b", "-a", "a-"] {
        assert!(bad.parse::<Cluster>().is_err(), "{bad:?}");
    }
    let key = |namespace: Option<&str>| {
        let namespace = namespace.map(str::to_owned);
        ObjectKey { group: "lagan.dev".to_owned(), kind: Kind::Repository, namespace, name: "a.b".to_owned() }
    };
    for bad in ["", "Prod", "a.b", "a b", "-a", "a-", "*", NO_NAMESPACE] {
        assert_eq!(key(Some(bad)).check(), Err(SubjectError::Namespace(bad.to_owned())));
    }
    assert_eq!((key(Some("team-a")).check(), key(None).check()), (Ok(()), Ok(())));
}

proptest! {
    #[test]
    fn session_subjects_round_trip(ns in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", name in "[a-z0-9]([a-z0-9.-]{0,40}[a-z0-9])?") {
        let key = key(&ns, &name);
        for fact in FactKind::ALL {
            let engine: SessionSubject = key.engine_fact(fact).parse().unwrap();
            let worker: SessionSubject = key.worker_fact("disk-2", fact).parse().unwrap();
            prop_assert_eq!((&engine.key, engine.pool.as_deref(), engine.fact), (&key, None, Some(fact)));
            prop_assert_eq!((&worker.key, worker.pool.as_deref(), worker.fact), (&key, Some("disk-2"), Some(fact)));
        }
    }

    #[test]
    fn object_subjects_round_trip(kind in "Repository|Secret|[A-Z][A-Za-z0-9]{0,62}", ns in proptest::option::of("[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"), name in "[a-z0-9]([a-z0-9.-]{0,40}[a-z0-9])?") {
        let cluster: Cluster = "c".parse().unwrap();
        let key = ObjectKey { group: "lagan.dev".into(), kind: kind.parse().unwrap(), namespace: ns, name };
        prop_assert_eq!(ObjectKey::parse(&key.resource_subject(&cluster)).unwrap(), (cluster.clone(), key.clone()));
        prop_assert_eq!(ObjectKey::parse(&key.status_subject(&cluster)).unwrap(), (cluster, key));
    }

    #[test]
    fn no_subject_makes_the_parser_panic(text in ".{0,200}") {
        let _ = text.parse::<SessionSubject>();
        let _ = ObjectKey::parse(&text);
    }
}
