//! Tells a restore whose client waits for a server that works from one that gets nowhere. A long statement moves no byte for hours,
//! so the server is asked what it does; only where nothing works is there a limit.

use std::time::{Duration, Instant};

use crate::databases::{Access, CodedEngine, ServerActivity};
use crate::process::Waiting;

/// Looks within the limit.
const LOOKS: u32 = 10;
/// A server that answers no question may still work, for this many limits.
const SILENT_LIMITS: u32 = 4;

/// The looks at a client that has taken nothing since the first of them.
#[derive(Debug, Default)]
struct Standstill {
    /// The first of the last looks at which nothing worked.
    idle: Option<Instant>,
    /// The first of the last looks without an answer.
    silent: Option<Instant>,
}

impl Standstill {
    /// Notes a look; `None` is a question without an answer. Returns what the server waits for if the restore has stalled.
    fn note(&mut self, now: Instant, limit: Duration, seen: Option<&ServerActivity>) -> Option<String> {
        let Some(seen) = seen else {
            let silent = *self.silent.get_or_insert(now);
            let over = now.saturating_duration_since(silent) >= limit * SILENT_LIMITS;
            return over.then(|| "the server answers no question".to_owned());
        };
        self.silent = None;
        let words = match seen {
            ServerActivity::Working | ServerActivity::Unseen => {
                self.idle = None;
                return None;
            }
            ServerActivity::Waiting(words) => format!("its statement waits for somebody else ({words})"),
            ServerActivity::Idle => "the server has nothing to do and the client sends nothing".to_owned(),
        };
        let idle = *self.idle.get_or_insert(now);
        (now.saturating_duration_since(idle) >= limit).then_some(words)
    }
}

/// Returns once the restore has stalled, with what the server waits for.
pub(super) async fn stalled(
    engine: &CodedEngine,
    (access, database): (&Access, &str),
    waiting: Waiting,
    limit: Duration,
) -> String {
    let mut standstill = Standstill::default();
    let pause = (limit / LOOKS).max(Duration::from_millis(100));
    loop {
        tokio::time::sleep(pause).await;
        if waiting.since().is_none_or(|since| since < pause) {
            standstill = Standstill::default();
            continue;
        }
        let seen = engine.activity(access, database).await;
        if let Err(failure) = &seen {
            tracing::debug!(message = failure.message, "the server does not say what it does");
        }
        if let Some(words) = standstill.note(Instant::now(), limit, seen.as_ref().ok()) {
            return words;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(300);

    /// The second at which a sequence of looks, one each 30 s, is a stall.
    fn stalls(looks: &[Option<ServerActivity>]) -> Option<usize> {
        let (mut standstill, began) = (Standstill::default(), Instant::now());
        let mut looks = looks.iter().enumerate();
        looks.find_map(|(index, seen)| {
            let at = began + Duration::from_secs(30) * u32::try_from(index).unwrap_or(u32::MAX);
            standstill.note(at, LIMIT, seen.as_ref()).map(|_| index * 30)
        })
    }

    #[test]
    fn a_server_that_works_is_waited_for_and_one_that_waits_is_not() {
        let of = |seen: ServerActivity| vec![Some(seen); 50];
        assert_eq!(stalls(&of(ServerActivity::Working)), None);
        assert_eq!(stalls(&of(ServerActivity::Unseen)), None);
        assert_eq!(stalls(&of(ServerActivity::Idle)), Some(300));
        let locked = ServerActivity::Waiting("Waiting for table metadata lock".to_owned());
        assert_eq!(stalls(&of(locked.clone())), Some(300));
        // Some work in between starts the limit anew.
        let mut mixed = of(locked.clone());
        mixed[9] = Some(ServerActivity::Working);
        assert_eq!(stalls(&mixed), Some(600));
        // A question without an answer proves neither, for longer.
        let mut unanswered = of(locked);
        unanswered[3] = None;
        assert_eq!(stalls(&unanswered), Some(300));
        assert_eq!(stalls(&vec![None; 50]), Some(1200));
    }
}
