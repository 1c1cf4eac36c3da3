//! Kinds and groups: their API versions, plurals and short names, in both groups.

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
}

impl Group {
    /// Returns the group of an `apiVersion`.
    #[must_use]
    pub fn of(api_version: &str) -> Self {
        match api_version.split_once('/').map(|(group, _)| group) {
            Some(STASH) => Self::Stash,
            Some(APP_CATALOG) => Self::AppCatalog,
            Some(_) => Self::Lagan,
            None => Self::Core,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lagan => LAGAN,
            Self::Stash => STASH,
            Self::AppCatalog => APP_CATALOG,
            Self::Core => "",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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
}

impl Kind {
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

    #[must_use]
    pub const fn as_str(self) -> &'static str {
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
            Self::Secret => &[],
        }
    }

    /// Parses the words of a person: kind, singular, plural or short name, in any case, with or without the group.
    #[must_use]
    pub fn from_words(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let word = lower.split_once('.').map_or(lower.as_str(), |(word, _)| word);
        Self::ALL.into_iter().find(|kind| {
            kind.as_str().to_ascii_lowercase() == word || kind.plural() == word || kind.short_names().contains(&word)
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_name_a_kind_in_many_ways() {
        for word in [
            "BackupConfiguration",
            "backupconfigurations",
            "bc",
            "lbc",
            "plan",
            "backupconfigurations.stash.appscode.com",
        ] {
            assert_eq!(Kind::from_words(word), Some(Kind::BackupConfiguration), "{word}");
        }
        assert_eq!(Kind::from_words("pod"), None);
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
