//! The status of a BackupConfiguration: the phase by Stash's rule, the conditions with Stash's reasons.

use jiff::{SignedDuration, Timestamp};
use lagan_schemas::consent::CrossNamespace;
use lagan_schemas::manifest;
use lagan_schemas::resource::backup_configuration::{
    BackupConfigurationSpec, BackupConfigurationStatus, ConfigurationPhase, TargetRef,
};
use lagan_schemas::resource::condition::{Condition, ConditionStatus};
use lagan_schemas::resource::fields::FIELD_IGNORED;
use lagan_schemas::resource::{Group, Kind, Object, Spec};
use lagan_schemas::schedule::{Schedule, ScheduleError};

use super::conditions::Conditions;
use crate::clock::{ALLOWANCE, is_ahead, is_fault};
use crate::plan::answers::{Answers, Existence};
use crate::plan::{consent, find, ignored, manifests, task};
use crate::view::{Lookup, View};

/// Everything that the status depends on, except the old status.
pub(crate) struct ConfigurationInputs<'a> {
    pub object: &'a Object,
    pub spec: &'a BackupConfigurationSpec,
    pub view: &'a View,
    pub answers: &'a Answers,
    pub cross_namespace: CrossNamespace,
    pub now: Timestamp,
    /// How far the clock of this machine is ahead of the server's.
    pub skew: SignedDuration,
    /// Why its scheduled backups will not fit.
    pub forecast: Option<String>,
}

pub(crate) fn status(inputs: &ConfigurationInputs<'_>, old: BackupConfigurationStatus) -> BackupConfigurationStatus {
    let generation = inputs.object.metadata.generation;
    let mut conditions = Conditions::new(old.conditions, generation, inputs.now);
    let schedule = manifest::schedule(inputs.spec, inputs.object.metadata.uid.unwrap_or_default());
    let checks = [
        validation(inputs, schedule.as_ref().err()),
        repository(inputs),
        backend_secret(inputs),
        target(inputs),
        usage(inputs),
        cron_job(schedule.as_ref().err()),
    ];
    let phase = phase(&checks);
    for check in checks.into_iter().chain([ready(phase)]) {
        conditions.set(check.kind, check.status, check.reason, check.message);
    }
    conditions.set_unread(manifests::of_invoker(inputs.view, inputs.object));
    conditions.set_while(FIELD_IGNORED, ignored::REASON, ignored::of_invoker(inputs.view, inputs.object));
    conditions.set_while(CLOCK_SKEW, "ClocksDiffer", clock_skew(inputs.skew));
    conditions.set_while(MARK_AHEAD, "ClockWasAhead", mark_ahead(old.last_slot_time, inputs.now));
    conditions.set_while(OVERLOADED, "LimitsTooSmall", inputs.forecast.clone());
    let next = schedule.ok().filter(|_| !inputs.spec.paused).and_then(|schedule| next_start(&schedule, inputs.now));
    BackupConfigurationStatus {
        observed_generation: generation,
        phase: Some(phase),
        next_slot_time: next,
        last_success_time: old.last_success_time,
        last_slot_time: old.last_slot_time,
        last_session: old.last_session,
        conditions: conditions.into_list(),
    }
}

/// A condition before it is put into the list.
struct Check {
    kind: &'static str,
    status: ConditionStatus,
    reason: &'static str,
    message: String,
}

/// Conditions that warn of a wrong clock, each only there while it holds. An Event tells of each when it appears.
pub(crate) const CLOCK_SKEW: &str = "ClockSkew";
pub(crate) const MARK_AHEAD: &str = "ScheduleMarkAhead";
/// The condition that scheduled backups will not fit, by the durations of the last ones and the limits.
pub(crate) const OVERLOADED: &str = "ScheduleOverloaded";
const VALIDATION: &str = "ValidationPassed";
const REPOSITORY: &str = "RepositoryFound";
const SECRET: &str = "BackendSecretFound";
const TARGET: &str = "BackupTargetFound";
const USAGE: &str = "UsageAllowed";
const CRON_JOB: &str = "CronJobCreated";

/// Stash's rule: a missing repository or Secret comes before an invalid spec, and the target does not count. A missing
/// consent counts like a missing repository.
fn phase(checks: &[Check]) -> ConfigurationPhase {
    let holds = |kind: &str| checks.iter().any(|check| check.kind == kind && check.status == ConditionStatus::True);
    if !holds(REPOSITORY) || !holds(SECRET) || !holds(USAGE) {
        ConfigurationPhase::NotReady
    } else if !holds(VALIDATION) {
        ConfigurationPhase::Invalid
    } else if holds(CRON_JOB) {
        ConfigurationPhase::Ready
    } else {
        ConfigurationPhase::NotReady
    }
}

