//! Asks objects of other namespaces for their consent once more, at the source, before their data is touched. The
//! planner has asked before, but a message alone opens nothing.

use std::collections::{BTreeMap, BTreeSet};

use lagan_schemas::consent::{self, Asker, CrossNamespace, MissingConsents, OwnerNamespace, Refusal, Use};
use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::Notice;
use lagan_schemas::plan::{Application, Plan, RestoreWork, Work};
use lagan_schemas::resource::hooks::{BackupHooks, RestoreHooks};
use lagan_schemas::resource::repository::RepositorySpec;
use lagan_schemas::resource::{Group, Kind, Object, ObjectRef, Spec};
use lagan_schemas::subject::ObjectKey;
use lagan_schemas::tag::Tag;

use crate::intent::{Intent, unanswered};
use crate::repository::Snapshot;
use crate::worker::Worker;

/// The consents that one session needs: those of objects outside the namespace of its invoker.
pub(crate) struct Consents<'a> {
    intent: &'a Intent,
    namespace: &'a str,
    rule: CrossNamespace,
    missing: MissingConsents,
}

/// Asks for every consent that a plan needs, apart from those of hooks and of snapshots.
pub(crate) async fn confirm(worker: &Worker, plan: &Plan) -> Result<(), Failure> {
    // The consent of one object must not open the login of another.
    if let Some(target) = plan.target() {
        let (reference, login) = (&target.reference, &target.database.credentials);
        if reference.namespace.as_deref() != Some(&login.namespace) || reference.name != login.app_binding {
            let message = format!(
                "the plan asks for AppBinding {} and for the login of {}/{}; no planner makes such a plan",
                reference.path(),
                login.namespace,
                login.app_binding
            );
            return Err(Failure::new(Code::UsageNotAllowed, message));
        }
    }
    let mut consents = Consents::new(worker, plan);
    match &plan.work {
        Work::Backup(work) => {
            consents.app_binding(Use::Backup, &work.target.reference).await?;
            for repository in work.repositories.iter() {
                consents.repository(&repository.reference).await?;
            }
            Ok(())
        }
        Work::Restore(work) => consents.restore(work).await,
        Work::Wipe(_) => Ok(()),
    }
}

/// Asks whether the chosen snapshot may be restored. Returns the warning condition of a session that goes on without
/// consents.
pub(crate) async fn of_snapshot(
    worker: &Worker,
    plan: &Plan,
    work: &RestoreWork,
    snapshot: &Snapshot,
) -> Result<Option<Notice>, Failure> {
    let mut consents = Consents::new(worker, plan);
    // The condition replaces the planner's, so it names these too.
    consents.restore(work).await?;
    consents.snapshot(snapshot, &work.repository.reference).await?;
    Ok(consents.missing.into_notice())
}

impl<'a> Consents<'a> {
    pub fn new(worker: &'a Worker, plan: &'a Plan) -> Self {
        let namespace = plan.invoker.namespace.as_deref().unwrap_or_default();
        let (intent, rule) = (&worker.intent, worker.cross_namespace);
        Self { intent, namespace, rule, missing: MissingConsents::default() }
    }

    async fn restore(&mut self, work: &RestoreWork) -> Result<(), Failure> {
        self.app_binding(Use::Restore, &work.target.reference).await?;
        self.repository(&work.repository.reference).await
    }

    /// Asks the AppBinding whose database is read or written.
    async fn app_binding(&mut self, wanted: Use, reference: &ObjectRef) -> Result<(), Failure> {
        if reference.namespace.as_deref() == Some(self.namespace) {
            return Ok(());
        }
        let binding = self.object(&reference.key()).await?.ok_or_else(|| gone(reference))?;
        let blueprints = self.blueprint_namespaces(&binding).await?;
        self.ask(|asker| consent::app_binding(asker, wanted, &binding, &blueprints)).await
    }

    /// Asks the Repository that is written to or read.
    async fn repository(&mut self, reference: &ObjectRef) -> Result<(), Failure> {
        if reference.namespace.as_deref() == Some(self.namespace) {
            return Ok(());
        }
        let spec = self.read_repository(reference).await?;
        self.ask(|asker| consent::repository(asker, path(reference), &spec)).await
    }

