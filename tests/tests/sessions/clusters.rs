//! Two installations that share a repository, and even the name of their cluster and of their configuration, keep their
//! snapshots apart.

use anyhow::{Context as _, Result};
use lagan_tests::world::{World, configuration, secret};
use serde_json::Value;

const OTHER: &str = "--databases other";

/// Two worlds, each with its own database and data directory, whose Repository `shared` is one folder.
fn sharing() -> Result<(World, World)> {
    let (production, staging) = (World::new()?, World::new()?);
    let folder = production.lagan.path("shared");
    let repository = format!(
        "{}---
apiVersion: lagan.dev/v1alpha1
kind: Repository
metadata: {{name: shared}}
spec:
  backend:
    storageSecretName: shared
    local: {{mountPath: {}}}
",
        secret("shared", &[("RESTIC_PASSWORD", &production.password)]),
        folder.display()
    );
    for (world, value) in [(&production, 1), (&staging, 2)] {
        world.db.query(&format!(
            "CREATE DATABASE other; CREATE TABLE other.t (v INT); INSERT INTO other.t VALUES ({value})"
        ))?;
        world.lagan.manifest("shared.yaml", &repository)?;
        let one = configuration("nightly", "shared", OTHER, "retentionPolicy: {name: one, keepLast: 1}");
        world.lagan.manifest("nightly.yaml", &one)?;
    }
    Ok((production, staging))
}

fn identity(world: &World) -> Result<String> {
    let shown = world.lagan.json(&["cluster", "show", "-o", "json"])?;
    Ok(shown["identity"].as_str().context("an identity")?.to_owned())
}

fn snapshots(world: &World) -> Result<Vec<Value>> {
    let shown = world.lagan.json(&["snapshots", "--repository", "shared", "-o", "json"])?;
    Ok(shown["snapshots"].as_array().context("a list of snapshots")?.clone())
}

#[test]
fn two_clusters_of_one_name_keep_their_snapshots_apart_in_one_repository() -> Result<()> {
    let (production, staging) = sharing()?;
    let copy = production.second_database("copy")?;
    let (_first, _second) = (production.up(&[])?, staging.up(&[])?);
    let kept = production.good_backup("nightly")?;
    staging.good_backup("nightly")?;
    let newest = staging.good_backup("nightly")?;
    let ids: Vec<String> =
        snapshots(&production)?.iter().filter_map(|one| Some(one["id"].as_str()?.to_owned())).collect();
    assert_eq!(ids, [kept["snapshot"].as_str().unwrap(), newest["snapshot"].as_str().unwrap()]);
    let last = staging.facts("@latest", &[])?.pop().context("facts")?;
    assert!(last["data"]["conditions"].to_string().contains("ClusterNameShared"), "{last}");

    // `latest` is the cluster's own, although the other cluster wrote a newer snapshot of the same configuration.
    production.lagan.ok(&["restore", "nightly", "--to", "copy", "--yes", "--wait"])?;
    assert_eq!(copy.query("SELECT v FROM other.t")?.trim(), "1");

    // The id of another cluster's snapshot is refused until that cluster is named.
    let id = newest["snapshot"].as_str().unwrap();
    let restore = ["restore", "nightly", "--to", "copy", "--overwrite", "--yes", "--wait", "--snapshot", id];
    let refused = production.lagan.run(&restore)?;
    assert!(refused.stderr.contains("E0314") && refused.stderr.contains(&identity(&staging)?), "{}", refused.stderr);
    assert_eq!(copy.query("SELECT v FROM other.t")?.trim(), "1");
    let staging_identity = identity(&staging)?;
    let named = [&restore[..], &["--from-cluster", &staging_identity]].concat();
    production.lagan.ok(&named)?;
    assert_eq!(copy.query("SELECT v FROM other.t")?.trim(), "2");
    Ok(())
}

#[test]
fn a_new_cluster_takes_over_the_snapshots_of_a_lost_one() -> Result<()> {
    let (lost, new) = sharing()?;
    let lost_identity = {
        let _up = lost.up(&[])?;
        lost.good_backup("nightly")?;
        identity(&lost)?
    };
    let copy = new.second_database("copy")?;
    let _up = new.up(&[])?;
    let restore = ["restore", "nightly", "--to", "copy", "--yes", "--wait"];
    let refused = new.lagan.run(&restore)?;
    assert!(refused.stderr.contains("E0314"), "{}", refused.stderr);

    new.lagan.ok(&["cluster", "adopt", &lost_identity])?;
    new.lagan.ok(&restore)?;
    assert_eq!(copy.query("SELECT v FROM other.t")?.trim(), "1");
    // Retention continues the adopted history.
    new.good_backup("nightly")?;
    assert_eq!(snapshots(&new)?.len(), 1);
    Ok(())
}
