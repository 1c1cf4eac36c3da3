//! Derives a Repository and a BackupConfiguration from a BackupBlueprint and an AppBinding that names it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use lagan_schemas::consent;
use lagan_schemas::error::chain;
use lagan_schemas::manifest::blueprint_schedule;
use lagan_schemas::resource::backup_blueprint::BackupBlueprintSpec;
use lagan_schemas::resource::backup_configuration::{BackupConfigurationSpec, BackupTarget, TargetRef, TaskRef};
use lagan_schemas::resource::repository::RepositorySpec;
use lagan_schemas::resource::{Group, Kind, Metadata, NamespacedName, Object, Param, Spec};
use lagan_schemas::subject::ObjectKey;
use lagan_schemas::substitution::{Variables, substitute};

use crate::view::{Lookup, View};

/// Annotation of a generated object: the AppBinding that it was made for, as `namespace/name`.
pub(crate) const GENERATED_FOR: &str = "lagan.dev/generated-for";
pub(crate) const BLUEPRINT_LABEL: &str = "lagan.dev/blueprint";
/// Annotation of a generated object: the BackupBlueprint that its hooks come from, as `uid/generation`. The view knows only
/// the shape of hooks, so this changes when their content does; the uid tells a recreated blueprint from the old one.
pub(crate) const HOOKS_OF: &str = "lagan.dev/hooks-of";
/// Stash's abbreviation of the kind in the names of generated objects.
const NAME_PREFIX: &str = "app";

/// The blueprints that an AppBinding names in its annotations, and the values that it overrides.
#[derive(Debug, PartialEq)]
pub(crate) struct BlueprintAnnotations {
    pub group: Group,
    pub blueprints: Vec<String>,
    schedule: Option<String>,
    params: Vec<Param>,
}

pub(crate) fn asked(binding: &Object) -> Option<BlueprintAnnotations> {
    let annotations = &binding.metadata.annotations;
    let (group, blueprints) = consent::blueprints(annotations)?;
    let prefix = group.as_str();
    let params = format!("params.{prefix}/");
    let param = |(key, value): (&String, &String)| {
        Some(Param { name: key.strip_prefix(&params)?.to_owned(), value: value.clone() })
    };
    Some(BlueprintAnnotations {
        group,
        blueprints,
        schedule: annotations.get(&format!("{prefix}/schedule")).cloned(),
        params: annotations.iter().filter_map(param).collect(),
    })
}

/// Objects that should exist, and the reasons why others can't.
#[derive(Debug, Default)]
pub(crate) struct Derived {
    /// For each AppBinding and blueprint its Repository and its BackupConfiguration.
    pub pairs: Vec<[Arc<Object>; 2]>,
    pub problems: BTreeSet<String>,
}

/// Derives pairs, and keeps them until what they follow from has changed: one change must not cost as much as all databases.
#[derive(Debug, Default)]
pub(crate) struct Derivations {
    /// By AppBinding and blueprint.
    known: HashMap<(ObjectKey, ObjectKey), Derivation>,
    /// Number of pairs that the last look derived anew.
    made: usize,
}

#[derive(Debug)]
struct Derivation {
    binding: Arc<Object>,
    blueprint: Arc<Object>,
    pair: Result<[Arc<Object>; 2], String>,
}

impl Derivations {
    pub fn derive(&mut self, view: &View) -> Derived {
        let mut derived = Derived::default();
        let invalid = view.refused.iter().filter(|(key, _)| key.kind == Kind::AppBinding);
        for (key, refused) in
            invalid.filter(|(_, refused)| consent::blueprints(&refused.metadata.annotations).is_some())
        {
            derived.problems.insert(format!("{key} is invalid: {}", refused.problem));
        }
        let mut before = std::mem::take(&mut self.known);
        self.made = 0;
        for binding in view.of_kind(Kind::AppBinding) {
            let Some(asked) = asked(binding) else { continue };
            for name in &asked.blueprints {
                let why = match view.look_up(Kind::BackupBlueprint, asked.group, None, name) {
                    Lookup::Absent => " does not exist".to_owned(),
                    Lookup::Invalid(refused) => format!(" is invalid: {}", refused.problem),
                    Lookup::Valid(blueprint) => match self.pair(&mut before, binding, blueprint, &asked) {
                        Ok(pair) => {
                            derived.pairs.push(pair);
                            continue;
                        }
                        Err(why) => format!(": {why}"),
                    },
                };
                derived.problems.insert(format!("{}: BackupBlueprint {name}{why}", binding.key()));
            }
        }
        derived
    }

