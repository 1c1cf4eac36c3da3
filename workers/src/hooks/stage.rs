//! The hooks of one attempt at a session: when they run, their conditions, and the meaning of a failure.
//!
//! Hooks are read from their source once, when the attempt begins: neither a plan nor a message can carry a hook, and a
//! token that was changed meanwhile works. Each runs at most once in an attempt. A pre hook that succeeded in an earlier
//! attempt does not run again, unless a post hook has run since and undone it: in Stash each retry is a session of its
//! own, with both hooks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::fact::{Notice, NoticeStatus, TargetResult};
use lagan_schemas::plan::{Plan, PlanTarget};
use lagan_schemas::session::Session;
use lagan_schemas::subject::SessionKind;
use tokio_util::sync::CancellationToken;

use super::policy::{WorkEnding, is_due};
use super::ready::{ReadyHook, ReadyHooks};
use super::template::{InvokerData, StatusData, TargetData, TemplateData};
use super::{HookError, Site, check_supported};
use crate::consent::Consents;
use crate::databases::ca_pem;
use crate::outbound::ProtectedServer;
use crate::session::Failed;
use crate::session::held::Held;
use crate::session::life::{Life, StopCause};
use crate::session::verdict::again;
use crate::worker::Worker;

/// Stash's names for a hook and its condition.
struct Names {
    field: &'static str,
    condition: &'static str,
    succeeded: &'static str,
    failed: &'static str,
}

macro_rules! names {
    ($field:literal, $name:literal) => {
        Names {
            field: $field,
            condition: concat!($name, "HookExecutionSucceeded"),
            succeeded: concat!("SuccessfullyExecuted", $name, "Hook"),
            failed: concat!("FailedToExecute", $name, "Hook"),
        }
    };
}

const PRE_BACKUP: Names = names!("hooks.preBackup", "PreBackup");
const POST_BACKUP: Names = names!("hooks.postBackup", "PostBackup");
const PRE_RESTORE: Names = names!("hooks.preRestore", "PreRestore");
const POST_RESTORE: Names = names!("hooks.postRestore", "PostRestore");

const fn names(kind: SessionKind) -> (&'static Names, &'static Names) {
    match kind {
        SessionKind::Restore => (&PRE_RESTORE, &POST_RESTORE),
        SessionKind::Backup | SessionKind::Maintenance => (&PRE_BACKUP, &POST_BACKUP),
    }
}

/// The state of the work, as templates see it.
enum State<'a> {
    Running,
    Succeeded,
    Failed(&'a Failure),
}

pub(crate) struct Hooks<'a> {
    worker: &'a Worker,
    held: &'a Arc<Held>,
    life: &'a Arc<Life>,
    plan: &'a Plan,
    began: Instant,
    ready: Arc<ReadyHooks>,
    /// This attempt has dealt with the pre hook.
    passed: bool,
    notices: Vec<Notice>,
}

impl<'a> Hooks<'a> {
    pub fn new(worker: &'a Worker, held: &'a Arc<Held>, life: &'a Arc<Life>, plan: &'a Plan) -> Self {
        let ready = Arc::default();
        Self { worker, held, life, plan, began: Instant::now(), ready, passed: false, notices: Vec::new() }
    }

    /// Takes over the conditions of earlier attempts.
    pub fn recall(mut self, session: &Session) -> Self {
        let (pre, post) = names(self.plan.kind());
        self.notices = carried(&session.conditions, pre, post);
        self.passed = has_run(&self.notices, pre, post);
        self
    }

    /// Reads the hooks from their source if the plan says that there are some. After a failure no hook runs in this
    /// attempt, and the conditions of earlier attempts stay.
    pub async fn read(mut self) -> Result<Self, Failed> {
        let Some(planned) = self.plan.target().and_then(|target| target.hooks.as_ref()) else { return Ok(self) };
        let ready = async {
            let object = self.worker.intent.confirmed(&self.plan.invoker).await?;
            Consents::new(self.worker, self.plan).hooks(&object, &planned.application).await?;
            ReadyHooks::of(&object)
        };
        match ready.await {
            Ok(ready) => {
                self.ready = Arc::new(ready);
                Ok(self)
            }
            Err(failure) => {
                let failure = self.life.stopped().map_or(failure, |cause| cause.failure());
                Err(Failed { failure, results: Vec::new(), rejected_snapshots: Vec::new(), conditions: self.notices })
            }
        }
    }

    /// Returns the conditions of the hooks for the last fact of the session.
    pub fn into_notices(self) -> Vec<Notice> {
        self.notices
    }

