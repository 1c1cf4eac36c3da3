//! The loss of the whole store while a scheduled session runs: its object, which the reporter made or will make, ends.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use lagan_schemas::identity::{slot_name, slot_session};
use lagan_tests::kube_world::{KubeWorld, phase};
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;
use serde_json::Value;

use super::intent::facts;
use super::{FOREVER, LAGAN, configuration};

const SESSIONS: &str = "backupsessions.lagan.dev";

/// Applies configuration `shop`, of which a slot is due within a minute or so, and the next an hour later.
fn configure_soon(world: &KubeWorld) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let minute = ((now + 10) / 60 + 1) % 60;
    world.apply(&configuration("shop", &format!("{minute} * * * *"), "")).map(drop)
}

fn the_session(world: &KubeWorld) -> Result<Option<Value>> {
    let list = world.kubectl_json(&["get", SESSIONS])?;
    Ok(list["items"].as_array().context("a list")?.first().cloned())
}

/// A database of which a dump waits in its middle while `hold` exists.
struct HeldDump {
    world: KubeWorld,
    hold: PathBuf,
    runs: PathBuf,
}

impl HeldDump {
    fn new(what: &str) -> Result<Self> {
        let mut world = KubeWorld::new(what)?;
        world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
        let (hold, runs) = (world.lagan.path("hold"), world.lagan.path("runs"));
        fs::write(&hold, "")?;
        let wait = format!("while [ -e {} ]; do sleep 0.05; done; cat;", hold.display());
        let script = format!("$REAL \"$@\" | {{ head -c 300000; echo run >> {}; {wait} }}", runs.display());
        world.lagan.stub("mariadb-dump", &script)?;
        Ok(Self { world, hold, runs })
    }

    fn wait_for_dumps(&self, count: usize) -> Result<()> {
        let dumps = || fs::read_to_string(&self.runs).map_or(0, |text| text.lines().count());
        eventually(&format!("dump {count}"), PATIENCE, || (dumps() == count).then_some(()))
    }
}

#[test]
fn the_object_of_a_scheduled_session_ends_after_the_store_was_lost() -> Result<()> {
    let mut dump = HeldDump::new("lost")?;
    let mut engine = dump.world.engine(&[])?;
    let _worker = dump.world.worker(&[])?;
    configure_soon(&dump.world)?;
    dump.wait_for_dumps(1)?;
    let before = eventually("its object", PATIENCE, || {
        the_session(&dump.world).ok()?.filter(|session| phase(session) == "Running")
    })?;
    dump.world.nats.delete_store()?;
    engine.kill9()?;
    dump.world.nats.restart()?;
    let _engine = dump.world.part("engine", "engine-2", &[])?;
    dump.wait_for_dumps(2)?;
    fs::remove_file(&dump.hold)?;
    let name = before["metadata"]["name"].as_str().unwrap_or_default();
    let ended = dump.world.ended(SESSIONS, name)?;
    assert_eq!(phase(&ended), "Succeeded", "{ended:#}");
    assert_eq!(ended["metadata"]["uid"], before["metadata"]["uid"], "the object is the same");
    assert_eq!(dump.world.restic("local")?.snapshots()?.len(), 1);
    let list = dump.world.kubectl_json(&["get", SESSIONS])?;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list:#}");
    Ok(())
}

/// A policy that refuses new BackupSessions. Other tests share the API server, so it stands in this namespace only.
fn no_sessions(world: &KubeWorld) -> String {
    let namespace = &world.namespace;
    format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {namespace}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{{apiGroups: [lagan.dev], apiVersions: ['*'], operations: [CREATE], resources: [backupsessions]}}]
  matchConditions: [{{name: own, expression: \"object.metadata.namespace == '{namespace}'\"}}]
  validations: [{{expression: 'false', message: not yet}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {namespace}}}
spec: {{policyName: {namespace}, validationActions: [Deny]}}
"
    )
}

#[test]
fn a_scheduled_session_that_has_no_object_yet_when_the_store_is_lost_is_requested_again() -> Result<()> {
    let mut dump = HeldDump::new("lost-early")?;
    dump.world.apply(&no_sessions(&dump.world))?;
    let _engine = dump.world.engine(&[])?;
    let _worker = dump.world.worker(&[])?;
    configure_soon(&dump.world)?;
    dump.wait_for_dumps(1)?;
    dump.world.nats.delete_store()?;
    assert!(the_session(&dump.world)?.is_none(), "the policy was not in force");
    dump.world.nats.restart()?;
    dump.wait_for_dumps(2)?;
    assert!(the_session(&dump.world)?.is_none(), "the policy was not in force");
    dump.world.kubectl(&["delete", "validatingadmissionpolicybinding", &dump.world.namespace])?;
    fs::remove_file(&dump.hold)?;
    let ended = eventually("its object to end", PATIENCE, || {
        the_session(&dump.world).ok()?.filter(|session| matches!(phase(session), "Succeeded" | "Failed"))
    })?;
    assert_eq!(phase(&ended), "Succeeded", "{ended:#}");
    assert_eq!(dump.world.restic("local")?.snapshots()?.len(), 1);
    Ok(())
}

#[test]
fn the_object_of_a_session_that_was_lost_long_ago_ends_with_words_and_runs_nothing() -> Result<()> {
    let world = KubeWorld::new("lost-long-ago")?;
    world.apply(&configuration("shop", FOREVER, ""))?;
    let uid = world.kubectl(&["get", "backupconfigurations.lagan.dev", "shop", "-o", "jsonpath={.metadata.uid}"])?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let slot = jiff::Timestamp::from_second(now - 8 * 24 * 3600)?;
    let name = slot_name("shop", slot);
    let session = slot_session(&"local".parse()?, uid.trim().parse()?, slot);
    let namespace = &world.namespace;
    let owner = format!("{{apiVersion: {LAGAN}, kind: BackupConfiguration, name: shop, uid: {}}}", uid.trim());
    world.apply(&format!(
        "apiVersion: {LAGAN}
kind: BackupSession
metadata:
  name: {name}
  annotations: {{lagan.dev/session: {session}/{namespace}/{name}}}
  ownerReferences: [{owner}]
spec:
  invoker: {{apiGroup: lagan.dev, kind: BackupConfiguration, name: shop}}
"
    ))?;
    let running = "{\"status\": {\"phase\": \"Running\"}}";
    world.kubectl(&["patch", SESSIONS, &name, "--subresource=status", "--type=merge", "-p", running])?;
    let _engine = world.engine(&[])?;
    let ended = world.ended(SESSIONS, &name)?;
    assert_eq!((phase(&ended), ended["status"]["code"].as_str()), ("Failed", Some("E0505")), "{ended:#}");
    let told = ended["status"].to_string();
    assert!(told.contains("the log of sessions lost it"), "{ended:#}");
    let facts = facts(&world, &session.to_string())?;
    let kinds: Vec<_> = facts.iter().filter_map(|fact| fact["type"].as_str()).collect();
    assert_eq!(kinds, ["dev.lagan.backup.requested.v1", "dev.lagan.backup.failed.v1"]);
    Ok(())
}
