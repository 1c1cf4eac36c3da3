//! The plan of a backup.

use lagan_schemas::error::Code;
use lagan_schemas::fact::{Cause, Notice, NoticeStatus, Priority, Requested};
use lagan_schemas::plan::{Plan, PlanTarget, StepStream, VERSION};
use lagan_schemas::resource::Spec;
use lagan_schemas::resource::repository::RetentionPolicy;
use lagan_schemas::subject::{Lane, SessionKind};

use super::variables::{self, Facts};
use super::{
    Inputs, STALL_SECONDS, Unresolved, app_binding, database, deadline, find, hooks, refused, repository, retry, task,
};

/// restic host of a target without an alias, as Stash names it.
const DEFAULT_HOST: &str = "host-0";

pub(super) fn plan(request: &Requested, inputs: &Inputs<'_>) -> Result<Plan, Unresolved> {
    let namespace = request.invoker.namespace.as_deref().unwrap_or_default();
    let configuration =
        find(inputs, request.invoker.kind, request.invoker.key_group(), namespace, &request.invoker.name)?;
    if request.invoker.uid.is_some_and(|uid| configuration.metadata.uid != Some(uid)) {
        let message =
            format!("BackupConfiguration {namespace}/{} was replaced by another of its name", request.invoker.name);
        return Err(refused(Code::IntentNotConfirmed, message));
    }
    let Spec::BackupConfiguration(spec) = &configuration.spec else {
        return Err(refused(Code::Internal, "a BackupConfiguration without its spec"));
    };
    let target = spec.target.as_ref().and_then(|target| target.reference.as_ref().map(|reference| (target, reference)));
    let Some((target, reference)) = target else {
        return Err(refused(Code::InvalidSpec, "target.ref: name the AppBinding to back up"));
    };
    let binding = app_binding(inputs, namespace, reference)?;
    let (repository, pool) = repository(inputs, configuration, &spec.repository)?;
    let host = target.alias.clone().filter(|alias| !alias.is_empty()).unwrap_or_else(|| DEFAULT_HOST.to_owned());
    let facts = Facts {
        request,
        binding,
        repository: &repository,
        host: &host,
        retention: Some(&spec.retention_policy),
        snapshot: None,
    };
    let resolved = task::resolve(
        inputs,
        configuration,
        spec.task.as_ref(),
        binding,
        task::Action::Backup,
        &variables::built_in(&facts),
    )?;
    if !matches!(resolved.step.stream, StepStream::Stdout(_)) {
        let message =
            format!("Function `{}` has no `stream.stdout`, so there is nothing to back up", resolved.step.function);
        return Err(refused(Code::FunctionNotSupported, message));
    }
    let plan_target = PlanTarget {
        name: target.alias.clone().filter(|a| !a.is_empty()).unwrap_or_else(|| reference.name.clone()),
        host,
        reference: binding.reference(),
        database: database::resolve(inputs, binding, resolved.database, resolved.wait_seconds)?,
        steps: vec![resolved.step],
        repositories: vec![repository],
        restore: None,
        hooks: hooks::of_backup(spec.hooks.as_ref(), binding)?,
    };
    let object = match &request.cause {
        Cause::Object { object } => Some(object.clone()),
        Cause::Slot { .. } => None,
    };
    Ok(Plan {
        version: VERSION,
        kind: SessionKind::Backup,
        session_name: request.name.clone(),
        invoker: configuration.reference(),
        object,
        pool,
        lane: match request.priority {
            Priority::Urgent => Lane::Urgent,
            Priority::Normal => Lane::Normal,
        },
        targets: vec![plan_target],
        wipe: None,
        retry: retry(spec.retry_config.as_ref()),
        deadline: deadline(inputs.requested, spec.time_out),
        stall_seconds: STALL_SECONDS,
        notices: notices(&spec.retention_policy),
        retention: Some(spec.retention_policy.clone()),
    })
}

fn notices(retention: &RetentionPolicy) -> Vec<Notice> {
    let pruning = retention.prune && !retention.dry_run;
    let notice = Notice {
        kind: "SpaceFreed".to_owned(),
        status: NoticeStatus::False,
        reason: "PruneIsSeparate".to_owned(),
        message: "retention forgets snapshots; the space they alone used is not freed inside a backup".to_owned(),
    };
    if pruning { vec![notice] } else { Vec::new() }
}
