//! Sessions that are asked for, and the plans that they get: copies of one plan per kind that was made by the real planner
//! from manifests.

use std::sync::OnceLock;

use jiff::Timestamp;
use lagan_schemas::fact::{Cause, Requested, Urgency};
use lagan_schemas::plan::{Plan, RestoreMode, Work};
use lagan_schemas::position::Position;
use lagan_schemas::subject::{Lane, SessionKey, SessionKind};
use uuid::Uuid;

use super::world::SimWorld;
use crate::fixtures::story;
use crate::plan::tests::sample;

/// The answer to a session's request, as the objects in the cluster determine it.
#[derive(Debug, Clone)]
pub struct AskedPlan {
    pub kind: SessionKind,
    pub namespace: String,
    /// `<server>-<number>`: databases of one server have different numbers.
    pub target: String,
    pub invoker: String,
    pub mode: RestoreMode,
    pub retries: u32,
    /// Seconds after the request.
    pub deadline: Option<i64>,
    /// When the objects that it refers to exist, in milliseconds; `None` for never.
    pub complete_at: Option<u64>,
}

const NAMESPACES: [&str; 2] = ["demo", "prod"];
const TARGETS: [&str; 5] = ["a-1", "a-2", "b-1", "b-2", "c-1"];

impl AskedPlan {
    pub fn random(world: &mut SimWorld) -> Self {
        let now = world.now;
        let rng = &mut world.rng;
        let kind = if rng.u32(0..5) < 2 { SessionKind::Restore } else { SessionKind::Backup };
        let namespace = NAMESPACES[rng.usize(0..NAMESPACES.len())].to_owned();
        let target = TARGETS[rng.usize(0..TARGETS.len())].to_owned();
        let invoker = match kind {
            SessionKind::Backup if rng.bool() => format!("of-{target}"),
            _ => format!("c-{}", rng.u32(0..1000)),
        };
        let complete_at = match rng.u32(0..20) {
            0 => None,
            1 | 2 => Some(now + rng.u64(0..70_000)),
            _ => Some(0),
        };
        Self {
            kind,
            namespace,
            target,
            invoker,
            mode: if rng.bool() { RestoreMode::DryRun } else { RestoreMode::Write },
            retries: rng.u32(0..4),
            deadline: (rng.u32(0..5) == 0).then(|| rng.i64(5..600)),
            complete_at,
        }
    }

    pub fn plan(&self, uid: Uuid, urgency: Urgency, requested: Timestamp) -> Plan {
        let mut plan = base(self.kind).1.clone();
        plan.session_name = super::world::short(uid);
        plan.lane = if urgency == Urgency::Urgent { Lane::Urgent } else { Lane::Normal };
        plan.retry.max = self.retries;
        plan.deadline = self.deadline.map(|seconds| requested + jiff::SignedDuration::from_secs(seconds));
        let target = match &mut plan.work {
            Work::Backup(work) => &mut work.target,
            Work::Restore(work) => {
                work.mode = self.mode;
                work.object.uid = Some(uid);
                &mut work.target
            }
            Work::Wipe(_) => return plan,
        };
        target.reference.name.clone_from(&self.target);
        target.reference.namespace = Some(self.namespace.clone());
        self.target.split('-').next().unwrap().clone_into(&mut target.database.host);
        plan
    }

    pub fn key(&self, uid: Uuid) -> SessionKey {
        let base = &base(self.kind).0;
        SessionKey { namespace: self.namespace.clone(), invoker: self.invoker.clone(), uid, ..base.clone() }
    }

    pub fn request(&self, uid: Uuid, urgency: Urgency, resources_position: Position) -> Requested {
        let mut invoker = base(self.kind).1.invoker.clone();
        invoker.name.clone_from(&self.invoker);
        invoker.namespace = Some(self.namespace.clone());
        invoker.uid = Some(uid);
        let cause = match urgency {
            Urgency::Urgent => Cause::Object { object: invoker.clone() },
            Urgency::Normal => Cause::Slot { slot: Timestamp::UNIX_EPOCH, missed: 0 },
        };
        Requested { name: super::world::short(uid), invoker, cause, resources_position, priority: urgency }
    }
}

/// A session's key and a plan of this kind.
fn base(kind: SessionKind) -> &'static (SessionKey, Plan) {
    static BACKUP: OnceLock<(SessionKey, Plan)> = OnceLock::new();
    static RESTORE: OnceLock<(SessionKey, Plan)> = OnceLock::new();
    let of = if kind == SessionKind::Backup { &BACKUP } else { &RESTORE };
    of.get_or_init(|| (story(kind).end().key, sample(kind)))
}
