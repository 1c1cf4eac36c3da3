//! Looks for secrets where none may be: in files, and in argv and environment of processes.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use memchr::memmem::Finder;

use crate::proc;

/// Short enough to see the argv of a program that lives for some milliseconds.
const SAMPLE_EVERY: Duration = Duration::from_millis(2);

/// Secrets in all the spellings in which they could leak.
#[derive(Clone)]
pub struct Canaries {
    needles: Vec<(String, Finder<'static>)>,
}

impl Canaries {
    /// `role` names a secret in findings; the secret itself is not printed.
    #[must_use]
    pub fn new(secrets: &[(&str, &str)]) -> Self {
        let mut needles = Vec::new();
        for (role, secret) in secrets {
            for (form, text) in spellings(secret) {
                let finder = Finder::new(text.as_bytes()).into_owned();
                needles.push((format!("{role} ({form})"), finder));
            }
        }
        Self { needles }
    }

    /// What of the secrets is in these bytes.
    #[must_use]
    pub fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let needles = self.needles.iter();
        needles.filter(|(_, finder)| finder.find(bytes).is_some()).map(|(name, _)| name.as_str()).collect()
    }

    /// Every regular file below the folders (or the files themselves), as `secret in path`.
    pub fn found_below(&self, paths: &[&Path]) -> Result<Vec<String>> {
        let mut findings = Vec::new();
        let mut rest: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
        while let Some(path) = rest.pop() {
            let meta = match fs::symlink_metadata(&path) {
                Ok(meta) => meta,
                // Servers remove files while we look.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            if meta.is_dir() {
                for entry in fs::read_dir(&path)? {
                    rest.push(entry?.path());
                }
            } else if meta.is_file() {
                let Ok(bytes) = fs::read(&path) else { continue };
                let found = self.found_in(&bytes).into_iter();
                findings.extend(found.map(|name| format!("{name} in {}", path.display())));
            }
        }
        Ok(findings)
    }

    /// The same as an error; a mistyped path must not pass for a clean one.
    pub fn absent_below(&self, paths: &[&Path]) -> Result<()> {
        for path in paths {
            ensure!(path.exists(), "`{}` does not exist", path.display());
        }
        let findings = self.found_below(paths)?;
        ensure!(findings.is_empty(), "secrets leaked:\n{}", findings.join("\n"));
        Ok(())
    }

    /// Begins to read argv and environment of `pid` and its descendants.
    #[must_use]
    pub fn watch(&self, pid: u32) -> Watch {
        let shared = Arc::new(Shared::default());
        let (canaries, sampler) = (self.clone(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            while !sampler.stop.load(Ordering::Relaxed) {
                canaries.sample(pid.cast_signed(), &sampler);
                std::thread::sleep(SAMPLE_EVERY);
            }
        });
        Watch { shared, thread }
    }

    fn sample(&self, root: i32, shared: &Shared) {
        let mut sample = Report::default();
        for row in proc::descendants(root) {
            sample.programs.insert(row.name.clone());
            for file in ["cmdline", "environ"] {
                let Ok(bytes) = fs::read(format!("/proc/{}/{file}", row.pid)) else {
                    continue;
                };
                let found = self.found_in(&bytes).into_iter();
                let lines = found.map(|name| format!("{name} in {file} of {}", row.name));
                sample.findings.extend(lines);
            }
        }
        let mut report = shared.report();
        report.samples += 1;
        report.programs.extend(sample.programs);
        report.findings.extend(sample.findings);
    }
}

/// A running sampler.
pub struct Watch {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Watch {
    #[must_use]
    pub fn samples(&self) -> usize {
        self.shared.report().samples
    }

    /// Names of the processes seen so far.
    #[must_use]
    pub fn programs(&self) -> BTreeSet<String> {
        self.shared.report().programs.clone()
    }

    /// Ends the sampling. Look at `programs` too: a watch that saw no dump proves nothing.
    #[must_use]
    pub fn finish(self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.shared.report().clone()
    }
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    report: Mutex<Report>,
}

impl Shared {
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Report {
    pub samples: usize,
    /// Names of all processes seen.
    pub programs: BTreeSet<String>,
    pub findings: BTreeSet<String>,
}

fn spellings(secret: &str) -> Vec<(&'static str, String)> {
    let json = serde_json::json!(secret).to_string();
    let mut spellings = vec![
        ("plain", secret.to_owned()),
        ("URL-encoded", percent(secret, Hex::Upper)),
        ("url-encoded", percent(secret, Hex::Lower)),
        ("JSON", json.trim_matches('"').to_owned()),
    ];
    // Inside a longer text, base64 depends on where the secret begins, modulo three.
    for shift in 0..3_usize {
        let padded = [&b"\0\0"[..shift], secret.as_bytes()].concat();
        let text = STANDARD_NO_PAD.encode(&padded);
        // Neighbours change the first characters and the last.
        let start = [0, 2, 3][shift];
        let end = text.len() - usize::from(!padded.len().is_multiple_of(3));
        let core = text[start..end].to_owned();
        spellings.push(("base64url", core.replace('+', "-").replace('/', "_")));
        spellings.push(("base64", core));
    }
    spellings.dedup_by(|a, b| a.1 == b.1);
    spellings
}

#[derive(Clone, Copy)]
enum Hex {
    Upper,
    Lower,
}

fn percent(secret: &str, hex: Hex) -> String {
    let mut text = String::new();
    for byte in secret.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = match hex {
                Hex::Upper => write!(text, "%{byte:02X}"),
                Hex::Lower => write!(text, "%{byte:02x}"),
            };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    const SECRET: &str = "pass/word+1";

    #[test]
    fn a_secret_is_found_in_every_spelling_and_position() {
        let canaries = Canaries::new(&[("password", SECRET)]);
        for before in ["", "a", "ab", "abc"] {
            let document = format!("{before}{SECRET}tail");
            let spelled = [
                document.clone(),
                STANDARD.encode(&document),
                URL_SAFE.encode(&document),
                "x=pass%2Fword%2B1&y".to_owned(),
                "x=pass%2fword%2b1&y".to_owned(),
            ];
            for text in spelled {
                assert!(!canaries.found_in(text.as_bytes()).is_empty(), "{text}");
            }
        }
    }

    #[test]
    fn other_text_is_not_taken_for_a_secret() {
        let canaries = Canaries::new(&[("password", SECRET)]);
        let innocent = format!("past/word+1 {}", STANDARD.encode("past/word+1"));
        assert!(canaries.found_in(innocent.as_bytes()).is_empty());
    }
}
