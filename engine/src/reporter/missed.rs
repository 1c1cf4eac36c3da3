//! The ends of sessions that were not reported by the reporter before: what the log holds after its position. They are read
//! from the log one after the other, so a takeover needs no memory of what happened before it.

use std::collections::{BTreeSet, HashMap};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use lagan_bus::follow::follow;
use lagan_bus::session_log::find_session;
use lagan_bus::{Followed, Start, Stored};
use lagan_schemas::error::chain;
use lagan_schemas::fact::FactKind;
use lagan_schemas::position::Position;
use lagan_schemas::resource::Kind;
use lagan_schemas::subject::{ObjectKey, SESSIONS, SessionKey, SessionKind, SessionSubject, fact_filter};
use uuid::Uuid;

use super::history;
use super::statuses::Statuses;
use crate::context::Context;

/// Facts that end a session.
const ENDS: [FactKind; 4] = [FactKind::Skipped, FactKind::Succeeded, FactKind::Failed, FactKind::Cancelled];

/// The end of a session in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoggedEnd {
    pub key: SessionKey,
    pub sequence: u64,
}

/// The missed ends, from the oldest to the newest.
pub(super) struct MissedEnds(Option<BoxStream<'static, LoggedEnd>>);

impl MissedEnds {
    /// Reads what ended after `position`. Without a position in this store, everything in the log is read, except what
    /// STATUS shows already, and backups that have left the history of their configuration since. Last come the sessions that
    /// have ended and are not shown so: in a log that was set back, their ends may stand before the position.
    pub fn read(context: &Context, statuses: &Statuses, position: Option<Position>) -> Self {
        let Some(store) = context.sessions.read().store else { return Self(None) };
        let position = position.filter(|position| position.store == store);
        let folded = match position {
            Some(_) => HashMap::new(),
            None => statuses.folded_from(store).into_iter().collect(),
        };
        let context = context.clone();
        let behind = behind(context.clone(), statuses.not_ended());
        Self(Some(missed(context, position, folded).chain(behind).boxed()))
    }

    pub fn is_done(&self) -> bool {
        self.0.is_none()
    }

    /// The next end; `None` once after the last. It can be dropped at any time without loss.
    pub async fn next(&mut self) -> Option<LoggedEnd> {
        let next = match &mut self.0 {
            Some(stream) => stream.next().await,
            None => std::future::pending().await,
        };
        if next.is_none() {
            self.0 = None;
        }
        next
    }
}

fn missed(context: Context, position: Option<Position>, folded: HashMap<Uuid, u64>) -> BoxStream<'static, LoggedEnd> {
    let prepared = async move {
        let kept = match position {
            Some(_) => None,
            None => Some(Kept::read(&context).await),
        };
        let start = position.map_or(Start::All, |at| Start::After(at.store, at.sequence));
        let is_new = move |end: &LoggedEnd| {
            folded.get(&end.key.uid).is_none_or(|folded| *folded < end.sequence)
                && kept.as_ref().is_none_or(|kept| kept.contains(end))
        };
        ends(&context, start).filter_map(move |(end, _)| std::future::ready(Some(end).filter(|end| is_new(end))))
    };
    futures::stream::once(prepared).flatten().boxed()
}

/// The ends of those of these sessions that have ended according to the log.
fn behind(context: Context, mut sessions: Vec<Uuid>) -> impl futures::Stream<Item = LoggedEnd> + Send + 'static {
    sessions.retain(|uid| context.sessions.has_ended(*uid));
    futures::stream::iter(sessions).filter_map(move |uid| {
        let context = context.clone();
        async move {
            match find_session(&context.bus, context.cluster(), uid).await {
                Ok(found) => found.map(|found| LoggedEnd { sequence: found.last_sequence, key: found.key }),
                Err(error) => {
                    tracing::warn!(session = %uid, error = chain(&error), "the end of a session can't be read");
                    None
                }
            }
        }
    })
}

