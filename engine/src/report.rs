//! Statuses as values: folds of facts and views, in Stash's shapes. It must not write them.

pub(crate) mod configuration;
pub(crate) mod note;
pub(crate) mod refused;
pub(crate) mod repository;
pub(crate) mod session;
pub(crate) mod text;
pub(crate) mod wipe;

#[cfg(test)]
mod tests;
