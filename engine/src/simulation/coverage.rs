//! Counts of everything that happened, so that a run that never met a transition or a fault is no proof.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lagan_schemas::fact::FactKind;
use lagan_schemas::session::{Author, Course, Phase, transition};

/// Every fault that the driver knows.
pub const FAULTS: [&str; 16] = [
    "request lost",
    "answer lost",
    "lost race",
    "engine crashed",
    "worker crashed",
    "worker suspended",
    "all workers away",
    "worker drained",
    "message doubled",
    "log read again",
    "server clock set",
    "locks lost",
    "heartbeat missed",
    "garbage written",
    "objects made anew",
    "facts expired",
];

const COURSES: [Course; 3] = [Course::Backup, Course::Restore, Course::DryRun];
const PHASES: [Phase; 7] = [
    Phase::Nothing,
    Phase::Requested,
    Phase::Planned,
    Phase::Started,
    Phase::Restoring,
    Phase::Committing,
    Phase::Retrying,
];
const AUTHORS: [Author; 4] = [Author::Scheduler, Author::Planner, Author::Holder, Author::Successor];

#[derive(Debug, Clone, Default)]
pub struct Coverage {
    transitions: BTreeMap<String, u64>,
    faults: BTreeMap<&'static str, u64>,
    pub sessions: u64,
    pub steps: u64,
}

fn name(course: Course, phase: Phase, author: Author, fact: FactKind) -> String {
    format!("{course:?} {phase:?} -{author:?}-> {}", fact.as_str())
}

impl Coverage {
    pub fn transition(&mut self, course: Course, phase: Phase, author: Author, fact: FactKind) {
        *self.transitions.entry(name(course, phase, author, fact)).or_default() += 1;
    }

    pub fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.transitions {
            *self.transitions.entry(name.clone()).or_default() += count;
        }
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        self.sessions += other.sessions;
        self.steps += other.steps;
    }

    /// Legal transitions and kinds of faults that never happened.
    pub fn missing(&self) -> Vec<String> {
        let mut wanted: BTreeSet<String> = FAULTS.into_iter().map(str::to_owned).collect();
        for course in COURSES {
            for phase in PHASES {
                for author in AUTHORS {
                    let legal =
                        FactKind::ALL.into_iter().filter(|fact| transition(course, phase, author, *fact).is_some());
                    wanted.extend(
                        legal.filter(|fact| is_met(course, phase, *fact)).map(|fact| name(course, phase, author, fact)),
                    );
                }
            }
        }
        wanted.retain(|name| !self.transitions.contains_key(name) && !self.faults.contains_key(name.as_str()));
        wanted.into_iter().collect()
    }
}

/// Whether a session of the course can be in the phase: the table says no more than what each fact needs. A restore is known as a
/// dry run only from its plan.
fn is_met(course: Course, phase: Phase, fact: FactKind) -> bool {
    // Only backups have others of their configuration in the way.
    if course != Course::Backup && fact == FactKind::Skipped {
        return false;
    }
    match course {
        Course::Backup | Course::Maintenance => phase != Phase::Restoring,
        Course::Restore => phase != Phase::Committing,
        Course::DryRun => matches!(phase, Phase::Planned | Phase::Started | Phase::Retrying),
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sessions, {} steps, faults {:?}", self.sessions, self.steps, self.faults)
    }
}
