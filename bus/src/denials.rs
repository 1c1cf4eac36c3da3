//! Publishes that the server denied. It says so on the connection, and the request gets no answer: without this it looks like
//! an outage, which is waited for.

use tokio::sync::broadcast;

/// The server's words for a publish that the permissions of the user do not allow.
const DENIED: &str = "Permissions Violation for Publish to \"";
/// Denials that a request may be behind. One that misses its own ends as a request without an answer.
const REMEMBERED: usize = 64;

#[derive(Debug)]
pub(crate) struct Denials(broadcast::Sender<String>);

impl Default for Denials {
    fn default() -> Self {
        Self(broadcast::Sender::new(REMEMBERED))
    }
}

impl Denials {
    /// Notes what the server reports about the connection.
    pub(crate) fn note(&self, report: &str) {
        if let Some(subject) = denied_subject(report) {
            // Nobody may be waiting for an answer.
            let _ = self.0.send(subject.to_owned());
        }
    }

    /// Begins to listen. This comes before the request.
    pub(crate) fn listen(&self) -> DenialListener {
        DenialListener(self.0.subscribe())
    }
}

pub(crate) struct DenialListener(broadcast::Receiver<String>);

impl DenialListener {
    /// Returns once the server has denied a publish to the subject.
    pub(crate) async fn denied(&mut self, subject: &str) {
        loop {
            match self.0.recv().await {
                Ok(denied) if denied == subject => return,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

fn denied_subject(report: &str) -> Option<&str> {
    report.strip_prefix(DENIED)?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_denial_of_its_own_subject_ends_a_request() {
        let denials = Denials::default();
        let mut listening = denials.listen();
        denials.note("Permissions Violation for Subscription to \"a\"");
        denials.note("Permissions Violation for Publish to \"b\"");
        denials.note("maximum connections exceeded");
        let mut denied = std::pin::pin!(listening.denied("a"));
        assert!(futures::poll!(&mut denied).is_pending());
        denials.note("Permissions Violation for Publish to \"a\"");
        assert!(futures::poll!(&mut denied).is_ready());
    }
}
