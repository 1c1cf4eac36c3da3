//! The plan of a restore.

use lagan_schemas::consent::{MissingConsents, Use};
use lagan_schemas::error::Code;
use lagan_schemas::fact::{Cause, Requested};
use lagan_schemas::origin::ConfigurationKey;
use lagan_schemas::plan::{
    Existing, Plan, PlanTarget, RestoreMode, RestoreWork, SnapshotSelector, SnapshotSource, VERSION, Verify, Work,
};
use lagan_schemas::resource::hooks::RestoreHooks;
use lagan_schemas::resource::restore_session::{RestoreRule, RestoreSessionSpec};
use lagan_schemas::resource::{Group, Object};
use lagan_schemas::subject::Lane;

use super::find::{Uid, app_binding, invoker};
use super::task::Direction;
use super::variables::{self, Facts};
use super::{
    DEFAULT_RETRY, PlanInputs, Unresolved, database, deadline, hooks, ignored, manifests, refused, repository, task,
};

pub(super) fn plan(request: &Requested, inputs: &PlanInputs<'_>) -> Result<Plan, Unresolved> {
    let Cause::Object { object } = &request.cause else {
        return Err(refused(Code::IntentNotConfirmed, "no object asks for this restore"));
    };
    let session = invoker::<RestoreSessionSpec>(inputs, &request.invoker, Uid::Required)?;
    let (session, spec) = (session.object, session.spec);
    let target = spec.target.as_ref().and_then(|target| Some((target, target.reference.as_ref()?)));
    let Some((target, reference)) = target else {
        return Err(refused(Code::InvalidSpec, "target.ref: name the AppBinding to restore into"));
    };
    let namespace = request.invoker.namespace.as_deref().unwrap_or_default();
    let binding = app_binding(inputs, namespace, reference)?;
    let mut missing = MissingConsents::default();
    let consents = inputs.consents(session.metadata.namespace.as_deref().unwrap_or_default());
    inputs.settle(consents.app_binding(Use::Restore, binding.object), &mut missing)?;
    let (repository, pool) = repository(inputs, session, &spec.repository, &mut missing)?;
    if let Some(owner) = spec.configuration.as_ref().and_then(|configuration| configuration.namespace.as_deref()) {
        inputs.settle(consents.snapshots_of(owner, &repository.reference), &mut missing)?;
    }
    let alias = target.alias.clone().filter(|alias| !alias.is_empty());
    let rule = rule(spec, alias.as_deref())?;
    let snapshot = snapshot(&rule);
    let host = rule.source_host.clone().filter(|host| !host.is_empty()).or_else(|| alias.clone());
    let facts = Facts {
        request,
        binding,
        repository: &repository,
        host: host.as_deref().unwrap_or_default(),
        retention: None,
        snapshot: Some(match &snapshot {
            SnapshotSelector::Latest => "latest",
            SnapshotSelector::Id(id) => id,
        }),
    };
    let given = task::TaskContext { invoker: session, task: spec.task.as_ref(), binding };
    let resolved = task::resolve(inputs, given, Direction::Restore, &variables::built_in(&facts))?;
    let target = PlanTarget {
        name: alias.unwrap_or_else(|| reference.name.clone()),
        reference: binding.object.reference(),
        database: database::resolve(inputs, binding, resolved.engine, resolved.wait_seconds)?,
        hooks: hooks::of_restore(spec.hooks.as_ref(), binding)?,
    };
    inputs.settle(consents.hooks(target.hooks.as_ref(), spec.hooks.as_ref().map(RestoreHooks::hosts)), &mut missing)?;
    let source = SnapshotSource {
        snapshot,
        configuration: configuration(session, spec, namespace),
        from_cluster: spec.from_cluster.clone().filter(|cluster| !cluster.is_empty()),
        host,
        path: resolved.path,
        not_after: inputs.requested,
    };
    let (object, step, existing) = (object.clone(), resolved.step, existing(session, spec));
    let (databases, renamed) = (spec.databases.clone(), spec.renamed.clone());
    let (verify, mode) = (verify(session, spec), mode(spec));
    // Hooks prepare a database for what a dry run does not do.
    let target = PlanTarget { hooks: target.hooks.filter(|_| mode == RestoreMode::Write), ..target };
    let work = RestoreWork { object, target, step, repository, source, databases, renamed, existing, verify, mode };
    let shown = [missing.into_notice(), ignored::notice(inputs.view, session), manifests::notice(inputs.view, session)];
    let notices = shown.into_iter().flatten();
    Ok(Plan {
        version: VERSION,
        session_name: request.name.clone(),
        invoker: session.reference(),
        pool,
        lane: Lane::Urgent,
        retry: DEFAULT_RETRY,
        deadline: deadline(inputs.requested, spec.time_out),
        stall_seconds: inputs.stall_seconds,
        notices: notices.collect(),
        work: Work::Restore(Box::new(work)),
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

/// The configuration to choose from, in the session's group.
fn configuration(session: &Object, spec: &RestoreSessionSpec, own: &str) -> Option<ConfigurationKey> {
    spec.configuration.as_ref().map(|named| ConfigurationKey {
        group: session.group().as_str().to_owned(),
        namespace: named.namespace.as_deref().unwrap_or(own).to_owned(),
        name: named.name.clone(),
    })
}

fn mode(spec: &RestoreSessionSpec) -> RestoreMode {
    if spec.dry_run == Some(true) { RestoreMode::DryRun } else { RestoreMode::Write }
}

/// Stash calls a restore good when its client does, so only sessions of our group compare by default.
fn verify(session: &Object, spec: &RestoreSessionSpec) -> Verify {
    spec.verify.unwrap_or(match session.group() {
        Group::Stash => Verify::None,
        _ => Verify::Objects,
    })
}

/// Stash restores over existing data without asking. Our group refuses unless the session says otherwise.
fn existing(session: &Object, spec: &RestoreSessionSpec) -> Existing {
    if let Some(existing) = spec.existing {
        return existing;
    }
    match (spec.overwrite, session.group()) {
        (Some(true), _) | (None, Group::Stash) => Existing::Merge,
        (Some(false) | None, _) => Existing::Refuse,
    }
}
