//! The plan of a restore.

use lagan_schemas::error::Code;
use lagan_schemas::fact::{Cause, Requested};
use lagan_schemas::plan::{Overwrite, Plan, PlanTarget, RestoreFrom, SnapshotSelector, StepStream, VERSION};
use lagan_schemas::resource::restore_session::{RestoreRule, RestoreSessionSpec};
use lagan_schemas::resource::{Group, Object, Spec};
use lagan_schemas::subject::{Lane, SessionKind};

use super::variables::{self, Facts};
use super::{
    DEFAULT_RETRY, Inputs, STALL_SECONDS, Unresolved, app_binding, database, deadline, find, hooks, refused,
    repository, task,
};

pub(super) fn plan(request: &Requested, inputs: &Inputs<'_>) -> Result<Plan, Unresolved> {
    let namespace = request.invoker.namespace.as_deref().unwrap_or_default();
    let session = find(inputs, request.invoker.kind, request.invoker.key_group(), namespace, &request.invoker.name)?;
    if session.metadata.uid != request.invoker.uid {
        let message =
            format!("RestoreSession {namespace}/{} was replaced by another of its name", request.invoker.name);
        return Err(refused(Code::IntentNotConfirmed, message));
    }
    let Spec::RestoreSession(spec) = &session.spec else {
        return Err(refused(Code::Internal, "a RestoreSession without its spec"));
    };
    let target = spec.target.as_ref().and_then(|target| target.reference.as_ref().map(|reference| (target, reference)));
    let Some((target, reference)) = target else {
        return Err(refused(Code::InvalidSpec, "target.ref: name the AppBinding to restore into"));
    };
    let binding = app_binding(inputs, namespace, reference)?;
    let (repository, pool) = repository(inputs, session, &spec.repository)?;
    let alias = target.alias.clone().filter(|alias| !alias.is_empty());
    let rule = rule(spec, alias.as_deref())?;
    let snapshot = snapshot(&rule);
    let host = rule.source_host.clone().filter(|host| !host.is_empty()).or_else(|| alias.clone());
    let name_of_snapshot = match &snapshot {
        SnapshotSelector::Latest => "latest",
        SnapshotSelector::Id(id) => id,
    };
    let facts = Facts {
        request,
        binding,
        repository: &repository,
        host: host.as_deref().unwrap_or_default(),
        retention: None,
        snapshot: Some(name_of_snapshot),
    };
    let resolved = task::resolve(
        inputs,
        session,
        spec.task.as_ref(),
        binding,
        task::Action::Restore,
        &variables::built_in(&facts),
    )?;
    let StepStream::Stdin(entry) = resolved.step.stream.clone() else {
        let message =
            format!("Function `{}` has no `stream.stdin`, so nothing can be restored into it", resolved.step.function);
        return Err(refused(Code::FunctionNotSupported, message));
    };
    let restore = RestoreFrom {
        snapshot,
        configuration: spec
            .configuration
            .as_ref()
            .map(|c| format!("{}/{}", c.namespace.as_deref().unwrap_or(namespace), c.name)),
        host,
        path: entry,
        not_after: inputs.requested,
        overwrite: overwrite(session, spec),
    };
    let plan_target = PlanTarget {
        name: alias.unwrap_or_else(|| reference.name.clone()),
        host: restore.host.clone().unwrap_or_default(),
        reference: binding.reference(),
        database: database::resolve(inputs, binding, resolved.database, resolved.wait_seconds)?,
        steps: vec![resolved.step],
        repositories: vec![repository],
        restore: Some(restore),
        hooks: hooks::of_restore(spec.hooks.as_ref(), binding)?,
    };
    let object = match &request.cause {
        Cause::Object { object } => Some(object.clone()),
        Cause::Slot { .. } => None,
    };
    Ok(Plan {
        version: VERSION,
        kind: SessionKind::Restore,
        session_name: request.name.clone(),
        invoker: session.reference(),
        object,
        pool,
        lane: Lane::Urgent,
        targets: vec![plan_target],
        wipe: None,
        retry: DEFAULT_RETRY,
        deadline: deadline(inputs.requested, spec.time_out),
        stall_seconds: STALL_SECONDS,
        retention: None,
        notices: Vec::new(),
    })
}

/// The rule for this target: the one that names its alias, else the one for all.
fn rule(spec: &RestoreSessionSpec, alias: Option<&str>) -> Result<RestoreRule, Unresolved> {
    let rules =
        spec.target.as_ref().map(|target| &target.rules).filter(|rules| !rules.is_empty()).unwrap_or(&spec.rules);
    let named = rules.iter().find(|rule| alias.is_some_and(|alias| rule.target_hosts.iter().any(|host| host == alias)));
    let rule = named.or_else(|| rules.iter().find(|rule| rule.target_hosts.is_empty()));
    match rule {
        Some(rule) => Ok(rule.clone()),
        None if rules.is_empty() => Ok(RestoreRule::default()),
        None => Err(refused(
            Code::InvalidSpec,
            "target.rules: no rule is for this target; leave out targetHosts to mean every host",
        )),
    }
}

fn snapshot(rule: &RestoreRule) -> SnapshotSelector {
    match rule.snapshots.first().map(String::as_str) {
        None | Some("" | "latest") => SnapshotSelector::Latest,
        Some(id) => SnapshotSelector::Id(id.to_owned()),
    }
}

/// Stash restores over whatever is there; ours asks first.
fn overwrite(session: &Object, spec: &RestoreSessionSpec) -> Overwrite {
    match (spec.overwrite, session.group()) {
        (Some(true), _) => Overwrite::Allow,
        (None, Group::Stash) => Overwrite::Warn,
        (Some(false) | None, _) => Overwrite::Refuse,
    }
}
