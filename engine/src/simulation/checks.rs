//! The invariants (I1 to I14 of the fault catalogue, as far as the core answers for them), checked at every effect.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lagan_schemas::fact::{Cause, Fact, FactKind, Holder, Requested};
use lagan_schemas::plan::Plan;
use lagan_schemas::session::{Author, Phase, Recorded, Session};
use uuid::Uuid;

use super::world::{FAILOVER, SimWorld, short};
use crate::waiting::lock_key;

/// Facts about sessions that must be remembered beyond the log.
#[derive(Default)]
pub struct History {
    /// Restores that have passed `restoring`, by whom.
    pub restores: BTreeMap<Uuid, Holder>,
    /// The snapshot that each backup succeeded with.
    pub succeeded: BTreeMap<Uuid, String>,
    /// LOCKS was lost: until then it was the fence of targets.
    pub locks_lost: bool,
    /// The server's clock was set, so its times are no order.
    pub clock_set: bool,
    /// Slots that were requested, by configuration.
    pub slots: BTreeSet<(Uuid, Timestamp)>,
}

/// Whether a session has its target to itself.
pub fn has_target(phase: Phase) -> bool {
    matches!(phase, Phase::Planned | Phase::Started | Phase::Restoring | Phase::Committing)
}

pub fn appended(world: &mut SimWorld, author: Author, before: &Session, after: &Session, recorded: &Recorded) {
    let Some(fact) = recorded.content.fact() else { return };
    let (uid, kind) = (before.key.uid, fact.kind());
    world.coverage.transition(before.course(), before.phase, author, kind);
    let about = || format!("{} of {} in {:?}", kind.as_str(), short(uid), before.phase);
    if before.phase.is_end() {
        world.violate(|| format!("{} follows its end", about()));
    }
    if after.illegal_facts > before.illegal_facts {
        world.violate(|| format!("{} is illegal", about()));
    }
    if kind != FactKind::Started && fact.holder().is_some() && fact.holder() != before.holder {
        world.violate(|| format!("{} is of a worker that does not hold it", about()));
    }
    if author == Author::Planner && after.phase.is_end() && before.phase.is_held() {
        ended_by_engine(world, before);
    }
    let retry_time = earliest_retry(before);
    match fact {
        Fact::Planned(_) if !world.history.clock_set && retry_time.is_some_and(|at| recorded.time < at) => {
            world.violate(|| format!("{} comes before the time of the retry", about()));
        }
        Fact::Requested(_) if world.ended_at_source.contains(&uid) => {
            world.violate(|| format!("{}: the source knows its end", about()));
        }
        Fact::Requested(_) if world.recorded_restores.contains(&uid) => {
            world.violate(|| format!("{}: the restore may have begun before", about()));
        }
        Fact::Requested(request) => requested(world, request),
        Fact::Planned(plan) => planned(world, uid, plan),
        Fact::Started(_) if world.history.restores.contains_key(&uid) => {
            world.violate(|| format!("{} runs a restore again", about()));
        }
        Fact::Restoring(fact) => {
            let first = *world.history.restores.entry(uid).or_insert(fact.holder);
            if first != fact.holder {
                world.violate(|| format!("{} is a second one", about()));
            }
        }
        Fact::Succeeded(succeeded) => {
            for result in &succeeded.results {
                let snapshot = result.snapshot.parse::<usize>().ok().and_then(|at| world.snapshots.get(at));
                if !snapshot.is_some_and(|snapshot| snapshot.session == uid && snapshot.is_sound) {
                    world.violate(|| format!("{} names a snapshot that is not its own or not sound", about()));
                }
                let named = world.history.succeeded.entry(uid).or_insert_with(|| result.snapshot.clone()).clone();
                if named != result.snapshot {
                    world.violate(|| format!("{} names a second snapshot", about()));
                }
            }
        }
        _ => {}
    }
}

fn requested(world: &mut SimWorld, request: &Requested) {
    let Cause::Slot { slot, .. } = &request.cause else { return };
    let configuration = request.invoker.uid.unwrap_or_default();
    if !world.history.slots.insert((configuration, *slot)) {
        world.violate(|| format!("the slot {slot} of {} has two sessions", request.invoker.name));
    }
}

/// The time of a retry, which the worker wrote by its own clock: at most the longest delay after that fact.
fn earliest_retry(session: &Session) -> Option<Timestamp> {
    let after = session.retry_after.filter(|_| session.phase == Phase::Retrying)?;
    let latest = session.last_time?.checked_add(jiff::SignedDuration::from_secs(60)).ok()?;
    Some(after.min(latest))
}

/// The engine ends only what no living worker holds.
fn ended_by_engine(world: &mut SimWorld, before: &Session) {
    let Some(holder) = before.holder else { return };
    let now = world.now;
    let is_old = |since: u64| now > since + 3 * FAILOVER;
    let has_run = world.running_since.get(&holder.worker).copied().is_some_and(is_old);
    let beat = world.beats.get(&(before.key.uid, holder.worker)).copied();
    if has_run && beat.is_some_and(|beat| now - beat < FAILOVER / 2) {
        world.violate(|| format!("the engine ends {}, which a living worker holds", short(before.key.uid)));
    }
}

fn planned(world: &mut SimWorld, uid: Uuid, plan: &Plan) {
    if world.history.restores.contains_key(&uid) {
        world.violate(|| format!("restore {} is planned after it began", short(uid)));
    }
    if world.history.locks_lost {
        return;
    }
    let key = lock_key(plan);
    let holder = world.locks.get(&key).and_then(|(_, holder)| holder.as_ref()).map(|holder| holder.owner.clone());
    if holder != Some(uid.to_string()) {
        world.violate(|| format!("{} is planned without the lock {key}", short(uid)));
    }
    let beside = world.log.sessions.values().find(|other| {
        let same = other.plan.as_deref().is_some_and(|other| lock_key(other) == key);
        same && other.key.uid != uid && has_target(other.phase)
    });
    if let Some(other) = beside.map(|other| other.key.uid) {
        world.violate(|| format!("{} and {} have the target {key} at the same time", short(uid), short(other)));
    }
}