    /// Takes the pair from those that were derived before, if both objects are still the same values.
    fn pair(
        &mut self,
        before: &mut HashMap<(ObjectKey, ObjectKey), Derivation>,
        binding: &Arc<Object>,
        blueprint: &Arc<Object>,
        asked: &BlueprintAnnotations,
    ) -> Result<[Arc<Object>; 2], String> {
        let key = (binding.key(), blueprint.key());
        let is_same =
            |known: &Derivation| Arc::ptr_eq(&known.binding, binding) && Arc::ptr_eq(&known.blueprint, blueprint);
        let derivation = before.remove(&key).filter(is_same).unwrap_or_else(|| {
            self.made += 1;
            let pair = from_blueprint(binding, blueprint, asked).map(|pair| pair.map(Arc::new));
            Derivation { binding: Arc::clone(binding), blueprint: Arc::clone(blueprint), pair }
        });
        let pair = derivation.pair.clone();
        self.known.insert(key, derivation);
        pair
    }
}

/// Number of AppBindings that name a blueprint.
pub(crate) fn usages(view: &View, blueprint: &Object) -> usize {
    let names = |binding: &&Arc<Object>| {
        asked(binding).is_some_and(|asked| {
            asked.blueprints.contains(&blueprint.metadata.name)
                && view
                    .find(Kind::BackupBlueprint, asked.group, None, &blueprint.metadata.name)
                    .is_some_and(|found| found.key() == blueprint.key())
        })
    };
    view.of_kind(Kind::AppBinding).filter(names).count()
}

fn from_blueprint(binding: &Object, blueprint: &Object, asked: &BlueprintAnnotations) -> Result<[Object; 2], String> {
    let Spec::BackupBlueprint(spec) = &blueprint.spec else { return Err("it has no spec".to_owned()) };
    let own = binding.metadata.namespace.clone().unwrap_or_default();
    let namespace = spec.backup_namespace.clone().unwrap_or_else(|| own.clone());
    let repository_namespace = spec.repo_namespace.clone().unwrap_or_else(|| namespace.clone());
    let mut name = format!("{NAME_PREFIX}-{}", binding.metadata.name);
    if asked.blueprints.len() > 1 {
        name = format!("{name}-{}", blueprint.metadata.name);
    }
    let variables = variables(binding);
    let metadata = |namespace: &str| Metadata {
        name: name.clone(),
        namespace: Some(namespace.to_owned()),
        labels: BTreeMap::from([
            ("app.kubernetes.io/managed-by".to_owned(), "lagan".to_owned()),
            (BLUEPRINT_LABEL.to_owned(), blueprint.metadata.name.clone()),
        ]),
        annotations: BTreeMap::from([(GENERATED_FOR.to_owned(), format!("{own}/{}", binding.metadata.name))]),
        ..Metadata::default()
    };
    let mut of_configuration = metadata(&namespace);
    if spec.hooks.is_some() {
        let uid = blueprint.metadata.uid.unwrap_or_default();
        of_configuration.annotations.insert(HOOKS_OF.to_owned(), format!("{uid}/{}", blueprint.metadata.generation));
    }
    let repository = repository(spec, &variables)?;
    let configuration = configuration(spec, binding, asked, &variables)?;
    let configuration = BackupConfigurationSpec {
        repository: NamespacedName { namespace: Some(repository_namespace.clone()), name: name.clone() },
        ..configuration
    };
    let api_version = |kind: Kind| {
        let versions = kind.api_versions();
        versions.iter().find(|version| Group::of(version) == blueprint.group()).unwrap_or(&versions[0]).to_string()
    };
    Ok([
        Object {
            api_version: api_version(Kind::Repository),
            metadata: metadata(&repository_namespace),
            spec: Spec::Repository(Box::new(repository)),
            ignored_fields: Vec::new(),
        },
        Object {
            api_version: api_version(Kind::BackupConfiguration),
            metadata: of_configuration,
            spec: Spec::BackupConfiguration(Box::new(configuration)),
            ignored_fields: Vec::new(),
        },
    ])
}

