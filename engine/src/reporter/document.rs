//! An object with its status, as it stands in STATUS: as text. A tree of it takes ten times the memory, and there is one
//! for each object.

use std::sync::Arc;

use serde_json::Value;

/// Equal texts are equal documents: keys are in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document(Arc<str>);

impl Document {
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).expect("it was made from JSON")
    }
}

impl From<&Value> for Document {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}
