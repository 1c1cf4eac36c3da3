//! Streams of every kind, cut into blocks of every size.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod filter;
mod record;
mod splits;

use super::{Filter, FilterError, NameCase, Record, Recorder, WantedDatabase, WantedDatabases};

fn record(stream: &[u8]) -> Record {
    record_in(stream, stream.len().max(1))
}

fn record_in(stream: &[u8], block: usize) -> Record {
    let mut recorder = Recorder::default();
    stream.chunks(block).for_each(|block| recorder.feed(block));
    recorder.finish()
}

fn wanted(database: &str) -> WantedDatabases {
    WantedDatabases {
        databases: vec![WantedDatabase { name: database.to_owned(), renamed: None }],
        case: NameCase::Sensitive,
    }
}

fn renamed(database: &str, new: &str) -> WantedDatabases {
    let databases = vec![WantedDatabase { name: database.to_owned(), renamed: Some(new.to_owned()) }];
    WantedDatabases { databases, case: NameCase::Sensitive }
}

fn filter(stream: &[u8], wanted: WantedDatabases) -> Result<Vec<u8>, FilterError> {
    filter_in(stream, wanted, stream.len().max(1))
}

fn filter_in(stream: &[u8], wanted: WantedDatabases, block: usize) -> Result<Vec<u8>, FilterError> {
    let mut filter = Filter::new(wanted);
    let mut out = Vec::new();
    for block in stream.chunks(block) {
        filter.feed(block, &mut out)?;
    }
    filter.finish(&mut out)?;
    Ok(out)
}
