//! The reporter's numbers: what is told to /metrics and to the Pushgateway, and the condition that says how a push went.

use jiff::Timestamp;
use lagan_schemas::resource::condition::{Condition, ConditionStatus};
use lagan_schemas::resource::{Kind, Object};
use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::ObjectKey;
use serde_json::Value;
use tokio::sync::mpsc;

use super::apply::Job;
use super::{Reporter, carry};
use crate::context::Context;
use crate::metrics::Metrics;
use crate::metrics::push::{Origin, Pushed, Pusher};
use crate::metrics::stash;
use crate::report::session::seconds;

pub(super) struct Numbers {
    metrics: Metrics,
    /// `None` if no gateway is configured.
    pusher: Option<Pusher>,
}

impl Numbers {
    /// What is received is how pushes went.
    pub fn start(context: &Context) -> (Self, mpsc::UnboundedReceiver<Pushed>) {
        let (told, pushes) = mpsc::unbounded_channel();
        let pusher = context.options.pushgateway.clone().map(|gateway| Pusher::start(gateway, told));
        (Self { metrics: context.options.metrics.clone(), pusher }, pushes)
    }

    /// A session's end that is news. `key` is the object that shows it.
    pub fn ended(&self, context: &Context, session: &Session, key: ObjectKey) {
        let Some(request) = &session.request else { return };
        let invoker = request.invoker.key();
        let view = context.resources.read();
        // The series of what is gone would never go.
        if !view.objects.contains_key(&invoker) {
            return;
        }
        self.metrics.ended(session);
        // A skipped session did nothing: what the last one did stays told.
        if let (Some(pusher), false) = (&self.pusher, session.phase == Phase::Skipped) {
            let origin = Origin { key, uid: session.key.uid };
            pusher.put(&invoker, origin, stash::gauges(session, &view));
        }
    }

    pub fn object(&self, object: &Object, status: &Value) {
        self.metrics.object(object, status);
    }

    pub fn gone(&self, key: &ObjectKey) {
        self.metrics.forget(key);
        if let (Some(pusher), Kind::BackupConfiguration | Kind::RestoreSession) = (&self.pusher, key.kind) {
            pusher.delete(key);
        }
    }
}

impl Reporter<'_> {
    /// Says on a session's status how the push of its numbers went.
    pub(super) async fn pushed(&mut self, pushed: &Pushed) {
        let Origin { key, uid } = &pushed.origin;
        let condition = condition(&pushed.result, seconds(Timestamp::now()));
        // A document that somebody wrote meanwhile has been read back: once more on top of it.
        for _ in 0..2 {
            let old = self.statuses.value(key).filter(|d| d["metadata"]["uid"].as_str() == Some(&uid.to_string()));
            let Some(mut document) = old else { return };
            carry::set_condition(&mut document, &condition);
            if self.statuses.write(self.context, key, document.clone()).await {
                return self.hand.give(key, || Job::status(document));
            }
        }
    }
}

fn condition(result: &Result<(), String>, now: Timestamp) -> Condition {
    let (status, reason, message) = match result {
        Ok(()) => {
            (ConditionStatus::True, "SuccessfullyPushedMetrics", "the Pushgateway has the session's numbers".to_owned())
        }
        Err(why) => (ConditionStatus::False, "FailedToPushMetrics", format!("the session is not affected: {why}")),
    };
    Condition {
        kind: carry::METRICS_PUSHED.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
        observed_generation: 0,
        last_transition_time: now,
    }
}
