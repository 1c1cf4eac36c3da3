//! The status of an object that breaks a rule which the API server does not check, in the words of folder mode.

use jiff::Timestamp;
use lagan_schemas::resource::backup_blueprint::BackupBlueprintStatus;
use lagan_schemas::resource::backup_configuration::{BackupConfigurationStatus, ConfigurationPhase};
use lagan_schemas::resource::condition::{Condition, ConditionStatus};
use lagan_schemas::resource::repository::RepositoryStatus;
use lagan_schemas::resource::restore_session::RestoreSessionStatus;
use lagan_schemas::resource::{Kind, Status};

use super::conditions::Conditions;
use crate::view::Refused;

/// `None` for kinds that have no status of their own.
pub(crate) fn status(kind: Kind, refused: &Refused, now: Timestamp) -> Option<Status> {
    let observed_generation = refused.metadata.generation;
    let conditions = |summary: &str| conditions(refused, summary, now);
    match kind {
        Kind::BackupConfiguration => Some(Status::from(BackupConfigurationStatus {
            observed_generation,
            phase: Some(ConfigurationPhase::Invalid),
            conditions: conditions("Ready"),
            ..BackupConfigurationStatus::default()
        })),
        Kind::Repository => Some(Status::from(RepositoryStatus {
            observed_generation,
            conditions: conditions("Ready"),
            ..RepositoryStatus::default()
        })),
        Kind::BackupBlueprint => Some(Status::from(BackupBlueprintStatus {
            observed_generation,
            conditions: conditions("Ready"),
            ..BackupBlueprintStatus::default()
        })),
        Kind::RestoreSession => Some(Status::from(RestoreSessionStatus {
            phase: "Invalid".to_owned(),
            conditions: conditions("Succeeded"),
            ..RestoreSessionStatus::default()
        })),
        Kind::BackupSession | Kind::Task | Kind::Function | Kind::AppBinding | Kind::Secret | Kind::Other(_) => None,
    }
}

fn conditions(refused: &Refused, summary: &str, now: Timestamp) -> Vec<Condition> {
    let mut conditions = Conditions::new(Vec::new(), refused.metadata.generation, now);
    let problem = refused.problem.as_str();
    conditions.set("ValidationPassed", ConditionStatus::False, "ResourceValidationFailed", problem);
    conditions.set(summary, ConditionStatus::False, "Invalid", problem);
    conditions.into_list()
}

/// Whether a status already says this of the object.
pub(crate) fn is_reported(status: &Status, refused: &Refused) -> bool {
    status.conditions().iter().any(|condition| condition.message == refused.problem)
}
