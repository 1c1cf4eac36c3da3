//! The typed subject grammar: the one file that spells subjects, stream names and consumer filters.
//! It must not know what the messages carry.
//!
//! In a token `.` becomes `_`, which no Kubernetes name can hold, so the escape is reversible.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fact::FactKind;
use crate::resource::Kind;

/// Streams, one name each; what they bind is [`stream_subjects`].
pub const RESOURCES: &str = "RESOURCES";
pub const SESSIONS: &str = "SESSIONS";
pub const STATUS: &str = "STATUS";
pub const PROGRESS: &str = "PROGRESS";
pub const DEAD: &str = "DEAD";

/// Stands for the namespace of a cluster-scoped object; no namespace can be called this.
pub const NO_NAMESPACE: &str = "_";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SubjectError {
    #[error("`{0}` can't be part of a subject: names hold letters, digits, `-` and `.`, at most 253 of them")]
    Name(String),
    #[error("cluster name `{0}` is not a DNS label (lower-case letters, digits and `-`, at most 63)")]
    Cluster(String),
    #[error("`{0}` is not a subject of this kind")]
    Shape(String),
    #[error("`{0}` in a subject is not a uid")]
    Uid(String),
}

/// The name of a cluster: a DNS label, so that it is one token as it is.
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
        let fits = !text.is_empty()
            && text.len() <= 63
            && !text.starts_with('-')
            && !text.ends_with('-')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        fits.then(|| Self(text.to_owned())).ok_or_else(|| SubjectError::Cluster(text.to_owned()))
    }
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

/// A name as one token. Injective on Kubernetes names, refused for anything else.
pub fn token(name: &str) -> Result<String, SubjectError> {
    let fits = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    fits.then(|| name.replace('.', "_")).ok_or_else(|| SubjectError::Name(name.to_owned()))
}

fn name_of(token: &str) -> String {
    token.replace('_', ".")
}

/// What a session does; the third word of its subject.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// People wait for it: `lagan backup`, `lagan restore`, objects made by hand.
    Urgent,
    /// Slots of a schedule.
    Normal,
    /// Prune and check.
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

/// Names one session on the bus. The uid is its identity; the rest is for readers and filters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionKey {
    pub cluster: Cluster,
    pub namespace: String,
    pub kind: SessionKind,
    pub invoker: String,
    pub uid: Uuid,
}

impl SessionKey {
    /// `lagan.session.<cluster>.<namespace>.<kind>.<invoker>.<uid>`
    #[must_use]
    pub fn prefix(&self) -> String {
        let escape = |name: &str| name.replace('.', "_");
        format!(
            "lagan.session.{}.{}.{}.{}.{}",
            self.cluster,
            escape(&self.namespace),
            self.kind.as_str(),
            escape(&self.invoker),
            self.uid
        )
    }

    /// All facts of this session; also the filter of every compare-and-set on it.
    #[must_use]
    pub fn filter(&self) -> String {
        format!("{}.>", self.prefix())
    }

    #[must_use]
    pub fn fact(&self, fact: FactKind) -> String {
        format!("{}.{}", self.prefix(), fact.as_str())
    }

    #[must_use]
    pub fn planned(&self, pool: &str, lane: Lane) -> String {
        format!("{}.planned.{pool}.{}", self.prefix(), lane.as_str())
    }

    /// Checks the names before the first fact is published under them.
    pub fn check(&self) -> Result<(), SubjectError> {
        token(&self.namespace)?;
        token(&self.invoker).map(drop)
    }
}

/// A parsed subject of the SESSIONS stream. `fact` is `None` for a fact this version does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSubject {
    pub key: SessionKey,
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
        let invoker = name_of(next()?);
        let uid = next()?;
        let uid = Uuid::parse_str(uid).map_err(|_| SubjectError::Uid(uid.to_owned()))?;
        let fact = FactKind::from_name(next()?);
        Ok(Self { key: SessionKey { cluster, namespace, kind, invoker, uid }, fact })
    }
}

/// Names one object on the bus, for RESOURCES and STATUS alike.
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
        format!("{}.{}.{namespace}.{}", self.group.replace('.', "_"), self.kind, self.name.replace('.', "_"))
    }

    pub fn check(&self) -> Result<(), SubjectError> {
        if let Some(namespace) = &self.namespace {
            token(namespace)?;
        }
        token(&self.name).map(drop)
    }

    /// Reads a RESOURCES or STATUS subject. A kind this version does not know is `Shape`.
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

