//! One file for each command. A command reads, renders with pure functions, and prints.

pub mod backup;
pub mod cancel;
pub mod cluster;
pub mod crd;
pub mod describe;
pub mod events;
pub mod explain;
pub mod generate;
pub mod get;
pub mod pause;
pub mod restore;
pub mod schema;
pub mod snapshots;
pub mod tree;
pub mod version;
