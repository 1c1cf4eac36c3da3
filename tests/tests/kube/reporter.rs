//! What the reporter owes to each object, whatever becomes of the others, and what of it is on the bus.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;

use super::intent::facts;
use super::{FOREVER, LAGAN, configuration, ready};

/// More objects than the engine changes at the same time.
const BAD: usize = 40;

#[test]
fn objects_whose_status_always_fails_delay_no_other() -> Result<()> {
    let world = KubeWorld::new("starve")?;
    // Nothing answers for the objects with this label, so that each of their statuses fails and is tried again.
    world.apply(
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: nobody-answers}
webhooks:
- name: nobody.answers.example
  clientConfig: {url: 'https://127.0.0.1:1/'}
  rules: [{apiGroups: [lagan.dev], apiVersions: ['*'], operations: [UPDATE], resources: [backupconfigurations/status]}]
  objectSelector: {matchLabels: {bad: 'true'}}
  failurePolicy: Fail
  sideEffects: None
  timeoutSeconds: 5
  admissionReviewVersions: [v1]
",
    )?;
    let _engine = world.engine(&[])?;
    let bad = |number: usize| {
        let name = format!("bad-{number:02}");
        configuration(&name, FOREVER, "")
            .replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, labels: {{bad: 'true'}}}}"))
    };
    world.apply(&(0..BAD).map(bad).collect::<Vec<_>>().join("---\n"))?;
    // Their statuses are on their way before the good one's is.
    let log = || std::fs::read_to_string(world.lagan.log_path("engine")).ok();
    eventually("each status of the bad ones to fail", PATIENCE, || {
        let failed = log()?.matches("status was not applied").count();
        (failed >= BAD).then_some(())
    })?;
    let name = "good";
    world.apply(&configuration(name, FOREVER, ""))?;
    let wait = ["wait", "--for=condition=Ready", "--timeout=10s", "backupconfigurations.lagan.dev", name];
    world.kubectl(&wait).context("the good one waits for the bad ones")?;
    let shown = world.kubectl(&["get", "backupconfigurations.lagan.dev", "bad-00", "-o", "jsonpath={.status}"])?;
    assert_eq!(shown, "", "the test breaks nothing");
    world.kubectl(&["delete", "validatingwebhookconfigurations", "nobody-answers"]).map(drop)
}

#[test]
fn the_objects_of_scheduled_sessions_are_shown_and_never_published() -> Result<()> {
    let world = KubeWorld::new("unpublished")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let _engine = world.engine(&[])?;
    let _worker = world.worker(&[])?;
    world.apply(&configuration("shop", "* * * * *", ""))?;
    ready(&world, "shop")?;
    world.apply(&backup_session(LAGAN, "by-hand", "shop"))?;
    let scheduled = || {
        let shown = ["get", "backupsessions.lagan.dev", "-o", "jsonpath={.items[*].metadata.name}"];
        world.kubectl(&shown).ok()?.split_whitespace().find(|name| *name != "by-hand").map(str::to_owned)
    };
    let scheduled = eventually("a scheduled session", Duration::from_secs(90), scheduled)?;
    assert_eq!(phase(&world.ended("backupsessions.lagan.dev", &scheduled)?), "Succeeded");
    world.ended("backupsessions.lagan.dev", "by-hand")?;
    // One that was published would leave a tombstone now.
    world.kubectl(&["delete", "backupsessions.lagan.dev", &scheduled, "by-hand"])?;
    let is_buried =
        || world.lagan.ok(&["get", "backupsessions", "-n", &world.namespace, "--nats-url", &world.nats.url()]);
    eventually("the other one to be buried", PATIENCE, || (!is_buried().ok()?.contains("by-hand")).then_some(()))?;
    let published = published(&world)?;
    assert!(published.iter().any(|subject| subject.ends_with(".by-hand")), "{published:?}");
    assert!(!published.iter().any(|subject| subject.contains(".shop-")), "{published:?}");
    Ok(())
}

/// The subjects of sessions in RESOURCES, tombstones included.
fn published(world: &KubeWorld) -> Result<Vec<String>> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let client = async_nats::connect(world.nats.url()).await?;
        let request = r#"{"subjects_filter":"lagan.resource.*.*.BackupSession.>"}"#;
        let answer = client.request("$JS.API.STREAM.INFO.RESOURCES", request.into()).await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload)?;
        let subjects = answer["state"]["subjects"].as_object().context("subjects")?;
        Ok(subjects.keys().cloned().collect())
    })
}

