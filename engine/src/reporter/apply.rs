//! Statuses from STATUS to the objects of a cluster, and Kubernetes Events. A status that can't be applied now is applied
//! later, in its then last form; what is on its way is never more than one value of each object.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter as Source};
use lagan_schemas::error::chain;
use lagan_schemas::resource::ObjectRef;
use lagan_schemas::subject::ObjectKey;
use lagan_sources::kubernetes::{Kubernetes, KubernetesError, REPORTER};
use lagan_sources::stand_in::session_of_value;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::document::Document;
use super::finalizer;
use crate::report::note::{Note, Severity};

/// Requests at the same time; the API server is everybody's.
const AT_ONCE: usize = 8;
const PAUSE: Duration = Duration::from_secs(1);
/// Nobody waits longer for an event to be taken.
const EVENT: Duration = Duration::from_secs(15);

/// What is to be done to one object.
#[derive(Debug, Clone, Default)]
pub(super) struct Job {
    /// The whole object with its status, as STATUS has it.
    document: Option<Document>,
    /// Labels that others look for (KubeDB's).
    labels: BTreeMap<String, String>,
    /// What is told of it, and on which other object too.
    notes: Vec<(Note, Option<ObjectRef>)>,
    delete: bool,
    finalizer: Option<(Uuid, Option<Note>)>,
}

impl Job {
    pub fn status(document: impl Into<Document>) -> Self {
        Self { document: Some(document.into()), ..Self::default() }
    }

    /// Who looks at the configuration wants to see its failures there.
    pub fn told(mut self, note: Option<Note>, configuration: Option<ObjectRef>) -> Self {
        self.notes = note.map(|note| (note, configuration)).into_iter().collect();
        self
    }

    pub fn labels(labels: BTreeMap<String, String>) -> Self {
        Self { labels, ..Self::default() }
    }

    /// Our finalizer on the Repository of this uid, and what is told when it goes.
    pub fn finalizer(uid: Uuid, outcome: Option<Note>) -> Self {
        Self { finalizer: Some((uid, outcome)), ..Self::default() }
    }

    pub fn delete(document: impl Into<Document>) -> Self {
        Self { document: Some(document.into()), delete: true, ..Self::default() }
    }

    /// The scheduled session that the object stands for.
    fn session(&self) -> Option<Uuid> {
        self.document.as_ref().and_then(|document| session_of_value(&document.value()))
    }

    /// A later job of the same object takes what the earlier one still had to do with it.
    fn merge(&mut self, later: Self) {
        let later_says = later.document.is_some();
        self.document = later.document.or_else(|| self.document.take());
        self.labels.extend(later.labels);
        self.notes.extend(later.notes);
        // A later status under the same name is that of another object: the one to delete is gone already.
        self.delete = later.delete || (self.delete && !later_says);
        self.finalizer = later.finalizer.or_else(|| self.finalizer.take());
    }
}

/// Hands jobs to the applier; in folder mode there is nobody to hand them to.
#[derive(Clone, Default)]
pub(super) struct Hand(Option<mpsc::UnboundedSender<(ObjectKey, Job)>>);

impl Hand {
    pub fn to(sender: mpsc::UnboundedSender<(ObjectKey, Job)>) -> Self {
        Self(Some(sender))
    }

    pub fn give(&self, key: &ObjectKey, job: impl FnOnce() -> Job) {
        if let Some(sender) = &self.0 {
            // An applier that is gone belongs to a reporter that is stopping.
            let _ = sender.send((key.clone(), job()));
        }
    }
}

/// Applies what it is given, for ever.
pub(super) async fn run(api: &Kubernetes, mut jobs: mpsc::UnboundedReceiver<(ObjectKey, Job)>, instance: Uuid) {
    let source = Source { controller: "lagan.dev/engine".to_owned(), instance: Some(instance.to_string()) };
    let recorder = Recorder::new(api.client.clone(), source);
    let mut pending: BTreeMap<ObjectKey, Job> = BTreeMap::new();
    let mut busy: HashSet<ObjectKey> = HashSet::new();
    let mut uids: HashMap<Uuid, Uuid> = HashMap::new();
    let mut running = FuturesUnordered::new();
    let mut hold: Option<tokio::time::Instant> = None;
    loop {
        let is_held = hold.is_some_and(|until| tokio::time::Instant::now() < until);
        while running.len() < AT_ONCE && !is_held {
            let Some(key) = pending.keys().find(|key| !busy.contains(*key)).cloned() else { break };
            let Some(job) = pending.remove(&key) else { break };
            busy.insert(key.clone());
            let session = job.session();
            let known = session.and_then(|session| uids.get(&session).copied());
            let recorder = &recorder;
            running.push(async move {
                let done = one(api, recorder, &key, &job, known).await;
                (key, job, session, done)
            });
        }
        tokio::select! {
            job = jobs.recv() => {
                let Some((key, job)) = job else { return };
                pending.entry(key).or_default().merge(job);
            }
            Some((key, job, session, done)) = running.next() => {
                busy.remove(&key);
                match done {
                    Ok(uid) => {
                        if let (Some(session), Some(uid)) = (session, uid) {
                            uids.insert(session, uid);
                        }
                        if let (Some(session), true) = (session, job.delete) {
                            uids.remove(&session);
                        }
                    }
                    Err(error) if is_final(&error) => {
                        // The object that we knew is gone; a later look may make it again.
                        if let Some(session) = session {
                            uids.remove(&session);
                        }
                        tracing::warn!(object = %key, error = chain(&error), "status was refused, it is not tried again");
                    }
                    Err(error) => {
                        tracing::warn!(object = %key, error = chain(&error), "status was not applied, it is tried again");
                        let mut again = job;
                        if let Some(later) = pending.remove(&key) {
                            again.merge(later);
                        }
                        pending.insert(key, again);
                        hold = Some(tokio::time::Instant::now() + PAUSE);
                    }
                }
            }
            () = tokio::time::sleep_until(hold.unwrap_or_else(tokio::time::Instant::now)), if is_held => {}
        }
    }
}

