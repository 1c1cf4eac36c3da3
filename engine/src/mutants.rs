//! Mutants: known defects that come back when the feature `mutants` is on and one of them is chosen. Each must be caught by the
//! simulation (`just mutants`). A build without the feature has none of them.

#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($name:literal) => {
        crate::mutants::is($name)
    };
}

#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($name:literal) => {
        false
    };
}

#[cfg(feature = "mutants")]
mod chosen {
    use std::sync::{PoisonError, RwLock};

    static CHOSEN: RwLock<Option<&'static str>> = RwLock::new(None);

    /// Every mutant, and the defect that it is.
    #[cfg(test)]
    pub(crate) const ALL: [(&str, &str); 20] = [
        ("plan-without-lock", "a session is planned without the lock of its target"),
        ("living-lock-stale", "the lock of a session that runs counts as stale"),
        ("own-lock-kept", "a session that is planned again does not write its lock anew"),
        ("limit-ignored", "limits are not looked at"),
        ("outage-beyond-limit", "what does not answer is tried beyond its limit"),
        ("usage-not-freed", "an ended session keeps what it used"),
        ("line-not-called", "nobody in line is called when something is freed"),
        ("quota-not-freed", "an ended session stays in the quota of its namespace"),
        ("sweep-ends-held", "the sweep ends what a living worker holds"),
        ("retry-at-once", "the time of a retry is not waited for"),
        ("references-for-ever", "missing references are waited for without an end"),
        ("other-store-compared", "positions of two stores are compared"),
        ("garbage-not-followed", "garbage on a session's subject stops the session"),
        ("start-without-log", "a planner that starts does not look at what waits already"),
        ("ended-asked-again", "an object whose session has ended is requested again"),
        ("append-without-compare", "facts are appended without a compare-and-set"),
        ("settled-before-started", "a worker acknowledges its message before it appends"),
        ("restore-again", "a restore past its first byte is run again"),
        ("not-read-back", "a snapshot counts although it was not read back"),
        ("broken-adopted", "a snapshot that failed its read-back is adopted"),
    ];

    pub(crate) fn is(name: &str) -> bool {
        *CHOSEN.read().unwrap_or_else(PoisonError::into_inner) == Some(name)
    }

    #[cfg(test)]
    pub(crate) fn choose(name: Option<&'static str>) {
        *CHOSEN.write().unwrap_or_else(PoisonError::into_inner) = name;
    }
}

#[cfg(feature = "mutants")]
pub(crate) use chosen::is;
#[cfg(all(test, feature = "mutants"))]
pub(crate) use chosen::{ALL, choose};
