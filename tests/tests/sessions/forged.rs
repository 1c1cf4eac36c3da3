//! A plan that no planner made: a worker compares it with the objects at their source before it uses anything of it.

use std::io::ErrorKind;
use std::net::TcpListener;

use anyhow::{Context as _, Result};
use lagan_tests::nats::NatsServer;
use lagan_tests::wait::eventually_async;
use lagan_tests::world::{PATIENCE, World};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{SHOP, sample};

/// The facts of a session, each as its name and its event.
async fn facts(nats: &NatsServer, session: &str) -> Result<Vec<(String, Value)>> {
    let jetstream = async_nats::jetstream::new(nats.connect().await?);
    let mut stream = jetstream.get_stream("SESSIONS").await?;
    let last = stream.info().await?.state.last_sequence;
    let mut found = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await?;
        if message.subject.contains(session) {
            found.push((message.subject.to_string(), serde_json::from_slice(&message.payload)?));
        }
    }
    Ok(found)
}

/// Appends the request and the plan of a session again, as another session with a changed plan.
async fn forge(nats: &NatsServer, original: &str, session: &str, change: impl Fn(&mut Value)) -> Result<()> {
    let jetstream = async_nats::jetstream::new(nats.connect().await?);
    let mut forged = 0;
    for (subject, event) in facts(nats, original).await? {
        let is_plan = subject.contains(".planned.");
        if !is_plan && !subject.ends_with(".requested") {
            continue;
        }
        let mut event: Value = serde_json::from_str(&event.to_string().replace(original, session))?;
        if is_plan {
            let before = event.clone();
            change(&mut event["data"]["work"]["backup"]);
            anyhow::ensure!(before != event, "the plan has another shape: {event}");
        }
        jetstream.publish(subject.replace(original, session), event.to_string().into()).await?.await?;
        forged += 1;
    }
    anyhow::ensure!(forged == 2, "{forged} facts were forged");
    Ok(())
}

#[test]
fn a_plan_that_names_another_server_reaches_no_server_and_is_made_again() -> Result<()> {
    let world = World::new()?;
    world.db.load_sample("shop", sample(1))?;
    world.configure("shop", "local", SHOP, "")?;
    let nats = NatsServer::start()?;
    let url = nats.url();
    let fast = ["--failover", "5"];
    let engine = world.part("engine", "engine", &url, &fast)?;
    let _worker = world.part("worker", "worker", &url, &fast)?;
    world.lagan.ok(&["backup", "shop", "--wait", "--nats-url", &url])?;
    let sessions = world.list("backupsessions", &["--nats-url", &url])?;
    let original = sessions[0]["metadata"]["uid"].as_str().context("a uid")?.to_owned();
    let session = uuid::Uuid::new_v4().to_string();
    let decoy = TcpListener::bind("127.0.0.1:0")?;
    decoy.set_nonblocking(true)?;
    // An engine that sleeps does not plan the session before us.
    engine.signal(Signal::SIGSTOP)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let named = |name: &str, found: &[(String, Value)]| found.iter().find(|fact| fact.0.ends_with(name)).cloned();
    let (refused, done) = runtime.block_on(async {
        let port = decoy.local_addr()?.port();
        let elsewhere = |work: &mut Value| {
            let database = &mut work["target"]["database"];
            (database["host"], database["port"]) = ("127.0.0.1".into(), port.into());
        };
        forge(&nats, &original, &session, elsewhere).await?;
        let refused = eventually_async("the worker to refuse the plan", PATIENCE, || async {
            named(".retrying", &facts(&nats, &session).await.ok()?)
        })
        .await?;
        engine.signal(Signal::SIGCONT)?;
        let done = eventually_async("the session to end", PATIENCE, || async {
            let found = facts(&nats, &session).await.ok()?;
            named(".succeeded", &found).or_else(|| named(".failed", &found))
        })
        .await?;
        anyhow::Ok((refused.1, done))
    })?;
    let told = refused["data"].to_string();
    assert!(told.contains("E0112") && told.contains("127.0.0.1"), "{told}");
    assert!(done.0.ends_with(".succeeded"), "{done:?}");
    let asked = decoy.accept();
    assert!(matches!(&asked, Err(error) if error.kind() == ErrorKind::WouldBlock), "the decoy was asked: {asked:?}");
    assert_eq!(world.snapshots()?, 2);

    // A Repository that nobody has declared leads nowhere either.
    let (session, evil) = (uuid::Uuid::new_v4().to_string(), world.lagan.path("evil"));
    engine.signal(Signal::SIGSTOP)?;
    let refused = runtime.block_on(async {
        let nobody = |work: &mut Value| {
            let repository = &mut work["repositories"][0];
            repository["reference"]["name"] = "nobody".into();
            repository["backend"]["local"]["mountPath"] = evil.display().to_string().into();
        };
        forge(&nats, &original, &session, nobody).await?;
        eventually_async("the worker to refuse the plan", PATIENCE, || async {
            named(".retrying", &facts(&nats, &session).await.ok()?)
        })
        .await
    })?;
    engine.signal(Signal::SIGCONT)?;
    let told = refused.1["data"].to_string();
    assert!(told.contains("E0112") && told.contains("Repository/default/nobody"), "{told}");
    assert!(!evil.exists(), "the worker made a repository");
    world.judge()
}