/// What a stream of `cluster` binds.
#[must_use]
pub fn stream_subjects(stream: &str, cluster: &Cluster) -> String {
    let what = match stream {
        RESOURCES => "resource",
        SESSIONS => "session",
        STATUS => "status",
        PROGRESS => "progress",
        _ => "dead",
    };
    format!("lagan.{what}.{cluster}.>")
}

/// Every session that waits in this pool and lane: the filter of the workers' durable consumer.
#[must_use]
pub fn planned_filter(cluster: &Cluster, pool: &str, lane: Lane) -> String {
    format!("lagan.session.{cluster}.*.*.*.*.planned.{pool}.{}", lane.as_str())
}

/// Every fact of one kind.
#[must_use]
pub fn fact_filter(cluster: &Cluster, fact: FactKind) -> String {
    let tail = if fact == FactKind::Planned { ".>" } else { "" };
    format!("lagan.session.{cluster}.*.*.*.*.{}{tail}", fact.as_str())
}

/// The facts of one session, found by its uid alone.
#[must_use]
pub fn uid_filter(cluster: &Cluster, uid: Uuid) -> String {
    format!("lagan.session.{cluster}.*.*.*.{uid}.>")
}

#[must_use]
pub fn work_consumer(pool: &str, lane: Lane) -> String {
    format!("work-{pool}-{}", lane.as_str())
}

#[must_use]
pub fn progress(key: &SessionKey) -> String {
    format!("lagan.progress.{}.{}.{}", key.cluster, key.namespace.replace('.', "_"), key.uid)
}

/// Where a message goes that nobody can read: its own subject behind `lagan.dead.<cluster>`.
#[must_use]
pub fn dead(cluster: &Cluster, subject: &str) -> String {
    format!("lagan.dead.{cluster}.{}", subject.trim_start_matches("lagan."))
}

/// Requests of people and programs to the engine.
#[must_use]
pub fn request(cluster: &Cluster, verb: &str) -> String {
    format!("lagan.request.{cluster}.{verb}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn key(namespace: &str, invoker: &str) -> SessionKey {
        SessionKey {
            cluster: "prod-1".parse().unwrap(),
            namespace: namespace.to_owned(),
            kind: SessionKind::Backup,
            invoker: invoker.to_owned(),
            uid: Uuid::from_u128(7),
        }
    }

    #[test]
    fn a_planned_fact_names_its_pool_and_lane() {
        let subject = key("shop", "a.b").planned("default", Lane::Urgent);
        assert_eq!(
            subject,
            "lagan.session.prod-1.shop.backup.a_b.00000000-0000-0000-0000-000000000007.planned.default.urgent"
        );
        assert_eq!(subject.parse::<SessionSubject>().unwrap().fact, Some(FactKind::Planned));
    }

    #[test]
    fn a_fact_of_a_later_version_parses_as_unknown() {
        let subject = format!("{}.verified", key("shop", "a").prefix());
        assert_eq!(subject.parse::<SessionSubject>().unwrap().fact, None);
    }

    #[test]
    fn wildcards_and_blanks_are_refused() {
        for bad in ["", "*", ">", "a b", "a\nb", "a_b", &"x".repeat(254)] {
            assert!(token(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "Prod", "a.b", "-a", "a-"] {
            assert!(bad.parse::<Cluster>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn session_subjects_round_trip(ns in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", name in "[a-z0-9]([a-z0-9.-]{0,40}[a-z0-9])?") {
            let key = key(&ns, &name);
            for fact in FactKind::ALL {
                let subject: SessionSubject = key.fact(fact).parse().unwrap();
                prop_assert_eq!(&subject.key, &key);
                prop_assert_eq!(subject.fact, Some(fact));
            }
        }

        #[test]
        fn object_subjects_round_trip(ns in proptest::option::of("[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"), name in "[a-z0-9]([a-z0-9.-]{0,40}[a-z0-9])?") {
            let cluster: Cluster = "c".parse().unwrap();
            let key = ObjectKey { group: "lagan.dev".into(), kind: Kind::Repository, namespace: ns, name };
            prop_assert_eq!(ObjectKey::parse(&key.resource_subject(&cluster)).unwrap(), (cluster.clone(), key.clone()));
            prop_assert_eq!(ObjectKey::parse(&key.status_subject(&cluster)).unwrap(), (cluster, key));
        }

        #[test]
        fn no_subject_makes_the_parser_panic(text in ".{0,200}") {
            let _ = text.parse::<SessionSubject>();
            let _ = ObjectKey::parse(&text);
        }
    }
}
