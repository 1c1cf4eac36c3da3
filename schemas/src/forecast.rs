//! Whether scheduled backups fit: a queue computed from schedules, the times that backups took, and the number of sessions that may
//! use one thing at a time. It must not read a clock.

mod shared;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

pub use self::shared::{ForecastLimits, MAX_CONCURRENT_ANNOTATION, SharedThing, shared_things};
use crate::schedule::Schedule;

/// How far a forecast looks ahead: a week and its first day again, so that a weekly burst is seen whole.
pub const HORIZON: Duration = Duration::from_secs(8 * 24 * 3600);
/// Number of slots that one forecast looks at, or four times the number of configurations if that is more.
const SLOTS: usize = 20_000;
/// Names that a text lists.
const NAMED: usize = 3;

/// One configuration in a forecast.
#[derive(Debug, Clone)]
pub struct ForecastEntry {
    /// Namespace and name.
    pub name: String,
    pub schedule: Schedule,
    /// The time that its last backup took, from its start to its end.
    pub took: Duration,
    /// Time from the request after which a session ends.
    pub time_out: Option<Duration>,
    pub overlap: ForecastOverlap,
}

/// Whether a slot is skipped while the session of an earlier one has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForecastOverlap {
    Skips,
    Allowed,
}

/// The worst burst that is to come: sessions that are due while others use all that may be used at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    pub limit: u32,
    /// When the first of them is due.
    pub from: Timestamp,
    pub sessions: usize,
    pub shortest_seconds: u64,
    pub longest_seconds: u64,
    /// When the last of them begins, if none is ended before.
    pub last_begins: Timestamp,
    pub longest_wait_seconds: u64,
    /// The configurations whose sessions `timeOut` ends.
    pub timed_out: Vec<String>,
    /// The configurations with slots that are skipped, because an earlier session has not ended.
    pub skipped: Vec<String>,
}

impl Forecast {
    /// Whether every session of the burst runs to its end.
    #[must_use]
    pub const fn fits(&self) -> bool {
        self.timed_out.is_empty() && self.skipped.is_empty()
    }
}

impl Forecast {
    /// The same in words that hold for long: without dates, and with durations in whole minutes, rounded up.
    #[must_use]
    pub fn lasting_text(&self) -> String {
        let in_minutes = |seconds: u64| seconds.div_ceil(60) * 60;
        let took = took(in_minutes(self.shortest_seconds), in_minutes(self.longest_seconds));
        let mut text = format!("{} at the worst time, {took}, at most {} at a time", self.due(), self.limit);
        // A String takes everything.
        let _ = self.write_fates(&mut text);
        text
    }

    fn due(&self) -> String {
        match self.sessions {
            1 => "1 session is due".to_owned(),
            sessions => format!("{sessions} sessions are due"),
        }
    }

    fn write_fates(&self, f: &mut impl fmt::Write) -> fmt::Result {
        if !self.timed_out.is_empty() {
            write!(f, "; `timeOut` ends {} of them: {}", self.timed_out.len(), names(&self.timed_out))?;
        }
        if !self.skipped.is_empty() {
            let (number, names) = (self.skipped.len(), names(&self.skipped));
            write!(
                f,
                "; slots of {number} configurations are skipped, because the session before has not ended: {names}"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = took(self.shortest_seconds, self.longest_seconds);
        write!(f, "{} from {}, {took}, at most {} at a time: ", self.due(), minute(self.from), self.limit)?;
        write!(f, "the last one begins at {}", minute(self.last_begins))?;
        self.write_fates(f)
    }
}

fn took(shortest: u64, longest: u64) -> String {
    if shortest == longest {
        format!("each takes {}", words(longest))
    } else {
        format!("each takes {} to {}", words(shortest), words(longest))
    }
}

fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%MZ").to_string()
}

/// A duration in its two largest units.
fn words(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

fn names(all: &[String]) -> String {
    let more = if all.len() > NAMED { format!(" and {} more", all.len() - NAMED) } else { String::new() };
    all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ") + &more
}

/// Finds the worst burst among configurations that share one thing; `None` if no session ever has to wait for it. A limit of 0
/// means none.
#[must_use]
pub fn forecast(limit: u32, entries: &[ForecastEntry], now: Timestamp) -> Option<Forecast> {
    let places = usize::try_from(limit).ok().filter(|places| *places > 0)?;
    let until = now.checked_add(HORIZON).ok()?;
    let mut queue = Queue::new(places, entries, TimeOuts::Kept);
    let mut bursts = Bursts::default();
    for (entry, due) in Slots::new(entries, now, until) {
        bursts.add(queue.add(entry, due));
    }
    let burst = bursts.worst()?;
    let took = || burst.runs.iter().map(|run| entries[run.entry].took.as_secs());
    let names = |fate: Fate| -> Vec<String> {
        let with_fate = burst.runs.iter().filter(|run| run.fate == fate).map(|run| run.entry);
        with_fate.collect::<BTreeSet<usize>>().into_iter().map(|entry| entries[entry].name.clone()).collect()
    };
    Some(Forecast {
        limit,
        from: burst.runs.iter().map(|run| run.due).min()?,
        sessions: burst.runs.len(),
        shortest_seconds: took().min()?,
        longest_seconds: took().max()?,
        last_begins: last_begin(places, entries, &burst),
        longest_wait_seconds: burst.longest_wait(),
        timed_out: names(Fate::TimedOut),
        skipped: names(Fate::Skipped),
    })
}

/// When the last session of a burst begins if `timeOut` ends none.
fn last_begin(places: usize, entries: &[ForecastEntry], burst: &Burst) -> Timestamp {
    let mut queue = Queue::new(places, entries, TimeOuts::Ignored);
    let runs = burst.runs.iter().filter(|run| run.fate != Fate::Skipped);
    runs.map(|run| queue.add(run.entry, run.due).begins).max().unwrap_or(Timestamp::UNIX_EPOCH)
}

/// All slots of the configurations in the order in which they run, with the index of the configuration.
struct Slots<'a> {
    entries: &'a [ForecastEntry],
    next: BinaryHeap<Reverse<(Timestamp, usize, Timestamp)>>,
    until: Timestamp,
    left: usize,
}

impl<'a> Slots<'a> {
    fn new(entries: &'a [ForecastEntry], now: Timestamp, until: Timestamp) -> Self {
        let left = SLOTS.max(entries.len().saturating_mul(4));
        let mut slots = Self { entries, next: BinaryHeap::with_capacity(entries.len()), until, left };
        for entry in 0..entries.len() {
            slots.push(entry, now);
        }
        slots
    }

