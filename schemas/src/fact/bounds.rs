//! Size limits of facts. The log is append-only and shared by all tenants, so no session may fill it, and a fact that
//! exceeds the server's message limit could never be appended. Details that do not fit stay in the repository.

use super::{
    CancelRequested, Ended, Fact, Notice, NoticeStatus, Restoring, Retrying, Skipped, Started, Succeeded, TargetResult,
};

/// Size limit of the data of a fact of success, in bytes. Its event stays below 4 KiB.
const SUCCEEDED_LIMIT: usize = 3 * 1024;
/// Size limit of the data of all other facts except `planned`, in bytes. Their events stay below 8 KiB.
const LIMIT: usize = 7 * 1024;
/// Limits of a condition's message, in bytes. The shorter ones apply while the fact is too large.
const MESSAGE_LIMITS: [usize; 3] = [1024, 256, 64];
/// Limit of a condition's type and reason, of names and of other short texts, in bytes.
const WORD_LIMIT: usize = 256;
/// Number of conditions of hooks that the smallest fact keeps; a session has two.
const HOOKS: usize = 4;
/// Number of rejected snapshots that a fact names.
const REJECTED_LIMIT: usize = 16;
/// Number of databases that `restoring` names.
const DATABASES_LIMIT: usize = 16;

impl Fact {
    /// Shortens texts and lists to the limits of a fact. It is applied before every append.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        match &mut self {
            Self::Requested(_) | Self::Planned(_) | Self::Committing(_) => {}
            Self::Restoring(Restoring { databases, .. }) => {
                databases.truncate(DATABASES_LIMIT);
                for name in databases {
                    cut(name, WORD_LIMIT);
                }
            }
            Self::Skipped(Skipped { reason, message, .. }) => {
                cut(reason, WORD_LIMIT);
                cut(message, MESSAGE_LIMITS[0]);
            }
            Self::Started(Started { host, .. }) => cut(host, WORD_LIMIT),
            Self::CancelRequested(CancelRequested { by, reason, .. }) => {
                cut(by, WORD_LIMIT);
                cut(reason, MESSAGE_LIMITS[0]);
            }
            Self::Retrying(Retrying { rejected_snapshots, conditions, .. })
            | Self::Failed(Ended { rejected_snapshots, conditions, .. })
            | Self::Cancelled(Ended { rejected_snapshots, conditions, .. }) => {
                rejected_snapshots.truncate(REJECTED_LIMIT);
                shorten(conditions, MESSAGE_LIMITS[0]);
            }
            Self::Succeeded(Succeeded { conditions, .. }) => shorten(conditions, MESSAGE_LIMITS[0]),
        }
        self.fit();
        self
    }

    /// Returns the fact with nothing but what others decide by. A server refused the whole one as too large.
    #[must_use]
    pub fn smallest(mut self) -> Self {
        let goes_on = matches!(self, Self::Retrying(_));
        if let Some(conditions) = self.conditions_mut() {
            let all = conditions.len();
            // The next attempt must know which hooks ran.
            conditions.retain(|condition| goes_on && condition.kind.contains("Hook"));
            conditions.truncate(HOOKS);
            shorten(conditions, MESSAGE_LIMITS[2]);
            let omitted = all - conditions.len();
            conditions.extend((omitted > 0).then(|| more(omitted)));
        }
        match &mut self {
            Self::Succeeded(Succeeded { results, .. }) => results.iter_mut().for_each(shrink),
            Self::Retrying(Retrying { failure, results, .. })
            | Self::Failed(Ended { failure, results, .. })
            | Self::Cancelled(Ended { failure, results, .. }) => {
                cut(&mut failure.message, WORD_LIMIT);
                results.iter_mut().for_each(shrink);
            }
            _ => {}
        }
        self
    }

    fn limit(&self) -> usize {
        if matches!(self, Self::Succeeded(_)) { SUCCEEDED_LIMIT } else { LIMIT }
    }

    fn is_too_large(&self) -> bool {
        serde_json::to_vec(&self.data()).map_or(0, |json| json.len()) > self.limit()
    }

    fn conditions_mut(&mut self) -> Option<&mut Vec<Notice>> {
        match self {
            Self::Retrying(fact) => Some(&mut fact.conditions),
            Self::Failed(fact) | Self::Cancelled(fact) => Some(&mut fact.conditions),
            Self::Succeeded(fact) => Some(&mut fact.conditions),
            _ => None,
        }
    }

    /// Shortens the conditions until the fact fits, and then the message of a failure: quotes and control characters
    /// make JSON longer than the text.
    fn fit(&mut self) {
        if matches!(self, Self::Planned(_)) {
            return;
        }
        while self.is_too_large()
            && let Self::Restoring(Restoring { databases, .. }) = &mut *self
            && databases.pop().is_some()
        {}
        for limit in MESSAGE_LIMITS {
            if !self.is_too_large() {
                return;
            }
            if let Some(conditions) = self.conditions_mut() {
                shorten(conditions, limit);
            }
        }
        let mut omitted = 0usize;
        while self.is_too_large() {
            let Some(conditions) =
                self.conditions_mut().filter(|conditions| conditions.len() > usize::from(omitted > 0))
            else {
                break;
            };
            if omitted > 0 {
                conditions.pop();
            }
            conditions.pop();
            omitted += 1;
            conditions.push(more(omitted));
        }
        let mut limit = MESSAGE_LIMITS[0];
        while self.is_too_large() && limit > 0 {
            match self {
                Self::Retrying(Retrying { failure, .. })
                | Self::Failed(Ended { failure, .. })
                | Self::Cancelled(Ended { failure, .. }) => cut(&mut failure.message, limit),
                Self::Skipped(Skipped { message: text, .. })
                | Self::CancelRequested(CancelRequested { reason: text, .. }) => {
                    cut(text, limit);
                }
                _ => return,
            }
            limit /= 2;
        }
    }
}

/// Leaves what names the snapshot.
fn shrink(result: &mut TargetResult) {
    (result.retention, result.statistics, result.record) = (None, None, None);
}

fn shorten(conditions: &mut [Notice], limit: usize) {
    for condition in conditions {
        cut(&mut condition.kind, WORD_LIMIT);
        cut(&mut condition.reason, WORD_LIMIT);
        cut(&mut condition.message, limit);
    }
}

/// The condition that stands for those that did not fit.
fn more(omitted: usize) -> Notice {
    Notice {
        kind: "ConditionsOmitted".to_owned(),
        status: NoticeStatus::True,
        reason: "TooMany".to_owned(),
        message: format!("{omitted} more conditions are left out here"),
    }
}

/// Cuts a text at a character boundary and marks the cut.
fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit.saturating_sub('…'.len_utf8())));
        text.push('…');
    }
}

#[cfg(test)]
mod tests;
