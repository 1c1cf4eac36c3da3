//! The typed subject grammar: the only file that spells subjects, streams and filters. It knows no contents of messages.
//!
//! In a token `.` becomes `_`, which no Kubernetes name can hold, so the escape is reversible. Subjects of sessions go
//! from the general to the particular, so that a reader's filter and a writer's permission are a prefix and a few
//! wildcards: `lagan.session.<cluster>.<namespace>.<kind>.<group>.<invoker>.<uid>.<pool>.<fact>[.<lane>]`. The pool comes
//! after the uid, because it is known only when the session is planned, and all facts of a session share their prefix.

mod pool;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fact::FactKind;
use crate::resource::Kind;

pub use pool::{holder_filters, question_subject, visible_to_pool, work_consumer};

/// Names of the streams. [`stream_subjects`] gives the subjects that they bind.
pub const RESOURCES: &str = "RESOURCES";
pub const SESSIONS: &str = "SESSIONS";
pub const STATUS: &str = "STATUS";
pub const PROGRESS: &str = "PROGRESS";
pub const DEAD: &str = "DEAD";

/// Stands for the namespace of a cluster-scoped object. No namespace has this name.
pub const NO_NAMESPACE: &str = "_";
/// Stands for the pool of a fact that the engine wrote. No pool has this name.
const NO_POOL: &str = "_";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SubjectError {
    #[error("`{0}` can't be part of a subject: a name has 1 to 253 letters, digits, `-` and `.`")]
    Name(String),
    #[error(
        "`{0}` is not a DNS label (lower-case letters, digits and `-`, at most 63), which the name of a namespace is"
    )]
    Namespace(String),
    #[error("cluster name `{0}` is not a DNS label (lower-case letters, digits and `-`, at most 63)")]
    Cluster(String),
    #[error("`{0}` is not a subject of this kind")]
    Shape(String),
    #[error("`{0}` in a subject is not a uid")]
    Uid(String),
}

/// The name of a cluster: a DNS label, which is one token without an escape.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cluster(String);

impl Cluster {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Cluster {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        is_label(text).then(|| Self(text.to_owned())).ok_or_else(|| SubjectError::Cluster(text.to_owned()))
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Checks the name of a namespace, which is one token without an escape.
pub fn label(namespace: &str) -> Result<(), SubjectError> {
    is_label(namespace).then_some(()).ok_or_else(|| SubjectError::Namespace(namespace.to_owned()))
}

impl TryFrom<String> for Cluster {
    type Error = SubjectError;

    fn try_from(text: String) -> Result<Self, SubjectError> {
        text.parse()
    }
}

impl From<Cluster> for String {
    fn from(cluster: Cluster) -> Self {
        cluster.0
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Escapes a name as one token. Different Kubernetes names give different tokens; other texts are refused.
pub fn token(name: &str) -> Result<String, SubjectError> {
    let fits = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    fits.then(|| name.replace('.', "_")).ok_or_else(|| SubjectError::Name(name.to_owned()))
}

fn escaped(name: &str) -> String {
    name.replace('.', "_")
}

fn name_of(token: &str) -> String {
    token.replace('_', ".")
}

/// The kind of work of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    Backup,
    Restore,
    Maintenance,
}

impl SessionKind {
    pub const ALL: [Self; 3] = [Self::Backup, Self::Restore, Self::Maintenance];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Maintenance => "maintenance",
        }
    }
}

/// The queue a planned session waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Sessions that people wait for: `lagan backup`, `lagan restore`, objects created by hand.
    Urgent,
    /// Slots of a schedule.
    Normal,
    /// Prune, check and the deletion of data.
    Maintenance,
}

impl Lane {
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Maintenance];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::Maintenance => "maintenance",
        }
    }
}

