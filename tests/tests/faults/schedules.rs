//! Many schedules at one time, and several schedulers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use lagan_tests::lagan::Lagan;
use lagan_tests::nats::{NatsOptions, NatsServer, SyncInterval};
use lagan_tests::process::Process;
use lagan_tests::wait::eventually;

use super::FAST;

const CONFIGURATIONS: usize = 2_000;
/// Patience with a machine that does much else.
const LOADED: Duration = Duration::from_mins(4);

/// Configurations that share each slot, at every full minute.
fn configurations() -> Result<String> {
    let mut text = String::new();
    for number in 0..CONFIGURATIONS {
        write!(
            text,
            "---\napiVersion: lagan.dev/v1alpha1\nkind: BackupConfiguration\nmetadata: {{name: shop-{number}}}\n\
             spec:\n  schedule: '* * * * *'\n  repository: {{name: local}}\n  \
             retentionPolicy: {{name: two, keepLast: 2}}\n  \
             target: {{ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: shop}}}}\n"
        )?;
    }
    Ok(text)
}

fn engine(lagan: &Lagan, name: &str, url: &str) -> Result<Process> {
    let (manifests, data) = (lagan.manifests_dir(), lagan.data_dir());
    let (manifests, data) = (manifests.to_string_lossy(), data.to_string_lossy());
    let mut args = vec!["engine", "--manifests", &manifests, "--data-dir", &data, "--nats-url", url];
    args.extend(FAST);
    let mut process = lagan.start(name, &args)?;
    process.wait_for_log("ready", LOADED)?;
    Ok(process)
}

/// The sessions that were requested, by configuration, and the number of requests of each, as the server itself counts.
async fn requested(nats: &NatsServer) -> Result<BTreeMap<String, Vec<usize>>> {
    let jetstream = async_nats::jetstream::new(nats.connect().await?);
    let stream = jetstream.get_stream("SESSIONS").await?;
    let mut subjects = stream.info_with_subjects("lagan.session.>").await?;
    let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    while let Some((subject, count)) = subjects.try_next().await? {
        if subject.ends_with(".requested") {
            let configuration = subject.split('.').nth(6).context("a subject names its invoker")?;
            found.entry(configuration.to_owned()).or_default().push(count);
        }
    }
    Ok(found)
}

#[test]
fn two_schedulers_request_each_of_many_common_slots_once() -> Result<()> {
    let lagan = Lagan::new()?;
    // The disk is not what is tested.
    let nats = NatsServer::start_with(NatsOptions { sync: SyncInterval::ServerDefault, ..NatsOptions::default() })?;
    lagan.manifest("shops.yaml", &configurations()?)?;
    let _engines = [engine(&lagan, "engine-1", &nats.url())?, engine(&lagan, "engine-2", &nats.url())?];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let all = eventually("every configuration to be requested", LOADED, || {
        let found = runtime.block_on(requested(&nats)).ok()?;
        (found.len() >= CONFIGURATIONS).then_some(found)
    })?;
    let doubled: Vec<_> = all.iter().filter(|(_, requests)| requests.iter().any(|count| *count != 1)).collect();
    assert!(doubled.is_empty(), "requested more than once: {doubled:?}");
    assert_eq!(all.len(), CONFIGURATIONS);
    let mut logs = String::new();
    for name in ["engine-1", "engine-2"] {
        logs += &std::fs::read_to_string(lagan.log_path(name))?;
    }
    assert!(!logs.contains("could not be requested"), "the server was there all the time");
    Ok(())
}
