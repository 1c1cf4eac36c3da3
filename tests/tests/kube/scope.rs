//! Objects that an engine does not watch any more count as deleted, and are published again when it watches them again.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::proxy::Proxy;
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;
use serde_json::Value;

use super::intent::facts;
use super::{FOREVER, LAGAN, STASH, configuration, ready};

const CONFIGURATIONS: &str = "BackupConfiguration";

/// The uids of the objects of a kind on the bus, by group, namespace and name; `None` for one that is buried.
fn published(world: &KubeWorld, kind: &str) -> Result<BTreeMap<String, Option<Value>>> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let client = async_nats::connect(world.nats.url()).await?;
        let stream = async_nats::jetstream::new(client).get_stream("RESOURCES").await?;
        let mut subjects = stream.info_with_subjects(format!("lagan.resource.*.*.{kind}.>")).await?;
        let mut found = BTreeMap::new();
        while let Some((subject, _)) = subjects.try_next().await? {
            let message = stream.get_last_raw_message_by_subject(&subject).await?;
            let event: Value = serde_json::from_slice(&message.payload)?;
            let [group, _, namespace, name] = subject.split('.').skip(3).collect::<Vec<_>>()[..] else { continue };
            let object = event["data"].get("object").filter(|object| object.is_object());
            let uid = object.map(|object| object["metadata"]["uid"].clone());
            found.insert(format!("{group}/{namespace}/{name}"), uid);
        }
        Ok(found)
    })
}

fn wait_for_buried(world: &KubeWorld, buried: &[&String]) -> Result<()> {
    let found = || published(world, CONFIGURATIONS);
    let is_right = |(name, uid): (&String, &Option<Value>)| buried.contains(&name) == uid.is_none();
    let waited =
        eventually("exactly these objects to be buried", PATIENCE, || found().ok()?.iter().all(is_right).then_some(()));
    waited.with_context(|| format!("{buried:?} of {:?}", found()))
}

#[test]
fn objects_that_are_not_watched_any_more_are_buried_and_return_when_they_are() -> Result<()> {
    let mut world = KubeWorld::new("scope")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let away = world.plane.namespace("away")?;
    let everything = ["--stash-compat", "--namespaces", &away];
    let mut engine = world.engine(&everything)?;
    let _worker = world.worker(&["--namespaces", &away])?;
    world.apply(&configuration("shop", FOREVER, ""))?;
    world.apply(&configuration("shop", FOREVER, "").replace(LAGAN, STASH))?;
    world.plane.apply(&away, &configuration("moved", FOREVER, ""))?;
    world.plane.apply(&away, &world.storage("local"))?;
    ready(&world, "shop")?;
    world.apply(&backup_session(STASH, "once", "shop"))?;
    assert_eq!(phase(&world.ended("backupsessions.stash.appscode.com", "once")?), "Succeeded");
    let [kept, of_stash, moved] = [
        format!("lagan_dev/{}/shop", world.namespace),
        format!("stash_appscode_com/{}/shop", world.namespace),
        format!("lagan_dev/{away}/moved"),
    ];
    wait_for_buried(&world, &[])?;
    let before = published(&world, CONFIGURATIONS)?;
    assert_eq!(before.keys().collect::<Vec<_>>(), [&moved, &kept, &of_stash]);
    engine.terminate(PATIENCE)?;

    // An engine that sees nothing buries nothing, not even what it does not watch.
    let proxy = Proxy::start(world.plane.port())?;
    let direct = std::mem::replace(&mut world.kubeconfig, world.plane.admin_through(proxy.port())?);
    proxy.close();
    let mut blind = world.launch("engine", "blind", &[])?;
    blind.wait_for_log("watch broke", PATIENCE)?;
    assert_eq!(published(&world, CONFIGURATIONS)?, before);
    proxy.open();
    wait_for_buried(&world, &[&of_stash, &moved])?;
    // Its data is still in its place, and a wipe of another Repository must find it there.
    let repository = published(&world, "Repository")?.remove(&format!("lagan_dev/{away}/local"));
    assert!(repository.flatten().is_some_and(|uid| uid.is_string()), "a Repository that is not watched stays");
    blind.wait_for_log("ready", PATIENCE)?;
    blind.terminate(PATIENCE)?;
    world.kubeconfig = direct;

    // The very objects return, and nothing that ended runs again.
    let _engine = world.engine(&everything)?;
    wait_for_buried(&world, &[])?;
    assert_eq!(published(&world, CONFIGURATIONS)?, before);
    world.apply(&backup_session(STASH, "twice", "shop"))?;
    assert_eq!(phase(&world.ended("backupsessions.stash.appscode.com", "twice")?), "Succeeded");
    let once = world.kubectl_json(&["get", "backupsessions.stash.appscode.com", "once"])?;
    let uid = once["metadata"]["uid"].as_str().context("a uid")?;
    let requested = facts(&world, uid)?.iter().filter(|f| f["type"] == "dev.lagan.backup.requested.v1").count();
    assert_eq!((requested, world.restic("local")?.snapshots()?.len()), (1, 2));
    Ok(())
}
