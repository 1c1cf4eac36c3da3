//! Forecasts for configurations whose scheduled backups will not fit. They are computed from all objects at once, only after
//! something has changed, and seldom.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lagan_schemas::forecast::{ForecastLimits, SharedThing, shared_things};
use lagan_schemas::resource::{Kind, Object};
use lagan_schemas::session::Phase;
use lagan_schemas::subject::ObjectKey;
use tokio::time::Instant;

use super::Reporter;

/// Interval at which it is looked whether something has changed.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);
/// Least time between two forecasts of many configurations.
const PAUSE_OF_MANY: Duration = Duration::from_secs(600);
const MANY: usize = 10_000;
/// The pause after a computation, as a multiple of the time that it took.
const PAUSE_FACTOR: u32 = 50;
/// Statuses that are read before other tasks have their turn.
const AT_ONCE: usize = 100;

#[derive(Default)]
pub(super) struct Forecasts(Mutex<KnownForecasts>);

#[derive(Default)]
struct KnownForecasts {
    /// The text for each configuration, by namespace and name.
    texts: HashMap<String, ForecastText>,
    /// Last sequence of the objects, and number of backups that succeeded, when they were computed.
    seen: Option<(u64, u64)>,
    successes: u64,
    /// Beginning of the last computation, which may still run.
    begun: Option<Instant>,
    is_running: bool,
    /// The least time between the beginnings of two computations.
    pause: Duration,
}

/// The text for a configuration. It stays the same as long as its cause does: otherwise each backup that succeeds would change the
/// statuses of all configurations that share something with it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ForecastText {
    /// The thing that is too small, its limit, and whether slots are skipped.
    cause: (String, u32, bool),
    text: String,
}

impl Forecasts {
    fn known(&self) -> MutexGuard<'_, KnownForecasts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a backup succeeded, so that its duration is known anew.
    pub fn succeeded(&self) {
        self.known().successes += 1;
    }

    pub fn of(&self, configuration: &Object) -> Option<String> {
        self.known().texts.get(&path(&configuration.key())).map(|known| known.text.clone())
    }

    /// Whether forecasts are due. Notes that they are computed now, which `end` ends.
    fn begin(&self, objects: u64) -> bool {
        let mut known = self.known();
        let state = (objects, known.successes);
        let is_soon = known.begun.is_some_and(|at| at.elapsed() < known.pause);
        if known.is_running || known.seen == Some(state) || is_soon {
            return false;
        }
        (known.seen, known.begun, known.is_running) = (Some(state), Some(Instant::now()), true);
        true
    }

    /// Notes that forecasts of so many configurations were computed.
    fn end(&self, number: usize) {
        let mut known = self.known();
        let took = known.begun.map(|at| at.elapsed()).unwrap_or_default();
        let least = if number > MANY { PAUSE_OF_MANY } else { Duration::ZERO };
        (known.is_running, known.pause) = (false, least.max(took.saturating_mul(PAUSE_FACTOR)));
    }

    /// Takes new texts, and returns the configurations whose text has changed.
    fn replace(&self, mut texts: HashMap<String, ForecastText>) -> HashSet<String> {
        let old = std::mem::take(&mut self.known().texts);
        let mut changed: HashSet<String> = old.keys().filter(|path| !texts.contains_key(*path)).cloned().collect();
        for (path, new) in &mut texts {
            match old.get(path).filter(|old| old.cause == new.cause) {
                Some(old) => new.text.clone_from(&old.text),
                None => drop(changed.insert(path.clone())),
            }
        }
        self.known().texts = texts;
        changed
    }
}

fn path(key: &ObjectKey) -> String {
    format!("{}/{}", key.namespace.as_deref().unwrap_or_default(), key.name)
}

/// The text for each configuration that loses sessions: of the things that it shares the first that does not fit.
fn texts(things: &[SharedThing]) -> HashMap<String, ForecastText> {
    let mut texts = HashMap::new();
    for thing in things {
        let Some(forecast) = &thing.forecast else { continue };
        let name = format!("{} {}", thing.kind, thing.name);
        let text = format!("{name}: {}", forecast.lasting_text());
        for (paths, is_skipped) in [(&forecast.timed_out, false), (&forecast.skipped, true)] {
            for path in paths {
                let cause = (name.clone(), forecast.limit, is_skipped);
                texts.entry(path.clone()).or_insert_with(|| ForecastText { cause, text: text.clone() });
            }
        }
    }
    texts
}

