//! A BackupConfiguration's status: phase by Stash's rule, conditions with Stash's reasons.

use jiff::Timestamp;
use lagan_schemas::manifest;
use lagan_schemas::resource::backup_configuration::{
    BackupConfigurationSpec, BackupConfigurationStatus, ConfigurationPhase,
};
use lagan_schemas::resource::condition::{Condition, ConditionStatus, set};
use lagan_schemas::resource::{Group, Kind, Object, Spec};

use crate::plan::answers::{Answers, Found};
use crate::view::View;

/// What the status is made from.
pub(crate) struct Inputs<'a> {
    pub object: &'a Object,
    pub spec: &'a BackupConfigurationSpec,
    pub view: &'a View,
    pub answers: &'a Answers,
    pub now: Timestamp,
}

pub(crate) fn status(inputs: &Inputs<'_>, old: BackupConfigurationStatus) -> BackupConfigurationStatus {
    let Inputs { object, spec, view, answers, now } = inputs;
    let mut conditions = old.conditions;
    let mut put = |kind: &str, is: Found, reasons: [&str; 2], message: String| {
        let ok = is == Found::Yes;
        set(
            &mut conditions,
            Condition {
                kind: kind.to_owned(),
                status: match is {
                    Found::Yes => ConditionStatus::True,
                    Found::No => ConditionStatus::False,
                    Found::Unknown => ConditionStatus::Unknown,
                },
                reason: reasons[usize::from(!ok)].to_owned(),
                message,
                observed_generation: object.metadata.generation,
                last_transition_time: *now,
            },
        );
        ok
    };
    let own = object.metadata.namespace.as_deref().unwrap_or_default();
    let schedule = manifest::schedule(spec, object.metadata.uid.unwrap_or_default());
    let problem = schedule.as_ref().err().map(ToString::to_string);
    let valid = put(
        "ValidationPassed",
        Found::when(problem.is_none()),
        ["ResourceValidationPassed", "ResourceValidationFailed"],
        problem.unwrap_or_else(|| "the object is valid".to_owned()),
    );
    let namespace = spec.repository.namespace.as_deref().filter(|ns| !ns.is_empty()).unwrap_or(own);
    let repository = view.find(Kind::Repository, object.group(), Some(namespace), &spec.repository.name);
    let path = format!("{namespace}/{}", spec.repository.name);
    let found = put(
        "RepositoryFound",
        Found::when(repository.is_some()),
        ["RepositoryAvailable", "RepositoryNotAvailable"],
        format!("Repository {path} {}", if repository.is_some() { "exists" } else { "does not exist" }),
    );
    let secret = repository.and_then(|repository| match &repository.spec {
        Spec::Repository(spec) => spec.backend.storage_secret_name.clone(),
        _ => None,
    });
    let has = secret.as_deref().map_or(Found::No, |secret| answers.secret(namespace, secret));
    let name = secret.unwrap_or_else(|| "of the Repository".to_owned());
    let (says, reason) = match has {
        Found::Yes => ("exists", "BackendSecretAvailable"),
        Found::No => ("does not exist", "BackendSecretNotAvailable"),
        Found::Unknown => ("can't be looked for now", "UnableToCheckBackendSecretAvailability"),
    };
    let secret_found = put("BackendSecretFound", has, [reason, reason], format!("Secret {name} {says}"));
    let target = spec.target.as_ref().and_then(|target| target.reference.as_ref());
    let binding = target.and_then(|target| {
        view.find(Kind::AppBinding, Group::AppCatalog, Some(target.namespace.as_deref().unwrap_or(own)), &target.name)
    });
    put(
        "BackupTargetFound",
        Found::when(binding.is_some()),
        ["TargetAvailable", "TargetNotAvailable"],
        format!(
            "AppBinding {} {}",
            target.map_or("?", |t| t.name.as_str()),
            if binding.is_some() { "exists" } else { "does not exist" }
        ),
    );
    // There is no CronJob; Stash's condition says that the schedule is armed.
    let armed = put(
        "CronJobCreated",
        Found::when(valid),
        ["CronJobCreationSucceeded", "CronJobCreationFailed"],
        if valid {
            "the schedule is armed in the scheduler; no CronJob is needed".to_owned()
        } else {
            "the schedule is not valid".to_owned()
        },
    );
    let phase = match (valid, found && secret_found && armed) {
        (_, false) if !(found && secret_found) => ConfigurationPhase::NotReady,
        (false, _) => ConfigurationPhase::Invalid,
        (true, true) => ConfigurationPhase::Ready,
        (true, false) => ConfigurationPhase::NotReady,
    };
    put(
        "Ready",
        Found::when(phase == ConfigurationPhase::Ready),
        ["Ready", if phase == ConfigurationPhase::Invalid { "Invalid" } else { "NotReady" }],
        format!("{phase:?}"),
    );
    let next = schedule.ok().filter(|_| !spec.paused).and_then(|schedule| {
        let slot = schedule.next_after(*now)?;
        Some(schedule.fires_at(slot))
    });
    BackupConfigurationStatus {
        observed_generation: object.metadata.generation,
        phase: Some(phase),
        next_slot_time: next,
        last_success_time: old.last_success_time,
        last_slot_time: old.last_slot_time,
        last_session: old.last_session,
        conditions,
    }
}
