//! Waits for a session by watching its object in a cluster: the shell around `narration::StatusNarrator`.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watch_object};
use lagan_schemas::error::chain;
use lagan_schemas::resource::Group;
use lagan_sources::kubernetes::api_resource;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::{Screen, stop};
use crate::args::Global;
use crate::cluster::{ClusterClient, printable};
use crate::error::{Exit, Problem};
use crate::glyph::Glyph;
use crate::narration::{NarrationContext, StatusNarrator};
use crate::objects::ObjectDocument;

/// Delay before the command warns that no engine has taken the session.
const TAKEN_WITHIN: Duration = Duration::from_secs(15);
/// Interval at which the elapsed time in the live line is updated.
const TICK: Duration = Duration::from_secs(1);

/// The object as it is when the waiting ends.
pub struct EndedObject {
    pub exit: Exit,
    pub object: Value,
}

/// Narrates the session until it ends, the timeout is reached, or the person presses Ctrl-C.
pub async fn until_ended(
    cluster: &ClusterClient,
    global: &Global,
    created: ObjectDocument,
    context: NarrationContext,
    timeout: Option<Duration>,
) -> Result<EndedObject, Problem> {
    let mut screen = Screen::new(global);
    screen.say(&context.opening());
    let key = created.key.clone();
    let resource = api_resource(Group::of(&format!("{}/", key.group)), key.kind).expect("sessions have a resource");
    let objects = watch_object(cluster.api.api(&resource, key.namespace.as_deref()), &key.name).default_backoff();
    let mut waiting = Waiting { narrator: StatusNarrator::new(context, created), screen, is_away: false };
    let exit = tokio::select! {
        exit = waiting.follow(objects) => exit?,
        stop = stop(timeout) => {
            let (exit, why) = stop?;
            waiting.screen.say(&waiting.narrator.stopped_waiting(why));
            exit
        }
    };
    waiting.screen.clear();
    Ok(EndedObject { exit, object: waiting.narrator.view().value.clone() })
}

struct Waiting {
    narrator: StatusNarrator,
    screen: Screen,
    /// The API server does not answer; reported once.
    is_away: bool,
}

impl Waiting {
    async fn follow(
        &mut self,
        objects: impl Stream<Item = Result<Option<DynamicObject>, watcher::Error>>,
    ) -> Result<Exit, Problem> {
        let mut objects = std::pin::pin!(objects);
        let unnoticed = sleep_until(Instant::now() + TAKEN_WITHIN);
        let mut unnoticed = std::pin::pin!(unnoticed);
        let mut is_told = false;
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                Some(object) = objects.next() => self.take(object)?,
                () = &mut unnoticed, if !is_told => {
                    is_told = true;
                    // Without an answer of the API server it is unknown whether an engine has the session.
                    if !self.is_away && let Some(line) = self.narrator.unclaimed(TAKEN_WITHIN.as_secs()) {
                        self.screen.say(&line);
                    }
                }
                _ = tick.tick() => {}
                else => return Ok(Exit::Failed),
            }
            if let Some(exit) = self.narrator.exit() {
                return Ok(exit);
            }
            if let Some(line) = self.narrator.live_line(Timestamp::now()) {
                self.screen.live(&line);
            }
        }
    }

    fn take(&mut self, object: Result<Option<DynamicObject>, watcher::Error>) -> Result<(), Problem> {
        let object = match object {
            Ok(object) => object,
            Err(error) => return self.away(&error),
        };
        self.is_away = false;
        let own = self.narrator.view().uid();
        let found = object.and_then(|object| serde_json::to_value(object).ok()).map(printable);
        let found = found.map(|value| ObjectDocument { key: self.narrator.view().key.clone(), value });
        let Some(view) = found.filter(|view| view.uid() == own) else {
            let key = &self.narrator.view().key;
            return Err(Problem::new(Exit::Failed, format!("{key} was deleted"))
                .help("the session itself may still run; to end one, use `lagan cancel`"));
        };
        for line in self.narrator.object(view) {
            self.screen.say(&line);
        }
        Ok(())
    }

    /// Keeps waiting for a server that does not answer; a refusal is final.
    fn away(&mut self, error: &watcher::Error) -> Result<(), Problem> {
        let refused = match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status))
            | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 401 | 403),
            _ => false,
        };
        if refused {
            return Err(Problem::new(Exit::Failed, format!("the session can't be watched: {}", chain(error)))
                .help("the session goes on; your account needs `list` and `watch` on its kind"));
        }
        if let watcher::Error::WatchError(status) = error
            && status.code == 410
        {
            // The resource version has expired; the watcher lists again.
            return Ok(());
        }
        if !std::mem::replace(&mut self.is_away, true) {
            let warning = self.screen.glyphs.of(Glyph::Warning);
            self.screen.say(&format!("{warning} the API server does not answer, still waiting: {}", chain(error)));
        }
        Ok(())
    }
}
