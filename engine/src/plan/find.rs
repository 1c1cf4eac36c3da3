//! Looks objects up in the view by the type of their spec.

use lagan_schemas::error::Code;
use lagan_schemas::forecast::MAX_CONCURRENT_ANNOTATION;
use lagan_schemas::resource::app_binding::AppBindingSpec;
use lagan_schemas::resource::backup_configuration::{BackupConfigurationSpec, TargetRef};
use lagan_schemas::resource::repository::RepositorySpec;
use lagan_schemas::resource::restore_session::RestoreSessionSpec;
use lagan_schemas::resource::{Group, Kind, Object, ObjectRef, Spec};

use super::{PlanInputs, Unresolved, refused};
use crate::view::{Lookup, View};

/// A spec that belongs to one kind of object.
pub(super) trait KindSpec: Sized {
    const KIND: Kind;

    fn of(spec: &Spec) -> Option<&Self>;
}

macro_rules! kind_specs {
    ($($spec:ty = $kind:ident;)*) => {$(
        impl KindSpec for $spec {
            const KIND: Kind = Kind::$kind;

            fn of(spec: &Spec) -> Option<&Self> {
                match spec {
                    Spec::$kind(spec) => Some(spec),
                    _ => None,
                }
            }
        }
    )*};
}

kind_specs! {
    AppBindingSpec = AppBinding;
    BackupConfigurationSpec = BackupConfiguration;
    RepositorySpec = Repository;
    RestoreSessionSpec = RestoreSession;
}

/// An object of the view, and its spec.
pub(crate) struct FoundObject<'a, S> {
    pub object: &'a Object,
    pub spec: &'a S,
}

impl<S> Clone for FoundObject<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for FoundObject<'_, S> {}

/// The AppBinding of a target.
pub(crate) type Binding<'a> = FoundObject<'a, AppBindingSpec>;

/// Finds an object, or says what is missing.
pub(super) fn find<'a, S: KindSpec>(
    inputs: &PlanInputs<'a>,
    group: Group,
    namespace: &str,
    name: &str,
) -> Result<FoundObject<'a, S>, Unresolved> {
    let object = valid(inputs.view, S::KIND, group, Some(namespace), name)?;
    let found = object.and_then(|object| Some(FoundObject { object, spec: S::of(&object.spec)? }));
    found.ok_or_else(|| Unresolved::Missing(vec![format!("{} {namespace}/{name}", S::KIND)]))
}

/// Looks for an object. An invalid one is refused with the words that its own status shows.
pub(super) fn valid<'a>(
    view: &'a View,
    kind: Kind,
    group: Group,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<&'a Object>, Unresolved> {
    match view.look_up(kind, group, namespace, name) {
        Lookup::Valid(object) => Ok(Some(object)),
        Lookup::Absent => Ok(None),
        Lookup::Invalid(invalid) => {
            let path = namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"));
            Err(refused(Code::InvalidSpec, format!("{kind} {path} is invalid: {}", invalid.problem)))
        }
    }
}

/// Finds the object that a session runs for. One that was deleted and made again under the same name is another object.
pub(super) fn invoker<'a, S: KindSpec>(
    inputs: &PlanInputs<'a>,
    named: &ObjectRef,
    uid: Uid,
) -> Result<FoundObject<'a, S>, Unresolved> {
    let namespace = named.namespace.as_deref().unwrap_or_default();
    let found = find::<S>(inputs, named.key_group(), namespace, &named.name)?;
    let is_named = found.object.metadata.uid == named.uid || (uid == Uid::IfGiven && named.uid.is_none());
    if !is_named {
        let message = format!("{} was replaced by another of its name", found.object.key());
        return Err(refused(Code::IntentNotConfirmed, message));
    }
    Ok(found)
}

/// Whether a request must name the uid of its invoker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uid {
    Required,
    IfGiven,
}

/// Finds the AppBinding that `target.ref` names.
pub(super) fn app_binding<'a>(
    inputs: &PlanInputs<'a>,
    own_namespace: &str,
    target: &TargetRef,
) -> Result<Binding<'a>, Unresolved> {
    if target.kind != Kind::AppBinding.as_str() {
        let message = format!("target.ref: a {} can't be backed up; name the AppBinding of the database", target.kind);
        return Err(refused(Code::InvalidSpec, message));
    }
    let namespace = target.namespace.as_deref().unwrap_or(own_namespace);
    let found: Binding<'_> = find(inputs, Group::AppCatalog, namespace, &target.name)?;
    if let Some(text) = found.object.metadata.annotations.get(MAX_CONCURRENT_ANNOTATION)
        && !text.parse().is_ok_and(|limit: u32| limit >= 1)
    {
        let path = found.object.key();
        let message = format!("{path}: annotation {MAX_CONCURRENT_ANNOTATION}: `{text}` is not a number of at least 1");
        return Err(refused(Code::InvalidSpec, message));
    }
    Ok(found)
}
