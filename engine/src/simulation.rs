//! A deterministic simulation of the engine's decisions: the real views, waiting rooms, steps of planners, slots and answers of
//! schedulers, sweep and cancel requests run over a model of JetStream, of the source of intent and of workers. One seed decides
//! the order of everything, and which faults occur. The invariants of `checks` hold after every step.
//!
//! `just simulate N` runs N seeds; `LAGAN_SEED=S` runs one and prints what happened.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod asked;
mod checks;
mod coverage;
mod driver;
mod engine;
mod faults;
mod outside;
mod worker;
mod world;

use self::coverage::Coverage;
use self::driver::SimDriver;

/// Seeds of a plain test run, which meet every transition and every fault. `just simulate` runs more.
const SEEDS: u64 = 1000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs one seed. A violation is printed with everything that led to it.
fn run(seed: u64, coverage: &mut Coverage) -> Result<(), String> {
    // A broken assumption of the code itself is a violation too.
    let ran = std::panic::catch_unwind(|| {
        let mut driver = SimDriver::new(seed, false);
        let result = driver.run();
        (driver.coverage(), result)
    });
    let (met, result) = ran.unwrap_or_else(|_| (Coverage::default(), Err("a panic, see above".to_owned())));
    coverage.add(&met);
    if result.as_ref().is_err_and(|why| why.starts_with("a panic")) {
        return Err(format!("seed {seed}: {}", result.unwrap_err()));
    }
    result.map_err(|violation| {
        let mut again = SimDriver::new(seed, true);
        let repeated = again.run().err().unwrap_or_else(|| "nothing: the seed is not deterministic".to_owned());
        let trace = again.trace();
        let shown = trace.len().saturating_sub(number("LAGAN_TRACE").map_or(80, |lines| usize::try_from(lines).unwrap()));
        let story = trace[shown..].join("\n");
        format!("{story}\nseed {seed}: {violation}\nits repetition: {repeated}\nreplay: LAGAN_SEED={seed} LAGAN_TRACE=9999 just simulate 1")
    })
}

#[test]
fn whatever_happens_every_session_ends_once_and_the_invariants_hold() {
    let first = number("LAGAN_SEED");
    let seeds = if first.is_some() { 1 } else { number("LAGAN_SEEDS").unwrap_or(SEEDS) };
    let first = first.unwrap_or_else(|| number("LAGAN_FIRST_SEED").unwrap_or(0));
    let workers = u64::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    let results: Vec<(Coverage, Option<String>)> = std::thread::scope(|scope| {
        let run_share = |share: u64| {
            let mut coverage = Coverage::default();
            let failed = (first..first + seeds).filter(|seed| seed % workers == share);
            let failed = failed.into_iter().find_map(|seed| run(seed, &mut coverage).err());
            (coverage, failed)
        };
        let threads: Vec<_> = (0..workers).map(|share| scope.spawn(move || run_share(share))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut coverage = Coverage::default();
    for (part, failed) in results {
        coverage.add(&part);
        assert!(failed.is_none(), "{}", failed.unwrap_or_default());
    }
    println!("{seeds} seeds: {coverage}");
    if seeds >= SEEDS {
        let missing = coverage.missing();
        assert!(missing.is_empty(), "never happened in {seeds} seeds: {missing:?}");
    }
}

#[test]
fn a_seed_is_the_same_story_each_time() {
    for seed in 0..5 {
        let trace = || {
            let mut driver = SimDriver::new(seed, true);
            let _ = driver.run();
            driver.trace()
        };
        let (first, second) = (trace(), trace());
        let differs = first.iter().zip(&second).position(|(first, second)| first != second);
        assert_eq!(differs.map(|at| (&first[at], &second[at])), None, "seed {seed}");
        assert_eq!(first.len(), second.len());
    }
}

#[cfg(feature = "mutants")]
#[test]
fn every_mutant_is_caught_by_a_seed() {
    use crate::mutants::{ALL, choose};

    let seeds = number("LAGAN_SEEDS").unwrap_or(2000);
    let only = std::env::var("LAGAN_MUTANT").ok();
    let mut survivors = Vec::new();
    for (name, defect) in ALL.into_iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        choose(Some(name));
        let run = |seed| {
            // A mutant may also break an assumption of the code itself.
            let run = std::panic::catch_unwind(|| SimDriver::new(seed, false).run());
            run.unwrap_or_else(|_| Err("a panic".to_owned())).err().map(|why| (seed, why))
        };
        let caught = (0..seeds).find_map(run);
        match caught {
            Some((seed, why)) => println!("{name} ({defect}): seed {seed}: {why}"),
            None => survivors.push(name),
        }
    }
    choose(None);
    assert!(survivors.is_empty(), "{seeds} seeds do not catch {survivors:?}");
}
