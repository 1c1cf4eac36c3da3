//! Every interleaving of one backup session: two workers, three attempts that dump, crashes and pauses at every
//! point, writes that land late, a cancellation. Facts are legal by `transition`, appends by compare-and-set.
//! A pause is nothing of its own: any other step may come before the worker's next one.

use std::collections::HashMap;

use crate::fact::FactKind as F;
use crate::session::{Author, Course, Phase, transition};

/// Attempts that may write; later ones only look for what is there, and end the session (P8, P10).
const DUMPS: u8 = 3;

/// The protocol, or the protocol without one of its rules, to show that the model would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    AsWritten,
    WithoutCompareAndSet,
    RemovingBeforeSucceeded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Idle,
    /// Looks for snapshots of its session (P10).
    Looking,
    Dumped,
    /// `committing` is in the log; the snapshot file is about to be sent.
    Gate,
    /// Waits for the write, then reads back.
    Sent,
    /// Has read back the snapshot of this attempt: its own, or one it adopts.
    Read(u8),
    /// Its `succeeded` names the snapshot of this attempt; the others may go (P11).
    Removing(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Worker {
    at: At,
    attempt: u8,
    /// The phase after its last append, which it holds its next fact against.
    view: Phase,
    /// Nothing but `cancel-requested` came since: the compare-and-set would pass (P1).
    current: bool,
}

const IDLE: Worker = Worker { at: At::Idle, attempt: 0, view: Phase::Nothing, current: false };

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Write {
    Absent,
    /// On its way to the storage; its sender may be paused or dead.
    InFlight,
    There,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    phase: Phase,
    attempts: u8,
    cancel: bool,
    ends: u8,
    /// What `succeeded` names.
    named: Option<u8>,
    /// One for each attempt.
    snapshots: [Write; DUMPS as usize],
    workers: [Worker; 2],
}

const START: State = State {
    phase: Phase::Nothing,
    attempts: 0,
    cancel: false,
    ends: 0,
    named: None,
    snapshots: [Write::Absent; DUMPS as usize],
    workers: [IDLE; 2],
};

impl State {
    /// Scheduler and planner read, decide and append at once: a decision on an old view is only refused.
    fn appended(mut self, author: Author, fact: F) -> Option<Self> {
        self.phase = transition(Course::Backup, self.phase, author, fact)?;
        self.ends += u8::from(self.phase.is_end());
        self.cancel |= fact == F::CancelRequested;
        for worker in &mut self.workers {
            worker.current &= fact == F::CancelRequested;
        }
        Some(self)
    }

    /// Worker `i` appends as the holder and goes on at `next`; one that is fenced stops at once.
    fn held(mut self, rules: Rules, i: usize, fact: F, next: At) -> Option<Self> {
        let worker = self.workers[i];
        if !worker.current && rules != Rules::WithoutCompareAndSet {
            self.workers[i] = IDLE;
            return Some(self);
        }
        let view = transition(Course::Backup, worker.view, Author::Holder, fact)?;
        self.ends += u8::from(view.is_end());
        self.phase = view;
        self.workers.iter_mut().for_each(|other| other.current = false);
        self.workers[i] = if next == At::Idle { IDLE } else { Worker { at: next, view, current: true, ..worker } };
        Some(self)
    }

    /// A worker is handed the session, or saw its holder dead, rightly or not.
    fn taken_over(self, i: usize) -> Option<Self> {
        let mut state = self.appended(Author::Successor, F::Started)?;
        state.attempts = (state.attempts + 1).min(DUMPS + 1);
        state.workers[i] = Worker { at: At::Looking, attempt: state.attempts, view: state.phase, current: true };
        Some(state)
    }

    fn at(mut self, i: usize, at: At) -> Self {
        self.workers[i].at = at;
        self
    }

    fn without_others(mut self, stays: u8) -> Self {
        for (attempt, snapshot) in (1..).zip(&mut self.snapshots) {
            if attempt != stays && *snapshot == Write::There {
                *snapshot = Write::Absent;
            }
        }
        self
    }

    fn there(&self, attempt: u8) -> bool {
        self.snapshots.get(usize::from(attempt).wrapping_sub(1)) == Some(&Write::There)
    }

    fn steps_of_worker(self, rules: Rules, i: usize, steps: &mut Vec<Self>) {
        let worker = self.workers[i];
        if worker.at == At::Idle {
            steps.extend(self.taken_over(i));
            return;
        }
        let mut crashed = self;
        crashed.workers[i] = IDLE;
        steps.push(crashed);
        if self.cancel {
            steps.extend(self.held(rules, i, F::Cancelled, At::Idle));
        }
        // A transient failure is tried again while tries are left; every other one ends the session.
        let transient = if worker.attempt < DUMPS { F::Retrying } else { F::Failed };
        match worker.at {
            At::Idle => {}
            At::Looking => {
                let found: Vec<u8> = (1..=DUMPS).filter(|attempt| self.there(*attempt)).collect();
                steps.extend(found.iter().map(|attempt| self.at(i, At::Read(*attempt))));
                if found.is_empty() {
                    steps.extend(self.held(rules, i, F::Failed, At::Idle));
                    if worker.attempt <= DUMPS {
                        steps.push(self.at(i, At::Dumped));
                        steps.extend(self.held(rules, i, transient, At::Idle));
                    }
                }
            }
            At::Dumped => steps.extend(self.held(rules, i, F::Committing, At::Gate)),
            At::Gate => {
                let mut sent = self.at(i, At::Sent);
                sent.snapshots[usize::from(worker.attempt) - 1] = Write::InFlight;
                steps.push(sent);
            }
            At::Sent => {
                steps.extend(self.there(worker.attempt).then(|| self.at(i, At::Read(worker.attempt))));
                steps.extend(self.held(rules, i, transient, At::Idle));
            }
            At::Read(attempt) => {
                if rules == Rules::RemovingBeforeSucceeded {
                    steps.push(self.without_others(attempt));
                }
                steps.extend(self.held(rules, i, F::Succeeded, At::Removing(attempt)).map(|mut state| {
                    if state.workers[i].at == At::Removing(attempt) {
                        state.named = Some(attempt);
                    }
                    state
                }));
            }
            At::Removing(attempt) => {
                let mut done = self.without_others(attempt);
                done.workers[i] = IDLE;
                steps.push(done);
            }
        }
    }

    fn steps(self, rules: Rules) -> Vec<Self> {
        let mut steps = Vec::new();
        steps.extend(self.appended(Author::Scheduler, F::Requested));
        steps.extend(self.appended(Author::Planner, F::Planned));
        steps.extend(self.appended(Author::Planner, F::Skipped));
        if self.cancel {
            // Without a live holder, and the planner may be wrong about that.
            steps.extend(self.appended(Author::Planner, F::Cancelled));
        } else {
            steps.extend(self.appended(Author::Planner, F::CancelRequested));
        }
        for i in 0..self.workers.len() {
            self.steps_of_worker(rules, i, &mut steps);
        }
        for (attempt, snapshot) in self.snapshots.iter().enumerate() {
            if *snapshot == Write::InFlight {
                let mut landed = self;
                landed.snapshots[attempt] = Write::There;
                steps.push(landed);
            }
        }
        steps
    }

    fn broken(&self) -> Option<&'static str> {
        match (self.phase, self.named) {
            _ if self.ends > 1 => Some("two ends"),
            _ if self.phase.is_end() != (self.ends == 1) => Some("an end that did not stay"),
            (Phase::Succeeded, Some(named)) if self.there(named) => None,
            (Phase::Succeeded, _) => Some("succeeded without its snapshot"),
            _ => None,
        }
    }
}