/// The name of a session on the bus. The uid is its identity; the rest is for readers and filters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionKey {
    pub cluster: Cluster,
    pub namespace: String,
    pub kind: SessionKind,
    /// API group of the invoker: objects of two groups may have the same kind and name.
    pub group: String,
    pub invoker: String,
    pub uid: Uuid,
}

impl SessionKey {
    /// Returns `lagan.session.<cluster>.<namespace>.<kind>.<group>.<invoker>.<uid>`.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!(
            "lagan.session.{}.{}.{}.{}.{}.{}",
            self.cluster,
            escaped(&self.namespace),
            self.kind.as_str(),
            escaped(&self.group),
            escaped(&self.invoker),
            self.uid
        )
    }

    /// Returns the filter for all facts of this session, which every compare-and-set on it uses.
    #[must_use]
    pub fn filter(&self) -> String {
        format!("{}.>", self.prefix())
    }

    /// Returns the subject of a fact that the engine writes.
    #[must_use]
    pub fn engine_fact(&self, fact: FactKind) -> String {
        format!("{}.{NO_POOL}.{}", self.prefix(), fact.as_str())
    }

    /// Returns the subject of a fact that a worker of `pool` writes. A worker's permissions end at its pool.
    #[must_use]
    pub fn worker_fact(&self, pool: &str, fact: FactKind) -> String {
        format!("{}.{pool}.{}", self.prefix(), fact.as_str())
    }

    #[must_use]
    pub fn planned(&self, pool: &str, lane: Lane) -> String {
        format!("{}.{pool}.planned.{}", self.prefix(), lane.as_str())
    }

    /// Checks the names before the first fact is published under them.
    pub fn check(&self) -> Result<(), SubjectError> {
        token(&self.namespace)?;
        token(&self.group)?;
        token(&self.invoker).map(drop)
    }
}

/// A parsed subject of the SESSIONS stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSubject {
    pub key: SessionKey,
    /// The pool of the worker that wrote the fact, or for which the session was planned; `None` for the engine's facts.
    pub pool: Option<String>,
    /// `None` for a fact that this version does not know.
    pub fact: Option<FactKind>,
}

impl FromStr for SessionSubject {
    type Err = SubjectError;

    fn from_str(subject: &str) -> Result<Self, SubjectError> {
        let shape = || SubjectError::Shape(subject.to_owned());
        let mut tokens = subject.split('.');
        let mut next = || tokens.next().filter(|t| !t.is_empty()).ok_or_else(shape);
        if (next()?, next()?) != ("lagan", "session") {
            return Err(shape());
        }
        let cluster = next()?.parse()?;
        let namespace = name_of(next()?);
        let kind = next()?;
        let kind = SessionKind::ALL.into_iter().find(|k| k.as_str() == kind).ok_or_else(shape)?;
        let (group, invoker) = (name_of(next()?), name_of(next()?));
        let uid = next()?;
        let uid = Uuid::parse_str(uid).map_err(|_| SubjectError::Uid(uid.to_owned()))?;
        let pool = Some(next()?).filter(|pool| *pool != NO_POOL).map(str::to_owned);
        let fact = FactKind::from_name(next()?);
        Ok(Self { key: SessionKey { cluster, namespace, kind, group, invoker, uid }, pool, fact })
    }
}

/// The name of an object on the bus, in RESOURCES and STATUS.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectKey {
    pub group: String,
    pub kind: Kind,
    /// `None` for cluster-scoped objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
}

impl ObjectKey {
    #[must_use]
    pub fn resource_subject(&self, cluster: &Cluster) -> String {
        format!("lagan.resource.{cluster}.{}", self.tail())
    }

    #[must_use]
    pub fn status_subject(&self, cluster: &Cluster) -> String {
        format!("lagan.status.{cluster}.{}", self.tail())
    }

    fn tail(&self) -> String {
        let namespace = self.namespace.as_deref().unwrap_or(NO_NAMESPACE);
        format!("{}.{}.{namespace}.{}", escaped(&self.group), self.kind, escaped(&self.name))
    }

