//! The permissions of `deploy/nats`: they allow engine, worker and CLI their own work, and deny them that of the others.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use lagan_tests::Scratch;
use lagan_tests::control_plane::ControlPlane;
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::nats::{NatsOptions, NatsServer};
use lagan_tests::process::{guarded, run};
use lagan_tests::sample::Sample;
use serde_json::Value;

use super::chart::{rendered, root};
use super::{FOREVER, LAGAN, configuration, ready};

#[path = "roles/matrix.rs"]
mod matrix;

/// The rendered configuration of the clusters `local` and `other`.
fn server() -> Result<(NatsServer, Scratch)> {
    let scratch = Scratch::new("roles")?;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests crate has no parent folder")?;
    let mut render: Command = guarded(&root.join("deploy/nats/render.sh"));
    render.arg(scratch.path()).args(["local", "other"]).env("POOLS", "default disk");
    run(render, Duration::from_secs(30))?.success().context("rendering deploy/nats")?;
    // The server resolves even an absolute path relative to its own file.
    let folder = scratch.path().file_name().context("a folder")?.to_string_lossy().into_owned();
    let more = format!("include \"../{folder}/accounts.conf\"");
    let server = NatsServer::start_with(NatsOptions { more, ..NatsOptions::default() })?;
    Ok((server, scratch))
}

#[test]
fn the_chart_gives_each_pool_the_login_that_was_rendered_for_it() -> Result<()> {
    let (_nats, users) = server()?;
    let values = root()?.join("deploy/helm/lagan/ci/external-nats-tls.yaml");
    let pods = rendered(&values, "lagan-system", &[])?;
    let keys: Vec<&str> =
        pods.lines().filter_map(|line| line.trim().strip_prefix("- {key: ")?.strip_suffix(", path: user}")).collect();
    assert_eq!(keys, ["engine", "worker-default", "worker-disk"]);
    for key in keys {
        assert!(user(&users, key).is_file(), "no user file {key}");
    }
    assert_eq!(pods.matches("- --nats-domain=hub\n").count(), 3);
    let servers = "tls://nats-1.example.com:4222,tls://nats-2.example.com:5222";
    assert_eq!(pods.matches(&format!("- --nats-url={servers}\n")).count(), 3);
    assert!(pods.contains("- port: 4222\n        - port: 5222\n"), "the engine reaches every server:\n{pods}");
    for bad in ["tls://a,http://b", "tls://a,,tls://b", "tls://user:secret@a"] {
        let bad = format!("nats.url={}", bad.replace(',', "\\,"));
        assert!(rendered(&values, "lagan-system", &["--set", &bad]).is_err(), "{bad}");
    }
    let creds = ["--set", "nats.userSecret.name=", "--set", "nats.credsSecret.name=jwt"];
    let pods = rendered(&values, "lagan-system", &creds)?;
    for key in ["engine.creds", "worker-default.creds", "worker-disk.creds"] {
        assert!(pods.contains(&format!("- {{key: {key}, path: user.creds}}")), "{key}");
    }
    let embedded = root()?.join("deploy/helm/lagan/ci/default.yaml");
    let longer = ["--set", "nats.streams.sessionsMaxAge=30d", "--set", "nats.streams.locksMaxBytes=128MiB"];
    let pods = rendered(&embedded, "lagan-system", &longer)?;
    for (arg, pods_with_it) in
        [("sessions-max-age=30d", 1), ("locks-max-bytes=128MiB", 1), ("sessions-max-bytes=1GiB", 1)]
    {
        assert_eq!(pods.matches(&format!("- \"--{arg}\"\n")).count(), pods_with_it, "{arg}");
    }
    assert!(rendered(&embedded, "lagan-system", &["--set", "nats.streams.locksMaxBytes=1G"]).is_err());
    assert!(rendered(&embedded, "lagan-system", &["--set", "nats.domain=hub"]).is_err());
    Ok(())
}

fn user(scratch: &Scratch, role: &str) -> PathBuf {
    scratch.join(&format!("users-local/{role}"))
}

