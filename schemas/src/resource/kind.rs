//! Kinds and groups: their API versions, plurals and short names, in both groups. Names that this version does not know
//! are values too, so that objects of later versions pass through.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const LAGAN: &str = "lagan.dev";
pub const STASH: &str = "stash.appscode.com";
pub const APP_CATALOG: &str = "appcatalog.appscode.com";

/// An API group. `Core` is the group of Secrets, which are never published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    Lagan,
    Stash,
    AppCatalog,
    Core,
    /// Any other group. Its name stays in the `apiVersion` that it was read from.
    Other,
}

impl Group {
    /// Returns the group of an `apiVersion`.
    #[must_use]
    pub fn of(api_version: &str) -> Self {
        match api_version.split_once('/').map(|(group, _)| group) {
            Some(LAGAN) => Self::Lagan,
            Some(STASH) => Self::Stash,
            Some(APP_CATALOG) => Self::AppCatalog,
            Some(_) => Self::Other,
            None => Self::Core,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lagan => LAGAN,
            Self::Stash => STASH,
            Self::AppCatalog => APP_CATALOG,
            Self::Core | Self::Other => "",
        }
    }
}

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Kind {
    Repository,
    BackupConfiguration,
    BackupSession,
    RestoreSession,
    BackupBlueprint,
    Task,
    Function,
    AppBinding,
    Secret,
    /// A kind that this version does not know. It never equals a known one: parsing prefers those.
    Other(KindName),
}

/// The name of an unknown kind, stored inline so that `Kind` is `Copy`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindName {
    /// Filled with zeros after the name.
    bytes: [u8; KIND_LIMIT],
}

/// Longest name of a kind that the API server accepts.
const KIND_LIMIT: usize = 63;

impl KindName {
    fn new(text: &str) -> Option<Self> {
        let fits = text.len() <= KIND_LIMIT
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric());
        fits.then(|| {
            let mut bytes = [0; KIND_LIMIT];
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            Self { bytes }
        })
    }

    fn as_str(&self) -> &str {
        let end = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(KIND_LIMIT);
        std::str::from_utf8(&self.bytes[..end]).expect("a kind's name is ASCII")
    }
}

impl fmt::Debug for KindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Kind {
    /// The kinds that this version knows.
    pub const ALL: [Self; 9] = [
        Self::Repository,
        Self::BackupConfiguration,
        Self::BackupSession,
        Self::RestoreSession,
        Self::BackupBlueprint,
        Self::Task,
        Self::Function,
        Self::AppBinding,
        Self::Secret,
    ];

