//! Reads for commands: objects with their status, from NATS or from the API server, and the facts of sessions.
//! It must not write, and gives up if the streams do not answer.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use lagan_bus::session_log::find_session;
use lagan_bus::{Bus, Followed, Start, Stored, follow};
use lagan_schemas::error::{Code, Failure};
use lagan_schemas::event::{CloudEvent, ResourceEvent};
use lagan_schemas::fact::Fact;
use lagan_schemas::resource::{Group, Kind};
use lagan_schemas::session::{Recorded, RecordedContent};
use lagan_schemas::subject::{self, ObjectKey, SessionKey, SessionSubject};
use lagan_sources::folder::Folder;
use serde_json::Value;
use uuid::Uuid;

use crate::client::{Client, ClientBackend};
use crate::error::{Exit, Problem};
use crate::objects::{ObjectDocument, find, merge, select, with_built_in};
use crate::outcome::status as status_of;
use crate::streams::Streams;

const PATIENCE: Duration = Duration::from_secs(10);

/// A fact with its place in the stream.
#[derive(Debug, Clone)]
pub struct StoredFact {
    pub key: SessionKey,
    /// The pool in its subject; `None` for facts of the engine.
    pub pool: Option<String>,
    pub sequence: u64,
    pub time: Timestamp,
    pub event: CloudEvent,
    /// `None` for a fact of a later version of Lagan.
    pub fact: Option<Fact>,
}

impl StoredFact {
    /// `None` if the message is no event of a session.
    #[must_use]
    pub fn read(stored: &Stored) -> Option<Self> {
        let SessionSubject { key, pool, fact: named } = stored.subject.parse().ok()?;
        let event = CloudEvent::from_bytes(&stored.payload).ok()?;
        let fact = match RecordedContent::read(named, &stored.payload) {
            RecordedContent::Fact(fact) => Some(fact),
            RecordedContent::Later => None,
            RecordedContent::Garbage(_) => return None,
        };
        Some(Self { key, pool, sequence: stored.sequence, time: stored.time, event, fact })
    }

    #[must_use]
    pub fn recorded(&self) -> Recorded {
        let content = self.fact.clone().map_or(RecordedContent::Later, RecordedContent::Fact);
        Recorded { sequence: self.sequence, time: self.time, pool: self.pool.clone(), content }
    }
}

async fn within_patience<T>(what: &str, work: impl Future<Output = T>) -> Result<T, Problem> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| {
        Problem::new(
            Exit::Unreachable,
            format!("stream `{what}` can't be read: NATS did not answer within {} s", PATIENCE.as_secs()),
        )
        .help("is an engine running with this NATS server? It creates the streams")
    })
}

/// Reads all messages that the stream holds now.
pub async fn contents(bus: &Bus, stream: &str, filter: String, start: Start) -> Result<Vec<Stored>, Problem> {
    within_patience(stream, async {
        let mut following = follow::follow(bus, stream, vec![filter], start);
        let mut found = Vec::new();
        while let Some(item) = following.next().await {
            match item {
                Followed::Store(_) => found.clear(),
                Followed::Message(stored) => found.push(stored),
                Followed::CaughtUp(_) => break,
            }
        }
        found
    })
    .await
}

/// The object in a message of RESOURCES; `None` for a tombstone and for kinds of a later version.
#[must_use]
pub fn object(stored: &Stored) -> Option<(ObjectKey, Value)> {
    let (_, key) = ObjectKey::parse(&stored.subject).ok()?;
    Some((key, ResourceEvent::from_bytes(&stored.payload).ok()?.object?))
}

/// The document in a message of STATUS.
#[must_use]
pub fn status(stored: &Stored) -> Option<(ObjectKey, Value)> {
    let (_, key) = ObjectKey::parse(&stored.subject).ok()?;
    let data = CloudEvent::from_bytes(&stored.payload).ok()?.data;
    data.get("status").is_some_and(Value::is_object).then_some((key, data))
}

/// The objects that a command needs. NATS is read completely; the API server is asked for these only.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    pub kinds: &'a [Kind],
    /// Namespaces beside that of the command.
    pub namespaces: &'a [&'a str],
}

