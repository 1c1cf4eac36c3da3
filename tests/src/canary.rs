//! Searches for leaked secrets: in files, and in argv and environment of processes.

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

    /// Lists the secrets that these bytes contain.
    #[must_use]
    pub fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let needles = self.needles.iter();
        needles.filter(|(_, finder)| finder.find(bytes).is_some()).map(|(name, _)| name.as_str()).collect()
    }

    /// Searches every regular file below the paths; lists findings as `secret in path`.
    pub fn found_below(&self, paths: &[&Path]) -> Result<Vec<String>> {
        let mut findings = Vec::new();
        let mut rest: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
        while let Some(path) = rest.pop() {
            let meta = match fs::symlink_metadata(&path) {
                Ok(meta) => meta,
                // Servers remove files during the search.
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

    /// Fails if a file below the paths contains a secret, or if a path does not exist.
    pub fn absent_below(&self, paths: &[&Path]) -> Result<()> {
        for path in paths {
            ensure!(path.exists(), "`{}` does not exist", path.display());
        }
        let findings = self.found_below(paths)?;
        ensure!(findings.is_empty(), "secrets leaked:\n{}", findings.join("\n"));
        Ok(())
    }

    /// Starts to read argv and environment of `pid` and its descendants at short intervals.
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
        match proc::descendants(root) {
            Ok(rows) => rows.iter().for_each(|row| self.look_into(row, &mut sample)),
            Err(error) => drop(sample.unreadable.insert(format!("/proc: {error}"))),
        }
        let mut report = shared.report();
        report.samples += 1;
        report.programs.extend(sample.programs);
        report.findings.extend(sample.findings);
        report.unreadable.extend(sample.unreadable);
    }

    fn look_into(&self, row: &proc::Row, sample: &mut Report) {
        sample.programs.insert(row.name.clone());
        for file in ["cmdline", "environ"] {
            match proc::read(row.pid, file) {
                Ok(bytes) => {
                    let bytes = bytes.unwrap_or_default();
                    let found = self.found_in(&bytes).into_iter();
                    sample.findings.extend(found.map(|name| format!("{name} in {file} of {}", row.name)));
                }
                Err(error) => drop(sample.unreadable.insert(format!("{file} of {}: {error}", row.name))),
            }
        }
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

    /// Ends the sampling. A process that could not be read is an error: nothing is known of its secrets. Check `programs`
    /// too, because a watch that saw no dump proves nothing.
    pub fn finish(self) -> Result<Report> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.shared.report().clone().complete()
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
    /// Files of processes that could not be read, and why.
    pub unreadable: BTreeSet<String>,
}

impl Report {
    fn complete(self) -> Result<Self> {
        ensure!(self.samples > 0, "no process was looked at");
        ensure!(
            self.unreadable.is_empty(),
            "processes can't be searched for secrets; run the tests as root: {:?}",
            self.unreadable
        );
        Ok(self)
    }
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
    fn a_watch_that_could_not_look_is_no_proof() {
        let looked = Report { samples: 1, ..Report::default() };
        assert!(looked.clone().complete().is_ok());
        assert!(Report::default().complete().is_err());
        let unreadable = BTreeSet::from(["environ of lagan: Permission denied".to_owned()]);
        let told = Report { unreadable, ..looked }.complete().expect_err("a file was not read").to_string();
        assert!(told.contains("environ of lagan"), "{told}");
    }

    #[test]
    fn other_text_is_not_taken_for_a_secret() {
        let canaries = Canaries::new(&[("password", SECRET)]);
        let innocent = format!("past/word+1 {}", STANDARD.encode("past/word+1"));
        assert!(canaries.found_in(innocent.as_bytes()).is_empty());
    }
}
