//! Looks after the streams while an engine runs: it creates those that are missing, and notices that one lost messages on
//! which a view relies, so that everything is read again (P16). It must not delete anything.

use std::time::Duration;

use jiff::Timestamp;
use lagan_bus::read;
use lagan_bus::streams::{self, StreamError, StreamSpec};
use lagan_schemas::error::chain;
use lagan_schemas::subject::{RESOURCES, SESSIONS, stream_subjects};

use crate::consumers::ensure_consumers;
use crate::context::Context;
use crate::error::EngineError;

/// Time between looks while the connection lasts: an administrator may delete or empty a stream, and nobody is told.
const LOOK: Duration = Duration::from_secs(5);
/// Pause before the second of the two looks that a loss needs.
const AGAIN: Duration = Duration::from_secs(1);

/// The least and the greatest sequence of the messages that a view relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Relied {
    least: u64,
    greatest: u64,
}

impl Relied {
    fn on(sequences: impl Iterator<Item = u64>) -> Option<Self> {
        sequences.fold(None, |relied: Option<Self>, sequence| {
            let Self { least, greatest } = relied.unwrap_or(Self { least: sequence, greatest: sequence });
            Some(Self { least: least.min(sequence), greatest: greatest.max(sequence) })
        })
    }

    /// Whether a stream with these first and last sequences has lost some of the messages.
    fn are_lost(self, (first, last): (u64, u64)) -> bool {
        self.least < first || self.greatest > last
    }
}

/// Creates streams and consumers again: a server that was restarted has lost those in memory, one whose disk was replaced has
/// lost them all, and people delete some. It ends with an error when a stream has lost what was read from it.
pub(crate) async fn keep(context: Context, specs: Vec<StreamSpec>) -> Result<(), EngineError> {
    let mut link = context.bus.link();
    link.mark_unchanged();
    loop {
        let reconnected = tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK) => false,
            changed = link.changed() => if changed.is_err() { return Ok(()) } else { true },
        };
        if !link.borrow_and_update().connected {
            continue;
        }
        // Engines of different settings would take turns in changing the streams.
        let is_due = reconnected || lacks_one(&context, &specs).await;
        if is_due && let Err(error) = streams::ensure_again(&context.bus, &specs).await {
            tracing::warn!(error = chain(&error), "streams can't be checked");
        }
        if reconnected && let Err(error) = ensure_consumers(&context).await {
            tracing::warn!(error = chain(&error), "consumers can't be checked after the reconnection");
        }
        for stream in [SESSIONS, RESOURCES] {
            match is_lost_twice(&context, stream).await {
                Ok(false) => {}
                Ok(true) => return Err(EngineError::StoreReplaced(stream)),
                Err(error) => tracing::debug!(stream, error = chain(&error), "the stream can't be compared"),
            }
        }
    }
}

async fn lacks_one(context: &Context, specs: &[StreamSpec]) -> bool {
    for spec in specs {
        if streams::held(&context.bus, &spec.name).await.is_err() {
            return true;
        }
    }
    false
}

/// A view can be behind its stream for a moment, so a loss must be seen twice.
async fn is_lost_twice(context: &Context, stream: &'static str) -> Result<bool, StreamError> {
    if !is_lost(context, stream).await? {
        return Ok(false);
    }
    tokio::time::sleep(AGAIN).await;
    is_lost(context, stream).await
}

async fn is_lost(context: &Context, stream: &'static str) -> Result<bool, StreamError> {
    // Before the look: whatever is stored later, these messages must be there.
    let relied = if stream == SESSIONS { relied_facts(context) } else { relied_objects(context) };
    let Some(relied) = relied else { return Ok(false) };
    let held = streams::held(&context.bus, stream).await?;
    if stream == RESOURCES && relied.greatest <= held.1 {
        return Ok(has_read(context, held.1).await? && lacks_object(context, held.0).await?);
    }
    Ok(relied.are_lost(held))
}

/// Whether the view has read everything up to the end of RESOURCES. A later value of an object removes the one before it, which the
/// view may have until then. The last messages may be gone before they were read; then nothing follows what was read.
async fn has_read(context: &Context, end: u64) -> Result<bool, StreamError> {
    let mut progress = context.resources.changes();
    let reads = progress.wait_for(|progress| progress.sequence() >= end);
    if tokio::time::timeout(AGAIN, reads).await.is_ok_and(|read| read.is_ok()) {
        return Ok(true);
    }
    let read = context.resources.changes().borrow().sequence();
    let filter = stream_subjects(RESOURCES, context.cluster());
    Ok(next_of(context, &filter, read + 1).await?.is_none())
}

/// Whether RESOURCES, which begins at `first`, lacks the oldest or the newest of the values on which the view relies.
async fn lacks_object(context: &Context, first: u64) -> Result<bool, StreamError> {
    let Some(relied) = relied_objects(context) else { return Ok(false) };
    if relied.least < first {
        return Ok(true);
    }
    let filter = stream_subjects(RESOURCES, context.cluster());
    let found = next_of(context, &filter, relied.greatest).await?;
    Ok(found.is_none_or(|found| found > relied.greatest))
}

/// The sequence of the first message of RESOURCES from `sequence` on.
async fn next_of(context: &Context, filter: &str, sequence: u64) -> Result<Option<u64>, StreamError> {
    let next = read::next(&context.bus, RESOURCES, filter, sequence).await;
    let next = next.map_err(|source| StreamError::State { name: RESOURCES.to_owned(), source })?;
    Ok(next.map(|stored| stored.sequence))
}

/// The last facts of the sessions that have not ended. The first ones expire before a long session ends, and so may the last
/// ones: those are not counted.
fn relied_facts(context: &Context) -> Option<Relied> {
    let (now, max_age) = (context.clock.now(), context.options.streams.sessions_max_age);
    let view = context.sessions.read();
    Relied::on(view.active.values().filter_map(|session| {
        let is_kept = session.last_time.is_some_and(|last| is_kept(last, now, max_age));
        is_kept.then_some(session.last_sequence)
    }))
}

/// Whether a fact is far from the age at which the server removes it.
fn is_kept(stored: Timestamp, now: Timestamp, max_age: Duration) -> bool {
    stored.checked_add(max_age / 2).is_ok_and(|until| now < until)
}

fn relied_objects(context: &Context) -> Option<Relied> {
    let view = context.resources.read();
    let known = view.objects.keys().chain(view.refused.keys());
    Relied::on(known.filter_map(|key| view.sequences.get(key).copied()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::at;

    #[test]
    fn messages_are_lost_when_a_stream_begins_behind_one_or_ends_before_one() {
        let relied = Relied::on([7, 3, 5].into_iter()).expect("some");
        assert_eq!(relied, Relied { least: 3, greatest: 7 });
        for (held, lost) in
            [((1, 7), false), ((3, 9), false), ((4, 9), true), ((1, 6), true), ((8, 7), true), ((0, 0), true)]
        {
            assert_eq!(relied.are_lost(held), lost, "{held:?}");
        }
        assert_eq!(Relied::on(std::iter::empty()), None);
    }

    #[test]
    fn a_last_fact_that_may_have_expired_is_not_missed() {
        let week = Duration::from_secs(7 * 86_400);
        assert!(is_kept(at(0), at(3 * 86_400), week));
        assert!(!is_kept(at(0), at(4 * 86_400), week));
    }
}