    fn push(&mut self, entry: usize, after: Timestamp) {
        let schedule = &self.entries[entry].schedule;
        if let Some(slot) = schedule.next_after(after) {
            self.next.push(Reverse((schedule.fires_at(slot), entry, slot)));
        }
    }
}

impl Iterator for Slots<'_> {
    type Item = (usize, Timestamp);

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((due, entry, slot)) = self.next.pop()?;
        self.left = self.left.checked_sub(1)?;
        if due > self.until {
            return None;
        }
        self.push(entry, slot);
        Some((entry, due))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeOuts {
    Kept,
    Ignored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Runs,
    TimedOut,
    Skipped,
}

/// A session of a forecast.
#[derive(Debug, Clone, Copy)]
struct ForecastRun {
    entry: usize,
    due: Timestamp,
    begins: Timestamp,
    fate: Fate,
}

/// Sessions that wait for one of several places, in the order of their arrival.
struct Queue<'a> {
    places: usize,
    entries: &'a [ForecastEntry],
    time_outs: TimeOuts,
    /// The ends of those that run.
    ends: BinaryHeap<Reverse<Timestamp>>,
    /// The end of the last session of each configuration.
    last_ends: Vec<Option<Timestamp>>,
}

impl<'a> Queue<'a> {
    fn new(places: usize, entries: &'a [ForecastEntry], time_outs: TimeOuts) -> Self {
        Self { places, entries, time_outs, ends: BinaryHeap::new(), last_ends: vec![None; entries.len()] }
    }

    fn add(&mut self, entry: usize, due: Timestamp) -> ForecastRun {
        let ForecastEntry { took, time_out, overlap, .. } = &self.entries[entry];
        let run = |begins, fate| ForecastRun { entry, due, begins, fate };
        if *overlap == ForecastOverlap::Skips && self.last_ends[entry].is_some_and(|end| end > due) {
            return run(due, Fate::Skipped);
        }
        let is_full = self.ends.len() >= self.places;
        let free = self.ends.peek().filter(|_| is_full).map_or(due, |Reverse(end)| *end);
        let begins = free.max(due);
        let deadline = time_out.filter(|_| self.time_outs == TimeOuts::Kept);
        let deadline = deadline.map_or(Timestamp::MAX, |time_out| later(due, time_out));
        if begins >= deadline {
            self.last_ends[entry] = Some(deadline);
            return run(deadline, Fate::TimedOut);
        }
        if is_full {
            self.ends.pop();
        }
        let end = later(begins, *took);
        self.ends.push(Reverse(end.min(deadline)));
        self.last_ends[entry] = Some(end.min(deadline));
        run(begins, if end > deadline { Fate::TimedOut } else { Fate::Runs })
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Sessions that are due while all places are taken, and those that have the places.
#[derive(Debug, Clone, Default)]
struct Burst {
    runs: Vec<ForecastRun>,
}

impl Burst {
    fn longest_wait(&self) -> u64 {
        let waits = self.runs.iter().map(|run| run.begins.duration_since(run.due).as_secs());
        waits.max().and_then(|wait| u64::try_from(wait).ok()).unwrap_or(0)
    }

    fn weight(&self) -> (usize, u64) {
        (self.runs.iter().filter(|run| run.fate != Fate::Runs).count(), self.longest_wait())
    }
}

#[derive(Default)]
struct Bursts {
    /// Sessions since the last moment at which one began without a wait and alone.
    recent: Vec<ForecastRun>,
    open: Option<Burst>,
    worst: Option<Burst>,
}

impl Bursts {
    fn add(&mut self, run: ForecastRun) {
        if run.begins > run.due || run.fate != Fate::Runs {
            let open = self.open.get_or_insert_with(|| Burst { runs: std::mem::take(&mut self.recent) });
            open.runs.push(run);
            return;
        }
        self.close();
        // Those that were due at the same moment and did not have to wait belong to a burst that follows.
        self.recent.retain(|recent| recent.due == run.due);
        self.recent.push(run);
    }

    fn close(&mut self) {
        let Some(burst) = self.open.take() else { return };
        if self.worst.as_ref().is_none_or(|worst| burst.weight() > worst.weight()) {
            self.worst = Some(burst);
        }
    }

    fn worst(mut self) -> Option<Burst> {
        self.close();
        self.worst
    }
}

#[cfg(test)]
mod tests;
