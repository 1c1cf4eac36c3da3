//! Hooks of a real backup, against a small HTTP server on loopback.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use super::*;

/// Answers each request with the status that its path names, and hands the request on.
fn listener() -> Result<(u16, Receiver<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (asked, requests) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut text, mut block) = (String::new(), [0; 4096]);
            while let Ok(count @ 1..) = stream.read(&mut block) {
                text.push_str(&String::from_utf8_lossy(&block[..count]));
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    break;
                }
            }
            let status = text.split('/').nth(1).and_then(|path| path.get(..3)).unwrap_or("500").to_owned();
            let _ = asked.send(text);
            let _ = write!(stream, "HTTP/1.1 {status} S\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsaid so");
        }
    });
    Ok((port, requests))
}

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
    let (port, asked) = listener()?;
    let hooks = |pre: &str, post_hook: &str| {
        format!("hooks:\n  preBackup: {}\n  postBackup: {}", post(port, pre), post(port, post_hook))
    };
    world.configure("good", "local", SHOP, &hooks("200", "204"))?;
    world.configure("pre", "local", SHOP, &hooks("503", "200"))?;
    world.configure("post", "local", SHOP, &hooks("200", "500"))?;
    world.configure("refused", "local", SHOP, &hooks("200", "200").replace("port:", "host: localhost, port:"))?;
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

    // Nothing is dumped, and the post hook hears why.
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

    // The snapshot is whole, but the session failed and names it only in its message.
    let failed = world.backup("post", &[])?;
    assert_eq!(failed.status.code(), Some(3));
    assert!(
        failed.stderr.contains("E0110") && failed.stderr.contains("is whole and was read back"),
        "{}",
        failed.stderr
    );
    assert_eq!((asked.recv_timeout(PATIENCE)?.len() > 1, world.snapshots()?), (true, 2));
    assert!(asked.recv_timeout(PATIENCE)?.starts_with("POST /500 "));

    for (name, why) in [("refused", "--allow-hook-host localhost"), ("exec", "exec needs a pod")] {
        let refused = world.backup(name, &[])?;
        assert!(refused.status.code() == Some(3) && refused.stderr.contains(why), "{}", refused.stderr);
    }
    assert!(asked.try_recv().is_err());
    assert_eq!(world.snapshots()?, 2);
    world.judge()
}
