//! Tests with small programs that misbehave in every way a dump can.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use secrecy::SecretString;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;

/// Writes a script and returns it as a program. The directory must outlive it.
fn script(text: &str) -> (TempDir, Program) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stub");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    (directory, Program::new(path))
}

fn spawner() -> Spawner {
    Spawner { grace: Duration::from_millis(300), linger: Duration::from_millis(300), ..Spawner::new(Guard::None) }
}

fn settings(stall_ms: u64) -> DumpSettings {
    DumpSettings { stall: Duration::from_millis(stall_ms), blocks: 2 }
}

async fn start(program: Program, stall_ms: u64) -> (DumpReader, DumpHandle) {
    spawner().dump(program, settings(stall_ms), None, &CancellationToken::new()).await.unwrap()
}

async fn read(mut reader: DumpReader) -> (Vec<u8>, std::io::Result<()>) {
    tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        let result = reader.read_to_end(&mut bytes).map(drop);
        (bytes, result)
    })
    .await
    .unwrap()
}

async fn outcome(text: &str) -> (Vec<u8>, std::io::Result<()>, Arc<DumpOutcome>) {
    let (_directory, program) = script(text);
    let (reader, handle) = start(program, 5000).await;
    let (bytes, result) = read(reader).await;
    let outcome = handle.outcome().expect("the outcome is recorded before the end of the stream is seen");
    (bytes, result, outcome)
}

/// Tells whether a process of the group still runs. A group that is gone answers ESRCH.
fn group_lives(pid: i32) -> bool {
    nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), None).is_ok()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < Duration::from_secs(20), "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_stream_comes_through_byte_for_byte_with_its_hash_and_tail() {
    let (bytes, result, outcome) = outcome("head -c 5000000 /dev/urandom; printf 'last line\\n'").await;
    assert!(result.is_ok() && outcome.clean());
    assert_eq!((bytes.len() as u64, outcome.bytes), (5_000_010, 5_000_010));
    assert_eq!(outcome.sha256, <[u8; 32]>::from(Sha256::digest(&bytes)));
    assert!(outcome.tail.ends_with(b"last line\n") && outcome.tail.len() == 512);
}

#[tokio::test]
async fn a_dump_that_exits_3_after_megabytes_never_looks_like_the_end_of_a_stream() {
    let (bytes, result, outcome) = outcome("head -c 3000000 /dev/zero; echo broken >&2; exit 3").await;
    assert_eq!((bytes.len(), outcome.exit), (3_000_000, ChildExit::Code(3)));
    assert!(result.is_err() && !outcome.clean());
    assert_eq!(outcome.stderr.text, "broken");
}

#[tokio::test]
async fn a_killed_dump_tells_its_signal() {
    let (_, result, outcome) = outcome("echo x; kill -KILL $$").await;
    assert_eq!(outcome.exit, ChildExit::Signal(9));
    assert!(result.is_err());
}

#[tokio::test]
async fn a_dump_without_a_byte_ends_with_zero_bytes() {
    let (bytes, result, outcome) = outcome("exit 0").await;
    assert!(bytes.is_empty() && result.is_ok() && outcome.bytes == 0);
}

