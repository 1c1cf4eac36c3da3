//! The source of intent and secrets: a folder of manifests and its ledger, or a Kubernetes API server. Also the file by
//! which other commands find a running `lagan up`.
//! It must not know NATS or decide anything.

pub mod endpoint;
pub mod folder;
pub mod kubernetes;
pub mod ledger;
pub mod open_slot;
pub mod secrets;
pub mod source;
pub mod stand_in;

pub use source::{Source, SourceError, Standing};
