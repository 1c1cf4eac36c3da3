//! Waits for one session and shows its progress: the shell around `narration`. It must not change the session.

pub mod object;

use std::io::Write as _;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use lagan_bus::{Followed, Start, Stored, follow};
use lagan_schemas::event::{CloudEvent, Progress};
use lagan_schemas::resource::{Condition, Kind};
use lagan_schemas::session::Session;
use lagan_schemas::subject::{self, ObjectKey, SessionKey, SessionKind};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::args::Global;
use crate::error::{Exit, Problem};
use crate::narration::{NarrationContext, Narrator};
use crate::output::{can_animate, say};
use crate::store;
use crate::store::StoredFact;
use crate::streams::Streams;

/// Limit for the engine to take a new object. Its watcher looks continuously, so this is ample.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);
/// Interval of progress lines without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The session as it is when the waiting ends.
pub struct EndedSession {
    pub exit: Exit,
    pub session: Session,
}

/// Waits until the engine has taken the object, which it shows by giving it a uid.
pub async fn until_noticed(streams: &Streams, key: &ObjectKey) -> Result<Value, Problem> {
    let filter = vec![key.resource_subject(&streams.cluster)];
    let mut following = follow::follow(&streams.bus, subject::RESOURCES, filter, Start::LastPerSubject);
    let noticed = async {
        while let Some(item) = following.next().await {
            if let Followed::Message(stored) = item
                && let Some((_, value)) = store::object(&stored)
            {
                return value;
            }
        }
        Value::Null
    };
    tokio::time::timeout(NOTICED_WITHIN, noticed).await.map_err(|_| {
        let seconds = NOTICED_WITHIN.as_secs();
        Problem::new(Exit::Failed, format!("the engine has not taken {key} within {seconds} s"))
            .help("check that `lagan up` or `lagan engine` runs with this data directory: the object waits there. If the engine runs on a cluster, name the cluster with --kubeconfig or --context")
    })
}

/// The session of an object that the engine has taken.
pub fn session_key(streams: &Streams, object: &Value, key: SessionKey) -> Result<SessionKey, Problem> {
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str).and_then(|uid| uid.parse::<Uuid>().ok());
    let uid = uid.ok_or_else(|| {
        Problem::new(Exit::Failed, "the engine published the object without a uid; this is a defect of Lagan")
    })?;
    Ok(SessionKey { cluster: streams.cluster.clone(), uid, ..key })
}

/// Narrates the session until it ends, the timeout is reached, or the person presses Ctrl-C.
pub async fn until_ended(
    streams: &Streams,
    global: &Global,
    key: SessionKey,
    context: NarrationContext,
    timeout: Option<Duration>,
) -> Result<EndedSession, Problem> {
    let facts = follow::follow(
        &streams.bus,
        subject::SESSIONS,
        vec![subject::uid_filter(&streams.cluster, key.uid)],
        Start::All,
    );
    let progress =
        follow::follow(&streams.bus, subject::PROGRESS, vec![subject::progress_filter(&key)], Start::LastPerSubject);
    let object = object_key(&key, &context.name).status_subject(&streams.cluster);
    let statuses = follow::follow(&streams.bus, subject::STATUS, vec![object], Start::LastPerSubject);
    let mut screen = Screen::new(global);
    screen.say(&context.opening());
    let narrator = Narrator::new(context, Session::new(key));
    let mut waiting = Waiting { narrator, screen };
    let exit = tokio::select! {
        exit = waiting.follow(facts, progress, statuses) => exit,
        stop = stop(timeout) => {
            let (exit, why) = stop?;
            waiting.screen.say(&waiting.narrator.stopped_waiting(why));
            exit
        }
    };
    waiting.screen.clear();
    Ok(EndedSession { exit, session: waiting.narrator.session().clone() })
}

/// Waits for the timeout or Ctrl-C, and returns the exit code and the words for it.
async fn stop(timeout: Option<Duration>) -> Result<(Exit, &'static str), Problem> {
    let timed_out = async {
        match timeout {
            Some(timeout) => sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = timed_out => Ok((Exit::TimedOut, "timed out")),
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => Ok((Exit::Interrupted, "stopped waiting")),
            Err(error) => Err(Problem::from_error(Exit::Failed, &error)),
        },
    }
}