#[tokio::test]
async fn a_flood_on_stderr_neither_blocks_nor_fills_memory() {
    let (bytes, result, outcome) =
        outcome("head -c 50000000 /dev/zero | tr '\\0' 'e' >&2; echo done; printf '\\n\\033[31mend' >&2").await;
    assert!(result.is_ok() && bytes == b"done\n");
    assert!(outcome.stderr.text.len() < 25_000 && outcome.stderr.total_bytes == 50_000_009);
    assert!(outcome.stderr.text.ends_with("\\u{1b}[31mend"));
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed_after_the_grace() {
    let (_directory, program) = script("trap '' TERM; echo $$; while :; do sleep 1; done");
    let cancel = CancellationToken::new();
    let (mut reader, handle) = spawner().dump(program, settings(60_000), None, &cancel).await.unwrap();
    let (pid, reading) = tokio::task::spawn_blocking(move || {
        let mut line = Vec::new();
        let mut byte = [0];
        while byte != *b"\n" {
            reader.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        (String::from_utf8(line).unwrap().trim().parse::<i32>().unwrap(), reader)
    })
    .await
    .unwrap();
    let since = Instant::now();
    cancel.cancel();
    let outcome = handle.wait().await;
    assert_eq!((outcome.exit, outcome.stop), (ChildExit::Signal(9), Some(Stop::Cancelled)));
    assert!(since.elapsed() < Duration::from_secs(10));
    until("the group is gone", || !group_lives(pid)).await;
    assert!(read(reading).await.1.is_err());
}

#[tokio::test]
async fn a_grandchild_that_holds_stdout_open_is_killed_and_the_stream_ends() {
    let since = Instant::now();
    let (bytes, _, outcome) = outcome("echo whole; sleep 600 & exit 0").await;
    assert!(since.elapsed() < Duration::from_secs(10));
    assert_eq!((bytes.as_slice(), outcome.exit), (b"whole\n".as_slice(), ChildExit::Code(0)));
    assert_eq!(outcome.stragglers, Stragglers::Killed);
}

#[tokio::test]
async fn a_process_that_left_the_group_cannot_hold_the_stream_for_ever() {
    let since = Instant::now();
    let (bytes, _, outcome) = outcome("echo whole; setsid sleep 8 & sleep 0.2; exit 0").await;
    assert!(since.elapsed() < Duration::from_secs(6));
    assert_eq!((bytes.as_slice(), outcome.stragglers), (b"whole\n".as_slice(), Stragglers::Killed));
}

#[tokio::test]
async fn a_silent_dump_is_a_stalled_dump() {
    let (_directory, program) = script("echo begun; sleep 600");
    let (reader, handle) = start(program, 400).await;
    let (bytes, result) = read(reader).await;
    let outcome = handle.wait().await;
    assert_eq!(bytes, b"begun\n");
    assert!(result.is_err());
    assert_eq!((outcome.stop, outcome.exit), (Some(Stop::Stalled(Side::Dump)), ChildExit::Signal(9)));
}

#[tokio::test]
async fn a_reader_that_stands_still_is_a_stalled_uploader() {
    let (_directory, program) = script("cat /dev/zero");
    let (reader, handle) = start(program, 400).await;
    let outcome = handle.wait().await;
    assert_eq!(outcome.stop, Some(Stop::Stalled(Side::Uploader)));
    assert!(handle.delivered() < outcome.bytes);
    assert!(read(reader).await.1.is_err());
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_dump_and_is_named_as_the_cause() {
    let (_directory, program) = script("cat /dev/zero");
    let (reader, handle) = start(program, 60_000).await;
    drop(reader);
    assert_eq!(handle.wait().await.stop, Some(Stop::ReaderGone));
}

#[tokio::test]
async fn dropping_the_handle_kills_the_group() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("pid");
    let (_directory, program) =
        script(&format!("echo $$ > {}.tmp; mv {}.tmp {}; sleep 600", mark.display(), mark.display(), mark.display()));
    let (reader, handle) = start(program, 60_000).await;
    until("the program runs", || mark.exists()).await;
    let pid: i32 = std::fs::read_to_string(&mark).unwrap().trim().parse().unwrap();
    assert!(group_lives(pid));
    drop(handle);
    until("the group is gone", || !group_lives(pid)).await;
    assert!(read(reader).await.1.is_err());
}

#[tokio::test]
async fn secrets_are_readable_by_the_child_alone_and_redacted_from_its_stderr() {
    let (_directory, mut program) = script(
        "cat /proc/self/fd/3 /proc/self/fd/4; stat -Lc %a /proc/self/fd/3; cat /proc/self/fd/3 >&2; env; touch here 2>/dev/null || echo nothing stays; cat /proc/$$/cmdline",
    );
    program.secret_files = vec![SecretString::from("canary-one"), SecretString::from("canary-two")];
    program.env = vec![("LAGAN_X".into(), "y".into())];
    let (reader, handle) = start(program, 5000).await;
    let text = String::from_utf8(read(reader).await.0).unwrap();
    assert!(text.starts_with("canary-onecanary-two400\n"), "{text}");
    assert_eq!(text.matches("canary").count(), 2, "{text}");
    assert!(text.contains("LANG=C\n") && text.contains("LAGAN_X=y\n") && !text.contains("HOME="), "{text}");
    assert!(text.contains("nothing stays\n"), "{text}");
    assert_eq!(handle.wait().await.stderr.text, "[redacted]");
}

#[tokio::test]
async fn a_missing_program_is_an_error_with_its_path() {
    let missing = Program::new("/nonexistent/dump");
    let error = spawner().dump(missing, settings(100), None, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, SpawnError::NotExecutable { .. }), "{error}");
}

async fn feeder(text: &str, alive: &Arc<AtomicBool>) -> (TempDir, Feeder) {
    let (directory, program) = script(text);
    let alive = Arc::clone(alive);
    let pulse = move || if alive.load(Ordering::Relaxed) { Pulse::Alive } else { Pulse::Lost };
    let feeder = spawner().feed(program, pulse, &CancellationToken::new()).await.unwrap();
    (directory, feeder)
}

fn kept(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).display().to_string()
}

#[tokio::test]
async fn what_is_fed_arrives_whole_and_the_end_is_seen_by_the_child() {
    let target = tempfile::tempdir().unwrap();
    let text = format!("cat > {}; echo end > {}", kept(&target, "got"), kept(&target, "end"));
    let (_directory, mut feeder) = feeder(&text, &Arc::new(AtomicBool::new(true))).await;
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let sent = data.clone();
    let report = tokio::task::spawn_blocking(move || {
        feeder.write_all(&sent).unwrap();
        feeder.finish().unwrap()
    })
    .await
    .unwrap();
    assert!(report.clean() && report.bytes == 3_000_000);
    assert_eq!(report.tail, data[data.len() - 512..]);
    assert_eq!(std::fs::read(target.path().join("got")).unwrap(), data);
    assert!(target.path().join("end").exists());
}

