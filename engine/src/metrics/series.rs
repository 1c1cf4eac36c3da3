//! Lagan's own time series, counted from sessions and statuses. Their labels are namespaces, configurations,
//! repositories, results and codes, so their number is bounded by what people configure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lagan_schemas::error::Code;
use lagan_schemas::manifest;
use lagan_schemas::resource::backup_configuration::{BackupConfigurationSpec, BackupConfigurationStatus};
use lagan_schemas::resource::repository::RepositoryStatus;
use lagan_schemas::resource::{Kind, Object, ObjectRef, Spec, Status};
use lagan_schemas::schedule::Schedule;
use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::{ObjectKey, SessionKind};
use prometheus_client::metrics::histogram::Histogram;

/// Bounds of the buckets in seconds: from a second to half a day.
const DURATIONS: [f64; 12] = [1., 5., 15., 30., 60., 120., 300., 900., 1800., 3600., 14_400., 43_200.];
const WAITS: [f64; 9] = [0.1, 0.5, 1., 5., 15., 60., 300., 900., 3600.];
/// Number of slots in which the longest gap is looked for, such as Friday to Monday.
const GAPS: usize = 8;

/// The configuration or the repository that a series tells of. Two API groups may have one of the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SeriesOwner {
    pub group: String,
    pub namespace: String,
    /// As a session of `namespace` writes it.
    pub name: String,
}

#[derive(Debug, Default)]
pub(super) struct Series {
    /// By configuration.
    pub backups: BTreeMap<SeriesOwner, Runs>,
    /// By repository, because every restore has a name of its own.
    pub restores: BTreeMap<SeriesOwner, Runs>,
    pub schedules: BTreeMap<SeriesOwner, Slots>,
    pub repositories: BTreeMap<SeriesOwner, RepositoryStatus>,
    /// How far the clock of this machine is ahead of the server's.
    pub clock_skew: Option<SignedDuration>,
}

#[derive(Debug)]
pub(super) struct Runs {
    pub ended: BTreeMap<SessionEnd, u64>,
    pub duration: Histogram,
    pub wait: Histogram,
    pub last: Last,
    pub read_bytes: u64,
    pub added_bytes: u64,
    pub snapshot_size_bytes: Option<u64>,
}

