//! MariaDB: calls its clients, checks what must hold before a dump or a restore, judges whether a stream is a complete
//! dump, and explains errors.
//!
//! It knows nothing of sessions, plans or repositories: plain values in, plain values out. The only SQL of its own that
//! changes anything empties the databases of a restore that replaces them.

mod backup;
mod beyond;
mod client;
mod connection;
pub mod dump;
mod dump_args;
mod existing;
mod failure;
mod finding;
mod grants;
mod inventory;
mod kinds;
mod loadable;
mod obstacles;
mod options;
mod order;
mod readback;
mod required;
mod restore;
mod restore_args;
mod rewrite;
mod rights;
mod scope;
mod stream;
mod text;
mod version;

use lagan_schemas::{catalogue, engine::Engine};

pub use backup::{PreflightError, Prepared, ServerFacts, prepare};
pub use beyond::{BeyondDatabases, beyond_databases};
pub use client::{QueryError, SqlClient};
pub use connection::{ConnectionError, attach};
pub use dump_args::{DumpArgs, Scope};
pub use existing::{Met, clearing, met};
pub use failure::ClientFailure;
pub use finding::Finding;
pub use grants::{Grants, MissingGrant};
pub use inventory::{ExpectedObjects, InventoryKind, MissingObjects};
pub use loadable::large_rows;
pub use obstacles::{Obstacle, What, obstacles};
pub use options::ArgumentError;
pub use readback::{Comparison, RestoreDifferences, read_back};
pub use required::{Emptied, missing_tables};
pub use restore::{NoTrailer, TargetState, check_end, name_case, target_state};
pub use restore_args::{CheckedRestoreArgs, Selection};
pub use scope::{Asked, RestoreScope, ScopeError, TargetDatabase, scope};
pub use stream::{Incomplete, Recording, check_dump, scanner};
pub use text::TextForm;
pub use version::{ClientVersion, VersionError, Versions, probe};

/// The engine's document in the catalogue.
pub(crate) fn engine() -> &'static Engine {
    catalogue::engine("MariaDB").expect("the catalogue describes each engine that has code")
}
