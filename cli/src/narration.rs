//! Narrates one session to a person who waits for it: facts and progress in, lines out. `status` does the same from an
//! object's status, where facts can't be read. It must not read a clock or print.

mod status;

use jiff::Timestamp;
use lagan_schemas::event::{Activity, Progress};
use lagan_schemas::fact::{Fact, Notice, NoticeStatus, TargetResult};
use lagan_schemas::resource::Condition;
use lagan_schemas::session::{Course, Phase, Recorded, Session};
use lagan_schemas::subject::SessionKind;

use crate::error::Exit;
use crate::facts::{databases, short};
use crate::glyph::{Glyph, Glyphs};
use crate::human::{between, bytes, duration, one_line};
use crate::invocation::CommandTemplate;

pub use self::status::StatusNarrator;

const MESSAGE_LIMIT: usize = 2000;

/// Everything known about a session before its first fact.
#[derive(Debug, Clone)]
pub struct NarrationContext {
    pub name: String,
    pub template: CommandTemplate,
    pub glyphs: Glyphs,
    /// Duration of the last successful session of this configuration, in seconds.
    pub last_run: Option<u64>,
    pub afterwards: Afterwards,
}

/// The fate of the session's object once the session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    Stays,
    /// This command removes it, so no command to run next can name it.
    Removed,
}

/// The condition that says what a session waits for.
#[must_use]
pub fn waiting(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.kind == "Waiting")
}

impl NarrationContext {
    /// The first line, before the session starts.
    #[must_use]
    pub fn opening(&self) -> String {
        format!("{} waiting to start", self.glyphs.of(Glyph::Waiting))
    }

    /// The line about a session that has to wait; `None` if it does not, or if another line says it.
    fn waits(&self, conditions: &[Condition]) -> Option<String> {
        let waits = waiting(conditions).filter(|condition| condition.reason != "RetryLater")?;
        let message = one_line(&waits.message, MESSAGE_LIMIT);
        Some(format!("{} {message} ({})", self.glyphs.of(Glyph::Waiting), waits.reason))
    }

    /// The last line: commands to run next.
    fn next(&self, kind: SessionKind, restorable: Option<(&str, &str)>) -> Option<String> {
        if self.afterwards == Afterwards::Removed {
            return None;
        }
        let mut commands = vec![self.describe(kind)];
        if let (SessionKind::Backup, Some((invoker, snapshot))) = (kind, restorable) {
            commands
                .push(self.template.command(&format!("restore {invoker} --snapshot {} --dry-run", short(snapshot))));
        }
        Some(format!("  next: {}", commands.join(&format!(" {} ", self.glyphs.dot()))))
    }

    fn describe(&self, kind: SessionKind) -> String {
        let word = if kind == SessionKind::Restore { "restoresession" } else { "session" };
        self.template.command(&format!("describe {word}/{}", self.name))
    }

    fn dry_run(&self) -> String {
        format!(
            "{} dry run {}: a restore would run now, and nothing was written",
            self.glyphs.of(Glyph::Succeeded),
            self.name
        )
    }

    /// The line to print when the command stops waiting and the session goes on.
    fn stopped_waiting(&self, why: &str, kind: SessionKind) -> String {
        let what = if kind == SessionKind::Restore { "the restore" } else { "the backup" };
        format!("  {why}; {what} goes on in the background: {}", self.describe(kind))
    }
}

#[derive(Debug)]
pub struct Narrator {
    context: NarrationContext,
    session: Session,
}