fn validation(inputs: &ConfigurationInputs<'_>, schedule: Option<&ScheduleError>) -> Check {
    let problem = schedule.map(ToString::to_string).or_else(|| task_problem(inputs));
    match problem {
        None => Check {
            kind: VALIDATION,
            status: ConditionStatus::True,
            reason: "ResourceValidationPassed",
            message: "the object is valid".to_owned(),
        },
        Some(problem) => Check {
            kind: VALIDATION,
            status: ConditionStatus::False,
            reason: "ResourceValidationFailed",
            message: problem,
        },
    }
}

/// The problem with the Task that the AppBinding of the target leads to.
fn task_problem(inputs: &ConfigurationInputs<'_>) -> Option<String> {
    let binding = look_up_target(inputs).object()?;
    let Spec::AppBinding(spec) = &binding.spec else { return None };
    let binding = find::FoundObject { object: binding, spec: spec.as_ref() };
    let given = task::TaskContext { invoker: inputs.object, task: inputs.spec.task.as_ref(), binding };
    task::problem(inputs.view, given, task::Direction::Backup)
}

fn repository_namespace<'a>(inputs: &ConfigurationInputs<'a>) -> &'a str {
    let own = inputs.object.metadata.namespace.as_deref().unwrap_or_default();
    inputs.spec.repository.namespace.as_deref().unwrap_or(own)
}

fn look_up_repository<'a>(inputs: &ConfigurationInputs<'a>) -> Lookup<'a> {
    let namespace = repository_namespace(inputs);
    inputs.view.look_up(Kind::Repository, inputs.object.group(), Some(namespace), &inputs.spec.repository.name)
}

fn repository(inputs: &ConfigurationInputs<'_>) -> Check {
    let path = format!("{}/{}", repository_namespace(inputs), inputs.spec.repository.name);
    let found = look_up_repository(inputs);
    let reason = if found.object().is_some() { "RepositoryAvailable" } else { "RepositoryNotAvailable" };
    presence(REPOSITORY, reason, &found, &format!("Repository {path}"))
}

fn target_reference<'a>(inputs: &ConfigurationInputs<'a>) -> Option<&'a TargetRef> {
    inputs.spec.target.as_ref().and_then(|target| target.reference.as_ref())
}

fn look_up_target<'a>(inputs: &ConfigurationInputs<'a>) -> Lookup<'a> {
    let Some(target) = target_reference(inputs) else { return Lookup::Absent };
    let own = inputs.object.metadata.namespace.as_deref().unwrap_or_default();
    let namespace = target.namespace.as_deref().unwrap_or(own);
    inputs.view.look_up(Kind::AppBinding, Group::AppCatalog, Some(namespace), &target.name)
}

fn target(inputs: &ConfigurationInputs<'_>) -> Check {
    let name = target_reference(inputs).map_or("?", |target| target.name.as_str());
    let found = look_up_target(inputs);
    let reason = if found.object().is_some() { "TargetAvailable" } else { "TargetNotAvailable" };
    presence(TARGET, reason, &found, &format!("AppBinding {name}"))
}

/// Says of an object that another one names whether it is there and can be used.
fn presence(kind: &'static str, reason: &'static str, found: &Lookup<'_>, name: &str) -> Check {
    let (status, message) = match found {
        Lookup::Valid(_) => (ConditionStatus::True, format!("{name} exists")),
        Lookup::Invalid(refused) => (ConditionStatus::False, format!("{name} is invalid: {}", refused.problem)),
        Lookup::Absent => (ConditionStatus::False, format!("{name} does not exist")),
    };
    Check { kind, status, reason, message }
}

/// Whether the objects of other namespaces that the configuration names consent.
fn usage(inputs: &ConfigurationInputs<'_>) -> Check {
    let judged = consent::of_configuration((inputs.object, inputs.spec), inputs.view, inputs.answers);
    if judged.is_err() {
        // Labels of namespaces and annotations of Services are not watched.
        inputs.answers.look_again();
    }
    let (status, reason, message) = match (judged, inputs.cross_namespace) {
        (Ok(()), _) => {
            (ConditionStatus::True, "UsageAllowed", "every object that the configuration names may be used".to_owned())
        }
        (Err(refusal), CrossNamespace::Allowed) => {
            let message = format!("--allow-cross-namespace allows what is refused without it: {refusal}");
            (ConditionStatus::True, "AllowedByAdministrator", message)
        }
        (Err(refusal), CrossNamespace::NeedsConsent) => {
            (ConditionStatus::False, "UsageNotAllowed", refusal.to_string())
        }
    };
    Check { kind: USAGE, status, reason, message }
}

