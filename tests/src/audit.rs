//! One checker of what must hold after any fault. It reads the log of sessions from the server itself, the snapshots
//! through stock restic, and the statuses that Lagan shows, and compares the three.

mod log;
mod recorder;
mod rules;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use serde_json::Value;

pub use self::log::{LoggedFact, read_log};
pub use self::recorder::LogRecorder;
use crate::restic::Restic;

/// The longest text that a failure may show a person, in bytes.
pub const LONGEST_MESSAGE: usize = 4096;

/// Everything that is known when a test ends. `statuses` are objects as `lagan get -o json` prints them.
pub struct Evidence {
    pub facts: Vec<LoggedFact>,
    pub statuses: Vec<Value>,
    /// The snapshots of all repositories, as stock restic lists them.
    pub snapshots: Vec<Value>,
}

/// The number of sessions by their end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionEnds {
    pub ends: BTreeMap<String, usize>,
}

impl SessionEnds {
    #[must_use]
    pub fn of(&self, end: &str) -> usize {
        self.ends.get(end).copied().unwrap_or_default()
    }

    #[must_use]
    pub fn sessions(&self) -> usize {
        self.ends.values().sum()
    }
}

/// Lists all snapshots of a repository after it was read as a whole.
pub fn checked_snapshots(restic: &Restic) -> Result<Vec<Value>> {
    restic.check()?;
    restic.snapshots()
}

impl Evidence {
    /// Checks every rule. The error lists all that were broken, with the log of each session concerned.
    pub fn audit(&self) -> Result<SessionEnds> {
        let sessions = rules::by_session(&self.facts);
        let mut broken = Vec::new();
        let mut tally = SessionEnds::default();
        for (uid, facts) in &sessions {
            broken.extend(rules::of_log(uid, facts));
            broken.extend(rules::of_snapshots(uid, facts, &self.snapshots));
            broken.extend(rules::of_status(uid, facts, &self.statuses));
            if let Some(end) = rules::end(facts) {
                *tally.ends.entry(end.name.clone()).or_default() += 1;
            }
        }
        broken.extend(rules::of_slots(&sessions));
        broken.extend(rules::of_foreign_snapshots(&sessions, &self.snapshots));
        ensure!(broken.is_empty(), "{} rules are broken:\n{}", broken.len(), self.told(&broken));
        Ok(tally)
    }

    fn told(&self, broken: &[rules::BrokenRule]) -> String {
        let mut text = String::new();
        for one in broken {
            let _ = writeln!(text, "{}: {}", one.uid, one.what);
            for fact in self.facts.iter().filter(|fact| fact.uid == one.uid) {
                let _ = writeln!(text, "  {} {} {}", fact.sequence, fact.name, fact.event["data"]);
            }
        }
        text
    }
}
