//! Statuses as values: pure functions from facts and objects to what a status says, in Stash's shapes.
//! It must not write anything; `reporter` applies what is made here.

pub(crate) mod blueprint;
pub(crate) mod brief;
mod conditions;
pub(crate) mod configuration;
pub(crate) mod difference;
pub(crate) mod document;
pub(crate) mod finalizer;
pub(crate) mod note;
pub(crate) mod preserved_fields;
pub(crate) mod refused;
pub(crate) mod repository;
pub(crate) mod restore_labels;
pub(crate) mod session;
pub(crate) mod text;
pub(crate) mod wait;
pub(crate) mod wipe;

#[cfg(test)]
mod tests;
