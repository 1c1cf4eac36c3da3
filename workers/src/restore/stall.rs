//! Tells a restore whose client waits for a server that works from one that gets nowhere. A long statement moves no byte for hours,
//! so the server is asked about the client's own connection. A server that does not show it, behind a proxy for example, or
//! that does not answer, proves nothing: a restore is never ended for that.

use std::time::{Duration, Instant};

use crate::databases::{Access, CodedEngine, ServerActivity};
use crate::process::Waiting;

/// Looks within the limit.
const LOOKS: u32 = 10;

/// The looks at a client that has taken nothing since the first of them.
#[derive(Debug, Default)]
struct Standstill {
    /// The first of the last looks at which its statement waited, or it had none.
    since: Option<Instant>,
}

impl Standstill {
    /// Notes a look. Returns what the client waits for if the restore has stalled.
    fn note(&mut self, now: Instant, limit: Duration, seen: &ServerActivity) -> Option<String> {
        let words = match seen {
            ServerActivity::Working | ServerActivity::Unseen => {
                self.since = None;
                return None;
            }
            ServerActivity::Waiting(words) => format!("its statement waits for somebody else ({words})"),
            ServerActivity::Idle => "the server has nothing to do for it, and it sends nothing".to_owned(),
        };
        let since = *self.since.get_or_insert(now);
        (now.saturating_duration_since(since) >= limit).then_some(words)
    }
}

/// Returns once the restore has stalled, with what the client waits for.
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
        let seen = look(engine, (access, database), &waiting).await;
        if let Some(words) = standstill.note(Instant::now(), limit, &seen) {
            return words;
        }
    }
}

async fn look(engine: &CodedEngine, (access, database): (&Access, &str), waiting: &Waiting) -> ServerActivity {
    let sockets = waiting.sockets(access.connection.port);
    if sockets.is_empty() {
        return ServerActivity::Unseen;
    }
    let ports: Vec<u16> = sockets.iter().map(|socket| socket.port).collect();
    let seen = engine.activity(access, database, &ports).await.unwrap_or_else(|failure| {
        tracing::debug!(message = failure.message, "the server does not say what it does");
        ServerActivity::Unseen
    });
    while_sending(seen, sockets.iter().any(|socket| socket.is_sending))
}

/// A long statement is under way to the server, which shows an idle connection until it has all of it.
fn while_sending(seen: ServerActivity, is_sending: bool) -> ServerActivity {
    match seen {
        ServerActivity::Idle if is_sending => ServerActivity::Working,
        seen => seen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(300);

    /// The second at which a sequence of looks, one each 30 s, is a stall.
    fn stalls(looks: &[ServerActivity]) -> Option<usize> {
        let (mut standstill, began) = (Standstill::default(), Instant::now());
        let mut looks = looks.iter().enumerate();
        looks.find_map(|(index, seen)| {
            let at = began + Duration::from_secs(30) * u32::try_from(index).unwrap_or(u32::MAX);
            standstill.note(at, LIMIT, seen).map(|_| index * 30)
        })
    }

    #[test]
    fn a_client_that_sends_is_not_idle_but_may_wait_for_a_lock() {
        let locked = || ServerActivity::Waiting("Lock transactionid".to_owned());
        assert!(matches!(while_sending(ServerActivity::Idle, true), ServerActivity::Working));
        assert!(matches!(while_sending(ServerActivity::Idle, false), ServerActivity::Idle));
        assert!(matches!(while_sending(locked(), true), ServerActivity::Waiting(_)), "a COPY fills the socket first");
    }

    #[test]
    fn a_server_that_works_or_does_not_show_the_client_is_waited_for_and_a_client_that_waits_is_not() {
        let of = |seen: ServerActivity| vec![seen; 50];
        assert_eq!(stalls(&of(ServerActivity::Working)), None);
        assert_eq!(stalls(&of(ServerActivity::Unseen)), None);
        assert_eq!(stalls(&of(ServerActivity::Idle)), Some(300));
        let locked = ServerActivity::Waiting("Waiting for table metadata lock".to_owned());
        assert_eq!(stalls(&of(locked.clone())), Some(300));
        for other in [ServerActivity::Working, ServerActivity::Unseen] {
            let mut mixed = of(locked.clone());
            mixed[9] = other;
            assert_eq!(stalls(&mixed), Some(600), "the limit starts anew");
        }
    }
}
