//! `lagan backup NAME`: makes a BackupSession for a BackupConfiguration, and waits for it if asked to; `lagan trigger`
//! only makes it.

use jiff::Timestamp;
use lagan_schemas::resource::Kind;
use lagan_schemas::subject::{ObjectKey, SessionKey, SessionKind};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::args::{BackupArgs, Format, Global, TriggerArgs, Wait};
use crate::client::{self, Backend, Client, Streams};
use crate::error::{Exit, Problem};
use crate::glyph::Glyph;
use crate::manifests::{backup_session, session_name, write};
use crate::narration::Setting;
use crate::objects::{View, select};
use crate::outcome::status;
use crate::output::{data, document, narrate};
use crate::store::{self, Wanted};
use crate::wait;

const KINDS: Wanted = Wanted { kinds: &[Kind::BackupConfiguration, Kind::BackupSession], namespaces: &[] };

pub async fn run(args: BackupArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let views = store::views(&client, KINDS).await?;
    let configuration = store::one(&views, Kind::BackupConfiguration, Some(&client.namespace), &args.name)?;
    let name = new_name(&views, Kind::BackupSession, &configuration.key);
    let object = backup_session(&configuration.key, &name);
    let asked =
        Asked { object, invoker: configuration.key.name.clone(), views: &views, wait: args.wait, output: args.output };
    start(&client, global, asked).await
}

/// As kubectl says it, and nothing more.
pub async fn trigger(args: TriggerArgs, global: &Global) -> Result<Exit, Problem> {
    let client = client::connect(global, &args.connection).await?;
    let views = store::views(&client, KINDS).await?;
    let configuration = store::one(&views, Kind::BackupConfiguration, Some(&client.namespace), &args.name)?;
    let name = new_name(&views, Kind::BackupSession, &configuration.key);
    let object = backup_session(&configuration.key, &name);
    let key = key_of(&object)?;
    let made = make(&client, &key, object).await?;
    let line = || format!("{}.{}/{} created\n", key.kind.as_str().to_ascii_lowercase(), key.group, key.name);
    data(&document(args.output, key.kind, &made).unwrap_or_else(line))?;
    Ok(Exit::Ok)
}

/// A name that no session of this kind has.
pub fn new_name(views: &[View], kind: Kind, invoker: &ObjectKey) -> String {
    let sessions = select(views, kind, invoker.namespace.as_deref());
    session_name(&invoker.name, Timestamp::now(), |name| sessions.iter().any(|session| session.key.name == name))
}

/// A session that somebody asked for.
pub struct Asked<'a> {
    pub object: Value,
    /// Third name in the session's subject: the configuration of a backup, the RestoreSession itself of a restore.
    pub invoker: String,
    pub views: &'a [View],
    pub wait: Wait,
    pub output: Format,
}

/// Makes the object and follows what becomes of it.
pub async fn start(client: &Client, global: &Global, asked: Asked<'_>) -> Result<Exit, Problem> {
    let key = key_of(&asked.object)?;
    narrate(global, &format!("{} creating {key}", global.glyphs().of(Glyph::Action)));
    let made = make(client, &key, asked.object.clone()).await?;
    if !asked.wait.wait {
        print(asked.output, key.kind, &made)?;
        let describe = client.typed.command(&format!("describe {}", crate::output::name(key.kind, &key.name)));
        narrate(global, &format!("  next: {describe}"));
        return Ok(Exit::Ok);
    }
    let setting = Setting {
        name: key.name.clone(),
        typed: client.typed.clone(),
        glyphs: global.glyphs(),
        ahead: ahead(asked.views),
        last_run: last_run(asked.views, key.kind, &asked.invoker),
    };
    let (exit, whole) = match &client.backend {
        Backend::Bus(streams) => follow_facts(streams, global, &asked, (&key, made), setting).await?,
        Backend::Cluster(cluster) => match &cluster.streams {
            Some(streams) => follow_facts(streams, global, &asked, (&key, made), setting).await?,
            None => {
                let created = View { key: key.clone(), value: made };
                let ended = wait::object::until_ended(cluster, global, created, setting, asked.wait.timeout).await?;
                (ended.exit, ended.object)
            }
        },
    };
    print(asked.output, key.kind, &whole)?;
    Ok(exit)
}

/// Puts the object where the engine finds it, and gives it as it is there.
async fn make(client: &Client, key: &ObjectKey, object: Value) -> Result<Value, Problem> {
    match &client.backend {
        Backend::Bus(streams) => {
            write(&streams.objects, &object)?;
            wait::until_noticed(streams, key).await
        }
        Backend::Cluster(cluster) => cluster.create(key, object).await,
    }
}

/// The story with all its facts.
async fn follow_facts(
    streams: &Streams,
    global: &Global,
    asked: &Asked<'_>,
    (key, made): (&ObjectKey, Value),
    setting: Setting,
) -> Result<(Exit, Value), Problem> {
    let kind = if key.kind == Kind::RestoreSession { SessionKind::Restore } else { SessionKind::Backup };
    let namespace = key.namespace.clone().unwrap_or_default();
    let session = SessionKey {
        cluster: streams.cluster.clone(),
        namespace,
        kind,
        invoker: asked.invoker.clone(),
        uid: Uuid::nil(),
    };
    let session = wait::session_key(streams, &made, session)?;
    let ended = wait::until_ended(streams, global, session, setting, asked.wait.timeout).await?;
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

/// Sessions that wait already, of whatever kind.
fn ahead(views: &[View]) -> usize {
    let is_waiting = |view: &&View| view.phase() == "Pending" && view.value.get("status").is_some();
    views.iter().filter(is_waiting).count()
}

/// How long the last successful session of the same configuration took.
fn last_run(views: &[View], kind: Kind, invoker: &str) -> Option<u64> {
    let sessions = select(views, kind, None);
    let same = sessions.iter().find(|s| s.phase() == "Succeeded" && s.text("/spec/invoker/name") == invoker)?;
    let span = same.time("/status/completionTime")?.duration_since(same.time("/status/startTime")?);
    u64::try_from(span.as_secs()).ok()
}
