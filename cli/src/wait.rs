//! Waits for one session and shows how it goes: the shell around `narration`.
//! It must not decide anything about the session; leaving it changes nothing.

pub mod object;

use std::io::Write as _;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use lagan_bus::{Followed, Start, Stored, follow};
use lagan_schemas::event::{CloudEvent, Progress};
use lagan_schemas::session::Session;
use lagan_schemas::subject::{self, ObjectKey, SessionKey};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::args::Global;
use crate::client::Streams;
use crate::error::{Exit, Problem};
use crate::narration::{Narrator, Setting};
use crate::output::{can_animate, say};
use crate::store;
use crate::store::StoredFact;

/// How long the engine's watcher may take to notice a new object; it looks all the time.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);
/// Without a terminal a line each so often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What was waited for, as it is when the waiting ends.
pub struct Ended {
    pub exit: Exit,
    pub session: Session,
}

/// The engine gave the object its uid: it has taken it.
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
            .help("is `lagan up` or `lagan engine` running on this data directory? The object waits for it. If the engine runs on a cluster, name that with --kubeconfig or --context")
    })
}

/// The session of an object that has been taken.
pub fn session_key(streams: &Streams, object: &Value, key: SessionKey) -> Result<SessionKey, Problem> {
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str).and_then(|uid| uid.parse::<Uuid>().ok());
    let uid = uid.ok_or_else(|| Problem::new(Exit::Failed, "the engine published the object without a uid"))?;
    Ok(SessionKey { cluster: streams.cluster.clone(), uid, ..key })
}

/// Tells the session's story until it ends, the time is up, or somebody presses ctrl-c.
pub async fn until_ended(
    streams: &Streams,
    global: &Global,
    key: SessionKey,
    setting: Setting,
    timeout: Option<Duration>,
) -> Result<Ended, Problem> {
    let facts = follow::follow(
        &streams.bus,
        subject::SESSIONS,
        vec![subject::uid_filter(&streams.cluster, key.uid)],
        Start::All,
    );
    let progress =
        follow::follow(&streams.bus, subject::PROGRESS, vec![subject::progress(&key)], Start::LastPerSubject);
    let mut screen = Screen::new(global);
    screen.say(&setting.opening());
    let narrator = Narrator::new(setting, Session::new(key));
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut waiting = Waiting { narrator, screen };
    let exit = tokio::select! {
        exit = waiting.follow(facts, progress) => exit,
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
    Ok(Ended { exit, session: waiting.narrator.session().clone() })
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
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
    ) -> Exit {
        loop {
            tokio::select! {
                Some(item) = facts.next() => self.facts(item),
                Some(item) = progress.next() => self.progress(item),
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
        if let Some(line) = self.narrator.standing() {
            self.screen.live(&line);
        }
    }

    fn progress(&mut self, item: Followed) {
        // What a finished attempt left behind is no progress of this one.
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

fn read_progress(stored: &Stored) -> Option<Progress> {
    let event = CloudEvent::from_bytes(&stored.payload).ok().filter(|event| event.kind == Progress::TYPE)?;
    serde_json::from_value(event.data).ok()
}

/// stderr as a place for one line that changes: overwritten on a terminal, now and then a new one elsewhere.
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
                // Raw, because this sequence is about the place and not about colour.
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
