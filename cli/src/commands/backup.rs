//! `lagan backup`: creates a BackupSession for a BackupConfiguration, and waits for it if asked to. `lagan trigger` only
//! creates it.

use std::time::Duration;

use jiff::Timestamp;
use lagan_schemas::resource::Kind;
use lagan_schemas::subject::{ObjectKey, SessionKey, SessionKind};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::args::{BackupArgs, Format, Global, TriggerArgs, Wait};
use crate::client::{self, Client, ClientBackend};
use crate::error::{Exit, Problem};
use crate::glyph::Glyph;
use crate::manifests::{self, Creation, backup_session, timestamped_names};
use crate::narration::{Afterwards, NarrationContext};
use crate::objects::{ObjectDocument, select};
use crate::outcome::status;
use crate::output::{data, document, narrate};
use crate::store::{self, Query};
use crate::streams::Streams;
use crate::wait;

const KINDS: Query = Query { kinds: &[Kind::BackupConfiguration, Kind::BackupSession], namespaces: &[] };

/// Attempts to find a free name; each other command of the same second takes one.
const NAMES: usize = 60;

pub async fn run(args: BackupArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let RequestedBackup { key, created, invoker, views } = RequestedBackup::create(&client, &args.name).await?;
    let session = NewSession::new((key, created), invoker, &views, args.wait, args.output);
    report(&client, global, session).await
}

/// Creates the object and prints its name as kubectl does.
pub async fn trigger(args: TriggerArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let RequestedBackup { key, created, .. } = RequestedBackup::create(&client, &args.name).await?;
    let line = || format!("{}.{}/{} created\n", key.kind.as_str().to_ascii_lowercase(), key.group, key.name);
    data(&document(args.output, key.kind, &created).unwrap_or_else(line))?;
    Ok(Exit::Ok)
}

/// A BackupSession that was created for a configuration, and the objects that were there before it.
struct RequestedBackup {
    key: ObjectKey,
    created: Value,
    invoker: String,
    views: Vec<ObjectDocument>,
}

impl RequestedBackup {
    async fn create(client: &Client, configuration: &str) -> Result<Self, Problem> {
        let views = store::views(client, KINDS).await?;
        let found = store::find_valid(&views, Kind::BackupConfiguration, Some(&client.namespace), configuration)
            .map_err(|problem| store::name_broken_manifests(client, problem))?;
        let configuration = found.key.clone();
        let names = free_names(&views, Kind::BackupSession, &configuration);
        let (key, created) = create(client, names, |name| backup_session(&configuration, name)).await?;
        Ok(Self { key, created, invoker: configuration.name, views })
    }
}

/// Names that no session of this kind is known to have.
pub fn free_names<'a>(
    views: &'a [ObjectDocument],
    kind: Kind,
    invoker: &'a ObjectKey,
) -> impl Iterator<Item = String> + use<'a> {
    let sessions = select(views, kind, invoker.namespace.as_deref());
    let is_free = move |name: &String| !sessions.iter().any(|session| session.key.name == *name);
    timestamped_names(&invoker.name, Timestamp::now()).filter(is_free)
}

/// Creates an object under the first free name. Several commands may choose one name in the same second; the creation
/// decides which of them gets it.
pub async fn create(
    client: &Client,
    names: impl Iterator<Item = String>,
    object: impl Fn(&str) -> Value,
) -> Result<(ObjectKey, Value), Problem> {
    for name in names.take(NAMES) {
        let object = object(&name);
        let key = key_of(&object)?;
        if let Some(created) = try_create(client, &key, object).await? {
            return Ok((key, created));
        }
    }
    Err(Problem::new(Exit::Failed, format!("no free name for a new session was found in {NAMES} attempts"))
        .help("many sessions are being created at the same time; try again"))
}

/// Creates the object where the engine finds it, and returns it as created; `None` if its name is taken.
async fn try_create(client: &Client, key: &ObjectKey, object: Value) -> Result<Option<Value>, Problem> {
    match &client.backend {
        ClientBackend::Bus(streams) => match manifests::create(&streams.objects, &object)? {
            Creation::Created => wait::until_noticed(streams, key).await.map(Some),
            Creation::NameTaken => Ok(None),
        },
        ClientBackend::Cluster(cluster) => cluster.create(key, object).await,
    }
}

