//! Failures of one look: when they are tried again, and which are logged. It must not try anything.

use std::collections::BTreeMap;
use std::time::Duration;

use lagan_schemas::error::chain;
use lagan_schemas::subject::ObjectKey;

use super::hooks::PutError;

const SOON: Duration = Duration::from_secs(5);
/// Rights and namespaces change seldom, and their changes are not watched.
const LATE: Duration = Duration::from_mins(5);

/// Time of the next look without a change of the objects. Later variants are more urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Again {
    Never,
    Late,
    Soon,
}

impl Again {
    pub fn pause(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::Late => Some(LATE),
            Self::Soon => Some(SOON),
        }
    }

    fn after(error: &PutError) -> Self {
        match error {
            PutError::Source(error) if error.is_refusal() => Self::Late,
            _ => Self::Soon,
        }
    }
}

#[derive(Debug)]
struct Failure {
    action: &'static str,
    error: String,
    again: Again,
}

/// The failures of one look, by object.
#[derive(Debug, Default)]
pub(super) struct Failures(BTreeMap<ObjectKey, Failure>);

impl Failures {
    pub fn add(&mut self, key: ObjectKey, action: &'static str, error: &PutError) {
        self.0.insert(key, Failure { action, error: chain(error), again: Again::after(error) });
    }

    pub fn again(&self) -> Again {
        self.0.values().map(|failure| failure.again).max().unwrap_or(Again::Never)
    }

    pub fn log_new_since(&self, earlier: &Self) {
        for (key, Failure { action, error, again }) in self.new_since(earlier) {
            let again_s = again.pause().unwrap_or_default().as_secs();
            tracing::warn!(
                object = %key, action, error, again_s,
                "an object of a blueprint was not made or removed; it is tried again after a pause, and when objects change"
            );
        }
    }

    fn new_since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = (&'a ObjectKey, &'a Failure)> {
        self.0.iter().filter(|(key, failure)| earlier.0.get(key).is_none_or(|earlier| earlier.error != failure.error))
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use lagan_schemas::resource::{Group, Kind};
    use lagan_sources::SourceError;
    use lagan_sources::kubernetes::KubernetesError;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            group: Group::Lagan.as_str().to_owned(),
            kind: Kind::Repository,
            namespace: Some("elsewhere".to_owned()),
            name: name.to_owned(),
        }
    }

    fn refused(code: u16, words: &str) -> PutError {
        let status = Box::new(Status::failure(words, "Because").with_code(code));
        SourceError::from(KubernetesError::Refused { action: "apply", object: "it".to_owned(), status }).into()
    }

    fn no_answer() -> PutError {
        SourceError::from(KubernetesError::NoAnswer { action: "apply", object: "it".to_owned() }).into()
    }

    #[test]
    fn what_is_refused_is_tried_again_late_and_what_had_no_answer_soon() {
        for (error, again) in [
            (refused(403, "forbidden"), Again::Late),
            (refused(422, "not valid"), Again::Late),
            (refused(404, "no such namespace"), Again::Soon),
            (refused(409, "conflict"), Again::Soon),
            (refused(429, "too many"), Again::Soon),
            (refused(500, "etcd is away"), Again::Soon),
            (no_answer(), Again::Soon),
            (PutError::BlueprintGone(key("nightly")), Again::Soon),
        ] {
            assert_eq!(Again::after(&error), again, "{error}");
        }
        let mut failures = Failures::default();
        assert_eq!(failures.again().pause(), None);
        failures.add(key("a"), "make", &refused(403, "forbidden"));
        assert_eq!(failures.again().pause(), Some(Duration::from_mins(5)));
        failures.add(key("b"), "make", &no_answer());
        assert_eq!(failures.again().pause(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn the_same_failure_is_told_once_and_another_one_or_a_new_one_again() {
        let look = |errors: &[(&str, PutError)]| {
            let mut failures = Failures::default();
            for (name, error) in errors {
                failures.add(key(name), "make", error);
            }
            failures
        };
        let new = |now: &Failures, earlier: &Failures| -> Vec<String> {
            now.new_since(earlier).map(|(key, _)| key.name.clone()).collect()
        };
        let first = look(&[("a", refused(403, "forbidden")), ("b", no_answer())]);
        assert_eq!(new(&first, &Failures::default()), ["a", "b"]);
        assert!(new(&look(&[("a", refused(403, "forbidden")), ("b", no_answer())]), &first).is_empty());
        assert_eq!(new(&look(&[("a", refused(403, "other words"))]), &first), ["a"]);
        // It was done in between.
        assert_eq!(new(&first, &look(&[("b", no_answer())])), ["a"]);
    }
}
