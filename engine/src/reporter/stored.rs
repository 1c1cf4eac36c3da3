//! A document of STATUS kept in memory as text: a tree of values would take ten times the memory, once per object.

use std::sync::Arc;

use lagan_schemas::resource::StatusDocument;

/// Equal documents have equal texts, because fields are written in the order of their types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredDocument(Arc<str>);

impl StoredDocument {
    pub fn read(&self) -> StatusDocument {
        serde_json::from_str(&self.0).expect("the text was made from a document")
    }
}

impl From<&StatusDocument> for StoredDocument {
    fn from(document: &StatusDocument) -> Self {
        Self(serde_json::to_string(document).expect("a document is JSON").into())
    }
}