/// Reads all objects of these kinds with their status, and adds the built-in Tasks and Functions.
pub async fn views(client: &Client, wanted: Query<'_>) -> Result<Vec<ObjectDocument>, Problem> {
    match &client.backend {
        ClientBackend::Bus(streams) => views_of_streams(streams).await,
        ClientBackend::Cluster(cluster) => {
            let own = client.scope().map(|own| [own].into_iter().chain(wanted.namespaces.iter().copied()));
            let mut namespaces: Vec<String> = own.into_iter().flatten().map(str::to_owned).collect();
            namespaces.sort();
            namespaces.dedup();
            Ok(with_built_in(cluster.views(wanted.kinds, &namespaces).await?))
        }
    }
}

async fn views_of_streams(streams: &Streams) -> Result<Vec<ObjectDocument>, Problem> {
    let last = |stream| {
        let filter = subject::stream_subjects(stream, &streams.cluster);
        contents(&streams.bus, stream, filter, Start::LastPerSubject)
    };
    let (objects, statuses) = tokio::try_join!(last(subject::RESOURCES), last(subject::STATUS))?;
    let objects = objects.iter().filter_map(object).collect();
    let statuses = statuses.iter().filter_map(status).collect();
    let mut views = merge(objects, statuses);
    for view in views.iter_mut().filter(|view| view.is_session() && view.value.get("status").is_none()) {
        fold_status(streams, view).await?;
    }
    Ok(with_built_in(views))
}

/// Gives a session the status that its facts amount to, for sessions that the reporter has not reached or has dropped.
async fn fold_status(streams: &Streams, view: &mut ObjectDocument) -> Result<(), Problem> {
    let Some(uid) = view.session() else { return Ok(()) };
    let found = within_patience(subject::SESSIONS, find_session(&streams.bus, &streams.cluster, uid)).await?;
    if let Some(session) = found.map_err(|error| Problem::from_error(Exit::Failed, &error))? {
        view.value["status"] = status_of(&session);
    }
    Ok(())
}

/// The facts of one session, in order.
pub async fn facts(streams: &Streams, uid: Uuid) -> Result<Vec<StoredFact>, Problem> {
    let filter = subject::uid_filter(&streams.cluster, uid);
    let stored = contents(&streams.bus, subject::SESSIONS, filter, Start::All).await?;
    Ok(stored.iter().filter_map(StoredFact::read).collect())
}

/// Whether an object is of an API group, if one is asked for.
#[must_use]
pub fn is_of(view: &ObjectDocument, group: Option<Group>) -> bool {
    group.is_none_or(|group| view.key.group == group.as_str())
}

/// Finds the object of this name. The error lists names that exist, or all objects that the name may mean.
pub fn find_one<'a>(
    views: &'a [ObjectDocument],
    (kind, group): (Kind, Option<Group>),
    namespace: Option<&str>,
    name: &str,
) -> Result<&'a ObjectDocument, Problem> {
    let mut selected = select(views, kind, namespace);
    selected.retain(|view| is_of(view, group));
    match find(&selected, name)[..] {
        [] => Err(not_found(kind, namespace, name, &selected)),
        [only] => Ok(only),
        ref several => Err(ambiguous(name, several)),
    }
}

/// The problem of a name that several objects have.
#[must_use]
pub fn ambiguous(name: &str, several: &[&ObjectDocument]) -> Problem {
    let full = |view: &&ObjectDocument| {
        let place = view.key.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
        format!("{}.{}/{}{place}", view.key.kind.plural(), view.key.group, view.key.name)
    };
    let all: Vec<String> = several.iter().map(full).collect();
    Problem::new(Exit::Usage, format!("more than one object is called `{name}`"))
        .help(format!("name one of them: {}", all.join(", ")))
}

/// Finds the object that another one names, of whose group it is if there are two.
pub fn find_named_by<'a>(
    views: &'a [ObjectDocument],
    group: &str,
    kind: Kind,
    namespace: Option<&str>,
    name: &str,
) -> Result<&'a ObjectDocument, Problem> {
    let selected = select(views, kind, namespace);
    let found = find(&selected, name);
    let same = found.iter().find(|view| view.key.group == group).or(found.first());
    same.copied().ok_or_else(|| not_found(kind, namespace, name, &selected))
}

/// Finds an object that a command works with, by its name or as `KIND.GROUP/NAME`.
pub fn find_valid<'a>(
    views: &'a [ObjectDocument],
    kind: Kind,
    namespace: Option<&str>,
    name: &str,
) -> Result<&'a ObjectDocument, Problem> {
    let qualified = name.split_once('/').and_then(|(words, name)| Some((Kind::from_words(words)?, name)));
    let (group, name) = match qualified {
        Some(((known, group), name)) if known == kind => (group, name),
        _ => (None, name),
    };
    valid(find_one(views, (kind, group), namespace, name)?)
}