struct Waiting {
    narrator: Narrator,
    screen: Screen,
}

impl Waiting {
    async fn follow(
        &mut self,
        mut facts: impl Stream<Item = Followed> + Unpin,
        mut progress: impl Stream<Item = Followed> + Unpin,
        mut statuses: impl Stream<Item = Followed> + Unpin,
    ) -> Exit {
        loop {
            tokio::select! {
                Some(item) = facts.next() => self.facts(item),
                Some(item) = progress.next() => self.progress(item),
                Some(item) = statuses.next() => self.status(&item),
                else => return Exit::Failed,
            }
            if let Some(exit) = self.narrator.exit() {
                return exit;
            }
        }
    }

    fn facts(&mut self, item: Followed) {
        let Followed::Message(stored) = item else { return };
        let Some(fact) = StoredFact::read(&stored) else { return };
        for line in self.narrator.fact(fact.recorded()) {
            self.screen.say(&line);
        }
        if let Some(line) = self.narrator.live_line() {
            self.screen.live(&line);
        }
    }

    fn status(&mut self, item: &Followed) {
        let Followed::Message(stored) = item else { return };
        let Some(document) = store::status(stored).map(|(_, document)| document) else { return };
        // The status of an earlier session of this name says nothing about this one.
        if document.pointer("/metadata/uid") != Some(&json!(self.narrator.session().key.uid)) {
            return;
        }
        let conditions = document.pointer("/status/conditions").cloned();
        let conditions: Vec<Condition> = conditions.and_then(|c| serde_json::from_value(c).ok()).unwrap_or_default();
        if let Some(line) = self.narrator.waits(&conditions) {
            self.screen.live(&line);
        }
    }

    fn progress(&mut self, item: Followed) {
        // Progress of an attempt that has ended is still in the stream.
        if !self.narrator.session().phase.is_held() {
            return;
        }
        if let Followed::Message(stored) = item
            && let Some(progress) = read_progress(&stored)
        {
            self.screen.live(&self.narrator.progress(&progress, Timestamp::now()));
        }
    }
}

/// The object that shows a session.
fn object_key(key: &SessionKey, name: &str) -> ObjectKey {
    let kind = if key.kind == SessionKind::Restore { Kind::RestoreSession } else { Kind::BackupSession };
    ObjectKey { group: key.group.clone(), kind, namespace: Some(key.namespace.clone()), name: name.to_owned() }
}

fn read_progress(stored: &Stored) -> Option<Progress> {
    let event = CloudEvent::from_bytes(&stored.payload).ok().filter(|event| event.kind == Progress::TYPE)?;
    serde_json::from_value(event.data).ok()
}

/// A line on stderr that changes: overwritten on a terminal, repeated at intervals elsewhere.
struct Screen {
    glyphs: crate::glyph::Glyphs,
    mode: Mode,
    live: bool,
    next_line: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Animated,
    Lines,
    Quiet,
}

impl Screen {
    fn new(global: &Global) -> Self {
        let mode = match (global.quiet, can_animate()) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Animated,
            (false, false) => Mode::Lines,
        };
        Self { glyphs: global.glyphs(), mode, live: false, next_line: Instant::now() }
    }

    fn say(&mut self, line: &str) {
        self.clear();
        if self.mode != Mode::Quiet {
            say(self.glyphs, line);
        }
    }

    fn live(&mut self, line: &str) {
        match self.mode {
            Mode::Animated => {
                // Written raw: anstream would remove this sequence where colours are off.
                let mut out = std::io::stderr().lock();
                let _ = write!(out, "\r\u{1b}[2K{line}");
                let _ = out.flush();
                self.live = true;
            }
            Mode::Lines if Instant::now() >= self.next_line => {
                self.next_line = Instant::now() + LINE_EVERY;
                say(self.glyphs, line);
            }
            Mode::Lines | Mode::Quiet => {}
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.live) {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\u{1b}[2K");
            let _ = out.flush();
        }
    }
}