    /// Asks the Repository and the writer of a snapshot whether it may be restored.
    async fn snapshot(&mut self, snapshot: &Snapshot, reference: &ObjectRef) -> Result<(), Failure> {
        let origin = snapshot.origin();
        let owner = match &origin {
            Some(origin) if !self.intent.identity().await?.owns(origin.cluster) => OwnerNamespace::OtherCluster,
            Some(origin) => self.owner(&origin.configuration.namespace).await?,
            None => OwnerNamespace::Exists,
        };
        let namespace = origin.as_ref().map(|origin| origin.configuration.namespace.as_str());
        if owner == OwnerNamespace::Exists && namespace.or(reference.namespace.as_deref()) == Some(self.namespace) {
            return Ok(());
        }
        let spec = self.read_repository(reference).await?;
        let consent = Tag::Consent.find(&snapshot.tags);
        let taken = consent::NamedSnapshot { id: &snapshot.id, namespace, owner, consent };
        self.ask(|asker| consent::snapshot(asker, taken, path(reference), spec.usage_policy.as_ref())).await
    }

    async fn owner(&self, namespace: &str) -> Result<OwnerNamespace, Failure> {
        if namespace == self.namespace {
            return Ok(OwnerNamespace::Exists);
        }
        match self.intent.source.has_namespace(namespace).await {
            Ok(true) => Ok(OwnerNamespace::Exists),
            Ok(false) => Ok(OwnerNamespace::Gone),
            // A namespace that may not be looked at may exist.
            Err(error) if error.is_refusal() => Ok(OwnerNamespace::Exists),
            Err(error) => Err(unanswered(&error)),
        }
    }

    /// Asks the Services that the hooks of an invoker reach.
    pub async fn hooks(&mut self, invoker: &Object, application: &Application) -> Result<(), Failure> {
        let hosts = match &invoker.spec {
            Spec::BackupConfiguration(spec) => spec.hooks.as_ref().map(BackupHooks::hosts),
            Spec::RestoreSession(spec) => spec.hooks.as_ref().map(RestoreHooks::hosts),
            _ => None,
        };
        for host in hosts.unwrap_or_default() {
            let service = application.service_reached(host.as_deref());
            let Some((namespace, name)) = service.filter(|(namespace, _)| namespace != self.namespace) else {
                continue;
            };
            let found = self.intent.source.service_annotations(&namespace, &name).await;
            let Some(annotations) = found.map_err(|error| unanswered(&error))? else { continue };
            self.ask(|asker| consent::service(asker, (&namespace, &name), &annotations)).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, judge: impl FnOnce(Asker<'_>) -> Result<(), Refusal>) -> Result<(), Failure> {
        let labels = self.intent.source.namespace_labels(self.namespace).await.map_err(|error| unanswered(&error))?;
        let labels = || labels.clone();
        let judged = judge(Asker { namespace: self.namespace, labels: &labels });
        self.rule.settle(judged, &mut self.missing)
    }

    async fn read_repository(&self, reference: &ObjectRef) -> Result<RepositorySpec, Failure> {
        match self.object(&reference.key()).await?.map(|object| object.spec) {
            Some(Spec::Repository(spec)) => Ok(*spec),
            _ => Err(gone(reference)),
        }
    }

    /// Namespaces of the blueprints that an AppBinding names.
    async fn blueprint_namespaces(&self, binding: &Object) -> Result<BTreeSet<String>, Failure> {
        let mut found: BTreeMap<String, Object> = BTreeMap::new();
        let named = consent::blueprints(&binding.metadata.annotations);
        for (first, name) in
            named.into_iter().flat_map(|(group, names)| names.into_iter().map(move |name| (group, name)))
        {
            for group in [first, Group::Lagan] {
                let kind = Kind::BackupBlueprint;
                let key = ObjectKey { group: group.as_str().to_owned(), kind, namespace: None, name: name.clone() };
                if let Some(blueprint) = self.object(&key).await? {
                    found.insert(name, blueprint);
                    break;
                }
            }
        }
        Ok(consent::blueprint_namespaces(binding, |_, name| found.get(name)))
    }

    async fn object(&self, key: &ObjectKey) -> Result<Option<Object>, Failure> {
        self.intent.source.object(key).await.map_err(|error| unanswered(&error))
    }
}

fn path(reference: &ObjectRef) -> (&str, &str) {
    (reference.namespace.as_deref().unwrap_or_default(), &reference.name)
}

fn gone(reference: &ObjectRef) -> Failure {
    Failure::new(Code::ReferenceNotFound, format!("{} {} is not there any more", reference.kind, reference.path()))
}
