//! Processes that are killed or paused while a session runs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use anyhow::Result;
use lagan_tests::nats::NatsServer;
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;
use nix::sys::signal::Signal;

use super::{Apart, FAST, HeldBackup, Hold, SHOP, the_session, world_with};

#[test]
fn a_killed_worker_is_followed_by_another_and_there_is_one_snapshot() -> Result<()> {
    let backup = HeldBackup::prepare(4, FAST)?;
    let mut first = backup.apart.worker("worker-1")?;
    backup.begin()?;
    let _second = backup.apart.worker("worker-2")?;
    first.kill9()?;
    backup.hold.wait_for_runs(2)?;
    backup.hold.release()?;
    let session = backup.session()?;
    assert_eq!(session["status"]["attempts"], 2);
    backup.judge(&session)
}

#[test]
fn a_worker_that_was_paused_for_too_long_can_not_commit_any_more() -> Result<()> {
    let backup = HeldBackup::prepare(4, FAST)?;
    let mut first = backup.apart.worker("worker-1")?;
    backup.begin()?;
    first.signal(Signal::SIGSTOP)?;
    let _second = backup.apart.worker("worker-2")?;
    backup.hold.wait_for_runs(2)?;
    backup.hold.release()?;
    let session = backup.session()?;
    first.signal(Signal::SIGCONT)?;
    first.wait_for_log("taken over", PATIENCE)?;
    backup.judge(&session)
}

#[test]
fn everything_killed_at_once_goes_on_after_the_restart() -> Result<()> {
    let mut world = world_with(4)?;
    let hold = Hold::new(&mut world)?;
    world.configure("shop", "local", SHOP, "")?;
    let mut up = world.up(&FAST)?;
    world.lagan.ok(&["backup", "shop"])?;
    hold.wait_for_runs(1)?;
    let nats = up.descendants_named("nats-server")?;
    assert_eq!(nats.len(), 1);
    up.kill9()?;
    eventually("nats-server to die with its parent", PATIENCE, || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", nats[0]));
        stat.map_or(true, |stat| stat.contains(") Z")).then_some(())
    })?;
    hold.release()?;
    let _up = world.up(&FAST)?;
    let session = the_session(&world, &[])?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    assert_eq!(world.snapshots()?, 1);
    world.audit(None).map(drop)
}

#[test]
fn a_snapshot_that_was_written_before_the_worker_died_is_adopted() -> Result<()> {
    let world = world_with(1)?;
    world.db.query("CREATE TABLE shop.measures (value FLOAT) SELECT 1 / 3 AS value")?;
    // The first worker waits for an answer to its last hook, when its snapshot is there.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    world.configure(
        "shop",
        "local",
        SHOP,
        &format!("hooks: {{postBackup: {{httpGet: {{port: {port}, path: /}}}}}}"),
    )?;
    let apart = Apart::start(world, FAST)?;
    let (world, client) = (&apart.world, apart.client());
    let allowed = format!("127.0.0.1:{port}");
    let worker = |name| world.part("worker", name, &apart.url, &[FAST[0], FAST[1], "--allow-hook-host", &allowed]);
    let mut first = worker("worker-1")?;
    world.lagan.ok(&["backup", "shop", "--nats-url", &apart.url])?;
    let (asked, _) = listener.accept()?;
    first.kill9()?;
    drop(asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let _second = worker("worker-2")?;
    let session = the_session(world, &client)?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    let facts = world.facts("@latest", &client)?;
    let result = &facts.last().unwrap()["data"]["results"][0];
    assert_eq!(result["adopted"], true, "nothing is dumped again: {result}");
    let conditions = session["status"]["conditions"].to_string();
    assert!(conditions.contains("InexactFloats"), "what the dump lacks is still told: {conditions}");
    assert_eq!(world.restic()?.snapshots()?.len(), 1);
    apart.audit()
}

