//! The time by the clock of the NATS server, which all processes of a cluster share. The clock of this machine may be wrong
//! or be set while the engine runs, so it is only compared. It must not decide anything.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use lagan_bus::{Bus, streams};
use lagan_schemas::error::chain;

/// Difference of two clocks that is no fault.
pub(crate) const ALLOWANCE: Duration = Duration::from_secs(5);

/// An answer that took longer says too little about the time.
const SLOW: Duration = Duration::from_secs(2);

/// The time that a server told at a moment of the steady clock, which nobody sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    server: Timestamp,
    at: Instant,
}

impl Reading {
    /// Takes the middle between question and answer as the moment at which the server looked; `None` if they are too far
    /// apart.
    fn new(server: Timestamp, asked: Instant, answered: Instant) -> Option<Self> {
        let took = answered.saturating_duration_since(asked);
        (took <= SLOW).then(|| Self { server, at: asked + took / 2 })
    }

    fn time_at(self, at: Instant) -> Timestamp {
        self.server.checked_add(at.saturating_duration_since(self.at)).unwrap_or(self.server)
    }
}

/// A clock that clones share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock(Arc<RwLock<Option<Reading>>>);

impl Clock {
    /// The present time. Until a server has told its time, the machine's clock must do.
    pub fn now(&self) -> Timestamp {
        self.reading().map_or_else(Timestamp::now, |reading| reading.time_at(Instant::now()))
    }

    /// How far this machine's clock is ahead of the server's; negative if it is behind.
    pub fn skew(&self) -> SignedDuration {
        let Some(reading) = self.reading() else { return SignedDuration::ZERO };
        Timestamp::now().duration_since(reading.time_at(Instant::now()))
    }

    fn reading(&self) -> Option<Reading> {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the server for its time. Without an answer the clock goes on from the last one.
    pub async fn ask(&self, bus: &Bus) {
        let asked = Instant::now();
        match streams::server_time(bus).await {
            Ok(server) => {
                if let Some(reading) = Reading::new(server, asked, Instant::now()) {
                    *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(reading);
                }
            }
            Err(error) => tracing::debug!(error = chain(&error), "the server's time is not known"),
        }
    }
}

/// Whether a difference of clocks is a fault that a person must mend.
pub(crate) fn is_fault(skew: SignedDuration) -> bool {
    skew.unsigned_abs() > ALLOWANCE
}

/// Whether `time` lies in the future by more than clocks may differ.
pub(crate) fn is_ahead(time: Timestamp, now: Timestamp) -> bool {
    now.checked_add(ALLOWANCE).is_ok_and(|latest| time > latest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::fixtures::at;

    #[test]
    fn the_time_goes_on_from_the_middle_of_an_answer_and_not_from_the_machine_s_clock() {
        let asked = Instant::now();
        let second = Duration::from_secs(1);
        let reading = Reading::new(at(86_400), asked, asked + second).unwrap();
        assert_eq!(reading.time_at(asked + second / 2), at(86_400));
        assert_eq!(reading.time_at(asked + second / 2 + second * 60), at(86_460));
        assert!(Reading::new(at(0), asked, asked + SLOW + second).is_none());
    }

    #[test]
    fn a_difference_of_seconds_is_no_fault() {
        assert!(!is_fault(SignedDuration::from_secs(-5)));
        assert!(is_fault(SignedDuration::from_secs(-6)) && is_fault(SignedDuration::from_secs(6)));
        assert!(!is_ahead(at(5), at(0)) && !is_ahead(at(-3600), at(0)));
        assert!(is_ahead(at(6), at(0)));
    }
}