/// Asking again changes nothing: the object is gone or replaced, or its definition does not take this.
fn is_final(error: &KubernetesError) -> bool {
    let refused = |status: &kube::core::Status| {
        // A quota or a policy: trying every second would only hold the others up, and all are compared now and then.
        let forbidden = status.is_forbidden() || matches!(status.code, 400 | 413);
        forbidden || status.is_not_found() || status.is_conflict() || status.is_invalid()
    };
    error.status().is_some_and(refused)
}

/// Does one job; gives the uid of an object that stands for a scheduled session.
async fn one(
    api: &Kubernetes,
    recorder: &Recorder,
    key: &ObjectKey,
    job: &Job,
    known: Option<Uuid>,
) -> Result<Option<Uuid>, KubernetesError> {
    if let Some((uid, outcome)) = &job.finalizer {
        finalizer::settle(api, recorder, key, *uid, outcome.as_ref()).await?;
    }
    if !job.labels.is_empty() {
        let patch = json!({ "metadata": { "name": key.name, "namespace": key.namespace, "labels": job.labels } });
        api.apply_object(key, patch, REPORTER).await?;
    }
    let Some(document) = &job.document.as_ref().map(Document::value) else { return Ok(None) };
    let scheduled = session_of_value(document);
    let own: Option<Uuid> = document["metadata"]["uid"].as_str().and_then(|uid| uid.parse().ok());
    if job.delete {
        // Only objects that Lagan made, or whose session ended: the caller's word.
        api.delete(key, if scheduled.is_some() { known } else { own }).await?;
        return Ok(None);
    }
    let uid = match (scheduled, known) {
        (None, _) => own.unwrap_or_default(),
        (Some(_), Some(uid)) => uid,
        (Some(session), None) => match stand_in(api, key, document, session).await? {
            Some(uid) => uid,
            None => return Ok(None),
        },
    };
    api.apply_status(key, uid, &document["status"], REPORTER).await?;
    let shown = of_document(key, document, uid);
    for (note, configuration) in &job.notes {
        let configuration = configuration.as_ref().filter(|_| note.severity == Severity::Warning);
        for reference in std::iter::once(shown.clone()).chain(configuration.map(of_object)) {
            tell(recorder, &reference, note).await;
        }
    }
    Ok(scheduled.map(|_| uid))
}

/// The BackupSession object that stands for a scheduled session; made if it is not there.
async fn stand_in(
    api: &Kubernetes,
    key: &ObjectKey,
    document: &Value,
    session: Uuid,
) -> Result<Option<Uuid>, KubernetesError> {
    let uid = |object: &Value| object["metadata"]["uid"].as_str().and_then(|uid| uid.parse().ok());
    if let Some(found) = api.get(key).await? {
        // Somebody's own object of this name is not ours to write to.
        return Ok((session_of_value(&found) == Some(session)).then(|| uid(&found)).flatten());
    }
    let mut object = document.clone();
    object.as_object_mut().map(|object| object.remove("status"));
    for assigned in ["uid", "creationTimestamp"] {
        object["metadata"].as_object_mut().map(|metadata| metadata.remove(assigned));
    }
    match api.create(key, object).await {
        Ok(made) => Ok(uid(&made)),
        // Made by a request whose answer was lost, or by an engine that died after it.
        Err(error) if error.status().is_some_and(kube::core::Status::is_already_exists) => {
            Ok(api.get(key).await?.filter(|found| session_of_value(found) == Some(session)).as_ref().and_then(uid))
        }
        Err(error) => Err(error),
    }
}

pub(super) fn of_document(key: &ObjectKey, document: &Value, uid: Uuid) -> ObjectReference {
    ObjectReference {
        api_version: document["apiVersion"].as_str().map(str::to_owned),
        kind: Some(key.kind.to_string()),
        name: Some(key.name.clone()),
        namespace: key.namespace.clone(),
        uid: Some(uid.to_string()),
        ..ObjectReference::default()
    }
}

fn of_object(object: &ObjectRef) -> ObjectReference {
    ObjectReference {
        api_version: Some(object.api_version.clone()),
        kind: Some(object.kind.to_string()),
        name: Some(object.name.clone()),
        namespace: object.namespace.clone(),
        uid: object.uid.map(|uid| uid.to_string()),
        ..ObjectReference::default()
    }
}

/// Events are for people who look now; one that is lost is not sent again.
pub(super) async fn tell(recorder: &Recorder, about: &ObjectReference, note: &Note) {
    let event = Event {
        type_: match note.severity {
            Severity::Normal => EventType::Normal,
            Severity::Warning => EventType::Warning,
        },
        reason: note.reason.clone(),
        note: Some(note.text.clone()),
        action: note.action.to_owned(),
        secondary: None,
    };
    match tokio::time::timeout(EVENT, recorder.publish(&event, about)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(object = about.name, error = chain(&error), "event was not published"),
        Err(_) => tracing::debug!(object = about.name, "event was not published: no answer"),
    }
}
