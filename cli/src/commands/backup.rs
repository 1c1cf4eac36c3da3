//! `lagan backup`: creates a BackupSession for a BackupConfiguration, and waits for it if asked to. `lagan trigger` only
//! creates it.

use jiff::Timestamp;
use lagan_schemas::resource::Kind;
use lagan_schemas::subject::{ObjectKey, SessionKey, SessionKind};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::args::{BackupArgs, Format, Global, TriggerArgs, Wait};
use crate::client::{self, Backend, Client};
use crate::error::{Exit, Problem};
use crate::glyph::Glyph;
use crate::manifests::{backup_session, session_name, write};
use crate::narration::NarrationContext;
use crate::objects::{View, select};
use crate::outcome::status;
use crate::output::{data, document, narrate};
use crate::store::{self, Query};
use crate::streams::Streams;
use crate::wait;

const KINDS: Query = Query { kinds: &[Kind::BackupConfiguration, Kind::BackupSession], namespaces: &[] };

pub async fn run(args: BackupArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let views = store::views(&client, KINDS).await?;
    let configuration = store::find_one(&views, Kind::BackupConfiguration, Some(&client.namespace), &args.name)?;
    let name = new_name(&views, Kind::BackupSession, &configuration.key);
    let object = backup_session(&configuration.key, &name);
    let asked = SessionRequest {
        object,
        invoker: configuration.key.name.clone(),
        views: &views,
        wait: args.wait,
        output: args.output,
    };
    start(&client, global, asked).await
}

/// Creates the object and prints its name as kubectl does.
pub async fn trigger(args: TriggerArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let views = store::views(&client, KINDS).await?;
    let configuration = store::find_one(&views, Kind::BackupConfiguration, Some(&client.namespace), &args.name)?;
    let name = new_name(&views, Kind::BackupSession, &configuration.key);
    let object = backup_session(&configuration.key, &name);
    let key = key_of(&object)?;
    let made = make(&client, &key, object).await?;
    let line = || format!("{}.{}/{} created\n", key.kind.as_str().to_ascii_lowercase(), key.group, key.name);
    data(&document(args.output, key.kind, &made).unwrap_or_else(line))?;
    Ok(Exit::Ok)
}

/// A name that no session of this kind has yet.
pub fn new_name(views: &[View], kind: Kind, invoker: &ObjectKey) -> String {
    let sessions = select(views, kind, invoker.namespace.as_deref());
    session_name(&invoker.name, Timestamp::now(), |name| sessions.iter().any(|session| session.key.name == name))
}

/// A session to create, and how to report on it.
pub struct SessionRequest<'a> {
    pub object: Value,
    /// The invoker in the session's subject: the BackupConfiguration, or the RestoreSession itself.
    pub invoker: String,
    pub views: &'a [View],
    pub wait: Wait,
    pub output: Format,
}

/// Creates the object and, if asked to, waits for the session to end.
pub async fn start(client: &Client, global: &Global, asked: SessionRequest<'_>) -> Result<Exit, Problem> {
    let key = key_of(&asked.object)?;
    narrate(global, &format!("{} creating {key}", global.glyphs().of(Glyph::Action)));
    let made = make(client, &key, asked.object.clone()).await?;
    if !asked.wait.wait {
        print(asked.output, key.kind, &made)?;
        let describe = client.template.command(&format!("describe {}", crate::output::name(key.kind, &key.name)));
        narrate(global, &format!("  next: {describe}"));
        return Ok(Exit::Ok);
    }
    let context = NarrationContext {
        name: key.name.clone(),
        template: client.template.clone(),
        glyphs: global.glyphs(),
        ahead: ahead(asked.views),
        last_run: last_run(asked.views, key.kind, &asked.invoker),
    };
    let (exit, whole) = match &client.backend {
        Backend::Bus(streams) => follow_facts(streams, global, &asked, (&key, made), context).await?,
        Backend::Cluster(cluster) => match &cluster.streams {
            Some(streams) => follow_facts(streams, global, &asked, (&key, made), context).await?,
            None => {
                let created = View { key: key.clone(), value: made };
                let ended = wait::object::until_ended(cluster, global, created, context, asked.wait.timeout).await?;
                (ended.exit, ended.object)
            }
        },
    };
    print(asked.output, key.kind, &whole)?;
    Ok(exit)
}

/// Creates the object where the engine finds it, and returns it as created.
async fn make(client: &Client, key: &ObjectKey, object: Value) -> Result<Value, Problem> {
    match &client.backend {
        Backend::Bus(streams) => {
            write(&streams.objects, &object)?;
            wait::until_noticed(streams, key).await
        }
        Backend::Cluster(cluster) => cluster.create(key, object).await,
    }
}

/// Follows the session by its facts.
async fn follow_facts(
    streams: &Streams,
    global: &Global,
    asked: &SessionRequest<'_>,
    (key, made): (&ObjectKey, Value),
    context: NarrationContext,
) -> Result<(Exit, Value), Problem> {
    let kind = if key.kind == Kind::RestoreSession { SessionKind::Restore } else { SessionKind::Backup };
    let namespace = key.namespace.clone().unwrap_or_default();
    let session = SessionKey {
        cluster: streams.cluster.clone(),
        namespace,
        kind,
        group: key.group.clone(),
        invoker: asked.invoker.clone(),
        uid: Uuid::nil(),
    };
    let session = wait::session_key(streams, &made, session)?;
    let ended = wait::until_ended(streams, global, session, context, asked.wait.timeout).await?;
    let mut whole = made;
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

/// Number of sessions that wait to start.
fn ahead(views: &[View]) -> usize {
    let is_waiting = |view: &&View| view.phase() == "Pending" && view.value.get("status").is_some();
    views.iter().filter(is_waiting).count()
}

/// Duration of the last successful session of the same configuration, in seconds.
fn last_run(views: &[View], kind: Kind, invoker: &str) -> Option<u64> {
    let sessions = select(views, kind, None);
    let same = sessions.iter().find(|s| s.phase() == "Succeeded" && s.text("/spec/invoker/name") == invoker)?;
    let span = same.time("/status/completionTime")?.duration_since(same.time("/status/startTime")?);
    u64::try_from(span.as_secs()).ok()
}
