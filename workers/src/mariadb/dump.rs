//! Reads SQL dumps as a stream of bytes: splits them into statements as the `mariadb` client does, records what they
//! hold, and takes some databases out of several.
//!
//! A dump may hold statements of gigabytes, bytes of any character set and names of any kind. So nothing here keeps a
//! statement whole, assumes UTF-8, or depends on how the stream is cut into blocks. It asks no server and runs nothing.

mod actions;
mod class;
mod complete;
mod details;
mod filter;
mod first;
mod head;
mod judge;
mod lexer;
mod mentions;
mod packet;
mod reader;
mod record;
mod recorder;
mod scan;
mod scope_guard;
mod settings;
mod statement;
mod token;

pub use actions::PrivilegedAction;
pub use complete::{Cut, Ending, Fault, FirstDump};
pub use filter::{Filter, FilterError, NameCase, WantedDatabase, WantedDatabases};
pub use first::{FirstWrite, FirstWriteFinder};
pub use record::{
    DatabaseRecord, EventEnd, Few, Header, Listed, Names, Naming, Needs, Oddity, OddityKind, RECORD_VERSION, Record,
    RecordedKind, RequiredTables, TableRecord, Taken,
};
pub use recorder::Recorder;
pub use scope_guard::ScopeGuard;

#[cfg(test)]
mod tests;
