//! Sessions of slots whose facts are gone although they are not known to have ended: after a loss of JetStream their marks
//! would keep them from ever running. They are requested again under their uids, so that a snapshot that they wrote is
//! adopted (P10, P16). It must not decide slots.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use lagan_schemas::error::chain;
use lagan_schemas::identity::slot_session;
use lagan_schemas::resource::Kind;
use lagan_schemas::subject::{Cluster, ObjectKey, SessionKind};
use lagan_sources::SourceError;
use lagan_sources::open_slot::OpenSlot;
use tokio::sync::watch;
use tokio::time::Instant;

use super::request::{request, session_key, slot_request};
use crate::context::Context;
use crate::outside::Outside as _;

/// Configurations whose sessions are requested at the same time.
const REQUESTS: usize = 64;
/// Pause before what failed is tried again. It doubles.
const AGAIN: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Interval at which sessions that have ended are looked for.
const CLOSES: Duration = Duration::from_secs(2);
/// Time for which a configuration may be missing because another process has not published it again yet. After that it
/// counts as deleted, and the planner says so.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(600);

/// The state of the session of an open slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It is in the log, or it is none of this cluster's.
    Settled,
    /// It has ended, or can't run any more.
    Ended,
    /// It was not possible to find out, or to request it.
    NotYet,
}

/// The treatment of an open slot that the log does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Ask,
    /// Its configuration may not have been published yet.
    Wait,
    /// It is a copy, or the slot of another cluster.
    Foreign,
}

/// The circumstances in which a slot is looked at.
struct Circumstances<'a> {
    cluster: &'a Cluster,
    is_published: bool,
    /// Time since everything should have been published.
    waited: Duration,
}

/// Requests lost sessions, and forgets those that have ended. It begins when every object has been published, so that the
/// planner finds what the sessions name. `recovered` becomes true when every lost session was looked at once.
pub(super) async fn run(context: Context, intent: watch::Receiver<bool>, recovered: watch::Sender<bool>) {
    let work = async { tokio::join!(recover(&context, intent, recovered), close_ended(&context)) };
    tokio::select! {
        () = context.stop.cancelled() => {}
        _ = work => {}
    }
}

async fn recover(context: &Context, mut intent: watch::Receiver<bool>, recovered: watch::Sender<bool>) {
    let mut pause = AGAIN;
    let mut left = loop {
        match context.source().open_slots().await {
            Ok(open) => break open,
            Err(error) => {
                tracing::warn!(error = chain(&error), "the source does not say which scheduled sessions were running");
            }
        }
        tokio::time::sleep(pause).await;
        pause = longer(pause);
    };
    left.retain(|slot| !context.sessions.knows(slot.session));
    recovered.send_replace(left.is_empty());
    if left.is_empty() || intent.wait_for(|seen| *seen).await.is_err() {
        return;
    }
    let published = Instant::now();
    pause = AGAIN;
    loop {
        left = recover_once(context, left, published.elapsed()).await;
        recovered.send_replace(true);
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = longer(pause);
    }
}

/// Requests the sessions of slots that the log does not have, and returns those that must be tried again.
async fn recover_once(context: &Context, mut lost: Vec<OpenSlot>, waited: Duration) -> Vec<OpenSlot> {
    lost.retain(|slot| !context.sessions.knows(slot.session));
    let looks = stream::iter(by_configuration(lost)).map(|slots| async move {
        let mut found = Vec::with_capacity(slots.len());
        for slot in slots {
            found.push((again(context, &slot, waited).await, slot));
        }
        found
    });
    let found: Vec<_> = looks.buffer_unordered(REQUESTS).collect().await;
    let (ended, others): (Vec<_>, Vec<_>) = found.into_iter().flatten().partition(|(found, _)| *found == Found::Ended);
    let mut left: Vec<_> =
        others.into_iter().filter(|(found, _)| *found == Found::NotYet).map(|(_, slot)| slot).collect();
    if let Err(error) = context.source().close_slots(ended.iter().map(|(_, slot)| slot.session).collect()) {
        tracing::warn!(error = chain(&error), "ended sessions can't be remembered yet");
        left.extend(ended.into_iter().map(|(_, slot)| slot));
    }
    left
}

/// Slots of one configuration in their order: the first of several that may not run together is the oldest.
fn by_configuration(slots: Vec<OpenSlot>) -> Vec<Vec<OpenSlot>> {
    let mut sorted: BTreeMap<ObjectKey, Vec<OpenSlot>> = BTreeMap::new();
    for slot in slots {
        sorted.entry(slot.invoker.key()).or_default().push(slot);
    }
    let mut sorted: Vec<_> = sorted.into_values().collect();
    for slots in &mut sorted {
        slots.sort_by_key(|slot| slot.slot);
    }
    sorted
}

