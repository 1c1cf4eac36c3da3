//! The CEL rules of each kind, compiled once. Each document of a folder is judged by them at every look, and to compile them takes
//! a hundred times as long as to apply them.

use std::sync::LazyLock;

use kube::core::cel::{CompiledSchema, ValidationErrors, Validator, compile_schema};
use kube::core::schema::{OptionalEnum, OptionalIntOrString, StructuralSchemaRewriter};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::AddNullable;
use serde_json::Value;

use crate::resource::Spec;
use crate::resource::backup_blueprint::BackupBlueprintSpec;
use crate::resource::backup_configuration::BackupConfigurationSpec;
use crate::resource::backup_session::BackupSessionSpec;
use crate::resource::function::FunctionSpec;
use crate::resource::repository::RepositorySpec;
use crate::resource::restore_session::RestoreSessionSpec;
use crate::resource::task::TaskSpec;

thread_local! {
    // It knows the functions of Kubernetes, and is of one thread.
    static VALIDATOR: Validator = Validator::new();
}

/// Compiles the rules of a type from the schema that its CustomResourceDefinition has.
fn compile<T: JsonSchema>() -> CompiledSchema {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let generator = settings
        .with_transform(AddNullable::default())
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .with_transform(OptionalIntOrString)
        .into_generator();
    let schema = serde_json::to_value(generator.into_root_schema_for::<T>()).expect("a schema is JSON");
    compile_schema(&schema)
}

macro_rules! rules {
    ($spec:ty) => {{
        static RULES: LazyLock<CompiledSchema> = LazyLock::new(compile::<$spec>);
        &*RULES
    }};
}

/// Judges a spec by the rules of its kind, and a changed one by the rules for changes too.
pub(super) fn validate(kind: &Spec, spec: &Value, before: Option<&Value>) -> Result<(), ValidationErrors> {
    let rules = match kind {
        Spec::Repository(_) => rules!(RepositorySpec),
        Spec::BackupConfiguration(_) => rules!(BackupConfigurationSpec),
        Spec::BackupSession(_) => rules!(BackupSessionSpec),
        Spec::RestoreSession(_) => rules!(RestoreSessionSpec),
        Spec::BackupBlueprint(_) => rules!(BackupBlueprintSpec),
        Spec::Task(_) => rules!(TaskSpec),
        Spec::Function(_) => rules!(FunctionSpec),
        Spec::AppBinding(_) => return Ok(()),
    };
    VALIDATOR.with(|validator| validator.validate_compiled(rules, spec, before))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    #[test]
    fn compiled_rules_judge_as_those_that_are_compiled_each_time() {
        let specs = [
            json!({"repository": {"name": "r"}}),
            json!({"repository": {"name": "r"}, "snapshot": "latest", "rules": [{"snapshots": ["a"]}]}),
            json!({"repository": {"name": ""}, "fromCluster": "x", "configuration": "c", "rules": [{"snapshots": ["a", "b"]}]}),
        ];
        let told = |result: Result<(), ValidationErrors>| {
            result.map_err(|errors| errors.into_vec().into_iter().map(|error| error.message).collect::<Vec<_>>())
        };
        let mut refused = 0;
        for spec in specs {
            let Ok(typed) = serde_json::from_value::<RestoreSessionSpec>(spec) else { continue };
            let object = Spec::RestoreSession(Box::new(typed.clone()));
            let value = serde_json::to_value(&typed).unwrap();
            let each_time = told(RestoreSessionSpec::validate_cel(&value, None));
            refused += usize::from(each_time.is_err());
            assert_eq!(told(validate(&object, &value, None)), each_time);
            let changed = json!({"repository": {"name": "other"}});
            let each_time = told(RestoreSessionSpec::validate_cel(&value, Some(&changed)));
            refused += usize::from(each_time.is_err());
            assert_eq!(told(validate(&object, &value, Some(&changed))), each_time);
        }
        assert!(refused > 0, "no rule was broken");
    }
}
