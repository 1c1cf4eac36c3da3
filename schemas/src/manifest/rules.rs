//! The rules that a typed object must satisfy: the CEL rules that the API server enforces too, and those that CEL can't
//! express.

use uuid::Uuid;

use super::compiled;
use crate::catalogue::engine_of_type;
use crate::resource::app_binding::{AppBindingSpec, DatabaseUrl};
use crate::resource::backup_blueprint::BackupBlueprintSpec;
use crate::resource::backup_configuration::BackupConfigurationSpec;
use crate::resource::fields::{self, refusal};
use crate::resource::kind::LAGAN;
use crate::resource::repository::RetentionPolicy;
use crate::resource::restore_session::RestoreSessionSpec;
use crate::resource::{Group, Object, Spec};
use crate::schedule::{Schedule, ScheduleError};
use crate::subject::token;

/// Lists what is wrong with an object; empty for a valid one.
#[must_use]
pub fn problems(object: &Object) -> Vec<String> {
    let spec = object.spec_json();
    let checked = compiled::validate(&object.spec, &spec, None);
    if let Err(errors) = checked {
        return errors.into_vec().into_iter().map(|error| error.message).collect();
    }
    let ignored = ignored_problems(object);
    if !ignored.is_empty() {
        return ignored;
    }
    match &object.spec {
        Spec::BackupConfiguration(spec) => {
            let schedule = schedule(spec, Uuid::nil()).err().map(|error| error.to_string());
            schedule.into_iter().chain(tags_only(object, &spec.retention_policy)).collect()
        }
        Spec::BackupBlueprint(spec) => {
            // An empty schedule is absent, as in Stash: each AppBinding gives its own.
            let written = spec.schedule.as_deref().filter(|written| !written.is_empty());
            let schedule = blueprint_schedule(spec, written.unwrap_or("@daily")).err().map(|error| error.to_string());
            schedule.into_iter().chain(tags_only(object, &spec.retention_policy)).collect()
        }
        // The address of another kind of database has a form of its own.
        Spec::AppBinding(spec) if spec.kind.as_deref().is_none_or(|of| engine_of_type(of).is_some()) => {
            address_problems(spec)
        }
        Spec::RestoreSession(spec) => rule_problems(spec).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Refuses a policy that would forget every backup but the newest. Stash accepts it, so in its group the session warns.
fn tags_only(object: &Object, policy: &RetentionPolicy) -> Option<String> {
    (object.key().group == LAGAN && policy.keeps_by_tags_only()).then(|| {
        "retentionPolicy: `keepTags` alone would forget every backup but the newest, because backups have none of these \
            tags; add another keep rule, such as `keepLast`"
            .to_owned()
    })
}

/// Refuses fields without effect in our group. Stash's group only shows them.
fn ignored_problems(object: &Object) -> Vec<String> {
    let (group, kind) = (object.group(), object.kind());
    let paths = object.ignored_fields.iter().filter(|_| group == Group::Lagan);
    paths.map(|path| refusal(path, fields::reason(group, kind, path))).collect()
}

fn address_problems(spec: &AppBindingSpec) -> Vec<String> {
    let mut problems = Vec::new();
    match (&spec.client_config.service, &spec.client_config.url) {
        (None, None) => problems.push("clientConfig: name a `service` or a `url`".to_owned()),
        (None, Some(url)) => problems.extend(DatabaseUrl::parse(url).err().map(|e| e.to_string())),
        (Some(service), _) => {
            if token(&service.name).is_err() || service.name.starts_with('-') {
                problems.push(format!("clientConfig.service.name: `{}` is not the name of a Service", service.name));
            }
            // Exported objects carry 0 for "none".
            if u16::try_from(service.port).is_err() {
                problems.push(format!("clientConfig.service.port: must be 1 to 65535, not {}", service.port));
            }
        }
    }
    problems
}

fn rule_problems(spec: &RestoreSessionSpec) -> Option<String> {
    let of_target = spec.target.as_ref().map(|target| &target.rules);
    of_target.into_iter().chain([&spec.rules]).find_map(|rules| {
        let mut hosts: Vec<&String> = rules.iter().flat_map(|rule| &rule.target_hosts).collect();
        hosts.sort_unstable();
        let twice = hosts.windows(2).find(|pair| pair.first() == pair.last())?.first()?;
        Some(format!("target.rules: a host may occur in one rule only, `{twice}` is in two"))
    })
}

/// Lists the transition rules that a changed spec of the same object violates.
#[must_use]
pub fn update_problems(old: &Object, new: &Object) -> Vec<String> {
    let (before, after) = (old.spec_json(), new.spec_json());
    let checked = match &new.spec {
        Spec::BackupSession(_) | Spec::RestoreSession(_) => compiled::validate(&new.spec, &after, Some(&before)),
        _ => Ok(()),
    };
    checked.err().map(|errors| errors.into_vec().into_iter().map(|e| e.message).collect()).unwrap_or_default()
}

/// Parses a schedule under the time zone of a blueprint.
pub fn blueprint_schedule(spec: &BackupBlueprintSpec, schedule: &str) -> Result<Schedule, ScheduleError> {
    Schedule::parse(schedule, spec.time_zone.as_deref(), std::time::Duration::ZERO, Uuid::nil())
}

/// Parses the schedule of a configuration.
pub fn schedule(spec: &BackupConfigurationSpec, uid: Uuid) -> Result<Schedule, ScheduleError> {
    let jitter = spec.jitter.map_or(std::time::Duration::ZERO, Into::into);
    Schedule::parse(&spec.schedule, spec.time_zone.as_deref(), jitter, uid)
}
