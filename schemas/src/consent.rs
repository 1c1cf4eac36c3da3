//! Consent between namespaces: whether an object may name an object of another namespace. Objects of one namespace may
//! always name each other; across namespaces the object that is named must consent, each use separately. It must not
//! look anything up: objects and labels are passed in.

mod policy;

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Code, Failure};
use crate::notice::{Notice, NoticeStatus};
use crate::resource::repository::{RepositorySpec, UsagePolicy};
use crate::resource::{Group, Object, Spec};

pub use self::policy::{ConsentPolicy, PolicyError};

/// A use of an object, which the object's own namespace consents to by an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Read the database of an AppBinding.
    Backup,
    /// Write to the database of an AppBinding.
    Restore,
    /// Restore the snapshots of a BackupConfiguration.
    Snapshots,
    /// Reach a Service, or run a program in its pods.
    Hook,
}

impl Use {
    /// The annotation on the object that is named.
    #[must_use]
    pub const fn annotation(self) -> &'static str {
        match self {
            Self::Backup => "lagan.dev/backup-usage-policy",
            Self::Restore => "lagan.dev/restore-usage-policy",
            Self::Snapshots => "lagan.dev/snapshot-usage-policy",
            Self::Hook => "lagan.dev/hook-usage-policy",
        }
    }
}

/// The object that names another one.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    pub namespace: &'a str,
    /// Labels of the asker's namespace; `None` where namespaces have none. Asked only if a policy selects by label.
    pub labels: &'a dyn Fn() -> Option<BTreeMap<String, String>>,
}

/// A missing consent: the object and the field that name another namespace's object, and what its owners can add.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{field} names {object} of another namespace, which does not let namespace `{asker}` {verb}; {remedy}")]
    NotAllowed { field: &'static str, object: String, asker: String, verb: &'static str, remedy: String },
    #[error("{field} names {object} of another namespace, whose {place} can't be read: {why}; {remedy}")]
    Unreadable { field: &'static str, object: String, place: String, why: PolicyError, remedy: String },
}

/// Whether an administrator has switched the rule off, for the time of a migration (`--allow-cross-namespace`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CrossNamespace {
    #[default]
    NeedsConsent,
    Allowed,
}

/// Type of the condition on a session that ran without a consent, because an administrator allowed it.
pub const CONSENT_MISSING: &str = "ConsentMissing";

/// The consents that a session lacks, and goes on without because an administrator allows it.
#[derive(Debug, Default)]
pub struct MissingConsents(Vec<Refusal>);

impl CrossNamespace {
    /// Turns a refusal into the failure of a session, or adds it to `missing` if an administrator allows the use.
    pub fn settle(self, judged: Result<(), Refusal>, missing: &mut MissingConsents) -> Result<(), Failure> {
        match (judged, self) {
            (Ok(()), _) => Ok(()),
            (Err(refusal), Self::NeedsConsent) => Err(Failure::new(Code::UsageNotAllowed, refusal.to_string())),
            (Err(refusal), Self::Allowed) => {
                missing.0.push(refusal);
                Ok(())
            }
        }
    }
}

impl MissingConsents {
    /// The warning condition of the session; `None` if no consent is missing.
    #[must_use]
    pub fn into_notice(self) -> Option<Notice> {
        let refusals: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        (!refusals.is_empty()).then(|| Notice {
            kind: CONSENT_MISSING.to_owned(),
            status: NoticeStatus::True,
            reason: "AllowedByAdministrator".to_owned(),
            message: format!("--allow-cross-namespace allows what is refused without it: {}", refusals.join("; ")),
        })
    }
}

/// Judges whether `asker` may back up, or restore into, the database of an AppBinding. `blueprint_namespaces` are those
/// of `blueprint_namespaces()`.
pub fn app_binding(
    asker: Asker<'_>,
    wanted: Use,
    binding: &Object,
    blueprint_namespaces: &BTreeSet<String>,
) -> Result<(), Refusal> {
    let own = binding.metadata.namespace.as_deref().unwrap_or_default();
    if own == asker.namespace || (wanted == Use::Backup && blueprint_namespaces.contains(asker.namespace)) {
        return Ok(());
    }
    let verb = if wanted == Use::Restore { "restore into it" } else { "back it up" };
    let object = format!("AppBinding {own}/{}", binding.metadata.name);
    by_annotation(asker, wanted, &binding.metadata.annotations, Named { field: "target.ref", object, verb })
}

