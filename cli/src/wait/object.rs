//! Waits for a session by its object in a cluster: the shell around `narration::StatusNarrator`.

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

use super::{Screen, reached};
use crate::args::Global;
use crate::cluster::{Cluster, shown};
use crate::error::{Exit, Problem};
use crate::glyph::Glyph;
use crate::narration::{Setting, StatusNarrator};
use crate::objects::View;

/// After this somebody wants to know why nothing happens.
const TAKEN_WITHIN: Duration = Duration::from_secs(15);
/// A live line that tells the time moves by itself.
const TICK: Duration = Duration::from_secs(1);

/// What was waited for, as it is when the waiting ends.
pub struct Ended {
    pub exit: Exit,
    pub object: Value,
}

/// Tells the session's story until it ends, the time is up, or somebody presses ctrl-c.
pub async fn until_ended(
    cluster: &Cluster,
    global: &Global,
    created: View,
    setting: Setting,
    timeout: Option<Duration>,
) -> Result<Ended, Problem> {
    let mut screen = Screen::new(global);
    screen.say(&setting.opening());
    let key = created.key.clone();
    let resource = api_resource(Group::of(&format!("{}/", key.group)), key.kind).expect("sessions have a resource");
    let objects = watch_object(cluster.api.api(&resource, key.namespace.as_deref()), &key.name).default_backoff();
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut waiting = Waiting { narrator: StatusNarrator::new(setting, created), screen, is_away: false };
    let exit = tokio::select! {
        exit = waiting.follow(objects) => exit?,
        () = reached(deadline) => {
            waiting.screen.say(&waiting.narrator.left("the time is up"));
            Exit::TimedOut
        }
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|error| Problem::from_error(Exit::Failed, &error))?;
            waiting.screen.say(&waiting.narrator.left("stopped waiting"));
            Exit::Interrupted
        }
    };
    waiting.screen.clear();
    Ok(Ended { exit, object: waiting.narrator.view().value.clone() })
}

struct Waiting {
    narrator: StatusNarrator,
    screen: Screen,
    /// The API server does not answer; said once.
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
                    // Who does not see the object does not know either.
                    if !self.is_away && let Some(line) = self.narrator.nobody(TAKEN_WITHIN.as_secs()) {
                        self.screen.say(&line);
                    }
                }
                _ = tick.tick() => {}
                else => return Ok(Exit::Failed),
            }
            if let Some(exit) = self.narrator.exit() {
                return Ok(exit);
            }
            if let Some(line) = self.narrator.standing(Timestamp::now()) {
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
        let found = object.and_then(|object| serde_json::to_value(object).ok()).map(shown);
        let found = found.map(|value| View { key: self.narrator.view().key.clone(), value });
        let Some(view) = found.filter(|view| view.uid() == own) else {
            let key = &self.narrator.view().key;
            return Err(Problem::new(Exit::Failed, format!("{key} is gone: somebody deleted it"))
                .help("what a worker has begun is not undone by that"));
        };
        for line in self.narrator.object(view) {
            self.screen.say(&line);
        }
        Ok(())
    }

    /// A server that is away comes back; one that says no goes on saying so.
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
            // Too old a version to go on from: the watcher lists anew.
            return Ok(());
        }
        if !std::mem::replace(&mut self.is_away, true) {
            let warning = self.screen.glyphs.of(Glyph::Warning);
            self.screen.say(&format!("{warning} the API server does not answer, still waiting: {}", chain(error)));
        }
        Ok(())
    }
}
