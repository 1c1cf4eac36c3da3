//! The status of a BackupBlueprint.

use jiff::Timestamp;
use lagan_schemas::resource::Object;
use lagan_schemas::resource::backup_blueprint::BackupBlueprintStatus;
use lagan_schemas::resource::fields::FIELD_IGNORED;

use super::conditions::Conditions;
use crate::plan::{ignored, manifests};

/// `usages` is the number of AppBindings that name the blueprint; `None` if this engine does not see all of them.
pub(crate) fn status(object: &Object, usages: Option<usize>, old: BackupBlueprintStatus) -> BackupBlueprintStatus {
    let observed_generation = object.metadata.generation;
    let now = object.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
    let mut conditions = Conditions::new(old.conditions, observed_generation, now);
    // The conditions of an invalid object are not those of a valid one.
    for kind in ["ValidationPassed", "Ready"] {
        conditions.set_while(kind, "", None);
    }
    conditions.set_unread(manifests::of_object(object));
    conditions.set_while(FIELD_IGNORED, ignored::REASON, ignored::of_object(object));
    BackupBlueprintStatus {
        observed_generation,
        usages: usages.map(|usages| i64::try_from(usages).unwrap_or(i64::MAX)),
        conditions: conditions.into_list(),
    }
}
