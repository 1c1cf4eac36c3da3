//! The stream of a dump: what it must hold, and the record of what it holds.

use jiff::Timestamp;
use lagan_schemas::error::Failure;
use lagan_schemas::fact::{Notice, RecordTotals};
use sha2::{Digest as _, Sha256};

use super::failures::of_incomplete;
use crate::databases::{DumpedStream, Survey, hex};
use crate::mariadb::dump::{DatabaseRecord, RECORD_VERSION, Record, Recorder, Taken};
use crate::mariadb::{ExpectedObjects, Finding, Recording, ServerFacts, TextForm, check_dump, large_rows, scanner};
use crate::process::{DumpOutcome, Scanner};

/// A dump on its way into a snapshot.
pub(super) struct RecordedStream {
    recording: Recording,
    expected: ExpectedObjects,
    /// The moment that the data shows, and the server's version.
    taken: Taken,
    max_allowed_packet_bytes: u64,
}

impl RecordedStream {
    /// The scanner that sees every block, and the stream that it fills.
    pub fn new(expected: ExpectedObjects, server: ServerFacts, text: TextForm) -> (Scanner, Self) {
        let (scanner, recording) = scanner(text);
        let taken = Taken {
            time: Some(Timestamp::now().to_string()),
            server_version: server.version,
            lower_case_table_names: server.lower_case_table_names,
        };
        let max_allowed_packet_bytes = server.max_allowed_packet_bytes;
        (scanner, Self { recording, expected, taken, max_allowed_packet_bytes })
    }

    fn stored(&self) -> Record {
        Record { taken: Some(self.taken.clone()), ..Record::clone(&self.recording.record()) }
    }
}

impl DumpedStream for RecordedStream {
    fn check(&self, outcome: &DumpOutcome) -> Result<(), Failure> {
        check_dump(outcome, &self.recording, &self.expected).map_err(|error| of_incomplete(&error))
    }

    fn record(&self) -> Option<Vec<u8>> {
        Some(self.stored().to_json())
    }

    fn totals(&self) -> Option<RecordTotals> {
        let record = self.stored();
        let sum = |count: fn(&DatabaseRecord) -> u64| record.databases.iter().map(count).sum();
        Some(RecordTotals {
            databases: record.databases.len() as u64 + record.databases_left_out,
            tables: sum(|database| database.tables.count),
            other_objects: sum(|database| database.objects.values().map(|listed| listed.count).sum()),
            rows: record.rows(),
            sha256: hex(&Sha256::digest(record.to_json())),
        })
    }

    fn notices(&self) -> Vec<Notice> {
        let longest_bytes = self.recording.record().longest_statement_bytes;
        notices(large_rows(longest_bytes, self.max_allowed_packet_bytes).as_slice())
    }
}

/// A stream that was found in a snapshot.
pub(super) struct StreamSurvey {
    recorder: Recorder,
    taken: Option<Taken>,
}

impl StreamSurvey {
    /// `stored` is the record that the backup made of the same stream, if there is one.
    pub fn new(stored: Option<&[u8]>) -> Self {
        let taken = stored.and_then(parse).and_then(|record| record.taken);
        Self { recorder: Recorder::default(), taken }
    }
}

impl Survey for StreamSurvey {
    fn block(&mut self, block: &[u8]) {
        self.recorder.feed(block);
    }

    fn finish(self: Box<Self>) -> Vec<u8> {
        Record { taken: self.taken, ..self.recorder.finish() }.to_json()
    }
}

/// Reads a record of this version.
pub(super) fn parse(record: &[u8]) -> Option<Record> {
    let record = serde_json::from_slice::<Record>(record).ok()?;
    (record.version == RECORD_VERSION).then_some(record)
}

pub(super) fn notices(findings: &[Finding]) -> Vec<Notice> {
    findings.iter().map(Finding::notice).collect()
}
