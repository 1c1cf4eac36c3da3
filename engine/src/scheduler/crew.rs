//! Work that runs concurrently, with a bound. It must not know what the work is.

use tokio::task::JoinSet;

use crate::error::EngineError;

pub(super) struct Crew<T> {
    limit: usize,
    tasks: JoinSet<T>,
}

impl<T: Send + 'static> Crew<T> {
    pub fn new(limit: usize) -> Self {
        Self { limit, tasks: JoinSet::new() }
    }

    pub fn has_room(&self) -> bool {
        self.tasks.len() < self.limit
    }

    pub fn start(&mut self, work: impl Future<Output = T> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Waits for a result, and returns it with all others that are there by then. Without work it waits for ever. A caller
    /// that stops waiting loses no result.
    pub async fn results(&mut self) -> Result<Vec<T>, EngineError> {
        let Some(first) = self.tasks.join_next().await else { return std::future::pending().await };
        let mut results = vec![first.map_err(EngineError::Panicked)?];
        while let Some(next) = self.tasks.try_join_next() {
            results.push(next.map_err(EngineError::Panicked)?);
        }
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn slow_work_delays_no_other_and_the_bound_is_kept() {
        let mut crew = Crew::new(3);
        crew.start(std::future::pending());
        for number in [1, 2] {
            crew.start(async move { number });
        }
        assert!(!crew.has_room());
        let mut results = Vec::new();
        while results.len() < 2 {
            results.extend(crew.results().await.unwrap());
        }
        results.sort_unstable();
        assert_eq!(results, [1, 2]);
        assert!(crew.has_room());
    }
}
