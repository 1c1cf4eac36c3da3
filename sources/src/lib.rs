//! Where intent and secrets come from: a folder of manifests, its ledger, and how other commands find a running `lagan up`.
//! It must not know NATS, and it must not decide anything.

pub mod endpoint;
pub mod folder;
pub mod ledger;
pub mod secrets;
