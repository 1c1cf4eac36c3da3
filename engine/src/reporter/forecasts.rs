//! Forecasts for configurations whose scheduled backups will not fit. They are computed from all objects at once, only after
//! something has changed, and seldom.

use std::collections::HashMap;
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
/// Statuses that are read before other tasks have their turn.
const AT_ONCE: usize = 100;

#[derive(Default)]
pub(super) struct Forecasts(Mutex<KnownForecasts>);

#[derive(Default)]
struct KnownForecasts {
    /// The text for each configuration, by namespace and name.
    texts: HashMap<String, String>,
    /// Last sequence of the objects, and number of backups that succeeded, when they were computed.
    seen: Option<(u64, u64)>,
    successes: u64,
    computed: Option<Instant>,
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
        self.known().texts.get(&path(&configuration.key())).cloned()
    }

    /// Whether forecasts are due. Notes that they are computed now.
    fn begin(&self, objects: u64, number: usize) -> bool {
        let mut known = self.known();
        let state = (objects, known.successes);
        let is_soon = known.computed.is_some_and(|at| number > MANY && at.elapsed() < PAUSE_OF_MANY);
        if known.seen == Some(state) || is_soon {
            return false;
        }
        (known.seen, known.computed) = (Some(state), Some(Instant::now()));
        true
    }

    /// Takes new texts, and returns the configurations whose text has changed.
    fn replace(&self, texts: HashMap<String, String>) -> Vec<String> {
        let old = std::mem::replace(&mut self.known().texts, texts.clone());
        let gone = old.keys().filter(|path| !texts.contains_key(*path)).cloned();
        let is_new = |(path, text): &(&String, &String)| old.get(*path) != Some(*text);
        gone.chain(texts.iter().filter(is_new).map(|(path, _)| path.clone())).collect()
    }
}

fn path(key: &ObjectKey) -> String {
    format!("{}/{}", key.namespace.as_deref().unwrap_or_default(), key.name)
}

/// The text for each configuration that loses sessions: of the things that it shares the first that does not fit.
fn texts(things: &[SharedThing]) -> HashMap<String, String> {
    let mut texts = HashMap::new();
    for thing in things {
        let Some(forecast) = &thing.forecast else { continue };
        for path in forecast.timed_out.iter().chain(&forecast.skipped) {
            texts.entry(path.clone()).or_insert_with(|| format!("{} {}: {forecast}", thing.kind, thing.name));
        }
    }
    texts
}

impl Reporter<'_> {
    /// Computes forecasts if something has changed, and looks again at the configurations whose forecast differs.
    pub(super) async fn forecast(&self) {
        let objects = self.objects_to_forecast();
        let configurations: Vec<ObjectKey> =
            objects.iter().map(|object| object.key()).filter(|key| key.kind == Kind::BackupConfiguration).collect();
        let sequence = self.context.resources.changes().borrow().sequence();
        if !self.forecasts.begin(sequence, configurations.len()) {
            return;
        }
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
        let Ok(texts) = computed.await else { return };
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
    fn forecasts_are_computed_once_for_each_change_and_seldom_for_many_configurations() {
        let forecasts = Forecasts::default();
        assert!(forecasts.begin(5, 10) && !forecasts.begin(5, 10), "nothing has changed");
        forecasts.succeeded();
        assert!(forecasts.begin(5, 10) && forecasts.begin(6, 10));
        assert!(!forecasts.begin(7, MANY + 1), "too soon for so many");
    }

    #[test]
    fn configurations_are_looked_at_again_when_their_text_comes_changes_or_goes() {
        let forecasts = Forecasts::default();
        let texts =
            |all: &[(&str, &str)]| all.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let sorted = |mut changed: Vec<String>| {
            changed.sort();
            changed
        };
        assert_eq!(sorted(forecasts.replace(texts(&[("a/a", "1"), ("a/b", "1")]))), ["a/a", "a/b"]);
        assert_eq!(sorted(forecasts.replace(texts(&[("a/b", "2"), ("a/c", "1")]))), ["a/a", "a/b", "a/c"]);
        assert!(forecasts.replace(texts(&[("a/b", "2"), ("a/c", "1")])).is_empty());
    }
}