fn repository(spec: &BackupBlueprintSpec, variables: &Variables) -> Result<RepositorySpec, String> {
    let mut backend = spec.backend.clone();
    let fill = |text: &mut Option<String>| {
        if let Some(template) = text {
            *template = substitute(template, variables).map_err(|error| chain(&error))?;
        }
        Ok::<_, String>(())
    };
    if let Some(local) = &mut backend.local {
        fill(&mut local.sub_path)?;
    }
    if let Some(s3) = &mut backend.s3 {
        fill(&mut s3.prefix)?;
    }
    Ok(RepositorySpec {
        backend,
        wipe_out: spec.wipe_out,
        usage_policy: spec.usage_policy.clone(),
        max_concurrent: None,
    })
}

fn configuration(
    spec: &BackupBlueprintSpec,
    binding: &Object,
    asked: &BlueprintAnnotations,
    variables: &Variables,
) -> Result<BackupConfigurationSpec, String> {
    let schedule = schedule(spec, asked)?;
    let target = TargetRef {
        api_version: binding.api_version.clone(),
        kind: Kind::AppBinding.as_str().to_owned(),
        name: binding.metadata.name.clone(),
        namespace: binding.metadata.namespace.clone(),
    };
    Ok(BackupConfigurationSpec {
        task: task(spec.task.as_ref(), &asked.params, variables)?,
        target: Some(BackupTarget { reference: Some(target), ..BackupTarget::default() }),
        runtime_settings: spec.runtime_settings.clone(),
        temp_dir: spec.temp_dir.clone(),
        interim_volume_template: spec.interim_volume_template.clone(),
        // Only the shape of the hooks; their content comes from the source when the object is put.
        hooks: spec.hooks.clone(),
        schedule,
        time_zone: spec.time_zone.clone(),
        jitter: None,
        starting_deadline_seconds: None,
        concurrency_policy: None,
        priority: None,
        driver: None,
        repository: NamespacedName { namespace: None, name: String::new() },
        retention_policy: spec.retention_policy.clone(),
        paused: false,
        backup_history_limit: spec.backup_history_limit,
        time_out: spec.time_out,
        retry_config: spec.retry_config.clone(),
    })
}

/// The schedule of the annotation if there is one, else the blueprint's, which was judged with the blueprint.
fn schedule(spec: &BackupBlueprintSpec, asked: &BlueprintAnnotations) -> Result<String, String> {
    let Some(annotated) = &asked.schedule else {
        let own = spec.schedule.clone().filter(|schedule| !schedule.is_empty());
        return own.ok_or_else(|| "neither its `schedule` nor the annotation `schedule` is set".to_owned());
    };
    blueprint_schedule(spec, annotated)
        .map_err(|error| format!("annotation {}/schedule of the AppBinding: {error}", asked.group.as_str()))?;
    Ok(annotated.clone())
}

/// The blueprint's Task with its name filled in; parameters of annotations win.
fn task(given: Option<&TaskRef>, params: &[Param], variables: &Variables) -> Result<Option<TaskRef>, String> {
    if given.is_none() && params.is_empty() {
        return Ok(None);
    }
    let given = given.cloned().unwrap_or_default();
    let name = substitute(&given.name, variables).map_err(|error| chain(&error))?;
    let by_name = given.params.iter().chain(params).map(|param| (param.name.clone(), param.value.clone()));
    let merged: BTreeMap<String, String> = by_name.collect();
    let params = merged.into_iter().map(|(name, value)| Param { name, value }).collect();
    Ok(Some(TaskRef { name, params }))
}

fn variables(binding: &Object) -> Variables {
    let Spec::AppBinding(spec) = &binding.spec else { return Variables::new() };
    let kind = spec.kind.clone().unwrap_or_default();
    let (group, resource) = kind.split_once('/').unwrap_or(("", &kind));
    let pairs = [
        ("TARGET_API_VERSION", binding.api_version.as_str()),
        ("TARGET_KIND", Kind::AppBinding.as_str()),
        ("TARGET_NAMESPACE", binding.metadata.namespace.as_deref().unwrap_or_default()),
        ("TARGET_NAME", &binding.metadata.name),
        ("TARGET_RESOURCE", Kind::AppBinding.plural()),
        ("TARGET_APP_GROUP", group),
        ("TARGET_APP_RESOURCE", resource),
        ("TARGET_APP_TYPE", &kind),
        ("TARGET_APP_VERSION", spec.version.as_deref().unwrap_or_default()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests;