    /// Returns the kind with this name if this version knows it.
    #[must_use]
    pub fn known(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Repository => "Repository",
            Self::BackupConfiguration => "BackupConfiguration",
            Self::BackupSession => "BackupSession",
            Self::RestoreSession => "RestoreSession",
            Self::BackupBlueprint => "BackupBlueprint",
            Self::Task => "Task",
            Self::Function => "Function",
            Self::AppBinding => "AppBinding",
            Self::Secret => "Secret",
            Self::Other(name) => name.as_str(),
        }
    }

    /// Returns every `apiVersion` from which this kind is read, Lagan's first.
    #[must_use]
    pub const fn api_versions(self) -> &'static [&'static str] {
        match self {
            Self::Repository => &["lagan.dev/v1alpha1", "stash.appscode.com/v1alpha1"],
            Self::BackupConfiguration
            | Self::BackupSession
            | Self::RestoreSession
            | Self::BackupBlueprint
            | Self::Task
            | Self::Function => &["lagan.dev/v1alpha1", "stash.appscode.com/v1beta1"],
            Self::AppBinding => &["appcatalog.appscode.com/v1alpha1"],
            Self::Secret => &["v1"],
            Self::Other(_) => &[],
        }
    }

    #[must_use]
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::BackupBlueprint | Self::Task | Self::Function)
    }

    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Repository => "repositories",
            Self::BackupConfiguration => "backupconfigurations",
            Self::BackupSession => "backupsessions",
            Self::RestoreSession => "restoresessions",
            Self::BackupBlueprint => "backupblueprints",
            Self::Task => "tasks",
            Self::Function => "functions",
            Self::AppBinding => "appbindings",
            Self::Secret => "secrets",
            Self::Other(_) => "",
        }
    }

    /// Returns the short names of Lagan's group, then Stash's, then words that people use.
    #[must_use]
    pub const fn short_names(self) -> &'static [&'static str] {
        match self {
            Self::Repository => &["lrepo", "repo", "repos"],
            Self::BackupConfiguration => &["lbc", "bc", "plan", "plans"],
            Self::BackupSession => &["lbs", "bs", "session", "sessions"],
            Self::RestoreSession => &["lrs", "restore", "restores", "rs"],
            Self::BackupBlueprint => &["lbb", "bb", "blueprint", "blueprints"],
            Self::Task => &["ltask"],
            Self::Function => &["lfn", "fn"],
            Self::AppBinding => &["app"],
            Self::Secret | Self::Other(_) => &[],
        }
    }

    /// Parses the words of a person: kind, singular, plural or short name, in any case, with or without a group that has
    /// this kind, as in `backupconfigurations.lagan.dev`.
    #[must_use]
    pub fn from_words(text: &str) -> Option<(Self, Option<Group>)> {
        let lower = text.to_ascii_lowercase();
        let (word, group) = lower.split_once('.').map_or((lower.as_str(), None), |(word, group)| (word, Some(group)));
        let kind = Self::ALL.into_iter().find(|kind| {
            kind.as_str().to_ascii_lowercase() == word || kind.plural() == word || kind.short_names().contains(&word)
        })?;
        let Some(group) = group else { return Some((kind, None)) };
        let mut groups = kind.api_versions().iter().map(|version| Group::of(version));
        groups.find(|known| known.as_str() == group).map(|group| (kind, Some(group)))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = BadKind;

    fn from_str(text: &str) -> Result<Self, BadKind> {
        let kind = Self::known(text).or_else(|| KindName::new(text).map(Self::Other));
        kind.ok_or_else(|| BadKind(text.to_owned()))
    }
}

/// A text that no kind can have as its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a kind: it has 1 to 63 letters and digits and begins with a letter")]
pub struct BadKind(String);

impl TryFrom<String> for Kind {
    type Error = BadKind;

    fn try_from(text: String) -> Result<Self, BadKind> {
        text.parse()
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        kind.as_str().to_owned()
    }
}

impl JsonSchema for Kind {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Kind".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9]{0,62}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_name_a_kind_in_many_ways() {
        for word in ["BackupConfiguration", "backupconfigurations", "bc", "lbc", "plan"] {
            assert_eq!(Kind::from_words(word), Some((Kind::BackupConfiguration, None)), "{word}");
            let of_stash = Some((Kind::BackupConfiguration, Some(Group::Stash)));
            assert_eq!(Kind::from_words(&format!("{word}.stash.appscode.com")), of_stash, "{word}");
        }
        for word in ["pod", "bc.nonsense", "appbindings.lagan.dev", "bc.", ""] {
            assert_eq!(Kind::from_words(word), None, "{word}");
        }
    }

    #[test]
    fn a_kind_of_a_later_version_keeps_its_name_everywhere() {
        for name in ["BackupBatch", "x", &"K".repeat(63)] {
            let kind: Kind = name.parse().expect("a kind");
            assert!(matches!(kind, Kind::Other(_)) && kind.to_string() == name && Kind::known(name).is_none());
            let json = serde_json::to_string(&kind).expect("JSON");
            assert_eq!(serde_json::from_str::<Kind>(&json).expect("a kind"), kind);
        }
        for name in ["", "a.b", "a b", "1a", "É", &"K".repeat(64)] {
            assert!(name.parse::<Kind>().is_err(), "{name}");
        }
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!(Group::of("apps/v1"), Group::Other);
    }

    #[test]
    fn no_word_names_two_kinds() {
        let mut words: Vec<_> = Kind::ALL
            .iter()
            .flat_map(|k| k.short_names().iter().chain([&k.plural()]).copied().collect::<Vec<_>>())
            .collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }
}
