//! Asks the objects of other namespaces that an invoker names for their consent, by the rules of
//! `lagan_schemas::consent`. The worker asks them again at the source.

use std::collections::BTreeSet;

use lagan_schemas::consent::{self, Asker, NamedSnapshot, OwnerNamespace, Refusal, Use};
use lagan_schemas::plan::PlanHooks;
use lagan_schemas::resource::backup_configuration::BackupConfigurationSpec;
use lagan_schemas::resource::hooks::BackupHooks;
use lagan_schemas::resource::repository::RepositorySpec;
use lagan_schemas::resource::{Group, Kind, Object, ObjectRef, Spec};

use super::answers::Answers;
use super::find::Binding;
use super::hooks;
use crate::view::View;

/// The namespace of an invoker, and what is known of the objects that it names.
#[derive(Clone, Copy)]
pub(crate) struct ConsentContext<'a> {
    pub view: &'a View,
    pub answers: &'a Answers,
    pub namespace: &'a str,
}

impl ConsentContext<'_> {
    fn ask(&self, judge: impl FnOnce(Asker<'_>) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let labels = || self.answers.labels(self.namespace);
        judge(Asker { namespace: self.namespace, labels: &labels })
    }

    pub fn app_binding(&self, wanted: Use, binding: &Object) -> Result<(), Refusal> {
        let blueprints = consent::blueprint_namespaces(binding, |group, name| {
            self.view.find(Kind::BackupBlueprint, group, None, name).map(AsRef::as_ref)
        });
        self.ask(|asker| consent::app_binding(asker, wanted, binding, &blueprints))
    }

    pub fn repository(&self, object: &Object, spec: &RepositorySpec) -> Result<(), Refusal> {
        self.ask(|asker| consent::repository(asker, path(object), spec))
    }

    /// Judges the Repository's part of restoring snapshots that namespace `owner` wrote. Their own consent is in the
    /// repository, where only a worker can read it.
    pub fn snapshots_of(&self, owner: &str, repository: &ObjectRef) -> Result<(), Refusal> {
        let Some(object) = self.view.objects.get(&repository.key()) else { return Ok(()) };
        let Spec::Repository(spec) = &object.spec else { return Ok(()) };
        let snapshot =
            NamedSnapshot { id: "latest", namespace: Some(owner), owner: OwnerNamespace::Gone, consent: None };
        self.ask(|asker| consent::snapshot(asker, snapshot, path(object), spec.usage_policy.as_ref()))
    }

    /// Judges the Services that hooks reach: by the hosts that they name, else by the application of the plan.
    pub fn hooks(&self, planned: Option<&PlanHooks>, hosts: Option<BTreeSet<Option<String>>>) -> Result<(), Refusal> {
        let Some(PlanHooks { application }) = planned else { return Ok(()) };
        for host in hosts.unwrap_or_default() {
            let Some((namespace, name)) = application.service_reached(host.as_deref()) else { continue };
            if namespace == self.namespace {
                continue;
            }
            let Some(annotations) = self.answers.service(&namespace, &name) else { continue };
            self.ask(|asker| consent::service(asker, (&namespace, &name), &annotations))?;
        }
        Ok(())
    }
}

/// Judges the objects that a BackupConfiguration names, as far as they exist.
pub(crate) fn of_configuration(
    (object, spec): (&Object, &BackupConfigurationSpec),
    view: &View,
    answers: &Answers,
) -> Result<(), Refusal> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let consents = ConsentContext { view, answers, namespace };
    let target = spec.target.as_ref().and_then(|target| target.reference.as_ref());
    let binding = target.and_then(|target| {
        let namespace = target.namespace.as_deref().unwrap_or(namespace);
        view.find(Kind::AppBinding, Group::AppCatalog, Some(namespace), &target.name)
    });
    if let Some(binding) = binding {
        consents.app_binding(Use::Backup, binding)?;
        if let Spec::AppBinding(of_binding) = &binding.spec {
            let planned = hooks::of_backup(spec.hooks.as_ref(), Binding { object: binding, spec: of_binding });
            consents.hooks(planned.ok().flatten().as_ref(), spec.hooks.as_ref().map(BackupHooks::hosts))?;
        }
    }
    let there = spec.repository.namespace.as_deref().unwrap_or(namespace);
    let repository = view.find(Kind::Repository, object.group(), Some(there), &spec.repository.name);
    match repository.map(|repository| (repository, &repository.spec)) {
        Some((repository, Spec::Repository(spec))) => consents.repository(repository, spec),
        _ => Ok(()),
    }
}

fn path(object: &Object) -> (&str, &str) {
    (object.metadata.namespace.as_deref().unwrap_or_default(), &object.metadata.name)
}
