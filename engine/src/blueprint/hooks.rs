//! Hooks of generated objects. The view knows only the shape of a blueprint's hooks, so they are read at their source
//! before an object is put. If they can't be read, the object is not put: it never gets hooks without their content.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use lagan_schemas::resource::backup_blueprint::BackupBlueprintSpec;
use lagan_schemas::resource::{Kind, Object, Spec};
use lagan_schemas::subject::ObjectKey;
use lagan_sources::{Source, SourceError};

use super::derive::{BLUEPRINT_LABEL, HOOKS_OF};

#[derive(Debug, thiserror::Error)]
pub(super) enum PutError {
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The watcher will see the change too, and another look follows.
    #[error("`{0}` is not there any more, or it is another one now")]
    BlueprintGone(ObjectKey),
}

/// Blueprints read from the source, each once in a look.
#[derive(Default)]
pub(super) struct Blueprints(BTreeMap<ObjectKey, Option<Object>>);

impl Blueprints {
    /// Puts a derived object, with the hooks that its blueprint has at the source.
    pub async fn put(&mut self, source: &Source, mut object: Object) -> Result<(), PutError> {
        if let Some(key) = blueprint_of(&object) {
            let found = self.read(source, &key).await?;
            let blueprint =
                found.and_then(|found| same_blueprint(&object, found)).ok_or(PutError::BlueprintGone(key))?;
            if let Spec::BackupConfiguration(spec) = &mut object.spec {
                spec.hooks.clone_from(&blueprint.hooks);
            }
        }
        Ok(source.put(&object).await?)
    }

    async fn read(&mut self, source: &Source, key: &ObjectKey) -> Result<Option<&Object>, SourceError> {
        let found = match self.0.entry(key.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(source.object(key).await?),
        };
        Ok(found.as_ref())
    }
}

/// The blueprint that an object's hooks come from, if it has hooks.
fn blueprint_of(object: &Object) -> Option<ObjectKey> {
    let Spec::BackupConfiguration(spec) = &object.spec else { return None };
    spec.hooks.as_ref()?;
    let name = object.metadata.labels.get(BLUEPRINT_LABEL).cloned().unwrap_or_default();
    Some(ObjectKey { group: object.group().as_str().to_owned(), kind: Kind::BackupBlueprint, namespace: None, name })
}

/// The spec of the blueprint that an object was derived from; `None` if another blueprint has its name now.
fn same_blueprint<'a>(object: &Object, found: &'a Object) -> Option<&'a BackupBlueprintSpec> {
    let (derived_from, _) = object.metadata.annotations.get(HOOKS_OF)?.split_once('/')?;
    let Spec::BackupBlueprint(spec) = &found.spec else { return None };
    (found.metadata.uid?.to_string() == derived_from).then_some(&**spec)
}