fn backend_secret(inputs: &ConfigurationInputs<'_>) -> Check {
    let secret = match look_up_repository(inputs).object().map(|object| &object.spec) {
        Some(Spec::Repository(spec)) => spec.backend.storage_secret_name.clone(),
        _ => None,
    };
    let namespace = repository_namespace(inputs);
    let found = secret.as_deref().map_or(Existence::No, |secret| inputs.answers.secret(namespace, secret));
    let name = secret.unwrap_or_else(|| "of the Repository".to_owned());
    let (status, reason, says) = match found {
        Existence::Yes => (ConditionStatus::True, "BackendSecretAvailable", "exists"),
        Existence::No => (ConditionStatus::False, "BackendSecretNotAvailable", "does not exist"),
        Existence::Unknown => {
            (ConditionStatus::Unknown, "UnableToCheckBackendSecretAvailability", "can't be looked up at the moment")
        }
    };
    Check { kind: SECRET, status, reason, message: format!("Secret {name} {says}") }
}

/// Stash's name for an armed schedule. Lagan creates no CronJob.
fn cron_job(problem: Option<&ScheduleError>) -> Check {
    match problem {
        None => Check {
            kind: CRON_JOB,
            status: ConditionStatus::True,
            reason: "CronJobCreationSucceeded",
            message: "the schedule is armed in the scheduler; no CronJob is needed".to_owned(),
        },
        Some(_) => Check {
            kind: CRON_JOB,
            status: ConditionStatus::False,
            reason: "CronJobCreationFailed",
            message: "the schedule is not valid".to_owned(),
        },
    }
}

/// The text is the same for every difference, so that a status is not written for each measurement.
fn clock_skew(skew: SignedDuration) -> Option<String> {
    is_fault(skew).then(|| {
        let limit = ALLOWANCE.as_secs();
        format!(
            "the clock of the engine's machine and that of the NATS server differ by more than {limit} s; schedules follow \
             the server's clock: set both right"
        )
    })
}

fn mark_ahead(mark: Option<Timestamp>, now: Timestamp) -> Option<String> {
    mark.filter(|mark| is_ahead(*mark, now)).map(|mark| {
        format!(
            "slot {mark}, which lies in the future, was decided while a clock was wrong; the schedule goes on, and this \
             slot does not run again"
        )
    })
}

/// Whether a condition about clocks is missing or no longer holds.
pub(crate) fn clocks_need_a_look(status: &BackupConfigurationStatus, now: Timestamp, skew: SignedDuration) -> bool {
    let shows = |kind: &str| status.conditions.iter().any(|condition| condition.kind == kind);
    shows(CLOCK_SKEW) != clock_skew(skew).is_some()
        || shows(MARK_AHEAD) != mark_ahead(status.last_slot_time, now).is_some()
}

/// Conditions that are new in `new` and that a person must be told of.
pub(crate) fn warnings<'a>(
    old: &'a [Condition],
    new: &'a BackupConfigurationStatus,
) -> impl Iterator<Item = &'a Condition> {
    let is_new = |kind: &str| !old.iter().any(|condition| condition.kind == kind);
    new.conditions
        .iter()
        .filter(move |c| [CLOCK_SKEW, MARK_AHEAD, OVERLOADED].contains(&c.kind.as_str()) && is_new(&c.kind))
}

fn ready(phase: ConfigurationPhase) -> Check {
    let (status, reason) = match phase {
        ConfigurationPhase::Ready => (ConditionStatus::True, "Ready"),
        ConfigurationPhase::NotReady => (ConditionStatus::False, "NotReady"),
        ConfigurationPhase::Invalid => (ConditionStatus::False, "Invalid"),
    };
    Check { kind: "Ready", status, reason, message: reason.to_owned() }
}

/// The next time at which a configuration asks for a session.
pub(crate) fn next_slot(object: &Object, spec: &BackupConfigurationSpec, now: Timestamp) -> Option<Timestamp> {
    let schedule = manifest::schedule(spec, object.metadata.uid.unwrap_or_default()).ok()?;
    if spec.paused { None } else { next_start(&schedule, now) }
}

fn next_start(schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    let slot = schedule.next_after(now)?;
    Some(schedule.fires_at(slot))
}