/// Requests the session of a slot again, unless it has ended or can't run any more.
async fn again(context: &Context, open: &OpenSlot, waited: Duration) -> Found {
    let OpenSlot { session, slot, invoker } = open;
    let (position, is_published) = {
        let view = context.resources.read();
        (view.position, view.objects.contains_key(&invoker.key()))
    };
    let Some(position) = position else { return Found::NotYet };
    let look = Circumstances { cluster: context.cluster(), is_published, waited };
    let asked = slot_request(invoker.clone(), *slot, 0, position);
    match course(open, &look) {
        Course::Ask => {}
        Course::Wait => return Found::NotYet,
        Course::Foreign => return Found::Settled,
    }
    if session_key(context.cluster(), invoker, (SessionKind::Backup, invoker.name.clone()), *session).check().is_err() {
        return Found::Ended;
    }
    let key = ObjectKey { kind: Kind::BackupSession, name: asked.name.clone(), ..invoker.key() };
    match context.has_ended(&key, *session).await {
        Some(false) => {}
        Some(true) => return Found::Ended,
        None => return Found::NotYet,
    }
    tracing::warn!(session = asked.name, uid = %session, "the log has lost a scheduled session; it is requested again");
    let asked = (SessionKind::Backup, invoker.name.clone(), asked);
    if request(context, invoker, *session, asked).await { Found::Settled } else { Found::NotYet }
}

fn course(open: &OpenSlot, look: &Circumstances<'_>) -> Course {
    if open.invoker.uid.is_none_or(|uid| slot_session(look.cluster, uid, open.slot) != open.session) {
        return Course::Foreign;
    }
    if look.is_published || look.waited >= PUBLISHED_WITHIN { Course::Ask } else { Course::Wait }
}

/// Forgets the slots whose sessions have ended.
async fn close_ended(context: &Context) {
    let mut pause = CLOSES;
    loop {
        tokio::time::sleep(pause).await;
        pause = match close(context) {
            Ok(()) => CLOSES,
            Err(error) => {
                tracing::warn!(error = chain(&error), "ended sessions can't be remembered yet");
                longer(pause)
            }
        };
    }
}

fn close(context: &Context) -> Result<(), SourceError> {
    let mut ended = context.source().remembered_slots()?;
    ended.retain(|session| context.sessions.has_ended(*session));
    if ended.is_empty() { Ok(()) } else { context.source().close_slots(ended) }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use lagan_schemas::resource::ObjectRef;
    use uuid::Uuid;

    use super::*;
    use crate::fixtures::{START, at};
    use crate::scheduler::tests::configuration;

    fn cluster() -> Cluster {
        "local".parse().unwrap()
    }

    fn open(seconds: i64, name: &str) -> OpenSlot {
        let invoker = ObjectRef { name: name.to_owned(), ..configuration(1, "").reference() };
        OpenSlot { session: slot_session(&cluster(), invoker.uid.unwrap(), at(seconds)), slot: at(seconds), invoker }
    }

    fn treat(open: &OpenSlot, is_published: bool, waited: u64) -> Course {
        let look = Circumstances { cluster: &cluster(), is_published, waited: Duration::from_secs(waited) };
        course(open, &look)
    }

    #[test]
    fn a_lost_session_waits_for_its_configuration_but_not_for_one_that_was_deleted() {
        let open = open(0, "thing");
        assert_eq!(treat(&open, true, 0), Course::Ask);
        assert_eq!(treat(&open, false, 0), Course::Wait);
        assert_eq!(treat(&open, false, 599), Course::Wait);
        assert_eq!(treat(&open, false, 600), Course::Ask);
    }

    #[test]
    fn a_slot_whose_session_is_not_its_own_is_left_alone() {
        let own = open(0, "thing");
        let without_uid = ObjectRef { uid: None, ..own.invoker.clone() };
        let of_another = ObjectRef { uid: Some(Uuid::from_u128(2)), ..own.invoker.clone() };
        let elsewhere = slot_session(&"other".parse().unwrap(), own.invoker.uid.unwrap(), own.slot);
        for foreign in [
            OpenSlot { slot: at(1), ..own.clone() },
            OpenSlot { invoker: without_uid, ..own.clone() },
            OpenSlot { invoker: of_another, ..own.clone() },
            OpenSlot { session: elsewhere, ..own },
        ] {
            assert_eq!(treat(&foreign, true, 0), Course::Foreign, "{foreign:?}");
        }
    }

    #[test]
    fn lost_sessions_of_a_configuration_are_requested_in_the_order_of_their_slots() {
        let slots = [open(120, "a"), open(60, "b"), open(0, "a"), open(60, "a")];
        let sorted = by_configuration(slots.to_vec());
        let times: Vec<Vec<_>> =
            sorted.iter().map(|slots| slots.iter().map(|slot| slot.slot.as_second() - START).collect()).collect();
        assert_eq!(times, [vec![0, 60, 120], vec![60]]);
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses: Vec<u64> = std::iter::successors(Some(AGAIN), |pause| Some(longer(*pause)))
            .map(|pause| pause.as_secs())
            .take(9)
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
