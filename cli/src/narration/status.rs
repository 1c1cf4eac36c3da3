//! Narrates a session from the status of its object, which says less than the facts. It must not read a clock or print.

use jiff::Timestamp;
use lagan_schemas::error::Code;
use lagan_schemas::resource::backup_session::{BackupSessionStatus, RunStatus};
use lagan_schemas::resource::kind::STASH;
use lagan_schemas::resource::{Condition, ConditionStatus, Kind};
use lagan_schemas::session::Phase;
use lagan_schemas::subject::SessionKind;

use super::{MESSAGE_LIMIT, NarrationContext};
use crate::error::Exit;
use crate::glyph::Glyph;
use crate::human::{between, bytes, duration, one_line};
use crate::objects::ObjectDocument;

/// Conditions whose content other lines have.
const IN_OTHER_LINES: [&str; 8] = [
    "BackendRepositoryInitialized",
    "BackupDisrupted",
    "DeadlineExceeded",
    "RepositoryIntegrityVerified",
    "RestoreCompleted",
    // The command shows the finding of a dry run as its result.
    "DryRun",
    "RetentionPolicyApplied",
    "Succeeded",
];

#[derive(Debug)]
pub struct StatusNarrator {
    context: NarrationContext,
    view: ObjectDocument,
    status: BackupSessionStatus,
}

impl StatusNarrator {
    /// A narrator for the object as it was created.
    #[must_use]
    pub fn new(context: NarrationContext, view: ObjectDocument) -> Self {
        Self { context, view, status: BackupSessionStatus::default() }
    }

    /// The object as last seen.
    #[must_use]
    pub fn view(&self) -> &ObjectDocument {
        &self.view
    }

