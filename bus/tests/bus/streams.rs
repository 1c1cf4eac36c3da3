//! Streams and consumers as data.

use std::time::Duration;

use async_nats::jetstream::stream::{Compression, Config, StorageType};
use lagan_bus::append::append;
use lagan_bus::consumers::{self, Begin, ConsumerSpec, Ensured};
use lagan_bus::streams::{self, Sizes, StreamError, StreamSpec, StreamStorage};
use lagan_bus::{Expect, HeaderMap, StreamLimits, publish, read};
use lagan_schemas::subject::{Cluster, DEAD, RESOURCES, SESSIONS, STATUS};

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
    let limits = StreamLimits { sessions_max_bytes: 2 << 30, ..StreamLimits::default() };
    let larger = Sizes { limits, ..sizes() };
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
async fn the_log_of_sessions_is_compressed_unless_an_administrator_says_otherwise() {
    let (rig, bus) = Rig::start().await;
    let admin = rig.admin().await;
    let config = async |name: &str| admin.get_stream(name).await.unwrap().info().await.unwrap().config.clone();
    assert_eq!(config(SESSIONS).await.compression, Some(Compression::S2));
    // Streams of last values are rewritten all the time.
    assert_eq!(config(STATUS).await.compression, Some(Compression::None));
    let plain = Config { compression: Some(Compression::None), ..config(SESSIONS).await };
    admin.update_stream(plain).await.unwrap();
    streams::ensure(&bus, &rig.specs).await.unwrap();
    assert_eq!(config(SESSIONS).await.compression, Some(Compression::None));
}

#[tokio::test]
async fn a_start_makes_no_stream_smaller() {
    let (rig, bus) = Rig::start().await;
    let admin = rig.admin().await;
    let config = async |name: &str| admin.get_stream(name).await.unwrap().info().await.unwrap().config.clone();
    let limits = |config: &Config| (config.max_bytes, config.max_age);
    let names = [SESSIONS, RESOURCES, STATUS, DEAD, "KV_LOCKS"];
    // An administrator's larger values stay, also those without a limit.
    let (more, longer) = (1200 << 20, Duration::from_secs(60 * 86_400));
    for name in names {
        let (max_bytes, max_age) = if name == STATUS { (-1, Duration::ZERO) } else { (more, longer) };
        admin.update_stream(Config { max_bytes, max_age, ..config(name).await }).await.unwrap();
    }
    streams::ensure(&bus, &rig.specs).await.unwrap();
    for name in names {
        let keeps_for_ever = [RESOURCES, STATUS, "KV_LOCKS"].contains(&name);
        let max_age = if keeps_for_ever { Duration::ZERO } else { longer };
        assert_eq!(limits(&config(name).await), (if name == STATUS { -1 } else { more }, max_age), "{name}");
    }
    // A larger setting counts, a smaller one does not.
    for (setting, found) in [(1300 << 20, 1300 << 20), (1 << 30, 1300 << 20)] {
        let limits = StreamLimits {
            sessions_max_bytes: setting,
            sessions_max_age: Duration::from_secs(setting >> 7),
            resources_max_bytes: setting,
            status_max_bytes: setting,
            dead_max_bytes: setting,
            dead_max_age: Duration::from_secs(setting >> 7),
            locks_max_bytes: setting,
        };
        streams::ensure(&bus, &streams::of_cluster(&cluster(), &Sizes { limits, ..sizes() })).await.unwrap();
        for name in names {
            let config = config(name).await;
            let wanted = if name == STATUS { -1 } else { found };
            assert_eq!(config.max_bytes, wanted, "{name}");
            if [SESSIONS, DEAD].contains(&name) {
                assert_eq!(config.max_age.as_secs(), u64::try_from(found >> 7).unwrap(), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_worker_waits_for_streams_and_changes_none() {
    let rig = Rig::empty().await;
    let bus = rig.bus().await;
    let waiting = {
        let (bus, specs) = (bus.clone(), rig.specs.clone());
        tokio::spawn(async move { streams::wait_for(&bus, &specs).await })
    };
    let limits = StreamLimits { sessions_max_bytes: 2 << 20, ..StreamLimits::default() };
    let smaller = streams::of_cluster(&cluster(), &Sizes { limits, ..sizes() });
    streams::ensure(&bus, &smaller[1..]).await.unwrap();
    assert!(!waiting.is_finished());
    streams::ensure(&bus, &smaller[..1]).await.unwrap();
    waiting.await.unwrap().unwrap();
    let config = rig.admin().await.get_stream(SESSIONS).await.unwrap().info().await.unwrap().config.clone();
    assert_eq!(config.max_bytes, 2 << 20);
    let other = streams::of_cluster(&"other".parse().unwrap(), &sizes());
    assert!(matches!(streams::wait_for(&bus, &other).await, Err(StreamError::OtherCluster { .. })));
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
async fn a_stream_that_is_in_the_way_leaves_no_other_one_missing() {
    let rig = Rig::empty().await;
    let (bus, admin) = (rig.bus().await, rig.admin().await);
    let first = &rig.specs[0];
    let (name, subjects) = (first.name.clone(), first.subjects.clone());
    let in_memory = Config { name, subjects, storage: StorageType::Memory, ..Config::default() };
    admin.create_stream(in_memory).await.unwrap();
    assert!(matches!(streams::ensure(&bus, &rig.specs).await, Err(StreamError::StorageFixed { .. })));
    for spec in &rig.specs {
        assert!(admin.get_stream(&spec.name).await.is_ok(), "{}", spec.name);
    }
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