struct Explored {
    states: Vec<State>,
    /// From, to.
    steps: Vec<(usize, usize)>,
    broken: Option<(&'static str, State)>,
}

fn explore(rules: Rules) -> Explored {
    let mut numbers = HashMap::from([(START, 0)]);
    let mut explored = Explored { states: vec![START], steps: Vec::new(), broken: None };
    let mut from = 0;
    while let Some(state) = explored.states.get(from).copied() {
        if let Some(why) = state.broken() {
            explored.broken = Some((why, state));
            return explored;
        }
        for next in state.steps(rules) {
            let to = *numbers.entry(next).or_insert_with(|| {
                explored.states.push(next);
                explored.states.len() - 1
            });
            explored.steps.push((from, to));
        }
        from += 1;
    }
    explored
}

/// States from which no path leads to an end, leaving out paths on which somebody asks for a cancellation.
fn dead_ends(explored: &Explored) -> Vec<State> {
    let mut before = vec![Vec::new(); explored.states.len()];
    for (from, to) in &explored.steps {
        if explored.states[*from].cancel == explored.states[*to].cancel {
            before[*to].push(*from);
        }
    }
    let mut ends: Vec<bool> = explored.states.iter().map(|state| state.phase.is_end()).collect();
    let mut queue: Vec<usize> = (0..ends.len()).filter(|i| ends[*i]).collect();
    while let Some(to) = queue.pop() {
        for from in &before[to] {
            if !ends[*from] {
                ends[*from] = true;
                queue.push(*from);
            }
        }
    }
    explored.states.iter().zip(ends).filter(|(_, ends)| !ends).map(|(state, _)| *state).collect()
}

#[test]
fn no_interleaving_ends_twice_or_without_its_snapshot_or_never() {
    let explored = explore(Rules::AsWritten);
    assert_eq!(explored.broken, None);
    assert_eq!(dead_ends(&explored).first(), None);
    let seen = |what: fn(&State) -> bool| explored.states.iter().any(what);
    assert!(seen(|s| s.phase == Phase::Succeeded && s.named.is_some_and(|named| named < s.attempts)), "an adoption");
    assert!(
        seen(|s| s.phase == Phase::Succeeded && s.snapshots == [Write::There; 3]),
        "late writes beside the named one"
    );
    assert!(seen(|s| s.phase == Phase::Failed && s.snapshots.contains(&Write::InFlight)), "a write after the end");
    assert!(explored.states.len() > 10_000, "{} states", explored.states.len());
}

#[test]
fn without_compare_and_set_the_model_finds_two_ends() {
    assert!(matches!(explore(Rules::WithoutCompareAndSet).broken, Some(("two ends" | "an end that did not stay", _))));
}

#[test]
fn removing_before_succeeded_loses_the_snapshot_that_was_named() {
    assert!(matches!(explore(Rules::RemovingBeforeSucceeded).broken, Some(("succeeded without its snapshot", _))));
}