/// Appends a worker's fact of the log again, under another pool and by another worker.
async fn forge_start(nats: &NatsServer) -> Result<()> {
    let jetstream = async_nats::jetstream::new(nats.connect().await?);
    let mut stream = jetstream.get_stream("SESSIONS").await?;
    let last = stream.info().await?.state.last_sequence;
    let mut forged = 0;
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await?;
        let Some(session) = message.subject.strip_suffix(".default.started") else { continue };
        let mut event: serde_json::Value = serde_json::from_slice(&message.payload)?;
        event["id"] = uuid::Uuid::new_v4().to_string().into();
        event["data"]["worker"] = uuid::Uuid::new_v4().to_string().into();
        jetstream.publish(format!("{session}.other.started"), event.to_string().into()).await?.await?;
        forged += 1;
    }
    assert_eq!(forged, 1, "the log has one start");
    Ok(())
}

#[test]
fn a_fact_under_another_pool_does_not_stop_the_work_of_a_session() -> Result<()> {
    let backup = HeldBackup::prepare(3, FAST)?;
    let _worker = backup.apart.worker("worker-1")?;
    backup.begin()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(forge_start(&backup.apart.nats))?;
    backup.hold.release()?;
    let session = backup.session()?;
    assert_eq!((backup.hold.runs(), &session["status"]["attempts"]), (1, &1.into()), "{session}");
    backup.judge(&session)
}

#[test]
fn nats_may_die_and_come_back_in_the_middle_of_a_session() -> Result<()> {
    // A restart takes longer than the time after which these tests presume a worker dead.
    let mut backup = HeldBackup::prepare(4, ["--failover", "10"])?;
    let _worker = backup.apart.worker("worker")?;
    backup.begin()?;
    backup.apart.nats.kill9()?;
    backup.apart.nats.restart()?;
    backup.hold.release()?;
    backup.judge(&backup.session()?)
}

#[test]
fn a_worker_that_is_asked_to_stop_hands_its_session_on() -> Result<()> {
    let mut world = world_with(4)?;
    let hold = Hold::new(&mut world)?;
    world.configure("shop", "local", SHOP, "")?;
    let mut up = world.up(&FAST)?;
    world.lagan.ok(&["backup", "shop"])?;
    hold.wait_for_runs(1)?;
    assert!(up.terminate(PATIENCE)?.success());
    assert_eq!(up.group_members()?, [""; 0]);
    hold.release()?;
    let _up = world.up(&FAST)?;
    let session = the_session(&world, &[])?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    let facts = world.facts("@latest", &[])?;
    let handed_on = facts.iter().find(|f| f["type"] == "dev.lagan.backup.retrying.v1").unwrap();
    assert_eq!(handed_on["data"]["counted"], "no", "a stop does not count as a failure");
    assert_eq!(world.snapshots()?, 1);
    world.audit(None).map(drop)
}

/// Copies the first session of the log as another, whose plan is changed.
async fn append_changed_plan(nats: &NatsServer, name: &str, change: fn(&mut serde_json::Value)) -> Result<()> {
    let jetstream = async_nats::jetstream::new(nats.connect().await?);
    let stream = jetstream.get_stream("SESSIONS").await?;
    let first = stream.get_raw_message(1).await?;
    let uid = first.subject.split('.').nth(7).unwrap_or_default().to_owned();
    let request: serde_json::Value = serde_json::from_slice(&first.payload)?;
    let old_name = request["data"]["name"].as_str().unwrap_or_default().to_owned();
    let other = uuid::Uuid::new_v4().to_string();
    for sequence in 1..=2 {
        let message = stream.get_raw_message(sequence).await?;
        let text = String::from_utf8(message.payload.to_vec())?;
        let text = text.replace(&uid, &other).replace(&old_name, name);
        let mut event: serde_json::Value = serde_json::from_str(&text)?;
        if sequence == 2 {
            change(&mut event["data"]);
        }
        let subject = message.subject.replace(&uid, &other);
        jetstream.publish(subject, event.to_string().into()).await?.await?;
    }
    Ok(())
}