/// Namespaces that an AppBinding consents to be backed up from, because it names a BackupBlueprint that makes its
/// BackupConfigurations there. `find` looks a blueprint up.
pub fn blueprint_namespaces<'a>(
    binding: &Object,
    find: impl Fn(Group, &str) -> Option<&'a Object>,
) -> BTreeSet<String> {
    let named = blueprints(&binding.metadata.annotations);
    let found = named.iter().flat_map(|(group, names)| names.iter().filter_map(|name| find(*group, name)));
    found
        .filter_map(|blueprint| match &blueprint.spec {
            Spec::BackupBlueprint(spec) => spec.backup_namespace.clone(),
            _ => None,
        })
        .collect()
}

/// The BackupBlueprints that annotations of an AppBinding name, and the group that they are looked for in first. Our
/// annotation wins over Stash's.
#[must_use]
pub fn blueprints(annotations: &BTreeMap<String, String>) -> Option<(Group, Vec<String>)> {
    let prefixes =
        [("lagan.dev/backup-blueprint", Group::Lagan), ("stash.appscode.com/backup-blueprint", Group::Stash)];
    prefixes.into_iter().find_map(|(annotation, group)| {
        let names = annotations.get(annotation)?.split(',').map(str::trim).filter(|name| !name.is_empty());
        Some((group, names.map(str::to_owned).collect()))
    })
}

/// Judges whether `asker` may aim a hook at a Service, by the Service's annotations.
pub fn service(
    asker: Asker<'_>,
    (namespace, name): (&str, &str),
    annotations: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    if namespace == asker.namespace {
        return Ok(());
    }
    let object = format!("Service {namespace}/{name}");
    by_annotation(asker, Use::Hook, annotations, Named { field: "hooks", object, verb: "aim hooks at it" })
}

/// Judges whether `asker` may write to a Repository and read its own snapshots in it.
pub fn repository(asker: Asker<'_>, (namespace, name): (&str, &str), spec: &RepositorySpec) -> Result<(), Refusal> {
    if namespace == asker.namespace {
        return Ok(());
    }
    let allowed = spec.usage_policy.as_ref().map(|policy| &policy.allowed_namespaces);
    let field = "spec.usagePolicy.allowedNamespaces";
    let object = format!("Repository {namespace}/{name}");
    by_policy(asker, allowed.map(ConsentPolicy::of), field, Named { field: "repository", object, verb: "use it" })
}

/// A snapshot that a RestoreSession names, and what its repository and its cluster say about its owner.
#[derive(Debug, Clone, Copy)]
pub struct NamedSnapshot<'a> {
    pub id: &'a str,
    /// Namespace of the configuration that wrote it; `None` for snapshots of other tools, which belong to the
    /// Repository's namespace.
    pub namespace: Option<&'a str>,
    pub owner: OwnerNamespace,
    /// The policy that the backup wrote into the snapshot's tags.
    pub consent: Option<&'a str>,
}

/// Whether the namespace that a snapshot came from can still be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerNamespace {
    Exists,
    Gone,
    /// The namespace is one of another cluster. It has its owners there, even if this cluster has one of the same name.
    OtherCluster,
}