impl Default for Runs {
    fn default() -> Self {
        Self {
            ended: BTreeMap::new(),
            duration: Histogram::new(DURATIONS),
            wait: Histogram::new(WAITS),
            last: Last::default(),
            read_bytes: 0,
            added_bytes: 0,
            snapshot_size_bytes: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionEnd {
    pub repository: String,
    pub result: &'static str,
    /// Empty for a success.
    pub code: &'static str,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Last {
    pub success: Option<Timestamp>,
    pub succeeded: Option<bool>,
}

#[derive(Debug)]
pub(super) struct Slots {
    /// When the configuration was first seen, for one without a creation timestamp.
    seen: Timestamp,
    pub interval_seconds: Option<i64>,
    /// The first slot after the last success. The backup is overdue from then on.
    pub due: Option<Timestamp>,
}

impl SeriesOwner {
    fn of(key: &ObjectKey) -> Self {
        let namespace = key.namespace.clone().unwrap_or_default();
        Self { group: key.group.clone(), namespace, name: key.name.clone() }
    }
}

impl Series {
    pub fn session_ended(&mut self, session: &Session) {
        let Some(result) = result(session.phase) else { return };
        let reference = repository_of(session);
        let repository = reference.map(|r| label(&session.key.namespace, r.namespace.as_deref(), &r.name));
        let repository = repository.unwrap_or_default();
        let namespace = session.key.namespace.clone();
        let runs = match session.key.kind {
            SessionKind::Backup => {
                let (group, name) = (session.key.group.clone(), session.key.invoker.clone());
                self.backups.entry(SeriesOwner { group, namespace, name }).or_default()
            }
            SessionKind::Restore => {
                let group = reference.map(|reference| reference.key().group).unwrap_or_default();
                self.restores.entry(SeriesOwner { group, namespace, name: repository.clone() }).or_default()
            }
            SessionKind::Maintenance => return,
        };
        let failure = session.last_failure.as_ref().filter(|_| session.phase != Phase::Succeeded);
        let code = failure.map_or("", |failure| Code::as_str(failure.code));
        *runs.ended.entry(SessionEnd { repository, result, code }).or_default() += 1;
        runs.take(session);
    }

    pub fn object_changed(&mut self, object: &Object, status: &Status, now: Timestamp) {
        let owner = SeriesOwner::of(&object.key());
        match (&object.spec, status) {
            (Spec::BackupConfiguration(spec), Status::BackupConfiguration(status)) => {
                self.configuration(owner, object, (spec, status), now);
            }
            (Spec::Repository(_), Status::Repository(status)) => {
                self.repositories.insert(owner, RepositoryStatus::clone(status));
            }
            _ => {}
        }
    }

    fn configuration(
        &mut self,
        owner: SeriesOwner,
        object: &Object,
        (spec, status): (&BackupConfigurationSpec, &BackupConfigurationStatus),
        now: Timestamp,
    ) {
        let last = &mut self.backups.entry(owner.clone()).or_default().last;
        last.success = status.last_success_time;
        // A skipped session does not say whether backups work.
        last.succeeded = match status.last_session.as_ref().map(|session| session.phase.as_str()) {
            Some("Succeeded") => Some(true),
            Some("Failed") => Some(false),
            _ => last.succeeded,
        };
        let success = last.success;
        let slots = self.schedules.entry(owner).or_insert(Slots { seen: now, interval_seconds: None, due: None });
        let schedule = manifest::schedule(spec, object.metadata.uid.unwrap_or_default()).ok();
        let schedule = schedule.filter(|_| !spec.paused);
        let since = success.or(object.metadata.creation_timestamp).unwrap_or(slots.seen);
        slots.due = schedule.as_ref().and_then(|s| Some(s.fires_at(s.next_after(since)?)));
        slots.interval_seconds = schedule.as_ref().and_then(|schedule| interval_seconds(schedule, now));
    }

    pub fn object_deleted(&mut self, key: &ObjectKey) {
        let owner = SeriesOwner::of(key);
        match key.kind {
            Kind::BackupConfiguration => {
                self.backups.remove(&owner);
                self.schedules.remove(&owner);
            }
            Kind::Repository => {
                self.restores.retain(|of, _| {
                    of.group != owner.group || of.name != label(&of.namespace, Some(&owner.namespace), &owner.name)
                });
                self.repositories.remove(&owner);
            }
            _ => {}
        }
    }
}

impl Runs {
    fn take(&mut self, session: &Session) {
        if let (Some(requested), Some(started)) = (session.first_time, session.started_time) {
            self.wait.observe(started.duration_since(requested).as_secs_f64().max(0.0));
        }
        if let (Some(started), Some(ended)) = (session.started_time, session.last_time) {
            self.duration.observe(ended.duration_since(started).as_secs_f64().max(0.0));
        }
        match session.phase {
            Phase::Succeeded => {
                self.last = Last { success: self.last.success.max(session.last_time), succeeded: Some(true) };
                let size = session.results.iter().map(|result| result.size_bytes).sum();
                self.read_bytes += size;
                self.added_bytes += session.results.iter().map(|result| result.added_bytes).sum::<u64>();
                self.snapshot_size_bytes = Some(size);
            }
            Phase::Failed | Phase::Cancelled => self.last.succeeded = Some(false),
            _ => {}
        }
    }
}

const fn result(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Succeeded => Some("succeeded"),
        Phase::Failed => Some("failed"),
        Phase::Cancelled => Some("cancelled"),
        Phase::Skipped => Some("skipped"),
        _ => None,
    }
}

fn repository_of(session: &Session) -> Option<&ObjectRef> {
    let planned = session.plan.as_ref().and_then(|plan| plan.repositories().next());
    planned.map(|planned| &planned.reference)
}

/// The name of a repository as a session of `namespace` writes it.
fn label(namespace: &str, of: Option<&str>, name: &str) -> String {
    match of.filter(|of| *of != namespace) {
        Some(of) => format!("{of}/{name}"),
        None => name.to_owned(),
    }
}

fn interval_seconds(schedule: &Schedule, now: Timestamp) -> Option<i64> {
    let slots: Vec<Timestamp> =
        std::iter::successors(schedule.next_after(now), |slot| schedule.next_after(*slot)).take(GAPS + 1).collect();
    slots.windows(2).map(|pair| pair[1].as_second() - pair[0].as_second()).max()
}
