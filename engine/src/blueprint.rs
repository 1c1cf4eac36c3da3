//! Auto-backup: makes a Repository and a BackupConfiguration for each AppBinding that names a BackupBlueprint in an
//! annotation. When the annotation is removed, the configuration is removed and the Repository stays: it leads to the data.

pub(crate) mod derive;
mod failures;
mod hooks;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use lagan_bus::kv;
use lagan_bus::lease::LeaseMode;
use lagan_schemas::resource::{Group, Kind, Object, Spec};
use lagan_schemas::subject::ObjectKey;
use lagan_sources::SourceError;
use tokio::sync::watch;
use tokio::time::Instant;

use self::derive::{BLUEPRINT_LABEL, Derivations, Derived, GENERATED_FOR, HOOKS_OF, asked};
use self::failures::{Again, Failures};
use self::hooks::{Blueprints, PutError};
use crate::context::Context;
use crate::error::EngineError;
use crate::view::View;

/// Delay after a change, so that objects which are applied together are looked at together.
const SETTLE: Duration = Duration::from_millis(300);

/// `intent` is true when every object has been published once.
pub(crate) async fn run(context: Context, intent: watch::Receiver<bool>) -> Result<(), EngineError> {
    let scope = kv::key(&["role", "blueprints"]);
    let owner = context.instance.to_string();
    loop {
        let lease = tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            lease = context.leases.acquire(&scope, LeaseMode::Exclusive, &owner, Duration::from_secs(3600)) => lease,
        };
        let Ok(lease) = lease else { continue };
        tokio::select! {
            () = context.stop.cancelled() => {}
            () = lease.tenure().unconfirmed() => {}
            () = follow(&context, intent.clone()) => {}
        }
        lease.release().await;
        if context.stop.is_cancelled() {
            return Ok(());
        }
    }
}

/// Looks after each change of the objects, for ever.
async fn follow(context: &Context, mut intent: watch::Receiver<bool>) {
    // Before intent was published once, a missing object may only not have been seen yet.
    if intent.wait_for(|seen| *seen).await.is_err() {
        return;
    }
    let mut changes = context.resources.changes();
    changes.mark_changed();
    let (mut logged, mut known) = (Logged::default(), Known::default());
    let mut again: Option<Instant> = None;
    let mut seen = None;
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
        }
        let is_due = again.is_some_and(|at| at <= Instant::now());
        // Sessions and other objects come and go far more often, and change nothing that blueprints make.
        if !is_due && seen == Some(context.resources.read().blueprint_changes) {
            continue;
        }
        tokio::time::sleep(SETTLE).await;
        changes.mark_unchanged();
        seen = Some(context.resources.read().blueprint_changes);
        again = look(context, &mut logged, &mut known).await.pause().map(|pause| Instant::now() + pause);
    }
}

/// Problems and failures that earlier looks logged. They are not logged again while they stay the same.
#[derive(Default)]
struct Logged {
    problems: BTreeSet<String>,
    failures: Failures,
}

/// What earlier looks found, as long as the objects that it is about stay the same values.
#[derive(Default)]
struct Known {
    derivations: Derivations,
    /// Objects that are as they should be, with what they should be.
    settled: HashMap<ObjectKey, [Arc<Object>; 2]>,
}

impl Known {
    fn look(&mut self, view: &View) -> Work {
        let derived = self.derivations.derive(view);
        plan(view, derived, &mut self.settled)
    }
}

/// Makes the objects that should exist and removes those that should not. Returns when failures are tried again.
async fn look(context: &Context, logged: &mut Logged, known: &mut Known) -> Again {
    let work = known.look(&context.resources.read());
    for problem in work.problems.difference(&logged.problems) {
        tracing::warn!(problem, "database is not backed up by its blueprint");
    }
    logged.problems = work.problems;
    let mut failures = Failures::default();
    let mut blueprints = Blueprints::default();
    for object in work.put {
        let key = object.key();
        match make(context, &mut blueprints, object).await {
            Ok(true) => tracing::info!(object = %key, "made by a blueprint"),
            Ok(false) => {}
            Err(error) => failures.add(key, "make", &error),
        }
    }
    for object in work.remove {
        let key = object.key();
        match remove(context, &object).await {
            Ok(true) => tracing::info!(object = %key, "removed: no annotation asks for it any more"),
            Ok(false) => {}
            Err(error) => failures.add(key, "remove", &error),
        }
    }
    failures.log_new_since(&logged.failures);
    logged.failures = failures;
    logged.failures.again()
}

/// Makes a derived object; false if a person made one of its name. The bus may lack one that is there, and a person may have
/// paused it.
async fn make(context: &Context, blueprints: &mut Blueprints, object: Object) -> Result<bool, PutError> {
    let (key, source) = (object.key(), context.source());
    let is_seen = context.resources.read().objects.contains_key(&key);
    let there = if is_seen { None } else { source.object(&key).await? };
    let made_for = |object: &Object| object.metadata.annotations.get(GENERATED_FOR).cloned();
    if there.as_ref().is_some_and(|there| made_for(there) != made_for(&object)) {
        return Ok(false);
    }
    blueprints.put(source, keep_paused(object, there.as_ref())).await?;
    Ok(true)
}