/// Judges whether `asker` may restore a snapshot of a Repository. A snapshot of another namespace needs the Repository's
/// consent and the consent that its backup wrote into it; if that namespace is gone or in another cluster, the
/// Repository's is enough.
pub fn snapshot(
    asker: Asker<'_>,
    snapshot: NamedSnapshot<'_>,
    (namespace, name): (&str, &str),
    policy: Option<&UsagePolicy>,
) -> Result<(), Refusal> {
    let owner = snapshot.namespace.unwrap_or(namespace);
    if owner == asker.namespace && snapshot.owner != OwnerNamespace::OtherCluster {
        return Ok(());
    }
    let short = snapshot.id.get(..8).unwrap_or(snapshot.id);
    if namespace != asker.namespace {
        let allowed = policy.and_then(|policy| policy.cross_namespace_restore.as_ref());
        let elsewhere = if snapshot.owner == OwnerNamespace::OtherCluster { " of another cluster" } else { "" };
        let object = format!("snapshot {short} of namespace `{owner}`{elsewhere} in Repository {namespace}/{name}");
        let named = Named { field: "snapshot", object, verb: "restore snapshots of other namespaces" };
        by_policy(asker, allowed.map(ConsentPolicy::of), "spec.usagePolicy.crossNamespaceRestore", named)?;
    }
    if snapshot.owner != OwnerNamespace::Exists || snapshot.namespace.is_none() {
        return Ok(());
    }
    let annotation = Use::Snapshots.annotation();
    let object = format!("snapshot {short} of namespace `{owner}`");
    let remedy = format!(
        "annotate the BackupConfiguration in namespace `{owner}` with {annotation}: Namespaces={}; its next backup carries the consent",
        asker.namespace
    );
    let named = Named { field: "snapshot", object, verb: "restore it" };
    judge(asker, snapshot.consent.map(ConsentPolicy::parse), "tag of consent".to_owned(), named, remedy)
}

/// An object that is named, as refusals speak of it.
struct Named {
    field: &'static str,
    object: String,
    verb: &'static str,
}

fn by_annotation(
    asker: Asker<'_>,
    wanted: Use,
    annotations: &BTreeMap<String, String>,
    named: Named,
) -> Result<(), Refusal> {
    let annotation = wanted.annotation();
    let kind = named.object.split(' ').next().unwrap_or_default().to_owned();
    let policy = annotations.get(annotation).map(|text| ConsentPolicy::parse(text));
    let remedy = format!("annotate the {kind} with {annotation}: Namespaces={}", asker.namespace);
    judge(asker, policy, format!("annotation {annotation}"), named, remedy)
}

fn by_policy(
    asker: Asker<'_>,
    policy: Option<Result<ConsentPolicy, PolicyError>>,
    place: &str,
    named: Named,
) -> Result<(), Refusal> {
    let remedy =
        format!("allow the namespace in {place} of the Repository (from: All, or from: Selector with its labels)");
    judge(asker, policy, place.to_owned(), named, remedy)
}

fn judge(
    asker: Asker<'_>,
    policy: Option<Result<ConsentPolicy, PolicyError>>,
    place: String,
    Named { field, object, verb }: Named,
    remedy: String,
) -> Result<(), Refusal> {
    let allowed = policy.unwrap_or(Ok(ConsentPolicy::Same)).and_then(|policy| policy.allows(asker));
    match allowed {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::NotAllowed { field, object, asker: asker.namespace.to_owned(), verb, remedy }),
        Err(why) => Err(Refusal::Unreadable { field, object, place, why, remedy }),
    }
}

/// The Service that a host name means inside a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceHost {
    pub namespace: String,
    pub name: String,
    /// The host as the cluster's DNS knows it in every domain: `[POD.]NAME.NAMESPACE.svc`. Only its addresses are those of the
    /// Service: what follows `svc` in the name as it was written may be anybody's domain.
    pub canonical: String,
}

/// Finds the Service that a host name means; `None` for addresses and single names, whose meaning depends on the asker. There
/// may be no such Service: `example.com` means Service `example` of namespace `com` only if there is one.
#[must_use]
pub fn service_of_host(host: &str) -> Option<ServiceHost> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let labels: Vec<&str> = host.split('.').collect();
    let end = labels.iter().position(|label| *label == "svc").filter(|at| *at >= 2).unwrap_or(labels.len());
    let [.., name, namespace] = &labels[..end] else { return None };
    let canonical = format!("{}.svc", labels[..end].join("."));
    Some(ServiceHost { namespace: (*namespace).to_owned(), name: (*name).to_owned(), canonical })
}

#[cfg(test)]
mod tests;
