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
use lagan_schemas::resource::{Group, Kind, Object, Spec};
use lagan_schemas::subject::ObjectKey;
use lagan_schemas::substitution::names;

use crate::intent::unanswered;
use crate::worker::Worker;

/// Confirms database, repositories and program of a plan. A deletion confirms its repository itself (P5).
///
/// # Errors
/// `E0112` names the object and both values. Objects that are gone are left to those who need them next.
pub(crate) async fn confirm(worker: &Worker, plan: &Plan) -> Result<(), Failure> {
    let step = match &plan.work {
        Work::Backup(work) => &work.step,
        Work::Restore(work) => &work.step,
        Work::Wipe(_) => return Ok(()),
    };
    for repository in plan.repositories() {
        let key = repository.reference.key();
        if let Some(Spec::Repository(spec)) = published(worker, &key).await?.map(|object| object.spec) {
            of_repository(&key, repository, &spec)?;
        }
    }
    let Some(target) = plan.target() else { return Ok(()) };
    let key = target.reference.key();
    if let Some(Spec::AppBinding(spec)) = published(worker, &key).await?.map(|object| object.spec) {
        of_database(&worker.resolve, &key, target, &spec)?;
    }
    let built_in = catalogue::find(Kind::Function, &step.function);
    // Functions of Stash's group run in images; built-in ones take their place.
    let own = match Group::of(&plan.invoker.api_version) {
        Group::Lagan => published(worker, &function_key(&step.function)).await,
        _ => Ok(None),
    };
    // Without an answer a built-in Function is the only one that is known to be right.
    let own = if built_in.is_some() { own.unwrap_or_default() } else { own? };
    let function = own.as_ref().or(built_in);
    match function.map(|object| &object.spec) {
        Some(Spec::Function(spec)) => of_program(step, &target.database, spec),
        _ => Err(differs("Function", &step.function, "is not there", "runs it")),
    }
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