/// Removes a generated object; false if an annotation asks for it after all.
async fn remove(context: &Context, generated: &Object) -> Result<bool, PutError> {
    if still_asked_for(context, generated).await? {
        return Ok(false);
    }
    context.source().remove(&generated.key(), generated.metadata.uid).await?;
    Ok(true)
}

/// Asks the source before anything is removed: the view may be behind, or may be incomplete after a loss.
async fn still_asked_for(context: &Context, generated: &Object) -> Result<bool, SourceError> {
    let Some((namespace, name)) = generated.metadata.annotations.get(GENERATED_FOR).and_then(|of| of.split_once('/'))
    else {
        return Ok(true);
    };
    let key = ObjectKey {
        group: Group::AppCatalog.as_str().to_owned(),
        kind: Kind::AppBinding,
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    };
    let binding = context.source().object(&key).await?;
    let blueprint = generated.metadata.labels.get(BLUEPRINT_LABEL);
    // A database whose blueprint can't be used now keeps its backups.
    Ok(binding
        .and_then(|binding| asked(&binding))
        .is_some_and(|asked| blueprint.is_some_and(|blueprint| asked.blueprints.contains(blueprint))))
}

#[derive(Default)]
struct Work {
    put: Vec<Object>,
    remove: Vec<Arc<Object>>,
    problems: BTreeSet<String>,
}

/// One Repository and one configuration of a name: two databases of one name, in namespaces whose blueprint puts their
/// objects into a third, would take each other's. The one whose objects exist keeps them.
fn wanted(
    view: &View,
    mut pairs: Vec<[Arc<Object>; 2]>,
    problems: &mut BTreeSet<String>,
) -> BTreeMap<ObjectKey, Arc<Object>> {
    let made_for = |object: &Object| object.metadata.annotations.get(GENERATED_FOR).cloned();
    let exists =
        |object: &Object| view.objects.get(&object.key()).is_some_and(|there| made_for(there) == made_for(object));
    pairs.sort_by_key(|pair| !pair.iter().any(|object| exists(object)));
    let mut wanted: BTreeMap<ObjectKey, Arc<Object>> = BTreeMap::new();
    for pair in pairs {
        let of_another = pair.iter().find_map(|object| {
            let key = object.key();
            let there = wanted.get(&key).or(view.objects.get(&key))?;
            made_for(there).filter(|other| Some(other) != made_for(object).as_ref()).map(|other| (key, other))
        });
        match of_another {
            None => wanted.extend(pair.map(|object| (object.key(), object))),
            Some((key, other)) => {
                let binding = made_for(&pair[0]).unwrap_or_default();
                problems.insert(format!(
                    "AppBinding/{binding}: {key} belongs to AppBinding/{other}; give one of them another name, or its \
                     blueprint another `backupNamespace`"
                ));
            }
        }
    }
    wanted
}

/// Compares the objects that should exist with those that do. Objects of the same name that people made are left alone.
fn plan(view: &View, derived: Derived, settled: &mut HashMap<ObjectKey, [Arc<Object>; 2]>) -> Work {
    let mut work = Work { problems: derived.problems, ..Work::default() };
    let wanted = wanted(view, derived.pairs, &mut work.problems);
    for generated in view.of_kind(Kind::BackupConfiguration) {
        let made = generated.metadata.annotations.contains_key(GENERATED_FOR);
        if made && !wanted.contains_key(&generated.key()) {
            work.remove.push(Arc::clone(generated));
        }
    }
    let mut before = std::mem::take(settled);
    for (key, object) in wanted {
        match view.objects.get(&key) {
            Some(there)
                if there.metadata.annotations.get(GENERATED_FOR) != object.metadata.annotations.get(GENERATED_FOR) =>
            {
                work.problems
                    .insert(format!("{key} is there already and was not made by a blueprint; it stays as it is"));
            }
            Some(there) => {
                let is_known = before
                    .remove(&key)
                    .is_some_and(|[was, wanted]| Arc::ptr_eq(&was, there) && Arc::ptr_eq(&wanted, &object));
                // A person may pause what a blueprint made.
                if is_known || same(there, &object) {
                    settled.insert(key, [Arc::clone(there), object]);
                } else {
                    work.put.push(keep_paused(Object::clone(&object), Some(there)));
                }
            }
            None => work.put.push(Object::clone(&object)),
        }
    }
    work
}

fn keep_paused(mut wanted: Object, there: Option<&Object>) -> Object {
    if let (Spec::BackupConfiguration(spec), Some(Spec::BackupConfiguration(there))) =
        (&mut wanted.spec, there.map(|there| &there.spec))
    {
        spec.paused = there.paused;
    }
    wanted
}

fn same(there: &Object, wanted: &Object) -> bool {
    let spec = |object: &Object| {
        let mut spec = object.spec_json();
        spec.as_object_mut().map(|spec| spec.remove("paused"));
        spec
    };
    let annotation = |object: &Object| object.metadata.annotations.get(HOOKS_OF).cloned();
    // An annotation that is not wanted may be somebody else's: the object would be put for ever.
    let same_hooks = annotation(wanted).is_none_or(|wanted| annotation(there) == Some(wanted));
    same_hooks && spec(there) == spec(wanted)
}

#[cfg(test)]
mod tests;
