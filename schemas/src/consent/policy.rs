//! A policy: the namespaces that may use an object. It is written as a word in annotations and snapshot tags, and as a
//! `usagePolicy` in Repositories.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};
use serde::{Deserialize, Serialize};

use super::Asker;
use crate::resource::repository::{AllowedFrom, AllowedNamespaces};

/// Longest policy that fits into a snapshot's tag, in bytes.
const LIMIT: usize = 160;

/// The namespaces that may use an object of another namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ConsentPolicy {
    /// Only the object's own namespace.
    Same,
    All,
    Namespaces(BTreeSet<String>),
    /// Namespaces that have all of these labels.
    Labels(BTreeMap<String, String>),
    /// A selector of a `usagePolicy`. It can't be written as a word.
    Selector(Selector),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("`{0}` is not Same, All, Namespaces=a,b or Labels=key=value,key=value")]
    Word(String),
    #[error("`{0}` names no namespace and no label")]
    Empty(String),
    #[error("it has {0} bytes, and {LIMIT} fit into the tag of a snapshot; select namespaces by a label")]
    TooLong(usize),
    #[error("its selector is not a label selector: {0}")]
    Selector(String),
    #[error("it selects namespaces by label, and a folder of manifests knows no labels of namespaces")]
    NoLabels,
}

impl ConsentPolicy {
    /// Reads the word of an annotation or a tag. Tags separate by `+`, because restic splits tags at commas.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let text = text.trim();
        if text.len() > LIMIT {
            return Err(PolicyError::TooLong(text.len()));
        }
        let parts = |list: &str| -> Vec<String> {
            list.split([',', '+']).map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        let bad = || PolicyError::Word(text.to_owned());
        let policy = match text.split_once('=') {
            None if text == "Same" => Self::Same,
            None if text == "All" => Self::All,
            Some(("Namespaces", list)) => Self::Namespaces(parts(list).into_iter().collect()),
            Some(("Labels", list)) => {
                let pair = |part: String| {
                    let (key, value) = part.split_once('=')?;
                    Some((key.trim().to_owned(), value.trim().to_owned()))
                };
                Self::Labels(parts(list).into_iter().map(pair).collect::<Option<_>>().ok_or_else(bad)?)
            }
            _ => return Err(bad()),
        };
        match &policy {
            Self::Namespaces(names) if names.is_empty() => Err(PolicyError::Empty(text.to_owned())),
            Self::Labels(labels) if labels.is_empty() => Err(PolicyError::Empty(text.to_owned())),
            _ => Ok(policy),
        }
    }

    /// Reads a part of a Repository's `usagePolicy`.
    pub fn of(allowed: &AllowedNamespaces) -> Result<Self, PolicyError> {
        match allowed.from {
            AllowedFrom::Same => Ok(Self::Same),
            AllowedFrom::All => Ok(Self::All),
            AllowedFrom::Selector => {
                let fields = allowed.selector.clone().unwrap_or_default();
                let selector = serde_json::from_value::<LabelSelector>(serde_json::Value::Object(fields.0));
                let selector = selector.map_err(|error| PolicyError::Selector(error.to_string()))?;
                let selector =
                    Selector::try_from(selector).map_err(|error| PolicyError::Selector(error.to_string()))?;
                Ok(Self::Selector(selector))
            }
        }
    }

    /// Whether another namespace may use the object. A selector without any term selects nothing.
    pub fn allows(&self, asker: Asker<'_>) -> Result<bool, PolicyError> {
        let labels = || (asker.labels)().ok_or(PolicyError::NoLabels);
        Ok(match self {
            Self::Same => false,
            Self::All => true,
            Self::Namespaces(names) => names.contains(asker.namespace),
            Self::Labels(wanted) => {
                let labels = labels()?;
                wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
            }
            Self::Selector(selector) => !selector.selects_all() && selector.matches(&labels()?),
        })
    }
}

impl From<ConsentPolicy> for String {
    fn from(policy: ConsentPolicy) -> Self {
        policy.to_string()
    }
}

impl TryFrom<String> for ConsentPolicy {
    type Error = PolicyError;

    fn try_from(text: String) -> Result<Self, PolicyError> {
        Self::parse(&text)
    }
}

/// The word as snapshot tags carry it.
impl fmt::Display for ConsentPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same | Self::Selector(_) => f.write_str("Same"),
            Self::All => f.write_str("All"),
            Self::Namespaces(names) => {
                write!(f, "Namespaces={}", names.iter().cloned().collect::<Vec<_>>().join("+"))
            }
            Self::Labels(labels) => {
                let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "Labels={}", pairs.join("+"))
            }
        }
    }
}
