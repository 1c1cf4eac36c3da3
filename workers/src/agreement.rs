//! Compares a plan with the objects at the source of intent before a worker uses an address, a Secret or a program of it: no
//! message alone leads to another server. An object may have changed since the session was planned, so a difference makes the
//! attempt a retry, and the session is planned again. What a program is asked to do is judged in `databases`, not here.

use std::fmt::Display;

use lagan_schemas::catalogue;
use lagan_schemas::error::{Code, Failure};
use lagan_schemas::plan::{Database, Plan, PlanRepository, PlanTarget, Resolve, Step, Tls, Work};
use lagan_schemas::resource::app_binding::AppBindingSpec;
use lagan_schemas::resource::function::FunctionSpec;
use lagan_schemas::resource::kind::LAGAN;
use lagan_schemas::resource::repository::RepositorySpec;
use lagan_schemas::resource::{Kind, Object, ObjectRef, Spec};
use lagan_schemas::subject::ObjectKey;
use lagan_schemas::substitution::names;
use uuid::Uuid;

use crate::intent::unanswered;
use crate::worker::Worker;

/// Confirms database, repositories and program of a plan. A deletion confirms its repository itself (P5).
///
/// # Errors
/// `E0112` names the object and both values, or the Repository or AppBinding that is gone: it may be created again, and the
/// planner knows how long that is waited for.
pub(crate) async fn confirm(worker: &Worker, plan: &Plan) -> Result<(), Failure> {
    let step = match &plan.work {
        Work::Backup(work) => &work.step,
        Work::Restore(work) => &work.step,
        Work::Wipe(_) => return Ok(()),
    };
    for repository in plan.repositories() {
        let key = repository.reference.key();
        let found = published(worker, &key).await?.ok_or_else(|| gone(&key))?;
        of_uid(&key, &repository.reference, &found)?;
        if let Spec::Repository(spec) = &found.spec {
            of_repository(&key, repository, spec)?;
        }
    }
    let Some(target) = plan.target() else { return Ok(()) };
    let key = target.reference.key();
    let found = published(worker, &key).await?.ok_or_else(|| gone(&key))?;
    if let Spec::AppBinding(spec) = &found.spec {
        of_database(&worker.resolve, &key, target, spec)?;
    }
    let built_in = catalogue::find(Kind::Function, &step.function);
    // An invoker of any group may name a Function of this one.
    let own = published(worker, &function_key(&step.function)).await;
    // Without an answer a built-in Function is the only one that is known to be right.
    let own = if built_in.is_some() { own.unwrap_or_default() } else { own? };
    of_functions(step, &target.database, own.as_ref().into_iter().chain(built_in))
}

fn gone(key: &ObjectKey) -> Failure {
    Failure::new(Code::PlanDiffers, format!("{key} is not there at the source"))
}

/// An object that was created again under its name may be another place.
fn of_uid(key: &ObjectKey, planned: &ObjectRef, found: &Object) -> Result<(), Failure> {
    if planned.uid.is_some() && planned.uid == found.metadata.uid {
        return Ok(());
    }
    let shown = |uid: Option<Uuid>| uid.map_or_else(|| "none".to_owned(), |uid| uid.to_string());
    Err(differs(key, "uid", shown(found.metadata.uid), shown(planned.uid)))
}

/// Which of two Functions of one name the planner takes depends on the invoker's group, so the step may be that of either.
fn of_functions<'o>(
    step: &Step,
    database: &Database,
    functions: impl Iterator<Item = &'o Object>,
) -> Result<(), Failure> {
    let mut first = None;
    for object in functions {
        let Spec::Function(spec) = &object.spec else { continue };
        match of_program(step, database, spec) {
            Ok(()) => return Ok(()),
            Err(failure) => first = first.or(Some(failure)),
        }
    }
    Err(first.unwrap_or_else(|| differs("Function", &step.function, "is not there", "runs it")))
}

fn function_key(name: &str) -> ObjectKey {
    ObjectKey { group: LAGAN.to_owned(), kind: Kind::Function, namespace: None, name: name.to_owned() }
}

/// Reads an object in the form in which the planner saw it.
async fn published(worker: &Worker, key: &ObjectKey) -> Result<Option<Object>, Failure> {
    let found = worker.intent.source.object(key).await.map_err(|error| unanswered(&error))?;
    Ok(found.map(Object::published))
}

fn of_repository(key: &ObjectKey, planned: &PlanRepository, spec: &RepositorySpec) -> Result<(), Failure> {
    let secret = spec.backend.storage_secret_name.as_deref().unwrap_or_default();
    if planned.secret != secret {
        return Err(differs(key, "Secret", secret, &planned.secret));
    }
    if planned.backend == spec.backend {
        return Ok(());
    }
    let shown = |backend| serde_json::to_string(backend).unwrap_or_default();
    Err(differs(key, "backend", shown(&spec.backend), shown(&planned.backend)))
}

fn of_database(resolve: &Resolve, key: &ObjectKey, target: &PlanTarget, spec: &AppBindingSpec) -> Result<(), Failure> {
    let planned = &target.database;
    let default_port = catalogue::engine(&planned.engine).map(|engine| engine.port);
    let Some(default_port) = default_port else {
        return Err(differs(key, "engine", "one of the catalogue", &planned.engine));
    };
    let namespace = key.namespace.as_deref().unwrap_or_default();
    let there = spec.address(namespace, default_port).map(|address| resolve.address(address));
    let address = (planned.host.clone(), planned.port);
    if there.as_ref() != Some(&address) {
        let there = there.map_or_else(|| "none".to_owned(), |(host, port)| format!("{host}:{port}"));
        return Err(differs(key, "address", there, format!("{}:{}", address.0, address.1)));
    }
    let tls = Tls::of(spec);
    if planned.tls != tls {
        return Err(differs(key, "TLS", format!("{:?}", tls.mode), format!("{:?}", planned.tls.mode)));
    }
    Ok(())
}

fn of_program(step: &Step, database: &Database, spec: &FunctionSpec) -> Result<(), Failure> {
    let name = format!("Function/{}", step.function);
    let engine = spec.database.as_deref().unwrap_or_default();
    if database.engine != engine {
        return Err(differs(name, "database", engine, &database.engine));
    }
    match spec.command.first() {
        // A name that is put together from parameters is a matter of the worker's list of programs.
        Some(program) if *program != step.program && names(program).is_empty() => {
            Err(differs(name, "program", program, &step.program))
        }
        _ => Ok(()),
    }
}

fn differs(object: impl Display, field: &str, there: impl Display, planned: impl Display) -> Failure {
    let message = format!("{object}: {field} is `{there}` at the source, and `{planned}` in the plan");
    Failure::new(Code::PlanDiffers, message)
}

#[cfg(test)]
mod tests;