impl Narrator {
    #[must_use]
    pub fn new(context: NarrationContext, session: Session) -> Self {
        Self { context, session }
    }

    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    fn glyph(&self, state: Glyph) -> &'static str {
        self.context.glyphs.of(state)
    }

    /// Applies the next fact and returns the lines to print about it.
    pub fn fact(&mut self, recorded: Recorded) -> Vec<String> {
        if recorded.sequence <= self.session.last_sequence {
            return Vec::new();
        }
        let fact = recorded.content.fact().cloned();
        self.session.apply(recorded);
        let running = self.glyph(Glyph::Running);
        match fact {
            Some(Fact::Started(data)) if data.holder.attempt > 1 => {
                vec![format!("{running} attempt {} on {}", data.holder.attempt, data.host)]
            }
            Some(Fact::Restoring(data)) => vec![format!(
                "{running} restoring snapshot {} ({}) into {}{}",
                short(&data.snapshot),
                bytes(data.size_bytes),
                data.target,
                databases(&data)
            )],
            Some(Fact::Retrying(data)) => vec![format!(
                "{} {}; trying again at {}",
                self.glyph(Glyph::Warning),
                one_line(&data.failure.to_string(), MESSAGE_LIMIT),
                data.after.strftime("%H:%M:%SZ")
            )],
            Some(Fact::CancelRequested(data)) => {
                vec![format!("{} {} requested cancellation", self.glyph(Glyph::Action), one_line(&data.by, 100))]
            }
            _ if self.session.phase.is_end() => self.ending(),
            _ => Vec::new(),
        }
    }

    /// The live line of a session that a worker has taken and that reports no progress yet.
    #[must_use]
    pub fn live_line(&self) -> Option<String> {
        let host = self.session.worker_host.as_ref().filter(|_| self.session.phase == Phase::Started)?;
        Some(format!("{} started on {host}", self.glyph(Glyph::Running)))
    }

    /// The live line of a session that has to wait, from the conditions of its status.
    #[must_use]
    pub fn waits(&self, conditions: &[Condition]) -> Option<String> {
        let is_waiting = matches!(self.session.phase, Phase::Nothing | Phase::Requested | Phase::Retrying);
        self.context.waits(conditions).filter(|_| is_waiting)
    }

    /// The live line: bytes and rate. An estimate that comes from the last run is marked `~`.
    #[must_use]
    pub fn progress(&self, progress: &Progress, now: Timestamp) -> String {
        let activity = match progress.activity {
            Activity::Preparing => "prepare",
            Activity::Dumping => "dump",
            Activity::Verifying => "verify",
            Activity::Restoring => "restore",
            Activity::Waiting => {
                let glyph = self.glyph(Glyph::Running);
                return format!("{glyph} the workers can't read the plan; waiting until they are upgraded");
            }
        };
        let mut line = format!("{} {activity:<8} {}", self.glyph(Glyph::Running), progress.target);
        if progress.bytes > 0 {
            line.push_str(&format!("   {}", bytes(progress.bytes)));
        }
        if let Some(total) = progress.total_bytes.filter(|total| *total > 0) {
            line.push_str(&format!(" of {} ({} %)", bytes(total), progress.bytes.min(total) * 100 / total));
        }
        if progress.bytes_per_second > 0 {
            line.push_str(&format!("   {}/s", bytes(progress.bytes_per_second)));
        }
        line.push_str(&self.estimate(progress, now));
        line
    }

    fn estimate(&self, progress: &Progress, now: Timestamp) -> String {
        if let Some(total) = progress.total_bytes.filter(|_| progress.bytes_per_second > 0) {
            return format!("   eta {}", duration(total.saturating_sub(progress.bytes) / progress.bytes_per_second));
        }
        let (Some(last), Some(started)) = (self.context.last_run, self.session.started_time) else {
            return String::new();
        };
        let elapsed = u64::try_from(now.duration_since(started).as_secs()).unwrap_or(0);
        match last.checked_sub(elapsed) {
            Some(left) if left > 0 => format!("   eta ~{} (last run {})", duration(left), duration(last)),
            _ => format!("   (last run {})", duration(last)),
        }
    }

    fn ending(&self) -> Vec<String> {
        let mut lines = match self.session.phase {
            Phase::Succeeded => self.succeeded(),
            Phase::Skipped => self.skipped(),
            _ => self.failed(),
        };
        let succeeded = self.session.results.first().filter(|_| self.session.phase == Phase::Succeeded);
        let restorable = succeeded.map(|result| (self.session.key.invoker.as_str(), result.snapshot.as_str()));
        lines.extend(self.context.next(self.session.key.kind, restorable));
        lines
    }

    fn succeeded(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for result in &self.session.results {
            match self.session.course() {
                Course::Restore => lines.push(self.restored(result)),
                Course::DryRun => lines.push(self.context.dry_run()),
                Course::Backup | Course::Maintenance => lines.extend(self.committed(result)),
            }
        }
        // The command shows the finding of a dry run as its result.
        let told = self.session.conditions.iter().filter(|notice| notice.kind != "DryRun");
        lines.extend(told.map(|notice| self.notice(notice)));
        lines
    }

    fn committed(&self, result: &TargetResult) -> [String; 2] {
        let ok = self.glyph(Glyph::Succeeded);
        let verb = if result.adopted { "adopted" } else { "committed" };
        let what = format!(
            "{ok} {verb} snapshot {}  ({} read, {} new, {})",
            short(&result.snapshot),
            bytes(result.size_bytes),
            bytes(result.added_bytes),
            duration(result.duration_ms / 1000)
        );
        let footer = if result.adopted { "" } else { "dump footer present, " };
        [what, format!("{ok} verified: {footer}{} of {} packs read back", result.packs_read, result.packs)]
    }

    fn restored(&self, result: &TargetResult) -> String {
        format!(
            "{} restored snapshot {} into {}  ({}, {})",
            self.glyph(Glyph::Succeeded),
            short(&result.snapshot),
            result.target,
            bytes(result.size_bytes),
            duration(result.duration_ms / 1000)
        )
    }

    fn notice(&self, notice: &Notice) -> String {
        let glyph = match notice.status {
            NoticeStatus::True => self.context.glyphs.dot(),
            NoticeStatus::False => self.glyph(Glyph::Warning),
        };
        format!("{glyph} {}: {}", notice.reason, one_line(&notice.message, MESSAGE_LIMIT))
    }

    fn skipped(&self) -> Vec<String> {
        let why =
            self.session.conditions.first().map(|notice| one_line(&notice.message, MESSAGE_LIMIT)).unwrap_or_default();
        vec![format!("{} {} was skipped: {why}", self.glyph(Glyph::Skipped), self.context.name)]
    }

    fn failed(&self) -> Vec<String> {
        let verb = if self.session.phase == Phase::Cancelled { "was cancelled" } else { "failed" };
        let times = self.session.first_time.zip(self.session.last_time);
        let after = times.map(|(first, last)| format!(" after {}", between(first, last))).unwrap_or_default();
        let Some(failure) = &self.session.last_failure else {
            return vec![format!("{} {} {verb}{after}", self.glyph(Glyph::Failed), self.context.name)];
        };
        let message = one_line(&failure.message, MESSAGE_LIMIT);
        vec![
            format!("{} {} {verb}{after}: {message} ({})", self.glyph(Glyph::Failed), self.context.name, failure.code),
            format!("  help: {}", failure.code.help()),
        ]
    }

    /// The exit code of the command; `None` while the session goes on. A skipped session counts as failed, because what
    /// the person asked for was not done.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        match self.session.phase {
            Phase::Succeeded => Some(Exit::Ok),
            Phase::Skipped | Phase::Failed | Phase::Cancelled => Some(Exit::EndedFailed),
            _ => None,
        }
    }

    /// The line to print when the command stops waiting and the session goes on.
    #[must_use]
    pub fn stopped_waiting(&self, why: &str) -> String {
        self.context.stopped_waiting(why, self.session.key.kind)
    }
}

#[cfg(test)]
mod tests;
