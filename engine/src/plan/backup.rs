//! The plan of a backup.

use lagan_schemas::consent::{ConsentPolicy, MissingConsents, Use};
use lagan_schemas::error::Code;
use lagan_schemas::fact::{Notice, NoticeStatus, Requested, Urgency};
use lagan_schemas::origin::ConfigurationKey;
use lagan_schemas::plan::{BackupWork, OneOrMore, Plan, PlanTarget, VERSION, Work};
use lagan_schemas::resource::backup_configuration::BackupConfigurationSpec;
use lagan_schemas::resource::hooks::BackupHooks;
use lagan_schemas::resource::repository::RetentionPolicy;
use lagan_schemas::resource::{Object, ObjectRef};
use lagan_schemas::subject::Lane;
use lagan_schemas::tag::Tag;

use super::find::{Uid, app_binding, invoker};
use super::task::Direction;
use super::variables::{self, Facts};
use super::{PlanInputs, Unresolved, database, deadline, hooks, refused, repository, retry, task};

/// restic host of a target without an alias, as Stash names it.
const DEFAULT_HOST: &str = "host-0";

pub(super) fn plan(request: &Requested, inputs: &PlanInputs<'_>) -> Result<Plan, Unresolved> {
    // A request of an object names no uid of the configuration.
    let configuration = invoker::<BackupConfigurationSpec>(inputs, &request.invoker, Uid::IfGiven)?;
    let (configuration, spec) = (configuration.object, configuration.spec);
    let target = spec.target.as_ref().and_then(|target| Some((target, target.reference.as_ref()?)));
    let Some((target, reference)) = target else {
        return Err(refused(Code::InvalidSpec, "target.ref: name the AppBinding to back up"));
    };
    let namespace = request.invoker.namespace.as_deref().unwrap_or_default();
    let binding = app_binding(inputs, namespace, reference)?;
    let mut missing = MissingConsents::default();
    let consents = inputs.consents(configuration.metadata.namespace.as_deref().unwrap_or_default());
    inputs.settle(consents.app_binding(Use::Backup, binding.object), &mut missing)?;
    let (repository, pool) = repository(inputs, configuration, &spec.repository, &mut missing)?;
    let alias = target.alias.clone().filter(|alias| !alias.is_empty());
    let host = alias.clone().unwrap_or_else(|| DEFAULT_HOST.to_owned());
    let facts = Facts {
        request,
        binding,
        repository: &repository,
        host: &host,
        retention: Some(&spec.retention_policy),
        snapshot: None,
    };
    let given = task::TaskContext { invoker: configuration, task: spec.task.as_ref(), binding };
    let resolved = task::resolve(inputs, given, Direction::Backup, &variables::built_in(&facts))?;
    let target = PlanTarget {
        name: alias.unwrap_or_else(|| reference.name.clone()),
        reference: binding.object.reference(),
        database: database::resolve(inputs, binding, resolved.engine, resolved.wait_seconds)?,
        hooks: hooks::of_backup(spec.hooks.as_ref(), binding)?,
    };
    check_tags(&configuration.reference(), &target.name)?;
    inputs.settle(consents.hooks(target.hooks.as_ref(), spec.hooks.as_ref().map(BackupHooks::hosts)), &mut missing)?;
    let (consent, unreadable) = consent_of(configuration);
    let work = BackupWork {
        target,
        step: resolved.step,
        host,
        path: resolved.path,
        repositories: OneOrMore::one(repository),
        retention: spec.retention_policy.clone(),
        consent,
    };
    Ok(Plan {
        version: VERSION,
        session_name: request.name.clone(),
        invoker: configuration.reference(),
        pool,
        lane: match request.priority {
            Urgency::Urgent => Lane::Urgent,
            Urgency::Normal => Lane::Normal,
        },
        retry: retry(spec.retry_config.as_ref()),
        deadline: deadline(inputs.requested, spec.time_out),
        stall_seconds: inputs.stall_seconds,
        notices: notices(&spec.retention_policy).into_iter().chain(missing.into_notice()).chain(unreadable).collect(),
        work: Work::Backup(Box::new(work)),
    })
}

/// Refuses names that do not fit into the tags of a snapshot, before anything is dumped.
fn check_tags(configuration: &ObjectRef, target: &str) -> Result<(), Unresolved> {
    let configuration = ConfigurationKey::of(configuration).to_string();
    for (tag, value, advice) in [
        (Tag::Configuration, configuration.as_str(), "give the BackupConfiguration a shorter name"),
        (Tag::Target, target, "set a shorter `target.alias`"),
    ] {
        tag.format(value).map_err(|error| refused(Code::InvalidSpec, format!("{error}; {advice}")))?;
    }
    Ok(())
}

/// The consent that the snapshots carry, or the reason why the configuration's annotation can't be read. Without a
/// readable annotation the snapshots carry none.
fn consent_of(configuration: &Object) -> (Option<ConsentPolicy>, Option<Notice>) {
    let annotation = Use::Snapshots.annotation();
    match configuration.metadata.annotations.get(annotation).map(|text| ConsentPolicy::parse(text)) {
        None | Some(Ok(ConsentPolicy::Same)) => (None, None),
        Some(Ok(policy)) => (Some(policy), None),
        Some(Err(why)) => {
            let notice = Notice {
                kind: "SnapshotPolicyWritten".to_owned(),
                status: NoticeStatus::False,
                reason: "PolicyUnreadable".to_owned(),
                message: format!("annotation {annotation}: {why}; the snapshot carries no consent"),
            };
            (None, Some(notice))
        }
    }
}

fn notices(retention: &RetentionPolicy) -> Vec<Notice> {
    let warning = |kind: &str, reason: &str, message: &str| Notice {
        kind: kind.to_owned(),
        status: NoticeStatus::False,
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    let pruning = (retention.prune && !retention.dry_run).then(|| {
        let message = "retention forgets snapshots; the space they alone used is not freed inside a backup";
        warning("SpaceFreed", "PruneIsSeparate", message)
    });
    let tags_only = retention.keeps_by_tags_only().then(|| {
        let message = "retentionPolicy: `keepTags` alone forgets every backup but the newest, unless `restic tag` gave it \
            one of these tags; add another keep rule, such as `keepLast`";
        warning("HistoryKept", "KeepTagsOnly", message)
    });
    pruning.into_iter().chain(tags_only).collect()
}