    /// Runs the pre hook, before the first byte leaves or reaches the target. After a failure none does.
    pub async fn pre(&mut self, target: &PlanTarget) -> Result<(), Failure> {
        let Some(planned) = &target.hooks else { return Ok(()) };
        let (pre, post) = names(self.plan.kind());
        let ready = Arc::clone(&self.ready);
        let supported = check_supported(&self.worker.intent.source, &planned.application, &ready);
        supported.map_err(|error| error.failure("hooks"))?;
        let Some(hook) = ready.pre.as_ref().filter(|_| !self.passed) else { return Ok(()) };
        self.passed = true;
        self.notices.retain(|notice| notice.kind != post.condition);
        let data = self.data(&self.held.session().await, target, State::Running);
        let done = self.run(target, hook, (pre, &data), &self.life.token()).await;
        self.note(pre, done)
    }

    /// Runs the post hook if its policy asks for it. Returns the result of the work; a hook that fails turns a success
    /// into a failure.
    pub async fn post(
        &mut self,
        target: &PlanTarget,
        worked: Result<Vec<TargetResult>, Failure>,
    ) -> Result<Vec<TargetResult>, Failure> {
        let ready = Arc::clone(&self.ready);
        let Some(post) = ready.post.as_ref().filter(|_| target.hooks.is_some()) else { return worked };
        let session = self.held.session().await;
        let stopped = self.life.stopped();
        let ending = match &worked {
            Ok(_) => WorkEnding::Succeeded,
            Err(failure) => WorkEnding::of_failure(again(&session, stopped.as_ref(), self.held.work(), failure)),
        };
        if !is_due(post.policy, ending) || stopped == Some(StopCause::Fenced) {
            return worked;
        }
        // The cause that stopped the work must not stop the hook that cleans up after it; only the end of the worker does.
        let stop = if worked.is_err() && stopped.is_some() { self.worker.stop_now.clone() } else { self.life.token() };
        let (_, names) = names(self.plan.kind());
        let state = worked.as_ref().map_or_else(State::Failed, |_| State::Succeeded);
        let data = self.data(&session, target, state);
        let done = self.run(target, &post.hook, (names, &data), &stop).await;
        match (worked, self.note(names, done)) {
            (worked, Ok(())) => worked,
            (Err(failure), Err(_)) => Err(failure),
            (Ok(results), Err(failure)) => Err(after_success(self.plan.kind(), failure, &results)),
        }
    }

    async fn run(
        &self,
        target: &PlanTarget,
        hook: &ReadyHook,
        (names, data): (&Names, &TemplateData),
        stop: &CancellationToken,
    ) -> Result<String, Failure> {
        let Some(planned) = &target.hooks else { return Ok(String::new()) };
        let ca_pem = ca_pem(&target.database)?;
        let mut outbound = (*self.worker.outbound).clone();
        outbound.protected.extend(self.nats_servers(names.field).await?);
        let site = Site {
            source: &self.worker.intent.source,
            application: &planned.application,
            host: &target.database.host,
            ca_pem: ca_pem.as_deref(),
            outbound: &outbound,
        };
        tracing::info!(hook = names.field, "hook runs");
        site.run(hook, data, stop).await.map_err(|error| match (&error, self.life.stopped()) {
            (HookError::Stopped, Some(cause)) => {
                let cause = cause.failure();
                Failure::new(cause.code, format!("{} was stopped: {}", names.field, cause.message))
            }
            _ => error.failure(names.field),
        })
    }

    /// The servers of NATS: those that were named, and those that they announce of their cluster.
    async fn nats_servers(&self, field: &str) -> Result<impl Iterator<Item = ProtectedServer> + use<>, Failure> {
        let servers = self.worker.bus.servers().await.map_err(|error| {
            Failure::new(Code::HookFailed, format!("{field}: the servers of NATS are not known: {}", chain(&error)))
        })?;
        Ok(servers.into_iter().map(|(host, port)| ProtectedServer { name: "the NATS server", host, port }))
    }

    /// Sets the condition of the hook.
    fn note(&mut self, names: &Names, done: Result<String, Failure>) -> Result<(), Failure> {
        let (status, reason, message) = match &done {
            Ok(said) => (NoticeStatus::True, names.succeeded, format!("{}: {said}", names.field)),
            Err(failure) => (NoticeStatus::False, names.failed, failure.message.clone()),
        };
        self.notices.retain(|notice| notice.kind != names.condition);
        self.notices.push(Notice { kind: names.condition.to_owned(), status, reason: reason.to_owned(), message });
        done.map(drop)
    }