/// A refused object is on the bus without a spec, and its status says why.
pub fn valid(found: &ObjectDocument) -> Result<&ObjectDocument, Problem> {
    if !found.value["spec"].is_null() {
        return Ok(found);
    }
    let conditions = found.value.pointer("/status/conditions").and_then(Value::as_array);
    let said = conditions.into_iter().flatten().find(|condition| condition["status"] == "False");
    let why = said.and_then(|condition| condition["message"].as_str()).unwrap_or("its manifest is refused");
    let path = match &found.key.namespace {
        Some(namespace) => format!("{namespace}/{}", found.key.name),
        None => found.key.name.clone(),
    };
    Err(Failure::new(Code::InvalidSpec, format!("{} {path} is invalid: {why}", found.key.kind)).into())
}

#[must_use]
pub fn not_found(kind: Kind, namespace: Option<&str>, name: &str, there: &[&ObjectDocument]) -> Problem {
    let place = match namespace {
        Some(namespace) if kind.is_namespaced() => format!(" in namespace `{namespace}`"),
        _ => String::new(),
    };
    let names: Vec<_> = there.iter().take(5).map(|view| view.key.name.as_str()).collect();
    let help = match (names.len(), there.len()) {
        (0, _) if place.is_empty() => format!("there are no {}", kind.plural()),
        (0, _) => format!("there are no {}{place}; name another one with -n", kind.plural()),
        (shown, all) if shown < all => format!("there are {} and {} more", names.join(", "), all - shown),
        _ => format!("there are {}", names.join(", ")),
    };
    Problem::new(Exit::NotFound, format!("{kind} `{name}` is not found{place}")).help(help)
}

/// Adds the manifests that can't be read to the help of an object that is not found: it may be in one of them.
#[must_use]
pub fn name_broken_manifests(client: &Client, problem: Problem) -> Problem {
    let manifests = client.streams().and_then(|streams| streams.manifests.clone());
    let Some(manifests) = manifests.filter(|_| problem.exit == Exit::NotFound) else { return problem };
    let broken: Vec<String> = Folder::new(vec![manifests]).scan().problems.iter().map(ToString::to_string).collect();
    if broken.is_empty() {
        return problem;
    }
    let help = problem.help.clone().map(|help| help + "; ").unwrap_or_default();
    problem.help(format!("{help}it may be in a manifest that can't be read: {}", broken.join("; ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;
    use crate::objects::tests::view;

    #[test]
    fn a_name_that_two_groups_have_is_told_with_its_group_or_refused() {
        let configuration = |group: &str, namespace: &str| {
            view(json!({
                "apiVersion": format!("{group}/v1alpha1"), "kind": "BackupConfiguration",
                "metadata": {"name": "shop", "namespace": namespace}, "spec": {},
            }))
        };
        let stash = "stash.appscode.com";
        let views = [configuration("lagan.dev", "a"), configuration(stash, "a"), configuration(stash, "b")];
        let found = |namespace, name| find_valid(&views, Kind::BackupConfiguration, namespace, name);
        let problem = found(Some("a"), "shop").unwrap_err();
        assert_eq!(problem.exit, Exit::Usage);
        let help = problem.help.unwrap();
        for full in ["backupconfigurations.lagan.dev/shop -n a", "backupconfigurations.stash.appscode.com/shop -n a"] {
            assert!(help.contains(full), "{help}");
        }
        for (name, group) in [("bc.lagan.dev/shop", "lagan.dev"), ("plan.stash.appscode.com/shop", stash)] {
            assert_eq!(found(Some("a"), name).unwrap().key.group, group, "{name}");
        }
        assert_eq!(found(Some("b"), "shop").unwrap().key.group, stash, "there is one only");
        assert_eq!(found(None, "bc.stash.appscode.com/shop").unwrap_err().exit, Exit::Usage, "in two namespaces");
        assert_eq!(found(Some("b"), "bc.lagan.dev/shop").unwrap_err().exit, Exit::NotFound);
        let named = |group| find_named_by(&views, group, Kind::BackupConfiguration, Some("a"), "shop").unwrap();
        assert_eq!((named(stash).key.group.as_str(), named("lagan.dev").key.group.as_str()), (stash, "lagan.dev"));
    }
}
