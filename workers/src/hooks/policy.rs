//! When a post hook runs. Pure.

use lagan_schemas::fact::Counted;
use lagan_schemas::resource::hooks::ExecutionPolicy;

/// How the work on a target ended, as far as hooks care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Succeeded,
    /// It failed and is tried again.
    Retried,
    /// It failed for good.
    Failed,
    /// Another worker goes on with it: nothing has ended.
    HandedOn,
}

impl Ending {
    /// `again` is what a failure becomes: a retry that counts, one that does not, or the end.
    pub fn of_failure(again: Option<Counted>) -> Self {
        match again {
            Some(Counted::Yes) => Self::Retried,
            Some(Counted::No) => Self::HandedOn,
            None => Self::Failed,
        }
    }
}

pub(super) const fn is_due(policy: ExecutionPolicy, ending: Ending) -> bool {
    match (policy, ending) {
        (_, Ending::HandedOn) => false,
        (ExecutionPolicy::Always, _) => true,
        (ExecutionPolicy::OnSuccess, ending) => matches!(ending, Ending::Succeeded),
        (ExecutionPolicy::OnFailure, ending) => matches!(ending, Ending::Retried | Ending::Failed),
        (ExecutionPolicy::OnFinalRetryFailure, ending) => matches!(ending, Ending::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_runs_after_the_ends_that_it_names() {
        use ExecutionPolicy::{Always, OnFailure, OnFinalRetryFailure, OnSuccess};
        let endings = [Ending::Succeeded, Ending::Retried, Ending::Failed, Ending::HandedOn];
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
        assert_eq!(Ending::of_failure(Some(Counted::No)), Ending::HandedOn);
        assert_eq!(Ending::of_failure(Some(Counted::Yes)), Ending::Retried);
        assert_eq!(Ending::of_failure(None), Ending::Failed);
    }
}