    fn glyph(&self, state: Glyph) -> &'static str {
        self.context.glyphs.of(state)
    }

    const fn kind(&self) -> SessionKind {
        match self.view.key.kind {
            Kind::RestoreSession => SessionKind::Restore,
            _ => SessionKind::Backup,
        }
    }

    /// Takes the current object and returns the lines to print about its changes.
    pub fn object(&mut self, view: ObjectDocument) -> Vec<String> {
        if self.exit().is_some() {
            return Vec::new();
        }
        // Backup and restore sessions have these parts of the status in common.
        let status: BackupSessionStatus = view.part("status");
        let before = std::mem::replace(&mut self.status, status);
        self.view = view;
        if self.exit().is_some() {
            return self.ending();
        }
        let (old, new) = (&before.run, &self.status.run);
        let mut lines = Vec::new();
        if new.message.is_some() && (&new.message, &new.code) != (&old.message, &old.code) {
            lines.push(self.retry_line());
        }
        if new.attempts > 1 && new.attempts > old.attempts {
            let worker = new.worker.as_deref().unwrap_or("a worker");
            lines.push(format!("{} attempt {} on {worker}", self.glyph(Glyph::Running), new.attempts));
        }
        if self.kind() == SessionKind::Restore && new.snapshot.is_some() && new.snapshot != old.snapshot {
            let snapshot = new.snapshot.as_deref().unwrap_or_default();
            lines.push(format!("{} restoring snapshot {snapshot} into {}", self.glyph(Glyph::Running), self.target()));
        }
        lines
    }

    /// The failure of an attempt. Only a session that a worker has taken is retried by itself.
    fn retry_line(&self) -> String {
        let again = if self.status.run.attempts > 0 { "; trying again" } else { "" };
        format!("{} {}{again}", self.glyph(Glyph::Warning), self.failure())
    }

    fn failure(&self) -> String {
        let message = one_line(self.status.run.message.as_deref().unwrap_or_default(), MESSAGE_LIMIT);
        match &self.status.run.code {
            Some(code) => format!("{message} ({code})"),
            None => message,
        }
    }

    /// The live line: progress, and the worker.
    #[must_use]
    pub fn live_line(&self, now: Timestamp) -> Option<String> {
        if let Some(line) = self.context.waits(&self.status.conditions) {
            return Some(line);
        }
        let RunStatus { worker, progress, start_time, .. } = &self.status.run;
        let worker = worker.as_ref().filter(|_| self.status.phase == Phase::Started.display())?;
        let running = self.glyph(Glyph::Running);
        let since = start_time.map(|start| format!("   {}", between(start, now))).unwrap_or_default();
        let last = self.context.last_run.map(|last| format!("   (last run {})", duration(last))).unwrap_or_default();
        Some(match progress {
            Some(progress) => format!("{running} {progress} on {worker}{since}{last}"),
            None => format!("{running} started on {worker}{since}{last}"),
        })
    }

    /// A warning that no engine has taken the session yet.
    #[must_use]
    pub fn unclaimed(&self, waited: u64) -> Option<String> {
        let is_taken = self.status.run.requested_time.is_some() || !self.status.phase.is_empty();
        let group = if self.view.key.group == STASH { " with --stash-compat" } else { "" };
        (!is_taken).then(|| {
            format!(
                "{} no engine has taken it for {}; does `lagan engine`{group} run in this cluster and watch this namespace?",
                self.glyph(Glyph::Warning),
                duration(waited)
            )
        })
    }

    fn ending(&self) -> Vec<String> {
        let mut lines = match self.status.phase.as_str() {
            "Succeeded" if self.is_dry_run() => vec![self.context.dry_run()],
            "Succeeded" if self.kind() == SessionKind::Restore => vec![self.restored()],
            "Succeeded" => self.committed(),
            "Skipped" => {
                vec![format!("{} {} was skipped: {}", self.glyph(Glyph::Skipped), self.context.name, self.why())]
            }
            _ => self.failed(),
        };
        if self.status.phase == "Succeeded" {
            lines.extend(self.notices());
        }
        let snapshot = self.status.run.snapshot.as_deref().filter(|_| self.status.phase == "Succeeded");
        let restorable = snapshot.map(|snapshot| (self.view.text("/spec/invoker/name"), snapshot));
        lines.extend(self.context.next(self.kind(), restorable));
        lines
    }

    fn committed(&self) -> Vec<String> {
        let ok = self.glyph(Glyph::Succeeded);
        let run = &self.status.run;
        let mut numbers = vec![format!("{} read", bytes(run.size_bytes.unwrap_or_default()))];
        numbers.push(format!("{} new", bytes(run.added_bytes.unwrap_or_default())));
        numbers.extend(self.took());
        let snapshot = run.snapshot.as_deref().unwrap_or("of unknown id");
        let mut lines = vec![format!("{ok} committed snapshot {snapshot}  ({})", numbers.join(", "))];
        let verified = self.condition("RepositoryIntegrityVerified").filter(|c| c.status == ConditionStatus::True);
        lines.extend(verified.map(|c| format!("{ok} verified: {}", one_line(&c.message, MESSAGE_LIMIT))));
        lines
    }

    fn restored(&self) -> String {
        let run = &self.status.run;
        let mut numbers: Vec<String> = run.size_bytes.map(bytes).into_iter().collect();
        numbers.extend(self.took());
        let snapshot = run.snapshot.as_deref().unwrap_or("of unknown id");
        let ok = self.glyph(Glyph::Succeeded);
        format!("{ok} restored snapshot {snapshot} into {}  ({})", self.target(), numbers.join(", "))
    }

    fn is_dry_run(&self) -> bool {
        self.view.value.pointer("/spec/dryRun") == Some(&true.into())
    }

    fn took(&self) -> Option<String> {
        self.status.run.start_time.zip(self.status.run.completion_time).map(|(start, end)| between(start, end))
    }

    fn target(&self) -> String {
        let namespace = match self.view.text("/spec/target/ref/namespace") {
            "" => self.view.key.namespace.as_deref().unwrap_or_default(),
            namespace => namespace,
        };
        format!("{}/{namespace}/{}", self.view.text("/spec/target/ref/kind"), self.view.text("/spec/target/ref/name"))
    }

    fn failed(&self) -> Vec<String> {
        let run = &self.status.run;
        let times = run.requested_time.zip(run.completion_time);
        let after = times.map(|(first, last)| format!(" after {}", between(first, last))).unwrap_or_default();
        let verb = if self.status.phase == "Invalid" { "is not valid" } else { "failed" };
        let why = if run.message.is_some() { self.failure() } else { self.why() };
        let mut lines = vec![format!("{} {} {verb}{after}: {why}", self.glyph(Glyph::Failed), self.context.name)];
        let code = run.code.as_deref().and_then(|code| code.parse::<Code>().ok());
        lines.extend(code.map(|code| format!("  help: {}", code.help())));
        lines
    }

    /// The message of the first false condition.
    fn why(&self) -> String {
        let wrong = self.status.conditions.iter().find(|c| c.status == ConditionStatus::False);
        wrong.map(|condition| one_line(&condition.message, MESSAGE_LIMIT)).unwrap_or_default()
    }

    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.kind == kind)
    }

    fn notices(&self) -> impl Iterator<Item = String> {
        self.status.conditions.iter().filter(|c| !IN_OTHER_LINES.contains(&c.kind.as_str())).map(|condition| {
            let glyph = match condition.status {
                ConditionStatus::True => self.context.glyphs.dot(),
                ConditionStatus::False | ConditionStatus::Unknown => self.glyph(Glyph::Warning),
            };
            format!("{glyph} {}: {}", condition.reason, one_line(&condition.message, MESSAGE_LIMIT))
        })
    }

    /// The exit code of the command; `None` while the session goes on.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        match self.status.phase.as_str() {
            "Succeeded" => Some(Exit::Ok),
            "Failed" | "Skipped" | "Invalid" => Some(Exit::EndedFailed),
            _ => None,
        }
    }

    /// The line to print when the command stops waiting and the session goes on.
    #[must_use]
    pub fn stopped_waiting(&self, why: &str) -> String {
        self.context.stopped_waiting(why, self.kind())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::glyph::Glyphs;
    use crate::invocation::{CommandTemplate, ProgramName};
    use crate::narration::Afterwards;
    use crate::objects::tests::view;

    fn backup(status: Value) -> ObjectDocument {
        view(json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "BackupSession",
            "metadata": {"name": "shop-1795341200", "namespace": "prod"},
            "spec": {"invoker": {"kind": "BackupConfiguration", "name": "shop"}},
            "status": status,
        }))
    }

    fn restore(status: Value) -> ObjectDocument {
        view(json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "RestoreSession",
            "metadata": {"name": "shop-1795341200", "namespace": "prod"},
            "spec": {"target": {"ref": {"kind": "AppBinding", "name": "shop-db"}}},
            "status": status,
        }))
    }

    fn narrator(first: ObjectDocument) -> StatusNarrator {
        let context = NarrationContext {
            name: "shop-1795341200".into(),
            template: CommandTemplate::new(ProgramName::KubectlPlugin).flag("--context", Some("eu")),
            glyphs: Glyphs::Unicode,
            last_run: Some(151),
            afterwards: Afterwards::Stays,
        };
        StatusNarrator::new(context, first)
    }

    fn tell(narrator: &mut StatusNarrator, views: Vec<ObjectDocument>) -> Vec<String> {
        views.into_iter().flat_map(|view| narrator.object(view)).collect()
    }

    #[test]
    fn a_backup_that_is_tried_again_and_succeeds() {
        let mut narrator = narrator(backup(Value::Null));
        let lines = tell(
            &mut narrator,
            vec![
                backup(json!({"phase": "Pending", "requestedTime": "2026-11-22T11:56:00Z"})),
                backup(json!({"phase": "Running", "attempts": 1, "worker": "w1", "startTime": "2026-11-22T11:57:00Z"})),
                backup(
                    json!({"phase": "Running", "attempts": 1, "worker": "w1", "code": "E0201", "message": "dump ended"}),
                ),
                backup(
                    json!({"phase": "Running", "attempts": 2, "worker": "w2", "code": "E0201", "message": "dump ended"}),
                ),
                backup(json!({
                    "phase": "Succeeded", "attempts": 2, "snapshot": "4be1c0de", "sizeBytes": 1_728_724_336_u64,
                    "addedBytes": 1024, "startTime": "2026-11-22T11:57:00Z", "completionTime": "2026-11-22T11:59:24Z",
                    "conditions": [
                        condition("SpaceFreed", "False", "PruneIsSeparate", "space is freed by maintenance"),
                        condition("RepositoryIntegrityVerified", "True", "R", "snapshot read back: 3 of 3 packs whole"),
                        condition("Succeeded", "True", "Completed", "the session succeeded"),
                    ],
                })),
                backup(json!({"phase": "Failed"})),
            ],
        );
        assert_eq!(
            lines,
            [
                "‼ dump ended (E0201); trying again",
                "● attempt 2 on w2",
                "✔ committed snapshot 4be1c0de  (1.61 GiB read, 1 KiB new, 2m24s)",
                "✔ verified: snapshot read back: 3 of 3 packs whole",
                "‼ PruneIsSeparate: space is freed by maintenance",
                "  next: kubectl lagan describe session/shop-1795341200 --context eu · \
                 kubectl lagan restore shop --snapshot 4be1c0de --dry-run --context eu",
            ]
        );
        assert_eq!(narrator.exit(), Some(Exit::Ok));
    }

    fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-11-22T11:59:24Z"})
    }

    #[test]
    fn a_failure_names_code_help_and_next_command() {
        let mut narrator = narrator(backup(Value::Null));
        let lines = tell(
            &mut narrator,
            vec![backup(json!({
                "phase": "Failed", "attempts": 1, "code": "E0201", "reason": "DumpFailed", "message": "mariadb-dump exited 2",
                "requestedTime": "2026-11-22T11:57:00Z", "completionTime": "2026-11-22T11:57:58Z",
            }))],
        );
        assert_eq!(
            lines,
            [
                "✖ shop-1795341200 failed after 58s: mariadb-dump exited 2 (E0201)",
                format!("  help: {}", Code::DumpFailed.help()).as_str(),
                "  next: kubectl lagan describe session/shop-1795341200 --context eu",
            ]
        );
        assert_eq!(narrator.exit(), Some(Exit::EndedFailed));
    }

    #[test]
    fn a_restore_names_snapshot_and_target() {
        let mut narrator = narrator(restore(Value::Null));
        let running = json!({"phase": "Running", "attempts": 1, "worker": "w1", "snapshot": "4be1c0de"});
        let done = json!({
            "phase": "Succeeded", "snapshot": "4be1c0de", "sizeBytes": 1024,
            "startTime": "2026-11-22T11:57:00Z", "completionTime": "2026-11-22T11:57:02Z",
        });
        assert_eq!(
            tell(&mut narrator, vec![restore(running), restore(done)]),
            [
                "● restoring snapshot 4be1c0de into AppBinding/prod/shop-db",
                "✔ restored snapshot 4be1c0de into AppBinding/prod/shop-db  (1 KiB, 2s)",
                "  next: kubectl lagan describe restoresession/shop-1795341200 --context eu",
            ]
        );
    }

    #[test]
    fn a_refused_or_skipped_session_is_no_success() {
        let refused = json!({"phase": "Invalid", "conditions": [condition("ValidationPassed", "False", "R", "target.ref: none")]});
        let mut restoring = narrator(restore(Value::Null));
        assert_eq!(tell(&mut restoring, vec![restore(refused)])[0], "✖ shop-1795341200 is not valid: target.ref: none");
        assert_eq!(restoring.exit(), Some(Exit::EndedFailed));
        let skipped = json!({"phase": "Skipped", "conditions": [condition("Succeeded", "False", "Skipped", "another session was running")]});
        let mut backing = narrator(backup(Value::Null));
        assert_eq!(
            tell(&mut backing, vec![backup(skipped)])[0],
            "○ shop-1795341200 was skipped: another session was running"
        );
        assert_eq!(backing.exit(), Some(Exit::EndedFailed));
    }

    #[test]
    fn the_live_line_shows_the_progress_column() {
        let now: Timestamp = "2026-11-22T11:58:00Z".parse().expect("a time");
        let mut narrator = narrator(backup(Value::Null));
        assert_eq!(narrator.live_line(now), None);
        assert!(narrator.unclaimed(30).is_some_and(|line| line.contains("for 30s")));
        let running = |progress: Value| {
            backup(
                json!({"phase": "Running", "attempts": 1, "worker": "w1", "startTime": "2026-11-22T11:57:00Z", "progress": progress}),
            )
        };
        narrator.object(running(Value::Null));
        assert_eq!(narrator.live_line(now).as_deref(), Some("● started on w1   1m   (last run 2m31s)"));
        narrator.object(running("41%".into()));
        assert_eq!(narrator.live_line(now).as_deref(), Some("● 41% on w1   1m   (last run 2m31s)"));
        assert_eq!(narrator.unclaimed(30), None);
    }
}
