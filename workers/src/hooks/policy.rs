//! Decides when a post hook runs. Pure functions.

use lagan_schemas::fact::Counted;
use lagan_schemas::resource::hooks::ExecutionPolicy;

/// The end of the work on a target, as post hooks distinguish it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkEnding {
    Succeeded,
    /// The work failed and is tried again.
    Retried,
    /// The work failed for good.
    Failed,
    /// The work goes on in another worker, or has not begun because somebody did not answer.
    HandedOn,
}

impl WorkEnding {
    /// Classifies a failure. `again` is the retry that follows, or `None` if there is none.
    pub fn of_failure(again: Option<Counted>) -> Self {
        match again {
            Some(Counted::Yes) => Self::Retried,
            Some(Counted::No) => Self::HandedOn,
            None => Self::Failed,
        }
    }
}

pub(super) const fn is_due(policy: ExecutionPolicy, ending: WorkEnding) -> bool {
    match (policy, ending) {
        (_, WorkEnding::HandedOn) => false,
        (ExecutionPolicy::Always, _) => true,
        (ExecutionPolicy::OnSuccess, ending) => matches!(ending, WorkEnding::Succeeded),
        (ExecutionPolicy::OnFailure, ending) => matches!(ending, WorkEnding::Retried | WorkEnding::Failed),
        (ExecutionPolicy::OnFinalRetryFailure, ending) => matches!(ending, WorkEnding::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_runs_after_the_ends_that_it_names() {
        use ExecutionPolicy::{Always, OnFailure, OnFinalRetryFailure, OnSuccess};
        let endings = [WorkEnding::Succeeded, WorkEnding::Retried, WorkEnding::Failed, WorkEnding::HandedOn];
        for (policy, expected) in [
            (Always, [true, true, true, false]),
            (OnSuccess, [true, false, false, false]),
            (OnFailure, [false, true, true, false]),
            (OnFinalRetryFailure, [false, false, true, false]),
        ] {
            assert_eq!(endings.map(|ending| is_due(policy, ending)), expected, "{policy:?}");
        }
    }

    #[test]
    fn a_drain_is_no_end_and_a_retry_is_not_the_last() {
        assert_eq!(WorkEnding::of_failure(Some(Counted::No)), WorkEnding::HandedOn);
        assert_eq!(WorkEnding::of_failure(Some(Counted::Yes)), WorkEnding::Retried);
        assert_eq!(WorkEnding::of_failure(None), WorkEnding::Failed);
    }
}