#[test]
fn each_role_does_its_own_work_and_nobody_elses() -> Result<()> {
    let (nats, users) = server()?;
    let world = KubeWorld::with_nats(ControlPlane::shared()?, "roles", nats)?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let file = |role: &str| user(&users, role).to_string_lossy().into_owned();
    let _engine = world.engine(&["--nats-user-file", &file("engine"), "--pools", "default,disk"])?;
    let _default = world.worker(&["--nats-user-file", &file("worker-default")])?;
    let _disk = world.part("worker", "disk", &["--nats-user-file", &file("worker-disk"), "--pool", "disk"])?;
    let annotated = "metadata: {name: disk, annotations: {lagan.dev/pool: disk}}\nspec";
    world.apply(&world.storage("disk").replace("metadata: {name: disk}\nspec", annotated))?;
    let here = configuration("shop", FOREVER, "");
    world.apply(&here)?;
    let there = here.replace("metadata: {name: shop}", "metadata: {name: shop-on-disk}");
    world.apply(&there.replace("repository: {name: local}", "repository: {name: disk}"))?;
    for name in ["shop", "shop-on-disk"] {
        ready(&world, name)?;
        world.apply(&backup_session(LAGAN, name, name))?;
        let done = world.ended("backupsessions.lagan.dev", name)?;
        assert_eq!(phase(&done), "Succeeded", "{done:#}");
    }
    // In the server's log a refusal is a "Publish Violation" or a "Subscription Violation".
    let violations = || -> Result<Vec<String>> {
        let log = std::fs::read_to_string(world.nats.log_path())?;
        Ok(log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect())
    };
    assert_eq!(violations()?, Vec::<String>::new(), "the parts stay within their permissions");
    Ok(())
}

#[test]
fn each_role_is_refused_the_work_of_the_others() -> Result<()> {
    let (nats, users) = server()?;
    matrix::is_kept(&nats, |role| login(&std::fs::read_to_string(user(&users, role))?))
}

#[test]
fn the_server_of_the_chart_has_the_same_roles() -> Result<()> {
    let values = root()?.join("deploy/helm/lagan/ci/default.yaml");
    let sets = ["--set", "cluster=local", "--set", "workers.pools.disk.slots=1"];
    let pods = rendered(&values, "lagan-system", &sets)?;
    let documents = pods.split("\n---\n").map(serde_saphyr::from_str).collect::<Result<Vec<Value>, _>>()?;
    let of = |kind: &str, name: &str| {
        let found = documents.iter().find(|d| d["kind"] == kind && d["metadata"]["name"] == name);
        found.with_context(|| format!("no {kind} {name}"))
    };
    let files = of("ConfigMap", "lagan-nats")?["data"].as_object().context("files")?;
    let scratch = Scratch::new("chart-roles")?;
    for (name, text) in files {
        scratch.private_file(name, text.as_str().context("a text")?)?;
    }
    let secret = of("Secret", "lagan-nats-users")?["data"].as_object().context("logins")?;
    let decoded = |key: &str| -> Result<String> {
        let text = secret.get(key).and_then(Value::as_str).with_context(|| format!("no login {key}"))?;
        Ok(String::from_utf8(BASE64_STANDARD.decode(text)?)?)
    };
    // The container gets the passwords as variables; here they become values.
    let mut config = files["nats.conf"].as_str().context("a configuration")?.to_owned();
    let (_, after) = config.split_once("\nauthorization {").context("users")?;
    let (users, _) = after.split_once("\n}\n").context("the end of the users")?;
    config = format!("authorization {{{users}\n}}\n");
    let pod = &of("StatefulSet", "lagan-nats")?["spec"]["template"]["spec"]["containers"][0];
    for variable in pod["env"].as_array().context("variables")? {
        let Some(key) = variable["valueFrom"]["secretKeyRef"]["key"].as_str() else { continue };
        let name = variable["name"].as_str().context("a name")?;
        config = config.replace(&format!("${name},"), &format!("{},", decoded(key)?));
    }
    scratch.private_file("users.conf", &config)?;
    let folder = scratch.path().file_name().context("a folder")?.to_string_lossy().into_owned();
    let more = format!("include \"../{folder}/users.conf\"");
    let nats = NatsServer::start_with(NatsOptions { more, ..NatsOptions::default() })?;
    // Each pod gets the login of its own role and pool, and of no other.
    for (deployment, key) in
        [("lagan-engine", "engine"), ("lagan-worker-default", "worker-default"), ("lagan-worker-disk", "worker-disk")]
    {
        let volumes = of("Deployment", deployment)?["spec"]["template"]["spec"]["volumes"].to_string();
        assert!(volumes.contains(&format!("[{{\"key\":\"{key}\",\"path\":\"user\"}}]")), "{volumes}");
        assert_eq!(volumes.matches("lagan-nats-users").count(), 1, "{volumes}");
    }
    matrix::is_kept(&nats, |role| login(&decoded(role)?))?;
    // Without a policy of the cluster's own, the monitoring page is open to engine and workers only.
    let policy = of("NetworkPolicy", "lagan-nats")?["spec"]["ingress"].clone();
    let rules = policy.as_array().context("rules")?;
    let open: Vec<&Value> = rules.iter().filter(|rule| rule["from"].is_null()).collect();
    assert!(open.iter().all(|rule| !rule["ports"].to_string().contains("monitor")), "{policy:#}");
    assert!(rules.iter().any(|rule| rule["ports"].to_string().contains("monitor")), "{policy:#}");
    Ok(())
}

fn login(text: &str) -> Result<(String, String)> {
    let (name, password) = text.trim().split_once(':').context("user:password")?;
    Ok((name.to_owned(), password.to_owned()))
}
