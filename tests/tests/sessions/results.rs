//! Which snapshots count: those that a session verified, however it ended, and never those that no session named.

use std::net::TcpListener;

use super::*;

#[test]
fn a_snapshot_that_was_verified_before_its_session_was_tried_again_counts_although_the_session_is_cancelled()
-> Result<()> {
    let world = World::new()?;
    world.db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT); INSERT INTO shop.t VALUES (1)")?;
    let copy = world.second_database("copy")?;
    // The post hook is asked, and never answered.
    let hanging = TcpListener::bind("127.0.0.1:0")?;
    let hook = format!("{{httpPost: {{port: {}, path: /, body: x}}}}", hanging.local_addr()?.port());
    world.configure("shop", "local", SHOP, &format!("hooks:\n  postBackup: {hook}"))?;
    let nats = NatsServer::start()?;
    let url = nats.url();
    let client = ["--nats-url", url.as_str()];
    let _engine = world.part("engine", "engine", &url, &[])?;
    let mut worker = world.part("worker", "worker", &url, &["--allow-hook-host", "127.0.0.1"])?;
    world.lagan.ok(&["backup", "shop", "--nats-url", &url])?;
    let _asked = hanging.accept()?;
    worker.terminate(PATIENCE)?;
    let facts = world.facts("@latest", &client)?;
    let retrying = facts.iter().find(|fact| fact["type"] == "dev.lagan.backup.retrying.v1").unwrap();
    let snapshot = retrying["data"]["results"][0]["snapshot"].as_str().unwrap().to_owned();
    assert_eq!(world.restic()?.snapshots()?[0]["id"], snapshot.as_str(), "{retrying}");

    // No worker is there, so the engine ends the session, and names what the first attempt verified.
    let session = world.list("backupsessions", &client)?.pop().unwrap();
    let session = session["metadata"]["name"].as_str().unwrap();
    world.lagan.ok(&["cancel", session, "--nats-url", &url])?;
    let ended = world.ended("backupsessions", session, &client)?;
    assert_eq!((&ended["status"]["phase"], &ended["status"]["code"]), (&"Failed".into(), &"E0503".into()), "{ended}");
    let last = world.facts("@latest", &client)?.pop().unwrap();
    assert_eq!(last["type"], "dev.lagan.backup.cancelled.v1", "{last}");
    assert_eq!(last["data"]["results"][0]["snapshot"], snapshot.as_str(), "{last}");

    let _worker = world.part("worker", "worker-2", &url, &[])?;
    world.lagan.ok(&["restore", "shop", "--to", "copy", "--yes", "--wait", "--nats-url", &url])?;
    assert_eq!(copy.query("SELECT v FROM shop.t")?.trim(), "1");
    // The next backup's forget does not remove it either.
    world.configure("shop", "local", SHOP, "")?;
    world.backup("shop", &client)?.success()?;
    assert_eq!(world.snapshots()?, 2);
    world.judge()
}

#[test]
fn a_dry_run_of_retention_removes_only_what_no_session_named() -> Result<()> {
    let world = World::new()?;
    world.db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT)")?;
    world.configure("shop", "local", SHOP, "retentionPolicy: {name: one, keepLast: 1, dryRun: true}")?;
    let _up = world.up(&[])?;
    let named = world.good_backup("shop")?["snapshot"].as_str().unwrap().to_owned();
    // A snapshot of the same session that its end does not name, as a worker leaves it that was fenced too late.
    let restic = world.restic()?;
    restic.backup_stream("host-0", "dumpfile.sql", b"late")?;
    let tags = restic.snapshots()?.iter().find(|one| one["id"] == named.as_str()).unwrap()["tags"].clone();
    let mut tag = vec!["tag"];
    tag.extend(tags.as_array().unwrap().iter().flat_map(|tag| ["--set", tag.as_str().unwrap()]));
    let late = restic.snapshots()?.into_iter().find(|one| one["id"] != named.as_str()).unwrap();
    tag.push(late["id"].as_str().unwrap());
    restic.run(&tag)?.success()?;

    let second = world.good_backup("shop")?;
    let kept = eventually("the late snapshot to go", PATIENCE, || {
        let kept = world.restic().ok()?.snapshots().ok()?;
        (kept.len() == 2).then_some(kept)
    })?;
    let ids: BTreeSet<&str> = kept.iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(ids, BTreeSet::from([named.as_str(), second["snapshot"].as_str().unwrap()]), "{second}");
    let retention = &second["retention"];
    assert_eq!((&retention["removed"], &retention["kept"], &retention["dryRun"]), (&1.into(), &1.into(), &true.into()));
    assert_eq!(second["statistics"]["snapshots"], 2, "{second}");
    world.judge()
}

#[test]
fn latest_of_a_configuration_is_never_the_snapshot_of_another_tool() -> Result<()> {
    let world = World::new()?;
    world.db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT); INSERT INTO shop.t VALUES (1)")?;
    let copy = world.second_database("copy")?;
    world.configure("shop", "local", SHOP, "")?;
    world.configure("never", "local", SHOP, "")?;
    let _up = world.up(&[])?;
    world.good_backup("shop")?;
    let dump = world.restic()?.dump("latest", "/dumpfile.sql")?;
    let newer = String::from_utf8(dump)?.replace("(1)", "(2)");
    world.restic()?.backup_stream("host-0", "dumpfile.sql", newer.as_bytes())?;

    let restore = ["restore", "shop", "--to", "copy", "--yes", "--wait"];
    world.lagan.ok(&restore)?;
    assert_eq!(copy.query("SELECT v FROM shop.t")?.trim(), "1");
    let refused = world.lagan.run(&["restore", "never", "--to", "copy", "--overwrite", "--yes", "--wait"])?;
    for word in ["E0310", "lagan.dev/default/never", "taken only by their id"] {
        assert!(refused.stderr.contains(word), "{word}: {}", refused.stderr);
    }
    // A restore that names none takes it, as on the day after a migration.
    world.lagan.manifest("back.yaml", &restore_session("back", "local", "copy", "existing: Replace"))?;
    let ended = world.ended("restoresessions", "back", &[])?;
    assert_eq!(ended["status"]["phase"], "Succeeded", "{ended}");
    assert_eq!(copy.query("SELECT v FROM shop.t")?.trim(), "2");
    world.judge()
}
