//! Hooks of a real backup, against a small HTTP server on loopback.

use lagan_tests::canary::Canaries;
use lagan_tests::canary_secret;
use lagan_tests::webhook::{ResponseBody, start};

use super::*;

fn post(port: u16, path: &str) -> String {
    format!(
        "{{httpPost: {{port: {port}, path: /{path}, body: '{{{{ .Name }}}} {{{{ .Status.Phase }}}} {{{{ .status.error }}}}'}}}}"
    )
}

fn condition<'a>(session: &'a serde_json::Value, kind: &str) -> &'a serde_json::Value {
    let conditions = session["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap_or(&serde_json::Value::Null)
}

#[test]
fn hooks_run_around_a_backup_and_their_failure_is_its_failure() -> Result<()> {
    let world = World::new()?;
    world.db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT)")?;
    let (port, asked) = start(ResponseBody::Text("said s"))?;
    let hooks = |pre: &str, post_hook: &str| {
        format!("hooks:\n  preBackup: {}\n  postBackup: {}", post(port, pre), post(port, post_hook))
    };
    world.configure("good", "local", SHOP, &hooks("200", "204"))?;
    world.configure("pre", "local", SHOP, &hooks("503", "200"))?;
    world.configure("post", "local", SHOP, &hooks("200", "500"))?;
    world.configure("refused", "local", SHOP, &hooks("200", "200").replace("port:", "host: localhost, port:"))?;
    let _copy = world.second_database("copy")?;
    let exec = "hooks:\n  postBackup: {exec: {command: [\"true\"]}}";
    world.configure("exec", "local", SHOP, exec)?;
    let _up = world.up(&["--allow-hook-host", &format!("127.0.0.1:{port}")])?;

    world.good_backup("good")?;
    let (before, after) = (asked.recv_timeout(PATIENCE)?, asked.recv_timeout(PATIENCE)?);
    assert!(before.starts_with("POST /200 ") && before.contains(" Running "), "{before}");
    assert!(after.starts_with("POST /204 ") && after.contains(" Succeeded "), "{after}");
    let sessions = world.list("backupsessions", &[])?;
    let session = world.ended("backupsessions", sessions[0]["metadata"]["name"].as_str().unwrap(), &[])?;
    for kind in ["PreBackupHookExecutionSucceeded", "PostBackupHookExecutionSucceeded"] {
        assert_eq!(condition(&session, kind)["status"], "True", "{session}");
    }
    assert_eq!(world.snapshots()?, 1);

    // No dump is made, and the post hook gets the reason.
    let failed = world.backup("pre", &[])?;
    assert_eq!(failed.status.code(), Some(3));
    assert!(failed.stderr.contains("E0110") && failed.stderr.contains("answered 503: said s"), "{}", failed.stderr);
    assert!(asked.recv_timeout(PATIENCE)?.starts_with("POST /503 "));
    let after = asked.recv_timeout(PATIENCE)?;
    assert!(after.contains(" Failed ") && after.contains("E0110"), "{after}");
    assert_eq!(world.snapshots()?, 1);
    let facts = world.facts("@latest", &[])?;
    assert!(!facts.iter().any(|fact| fact["type"].as_str().unwrap().contains("committing")), "{facts:?}");
    let sessions = world.list("backupsessions", &[])?;
    let mut names = sessions.iter().map(|session| session["metadata"]["name"].as_str().unwrap());
    let failed = world.ended("backupsessions", names.rfind(|name| name.starts_with("pre-")).unwrap(), &[])?;
    for (kind, reason) in [
        ("PreBackupHookExecutionSucceeded", "FailedToExecutePreBackupHook"),
        ("PostBackupHookExecutionSucceeded", "SuccessfullyExecutedPostBackupHook"),
    ] {
        assert_eq!(condition(&failed, kind)["reason"], reason, "{failed}");
    }

    // The session failed, and its snapshot stays valid.
    let failed = world.backup("post", &[])?;
    assert_eq!(failed.status.code(), Some(3));
    assert!(
        failed.stderr.contains("E0110") && failed.stderr.contains("is whole and was read back"),
        "{}",
        failed.stderr
    );
    assert_eq!((asked.recv_timeout(PATIENCE)?.len() > 1, world.snapshots()?), (true, 2));
    assert!(asked.recv_timeout(PATIENCE)?.starts_with("POST /500 "));
    let last = world.facts("@latest", &[])?.pop().unwrap_or_default();
    assert_eq!(last["type"], "dev.lagan.backup.failed.v1", "{last}");
    let snapshot = last["data"]["results"][0]["snapshot"].as_str().unwrap_or_default().to_owned();
    world.lagan.ok(&["restore", "post", "--to", "copy", "--yes", "--wait"])?;
    assert_eq!(world.result("@latest", &[])?["snapshot"], snapshot, "the snapshot of the failed session is `latest`");

    for (name, why) in [("refused", "--allow-hook-host localhost"), ("exec", "exec needs a pod")] {
        let refused = world.backup(name, &[])?;
        assert!(refused.status.code() == Some(3) && refused.stderr.contains(why), "{}", refused.stderr);
    }
    assert!(asked.try_recv().is_err());
    assert_eq!(world.snapshots()?, 2);
    world.judge()
}

