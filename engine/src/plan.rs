//! From a request to a complete plan: invoker, task, functions, target, repository. A pure function over the view;
//! what is missing or wrong is a value. It must not wait, read a clock or append.

pub(crate) mod answers;
mod backup;
pub(crate) mod consent;
mod database;
pub(crate) mod find;
mod hooks;
pub(crate) mod ignored;
pub(crate) mod manifests;
mod restore;
pub(crate) mod task;
mod variables;
pub(crate) mod wipe;

use jiff::Timestamp;
use lagan_schemas::consent::{CrossNamespace, MissingConsents, Refusal};
use lagan_schemas::duration::GoDuration;
use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::Requested;
use lagan_schemas::plan::{Plan, PlanRepository, Resolve, Retry};
use lagan_schemas::resource::backup_configuration::RetryConfig;
use lagan_schemas::resource::repository::RepositorySpec;
use lagan_schemas::resource::{Kind, NamespacedName, Object};
use lagan_schemas::subject::SessionKind;

use self::answers::{Answers, Existence};
use self::consent::ConsentContext;
use self::find::find;
use crate::view::View;

/// A dump or a restore that moves no byte for this long is killed.
const DEFAULT_RETRY: Retry = Retry { max: 3, delay_seconds: 10 };

/// The reason why there is no plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Unresolved {
    /// Kinds and names of objects that do not exist (yet).
    Missing(Vec<String>),
    Refused(Failure),
}

fn refused(code: Code, message: impl Into<String>) -> Unresolved {
    Unresolved::Refused(Failure::new(code, message))
}

/// Everything that planning reads.
pub(crate) struct PlanInputs<'a> {
    pub view: &'a View,
    pub answers: &'a Answers,
    pub resolve: &'a Resolve,
    /// Pools of workers, the default one first.
    pub pools: &'a [String],
    /// When the session was requested, by the server's clock.
    pub requested: Timestamp,
    /// How long a deleted Repository waits for its data to be deleted.
    pub wipe_within: std::time::Duration,
    /// Time after which a step that gets no further is ended.
    pub stall_seconds: u32,
    /// Namespaces whose objects are in the view; none means all.
    pub namespaces: &'a [String],
    pub cross_namespace: CrossNamespace,
}

impl<'a> PlanInputs<'a> {
    /// Asks objects of other namespaces whether an invoker of `namespace` may name them.
    fn consents(&self, namespace: &'a str) -> ConsentContext<'a> {
        ConsentContext { view: self.view, answers: self.answers, namespace }
    }

    fn settle(&self, judged: Result<(), Refusal>, missing: &mut MissingConsents) -> Result<(), Unresolved> {
        self.cross_namespace.settle(judged, missing).map_err(Unresolved::Refused)
    }
}

pub(crate) fn plan(kind: SessionKind, request: &Requested, inputs: &PlanInputs<'_>) -> Result<Plan, Unresolved> {
    match kind {
        SessionKind::Backup => backup::plan(request, inputs),
        SessionKind::Restore => restore::plan(request, inputs),
        SessionKind::Maintenance => wipe::plan(request, inputs),
    }
}

/// Annotation of a Repository that names the pool whose workers reach it, for example because they mount its volume.
const POOL_ANNOTATION: &str = "lagan.dev/pool";

/// The repository an invoker names, if it may use it, and the pool that reaches it.
fn repository<'a>(
    inputs: &PlanInputs<'a>,
    invoker: &'a Object,
    named: &NamespacedName,
    missing: &mut MissingConsents,
) -> Result<(PlanRepository, String), Unresolved> {
    let own = invoker.metadata.namespace.as_deref().unwrap_or_default();
    let namespace = named.namespace.as_deref().unwrap_or(own);
    let found = find::<RepositorySpec>(inputs, invoker.group(), namespace, &named.name)?;
    inputs.settle(inputs.consents(own).repository(found.object, found.spec), missing)?;
    // A Repository that is being deleted takes no backup. One that will be wiped may lose data during a restore, too.
    let object = found.object;
    if object.metadata.deletion_timestamp.is_some()
        && (invoker.kind() == Kind::BackupConfiguration || object.wants_wipe())
    {
        let message = format!("Repository {namespace}/{} is being deleted (deletionTimestamp is set)", named.name);
        return Err(refused(Code::RepositoryBeingDeleted, message));
    }
    planned(inputs, found)
}

/// A repository as plans carry it, and the pool that reaches it.
fn planned(
    inputs: &PlanInputs<'_>,
    find::FoundObject { object, spec }: find::FoundObject<'_, RepositorySpec>,
) -> Result<(PlanRepository, String), Unresolved> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let secret = spec.backend.storage_secret_name.clone().unwrap_or_default();
    if inputs.answers.secret(namespace, &secret) == Existence::No {
        return Err(Unresolved::Missing(vec![format!("Secret {namespace}/{secret}")]));
    }
    let pool = pool(inputs, object)?;
    Ok((PlanRepository { reference: object.reference(), backend: spec.backend.clone(), secret }, pool))
}

fn pool(inputs: &PlanInputs<'_>, repository: &Object) -> Result<String, Unresolved> {
    let default = inputs.pools.first().cloned().unwrap_or_default();
    let Some(named) = repository.metadata.annotations.get(POOL_ANNOTATION) else { return Ok(default) };
    if inputs.pools.contains(named) {
        return Ok(named.clone());
    }
    let path = repository.key();
    let known = inputs.pools.join(", ");
    Err(refused(
        Code::InvalidSpec,
        format!("{path}: annotation {POOL_ANNOTATION}: no pool `{named}`; there are {known}"),
    ))
}

fn retry(config: Option<&RetryConfig>) -> Retry {
    config.map_or(DEFAULT_RETRY, |config| Retry {
        max: u32::try_from(config.max_retry).unwrap_or(0),
        delay_seconds: config.delay.map_or(0, |delay| std::time::Duration::from(delay).as_secs()),
    })
}

pub(crate) fn deadline(requested: Timestamp, time_out: Option<GoDuration>) -> Option<Timestamp> {
    time_out.and_then(|time| requested.checked_add(std::time::Duration::from(time)).ok())
}

#[cfg(test)]
pub(crate) mod tests;