/// The ends that the log holds now, with whether each is a success.
fn ends(context: &Context, start: Start) -> BoxStream<'static, (LoggedEnd, bool)> {
    let filters = ENDS.into_iter().map(|fact| fact_filter(context.cluster(), fact)).collect();
    let stream = follow(&context.bus, SESSIONS, filters, start);
    let until_caught_up = stream.take_while(|item| std::future::ready(!matches!(item, Followed::CaughtUp(_))));
    until_caught_up
        .filter_map(|item| {
            std::future::ready(match item {
                Followed::Message(stored) => end_in(&stored),
                Followed::Store(_) | Followed::CaughtUp(_) => None,
            })
        })
        .boxed()
}

fn end_in(stored: &Stored) -> Option<(LoggedEnd, bool)> {
    let subject: SessionSubject = stored.subject.parse().ok()?;
    let succeeded = subject.fact == Some(FactKind::Succeeded);
    Some((LoggedEnd { key: subject.key, sequence: stored.sequence }, succeeded))
}

/// The newest backups of each configuration, as many as its history keeps, and its last success. All older ones would be
/// removed as soon as they were reported.
#[derive(Default)]
struct Kept(HashMap<ObjectKey, Newest>);

#[derive(Default)]
struct Newest {
    ends: BTreeSet<u64>,
    success: u64,
}

impl Kept {
    async fn read(context: &Context) -> Self {
        let mut kept = Self::default();
        let mut all = ends(context, Start::All);
        while let Some((end, succeeded)) = all.next().await {
            let Some(configuration) = configuration(&end.key) else { continue };
            let limit = history::limit(&context.resources.read(), &configuration);
            kept.add(configuration, &end, succeeded, limit);
        }
        kept
    }

    fn add(&mut self, configuration: ObjectKey, end: &LoggedEnd, succeeded: bool, limit: usize) {
        let newest = self.0.entry(configuration).or_default();
        newest.ends.insert(end.sequence);
        if newest.ends.len() > limit.max(1) {
            newest.ends.pop_first();
        }
        if succeeded {
            newest.success = end.sequence;
        }
    }

    fn contains(&self, end: &LoggedEnd) -> bool {
        let newest = configuration(&end.key).and_then(|configuration| self.0.get(&configuration));
        // Sessions of objects are looked at too: their ends must be remembered at the source of intent.
        newest.is_none_or(|newest| newest.success == end.sequence || newest.ends.contains(&end.sequence))
            || !is_of_slot(end.key.uid)
    }
}

/// Whether a uid was derived from a slot. All others were given to objects.
fn is_of_slot(uid: Uuid) -> bool {
    uid.get_version_num() == 5
}

fn configuration(key: &SessionKey) -> Option<ObjectKey> {
    (key.kind == SessionKind::Backup).then(|| ObjectKey {
        group: key.group.clone(),
        kind: Kind::BackupConfiguration,
        namespace: Some(key.namespace.clone()),
        name: key.invoker.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(kind: SessionKind, uid: Uuid, sequence: u64) -> LoggedEnd {
        let key = SessionKey {
            cluster: "local".parse().expect("a name"),
            namespace: "demo".to_owned(),
            kind,
            group: "lagan.dev".to_owned(),
            invoker: "shop".to_owned(),
            uid,
        };
        LoggedEnd { key, sequence }
    }

    #[test]
    fn of_a_whole_log_only_the_history_is_reported_and_what_was_not_scheduled() {
        let slot = |n: u64| Uuid::new_v5(&Uuid::nil(), &n.to_be_bytes());
        let mut kept = Kept::default();
        for (sequence, succeeded) in [(1, false), (2, true), (3, false), (4, false)] {
            let end = end(SessionKind::Backup, slot(sequence), sequence);
            kept.add(configuration(&end.key).expect("a backup"), &end, succeeded, 1);
        }
        let is_kept = |sequence| kept.contains(&end(SessionKind::Backup, slot(sequence), sequence));
        assert_eq!([1, 2, 3, 4].map(is_kept), [false, true, false, true], "the last success and the last end");
        assert!(kept.contains(&end(SessionKind::Backup, Uuid::from_u128(1 << 78), 1)), "an object asked for it");
        assert!(kept.contains(&end(SessionKind::Restore, slot(9), 1)));
    }
}
