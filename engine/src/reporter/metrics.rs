//! Feeds /metrics and the Pushgateway, and writes the condition that says how a push went.

use jiff::Timestamp;
use lagan_schemas::resource::condition::{Condition, ConditionStatus};
use lagan_schemas::resource::{Kind, Object, Status};
use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::ObjectKey;
use tokio::sync::mpsc;

use super::Reporter;
use super::sink::PendingChange;
use crate::context::Context;
use crate::metrics::push::{Pushed, PushedSession, Pusher};
use crate::metrics::stash;
use crate::metrics::{EngineMetrics, is_dry_run};
use crate::report::preserved_fields::{METRICS_PUSHED, set_condition};
use crate::report::session::seconds;

pub(super) struct MetricsSink {
    metrics: EngineMetrics,
    /// `None` if no gateway is configured.
    pusher: Option<Pusher>,
}

impl MetricsSink {
    /// The receiver gets the results of pushes.
    pub fn start(context: &Context) -> (Self, mpsc::UnboundedReceiver<Pushed>) {
        let (results, pushes) = mpsc::unbounded_channel();
        let pusher = context.options.pushgateway.clone().map(|gateway| Pusher::start(gateway, results));
        (Self { metrics: context.options.metrics.clone(), pusher }, pushes)
    }

    /// Counts the end of a session, once. `key` is the object that shows the session.
    pub fn session_ended(&self, context: &Context, session: &Session, key: ObjectKey) {
        let Some(request) = &session.request else { return };
        let invoker = request.invoker.key();
        let view = context.resources.read();
        // Series of an object that is gone would never be removed.
        let Some(object) = view.objects.get(&invoker) else { return };
        if is_dry_run(session, object) {
            return;
        }
        self.metrics.session_ended(session);
        // A skipped session did nothing, so the gauges of the last one stay.
        if let (Some(pusher), false) = (&self.pusher, session.phase == Phase::Skipped) {
            let origin = PushedSession { key, uid: session.key.uid };
            pusher.put(&invoker, origin, stash::gauges(session, &view));
        }
    }

    pub fn object_changed(&self, object: &Object, status: &Status) {
        self.metrics.object_changed(object, status);
    }

    pub fn object_deleted(&self, key: &ObjectKey) {
        self.metrics.object_deleted(key);
        if let (Some(pusher), Kind::BackupConfiguration | Kind::RestoreSession) = (&self.pusher, key.kind) {
            pusher.delete(key);
        }
    }
}

impl Reporter<'_> {
    /// Writes the result of a push to the status of its session.
    pub(super) async fn metrics_pushed(&self, pushed: &Pushed) {
        let PushedSession { key, uid } = &pushed.origin;
        let _lock = self.statuses.lock(key).await;
        let condition = condition(&pushed.result, seconds(Timestamp::now()));
        // A write that fails reads back what somebody else wrote meanwhile; the second try is made on top of that.
        for _ in 0..2 {
            let Some(mut document) = self.statuses.document_of(key, *uid) else { return };
            set_condition(&mut document.status, &condition);
            if self.statuses.write(self.context, key, &document).await {
                return self.sink.send(key, || PendingChange::status(&document));
            }
        }
    }
}

fn condition(result: &Result<(), String>, now: Timestamp) -> Condition {
    let (status, reason, message) = match result {
        Ok(()) => {
            (ConditionStatus::True, "SuccessfullyPushedMetrics", "the Pushgateway has the session's metrics".to_owned())
        }
        Err(why) => (ConditionStatus::False, "FailedToPushMetrics", format!("the session is not affected: {why}")),
    };
    Condition {
        kind: METRICS_PUSHED.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
        observed_generation: 0,
        last_transition_time: now,
    }
}