#[test]
fn a_post_hook_runs_by_its_policy_in_attempts_that_fail() -> Result<()> {
    let mut world = World::new()?;
    world.db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT)")?;
    // A dump without its trailer is retried.
    world.stub("mariadb-dump", "echo half; exit 0")?;
    let (port, asked) = start(ResponseBody::Text(""))?;
    let expected = [("Always", 2), ("OnSuccess", 0), ("OnFailure", 2), ("OnFinalRetryFailure", 1)];
    for (policy, _) in expected {
        let hook = post(port, &format!("200/{policy}")).replacen('{', &format!("{{executionPolicy: {policy}, "), 1);
        let more = format!("retryConfig: {{maxRetry: 1, delay: 100ms}}\nhooks:\n  postBackup: {hook}");
        world.configure(&policy.to_lowercase(), "local", SHOP, &more)?;
    }
    let _up = world.up(&["--allow-hook-host", "127.0.0.1"])?;
    for (policy, times) in expected {
        assert_eq!(world.backup(&policy.to_lowercase(), &[])?.status.code(), Some(3));
        for _ in 0..times {
            let request = asked.recv_timeout(PATIENCE)?;
            assert!(request.starts_with(&format!("POST /200/{policy} ")) && request.contains(" Failed "), "{request}");
        }
    }
    assert!(asked.try_recv().is_err());
    assert_eq!(world.snapshots()?, 0);
    world.judge()
}

/// A hook with the token in every place where people put one. Its path ends with it, like that of a webhook.
fn with_token(port: u16, status: u16, token: &str) -> String {
    format!(
        "{{httpPost: {{port: {port}, path: '/{status}/{token}', body: '{{\"token\": \"{token}\"}}', httpHeaders: [{{name: Authorization, value: 'Bearer {token}'}}]}}}}"
    )
}

/// Checks that the token arrived in path, header and body.
fn came_with(request: &str, token: &str) -> bool {
    request.matches(token).count() == 3
}

#[test]
fn what_hooks_hold_reaches_whom_they_ask_and_nobody_else() -> Result<()> {
    let world = World::new()?;
    world.db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT)")?;
    let _copy = world.second_database("copy")?;
    let (port, asked) = start(ResponseBody::Echo)?;
    let tokens = ["first", "second", "restore", "echo", "form"].map(canary_secret);
    let [first, second, restore, echo, form] = &tokens;
    world.configure("shop", "local", SHOP, &format!("hooks:\n  preBackup: {}", with_token(port, 200, first)))?;
    world.configure("echo", "local", SHOP, &format!("hooks:\n  postBackup: {}", with_token(port, 503, echo)))?;
    let sent = format!("{{httpPost: {{port: {port}, path: /500, form: [{{key: k, values: ['{form}']}}]}}}}");
    world.configure("form", "local", SHOP, &format!("hooks:\n  preBackup: {sent}"))?;
    let mut up = world.up(&["-vv", "--allow-hook-host", "127.0.0.1"])?;

    world.good_backup("shop")?;
    assert!(came_with(&asked.recv_timeout(PATIENCE)?, first));
    // The next session uses a replaced token.
    world.configure("shop", "local", SHOP, &format!("hooks:\n  preBackup: {}", with_token(port, 200, second)))?;
    world.good_backup("shop")?;
    assert!(came_with(&asked.recv_timeout(PATIENCE)?, second));
    let hooks = format!("hooks:\n  postRestore: {}", with_token(port, 200, restore));
    world.lagan.manifest("back.yaml", &restore_session("back", "local", "copy", &hooks))?;
    assert_eq!(world.ended("restoresessions", "back", &[])?["status"]["phase"], "Succeeded");
    assert!(came_with(&asked.recv_timeout(PATIENCE)?, restore));
    // A server that repeats the request does not get the token into the session's message.
    for name in ["echo", "form"] {
        let failed = world.backup(name, &[])?;
        assert!(failed.stderr.contains("E0110") && failed.stderr.contains("[redacted]"), "{}", failed.stderr);
    }

    let canaries: Vec<(&str, &str)> = tokens.iter().map(|token| ("token of a hook", token.as_str())).collect();
    let canaries = Canaries::new(&canaries);
    for kind in ["backupconfigurations", "backupsessions", "restoresessions"] {
        let shown = world.lagan.ok(&["get", kind, "-o", "json"])?;
        assert!(canaries.found_in(shown.as_bytes()).is_empty(), "{shown}");
    }
    let events = world.lagan.ok(&["events", "-o", "jsonl"])?;
    assert!(canaries.found_in(events.as_bytes()).is_empty());
    up.terminate(PATIENCE)?;
    // The published shape of hooks is found in the streams' files, so the search covers the right place.
    let shape = Canaries::new(&[("shape", "preBackup")]);
    assert!(!shape.found_below(&[&world.lagan.data_dir()])?.is_empty());
    canaries.absent_below(&[&world.lagan.data_dir(), &world.lagan.logs_dir(), &world.repository_dir()])?;
    world.judge()
}

