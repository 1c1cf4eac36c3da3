//! A list that is never empty.

use std::ops::Deref;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A list with at least one element; on the wire a JSON array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<T>")]
#[schemars(extend("minItems" = 1))]
pub struct OneOrMore<T>(Vec<T>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the list is empty; it needs at least one element")]
pub struct Empty;

impl<T> OneOrMore<T> {
    #[must_use]
    pub fn one(element: T) -> Self {
        Self(vec![element])
    }

    #[must_use]
    pub fn first(&self) -> &T {
        self.0.first().expect("a list of one or more has a first element")
    }
}

impl<T> TryFrom<Vec<T>> for OneOrMore<T> {
    type Error = Empty;

    fn try_from(elements: Vec<T>) -> Result<Self, Empty> {
        if elements.is_empty() { Err(Empty) } else { Ok(Self(elements)) }
    }
}

impl<T> Deref for OneOrMore<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}