    pub fn check(&self) -> Result<(), SubjectError> {
        if let Some(namespace) = &self.namespace {
            label(namespace)?;
        }
        token(&self.name).map(drop)
    }

    /// Parses a subject of RESOURCES or STATUS.
    pub fn parse(subject: &str) -> Result<(Cluster, Self), SubjectError> {
        let shape = || SubjectError::Shape(subject.to_owned());
        let tokens: Vec<&str> = subject.split('.').collect();
        let [_, what, cluster, group, kind, namespace, name] = tokens[..] else { return Err(shape()) };
        if !matches!(what, "resource" | "status") {
            return Err(shape());
        }
        let kind = kind.parse().map_err(|_| shape())?;
        let namespace = (namespace != NO_NAMESPACE).then(|| namespace.to_owned());
        Ok((cluster.parse()?, Self { group: name_of(group), kind, namespace, name: name_of(name) }))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}/{namespace}/{}", self.kind, self.name),
            None => write!(f, "{}/{}", self.kind, self.name),
        }
    }
}

/// Returns the subjects that a stream of `cluster` binds.
#[must_use]
pub fn stream_subjects(stream: &str, cluster: &Cluster) -> String {
    let root = match stream {
        RESOURCES => "resource",
        SESSIONS => "session",
        STATUS => "status",
        PROGRESS => "progress",
        _ => "dead",
    };
    format!("lagan.{root}.{cluster}.>")
}

/// Returns the filter for sessions that wait in a pool and lane: that of the workers' durable consumer.
#[must_use]
pub fn planned_filter(cluster: &Cluster, pool: &str, lane: Lane) -> String {
    format!("lagan.session.{cluster}.*.*.*.*.*.{pool}.planned.{}", lane.as_str())
}

/// Returns the filter for all facts of one kind.
#[must_use]
pub fn fact_filter(cluster: &Cluster, fact: FactKind) -> String {
    let tail = if fact == FactKind::Planned { ".>" } else { "" };
    format!("lagan.session.{cluster}.*.*.*.*.*.*.{}{tail}", fact.as_str())
}

/// Returns the filter for the facts of a session of which only the uid is known.
#[must_use]
pub fn uid_filter(cluster: &Cluster, uid: Uuid) -> String {
    format!("lagan.session.{cluster}.*.*.*.*.{uid}.>")
}

/// Returns the subject of a session's progress in a pool.
#[must_use]
pub fn progress(key: &SessionKey, pool: &str) -> String {
    format!("lagan.progress.{}.{}.{pool}.{}", key.cluster, escaped(&key.namespace), key.uid)
}

/// Returns the pool in the subject of a session's progress.
#[must_use]
pub fn progress_pool(subject: &str) -> Option<&str> {
    subject.strip_prefix("lagan.progress.")?.split('.').nth(2)
}

/// Returns the filter for a session's progress in any pool.
#[must_use]
pub fn progress_filter(key: &SessionKey) -> String {
    progress(key, "*")
}

/// Returns the subject of STATUS for the position in SESSIONS up to which every end has been reported. To readers of
/// statuses it is that of a kind which they do not know.
#[must_use]
pub fn reporter_position(cluster: &Cluster) -> String {
    format!("lagan.status.{cluster}.{}.ReporterPosition.{NO_NAMESPACE}.sessions", escaped(crate::resource::kind::LAGAN))
}

/// Returns the subject that keeps an unreadable message: its own subject behind `lagan.dead.<cluster>`.
#[must_use]
pub fn dead(cluster: &Cluster, subject: &str) -> String {
    format!("lagan.dead.{cluster}.{}", subject.trim_start_matches("lagan."))
}

/// Returns the subject of a request to the engine.
#[must_use]
pub fn request(cluster: &Cluster, verb: &str) -> String {
    format!("lagan.request.{cluster}.{verb}")
}

#[cfg(test)]
mod tests;
