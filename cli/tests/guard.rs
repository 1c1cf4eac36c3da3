//! The guard between a worker and its programs, and the memory of the worker itself.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use lagan_workers::process::{Sandbox, is_sandbox_available};
use nix::sys::memfd::{MFdFlags, memfd_create};

const LAGAN: &str = env!("CARGO_BIN_EXE_lagan");

fn guarded(sandbox: Sandbox, program: &[&str]) -> Command {
    let mut command = Command::new(LAGAN);
    command.args(["guard-exec", &std::process::id().to_string(), sandbox.word(), "--"]).args(program);
    command
}

fn run(sandbox: Sandbox, program: &[&str]) -> Output {
    guarded(sandbox, program).output().unwrap()
}

fn landlock() {
    assert!(is_sandbox_available(), "this kernel has no Landlock, so nothing here proves that programs are confined");
}

#[test]
fn a_program_in_the_sandbox_reads_no_token_no_data_and_no_other_process() {
    landlock();
    let dir = tempfile::tempdir().unwrap();
    // As the token of a service account is mounted: readable for everybody in the container.
    let token = dir.path().join("var/run/secrets/token");
    fs::create_dir_all(token.parent().unwrap()).unwrap();
    fs::write(&token, "TOKEN-CANARY").unwrap();
    let environ = format!("/proc/{}/environ", std::process::id());
    for (program, secret) in [
        (vec!["/bin/cat", token.to_str().unwrap()], "TOKEN-CANARY"),
        (vec!["/bin/cat", &environ], "PATH="),
        (vec!["/bin/cat", "/etc/shadow"], "root"),
        (vec!["/bin/ls", dir.path().to_str().unwrap()], "var"),
    ] {
        let open = run(Sandbox::Off, &program);
        assert!(String::from_utf8_lossy(&open.stdout).contains(secret), "the test itself is wrong: {program:?}");
        for sandbox in [Sandbox::WhereAvailable, Sandbox::Required] {
            let confined = run(sandbox, &program);
            let said = String::from_utf8_lossy(&confined.stderr).into_owned();
            assert!(!confined.status.success() && said.contains("Permission denied"), "{program:?} {said}");
            assert!(!String::from_utf8_lossy(&confined.stdout).contains(secret), "{program:?}");
        }
    }
    let file = dir.path().join("written");
    assert!(!run(Sandbox::Required, &["/bin/sh", "-c", &format!("echo x > {}", file.display())]).status.success());
    assert!(!file.exists());
}

#[test]
fn a_program_in_the_sandbox_still_has_its_memory_files_its_pipes_and_the_system() {
    landlock();
    let memory = memfd_create(c"lagan", MFdFlags::empty()).unwrap();
    nix::unistd::write(&memory, b"password").unwrap();
    let number = memory.as_raw_fd();
    let script =
        format!("cat /proc/self/fd/{number} - && date > /dev/null && getent hosts localhost > /dev/null && echo whole");
    let mut child = guarded(Sandbox::Required, &["/bin/sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b" pipe\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "password pipe\nwhole\n");
}

#[test]
fn a_program_of_its_own_folder_runs() {
    landlock();
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("dump");
    fs::write(&script, "#!/bin/sh\ncat \"$(dirname \"$0\")/settings\"\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(dir.path().join("settings"), "its own").unwrap();
    assert_eq!(run(Sandbox::Required, &[script.to_str().unwrap()]).stdout, b"its own");
}

#[test]
fn a_guard_with_an_unknown_sandbox_starts_nothing() {
    let mut command = Command::new(LAGAN);
    command.args(["guard-exec", &std::process::id().to_string(), "--", "/bin/echo", "x"]);
    let output = command.output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(127), &b""[..]));
}

/// An unprivileged user, if the test may become it.
const NOBODY: u32 = 65534;

#[test]
fn the_memory_of_a_worker_is_for_nobody_else_and_leaves_no_core_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let lagan = dir.path().join("lagan");
    fs::copy(LAGAN, &lagan).unwrap();
    let is_root = nix::unistd::geteuid().is_root();
    let mut command = Command::new(&lagan);
    // Nothing listens there: the worker waits for its server.
    command.args(["worker", "--nats-url", "nats://127.0.0.1:9", "--manifests"]).arg(dir.path());
    command.arg("--data-dir").arg(dir.path().join("data")).stdout(Stdio::null()).stderr(Stdio::null());
    if is_root {
        command.uid(NOBODY);
    }
    let mut worker = command.spawn().unwrap();
    let proc = format!("/proc/{}", worker.id());
    let protected = eventually(|| {
        let limits = fs::read_to_string(format!("{proc}/limits")).unwrap_or_default();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default();
        let has_no_core = core.split_whitespace().filter(|word| *word == "0").count() == 2;
        // Files of a process that is not dumpable belong to root, whoever runs it.
        has_no_core && fs::metadata(Path::new(&proc).join("environ")).is_ok_and(|metadata| metadata.uid() == 0)
    });
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(protected);
}

fn eventually(condition: impl Fn() -> bool) -> bool {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(15) {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
