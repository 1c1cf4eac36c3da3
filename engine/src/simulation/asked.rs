//! Sessions that are asked for, and the plans that they get: copies of one plan per kind that was made by the real planner
//! from manifests.

use std::sync::OnceLock;

use jiff::Timestamp;
use lagan_schemas::fact::{Requested, Urgency};
use lagan_schemas::manifest::{Manifest, parse};
use lagan_schemas::plan::{Plan, RestoreMode, Work};
use lagan_schemas::resource::{Object, Spec};
use lagan_schemas::subject::{Lane, SessionKind};
use uuid::Uuid;

use super::world::SimWorld;
use crate::plan::tests::sample;
use crate::scheduler::tests::configuration;

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
        let mut plan = base(self.kind).clone();
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

    /// The session of a slot: each configuration has a target of its own.
    pub fn of_slot(request: &Requested) -> Self {
        let number = request.invoker.name.bytes().last().map_or(0, usize::from);
        Self {
            kind: SessionKind::Backup,
            namespace: NAMESPACES[0].to_owned(),
            target: TARGETS[number % TARGETS.len()].to_owned(),
            invoker: request.invoker.name.clone(),
            mode: RestoreMode::Write,
            retries: 1,
            deadline: None,
            complete_at: Some(0),
        }
    }

    /// The object that asks for the session.
    pub fn object(&self, uid: Uuid, created: Timestamp) -> Object {
        static OBJECTS: OnceLock<(Object, Object)> = OnceLock::new();
        let (backup, restore) = OBJECTS.get_or_init(|| (parsed(BACKUP), parsed(RESTORE)));
        let mut object = if self.kind == SessionKind::Backup { backup.clone() } else { restore.clone() };
        object.metadata.name = format!("x-{uid}");
        object.metadata.namespace = Some(self.namespace.clone());
        (object.metadata.uid, object.metadata.creation_timestamp) = (Some(uid), Some(created));
        if let Spec::BackupSession(spec) = &mut object.spec {
            spec.invoker.name.clone_from(&self.invoker);
        }
        object
    }
}

const BACKUP: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: BackupSession
metadata: {name: x, namespace: demo}
spec: {invoker: {kind: BackupConfiguration, name: x}}
";
const RESTORE: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: RestoreSession
metadata: {name: x, namespace: demo}
spec: {repository: {name: r}, target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}}
";

fn parsed(text: &str) -> Object {
    match parse("f.yaml", text).remove(0) {
        Ok(Manifest::Object(object)) => *object,
        _ => panic!("not an object: {text}"),
    }
}

/// Configurations whose slots come every minute.
pub const CONFIGURATIONS: u128 = 3;

pub fn scheduled(number: u128, is_paused: bool) -> Object {
    static CONFIGURATION: OnceLock<Object> = OnceLock::new();
    let mut object = CONFIGURATION.get_or_init(|| configuration(0, "")).clone();
    object.metadata.name = format!("slots-{number}");
    (object.metadata.uid, object.metadata.generation) = (Some(Uuid::from_u128(500 + number)), i64::from(is_paused));
    if let Spec::BackupConfiguration(spec) = &mut object.spec {
        spec.paused = is_paused;
    }
    object
}

/// A plan of this kind.
fn base(kind: SessionKind) -> &'static Plan {
    static BACKUP: OnceLock<Plan> = OnceLock::new();
    static RESTORE: OnceLock<Plan> = OnceLock::new();
    let of = if kind == SessionKind::Backup { &BACKUP } else { &RESTORE };
    of.get_or_init(|| sample(kind))
}
