//! Formats and finds snapshot tags such as `lagan-session=<uid>`. restic splits tags at commas, so no tag holds one.

use super::error::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// UID of the session that wrote the snapshot.
    Session,
    /// `group/namespace/name` of the configuration.
    Configuration,
    /// UID of the configuration. It is recorded and never compared: a re-created object keeps its history.
    ConfigurationUid,
    /// Name of the cluster, for people.
    Cluster,
    /// Identity of the cluster, a uid.
    Identity,
    Attempt,
    Target,
    /// Policy of its configuration: the other namespaces that may restore the snapshot.
    Consent,
}

impl Tag {
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Session => "lagan-session",
            Self::Configuration => "lagan-configuration",
            Self::ConfigurationUid => "lagan-configuration-uid",
            Self::Cluster => "lagan-cluster",
            Self::Identity => "lagan-identity",
            Self::Attempt => "lagan-attempt",
            Self::Target => "lagan-target",
            Self::Consent => "lagan-consent",
        }
    }

    /// Formats the tag as `key=value`.
    pub fn format(self, value: &str) -> Result<String, Error> {
        let tag = format!("{}={value}", self.key());
        if value.is_empty() {
            Err(Error::Invalid { what: "a tag's value", value: tag })
        } else {
            check(&tag).map(|()| tag)
        }
    }

    /// Finds the value of this tag among `tags`.
    #[must_use]
    pub fn find(self, tags: &[String]) -> Option<&str> {
        tags.iter().find_map(|tag| tag.strip_prefix(self.key())?.strip_prefix('='))
    }
}

/// Refuses a tag that restic would split or show differently.
pub(super) fn check(tag: &str) -> Result<(), Error> {
    if tag.is_empty() || tag.trim() != tag || tag.contains(|char: char| char == ',' || char.is_control()) {
        Err(Error::Invalid { what: "a tag", value: tag.to_owned() })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_reads_back_as_written() {
        let uid = Tag::ConfigurationUid.format("7").expect("a legal value");
        let tags = vec![uid, Tag::Configuration.format("lagan.dev/shop/db").expect("a legal value")];
        assert_eq!(tags[1], "lagan-configuration=lagan.dev/shop/db");
        assert_eq!(Tag::Configuration.find(&tags), Some("lagan.dev/shop/db"));
        assert_eq!(Tag::Session.find(&tags), None);
    }

    #[test]
    fn a_tag_with_a_comma_is_refused() {
        for value in ["a,b", "", "a\nb", "a "] {
            assert!(Tag::Session.format(value).is_err(), "{value:?}");
        }
    }
}