    fn data(&self, session: &Session, target: &PlanTarget, state: State<'_>) -> TemplateData {
        let (invoker, reference) = (&self.plan.invoker, &target.reference);
        let (phase, error) = match state {
            State::Running => ("Running", String::new()),
            State::Succeeded => ("Succeeded", String::new()),
            State::Failed(failure) => ("Failed", failure.to_string()),
        };
        TemplateData {
            name: self.plan.session_name.clone(),
            namespace: session.key.namespace.clone(),
            invoker: InvokerData {
                api_group: invoker.api_version.split_once('/').map_or("", |(group, _)| group).to_owned(),
                kind: invoker.kind.to_string(),
                name: invoker.name.clone(),
            },
            target: TargetData {
                api_version: reference.api_version.clone(),
                kind: reference.kind.to_string(),
                name: reference.name.clone(),
                namespace: reference.namespace.clone().unwrap_or_default(),
                alias: Some(&target.name).filter(|name| **name != reference.name).cloned().unwrap_or_default(),
            },
            status: StatusData { phase: phase.to_owned(), duration: go_duration(self.began.elapsed()), error },
            retry_left: self.plan.retry.max.saturating_sub(session.counted_retries),
        }
    }
}

fn carried(conditions: &[Notice], pre: &Names, post: &Names) -> Vec<Notice> {
    conditions.iter().filter(|n| n.kind == pre.condition || n.kind == post.condition).cloned().collect()
}

/// Tells whether the pre hook has succeeded and no post hook has run since.
fn has_run(notices: &[Notice], pre: &Names, post: &Names) -> bool {
    let succeeded = notices.iter().any(|n| n.kind == pre.condition && n.status == NoticeStatus::True);
    succeeded && !notices.iter().any(|n| n.kind == post.condition)
}

/// Describes a post hook that failed after the work succeeded. As in Stash the session fails; its snapshots stay valid.
fn after_success(kind: SessionKind, failure: Failure, results: &[TargetResult]) -> Failure {
    if kind == SessionKind::Restore {
        return Failure::new(Code::HookFailed, format!("{}; the data itself was restored whole", failure.message));
    }
    let ids: Vec<&str> = results.iter().map(|result| result.snapshot.as_str()).collect();
    let message = format!(
        "{}; snapshot {} is whole and was read back: `latest` and retention count it",
        failure.message,
        ids.join(", ")
    );
    Failure::new(failure.code, message)
}

/// Formats a duration like Go: `1h2m3s`.
fn go_duration(duration: Duration) -> String {
    let seconds = (duration + Duration::from_millis(500)).as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(kind: &str, status: NoticeStatus) -> Notice {
        Notice { kind: kind.to_owned(), status, reason: String::new(), message: String::new() }
    }

    #[test]
    fn a_pre_hook_is_not_run_again_unless_a_post_hook_undid_it() {
        let (pre, post) = names(SessionKind::Backup);
        let (done, failed) = (NoticeStatus::True, NoticeStatus::False);
        for (conditions, expected) in [
            (vec![], false),
            (vec![(pre.condition, done)], true),
            (vec![(pre.condition, failed)], false),
            (vec![(pre.condition, done), (post.condition, done)], false),
            (vec![(pre.condition, done), (post.condition, failed)], false),
            (vec![(pre.condition, done), ("TargetOverwritten", done)], true),
        ] {
            let conditions: Vec<Notice> = conditions.into_iter().map(|(kind, status)| notice(kind, status)).collect();
            assert_eq!(has_run(&carried(&conditions, pre, post), pre, post), expected, "{conditions:?}");
        }
    }

    #[test]
    fn conditions_have_the_names_of_stash() {
        let (pre, post) = names(SessionKind::Restore);
        assert_eq!(pre.condition, "PreRestoreHookExecutionSucceeded");
        assert_eq!(pre.failed, "FailedToExecutePreRestoreHook");
        assert_eq!(post.succeeded, "SuccessfullyExecutedPostRestoreHook");
        assert_eq!(names(SessionKind::Backup).0.condition, "PreBackupHookExecutionSucceeded");
    }

    #[test]
    fn a_hook_that_fails_after_a_good_snapshot_names_it_in_full() {
        let result: TargetResult = serde_json::from_value(serde_json::json!({
            "target": "db", "host": "host-0", "path": "/dumpfile.sql", "snapshot": "abcdef0123", "sizeBytes": 1, "durationMs": 1,
            "repository": {"apiVersion": "lagan.dev/v1alpha1", "kind": "Repository", "name": "r"},
        }))
        .expect("a result");
        let failure = Failure::new(Code::HookFailed, "hooks.postBackup: http://x:1 answered 500");
        let failed = after_success(SessionKind::Backup, failure.clone(), std::slice::from_ref(&result));
        assert!(failed.code == Code::HookFailed && failed.message.contains("snapshot abcdef0123 is whole"), "{failed}");
        let interrupted = Failure::new(Code::Interrupted, "stopped");
        let after_restore = after_success(SessionKind::Restore, interrupted, &[result]);
        assert!(after_restore.code == Code::HookFailed && after_restore.message.contains("restored whole"));
    }

    #[test]
    fn durations_are_those_of_go() {
        for (seconds, text) in [(0, "0s"), (69, "1m9s"), (3600, "1h0m0s")] {
            assert_eq!(go_duration(Duration::from_secs(seconds)), text);
        }
    }
}
