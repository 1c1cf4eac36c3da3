//! Streams and consumers as data.

use std::time::Duration;

use lagan_bus::append::append;
use lagan_bus::consumers::{self, Begin, ConsumerSpec, Ensured};
use lagan_bus::streams::{self, Sizes, StreamError, StreamSpec, StreamStorage};
use lagan_bus::{Expect, HeaderMap, publish, read};
use lagan_schemas::subject::{Cluster, RESOURCES, SESSIONS};

use crate::support::{Rig, cluster, fact, sizes};

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_at_once_make_the_same_streams() {
    let rig = Rig::empty().await;
    let mut makers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (bus, specs) = (rig.bus().await, rig.specs.clone());
        makers.spawn(async move { streams::ensure(&bus, &specs).await });
    }
    for made in makers.join_all().await {
        made.unwrap();
    }
    let bus = rig.bus().await;
    let before = streams::store_id(&bus, SESSIONS).await.unwrap();
    let larger = Sizes { sessions_max_bytes: 2 << 30, ..sizes() };
    let specs = streams::of_cluster(&cluster(), &larger);
    streams::ensure(&bus, &specs).await.unwrap();
    streams::ensure(&bus, &specs).await.unwrap();
    assert_eq!(streams::store_id(&bus, SESSIONS).await.unwrap(), before);
    let mut stream = rig.admin().await.get_stream(SESSIONS).await.unwrap();
    let config = &stream.info().await.unwrap().config;
    assert_eq!(config.max_bytes, 2 << 30);
    assert!(config.allow_direct);
}

#[tokio::test]
async fn an_administrators_other_settings_stay() {
    let (rig, bus) = Rig::start().await;
    let admin = rig.admin().await;
    let mut config = admin.get_stream(RESOURCES).await.unwrap().info().await.unwrap().config.clone();
    config.metadata.insert("team".into(), "databases".into());
    config.max_message_size = 100_000;
    admin.update_stream(&config).await.unwrap();
    streams::ensure(&bus, &rig.specs).await.unwrap();
    let config = admin.get_stream(RESOURCES).await.unwrap().info().await.unwrap().config.clone();
    assert_eq!(config.metadata.get("team").map(String::as_str), Some("databases"));
    assert_eq!(config.max_message_size, 100_000);
}

#[tokio::test]
async fn streams_of_another_cluster_are_refused() {
    let (_rig, bus) = Rig::start().await;
    let other: Cluster = "other".parse().unwrap();
    let specs = streams::of_cluster(&other, &sizes());
    for spec in &specs {
        let refused = streams::ensure(&bus, std::slice::from_ref(spec)).await;
        assert!(matches!(refused, Err(StreamError::OtherCluster { .. })), "{}: {refused:?}", spec.name);
    }
}

#[tokio::test]
async fn storage_that_cannot_be_changed_is_explained() {
    let (rig, bus) = Rig::start().await;
    let changed = StreamSpec { storage: StreamStorage::Memory, ..rig.specs[0].clone() };
    assert!(matches!(streams::ensure(&bus, &[changed]).await, Err(StreamError::StorageFixed { .. })));
    let huge = StreamSpec { max_bytes: 1 << 50, ..rig.specs[0].clone() };
    assert!(matches!(streams::ensure(&bus, &[huge]).await, Err(StreamError::NoSpace { .. })));
}

#[tokio::test]
async fn a_consumer_that_was_deleted_begins_where_it_is_told() {
    let (rig, bus) = Rig::start().await;
    for session in ["s1", "s2", "s3"] {
        append(&bus, fact(session, "requested", 0, "r")).await.unwrap();
    }
    let filters = vec![
        "lagan.session.test.*.*.*.*.*.*.requested".to_owned(),
        "lagan.session.test.*.*.*.*.*.*.retrying".to_owned(),
    ];
    let ack_wait = Duration::from_secs(10);
    let spec =
        ConsumerSpec { stream: SESSIONS.into(), name: "planner".into(), filters, ack_wait, begin: Begin::Oldest };
    assert!(!consumers::exists(&bus, SESSIONS, "planner").await.unwrap());
    assert_eq!(consumers::ensure(&bus, &spec).await.unwrap(), Ensured::Created);
    assert_eq!(consumers::ensure(&bus, &spec).await.unwrap(), Ensured::Unchanged);
    let longer = ConsumerSpec { ack_wait: Duration::from_secs(20), ..spec.clone() };
    assert_eq!(consumers::ensure(&bus, &longer).await.unwrap(), Ensured::Updated);
    assert_eq!(consumers::waiting(&bus, SESSIONS, "planner").await.unwrap(), 3);

    rig.admin().await.delete_consumer_from_stream("planner", SESSIONS).await.unwrap();
    let anew = ConsumerSpec { begin: Begin::At(3), ..spec };
    assert_eq!(consumers::ensure(&bus, &anew).await.unwrap(), Ensured::Created);
    assert_eq!(consumers::waiting(&bus, SESSIONS, "planner").await.unwrap(), 1);
}

#[tokio::test]
async fn a_last_value_is_replaced_only_by_who_saw_it() {
    let (_rig, bus) = Rig::start().await;
    let subject = "lagan.resource.test.lagan_dev.Repository.shop.r1".to_owned();
    let value = |id: &str| publish::Publish {
        subject: subject.clone(),
        message_id: id.to_owned(),
        headers: HeaderMap::new(),
        payload: id.to_owned().into(),
    };
    let at = |sequence| Expect::Last { filter: subject.clone(), sequence };
    let first = publish::publish(&bus, RESOURCES, value("a"), &at(0)).await.unwrap();
    let second = publish::publish(&bus, RESOURCES, value("b"), &at(first)).await.unwrap();
    assert!(publish::publish(&bus, RESOURCES, value("c"), &at(first)).await.is_err());
    let last = read::last(&bus, RESOURCES, &subject).await.unwrap().unwrap();
    assert_eq!((last.sequence, &last.payload[..]), (second, &b"b"[..]));
    assert!(publish::publish(&bus, RESOURCES, value("d"), &Expect::Any).await.unwrap() > second);
    assert!(read::last(&bus, RESOURCES, "lagan.resource.test.x.y.z.none").await.unwrap().is_none());
}
