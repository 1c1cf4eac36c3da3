#![allow(clippy::unwrap_used, reason = "tests")]

use lagan_schemas::plan::RestoreWork;
use serde_json::{Value, json};

use super::*;

/// The plan of the fixtures, and the specs that it was made from.
fn work() -> RestoreWork {
    let plan = include_str!("../../../schemas/fixtures/v1/plans/restore.json");
    let plan: Plan = serde_json::from_str(plan).unwrap();
    let Work::Restore(work) = plan.work else { panic!("a restore") };
    *work
}

fn binding(work: &RestoreWork) -> AppBindingSpec {
    let database = &work.target.database;
    let mut spec: AppBindingSpec = serde_json::from_value(json!({"clientConfig": {}})).unwrap();
    spec.client_config.url = Some(format!("mysql://{}:{}/", database.host, database.port));
    spec.client_config.ca_bundle = database.tls.ca_bundle.clone();
    spec.client_config.server_name = database.tls.server_name.clone();
    spec.tls_secret =
        database.tls.client_secret.clone().map(|name| serde_json::from_value(json!({ "name": name })).unwrap());
    spec
}

fn told(result: Result<(), Failure>) -> String {
    let failure = result.unwrap_err();
    assert_eq!(failure.code, Code::PlanDiffers);
    failure.message
}

#[test]
fn a_plan_must_name_the_database_that_its_app_binding_names() {
    let mut work = work();
    work.target.database.tls = Tls::of(&binding(&work));
    let (spec, key) = (binding(&work), work.target.reference.key());
    let none = Resolve::default();
    of_database(&none, &key, &work.target, &spec).unwrap();
    let right = (work.target.database.host.clone(), work.target.database.port);
    let mut forged = work.target.clone();
    forged.database.host = "evil.example.com".to_owned();
    let message = told(of_database(&none, &key, &forged, &spec));
    assert!(
        message.contains("evil.example.com") && message.contains(&right.0) && message.contains(&key.name),
        "{message}"
    );
    forged = work.target.clone();
    forged.database.port = right.1 + 1;
    assert!(told(of_database(&none, &key, &forged, &spec)).contains("address"));
    // The same server without a look at its certificate, or with the document of another engine.
    let mut checked = spec.clone();
    checked.client_config.ca_bundle = Some("Q0E=".to_owned());
    assert!(told(of_database(&none, &key, &work.target, &checked)).contains("TLS"));
    forged = work.target.clone();
    forged.database.engine = "nothing".to_owned();
    assert!(told(of_database(&none, &key, &forged, &spec)).contains("engine"));
    // Where the engine goes to another address, the worker does too, and to no other.
    let elsewhere = Resolve([(right, ("127.0.0.1".to_owned(), 9))].into());
    assert!(told(of_database(&elsewhere, &key, &work.target, &spec)).contains("127.0.0.1:9"));
    forged = work.target.clone();
    (forged.database.host, forged.database.port) = ("127.0.0.1".to_owned(), 9);
    of_database(&elsewhere, &key, &forged, &spec).unwrap();
}

#[test]
fn a_plan_must_name_the_place_and_the_secret_that_its_repository_names() {
    let work = work();
    let spec: RepositorySpec =
        serde_json::from_value(json!({"backend": serde_json::to_value(&work.repository.backend).unwrap()})).unwrap();
    let key = work.repository.reference.key();
    of_repository(&key, &work.repository, &spec).unwrap();
    let mut forged = work.repository.clone();
    forged.secret = "another".to_owned();
    assert!(told(of_repository(&key, &forged, &spec)).contains("`another` in the plan"));
    forged = work.repository.clone();
    let place =
        json!({"s3": {"endpoint": "s3.evil.example.com", "bucket": "b"}, "storageSecretName": work.repository.secret});
    forged.backend = serde_json::from_value(place).unwrap();
    assert!(told(of_repository(&key, &forged, &spec)).contains("s3.evil.example.com"));
}

#[test]
fn a_plan_must_name_the_program_of_its_function() {
    let work = work();
    let function = |command: Value| -> FunctionSpec {
        serde_json::from_value(json!({"database": work.target.database.engine, "command": command})).unwrap()
    };
    let database = &work.target.database;
    of_program(&work.step, database, &function(json!([work.step.program]))).unwrap();
    assert!(told(of_program(&work.step, database, &function(json!(["other"])))).contains("program"));
    // Put together from parameters, it can't be told here.
    of_program(&work.step, database, &function(json!(["${client}"]))).unwrap();
    let mut other = function(json!([work.step.program]));
    other.database = Some("another".to_owned());
    assert!(told(of_program(&work.step, database, &other)).contains("database"));
}

#[test]
fn a_repository_that_was_created_again_is_another_one() {
    let work = work();
    let key = work.repository.reference.key();
    let json = json!({
        "apiVersion": "lagan.dev/v1alpha1", "kind": "Repository",
        "metadata": {"name": "main", "namespace": "shop", "uid": work.repository.reference.uid},
        "spec": {"backend": serde_json::to_value(&work.repository.backend).unwrap()},
    });
    let mut found = Object::from_json(json).unwrap();
    of_uid(&key, &work.repository.reference, &found).unwrap();
    // A forged plan may leave the uid out.
    let nameless = ObjectRef { uid: None, ..work.repository.reference.clone() };
    assert!(told(of_uid(&key, &nameless, &found)).contains("uid"));
    found.metadata.uid = Some(Uuid::from_u128(99));
    assert!(told(of_uid(&key, &work.repository.reference, &found)).contains("uid"));
}

#[test]
fn a_step_may_be_that_of_a_persons_function_or_of_the_built_in_one_of_its_name() {
    let work = work();
    let function = |program: &str| {
        let json = json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "Function", "metadata": {"name": work.step.function},
            "spec": {"database": work.target.database.engine, "command": [program]},
        });
        Object::from_json(json).unwrap()
    };
    let (own, built_in) = (function("own"), function(&work.step.program));
    let judge =
        |step: &Step, functions: &[&Object]| of_functions(step, &work.target.database, functions.iter().copied());
    judge(&work.step, &[&own, &built_in]).unwrap();
    let of_own = Step { program: "own".to_owned(), ..work.step.clone() };
    judge(&of_own, &[&own, &built_in]).unwrap();
    judge(&of_own, &[&own]).unwrap();
    assert!(told(judge(&of_own, &[&built_in])).contains("`own` in the plan"));
    assert!(told(judge(&of_own, &[])).contains("is not there"));
}
