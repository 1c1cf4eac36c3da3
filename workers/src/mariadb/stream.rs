//! The stream of a backup: what it held, and whether it is the whole dump that was asked for.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    dump::{Fault, Record, Recorder},
    inventory::{ExpectedObjects, MissingObjects},
    rewrite::Rewriter,
    text::TextForm,
};
use crate::process::{DumpOutcome, Scanner, escape};

const HEAD_BYTES: usize = 80;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    #[error("the stream is not a dump; it starts with `{start}`")]
    NotADump { start: String },
    #[error(
        "the dump is not written as mariadb-dump is known to write, so values could come back changed; this version of the program is not supported"
    )]
    Misread,
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("the dump has holes, so rights of the account or the schema changed while it ran; missing: {}", list(.0))]
    Holes(Vec<MissingObjects>),
}

fn list(missing: &[MissingObjects]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The record of a stream, in the making while it passes.
#[derive(Debug, Clone, Default)]
pub struct Recording(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    recorder: Recorder,
    head: Vec<u8>,
    /// Set until the line has passed that names the character set, if that is to be rewritten.
    misread: bool,
    record: Option<Arc<Record>>,
}

impl Recording {
    /// The record of all blocks so far. What passes later is not in it.
    #[must_use]
    pub fn record(&self) -> Arc<Record> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recorder = std::mem::take(&mut state.recorder);
        Arc::clone(state.record.get_or_insert_with(|| Arc::new(recorder.finish())))
    }

    /// The first bytes, and whether the character set was named.
    fn start(&self) -> (String, bool) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (escape(String::from_utf8_lossy(&state.head).trim()), !state.misread)
    }
}

/// A scanner for the process step, and the recording that it makes. It rewrites the stream as `rewrite` tells.
#[must_use]
pub fn scanner(text: TextForm) -> (Scanner, Recording) {
    let recording = Recording::default();
    let shared = Arc::clone(&recording.0);
    let mut rewriter = Rewriter::new(text);
    let scan = Box::new(move |block: &mut Vec<u8>| {
        rewriter.block(block);
        let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
        state.misread = rewriter.is_misread();
        let room = HEAD_BYTES.saturating_sub(state.head.len()).min(block.len());
        state.head.extend_from_slice(&block[..room]);
        state.recorder.feed(block);
    });
    (scan, recording)
}

/// Whether a clean end of `mariadb-dump` left a complete dump. The exit status is the gate's own business.
pub fn check_dump(outcome: &DumpOutcome, recording: &Recording, expected: &ExpectedObjects) -> Result<(), Incomplete> {
    let record = recording.record();
    if outcome.bytes == 0 {
        return Err(Fault::Empty.into());
    }
    let (start, names_character_set) = recording.start();
    if record.header.writer.is_none() {
        return Err(Incomplete::NotADump { start });
    }
    record.ending.check()?;
    if !names_character_set {
        return Err(Incomplete::Misread);
    }
    let holes = expected.missing_in(&record);
    if holes.is_empty() { Ok(()) } else { Err(Incomplete::Holes(holes)) }
}
