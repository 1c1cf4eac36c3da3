//! Limits of the engine: how many sessions at a time.

use std::str::FromStr;

use clap::Args;
use lagan_engine::Limits;

/// Numbers of sessions at a time; 0 means no limit.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits (sessions at a time, 0: none)")]
pub struct LimitFlags {
    /// In each repository; `maxConcurrent` of a Repository wins
    #[arg(long, value_name = "N", default_value_t = Limits::default().repository)]
    pub max_per_repository: u32,
    /// On each database server; the annotation `lagan.dev/max-concurrent` of an AppBinding wins
    #[arg(long, value_name = "N", default_value_t = Limits::default().server)]
    pub max_per_server: u32,
    /// In each namespace
    #[arg(long, value_name = "N", default_value_t = Limits::default().namespace)]
    pub max_per_namespace: u32,
    /// In each pool of workers
    #[arg(long, value_name = "N", default_value_t = Limits::default().pool)]
    pub max_per_pool: u32,
    /// In the cluster
    #[arg(long, value_name = "N", default_value_t = Limits::default().overall)]
    pub max_sessions: u32,
    /// Sessions of a namespace that have not ended; up to 1,000 more wait, the others are refused
    #[arg(long, value_name = "N", default_value_t = Limits::default().open)]
    pub max_open_sessions: u32,
    /// Share of a namespace where namespaces compete; 1 for those that are not named (repeatable)
    #[arg(long, value_name = "NAMESPACE=N")]
    pub namespace_weight: Vec<NamespaceWeight>,
}

impl LimitFlags {
    pub fn limits(&self) -> Limits {
        let weights = self.namespace_weight.iter().map(|weight| (weight.namespace.clone(), weight.weight));
        Limits {
            repository: self.max_per_repository,
            server: self.max_per_server,
            namespace: self.max_per_namespace,
            pool: self.max_per_pool,
            overall: self.max_sessions,
            open: self.max_open_sessions,
            weights: weights.collect(),
        }
    }
}

/// The weight of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceWeight {
    namespace: String,
    weight: u32,
}

impl FromStr for NamespaceWeight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || "write it as NAMESPACE=N with N from 1 to 1000, such as prod=4".to_owned();
        let (namespace, weight) = text.split_once('=').ok_or_else(shape)?;
        let weight = weight.parse().ok().filter(|weight| (1..=1000).contains(weight)).ok_or_else(shape)?;
        lagan_schemas::subject::label(namespace).map_err(|error| error.to_string())?;
        Ok(Self { namespace: namespace.to_owned(), weight })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_number_for_a_namespace() {
        let prod = NamespaceWeight { namespace: "prod".to_owned(), weight: 4 };
        assert_eq!("prod=4".parse(), Ok(prod));
        for bad in ["prod", "prod=", "prod=0", "prod=1001", "=3", "Prod=3", "prod=x"] {
            assert!(bad.parse::<NamespaceWeight>().is_err(), "{bad}");
        }
    }
}