/// A created session, and how to report on it.
pub struct NewSession<'a> {
    pub key: ObjectKey,
    pub created: Value,
    /// The invoker in the session's subject: the BackupConfiguration, or the RestoreSession itself.
    pub invoker: String,
    pub views: &'a [ObjectDocument],
    pub wait: Wait,
    pub output: Format,
    pub afterwards: Afterwards,
}

impl<'a> NewSession<'a> {
    /// A session that stays when it has ended.
    pub fn new(
        (key, created): (ObjectKey, Value),
        invoker: String,
        views: &'a [ObjectDocument],
        wait: Wait,
        output: Format,
    ) -> Self {
        Self { key, created, invoker, views, wait, output, afterwards: Afterwards::Stays }
    }
}

/// Prints the session or, if asked to, waits for its end.
pub async fn report(client: &Client, global: &Global, session: NewSession<'_>) -> Result<Exit, Problem> {
    let (output, kind) = (session.output, session.key.kind);
    if !session.wait.wait {
        narrate(global, &format!("{} created {}", global.glyphs().of(Glyph::Action), session.key));
        print(output, kind, &session.created)?;
        let describe = client.template.command(&format!("describe {}", crate::output::name(kind, &session.key.name)));
        narrate(global, &format!("  next: {describe}"));
        return Ok(Exit::Ok);
    }
    let (exit, whole) = follow(client, global, session).await?;
    print(output, kind, &whole)?;
    Ok(exit)
}

/// Narrates the session to its end, and returns it as it is then.
pub async fn follow(client: &Client, global: &Global, session: NewSession<'_>) -> Result<(Exit, Value), Problem> {
    let NewSession { key, created, invoker, views, wait, afterwards, .. } = session;
    narrate(global, &format!("{} created {key}", global.glyphs().of(Glyph::Action)));
    let context = NarrationContext {
        name: key.name.clone(),
        template: client.template.clone(),
        glyphs: global.glyphs(),
        last_run: last_run(views, key.kind, &invoker),
        afterwards,
    };
    match client.streams() {
        Some(streams) => follow_facts(streams, global, (&key, created, invoker), context, wait.timeout).await,
        None => {
            let cluster = client.cluster().expect("a client without NATS has a cluster");
            let view = ObjectDocument { key: key.clone(), value: created };
            let ended = wait::object::until_ended(cluster, global, view, context, wait.timeout).await?;
            Ok((ended.exit, ended.object))
        }
    }
}

/// Follows the session by its facts.
async fn follow_facts(
    streams: &Streams,
    global: &Global,
    (key, created, invoker): (&ObjectKey, Value, String),
    context: NarrationContext,
    timeout: Option<Duration>,
) -> Result<(Exit, Value), Problem> {
    let kind = if key.kind == Kind::RestoreSession { SessionKind::Restore } else { SessionKind::Backup };
    let namespace = key.namespace.clone().unwrap_or_default();
    let session = SessionKey {
        cluster: streams.cluster.clone(),
        namespace,
        kind,
        group: key.group.clone(),
        invoker,
        uid: Uuid::nil(),
    };
    let session = wait::session_key(streams, &created, session)?;
    let ended = wait::until_ended(streams, global, session, context, timeout).await?;
    let mut whole = created;
    whole["status"] = json!(status(&ended.session));
    Ok((ended.exit, whole))
}

fn print(format: Format, kind: Kind, object: &Value) -> Result<(), Problem> {
    document(format, kind, object).map_or(Ok(()), |text| data(&text))
}

fn key_of(object: &Value) -> Result<ObjectKey, Problem> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = text("/kind").parse().map_err(|kind| Problem::new(Exit::Failed, format!("unknown kind `{kind}`")))?;
    let group = text("/apiVersion").split('/').next().unwrap_or_default().to_owned();
    Ok(ObjectKey { group, kind, namespace: Some(text("/metadata/namespace")), name: text("/metadata/name") })
}

/// Duration of the last successful session of the same configuration, in seconds.
fn last_run(views: &[ObjectDocument], kind: Kind, invoker: &str) -> Option<u64> {
    let sessions = select(views, kind, None);
    let same = sessions.iter().find(|s| s.phase() == "Succeeded" && s.text("/spec/invoker/name") == invoker)?;
    let span = same.time("/status/completionTime")?.duration_since(same.time("/status/startTime")?);
    u64::try_from(span.as_secs()).ok()
}