#[test]
fn a_plan_that_the_workers_do_not_know_waits_and_says_so_while_others_run() -> Result<()> {
    let world = world_with(1)?;
    world.configure("shop", "local", SHOP, "")?;
    let nats = NatsServer::start()?;
    let url = nats.url();
    let client = ["--nats-url", url.as_str()];
    let mut engine = world.part("engine", "engine", &url, &FAST)?;
    world.lagan.ok(&["backup", "shop", "--nats-url", &url])?;
    eventually("a plan", PATIENCE, || (world.facts("@latest", &client).ok()?.len() == 2).then_some(()))?;
    engine.terminate(PATIENCE)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(append_changed_plan(&nats, "later", |plan| plan["version"] = 99.into()))?;
    let mut engine = world.part("engine", "engine", &url, &FAST)?;
    let _worker = world.part("worker", "worker-1", &url, &FAST)?;

    let waits = |session: &serde_json::Value| {
        let conditions = session["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == "WaitsForWorkerUpgrade")
    };
    let find = |name: &str| {
        world.list("backupsessions", &client).ok()?.into_iter().find(|one| one["metadata"]["name"] == name)
    };
    let condition = eventually("the condition", PATIENCE, || find("later").as_ref().and_then(waits))?;
    assert!(condition["message"].to_string().contains("pool `default`"), "{condition}");
    // The other session of the same log ran meanwhile.
    eventually("the other backup", PATIENCE, || {
        let sessions = world.list("backupsessions", &client).ok()?;
        sessions.iter().any(|one| one["status"]["phase"] == "Succeeded").then_some(())
    })?;
    // A new engine learns it again from the workers.
    engine.kill9()?;
    let _engine = world.part("engine", "engine", &url, &FAST)?;
    eventually("the condition after a restart", PATIENCE, || find("later").as_ref().and_then(waits))?;
    // It can be cancelled, although no worker can read it.
    world.lagan.ok(&["cancel", "session/later", "--nats-url", &url])?;
    let ended = world.ended("backupsessions", "later", &client)?;
    assert_eq!(ended["status"]["phase"], "Failed", "{ended}");
    assert!(waits(&ended).is_none(), "{ended}");
    world.judge()
}

/// The length of the newest fact of a kind, with its headers.
async fn length_of(nats: &NatsServer, fact: &str) -> Result<i32> {
    let jetstream = async_nats::jetstream::new(nats.connect().await?);
    let stream = jetstream.get_stream("SESSIONS").await?;
    let subject = format!("lagan.session.*.*.*.*.*.*.*.{fact}");
    let message = stream.get_last_raw_message_by_subject(&subject).await?;
    // `NAME: VALUE` and a line break for each header, which the server counts too.
    let headers = message.headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let headers: usize = headers.map(|(name, value)| AsRef::<str>::as_ref(name).len() + value.as_str().len() + 4).sum();
    Ok((message.payload.len() + headers).try_into()?)
}

async fn refuse_longer(nats: &NatsServer, bytes: i32) -> Result<()> {
    let jetstream = async_nats::jetstream::new(nats.connect().await?);
    let mut config = jetstream.get_stream("SESSIONS").await?.cached_info().config.clone();
    config.max_message_size = bytes;
    jetstream.update_stream(config).await?;
    Ok(())
}

#[test]
fn an_end_that_the_server_refuses_as_too_large_is_told_by_a_smaller_fact() -> Result<()> {
    let held = HeldBackup::prepare(2, FAST)?;
    let apart = &held.apart;
    // Its sessions have a condition, which a smaller fact leaves out.
    let _worker = apart.world.part("worker", "worker-1", &apart.url, &[FAST[0], FAST[1], "--no-sandbox"])?;
    held.begin()?;
    held.release_and_hold_again()?;
    let whole = held.session()?;
    assert_eq!(whole["status"]["phase"], "Succeeded", "{whole}");
    apart.world.lagan.ok(&["backup", "shop", "--nats-url", &apart.url])?;
    held.hold.wait_for_runs(2)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let length = runtime.block_on(length_of(&apart.nats, "succeeded"))?;
    runtime.block_on(refuse_longer(&apart.nats, length - 100))?;
    held.hold.release()?;
    eventually("the second end", PATIENCE, || {
        let sessions = apart.world.list("backupsessions", &apart.client()).ok()?;
        let ended = sessions.iter().filter(|one| one["status"]["phase"] == "Succeeded").count();
        (ended == 2).then_some(())
    })?;
    let last = apart.world.facts("@latest", &apart.client())?.pop().unwrap();
    assert_eq!(last["type"], "dev.lagan.backup.succeeded.v1", "{last}");
    assert_eq!(last["data"]["conditions"][0]["type"], "ConditionsOmitted", "{last}");
    assert!(apart.world.restic()?.snapshots()?.iter().any(|one| one["id"] == last["data"]["results"][0]["snapshot"]));
    apart.audit()
}

fn login(plan: &mut serde_json::Value) -> &mut serde_json::Value {
    plan.pointer_mut("/work/backup/target/database/credentials").expect("a login")
}

#[test]
fn a_plan_whose_login_is_not_that_of_its_app_binding_is_refused() -> Result<()> {
    let world = world_with(1)?;
    let _copy = world.second_database("copy")?;
    world.configure("shop", "local", SHOP, "")?;
    let nats = NatsServer::start()?;
    let url = nats.url();
    let client = ["--nats-url", url.as_str()];
    let mut engine = world.part("engine", "engine", &url, &FAST)?;
    world.lagan.ok(&["backup", "shop", "--nats-url", &url])?;
    eventually("a plan", PATIENCE, || (world.facts("@latest", &client).ok()?.len() == 2).then_some(()))?;
    engine.terminate(PATIENCE)?;
    // A writer of plans could read any Secret that the worker may read, and use it for another database.
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(append_changed_plan(&nats, "name", |plan| login(plan)["appBinding"] = "copy".into()))?;
    runtime.block_on(append_changed_plan(&nats, "namespace", |plan| login(plan)["namespace"] = "prod".into()))?;
    let _engine = world.part("engine", "engine", &url, &FAST)?;
    let _worker = world.part("worker", "worker-1", &url, &FAST)?;
    for (name, other) in [("name", "default/copy"), ("namespace", "prod/shop")] {
        let ended = world.ended("backupsessions", name, &client)?;
        assert_eq!(
            (&ended["status"]["phase"], &ended["status"]["code"]),
            (&"Failed".into(), &"E0103".into()),
            "{ended}"
        );
        let message = ended["status"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("default/shop") && message.contains(other), "{message}");
    }
    eventually("the backup of the real plan", PATIENCE, || (world.snapshots().ok()? == 1).then_some(()))?;
    world.judge()
}

#[test]
fn garbage_on_the_subjects_of_a_session_is_kept_apart_and_the_session_succeeds() -> Result<()> {
    let backup = HeldBackup::prepare(4, FAST)?;
    let _worker = backup.apart.worker("worker-1")?;
    backup.begin()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let messages = |stream: &'static str| {
        runtime.block_on(async {
            let context = async_nats::jetstream::new(backup.apart.nats.connect().await?);
            anyhow::Ok(context.get_stream(stream).await?.cached_info().state.messages)
        })
    };
    assert_eq!(messages("DEAD")?, 0);
    runtime.block_on(async {
        let context = async_nats::jetstream::new(backup.apart.nats.connect().await?);
        let stream = context.get_stream("SESSIONS").await?;
        let started = stream.get_last_raw_message_by_subject("lagan.session.*.*.*.*.*.*.default.started").await?;
        let subject = started.subject.as_str();
        let session = subject.strip_suffix(".default.started").unwrap_or_default();
        // Garbage, and a true fact under the subject of another one.
        context.publish(format!("{session}._.cancel-requested"), "garbage".into()).await?.await?;
        context.publish(format!("{session}.default.committing"), started.payload).await?.await?;
        anyhow::Ok(())
    })?;
    backup.hold.release()?;
    let session = backup.session()?;
    backup.judge(&session)?;
    assert_eq!(session["status"]["attempts"], 1, "{session}");
    eventually("both messages in DEAD", PATIENCE, || (messages("DEAD").ok()? == 2).then_some(()))?;
    Ok(())
}
