//! Credentials of AppBindings, `kubectl wait`, and the usage policy of Repositories.

use anyhow::Result;
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::sample::Sample;
use lagan_tests::world::secret;

use super::{FOREVER, LAGAN, configuration, ready, restore_session};

#[test]
fn an_app_binding_s_secret_is_transformed_and_kubectl_waits_for_backup_and_restore() -> Result<()> {
    let mut world = KubeWorld::new("transforms")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let copy = world.second_database("copy")?;
    let binding = world.database("shop", world.db.host(), world.db.port());
    let transforms = format!(
        "  secretTransforms:
    - addKeysFrom: {{secretRef: {{name: vault}}}}
    - renameKey: {{from: pass, to: password}}
    - removeKey: {{key: username}}
    - addKey: {{key: username, stringValue: {}}}
",
        world.db.user()
    );
    let auth = secret("shop-db", &[("username", "nobody")]);
    let vault = secret("vault", &[("pass", world.db.password())]);
    world.apply(&format!("{auth}---\n{vault}---\n{binding}{transforms}"))?;
    let _engine = world.engine(&[])?;
    let _worker = world.worker(&[])?;
    world.apply(&configuration("shop", FOREVER, ""))?;
    ready(&world, "shop")?;
    let wait = |object: &str| {
        let succeeded = ["wait", "--for=condition=Succeeded", "--timeout=90s", object];
        world.kubectl(&succeeded)
    };
    world.apply(&backup_session(LAGAN, "first", "shop"))?;
    wait("backupsessions.lagan.dev/first")?;
    world.apply(&restore_session("back", "copy", ""))?;
    wait("restoresessions.lagan.dev/back")?;
    assert_eq!(phase(&world.ended("restoresessions.lagan.dev", "back")?), "Succeeded");
    assert_eq!(copy.checksums("shop")?, world.db.checksums("shop")?);
    Ok(())
}

#[test]
fn a_repository_is_used_from_the_namespaces_that_its_policy_selects() -> Result<()> {
    let mut world = KubeWorld::new("policy")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let policy = "  usagePolicy: {allowedNamespaces: {from: Selector, selector: {matchLabels: {team: shop}}}}\n";
    world.apply(&format!("{}{policy}", world.storage("local")))?;
    let (owner, team) = (world.namespace.clone(), world.plane.namespace("policy-team")?);
    world.plane.kubectl(&["label", "namespace", &team, "team=shop"])?;
    world.kubectl(&["annotate", "appbinding", "shop", "lagan.dev/backup-usage-policy=Labels=team=shop"])?;
    let _engine = world.engine(&["--namespaces", &team])?;
    let _worker = world.worker(&["--namespaces", &team])?;
    world.namespace = team.clone();
    let theirs = configuration("shop", FOREVER, "")
        .replace("repository: {name: local}", &format!("repository: {{name: local, namespace: {owner}}}"))
        .replace("AppBinding, name: shop}", &format!("AppBinding, name: shop, namespace: {owner}}}"));
    world.apply(&theirs)?;
    ready(&world, "shop")?;
    world.apply(&backup_session(LAGAN, "allowed", "shop"))?;
    let done = world.ended("backupsessions.lagan.dev", "allowed")?;
    assert_eq!(phase(&done), "Succeeded", "{done:#}");
    world.plane.kubectl(&["label", "namespace", &team, "team-"])?;
    world.apply(&backup_session(LAGAN, "refused", "shop"))?;
    let done = world.ended("backupsessions.lagan.dev", "refused")?;
    assert_eq!((phase(&done), done["status"]["code"].as_str()), ("Failed", Some("E0103")), "{done:#}");
    assert_eq!(world.restic("local")?.snapshots()?.len(), 1);
    Ok(())
}
