//! The tags of a snapshot, such as `lagan-session=<uid>`: their names, their limits, and how they are written and read.
//! restic splits tags at commas, so no tag holds one.

/// A tag has fewer bytes than this. Longer ones make the lists of restic and of other programs unreadable.
pub const TAG_BYTES: usize = 200;

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

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    #[error("the value of tag `{0}` is empty")]
    Empty(String),
    #[error("tag `{0}` holds a comma or a control character, or white space at an end, which restic's tags can't have")]
    Characters(String),
    #[error("tag `{tag}` has {bytes} bytes, and a snapshot's tags have fewer than {TAG_BYTES}", bytes = tag.len())]
    TooLong { tag: String },
}

impl Tag {
    pub const ALL: [Self; 8] = [
        Self::Session,
        Self::Configuration,
        Self::ConfigurationUid,
        Self::Cluster,
        Self::Identity,
        Self::Attempt,
        Self::Target,
        Self::Consent,
    ];

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
    pub fn format(self, value: &str) -> Result<String, TagError> {
        let tag = format!("{}={value}", self.key());
        if value.is_empty() { Err(TagError::Empty(tag)) } else { check(&tag).map(|()| tag) }
    }

    /// Finds the value of this tag among `tags`.
    #[must_use]
    pub fn find(self, tags: &[String]) -> Option<&str> {
        tags.iter().find_map(|tag| tag.strip_prefix(self.key())?.strip_prefix('='))
    }
}

/// Refuses a tag that restic would split or show differently, and one that is too long.
pub fn check(tag: &str) -> Result<(), TagError> {
    if tag.is_empty() {
        Err(TagError::Empty(tag.to_owned()))
    } else if tag.trim() != tag || tag.contains(|char: char| char == ',' || char.is_control()) {
        Err(TagError::Characters(tag.to_owned()))
    } else if tag.len() >= TAG_BYTES {
        Err(TagError::TooLong { tag: tag.to_owned() })
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

    #[test]
    fn a_tag_stays_under_its_limit() {
        for tag in Tag::ALL {
            let room = TAG_BYTES - 1 - tag.key().len() - 1;
            assert_eq!(tag.format(&"x".repeat(room)).map(|text| text.len()), Ok(199));
            let refused = tag.format(&"x".repeat(room + 1)).expect_err("it has 200 bytes");
            assert!(
                refused.to_string().ends_with(" has 200 bytes, and a snapshot's tags have fewer than 200"),
                "{refused}"
            );
        }
    }
}