#[test]
fn an_object_that_is_too_large_for_nats_says_so_and_the_others_of_its_kind_work() -> Result<()> {
    let world = KubeWorld::new("large")?;
    let large = configuration("large", FOREVER, "")
        .replace("value: --databases shop", &format!("value: '{}'", "x".repeat(1_100_000)));
    world.plane.manifest("create", &world.namespace, &large)?.success()?;
    let _engine = world.engine(&[])?;
    world.apply(&configuration("small", FOREVER, ""))?;
    ready(&world, "small")?;
    let message = ["get", "backupconfigurations.lagan.dev", "large", "-o"];
    let message =
        [&message[..], &["jsonpath={.status.phase} {.status.conditions[?(@.type=='ValidationPassed')].message}"]];
    let told = eventually("the large one to say why", PATIENCE, || {
        Some(world.kubectl(&message.concat()).ok()?).filter(|told| told.starts_with("Invalid"))
    })?;
    assert!(told.contains("too large for NATS"), "{told}");
    // It is used as soon as it fits.
    world.apply(&configuration("large", FOREVER, ""))?;
    ready(&world, "large")
}

/// A policy that refuses statuses of BackupSessions. Other tests share the API server, so it stands in this namespace only.
fn policy(world: &KubeWorld, name: &str, allowed: &str, message: &str) -> String {
    let namespace = &world.namespace;
    format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{{apiGroups: [lagan.dev], apiVersions: ['*'], operations: [UPDATE], resources: [backupsessions/status]}}]
  matchConditions: [{{name: own, expression: \"object.metadata.namespace == '{namespace}'\"}}]
  validations: [{{expression: '{allowed}', message: {message}}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec: {{policyName: {name}, validationActions: [Deny]}}
"
    )
}

#[test]
fn an_end_whose_status_is_refused_is_shown_in_brief() -> Result<()> {
    let world = KubeWorld::new("refused")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    world.apply(&policy(&world, "no-details", "!has(object.status.sessionDuration)", "no details here"))?;
    let _engine = world.engine(&[])?;
    let _worker = world.worker(&[])?;
    world.apply(&configuration("shop", FOREVER, ""))?;
    ready(&world, "shop")?;
    world.apply(&backup_session(LAGAN, "s", "shop"))?;
    let ended = world.ended("backupsessions.lagan.dev", "s")?;
    assert_eq!(phase(&ended), "Succeeded");
    assert!(ended["status"].get("sessionDuration").is_none(), "the policy was not in force: {ended}");
    let told = ended["status"]["message"].as_str().unwrap_or_default();
    assert!(told.contains("no details here"), "{ended}");
    Ok(())
}

#[test]
fn an_object_whose_status_was_refused_does_not_run_again_when_its_facts_are_gone() -> Result<()> {
    let world = KubeWorld::new("refused-for-ever")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    world.apply(&policy(&world, "no-status", "false", "no status here"))?;
    let engine = world.engine(&[])?;
    let _worker = world.worker(&[])?;
    world.apply(&configuration("shop", FOREVER, ""))?;
    ready(&world, "shop")?;
    let succeeded = |name: &str| {
        eventually(&format!("{name} to succeed"), PATIENCE, || {
            let last = facts(&world, name).ok()?.pop()?;
            (last["type"] == "dev.lagan.backup.succeeded.v1").then_some(())
        })
    };
    world.apply(&backup_session(LAGAN, "s", "shop"))?;
    succeeded("s")?;
    let url = world.nats.url();
    let shown = ["get", "backupsession", "s", "-n", &world.namespace, "-o", "json", "--nats-url", &url];
    eventually("STATUS to say so", PATIENCE, || {
        (world.lagan.json(&shown).ok()?["status"]["phase"] == "Succeeded").then_some(())
    })?;
    drop(engine);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let context = async_nats::jetstream::new(world.nats.connect().await?);
        anyhow::Ok(context.get_stream("SESSIONS").await?.purge().await?)
    })?;
    let _engine = world.engine(&[])?;
    world.apply(&backup_session(LAGAN, "another", "shop"))?;
    succeeded("another")?;
    let object = world.kubectl_json(&["get", "backupsessions.lagan.dev", "s"])?;
    assert!(object.get("status").is_none(), "the policy was not in force: {object}");
    let requested: Vec<String> = runtime.block_on(async {
        let context = async_nats::jetstream::new(world.nats.connect().await?);
        let stream = context.get_stream("SESSIONS").await?;
        let subjects = stream.info_with_subjects("lagan.session.*.*.*.*.*.*.*.requested").await?;
        anyhow::Ok(subjects.map_ok(|(subject, _)| subject).try_collect().await?)
    })?;
    let uid = object["metadata"]["uid"].as_str().context("a uid")?;
    assert!(requested.len() == 1 && !requested[0].contains(uid), "it ran again: {requested:?}");
    Ok(())
}