#[tokio::test]
async fn a_feeder_that_lost_its_right_kills_the_child_before_its_input_ends() {
    let target = tempfile::tempdir().unwrap();
    let alive = Arc::new(AtomicBool::new(true));
    // The child does not read, so the feeder is stuck in a full pipe when the session is lost.
    let text = format!("sleep 1; cat > /dev/null; echo end > {}", kept(&target, "end"));
    let (_directory, mut feeder) = feeder(&text, &alive).await;
    let feeding = tokio::task::spawn_blocking(move || feeder.feed(&vec![0; 20_000_000]));
    alive.store(false, Ordering::Relaxed);
    let error = feeding.await.unwrap().unwrap_err();
    assert!(matches!(&error, FeedError::Lost { report } if report.exit == Some(ChildExit::Signal(9))), "{error:?}");
    assert!(!target.path().join("end").exists());
}

#[tokio::test]
async fn a_paused_feeder_writes_nothing_and_goes_on_with_the_same_child() {
    let target = tempfile::tempdir().unwrap();
    let got = kept(&target, "got");
    let (_directory, program) = script(&format!("cat > {got}; echo end >> {got}"));
    let (paused, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let pulse = {
        let (paused, asked) = (Arc::clone(&paused), Arc::clone(&asked));
        move || {
            let is_paused = paused.load(Ordering::SeqCst);
            asked.fetch_add(u32::from(is_paused), Ordering::SeqCst);
            if is_paused { Pulse::Paused } else { Pulse::Alive }
        }
    };
    let mut feeder = spawner().feed(program, pulse, &CancellationToken::new()).await.unwrap();
    feeder.feed(b"before ").unwrap();
    paused.store(true, Ordering::SeqCst);
    let feeding = tokio::task::spawn_blocking(move || {
        feeder.feed(b"after ").unwrap();
        feeder.finish().unwrap()
    });
    until("the feeder asks again and again", || asked.load(Ordering::SeqCst) > 5).await;
    assert_eq!(std::fs::read(&got).unwrap(), b"before ");
    paused.store(false, Ordering::SeqCst);
    let report = feeding.await.unwrap();
    assert!(report.clean() && !report.paused.is_zero() && report.bytes == 13, "{report:?}");
    assert_eq!(std::fs::read(&got).unwrap(), b"before after end\n");
}

#[tokio::test]
async fn a_dropped_feeder_kills_the_child_before_its_input_ends() {
    let target = tempfile::tempdir().unwrap();
    let text = format!("cat > /dev/null; echo end > {}", kept(&target, "end"));
    let (_directory, mut feeder) = feeder(&text, &Arc::new(AtomicBool::new(true))).await;
    tokio::task::spawn_blocking(move || {
        feeder.feed(b"half").unwrap();
        drop(feeder);
    })
    .await
    .unwrap();
    assert!(!target.path().join("end").exists());
}

#[tokio::test]
async fn a_child_that_ends_early_is_reported_with_its_exit_and_stderr() {
    let (_directory, mut feeder) =
        feeder("head -c 10 > /dev/null; echo no >&2; exit 1", &Arc::new(AtomicBool::new(true))).await;
    let error = tokio::task::spawn_blocking(move || feeder.feed(&vec![0; 20_000_000])).await.unwrap().unwrap_err();
    let report = error.report();
    assert_eq!((report.exit, report.stderr.text.as_str()), (Some(ChildExit::Code(1)), "no"));
}

#[tokio::test]
async fn a_run_with_limits_is_stopped_when_it_takes_too_long_or_says_too_much() {
    let cancel = CancellationToken::new();
    let limits = |timeout, silence| Capture {
        timeout: Duration::from_millis(timeout),
        silence: Duration::from_millis(silence),
        max_bytes: 1000,
    };
    let (_directory, slow) = script("while :; do echo; sleep 0.05; done");
    let error = capture(&spawner(), slow, limits(600, 20_000), &cancel).await.unwrap_err();
    assert!(matches!(error, CaptureError::TimedOut { .. }), "{error}");
    // A program that writes now and then may take longer than a silent one.
    let (_directory, dumb) = script("echo once; sleep 600");
    let error = capture(&spawner(), dumb, limits(20_000, 400), &cancel).await.unwrap_err();
    assert!(matches!(error, CaptureError::Silent { .. }), "{error}");
    let (_directory, slow) = script("for i in 1 2 3 4 5 6; do echo; sleep 0.2; done");
    assert_eq!(capture(&spawner(), slow, limits(20_000, 1000), &cancel).await.unwrap().stdout.len(), 6);
    let (_directory, loud) = script("cat /dev/zero");
    let limits = limits(20_000, 20_000);
    let error = capture(&spawner(), loud, limits, &cancel).await.unwrap_err();
    assert!(matches!(error, CaptureError::TooMuch { .. }), "{error}");
    let (_directory, mut asked) = script("cat; exit 7");
    asked.input = Input::Bytes(b"hello".to_vec());
    let captured = capture(&spawner(), asked, limits, &cancel).await.unwrap();
    assert_eq!((captured.exit, captured.stdout.as_slice()), (ChildExit::Code(7), b"hello".as_slice()));
}