/// Waits until a session of this configuration is planned.
fn planned(world: &World, name: &str, client: &[&str]) -> Result<String> {
    eventually("a plan", PATIENCE, || {
        let sessions = world.list("backupsessions", client).ok()?;
        let mut names = sessions.iter().filter_map(|session| session["metadata"]["name"].as_str());
        let session = names.rfind(|session| session.starts_with(name))?.to_owned();
        let facts = world.facts(&session, client).ok()?;
        facts.iter().any(|fact| fact["type"] == "dev.lagan.backup.planned.v1").then_some(session)
    })
}

#[test]
fn what_stands_at_the_source_when_a_worker_begins_is_what_runs() -> Result<()> {
    let world = World::new()?;
    world.db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT)")?;
    let (port, asked) = start(ResponseBody::Text("said s"))?;
    let (old, new) = (canary_secret("old"), canary_secret("new"));
    let hooks = |token: &str| format!("hooks:\n  preBackup: {}", with_token(port, 200, token));
    // Each has a target of its own, because a target's lock lets one session be planned.
    let configure = |name: &str, hooks: &str| {
        let text = configuration(name, "local", SHOP, hooks)
            .replace("AppBinding, name: shop", &format!("AppBinding, name: {name}"));
        world.lagan.manifest(&format!("{name}.yaml"), &text).map(drop)
    };
    for name in ["changed", "removed", "gone", "empty"] {
        world.lagan.manifest(&format!("{name}-db.yaml"), &app_binding(name, &world.db))?;
        configure(name, &hooks(&old))?;
    }
    let nats = NatsServer::start()?;
    let url = nats.url();
    let client = ["--nats-url", url.as_str()];
    let _engine = world.part("engine", "engine", &url, &[])?;
    let mut sessions = Vec::new();
    for name in ["changed", "removed", "gone", "empty"] {
        world.lagan.ok(&["backup", name, "--nats-url", &url])?;
        sessions.push(planned(&world, name, &client)?);
    }
    configure("changed", &hooks(&new))?;
    configure("removed", "")?;
    world.lagan.remove_manifest("gone.yaml")?;
    configure("empty", "hooks:\n  preBackup: {exec: {command: []}}")?;
    let _worker = world.part("worker", "worker", &url, &["--allow-hook-host", "127.0.0.1"])?;

    let mut ended = Vec::new();
    for session in &sessions {
        ended.push(world.ended("backupsessions", session, &client)?);
    }
    let phases: Vec<_> = ended.iter().map(|session| session["status"]["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["Succeeded", "Succeeded", "Failed", "Failed"], "{ended:#?}");
    assert!(came_with(&asked.recv_timeout(PATIENCE)?, &new));
    assert!(asked.try_recv().is_err(), "no other hook ran");
    for (session, code, why) in
        [(&sessions[2], "E0107", "is not there any more"), (&sessions[3], "E0101", "exec.command is empty")]
    {
        let failed = world.facts(session, &client)?.pop().unwrap();
        assert_eq!(failed["data"]["code"], code, "{failed:#}");
        assert!(failed["data"]["message"].as_str().unwrap().contains(why), "{failed:#}");
    }
    for session in &ended[1..] {
        assert!(condition(session, "PreBackupHookExecutionSucceeded").is_null(), "{session:#}");
    }
    assert_eq!(world.snapshots()?, 2);
    world.judge()
}
