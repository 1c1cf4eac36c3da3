//! Writes on the statuses of waiting sessions what they wait for.

use std::sync::Arc;

use lagan_schemas::session::{Phase, Session};
use uuid::Uuid;

use super::Reporter;
use super::sink::PendingChange;
use crate::report::preserved_fields::set_condition;
use crate::report::session::seconds;
use crate::report::{document, wait};
use crate::wait_board::PostedNotice;

/// The result of writing a notice.
enum NoticeFate {
    /// It was written, or the session does not wait any more.
    Done,
    /// The status of the session is not written yet.
    TooEarly,
}

impl Reporter<'_> {
    pub(super) async fn waits(&self, notices: Vec<PostedNotice>) {
        for posted in notices {
            if let NoticeFate::TooEarly = self.wait(&posted).await {
                self.context.waits.put_back(posted);
            }
        }
    }

    async fn wait(&self, posted: &PostedNotice) -> NoticeFate {
        let notice = &posted.notice;
        let Some(key) = self.waiting(notice.session).and_then(|session| document::session_key(&session)) else {
            return NoticeFate::Done;
        };
        let _lock = self.statuses.lock(&key).await;
        // The status of a later fold is written under the same lock, and after the view holds that fold.
        let Some(session) = self.waiting(notice.session) else { return NoticeFate::Done };
        let store = self.context.sessions.read().store;
        if self.statuses.folded_sequence(&key, notice.session, store) < session.last_sequence {
            return NoticeFate::TooEarly;
        }
        let Some(mut document) = self.statuses.document_of(&key, notice.session) else { return NoticeFate::TooEarly };
        let holder = notice.holder.and_then(|holder| self.name_of(holder));
        let condition = wait::condition(notice, holder.as_deref(), seconds(self.context.clock.now()));
        set_condition(&mut document.status, &condition);
        if !self.statuses.has_same(&key, &document) {
            if !self.statuses.write(self.context, &key, &document).await {
                return NoticeFate::TooEarly;
            }
            self.sink.send(&key, || PendingChange::progress(&document));
        }
        NoticeFate::Done
    }

    fn waiting(&self, uid: Uuid) -> Option<Arc<Session>> {
        let session = self.context.sessions.read().active.get(&uid).cloned();
        session.filter(|session| matches!(session.phase, Phase::Requested | Phase::Retrying))
    }

    fn name_of(&self, uid: Uuid) -> Option<String> {
        let view = self.context.sessions.read();
        Some(view.active.get(&uid)?.request.as_ref()?.name.clone())
    }
}
