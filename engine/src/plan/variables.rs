//! The variables a Function may use, with Stash's names.

use lagan_schemas::fact::Requested;
use lagan_schemas::place::StashTerms;
use lagan_schemas::plan::PlanRepository;
use lagan_schemas::resource::Kind;
use lagan_schemas::resource::repository::RetentionPolicy;
use lagan_schemas::substitution::Variables;

use super::find::Binding;

/// The values that the variables are made from.
pub(super) struct Facts<'a> {
    pub request: &'a Requested,
    pub binding: Binding<'a>,
    pub repository: &'a PlanRepository,
    pub host: &'a str,
    pub retention: Option<&'a RetentionPolicy>,
    pub snapshot: Option<&'a str>,
}

/// Variables without a value are left out, so that a default in the Function counts.
pub(super) fn built_in(facts: &Facts<'_>) -> Variables {
    let mut variables = Variables::new();
    let mut set = |name: &str, value: &str| {
        if !value.is_empty() {
            variables.insert(name.to_owned(), value.to_owned());
        }
    };
    let invoker = &facts.request.invoker;
    set("NAMESPACE", invoker.namespace.as_deref().unwrap_or_default());
    set("INVOKER_KIND", invoker.kind.as_str());
    set("INVOKER_NAME", &invoker.name);
    let session = if invoker.kind == Kind::RestoreSession { "RESTORE_SESSION" } else { "BACKUP_SESSION" };
    set(session, &facts.request.name);
    set("HOSTNAME", facts.host);
    if let Some(snapshot) = facts.snapshot {
        set("SOURCE_HOSTNAME", facts.host);
        set("RESTORE_SNAPSHOTS", snapshot);
    }
    set("TARGET_API_VERSION", &facts.binding.object.api_version);
    set("TARGET_KIND", facts.binding.object.kind().as_str());
    set("TARGET_NAME", &facts.binding.object.metadata.name);
    set("TARGET_NAMESPACE", facts.binding.object.metadata.namespace.as_deref().unwrap_or_default());
    let kind = facts.binding.spec.kind.as_deref().unwrap_or_default();
    let (group, resource) = kind.split_once('/').unwrap_or(("", kind));
    set("TARGET_APP_VERSION", facts.binding.spec.version.as_deref().unwrap_or_default());
    set("TARGET_APP_TYPE", kind);
    set("TARGET_APP_GROUP", group);
    set("TARGET_APP_RESOURCE", resource);
    let repository = &facts.repository.reference;
    set("REPOSITORY_NAME", &repository.name);
    set("REPOSITORY_NAMESPACE", repository.namespace.as_deref().unwrap_or_default());
    set("REPOSITORY_SECRET_NAME", &facts.repository.secret);
    let terms = StashTerms::of(&facts.repository.backend);
    set("REPOSITORY_PROVIDER", terms.provider);
    set("REPOSITORY_BUCKET", terms.bucket);
    set("REPOSITORY_PREFIX", terms.prefix);
    set("REPOSITORY_ENDPOINT", terms.endpoint);
    set("REPOSITORY_REGION", terms.region);
    if let Some(retention) = facts.retention {
        for (name, value) in [
            ("RETENTION_KEEP_LAST", retention.keep_last),
            ("RETENTION_KEEP_HOURLY", retention.keep_hourly),
            ("RETENTION_KEEP_DAILY", retention.keep_daily),
            ("RETENTION_KEEP_WEEKLY", retention.keep_weekly),
            ("RETENTION_KEEP_MONTHLY", retention.keep_monthly),
            ("RETENTION_KEEP_YEARLY", retention.keep_yearly),
        ] {
            set(name, &value.map(|n| n.to_string()).unwrap_or_default());
        }
        set("RETENTION_PRUNE", if retention.prune { "true" } else { "false" });
        set("RETENTION_DRY_RUN", if retention.dry_run { "true" } else { "false" });
    }
    variables
}