impl Reporter<'_> {
    /// Computes forecasts if something has changed, and looks again at the configurations whose forecast differs.
    pub(super) async fn forecast(&self) {
        let sequence = self.context.resources.changes().borrow().sequence();
        if !self.forecasts.begin(sequence) {
            return;
        }
        let objects = self.objects_to_forecast();
        let configurations: Vec<ObjectKey> =
            objects.iter().map(|object| object.key()).filter(|key| key.kind == Kind::BackupConfiguration).collect();
        let mut took = HashMap::new();
        for (number, key) in configurations.iter().enumerate() {
            took.extend(self.last_duration(key).map(|duration| (key.clone(), duration)));
            if number % AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        let limits = &self.context.options.limits;
        let limits = ForecastLimits { server: limits.server, repository: limits.repository };
        let now = self.context.clock.now();
        let computed = tokio::task::spawn_blocking(move || {
            texts(&shared_things(objects.iter().map(Arc::as_ref), &took, limits, now))
        });
        let computed = computed.await;
        self.forecasts.end(configurations.len());
        let Ok(texts) = computed else { return };
        let changed = self.forecasts.replace(texts);
        for key in configurations.into_iter().filter(|key| changed.contains(&path(key))) {
            self.backlog.add(key);
        }
    }

    fn objects_to_forecast(&self) -> Vec<Arc<Object>> {
        let view = self.context.resources.read();
        let kinds = [Kind::BackupConfiguration, Kind::AppBinding, Kind::Repository];
        view.objects.values().filter(|object| kinds.contains(&object.kind())).cloned().collect()
    }

    /// The time that the newest backup of a configuration took that succeeded.
    fn last_duration(&self, configuration: &ObjectKey) -> Option<Duration> {
        self.statuses.ended_of(configuration).into_iter().find_map(|end| {
            let document = self.statuses.document(&end.key)?;
            let is_success = document.status.session_phase() == Phase::Succeeded.display();
            let run = document.status.run().filter(|_| is_success)?;
            Some(run.completion_time?.duration_since(run.start_time?).unsigned_abs())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forecasts_are_computed_once_for_each_change_one_at_a_time_and_seldom_for_many_configurations() {
        let forecasts = Forecasts::default();
        assert!(forecasts.begin(5) && !forecasts.begin(6), "one runs");
        forecasts.end(10);
        forecasts.known().pause = Duration::ZERO;
        assert!(!forecasts.begin(5), "nothing has changed");
        forecasts.succeeded();
        assert!(forecasts.begin(5));
        forecasts.end(MANY + 1);
        assert!(!forecasts.begin(7), "too soon for so many");
    }

    fn text(limit: u32, is_skipped: bool, text: &str) -> ForecastText {
        ForecastText { cause: ("AppBinding a/db".to_owned(), limit, is_skipped), text: text.to_owned() }
    }

    fn all(texts: &[(&str, ForecastText)]) -> HashMap<String, ForecastText> {
        texts.iter().map(|(path, text)| ((*path).to_owned(), text.clone())).collect()
    }

    fn sorted(changed: HashSet<String>) -> Vec<String> {
        let mut changed: Vec<String> = changed.into_iter().collect();
        changed.sort();
        changed
    }

    #[test]
    fn configurations_are_looked_at_again_when_the_cause_comes_changes_or_goes() {
        let forecasts = Forecasts::default();
        let (first, other) = (text(1, false, "1"), text(1, true, "1"));
        assert_eq!(sorted(forecasts.replace(all(&[("a/a", first.clone()), ("a/b", first.clone())]))), ["a/a", "a/b"]);
        assert_eq!(
            sorted(forecasts.replace(all(&[("a/b", other.clone()), ("a/c", first.clone())]))),
            ["a/a", "a/b", "a/c"]
        );
        assert!(forecasts.replace(all(&[("a/b", other), ("a/c", first)])).is_empty());
    }

    #[test]
    fn other_numbers_with_the_same_cause_change_no_status() {
        let forecasts = Forecasts::default();
        forecasts.replace(all(&[("a/a", text(1, false, "4 of them"))]));
        assert!(forecasts.replace(all(&[("a/a", text(1, false, "5 of them"))])).is_empty());
        assert_eq!(forecasts.known().texts["a/a"].text, "4 of them", "the status still says so");
        assert_eq!(sorted(forecasts.replace(all(&[("a/a", text(2, false, "5 of them"))]))), ["a/a"]);
    }
}
